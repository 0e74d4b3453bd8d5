//! `Expect: 100-continue`: answered here, or by the upstream.

use sidestream::proxy::ProxySettings;

use super::stage::{Front, Peer, Upstream};

const EXPECTING: &str =
    "POST / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n";

#[tokio::test]
async fn expect_is_answered_here() {
    let upstream = Upstream::bind().await;
    let front = Front::before(&upstream);
    let mut client = front.client().await;
    client.send(EXPECTING).await;
    let mut peer = upstream.accept().await;
    let head = peer.head().await;
    assert!(!head.to_lowercase().contains("expect"), "{head}");
    assert_eq!(client.head().await, "HTTP/1.1 100 Continue\r\n\r\n");
    client.send("ab").await;
    assert_eq!(peer.exactly(2).await, "ab");
    peer.send("HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n")
        .await;
    assert!(client.head().await.starts_with("HTTP/1.1 201 Created"));
}

/// A request that expects, before an upstream that is to answer that itself and has read the head.
async fn expecting() -> (Front, Peer, Peer) {
    let upstream = Upstream::bind().await;
    let front = Front::forwarding(ProxySettings {
        forward_expect: true,
        ..upstream.settings()
    });
    let mut client = front.client().await;
    client.send(EXPECTING).await;
    let mut peer = upstream.accept().await;
    let head = peer.head().await;
    assert!(head.contains("Expect: 100-continue\r\n"), "{head}");
    (front, client, peer)
}

#[tokio::test]
async fn expect_is_passed_on_and_the_upstream_gives_leave() {
    let (_front, mut client, mut peer) = expecting().await;
    let told_too_early = client.stream.try_read(&mut [0; 1]);
    assert!(told_too_early.is_err(), "leave before the upstream's");
    peer.send("HTTP/1.1 100 Continue\r\n\r\n").await;
    assert_eq!(client.head().await, "HTTP/1.1 100 Continue\r\n\r\n");
    client.send("ab").await;
    assert_eq!(peer.exactly(2).await, "ab");
    peer.send("HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n")
        .await;
    assert!(client.head().await.starts_with("HTTP/1.1 201 Created"));
}

#[tokio::test]
async fn expect_is_passed_on_and_the_upstream_refuses() {
    let (_front, mut client, mut peer) = expecting().await;
    peer.send("HTTP/1.1 417 No\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nno")
        .await;
    // The body was never asked for: so the connection cannot stay, which is said.
    assert_eq!(
        client.rest().await,
        "HTTP/1.1 417 No\r\nConnection: close\r\nContent-Length: 2\r\n\r\nno"
    );
}

#[tokio::test]
async fn expect_is_passed_on_to_an_upstream_that_does_not_know_it() {
    let (_front, mut client, mut peer) = expecting().await;
    // It says nothing; after a second the client is let on.
    assert_eq!(client.head().await, "HTTP/1.1 100 Continue\r\n\r\n");
    client.send("ab").await;
    assert_eq!(peer.exactly(2).await, "ab");
    peer.send("HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n")
        .await;
    assert!(client.head().await.starts_with("HTTP/1.1 201 Created"));
}
