//! Which headers cross the proxy, and which are added.
//!
//! A request's head is written here whole, from the bytes the client sent: hyper writes one of its own, which only tells
//! it how the body ends, and the pool's sockets put ours in its place. An answer's headers are a map built anew rather
//! than edited: `HeaderMap::remove` puts the last header in the gap, and their order is the sender's to choose.

use std::{net::IpAddr, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Version, header, request};

use crate::proxy::{ClientInfo, RawHead};

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

/// Writes the whole head to send upstream: the client's own bytes, where they are known, but for what is about its
/// connection with us.
///
/// `X-Forwarded-For` and `Forwarded` are lists of the hops, and get one more member. `X-Forwarded-Proto` and
/// `X-Forwarded-Host` say what the client itself used, and are read as one value by most frameworks: what a proxy before
/// us says stays as it is, since only the one that spoke TLS with the client knows; where nobody says, we do. That is
/// what Envoy and Traefik do for a proxy they trust. Whoever is reached directly could write all four to the upstream
/// before, so nothing can be forged now that could not be then.
pub(super) fn for_upstream(
    request: &request::Parts,
    intent: Intent,
    client: &ClientInfo,
    manner: &Manner,
) -> Bytes {
    let headers = &request.headers;
    let named = named_by_connection(headers);
    let crosses = |name: &[u8], value: &[u8]| {
        !(is_hop_by_hop(name)
            || is_ours(name)
            || is_named(&named, name)
            || !manner.forward_expect && is_expect(name) && is_continue(value))
    };
    let mut head = Head::begin(request);
    match request.extensions.get::<RawHead>() {
        Some(raw) => {
            let is_set = |name: &[u8]| {
                let same = |(set, _): &(HeaderName, _)| is_name(name, set.as_str());
                raw.set().iter().any(same)
            };
            for (name, value) in raw.fields() {
                if crosses(name, value) && !is_set(name) {
                    head.field(name, &[value]);
                }
            }
            for (name, value) in raw.set() {
                head.field(name.as_str().as_bytes(), &[value.as_bytes()]);
            }
        }
        None => {
            for (name, value) in headers {
                let (name, value) = (name.as_str().as_bytes(), value.as_bytes());
                if crosses(name, value) {
                    head.field(name, &[value]);
                }
            }
        }
    }
    let host = headers.get(header::HOST);
    if host.is_none() {
        head.field(b"Host", &[manner.default_host.as_bytes()]);
    }
    if let Intent::Switch = intent {
        let protocols = protocols(headers).collect::<Vec<_>>().join(", ");
        head.field(b"Connection", &[b"Upgrade"]);
        head.field(b"Upgrade", &[protocols.as_bytes()]);
    } else if tokens(headers, &header::TE).any(|token| token.eq_ignore_ascii_case("trailers")) {
        // TE goes to the next hop only, which is us; but we can carry trailers exactly if the client takes them.
        head.field(b"Connection", &[b"TE"]);
        head.field(b"TE", &[b"trailers"]);
    }
    head.add_forwarded(headers, client, host.unwrap_or(&manner.default_host));
    head.end()
}

/// Returns what hyper must know of the request's headers to send its body: what delimits it.
pub(super) fn framing(headers: &HeaderMap) -> HeaderMap {
    let mut framing = HeaderMap::new();
    for name in [
        header::CONTENT_LENGTH,
        header::TRANSFER_ENCODING,
        header::TRAILER,
    ] {
        for value in headers.get_all(&name) {
            framing.append(name.clone(), value.clone());
        }
    }
    framing
}

/// A request head that is being written.
struct Head(Vec<u8>);

impl Head {
    fn begin(request: &request::Parts) -> Self {
        let raw = request.extensions.get::<RawHead>();
        let target = raw.and_then(RawHead::target).unwrap_or_else(|| {
            let of_uri = request.uri.path_and_query();
            of_uri.map_or(&b"/"[..], |target| target.as_str().as_bytes())
        });
        let len = raw.map_or(HEAD_BYTES_LIKELY, RawHead::len);
        let mut head = Vec::with_capacity(len + ADDED_BYTES_LIKELY);
        head.extend_from_slice(request.method.as_str().as_bytes());
        head.push(b' ');
        head.extend_from_slice(target);
        head.extend_from_slice(b" HTTP/1.1\r\n");
        Self(head)
    }

