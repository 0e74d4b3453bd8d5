//! WebSockets that are not ours.

use super::stage::{Front, Upstream};

const ASK: &str = "GET /chat HTTP/1.1\r\nHost: h\r\nUpgrade: WebSocket\r\nConnection: keep-alive, Upgrade\r\n\
                   Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

const SWITCH: &str = "HTTP/1.1 101 Web Socket Protocol Handshake\r\nUpGrade: WebSocket\r\nConnection: Upgrade\r\nX-Y: z\r\n\r\n";

#[tokio::test]
async fn an_upgrade_goes_through_byte_for_byte() {
    let upstream = Upstream::bind().await;
    let front = Front::before(&upstream);
    let mut client = front.client().await;
    client.send([ASK, "early"].concat()).await;
    let mut peer = upstream.accept().await;
    let head = peer.head().await;
    assert!(
        head.contains("Upgrade: WebSocket\r\n") && head.contains("Connection: Upgrade\r\n"),
        "{head}"
    );
    let sent_too_early = peer.stream.try_read(&mut [0; 1]);
    assert!(sent_too_early.is_err(), "nothing before the 101");
    peer.send(["HTTP/1.1 100 Continue\r\n\r\n", SWITCH, "hello"].concat())
        .await;
    assert_eq!(client.until("hello").await, [SWITCH, "hello"].concat());
    assert_eq!(peer.exactly(5).await, "early");
    client.send("GET / HTTP/1.1\r\n\r\n").await;
    assert_eq!(peer.head().await, "GET / HTTP/1.1\r\n\r\n");
    // Either side may end first; the other half goes on.
    client.finish().await;
    assert_eq!(peer.rest().await, "");
    peer.send("bye").await;
    peer.finish().await;
    assert_eq!(client.rest().await, "bye");
}

#[tokio::test]
async fn a_refused_upgrade_is_passed_on_and_closes() {
    let upstream = Upstream::bind().await;
    let front = Front::before(&upstream);
    let mut client = front.client().await;
    client.send([ASK, "frames"].concat()).await;
    let mut peer = upstream.accept().await;
    peer.head().await;
    peer.send("HTTP/1.1 403 No\r\nContent-Length: 4\r\nX-Why: so\r\n\r\nnope")
        .await;
    assert_eq!(
        client.rest().await,
        "HTTP/1.1 403 No\r\nContent-Length: 4\r\nX-Why: so\r\nConnection: close\r\n\r\nnope"
    );
    assert_eq!(peer.rest().await, "", "the frames stay here");
}

#[tokio::test]
async fn an_upgrade_to_h2c_is_not_asked_for() {
    let upstream = Upstream::bind().await;
    let front = Front::before(&upstream);
    let mut client = front.client().await;
    client
        .send("POST / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: x\r\n\
               Content-Length: 2\r\n\r\nhi")
        .await;
    let mut peer = upstream.accept().await;
    let head = peer.head().await;
    assert!(
        !head.to_lowercase().contains("h2c") && !head.to_lowercase().contains("http2"),
        "{head}"
    );
    assert_eq!(peer.exactly(2).await, "hi");
    peer.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        .await;
    assert!(client.head().await.starts_with("HTTP/1.1 200 OK"));
}

#[tokio::test]
async fn with_another_method_than_get_it_is_an_ordinary_request() {
    let upstream = Upstream::bind().await;
    let front = Front::before(&upstream);
    let mut client = front.client().await;
    client.send(ASK.replacen("GET", "TRACE", 1)).await;
    let mut peer = upstream.accept().await;
    let head = peer.head().await;
    assert!(head.starts_with("TRACE /chat HTTP/1.1\r\n"), "{head}");
    assert!(
        !head.contains("Upgrade") && !head.contains("onnection:"),
        "{head}"
    );
    let refused = "HTTP/1.1 405 No\r\nConnection: keep-alive\r\nContent-Length: 0\r\n\r\n";
    peer.send(refused).await;
    assert_eq!(client.head().await, refused);
    // And the connection stays.
    client.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n").await;
    assert!(peer.head().await.starts_with("GET / HTTP/1.1\r\n"));
}

#[tokio::test]
async fn an_upstream_that_dies_of_an_upgrade_is_502() {
    let upstream = Upstream::bind().await;
    let front = Front::before(&upstream);
    let mut client = front.client().await;
    client.send(ASK).await;
    let mut peer = upstream.accept().await;
    peer.head().await;
    drop(peer);
    assert!(client.head().await.starts_with("HTTP/1.1 502 Bad Gateway"));
}
