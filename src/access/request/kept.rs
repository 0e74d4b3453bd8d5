//! A head as a session keeps it.

use std::net::SocketAddr;

use http::{HeaderMap, HeaderName, HeaderValue, Method};

use super::RequestHead;

/// A head, packed: there is one for each session, looked at only when its permission is decided anew.
#[derive(Clone)]
pub struct KeptHead {
    method: Method,
    /// Path and query as they came, then each header, a line each: no line break can be in any of them.
    lines: Box<[u8]>,
    peer: SocketAddr,
    local: SocketAddr,
    scheme: &'static str,
}

impl KeptHead {
    /// Packs a head.
    pub fn of(head: &RequestHead) -> Self {
        let mut lines = Vec::new();
        let mut line = |parts: &[&[u8]]| {
            parts.iter().for_each(|part| lines.extend_from_slice(part));
            lines.push(b'\n');
        };
        line(&[head.raw_path.as_bytes()]);
        line(&[head.query_string.as_bytes()]);
        for (name, value) in &head.headers {
            line(&[name.as_str().as_bytes(), b":", value.as_bytes()]);
        }
        Self {
            method: head.method.clone(),
            lines: lines.into(),
            peer: head.peer,
            local: head.local,
            scheme: head.scheme,
        }
    }

    /// Returns the head again.
    pub fn unpacked(&self) -> RequestHead {
        let mut headers = HeaderMap::new();
        let lines = self.lines.split(|byte| *byte == b'\n').skip(2);
        for line in lines {
            let colon = memchr::memchr(b':', line).unwrap_or(line.len());
            let (name, value) = line.split_at(colon);
            let value = value.get(1..).unwrap_or_default();
            // What was a header is one.
            if let (Ok(name), Ok(value)) =
                (HeaderName::from_bytes(name), HeaderValue::from_bytes(value))
            {
                headers.append(name, value);
            }
        }
        RequestHead {
            headers,
            ..self.without_headers()
        }
    }

    /// Returns the head again but for its headers, for those who do not look at them: that is much less work.
    pub fn without_headers(&self) -> RequestHead {
        let mut lines = self.lines.split(|byte| *byte == b'\n');
        let mut text = || String::from_utf8_lossy(lines.next().unwrap_or_default()).into_owned();
        let (raw_path, query_string) = (text(), text());
        RequestHead {
            method: self.method.clone(),
            path: RequestHead::decode_path(&raw_path),
            query: RequestHead::decode_query(&query_string),
            raw_path,
            query_string,
            headers: HeaderMap::new(),
            peer: self.peer,
            local: self.local,
            scheme: self.scheme,
        }
    }

    /// Returns the method.
    pub fn method(&self) -> &Method {
        &self.method
    }

    /// Returns the path as it came.
    pub(crate) fn raw_path(&self) -> &[u8] {
        let end = memchr::memchr(b'\n', &self.lines).unwrap_or(self.lines.len());
        &self.lines[..end]
    }

    /// Returns the client's address.
    pub fn peer(&self) -> SocketAddr {
        self.peer
    }
}
