//! Requests that come by HTTP/2, made what everybody behind takes for a request: one with a raw head of HTTP/1.1.
//!
//! An upstream gets bytes, and HTTP/2 carries what means something else in those: a line end within a value, a second
//! length, a target that is none (*downgrade smuggling*). So the head is written here and then read as strictly as if a
//! client of HTTP/1.1 had sent it ([`parse::treat`]); what that refuses, or reads as other fields than were written, is
//! refused. Source: RFC 9113 §8.2, §8.3.
//!
//! A WebSocket over HTTP/2 (RFC 8441) becomes the GET that opens one in HTTP/1.1, for us and for the upstream alike.

mod block;
mod huffman;
mod io;

use std::sync::Arc;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::Bytes;
use h2::{RecvStream, ext::Protocol};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, header};

use super::{Link, RawHead, Refusal, parse};
use crate::proxy::{
    ClientBody,
    client_body::Http2Body,
    fields::{CRLF, FIELDS_MAX, Head, Kind},
    hop::tokens,
};

pub use self::io::Http2Io;

/// A request that came by HTTP/2.
#[derive(Debug)]
pub struct Http2Request {
    /// As any other.
    pub request: Request<ClientBody>,
    /// What the client sends behind its request, where that is no body: it opens a WebSocket.
    pub behind: Option<RecvStream>,
}

impl Http2Request {
    /// Takes what h2 has read. `link` takes the interim answers; `bytes_max`: as for a head of HTTP/1.1.
    ///
    /// # Errors
    /// [`Refusal`] for what could be read in two ways in HTTP/1.1, and for what is not served.
    pub fn new(
        request: Request<RecvStream>,
        link: &Arc<Link>,
        bytes_max: usize,
    ) -> Result<Self, Refusal> {
        let (mut parts, received) = request.into_parts();
        let opens_websocket = parts.method == Method::CONNECT;
        if opens_websocket {
            let protocol = parts.extensions.remove::<Protocol>();
            if protocol.is_none_or(|protocol| protocol.as_str() != "websocket") {
                return Err(Refusal::Connect);
            }
            parts.method = Method::GET;
        }
        let target = parts.uri.path_and_query().ok_or(Refusal::Bad)?.clone();
        let is_asterisk = target == "*" && parts.method == Method::OPTIONS;
        if !(target.as_str().starts_with('/') || is_asterisk) {
            return Err(Refusal::Bad);
        }
        let host = host(&parts.uri, &parts.headers)?;
        parts.headers.insert(header::HOST, host);
        join_cookies(&mut parts.headers);
        if opens_websocket {
            open_websocket(&mut parts.headers)?;
        }
        let has_length = parts.headers.contains_key(header::CONTENT_LENGTH);
        let has_body = !(opens_websocket || received.is_end_stream());
        let framing: &[u8] = match (has_body, has_length) {
            _ if opens_websocket => b"",
            (true, false) => b"transfer-encoding: chunked\r\n",
            // What a client of HTTP/1.1 says where a body is expected (RFC 9110 §8.6).
            (false, false) if EXPECT_A_BODY.contains(&parts.method) => b"content-length: 0\r\n",
            _ => b"",
        };
        let line = [parts.method.as_str(), " ", target.as_str(), " HTTP/1.1\r\n"].concat();
        let (head, fields) = write(&line, &parts.headers, framing, opens_websocket)?;
        if head.len() > bytes_max {
            return Err(Refusal::HeadTooLong);
        }
        let treated = parse::treat(&head, FIELDS_MAX)?;
        if treated.lines.len() != fields || treated.encoded.is_some() {
            return Err(Refusal::Bad);
        }
        let head = Head::new(Bytes::from(head), treated.lines);

        let (body, behind) = if opens_websocket {
            (ClientBody::Empty, Some(received))
        } else if has_body {
            let length = head.values(Kind::ContentLength).next();
            let length = length.and_then(|length| std::str::from_utf8(length).ok()?.parse().ok());
            let mut expectations = head.values(Kind::Expect).flat_map(tokens);
            let waits = expectations.any(|one| one.eq_ignore_ascii_case(b"100-continue"));
            let waiting = waits.then(|| Arc::clone(link));
            let body = Http2Body::new(received, length, waiting);
            (ClientBody::Http2(Box::new(body)), None)
        } else {
            (ClientBody::Empty, None)
        };
        parts.uri = Uri::from(target);
        parts
            .extensions
            .insert(RawHead::new(head).on(Arc::clone(link)));
        let request = Request::from_parts(parts, body);
        Ok(Self { request, behind })
    }
}

