//! WebSockets over HTTP/2 (RFC 8441), which are those of HTTP/1.1 for the upstream.

use bytes::Bytes;
use h2::{Reason, RecvStream, SendStream, ext::Protocol};
use http::{HeaderValue, Method, Request, StatusCode, Uri};
use tungstenite::handshake::derive_accept_key;

use super::{clear, settings};
use crate::{
    proxy::stage::{Forwarding, Front, Peer, Upstream, latin_1, within},
    support::http2::{Answer, Http2, joined, next},
};

/// Asks for a WebSocket, as browsers do.
fn websocket(target: &str) -> Request<()> {
    let mut request = Request::new(());
    *request.method_mut() = Method::CONNECT;
    *request.uri_mut() = format!("https://h{target}")
        .parse::<Uri>()
        .expect("a target");
    request
        .extensions_mut()
        .insert(Protocol::from_static("websocket"));
    let headers = request.headers_mut();
    headers.insert("sec-websocket-version", HeaderValue::from_static("13"));
    headers.insert("sec-websocket-protocol", HeaderValue::from_static("a, b"));
    headers.insert("origin", HeaderValue::from_static("https://h"));
    request
}

/// Waits until the client knows what the server takes.
async fn connect(front: &Front) -> Http2 {
    let client = Http2::clear(front.address).await;
    within(async {
        while !client.takes_connect() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    client
}

/// Opens one, and checks how the upstream is asked for it.
async fn open(upstream: &Upstream, client: &Http2) -> (Peer, SendStream<Bytes>, RecvStream) {
    let (answer, sending) = client.begin(websocket("/ws?a"), false).await;
    let mut peer = upstream.accept().await;
    let head = peer.head().await;
    let (line, fields) = head.split_once("\r\n").expect("a line");
    assert_eq!(line, "GET /ws?a HTTP/1.1");
    for field in [
        "host: h",
        "sec-websocket-version: 13",
        "sec-websocket-protocol: a, b",
        "origin: https://h",
        "Connection: Upgrade",
        "Upgrade: websocket",
    ] {
        let count = fields
            .split("\r\n")
            .filter(|other| other.eq_ignore_ascii_case(field))
            .count();
        assert_eq!(count, 1, "{field}: {head}");
    }
    assert!(
        !fields.contains("content-length") && !fields.contains("transfer-encoding"),
        "{head}"
    );
    let key = fields
        .split("\r\n")
        .find_map(|field| field.strip_prefix("sec-websocket-key: "))
        .expect("a key");
    assert_eq!(key.len(), 24, "{key}");
    let accept = derive_accept_key(key.as_bytes());
    peer.send(format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {accept}\r\nSec-WebSocket-Protocol: b\r\n\r\nhello"
    ))
    .await;
    let answer = within(answer).await.expect("an answer");
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(joined(answer.headers(), "sec-websocket-protocol"), "b");
    assert_eq!(answer.headers().len(), 1, "{answer:?}");
    let mut received = answer.into_body();
    assert_eq!(
        within(next(&mut received))
            .await
            .expect("data")
            .expect("good"),
        "hello"
    );
    (peer, sending, received)
}

#[tokio::test]
async fn a_websocket_of_the_upstream_is_a_tunnel() {
    let upstream = Upstream::bind().await;
    let front = clear(&upstream);
    let client = connect(&front).await;
    let (mut peer, mut sending, mut received) = open(&upstream, &client).await;
    sending
        .send_data(Bytes::from_static(b"\x81\x80"), false)
        .expect("sent");
    assert_eq!(latin_1(&peer.exactly(2).await), b"\x81\x80");
    // More than any window, each way.
    let large = vec![b'x'; 3 << 20];
    let up = crate::support::http2::send(&mut sending, Bytes::from(large.clone()), false);
    let (sent, got) = within(async { tokio::join!(up, peer.exactly(large.len())) }).await;
    sent.expect("sent");
    assert_eq!(got.len(), large.len());
    let down = async {
        let mut got = 0;
        while got < large.len() {
            got += next(&mut received)
                .await
                .expect("data")
                .expect("good")
                .len();
        }
        got
    };
    let (_, got) = within(async { tokio::join!(peer.send(&large), down) }).await;
    assert_eq!(got, large.len());
    // Each side's end is an end, and no reset.
    sending
        .send_data(Bytes::from_static(b"bye"), true)
        .expect("sent");
    assert_eq!(peer.rest().await, "bye");
    peer.send("and you").await;
    peer.finish().await;
    assert_eq!(
        within(next(&mut received))
            .await
            .expect("data")
            .expect("good"),
        "and you"
    );
    assert!(within(next(&mut received)).await.is_none());
}

#[tokio::test]
async fn a_tunnel_breaks_off_where_either_side_does() {
    let upstream = Upstream::bind().await;
    let front = clear(&upstream);
    let client = connect(&front).await;
    let (mut peer, mut sending, _received) = open(&upstream, &client).await;
    sending.send_reset(Reason::CANCEL);
    assert_eq!(peer.rest().await, "");
    let (peer, _sending, mut received) = open(&upstream, &client).await;
    peer.reset();
    let end = within(next(&mut received))
        .await
        .expect("no end as if all were well");
    end.expect_err("broken off");
}

#[tokio::test]
async fn a_refused_one_is_an_answer_and_the_connection_goes_on() {
    let upstream = Upstream::bind().await;
    let front = clear(&upstream);
    let client = connect(&front).await;
    // 200 would be the beginning of a WebSocket here.
    for (said, status, body) in [
        ("403 Forbidden", 403, "no"),
        ("200 OK", 502, ""),
        ("403 Forbidden", 403, "no"),
    ] {
        let (answer, _sending) = client.begin(websocket("/ws"), false).await;
        let mut peer = upstream.accept().await;
        peer.head().await;
        peer.send(format!(
            "HTTP/1.1 {said}\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno"
        ))
        .await;
        let answer = within(answer).await.expect("an answer");
        assert_eq!(answer.status().as_u16(), status);
        let answer = within(Answer::read(answer)).await.expect("a whole one");
        assert_eq!(answer.text(), body);
        peer.finish().await;
    }
}

#[tokio::test]
async fn draining_ends_tunnels_in_time() {
    let upstream = Upstream::bind().await;
    let front = Front::start(
        Forwarding::new(upstream.settings()),
        settings(|settings| settings.drain = std::time::Duration::from_millis(200)),
    );
    let client = connect(&front).await;
    let (mut peer, _sending, _received) = open(&upstream, &client).await;
    front.shutdown.begin();
    assert_eq!(peer.rest().await, "");
    front.ended().await;
}
