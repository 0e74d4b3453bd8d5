//! Which headers cross the proxy, and which are added.
//!
//! Maps are built anew rather than edited: `HeaderMap::remove` puts the last header in the gap, and the order of headers
//! is the sender's to choose.

use std::{net::IpAddr, time::Duration};

use http::{HeaderMap, HeaderName, HeaderValue, Method, Version, header};

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
///
/// A WebSocket begins with GET; with any other method it is an ordinary request, which cannot cost the client its
/// connection. Other protocols may begin with what they like (Docker's begins with POST).
pub(super) fn intent(method: &Method, headers: &HeaderMap) -> Intent {
    let may_begin =
        |protocol: &str| method == Method::GET || !protocol.eq_ignore_ascii_case("websocket");
    let asks = headers.contains_key(header::UPGRADE)
        && tokens(headers, &header::CONNECTION).any(|token| token.eq_ignore_ascii_case("upgrade"))
        && protocols(headers).any(may_begin);
    if asks {
        Intent::Switch
    } else {
        Intent::Exchange
    }
}

/// How requests reach the upstream, whoever sends them.
#[derive(Clone, Debug)]
pub(super) struct Manner {
    /// The `Host` of a request that has none.
    pub(super) default_host: HeaderValue,
    /// `Expect: 100-continue` is the upstream's to answer.
    pub(super) forward_expect: bool,
}

/// Returns the headers to send upstream.
///
/// `X-Forwarded-For` and `Forwarded` are lists of the hops, and get one more member. `X-Forwarded-Proto` and
/// `X-Forwarded-Host` say what the client itself used, and are read as one value by most frameworks: what a proxy before
/// us says stays as it is, since only the one that spoke TLS with the client knows; where nobody says, we do. That is
/// what Envoy and Traefik do for a proxy they trust. Whoever is reached directly could write all four to the upstream
/// before, so nothing can be forged now that could not be then.
pub(super) fn for_upstream(
    headers: &HeaderMap,
    intent: Intent,
    client: &ClientInfo,
    manner: &Manner,
) -> HeaderMap {
    let named = named_by_connection(headers);
    let mut sent = HeaderMap::with_capacity(headers.len() + ADDED_MAX);
    for (name, value) in headers {
        if is_hop_by_hop(name) || is_ours(name) || is_named(&named, name) {
            continue;
        }
        if name == header::EXPECT && !manner.forward_expect && is_continue(value) {
            continue;
        }
        sent.append(name.clone(), value.clone());
    }
    let host = headers.get(header::HOST).unwrap_or(&manner.default_host);
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

/// Returns whether the client's connection stays open by its request's own word, or HTTP/1.1's default.
///
/// In HTTP/1.0 hyper says itself that it stays.
pub(super) fn stays(version: Version, headers: &HeaderMap) -> bool {
    version == Version::HTTP_11
        && !tokens(headers, &header::CONNECTION).any(|token| token.eq_ignore_ascii_case("close"))
}

/// Returns the headers to send to the client, and how long the upstream keeps the connection by its own word.
///
/// Where the client's connection `stays` open and the upstream says `Connection: keep-alive`, so do we: HTTP/1.1 does
/// not ask for it, but the client has always seen it.
pub(super) fn for_client(headers: HeaderMap, stays: bool) -> (HeaderMap, Option<Duration>) {
    let has_framing = headers.contains_key(header::TRANSFER_ENCODING);
    if !has_framing && is_plain(&headers, stays) {
        return (headers, None);
    }
    let advised = keep_alive_timeout(&headers);
    let mut keeps = stays
        && tokens(&headers, &header::CONNECTION)
            .any(|token| token.eq_ignore_ascii_case("keep-alive"));
    let named = named_by_connection(&headers);
    let mut sent = HeaderMap::with_capacity(headers.len());
    let mut last = None;
    for (name, value) in headers {
        // `None`: one more value of the name before.
        let name = name.or_else(|| last.clone());
        last.clone_from(&name);
        let Some(name) = name else { continue };
        if name == header::CONNECTION && std::mem::take(&mut keeps) {
            sent.insert(name, HeaderValue::from_static("keep-alive"));
            continue;
        }
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

/// Whether an answer's headers can stay as they are: at most one is about the connection, and says what we would say.
fn is_plain(headers: &HeaderMap, stays: bool) -> bool {
    let mut says = 0;
    headers.iter().all(|(name, value)| {
        if *name != header::CONNECTION {
            return !is_hop_by_hop(name);
        }
        says += 1;
        stays && says == 1 && value.as_bytes().eq_ignore_ascii_case(b"keep-alive")
    })
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
    *name == header::FORWARDED || *name == X_FORWARDED_FOR
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

/// Whether the client waits for leave to send its body.
pub(super) fn expects_continue(headers: &HeaderMap) -> bool {
    headers.get_all(header::EXPECT).iter().any(is_continue)
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
    let address = &client.address;
    if received.contains_key(&X_FORWARDED_FOR) {
        append(sent, received, X_FORWARDED_FOR, &[address.as_bytes()]);
    } else {
        sent.insert(X_FORWARDED_FOR, address.clone());
    }
    if !received.contains_key(&X_FORWARDED_PROTO) {
        sent.insert(X_FORWARDED_PROTO, HeaderValue::from_static(client.scheme));
    }
    if !received.contains_key(&X_FORWARDED_HOST) {
        sent.insert(X_FORWARDED_HOST, host.clone());
    }
    let (open, close): (&[u8], &[u8]) = match client.peer.ip().to_canonical() {
        IpAddr::V4(_) => (b"for=", b";host=\""),
        IpAddr::V6(_) => (b"for=\"[", b"]\";host=\""),
    };
    let member = [
        open,
        address.as_bytes(),
        close,
        host.as_bytes(),
        b"\";proto=",
        client.scheme.as_bytes(),
    ];
    append(sent, received, header::FORWARDED, &member);
}

/// Adds a member, given in parts, to the list that the client sent.
fn append(sent: &mut HeaderMap, received: &HeaderMap, name: HeaderName, member: &[&[u8]]) {
    let earlier = || received.get_all(&name).iter().map(HeaderValue::as_bytes);
    // The exact length: the bytes become the value as they are.
    let len = earlier()
        .map(|value| value.len() + SEPARATOR.len())
        .sum::<usize>()
        + member.iter().map(|part| part.len()).sum::<usize>();
    let mut list = Vec::with_capacity(len);
    for value in earlier() {
        list.extend_from_slice(value);
        list.extend_from_slice(SEPARATOR);
    }
    for part in member {
        list.extend_from_slice(part);
    }
    // Its parts are header values, so it is one.
    if let Ok(value) = HeaderValue::try_from(list) {
        sent.insert(name, value);
    }
}

const SEPARATOR: &[u8] = b", ";
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
