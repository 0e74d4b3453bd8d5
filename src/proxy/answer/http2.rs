//! The head of an answer as HTTP/2 has it: names in lower case, nothing about one connection (RFC 9113 §8.2.2).

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, header};
use hyper::body::Body as _;

use super::{AnswerHead, NOT_MODIFIED, SWITCHING_PROTOCOLS, end};
use crate::proxy::{ProxyBody, fields::Kind, hop::tokens};

/// Writes the head of an answer for a client of HTTP/2. `None`: it is none that such a client may get.
///
/// `method`: of the request. Where the answer has no body, the head says so all the same, as HTTP/1 does; what is in
/// `answer`'s body then is not to be sent ([`has_body`]).
pub fn answer_head(answer: &mut Response<ProxyBody>, method: &Method) -> Option<Response<()>> {
    let length = answer.body().size_hint().exact();
    let mut head = match answer.body_mut().take_head() {
        Some(head) => head.head.for_http2()?,
        None => {
            let mut head = Response::new(());
            *head.status_mut() = answer.status();
            *head.headers_mut() = std::mem::take(answer.headers_mut());
            without_hop_by_hop(head.headers_mut());
            head
        }
    };
    let status = head.status();
    if status.is_informational() {
        return None;
    }
    let headers = head.headers_mut();
    if status == StatusCode::NO_CONTENT {
        // RFC 9110 §8.6.
        headers.remove(header::CONTENT_LENGTH);
    } else if has_body(status, method) {
        // What was found to delimit the body, whatever was written besides.
        headers.remove(header::CONTENT_LENGTH);
        if let Some(length) = length {
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
        }
    } else if let Some(length) = headers.get(header::CONTENT_LENGTH).cloned() {
        // Equal ones become one.
        headers.insert(header::CONTENT_LENGTH, length);
    } else if let (&Method::HEAD, Some(length @ 1..)) = (method, length) {
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    }
    Some(head)
}

/// Whether there is a body behind an answer with this status.
pub fn has_body(status: StatusCode, method: &Method) -> bool {
    let is_without = status == StatusCode::NO_CONTENT || status.as_u16() == NOT_MODIFIED;
    !is_without && *method != Method::HEAD
}

/// Reads a raw head for a client of HTTP/2, to whom a 101 is a 200: the stream becomes the WebSocket (RFC 8441 §5).
pub fn raw_answer_head(raw: Bytes) -> Option<Response<()>> {
    let head = AnswerHead::read(raw)?;
    let mut answer = head.for_http2()?;
    if head.status == SWITCHING_PROTOCOLS {
        *answer.status_mut() = StatusCode::OK;
        let headers = answer.headers_mut();
        headers.remove(header::SEC_WEBSOCKET_ACCEPT);
        headers.remove(header::CONTENT_LENGTH);
    }
    Some(answer)
}

/// Reads the interim heads that lie one behind the other.
pub fn interim_heads(mut raw: Bytes) -> impl Iterator<Item = Response<()>> {
    std::iter::from_fn(move || {
        let end = end(&raw, 0)?;
        Some(raw_answer_head(raw.split_to(end)))
    })
    .flatten()
}

/// Takes away what trailers may not say.
pub fn trailers(mut trailers: HeaderMap) -> HeaderMap {
    without_hop_by_hop(&mut trailers);
    trailers.remove(header::CONTENT_LENGTH);
    trailers
}

impl AnswerHead {
    fn for_http2(&self) -> Option<Response<()>> {
        let named = self.head.named();
        let bytes = self.bytes();
        let mut answer = Response::new(());
        *answer.status_mut() = StatusCode::from_u16(self.status).ok()?;
        let headers = answer.headers_mut();
        for line in self.head.lines() {
            let is_framing = line.kind == Kind::TransferEncoding;
            if is_framing || !super::crosses(line, bytes, &named) {
                continue;
            }
            let name = HeaderName::from_bytes(line.name(bytes)).ok()?;
            let value = HeaderValue::from_bytes(line.value(bytes)).ok()?;
            headers.try_append(name, value).ok()?;
        }
        Some(answer)
    }
}

fn without_hop_by_hop(headers: &mut HeaderMap) {
    let connection = headers.get_all(header::CONNECTION).iter();
    let named = connection.flat_map(|value| tokens(value.as_bytes()));
    let named: Vec<HeaderName> = named
        .filter(|token| crate::proxy::hop::takes_away(token))
        .filter_map(|token| HeaderName::from_bytes(token).ok())
        .collect();
    let is_hop_by_hop = |name: &HeaderName| {
        let kind = Kind::of(name.as_str().as_bytes());
        kind.is_hop_by_hop() || kind == Kind::TransferEncoding || named.contains(name)
    };
    let gone: Vec<HeaderName> = headers
        .keys()
        .filter(|name| is_hop_by_hop(name))
        .cloned()
        .collect();
    for name in gone {
        headers.remove(name);
    }
}

#[cfg(test)]
mod tests;
