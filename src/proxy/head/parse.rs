//! One raw request head: where it ends, what it says about framing, and what must be encoded or refused.

use std::ops::Range;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, Version, request};

use super::{Refusal, target};
use crate::proxy::{
    fields::{self, Kind, Line, decimal},
    framing::Framing,
};

/// A head that can be read in one way.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::proxy) struct Treated {
    pub(in crate::proxy) framing: Framing,
    /// Its fields.
    pub(in crate::proxy) lines: Vec<Line>,
    /// The method's place.
    pub(super) method: Range<usize>,
    /// The target's place.
    pub(super) target: Range<usize>,
    /// The target in other bytes, where `http::Uri` would not take it as it is.
    pub(super) encoded: Option<Vec<u8>>,
    /// HTTP/1.0; all later ones are HTTP/1.1.
    pub(in crate::proxy) is_old: bool,
}

impl Treated {
    /// Returns the request whose head this is, as everybody behind the proxy knows one. `head`: what was treated.
    ///
    /// # Errors
    /// [`Refusal::Bad`], if its method is none.
    pub(in crate::proxy) fn parts(&self, head: &Bytes) -> Result<request::Parts, Refusal> {
        let target = match &self.encoded {
            Some(encoded) => Bytes::copy_from_slice(encoded),
            None => head.slice(self.target.clone()),
        };
        let mut headers = HeaderMap::with_capacity(self.lines.len());
        for line in &self.lines {
            let name = HeaderName::from_bytes(line.name(head));
            let value = HeaderValue::from_maybe_shared(head.slice_ref(line.value(head)));
            headers.append(
                name.map_err(|_| Refusal::Bad)?,
                value.map_err(|_| Refusal::Bad)?,
            );
        }
        let (mut parts, ()) = Request::new(()).into_parts();
        parts.method = Method::from_bytes(&head[self.method.clone()]).map_err(|_| Refusal::Bad)?;
        parts.uri = Uri::from_maybe_shared(target).map_err(|_| Refusal::Bad)?;
        parts.version = match self.is_old {
            true => Version::HTTP_10,
            false => Version::HTTP_11,
        };
        parts.headers = headers;
        Ok(parts)
    }
}

/// Finds the end of the head in `bytes`, which begin with its first line; `scanned` of them were looked at before.
///
/// # Errors
/// [`Refusal::Bad`] for a line that ends in LF alone, at once: nobody needs to wait for the rest.
pub(in crate::proxy) fn end(bytes: &[u8], scanned: usize) -> Result<Option<usize>, Refusal> {
    for found in memchr::memchr_iter(b'\n', &bytes[scanned..]) {
        let at = scanned + found;
        if at == 0 || bytes[at - 1] != b'\r' {
            return Err(Refusal::Bad);
        }
        if bytes[..at].ends_with(b"\r\n\r") {
            return Ok(Some(at + 1));
        }
    }
    Ok(None)
}

/// Reads a whole head, the empty line included.
///
/// Whether the method is one is found out by [`Treated::parts`].
///
/// # Errors
/// [`Refusal`] for what could be read in two ways, and for what we do not serve.
pub(in crate::proxy) fn treat(head: &[u8], fields_max: usize) -> Result<Treated, Refusal> {
    debug_assert!(head.ends_with(b"\r\n\r\n"));
    let request_line = match memchr::memchr(b'\n', head) {
        Some(feed) => &head[..feed - 1],
        None => return Err(Refusal::Bad),
    };
    let (method, raw_target, version) = split_request_line(request_line)?;
    if (method, raw_target, version) == (&b"PRI"[..], &b"*"[..], &b"HTTP/2.0"[..]) {
        return Err(Refusal::Preface);
    }
    let minor = match version {
        [
            b'H',
            b'T',
            b'T',
            b'P',
            b'/',
            b'1',
            b'.',
            minor @ b'0'..=b'9',
        ] => *minor,
        _ => return Err(Refusal::Bad),
    };
    if method == b"CONNECT" {
        return Err(Refusal::Connect);
    }
    let lines = fields::split(head, request_line.len() + 2).ok_or(Refusal::Bad)?;
    if lines.len() > fields_max {
        return Err(Refusal::HeadTooLong);
    }
    let fields = Fields::read(head, &lines)?;
    if fields.host.is_none() && minor != b'0' {
        return Err(Refusal::Bad);
    }
    let framing = fields.framing(minor)?;
    let encoded = target::treat(method, raw_target, fields.host)?;
    let target_start = method.len() + 1;
    Ok(Treated {
        framing,
        lines,
        method: 0..method.len(),
        target: target_start..target_start + raw_target.len(),
        encoded,
        is_old: minor == b'0',
    })
}

/// Method, target and version.
type RequestLine<'a> = (&'a [u8], &'a [u8], &'a [u8]);

/// Splits at exactly two blanks: a third would be a blank in the target. A CR alone ends a line for some, and NUL does for others.
fn split_request_line(line: &[u8]) -> Result<RequestLine<'_>, Refusal> {
    if line.iter().any(u8::is_ascii_control) {
        return Err(Refusal::Bad);
    }
    let mut parts = line.split(|&byte| byte == b' ');
    match (parts.next(), parts.next(), parts.next(), parts.next()) {
        (Some(method), Some(target), Some(version), None)
            if !method.is_empty() && !target.is_empty() =>
        {
            Ok((method, target, version))
        }
        _ => Err(Refusal::Bad),
    }
}

/// The fields that decide what a request is and where it ends.
#[derive(Default)]
struct Fields<'a> {
    host: Option<&'a [u8]>,
    content_length: Option<u64>,
    is_chunked: bool,
}

impl<'a> Fields<'a> {
    fn read(head: &'a [u8], lines: &[Line]) -> Result<Self, Refusal> {
        let mut fields = Self::default();
        for line in lines {
            match line.kind {
                Kind::Host => put(&mut fields.host, host(line.value(head))?)?,
                Kind::ContentLength => put(
                    &mut fields.content_length,
                    decimal(line.value(head)).ok_or(Refusal::Bad)?,
                )?,
                Kind::TransferEncoding => {
                    let is_chunked = line.value(head).eq_ignore_ascii_case(b"chunked");
                    if fields.is_chunked || !is_chunked {
                        return Err(Refusal::Bad);
                    }
                    fields.is_chunked = true;
                }
                _ => (),
            }
        }
        Ok(fields)
    }

    fn framing(&self, minor: u8) -> Result<Framing, Refusal> {
        match (self.is_chunked, self.content_length) {
            (true, None) if minor != b'0' => Ok(Framing::Chunked),
            (true, _) => Err(Refusal::Bad),
            (false, length) => Ok(Framing::Length(length.unwrap_or(0))),
        }
    }
}

/// Fills a field that may be there only once.
fn put<T>(place: &mut Option<T>, value: T) -> Result<(), Refusal> {
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err(Refusal::Bad),
    }
}

fn host(value: &[u8]) -> Result<&[u8], Refusal> {
    if value.iter().all(|&byte| AUTHORITY_BYTES[usize::from(byte)]) {
        Ok(value)
    } else {
        Err(Refusal::Bad)
    }
}

/// Source: RFC 3986 §3.2, without user information and without a comma, at which a list would be cut.
const AUTHORITY_BYTES: [bool; 256] = fields::table(b"-._~%!$&'()*+;=:[]");