    /// Adds a field whose value is given in parts.
    fn field(&mut self, name: &[u8], value: &[&[u8]]) {
        self.0.extend_from_slice(name);
        self.0.extend_from_slice(b": ");
        for part in value {
            self.0.extend_from_slice(part);
        }
        self.0.extend_from_slice(b"\r\n");
    }

    /// Adds one more member to a list of which the client may have sent the first ones.
    fn list(&mut self, name: &HeaderName, received: &HeaderMap, member: &[&[u8]]) {
        self.0.extend_from_slice(name.as_str().as_bytes());
        self.0.extend_from_slice(b": ");
        for earlier in received.get_all(name) {
            self.0.extend_from_slice(earlier.as_bytes());
            self.0.extend_from_slice(b", ");
        }
        for part in member {
            self.0.extend_from_slice(part);
        }
        self.0.extend_from_slice(b"\r\n");
    }

    fn add_forwarded(&mut self, received: &HeaderMap, client: &ClientInfo, host: &HeaderValue) {
        let (address, host) = (client.address.as_bytes(), host.as_bytes());
        self.list(&X_FORWARDED_FOR, received, &[address]);
        if !received.contains_key(&X_FORWARDED_PROTO) {
            self.field(b"x-forwarded-proto", &[client.scheme.as_bytes()]);
        }
        if !received.contains_key(&X_FORWARDED_HOST) {
            self.field(b"x-forwarded-host", &[host]);
        }
        let (open, close): (&[u8], &[u8]) = match client.peer.ip().to_canonical() {
            IpAddr::V4(_) => (b"for=", b";host=\""),
            IpAddr::V6(_) => (b"for=\"[", b"]\";host=\""),
        };
        let scheme = client.scheme.as_bytes();
        let member = [open, address, close, host, b"\";proto=", scheme];
        self.list(&header::FORWARDED, received, &member);
    }

    fn end(mut self) -> Bytes {
        self.0.extend_from_slice(b"\r\n");
        Bytes::from(self.0)
    }
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
        let is_dropped = is_hop_by_hop(name.as_str().as_bytes())
            || name == header::TRANSFER_ENCODING
            || (has_framing && name == header::CONTENT_LENGTH)
            || is_named(&named, name.as_str().as_bytes());
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
            return !is_hop_by_hop(name.as_str().as_bytes());
        }
        says += 1;
        stays && says == 1 && value.as_bytes().eq_ignore_ascii_case(b"keep-alive")
    })
}

/// Whether a header is about one connection, not about the message. `Transfer-Encoding` is dealt with apart: hyper
/// needs it on a request to know that a GET has a body.
fn is_hop_by_hop(name: &[u8]) -> bool {
    let same = |other: &str| is_name(name, other);
    // The length first, since this is asked of every header.
    match name.len() {
        2 => same("te"),
        7 => same("upgrade"),
        10 => same("connection") || same("keep-alive"),
        14 => same("http2-settings"),
        16 => same("proxy-connection"),
        _ => false,
    }
}

/// Whether we write the header ourselves, with what the client sent in front.
fn is_ours(name: &[u8]) -> bool {
    is_name(name, "forwarded") || is_name(name, "x-forwarded-for")
}

fn is_expect(name: &[u8]) -> bool {
    is_name(name, "expect")
}

fn is_name(name: &[u8], lower_case: &str) -> bool {
    name.eq_ignore_ascii_case(lower_case.as_bytes())
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

fn is_named(named: &[String], name: &[u8]) -> bool {
    named.iter().any(|one| is_name(name, one))
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
    let mut values = headers.get_all(header::EXPECT).iter();
    values.any(|value| is_continue(value.as_bytes()))
}

fn is_continue(value: &[u8]) -> bool {
    value.eq_ignore_ascii_case(b"100-continue")
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

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");

/// The length of a usual head where the client's own is not known, and what we usually add: no more than a hint.
const HEAD_BYTES_LIKELY: usize = 512;
const ADDED_BYTES_LIKELY: usize = 256;

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
