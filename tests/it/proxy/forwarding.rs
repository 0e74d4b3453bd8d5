//! What crosses the proxy, and how.

use std::time::Duration;

use sidestream::proxy::ProxySettings;

use super::stage::{Front, ONE_BYTE, Peer, Upstream, check_error, nobody, within};

/// Sends `request`, lets the upstream say `answer`, and returns what the upstream got and what the client got to the
/// end of its connection.
async fn cross(request: &str, answer: &str) -> (String, String) {
    let upstream = Upstream::bind().await;
    let front = Front::before(&upstream);
    let mut client = front.client().await;
    client.send(request).await.finish().await;
    let mut peer = upstream.accept().await;
    let head = peer.head().await;
    peer.send(answer).await;
    peer.finish().await;
    let answer = client.rest().await;
    (head, answer)
}

/// Checks what a client gets for a GET on which the upstream says `answer`.
async fn check_answer(request: &str, answer: &str, expected: &str) {
    let (_, got) = cross(request, answer).await;
    assert_eq!(got, expected, "for {request:?} and {answer:?}");
}

const GET: &str = "GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";

#[tokio::test]
async fn a_get_crosses_with_its_header_case_and_comes_back() {
    let (head, answer) = cross(
        "GET /a?b=c HTTP/1.1\r\nHost: api.example\r\nX-CaSe: 1\r\nB: x\r\nConnection: close\r\nA: y\r\nA: z\r\n\r\n",
        "HTTP/1.1 299 Quite Fine\r\nDate: yesterday\r\nSeRver: legacy\r\nSet-Cookie: a\r\nSet-Cookie: b\r\n\
         Content-Length: 2\r\n\r\nok",
    )
    .await;
    assert_eq!(
        head,
        "GET /a?b=c HTTP/1.1\r\nHost: api.example\r\nX-CaSe: 1\r\nB: x\r\nA: y\r\nA: z\r\n\
         x-forwarded-for: 127.0.0.1\r\nx-forwarded-proto: http\r\nx-forwarded-host: api.example\r\n\
         forwarded: for=127.0.0.1;host=\"api.example\";proto=http\r\n\r\n"
    );
    assert_eq!(
        answer,
        "HTTP/1.1 299 Quite Fine\r\nDate: yesterday\r\nSeRver: legacy\r\nSet-Cookie: a\r\nSet-Cookie: b\r\n\
         Content-Length: 2\r\nConnection: close\r\n\r\nok"
    );
}

#[tokio::test]
async fn answers_of_every_framing_reach_the_client() {
    let close = "Connection: close\r\n";
    for (answer, expected) in [
        (
            "HTTP/1.1 204 No Content\r\nA: 1\r\n\r\n",
            format!("HTTP/1.1 204 No Content\r\nA: 1\r\n{close}\r\n"),
        ),
        (
            "HTTP/1.1 304 Not Modified\r\nETag: x\r\nContent-Length: 9\r\n\r\n",
            format!("HTTP/1.1 304 Not Modified\r\nETag: x\r\nContent-Length: 9\r\n{close}\r\n"),
        ),
        (
            "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na",
            format!(
                "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n{close}\r\na"
            ),
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;x=y\r\nab\r\n0\r\n\r\n",
            format!(
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n{close}\r\n2\r\nab\r\n0\r\n\r\n"
            ),
        ),
        // It ends where the connection ends, and says HTTP/1.0.
        (
            "HTTP/1.0 200 OK\r\nA: 1\r\n\r\nall of it",
            format!(
                "HTTP/1.1 200 OK\r\nA: 1\r\n{close}Transfer-Encoding: chunked\r\n\r\n9\r\nall of it\r\n0\r\n\r\n"
            ),
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: X-Own, keep-alive\r\nX-Own: 1\r\nKeep-Alive: timeout=9\r\n\r\n",
            format!("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n{close}\r\n"),
        ),
    ] {
        check_answer(GET, answer, &expected).await;
    }
}

