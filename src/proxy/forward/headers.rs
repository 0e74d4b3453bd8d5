//! Which headers cross the proxy, and which are added.
//!
//! Maps are built anew rather than edited: `HeaderMap::remove` puts the last header in the gap, and the order of headers
//! is the sender's to choose.

use std::{fmt::Write as _, net::IpAddr, time::Duration};

use http::{HeaderMap, HeaderName, HeaderValue, header};

use crate::proxy::ClientInfo;

/// What a request asks its connection to become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Intent {
    /// Request and answer.
    Exchange,
    /// Another protocol (h2c apart, which we do not speak in clear).
    Switch,
}

/// Returns what a request asks for.
pub(super) fn intent(headers: &HeaderMap) -> Intent {
    let asks = headers.contains_key(header::UPGRADE)
        && tokens(headers, &header::CONNECTION).any(|token| token.eq_ignore_ascii_case("upgrade"))
        && protocols(headers).next().is_some();
    if asks {
        Intent::Switch
    } else {
        Intent::Exchange
    }
}

/// Returns the headers to send upstream.
pub(super) fn for_upstream(
    headers: &HeaderMap,
    intent: Intent,
    client: &ClientInfo,
    default_host: &HeaderValue,
) -> HeaderMap {
    let named = named_by_connection(headers);
    let mut sent = HeaderMap::with_capacity(headers.len() + ADDED_MAX);
    for (name, value) in headers {
        if is_hop_by_hop(name) || is_ours(name) || is_named(&named, name) {
            continue;
        }
        if name == header::EXPECT && is_continue(value) {
            continue;
        }
        sent.append(name.clone(), value.clone());
    }
    let host = headers.get(header::HOST).unwrap_or(default_host);
    if !headers.contains_key(header::HOST) {
        sent.insert(header::HOST, host.clone());
    }
    if let Intent::Switch = intent {
        let protocols = protocols(headers).collect::<Vec<_>>().join(", ");
        if let Ok(protocols) = HeaderValue::try_from(protocols) {
            sent.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
            sent.insert(header::UPGRADE, protocols);
        }
    } else if tokens(headers, &header::TE).any(|token| token.eq_ignore_ascii_case("trailers")) {
        // TE goes to the next hop only, which is us; but we can carry trailers exactly if the client takes them.
        sent.insert(header::CONNECTION, HeaderValue::from_static("TE"));
        sent.insert(header::TE, HeaderValue::from_static("trailers"));
    }
    add_forwarded(&mut sent, headers, client, host);
    sent
}

/// Returns the headers to send to the client, and how long the upstream keeps the connection by its own word.
pub(super) fn for_client(headers: HeaderMap) -> (HeaderMap, Option<Duration>) {
    let advised = keep_alive_timeout(&headers);
    let has_framing = headers.contains_key(header::TRANSFER_ENCODING);
    if !has_framing && !headers.keys().any(is_hop_by_hop) {
        return (headers, advised);
    }
    let named = named_by_connection(&headers);
    let mut sent = HeaderMap::with_capacity(headers.len());
    let mut last = None;
    for (name, value) in headers {
        // `None`: one more value of the name before.
        let name = name.or_else(|| last.clone());
        last.clone_from(&name);
        let Some(name) = name else { continue };
        let is_dropped = is_hop_by_hop(&name)
            || name == header::TRANSFER_ENCODING
            || (has_framing && name == header::CONTENT_LENGTH)
            || is_named(&named, &name);
        if !is_dropped {
            sent.append(name, value);
        }
    }
    (sent, advised)
}

/// Whether a header is about one connection, not about the message. `Transfer-Encoding` is dealt with apart: hyper
/// needs it on a request to know that a GET has a body.
fn is_hop_by_hop(name: &HeaderName) -> bool {
    match *name {
        header::CONNECTION | header::UPGRADE | header::TE => true,
        _ => matches!(
            name.as_str(),
            "keep-alive" | "proxy-connection" | "http2-settings"
        ),
    }
}

