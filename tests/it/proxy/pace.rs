//! Bodies that come too slowly.

use sidestream::proxy::ProxySettings;

use super::stage::{Front, ONE_BYTE, Upstream, check_error};

async fn check(start_of_body: &str) {
    let upstream = Upstream::bind().await;
    let front = Front::forwarding(ProxySettings {
        body_rate: 500,
        ..upstream.settings()
    });
    let (mut slow, mut quick) = (front.client().await, front.client().await);
    slow.send(&format!("POST / HTTP/1.1\r\nHost: h\r\n{start_of_body}"))
        .await;
    let mut slow_peer = upstream.accept().await;
    slow_peer.head().await;
    quick
        .send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3000\r\n\r\n")
        .await;
    quick.send(&"x".repeat(2999)).await;
    let mut quick_peer = upstream.accept().await;
    quick_peer.head().await;
    quick_peer.exactly(2999).await;

    let answer = slow.rest().await;
    check_error(
        &answer,
        "408 Request Timeout",
        "the request's body comes too slowly",
    );
    assert!(answer.to_ascii_lowercase().contains("connection: close"));
    slow_peer.rest().await;

    // It has sent as much as it must in five seconds, so it has some more.
    quick.send("x").await;
    quick_peer.exactly(1).await;
    quick_peer.send(ONE_BYTE).await;
    let answer = quick.until("\r\n\r\na").await;
    assert!(answer.starts_with("HTTP/1.1 200 OK"));
}

#[tokio::test]
async fn who_sends_a_body_too_slowly_is_408() {
    tokio::join!(
        check("Content-Length: 3000\r\n\r\nabc"),
        check("Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"),
    );
}
