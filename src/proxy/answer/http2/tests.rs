use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Response};

use super::{answer_head, interim_heads, raw_answer_head, trailers};
use crate::proxy::{
    ProxyBody,
    answer::{AnswerHead, ClientHead},
};

fn told(head: &Response<()>) -> String {
    let fields = head.headers().iter().map(|(name, value)| {
        let value = String::from_utf8_lossy(value.as_bytes());
        format!("{name}: {value}\n")
    });
    format!("{}\n{}", head.status().as_u16(), fields.collect::<String>())
}

/// `raw`: the head as the upstream wrote it; `body`: what there is of the body.
#[track_caller]
fn check(method: Method, raw: &str, body: &'static str, expected: &str) {
    let head = AnswerHead::read(raw.to_owned().into()).expect("a head");
    let status = head.status();
    let head = ClientHead {
        head,
        is_to_head: method == Method::HEAD,
        says_it_stays: false,
    };
    let body = ProxyBody::full(Bytes::from_static(body.as_bytes())).with_head(head);
    let mut answer = Response::new(body);
    *answer.status_mut() = status.try_into().expect("a status");
    let head = answer_head(&mut answer, &method).expect("a head");
    assert_eq!(told(&head), expected, "{raw}");
}

#[test]
fn a_head_is_the_upstreams_without_what_is_about_its_connection() {
    check(
        Method::GET,
        "HTTP/1.1 200 Fine\r\nServer: S\r\nConnection: close, X-Hop\r\nX-Hop: 1\r\nTransfer-Encoding: chunked\r\n\
         X-A: \u{a0}\r\nKeep-Alive: timeout=5\r\nUpgrade: h2c\r\nx-a:  b \r\nProxy-Connection: close\r\n\r\n",
        "abc",
        "200\nserver: S\nx-a: \u{a0}\nx-a: b\ncontent-length: 3\n",
    );
}

#[test]
fn a_length_is_that_of_the_body_or_what_there_would_be() {
    let of = |status: &str| format!("HTTP/1.1 {status}\r\nContent-Length: 5\r\n\r\n");
    check(
        Method::GET,
        &of("200 OK"),
        "abc",
        "200\ncontent-length: 3\n",
    );
    check(Method::GET, &of("200 OK"), "", "200\ncontent-length: 0\n");
    check(Method::HEAD, &of("200 OK"), "", "200\ncontent-length: 5\n");
    check(
        Method::GET,
        &of("304 Not Modified"),
        "",
        "304\ncontent-length: 5\n",
    );
    check(Method::GET, &of("204 No Content"), "", "204\n");
    let twice = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n";
    check(Method::HEAD, twice, "", "200\ncontent-length: 5\n");
    check(Method::HEAD, "HTTP/1.1 200 OK\r\n\r\n", "", "200\n");
}

#[test]
fn an_answer_of_our_own_is_treated_alike() {
    let own = |method: Method| {
        let mut answer = Response::new(ProxyBody::full("abc"));
        let headers = answer.headers_mut();
        headers.insert("connection", HeaderValue::from_static("keep-alive, x-hop"));
        headers.insert("x-hop", HeaderValue::from_static("1"));
        headers.insert("content-type", HeaderValue::from_static("a/b"));
        told(&answer_head(&mut answer, &method).expect("a head"))
    };
    assert_eq!(
        own(Method::GET),
        "200\ncontent-type: a/b\ncontent-length: 3\n"
    );
    assert_eq!(
        own(Method::HEAD),
        "200\ncontent-type: a/b\ncontent-length: 3\n"
    );
    let mut switching = Response::new(ProxyBody::empty());
    *switching.status_mut() = http::StatusCode::SWITCHING_PROTOCOLS;
    assert!(answer_head(&mut switching, &Method::GET).is_none());
}

#[test]
fn raw_heads_are_answers_and_a_101_is_a_200() {
    let raw: &'static [u8] =
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
        Sec-WebSocket-Accept: a\r\nSec-WebSocket-Protocol: b\r\n\r\n";
    let head = raw_answer_head(Bytes::from_static(raw)).expect("a head");
    assert_eq!(told(&head), "200\nsec-websocket-protocol: b\n");
    let raw: &'static [u8] =
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: text/event-stream\r\n\r\n";
    let head = raw_answer_head(Bytes::from_static(raw)).expect("a head");
    assert_eq!(told(&head), "200\ncontent-type: text/event-stream\n");
    assert!(raw_answer_head(Bytes::from_static(b"no head\r\n\r\n")).is_none());
    let raw: &'static [u8] =
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n";
    let heads: Vec<_> = interim_heads(Bytes::from_static(raw))
        .map(|head| told(&head))
        .collect();
    assert_eq!(heads, ["100\n", "103\nlink: a\n"]);
}

#[test]
fn trailers_delimit_nothing() {
    let mut given = HeaderMap::new();
    for name in [
        "x",
        "connection",
        "transfer-encoding",
        "content-length",
        "te",
        "keep-alive",
    ] {
        given.insert(name, HeaderValue::from_static("1"));
    }
    let names: Vec<_> = trailers(given).keys().map(ToString::to_string).collect();
    assert_eq!(names, ["x"]);
}
