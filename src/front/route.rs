//! Which requests are ours.
//!
//! A request is for a stream if its path is `/<collection>/_streams/<name>` under a mount ([`Address`]); it is ours if it
//! also asks for a WebSocket or for Server-Sent Events. Source: compat sections 4.1 and 5.

use http::{HeaderMap, Method, Version, header};

pub use crate::notation::mounts::{Address, Mount, Mounts};
use crate::session::ContentCoding;

/// What kind of stream a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asks {
    /// An upgrade to WebSocket.
    WebSocket,
    /// `Accept: text/event-stream`.
    Sse,
    /// Neither.
    Neither,
}

/// What a request asks for. Headers are looked at as RESTHeart looks at them: by substring, in any letter case for
/// WebSocket, in the first `Accept` alone and in exact case for Server-Sent Events. An HTTP/1.0 request cannot upgrade.
pub fn asks(method: &Method, version: Version, headers: &HeaderMap) -> Asks {
    if method != Method::GET {
        return Asks::Neither;
    }
    let mentions = |name, word: &str| {
        let values = headers.get_all(name).into_iter();
        values
            .filter_map(|value| value.to_str().ok())
            .any(|value| value.to_ascii_lowercase().contains(word))
    };
    if version >= Version::HTTP_11
        && mentions(header::CONNECTION, "upgrade")
        && mentions(header::UPGRADE, "websocket")
    {
        return Asks::WebSocket;
    }
    let accept = headers
        .get(header::ACCEPT)
        .and_then(|value| value.to_str().ok());
    match accept.is_some_and(|accept| accept.contains("text/event-stream")) {
        true => Asks::Sse,
        false => Asks::Neither,
    }
}

/// The coding of a body that the client takes: gzip before deflate, as RESTHeart prefers them.
pub fn accepted_coding(headers: &HeaderMap) -> ContentCoding {
    let accepts = |coding: &str| {
        let takes = |element: &str| {
            let mut parts = element.split(';').map(str::trim);
            let named = parts
                .next()
                .is_some_and(|name| name.eq_ignore_ascii_case(coding));
            let refused = parts.any(|part| {
                part.strip_prefix("q=")
                    .is_some_and(|q| q.parse() == Ok(0.0))
            });
            named && !refused
        };
        let values = headers.get_all(header::ACCEPT_ENCODING).into_iter();
        values
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .any(takes)
    };
    match (accepts("gzip"), accepts("deflate")) {
        (true, _) => ContentCoding::Gzip,
        (false, true) => ContentCoding::Deflate,
        (false, false) => ContentCoding::Identity,
    }
}

#[cfg(test)]
mod tests;