#[tokio::test]
async fn early_hints_reach_the_client_before_the_answer() {
    let hints = "HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\n\r\n";
    let (upstream, _front, mut client) = with_client().await;
    client.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n").await;
    let mut peer = upstream.accept().await;
    peer.head().await;
    for _ in 0..3 {
        // Each is waited for before the next is sent.
        peer.send(hints).await;
        assert_eq!(client.until("\r\n\r\n").await, hints);
    }
    let answer = "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na";
    peer.send(answer).await;
    assert_eq!(client.until("\r\n\r\na").await, answer);
    // HTTP/1.0 knows no interim answers.
    client
        .send("GET / HTTP/1.0\r\nHost: h\r\nConnection: close\r\n\r\n")
        .await;
    peer.head().await;
    peer.send(hints).await.send(answer).await;
    assert_eq!(
        client.rest().await,
        "HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\na"
    );
}

#[tokio::test]
async fn hints_before_no_answer_come_before_ours_or_not_at_all() {
    let hints = "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n";
    let (upstream, _front, mut client) = with_client().await;
    client.send(GET).await;
    let mut peer = upstream.accept().await;
    peer.head().await;
    peer.send(&format!("{hints}HTTP/1.1 200 OK\r\nbroken\r\n\r\n"))
        .await;
    let answer = client.rest().await;
    let ours = answer.strip_prefix(hints).unwrap_or(&answer);
    assert!(ours.starts_with("HTTP/1.1 502 Bad Gateway\r\n"), "{answer}");
    assert_eq!(
        answer.matches("103 Early").count(),
        usize::from(ours.len() < answer.len())
    );
}

#[tokio::test]
async fn head_keeps_the_length_of_what_is_not_there() {
    check_answer(
        "HEAD / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n",
        "HTTP/1.1 405 No\r\nContent-Length: 112\r\n\r\n",
        "HTTP/1.1 405 No\r\nContent-Length: 112\r\nConnection: close\r\n\r\n",
    )
    .await;
}

#[tokio::test]
async fn trailers_cross_in_both_directions() {
    let (upstream, front, mut client) = with_client().await;
    client
        .send("POST / HTTP/1.1\r\nHost: h\r\nTE: trailers\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n")
        .await
        .send("3\r\nabc\r\n0\r\nX-Sum: 1\r\n\r\n")
        .await;
    let mut peer = upstream.accept().await;
    let head = peer.head().await;
    assert!(head.contains("Trailer: X-Sum\r\n"), "{head}");
    assert_eq!(
        peer.until("\r\n\r\n").await.to_lowercase(),
        "3\r\nabc\r\n0\r\nx-sum: 1\r\n\r\n"
    );
    peer.send("HTTP/1.1 200 OK\r\nTrailer: X-End\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nX-End: 2\r\n\r\n")
        .await;
    client.head().await;
    assert_eq!(
        client.until("\r\n\r\n").await.to_lowercase(),
        "1\r\na\r\n0\r\nx-end: 2\r\n\r\n"
    );
    drop(front);
}

#[tokio::test]
async fn a_client_of_http_1_0_is_served() {
    let (head, answer) = cross(
        "GET /x HTTP/1.0\r\nA: 1\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n",
    )
    .await;
    assert!(
        head.starts_with("GET /x HTTP/1.1\r\nA: 1\r\nHost: 127.0.0.1:"),
        "{head}"
    );
    assert_eq!(answer, "HTTP/1.0 200 OK\r\n\r\nab");
}