/// Whether we write the header ourselves, with what the client sent in front.
fn is_ours(name: &HeaderName) -> bool {
    *name == header::FORWARDED
        || [&X_FORWARDED_FOR, &X_FORWARDED_PROTO, &X_FORWARDED_HOST].contains(&name)
}

/// Returns the header names that `Connection` names, lower case, but for its options and what it must not name.
fn named_by_connection(headers: &HeaderMap) -> Vec<String> {
    if !headers.contains_key(header::CONNECTION) {
        return Vec::new();
    }
    tokens(headers, &header::CONNECTION)
        .filter(|token| {
            !UNNAMEABLE
                .iter()
                .any(|name| token.eq_ignore_ascii_case(name))
        })
        .map(str::to_ascii_lowercase)
        .collect()
}

fn is_named(named: &[String], name: &HeaderName) -> bool {
    named.iter().any(|one| one == name.as_str())
}

/// Returns the members of a comma-separated header, over all its lines.
fn tokens<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|line| line.split(','))
        .map(str::trim)
        .filter(|token| !token.is_empty())
}

/// Returns the protocols a request would switch to, without h2c.
fn protocols(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    tokens(headers, &header::UPGRADE).filter(|protocol| !protocol.eq_ignore_ascii_case("h2c"))
}

fn is_continue(value: &HeaderValue) -> bool {
    value.as_bytes().eq_ignore_ascii_case(b"100-continue")
}

/// `Keep-Alive: timeout=5, max=100`, less a second for the way.
fn keep_alive_timeout(headers: &HeaderMap) -> Option<Duration> {
    let seconds: u64 = tokens(headers, &KEEP_ALIVE)
        .find_map(|token| token.strip_prefix("timeout="))?
        .trim_matches('"')
        .parse()
        .ok()?;
    Some(Duration::from_secs(seconds.saturating_sub(1)))
}

fn add_forwarded(
    sent: &mut HeaderMap,
    received: &HeaderMap,
    client: &ClientInfo,
    host: &HeaderValue,
) {
    let address = client.peer.ip().to_canonical();
    add(sent, received, &X_FORWARDED_FOR, |text| {
        write!(text, "{address}")
    });
    add(sent, received, &X_FORWARDED_PROTO, |text| {
        text.write_str(client.scheme)
    });
    let host = host.to_str().unwrap_or_default();
    add(sent, received, &X_FORWARDED_HOST, |text| {
        text.write_str(host)
    });
    add(sent, received, &header::FORWARDED, |text| {
        match address {
            IpAddr::V4(address) => write!(text, "for={address}")?,
            IpAddr::V6(address) => write!(text, "for=\"[{address}]\"")?,
        }
        write!(text, ";host=\"{host}\";proto={}", client.scheme)
    });
}

/// Adds a member to the list that the client sent.
fn add(
    sent: &mut HeaderMap,
    received: &HeaderMap,
    name: &HeaderName,
    member: impl FnOnce(&mut String) -> std::fmt::Result,
) {
    let mut text = String::with_capacity(64);
    for earlier in received.get_all(name) {
        text.push_str(earlier.to_str().unwrap_or_default());
        text.push_str(", ");
    }
    // Writing to a string does not fail.
    let _ = member(&mut text);
    if let Ok(value) = HeaderValue::try_from(text) {
        sent.insert(name.clone(), value);
    }
}

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");

/// How many headers we may add.
const ADDED_MAX: usize = 8;

/// What a `Connection` header cannot take away: its own options, what delimits a message, and what we add.
const UNNAMEABLE: [&str; 11] = [
    "close",
    "keep-alive",
    "upgrade",
    "te",
    "host",
    "content-length",
    "transfer-encoding",
    "forwarded",
    "x-forwarded-for",
    "x-forwarded-proto",
    "x-forwarded-host",
];

#[cfg(test)]
mod tests;