/// Returns the host that a request is for. `:authority` and `Host` must agree where both are there: two names for one
/// request are what request smuggling is made of.
fn host(uri: &Uri, headers: &HeaderMap) -> Result<HeaderValue, Refusal> {
    let is_web = uri
        .scheme_str()
        .is_none_or(|scheme| matches!(scheme, "http" | "https"));
    if !is_web {
        return Err(Refusal::Bad);
    }
    let mut hosts = headers.get_all(header::HOST).iter();
    let host = match (uri.authority(), hosts.next(), hosts.next()) {
        (Some(authority), None, None) => HeaderValue::try_from(authority.as_str()).ok(),
        (Some(authority), Some(host), None) => {
            let same = host.as_bytes();
            let same = same.eq_ignore_ascii_case(authority.as_str().as_bytes());
            same.then(|| host.clone())
        }
        (None, Some(host), None) => Some(host.clone()),
        _ => None,
    };
    host.filter(|host| !host.is_empty()).ok_or(Refusal::Bad)
}

/// Joins what HTTP/2 lets a client cut: HTTP/1.1 has one line (RFC 9113 §8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    let crumbs: Vec<&[u8]> = headers
        .get_all(header::COOKIE)
        .iter()
        .map(HeaderValue::as_bytes)
        .collect();
    if crumbs.len() < 2 {
        return;
    }
    let joined = HeaderValue::from_bytes(&crumbs.join(&b"; "[..]))
        .expect("invariant: values with a semicolon between are a value");
    headers.insert(header::COOKIE, joined);
}

/// Adds what HTTP/1.1 opens a WebSocket with. Source: RFC 8441 §5.1, which leaves the key out.
fn open_websocket(headers: &mut HeaderMap) -> Result<(), Refusal> {
    if headers.contains_key(header::CONTENT_LENGTH) {
        return Err(Refusal::Bad);
    }
    let key = BASE64_STANDARD.encode(rand::random::<[u8; 16]>());
    let key = HeaderValue::try_from(key).expect("invariant: base64 is a value");
    headers.insert(header::SEC_WEBSOCKET_KEY, key);
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    Ok(())
}

/// Writes a head; returns it with the number of its fields.
fn write(
    line: &str,
    headers: &HeaderMap,
    framing: &[u8],
    opens_websocket: bool,
) -> Result<(Vec<u8>, usize), Refusal> {
    let values: usize = headers.values().map(HeaderValue::len).sum();
    let mut head = Vec::with_capacity(line.len() + values + headers.len() * NAME_BYTES_LIKELY);
    head.extend_from_slice(line.as_bytes());
    let mut fields = 0;
    let mut put = |name: &HeaderName, value: &HeaderValue| {
        for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), CRLF] {
            head.extend_from_slice(part);
        }
        fields += 1;
    };
    // First, as RFC 9110 §7.2 would have it.
    if let Some(host) = headers.get(header::HOST) {
        put(&header::HOST, host);
    }
    for (name, value) in headers {
        // RFC 9113 §8.2.1; in HTTP/1.1 it would be no part of the value.
        if value.as_bytes().trim_ascii() != value.as_bytes() {
            return Err(Refusal::Bad);
        }
        match Kind::of(name.as_str().as_bytes()) {
            Kind::Host => (),
            Kind::Connection | Kind::Upgrade if opens_websocket => put(name, value),
            // h2 refuses them before. There they mean nothing, here they would mean much.
            Kind::Connection | Kind::Upgrade | Kind::KeepAlive | Kind::TransferEncoding => {
                return Err(Refusal::Bad);
            }
            _ => put(name, value),
        }
    }
    if !framing.is_empty() {
        fields += 1;
    }
    head.extend_from_slice(framing);
    head.extend_from_slice(CRLF);
    Ok((head, fields))
}

/// The methods whose requests have a body as a rule.
const EXPECT_A_BODY: [Method; 3] = [Method::POST, Method::PUT, Method::PATCH];

/// A name with what is around it: no more than a hint.
const NAME_BYTES_LIKELY: usize = 24;