#[tokio::test]
async fn options_of_the_server_cross() {
    let (head, _) = cross(
        "OPTIONS * HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    )
    .await;
    assert!(head.starts_with("OPTIONS * HTTP/1.1\r\n"), "{head}");
}

async fn with_client() -> (Upstream, Front, Peer) {
    let upstream = Upstream::bind().await;
    let front = Front::before(&upstream);
    let client = front.client().await;
    (upstream, front, client)
}

#[tokio::test]
async fn bodies_stream_in_both_directions() {
    let (upstream, _front, mut client) = with_client().await;
    client
        .send("PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 6\r\n\r\nabc")
        .await;
    let mut peer = upstream.accept().await;
    peer.head().await;
    assert_eq!(peer.exactly(3).await, "abc");
    // The answer begins before the request has ended.
    peer.send("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nxyz")
        .await;
    assert!(client.head().await.starts_with("HTTP/1.1 200 OK"));
    assert_eq!(client.exactly(3).await, "xyz");
    client.send("def").await;
    assert_eq!(peer.exactly(3).await, "def");
    peer.send("uvw").await;
    assert_eq!(client.exactly(3).await, "uvw");
}

#[tokio::test]
async fn a_get_with_a_chunked_body_keeps_it() {
    let (upstream, _front, mut client) = with_client().await;
    client
        .send("GET / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n")
        .await;
    let mut peer = upstream.accept().await;
    peer.head().await;
    assert_eq!(peer.until("0\r\n\r\n").await, "2\r\nab\r\n0\r\n\r\n");
}

#[tokio::test]
async fn keep_alive_is_passed_on_where_the_connection_stays() {
    let answer = "HTTP/1.1 200 OK\r\nConnection: keep-alive\r\nContent-Length: 1\r\n\r\na";
    let (upstream, front, mut client) = with_client().await;
    client.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n").await;
    let mut peer = upstream.accept().await;
    peer.head().await;
    peer.send(answer).await;
    assert_eq!(client.until("\r\n\r\na").await, answer);
    // On the same connection: the client asks for its end.
    client.send(GET).await;
    peer.head().await;
    peer.send(answer).await;
    assert_eq!(
        client.rest().await,
        "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 1\r\n\r\na"
    );
    // We ask for it.
    let mut client = front.client().await;
    client.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n").await;
    peer.head().await;
    front.shutdown.begin();
    peer.send(answer).await;
    assert_eq!(
        client.rest().await,
        "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 1\r\n\r\na"
    );
}

#[tokio::test]
async fn a_refusal_reaches_a_client_that_is_still_sending() {
    let (upstream, _front, mut client) = with_client().await;
    client
        .send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1000000\r\n\r\n")
        .await;
    client.send(vec![b'x'; 1000]).await;
    let mut peer = upstream.accept().await;
    peer.head().await;
    peer.send("HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno")
        .await;
    assert!(
        client
            .until("no")
            .await
            .starts_with("HTTP/1.1 413 Too Large")
    );
}

#[tokio::test]
async fn connections_are_kept_and_nothing_is_pipelined() {
    let (mut upstream, _front, mut client) = with_client().await;
    let get = |path: u8| format!("GET /{path} HTTP/1.1\r\nHost: h\r\n\r\n");
    client.send([get(1), get(2), get(3)].concat()).await;
    let mut peer = upstream.accept().await;
    for path in 1..=3_u8 {
        let head = peer.head().await;
        assert!(head.starts_with(&format!("GET /{path} ")), "{head}");
        let sent_too_early = peer.stream.try_read(&mut [0; 1]);
        assert!(sent_too_early.is_err(), "pipelined");
        let framing = if path == 2 {
            "Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n"
        } else {
            "Content-Length: 1\r\n\r\na"
        };
        peer.send(format!("HTTP/1.1 200 OK\r\n{framing}")).await;
    }
    client.until("a\r\n0\r\n\r\n").await;
    client.until("Content-Length: 1\r\n\r\na").await;
    assert!(upstream.has_no_other(), "one connection was enough");
}

/// Lets one request through, so that a connection is kept, and returns both ends.
async fn kept(
    settings: impl FnOnce(ProxySettings) -> ProxySettings,
    answer: &str,
) -> (Upstream, Front, Peer, Peer) {
    let upstream = Upstream::bind().await;
    let front = Front::forwarding(settings(upstream.settings()));
    let mut client = front.client().await;
    client.send("GET /first HTTP/1.1\r\nHost: h\r\n\r\n").await;
    let mut peer = upstream.accept().await;
    peer.head().await;
    peer.send(answer).await;
    client.until("\r\n\r\na").await;
    (upstream, front, client, peer)
}

#[tokio::test]
async fn a_request_on_a_dead_connection_is_sent_once_more() {
    let (upstream, _front, mut client, mut dying) = kept(|settings| settings, ONE_BYTE).await;
    client
        .send("GET /again HTTP/1.1\r\nHost: h\r\nA: 1\r\n\r\n")
        .await;
    // It takes the request and dies of it.
    let first = dying.head().await;
    drop(dying);
    let mut peer = upstream.accept().await;
    assert_eq!(peer.head().await, first);
    // Only once: the fresh one may not die.
    drop(peer);
    assert!(client.head().await.starts_with("HTTP/1.1 502 Bad Gateway"));
}

#[tokio::test]
async fn a_post_that_was_sent_is_not_sent_again() {
    let (mut upstream, _front, mut client, mut dying) = kept(|settings| settings, ONE_BYTE).await;
    client
        .send("POST /again HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n")
        .await;
    dying.head().await;
    drop(dying);
    assert!(client.head().await.starts_with("HTTP/1.1 502 Bad Gateway"));
    assert!(upstream.has_no_other());
}

#[tokio::test]
async fn a_connection_that_the_upstream_closed_is_not_used_even_by_a_post() {
    let (upstream, _front, mut client, mut closed) = kept(|settings| settings, ONE_BYTE).await;
    closed.finish().await;
    client
        .send("POST /next HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nhi")
        .await;
    let mut peer = upstream.accept().await;
    assert!(peer.until("hi").await.starts_with("POST /next"));
    assert_eq!(closed.rest().await, "");
    peer.send(ONE_BYTE).await;
    client.until("\r\n\r\na").await;
}

#[tokio::test]
async fn a_connection_is_not_used_beyond_its_idle_time() {
    let without = |settings: ProxySettings| ProxySettings {
        idle: Duration::ZERO,
        ..settings
    };
    let advised = "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nKeep-Alive: timeout=1\r\n\r\na";
    let (upstream, _front, mut client, mut old) = kept(without, ONE_BYTE).await;
    assert_eq!(old.rest().await, "");
    client.send("GET /next HTTP/1.1\r\nHost: h\r\n\r\n").await;
    upstream.accept().await.head().await;
    let (upstream, _front, mut client, mut old) = kept(|settings| settings, advised).await;
    assert_eq!(old.rest().await, "");
    client.send("GET /next HTTP/1.1\r\nHost: h\r\n\r\n").await;
    upstream.accept().await.head().await;
}

#[tokio::test]
async fn an_upstream_that_is_not_there_is_502() {
    let front = Front::forwarding(ProxySettings::new(nobody().await));
    let mut client = front.client().await;
    client.send(GET).await;
    check_error(
        &client.rest().await,
        "502 Bad Gateway",
        "the upstream cannot be reached",
    );
}

#[tokio::test]
async fn an_upstream_that_breaks_off_or_babbles_is_502() {
    for (answer, message) in [
        ("", "the upstream broke off before it answered"),
        (
            "HTTP/1.1 200 OK\r\nContent-",
            "the upstream broke off before it answered",
        ),
        (
            "220 mail.example ESMTP\r\n\r\n",
            "the upstream's answer cannot be read",
        ),
    ] {
        let (_, got) = cross(GET, answer).await;
        check_error(&got, "502 Bad Gateway", message);
    }
}

#[tokio::test]
async fn an_answer_that_breaks_off_breaks_off_at_the_client() {
    let (_, got) = cross(
        GET,
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n",
    )
    .await;
    assert!(
        got.ends_with("\r\n\r\n2\r\nab\r\n") || got.is_empty(),
        "not as if it were whole: {got}"
    );
}

#[tokio::test]
async fn an_upstream_that_does_not_answer_in_time_is_504() {
    let upstream = Upstream::bind().await;
    let front = Front::forwarding(ProxySettings {
        response_timeout: Duration::from_millis(50),
        ..upstream.settings()
    });
    let mut client = front.client().await;
    client.send(GET).await;
    let mut peer = upstream.accept().await;
    peer.head().await;
    check_error(
        &client.rest().await,
        "504 Gateway Timeout",
        "the upstream did not answer in time",
    );
    assert_eq!(peer.rest().await, "", "the request is given up");
}

#[tokio::test]
async fn an_upload_may_last_longer_than_an_answer() {
    let upstream = Upstream::bind().await;
    let response_timeout = Duration::from_millis(100);
    let front = Front::forwarding(ProxySettings {
        response_timeout,
        ..upstream.settings()
    });
    let mut client = front.client().await;
    client
        .send("PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 30\r\n\r\n")
        .await;
    let mut peer = upstream.accept().await;
    peer.head().await;
    // The passing of time is what is tested here.
    let mut ticks = tokio::time::interval(response_timeout / 10);
    for _ in 0..30 {
        ticks.tick().await;
        client.send("x").await;
        peer.exactly(1).await;
    }
    peer.send(ONE_BYTE).await;
    assert!(
        client
            .until("\r\n\r\na")
            .await
            .starts_with("HTTP/1.1 200 OK")
    );
}

#[tokio::test]
async fn a_client_that_goes_away_takes_its_request_with_it() {
    let (upstream, _front, mut client) = with_client().await;
    client.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n").await;
    let mut peer = upstream.accept().await;
    peer.head().await;
    client.reset();
    assert_eq!(peer.rest().await, "");
}

#[tokio::test]
async fn a_client_that_goes_away_while_it_is_answered_stops_the_upstream() {
    let (upstream, _front, mut client) = with_client().await;
    client.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n").await;
    let mut peer = upstream.accept().await;
    peer.head().await;
    peer.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n")
        .await;
    client.until("a\r\n").await;
    drop(client);
    // Each write finds out; a FIN alone would be a half-close.
    within(async {
        use tokio::io::AsyncWriteExt;
        while peer.stream.write_all(b"1\r\nb\r\n").await.is_ok() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn unix_upstreams_are_served() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("upstream");
    let socket = tokio::net::UnixListener::bind(&path).expect("bind");
    let address = format!("unix:{}", path.display()).parse().expect("address");
    let front = Front::forwarding(ProxySettings::new(address));
    let mut client = front.client().await;
    client.send("GET /u HTTP/1.0\r\n\r\n").await;
    let (mut peer, _) = within(socket.accept()).await.expect("accept");
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        within(tokio::io::AsyncReadExt::read_buf(&mut peer, &mut head))
            .await
            .expect("read");
    }
    assert!(head.starts_with(b"GET /u HTTP/1.1\r\nHost: localhost\r\n"));
    tokio::io::AsyncWriteExt::write_all(&mut peer, ONE_BYTE.as_bytes())
        .await
        .expect("write");
    assert!(client.rest().await.ends_with("\r\n\r\na"));
}

#[test]
fn upstream_addresses_are_read() {
    use sidestream::proxy::UpstreamAddress::{self, Http, Https, Unix};
    let check = |text: &str, expected: Option<UpstreamAddress>| {
        assert_eq!(text.parse().ok(), expected, "{text}")
    };
    check(
        "http://a",
        Some(Http {
            host: "a".into(),
            port: 80,
        }),
    );
    check(
        "http://[::1]:8081/",
        Some(Http {
            host: "::1".into(),
            port: 8081,
        }),
    );
    check(
        "https://a.example",
        Some(Https {
            host: "a.example".into(),
            port: 443,
        }),
    );
    check("unix:/run/a", Some(Unix("/run/a".into())));
    for refused in [
        "a:80",
        "http://",
        "http://a/b",
        "http://u@a",
        "ftp://a",
        "unix:a",
        "http://a?b",
        "",
    ] {
        check(refused, None);
    }
}
