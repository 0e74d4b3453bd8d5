//! A request head in the client's own bytes.

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Request};

/// A request head as the client sent it, for whoever sends it on: hyper's maps keep neither the order of repeated
/// fields nor a target that `http::Uri` refuses.
///
/// It is an extension of the request that hyper read from it, so it has been found well-formed.
#[derive(Clone, Debug)]
pub struct RawHead {
    /// The whole head, the empty line included.
    head: Bytes,
    /// What was set on our side, instead of the client's fields of these names.
    set: Vec<(HeaderName, HeaderValue)>,
}

impl RawHead {
    pub(crate) fn new(head: Bytes) -> Self {
        debug_assert!(head.ends_with(b"\r\n\r\n"));
        Self {
            head,
            set: Vec::new(),
        }
    }

    /// Returns the target, unless it is a whole URI: that is for us, not for the upstream (RFC 9112 §3.2.1).
    pub(crate) fn target(&self) -> Option<&[u8]> {
        let (line, _) = self.split();
        let target = line.split(|&byte| byte == b' ').nth(1)?;
        (target.starts_with(b"/") || target == b"*").then_some(target)
    }

    /// Returns its length in bytes.
    pub(crate) fn len(&self) -> usize {
        self.head.len()
    }

    /// Returns the fields in their order, their values without the blanks around.
    pub(crate) fn fields(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let mut rest = self.split().1;
        std::iter::from_fn(move || {
            let end = memchr::memchr(b'\r', rest).filter(|&end| end > 0)?;
            let line = &rest[..end];
            rest = &rest[end + 2..];
            let colon = memchr::memchr(b':', line)?;
            Some((&line[..colon], line[colon + 1..].trim_ascii()))
        })
    }

    /// Returns what was set on our side.
    pub(crate) fn set(&self) -> &[(HeaderName, HeaderValue)] {
        &self.set
    }

    /// The request line, and what is behind it.
    fn split(&self) -> (&[u8], &[u8]) {
        let end = memchr::memchr(b'\r', &self.head).unwrap_or(self.head.len());
        (&self.head[..end], self.head.get(end + 2..).unwrap_or(&[]))
    }
}

/// Sets a header on a request that is going to be forwarded, in place of all of that name.
pub fn set_header<B>(request: &mut Request<B>, name: HeaderName, value: HeaderValue) {
    if let Some(raw) = request.extensions_mut().get_mut::<RawHead>() {
        raw.set.retain(|(other, _)| *other != name);
        raw.set.push((name.clone(), value.clone()));
    }
    request.headers_mut().insert(name, value);
}
