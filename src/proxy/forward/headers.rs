//! Which headers cross the proxy, and which are added.
//!
//! A request's head is written here whole, from the bytes the client sent. An answer's head is the business of `answer`.

use std::net::IpAddr;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Version, header, request};

use crate::proxy::{
    ClientInfo, RawHead,
    fields::{Head, HeadCopy, Kind, Line, decimal, is_continue},
    framing::{Encoder, Framing},
    hop::{is_name, tokens},
};

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
pub(super) fn intent(method: &Method, head: &Head) -> Intent {
    let may_begin =
        |protocol: &[u8]| *method == Method::GET || !protocol.eq_ignore_ascii_case(b"websocket");
    if protocols(head).any(may_begin) && head.has_option(b"upgrade") {
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

/// Writes the whole head to send upstream: the client's own bytes, but for what is about its connection with us.
///
/// `X-Forwarded-For` and `Forwarded` are lists of the hops, and get one more member. `X-Forwarded-Proto` and
/// `X-Forwarded-Host` say what the client itself used, and are read as one value by most frameworks: what a proxy before
/// us says stays as it is, since only the one that spoke TLS with the client knows; where nobody says, we do. That is
/// what Envoy and Traefik do for a proxy they trust. Whoever is reached directly could write all four to the upstream
/// before, so nothing can be forged now that could not be then.
pub(super) fn for_upstream(
    request: &request::Parts,
    raw: &RawHead,
    intent: Intent,
    client: &ClientInfo,
    manner: &Manner,
) -> Bytes {
    let received = raw.head();
    let bytes = received.bytes();
    let named = received.named();
    let mut head = begin(request, raw);
    for line in received.lines() {
        let crosses = match line.kind {
            Kind::XForwardedFor | Kind::Forwarded => false,
            Kind::Expect => manner.forward_expect || !is_continue(line.value(bytes)),
            kind => !kind.is_hop_by_hop(),
        };
        if !crosses || line.is_among(bytes, &named) || is_set(raw, line) {
            head.leave_out(line);
        }
    }
    for (name, value) in raw.set() {
        head.add(name.as_str().as_bytes(), &[value.as_bytes()]);
    }
    let default_host = manner.default_host.as_bytes();
    let host = received.values(Kind::Host).next();
    if host.is_none() {
        head.add(b"Host", &[default_host]);
    }
    if let Intent::Switch = intent {
        let protocols: Vec<_> = protocols(received).collect();
        head.add(b"Connection", &[b"Upgrade"]);
        head.add(b"Upgrade", &[&protocols.join(&b", "[..])]);
    } else if received.takes_trailers() {
        // TE goes to the next hop only, which is us; but we can carry trailers exactly if the client takes them.
        head.add(b"Connection", &[b"TE"]);
        head.add(b"TE", &[b"trailers"]);
    }
    add_forwarded(&mut head, received, client, host.unwrap_or(default_host));
    head.end()
}

/// Returns how the body of a request is sent, whose head was found to be sound.
pub(super) fn encoder(received: &Head) -> Encoder {
    let framing = match received.values(Kind::TransferEncoding).next() {
        Some(_) => Framing::Chunked,
        None => {
            let length = received.values(Kind::ContentLength).next();
            Framing::Length(length.and_then(decimal).unwrap_or(0))
        }
    };
    Encoder::new(framing, received.values(Kind::Trailer).flat_map(tokens))
}

/// Begins the head with the request's line, which is the client's where that says what we say.
fn begin<'a>(request: &request::Parts, raw: &'a RawHead) -> HeadCopy<'a> {
    let (received, target) = (raw.head(), raw.target());
    if target.is_some() && received.first_line().ends_with(b" HTTP/1.1") {
        return HeadCopy::of(received, ADDED_BYTES_LIKELY);
    }
    let target = target.unwrap_or_else(|| {
        let of_uri = request.uri.path_and_query();
        of_uri.map_or(&b"/"[..], |target| target.as_str().as_bytes())
    });
    let line = [
        request.method.as_str().as_bytes(),
        b" ",
        target,
        b" HTTP/1.1",
    ];
    HeadCopy::with_first_line(received, &line, ADDED_BYTES_LIKELY)
}

fn add_forwarded(head: &mut HeadCopy<'_>, received: &Head, client: &ClientInfo, host: &[u8]) {
    let (address, scheme) = (client.address.as_bytes(), client.scheme.as_bytes());
    add_to_list(
        head,
        &X_FORWARDED_FOR,
        received.values(Kind::XForwardedFor),
        &[address],
    );
    if received.values(Kind::XForwardedProto).next().is_none() {
        head.add(b"x-forwarded-proto", &[scheme]);
    }
    if received.values(Kind::XForwardedHost).next().is_none() {
        head.add(b"x-forwarded-host", &[host]);
    }
    let (open, close): (&[u8], &[u8]) = match client.peer.ip().to_canonical() {
        IpAddr::V4(_) => (b"for=", b";host=\""),
        IpAddr::V6(_) => (b"for=\"[", b"]\";host=\""),
    };
    let member = [open, address, close, host, b"\";proto=", scheme];
    add_to_list(
        head,
        &header::FORWARDED,
        received.values(Kind::Forwarded),
        &member,
    );
}

/// Adds a list with one member more than the client sent; the member is given in parts.
fn add_to_list<'a>(
    head: &mut HeadCopy<'_>,
    name: &HeaderName,
    received: impl Iterator<Item = &'a [u8]>,
    member: &[&[u8]],
) {
    let mut received = received.peekable();
    if received.peek().is_none() {
        head.add(name.as_str().as_bytes(), member);
        return;
    }
    let mut list: Vec<&[u8]> = received.flat_map(|earlier| [earlier, b", "]).collect();
    list.extend_from_slice(member);
    head.add(name.as_str().as_bytes(), &list);
}

/// Returns whether the client's connection stays open by its request's own word, or HTTP/1.1's default.
///
/// In HTTP/1.0 that is always said.
pub(super) fn stays(version: Version, head: &Head) -> bool {
    version == Version::HTTP_11 && !head.has_option(b"close")
}

/// Returns the protocols a request would switch to, without h2c.
fn protocols(head: &Head) -> impl Iterator<Item = &[u8]> {
    let protocols = head.values(Kind::Upgrade).flat_map(tokens);
    protocols.filter(|protocol| !protocol.eq_ignore_ascii_case(b"h2c"))
}

/// Whether what was set on our side takes this field's place.
fn is_set(raw: &RawHead, line: &Line) -> bool {
    let name = line.name(raw.head().bytes());
    let mut set = raw.set().iter();
    set.any(|(set, _)| set.as_str().len() == name.len() && is_name(name, set.as_str()))
}

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// What we usually add: no more than a hint.
const ADDED_BYTES_LIKELY: usize = 288;

#[cfg(test)]
mod tests;
