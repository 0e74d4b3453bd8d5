//! What crosses the proxy, and how.

use super::stage::{Front, Upstream};

#[tokio::test]
async fn a_get_crosses_with_its_header_case_and_comes_back() {
    let upstream = Upstream::bind().await;
    let front = Front::before(&upstream);
    let mut client = front.client().await;
    client
        .send("GET /a?b=c HTTP/1.1\r\nHost: api.example\r\nX-CaSe: 1\r\nB: x\r\nA: y\r\n\r\n")
        .await;
    let mut peer = upstream.accept().await;
    let head = peer.head().await;
    assert!(
        head.starts_with(
            "GET /a?b=c HTTP/1.1\r\nHost: api.example\r\nX-CaSe: 1\r\nB: x\r\nA: y\r\n"
        ),
        "{head}"
    );
    peer.send("HTTP/1.1 299 Quite Fine\r\nDate: yesterday\r\nSeRver: legacy\r\nContent-Length: 2\r\n\r\nok")
        .await;
    assert_eq!(
        client.until("ok").await,
        "HTTP/1.1 299 Quite Fine\r\nDate: yesterday\r\nSeRver: legacy\r\nContent-Length: 2\r\n\r\nok"
    );
}
