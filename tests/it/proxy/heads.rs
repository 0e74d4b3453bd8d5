//! Raw requests on a real connection.

use super::stage::{Front, Upstream};

/// Checks the whole answer to a connection on which `raw` is sent; the upstream must not hear of it.
async fn check_refused(raw: &str, expected: &str) {
    let mut upstream = Upstream::bind().await;
    let front = Front::before(&upstream);
    let mut client = front.client().await;
    client.send(raw).await;
    assert_eq!(client.rest().await, expected, "{raw:?}");
    assert!(upstream.has_no_other(), "{raw:?}");
}

const BAD: &str = "HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";

#[tokio::test]
async fn ambiguity_is_refused_and_the_connection_closed() {
    for raw in [
        "GET / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\nHost: h\n\n",
        "GET /a b HTTP/1.1\r\nHost: h\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: h\r\nHost: h\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: h\r\nX: a\r\n b\r\n\r\n",
        "GET http://other.example/ HTTP/1.1\r\nHost: h\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: h\r\nX: \0\r\n\r\n",
        // No method; a blank behind a name.
        "G@T / HTTP/1.1\r\nHost: h\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: h\r\nX : a\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    ] {
        check_refused(raw, BAD).await;
    }
}

#[tokio::test]
async fn what_is_not_served_is_refused() {
    check_refused("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "").await;
    check_refused(
        "CONNECT a.example:443 HTTP/1.1\r\nHost: a.example:443\r\n\r\n",
        "HTTP/1.1 405 Method Not Allowed\r\nconnection: close\r\ncontent-length: 0\r\n\r\n",
    )
    .await;
    check_refused(
        &format!("GET / HTTP/1.1\r\nHost: h\r\nX: {}\r\n\r\n", "x".repeat(300_000)),
        "HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\ncontent-length: 0\r\n\r\n",
    )
    .await;
    check_refused(
        &format!("GET /{} HTTP/1.1\r\nHost: h\r\n\r\n", "x".repeat(70_000)),
        "HTTP/1.1 414 URI Too Long\r\nconnection: close\r\ncontent-length: 0\r\n\r\n",
    )
    .await;
}

#[tokio::test]
async fn every_head_of_a_connection_is_treated_and_no_body() {
    let upstream = Upstream::bind().await;
    let front = Front::before(&upstream);
    let mut client = front.client().await;
    let body = "GET /\"<x> HTTP/1.9\r\n\r\n";
    client
        .send(format!("POST /1?a=<\"> HTTP/1.1\r\nHost: h\r\nContent-Length: {}\r\n\r\n{body}", body.len()))
        .await
        .send(format!(
            "POST /2?a={{\"b\":\"#\"}} HTTP/1.7\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n{:x};x=\"y\"\r\n{body}\r\n0\r\nT: 1\r\n\r\n",
            body.len()
        ))
        .await
        .send("GET http://h/3?a=> HTTP/1.1\r\nHost: h\r\n\r\n")
        .await;
    let mut peer = upstream.accept().await;
    let answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    assert!(peer.head().await.starts_with("POST /1?a=<\"> HTTP/1.1\r\n"));
    assert_eq!(peer.exactly(body.len()).await, body);
    peer.send(answer).await;
    assert!(
        peer.head()
            .await
            .starts_with("POST /2?a={\"b\":\"#\"} HTTP/1.1\r\n")
    );
    assert!(peer.until("\r\n0\r\n\r\n").await.contains(body));
    peer.send(answer).await;
    assert!(peer.head().await.starts_with("GET /3?a=%3E HTTP/1.1\r\n"));
    peer.send(answer).await;
    for _ in 0..3 {
        client.until("\r\n\r\nok").await;
    }
}

#[tokio::test]
async fn a_refusal_waits_for_the_answer_before_it() {
    let upstream = Upstream::bind().await;
    let front = Front::before(&upstream);
    let mut client = front.client().await;
    client
        .send("GET / HTTP/1.1\r\nHost: h\r\n\r\nGET / HTTP/1.1\r\n\r\n")
        .await;
    let mut peer = upstream.accept().await;
    peer.head().await;
    peer.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        .await;
    assert_eq!(
        client.rest().await,
        format!("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok{BAD}")
    );
}

#[tokio::test]
async fn a_body_with_broken_chunks_is_400_and_the_upstream_is_left() {
    let upstream = Upstream::bind().await;
    let front = Front::before(&upstream);
    let mut client = front.client().await;
    client
        .send("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n")
        .await;
    let mut peer = upstream.accept().await;
    peer.until("ab\r\n").await;
    client.send("xyz\r\n").await;
    assert!(
        client
            .rest()
            .await
            .starts_with("HTTP/1.1 400 Bad Request\r\n")
    );
    assert!(
        !peer.rest().await.contains("0\r\n\r\n"),
        "not as if the body were whole"
    );
}
