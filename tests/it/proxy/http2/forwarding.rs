//! Requests and answers on their way, whole and in parts.

use bytes::Bytes;
use h2::Reason;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};

use super::{clear, get, request, secure, settings};
use crate::{
    proxy::stage::{Forwarding, Front, Peer, Upstream, within},
    support::{
        http2::{Answer, Http2, joined, next, send},
        secure::{Bridge, Identity},
    },
};

#[tokio::test]
async fn a_request_goes_through_and_is_told_by_no_other_head_than_that_of_http_1() {
    let upstream = Upstream::bind().await;
    let front = clear(&upstream);
    let client = Http2::clear(front.address).await;
    let mut asked = get("/a%20b?c=%22&d");
    let headers = asked.headers_mut();
    headers.append("x-b", HeaderValue::from_static("1"));
    headers.append("x-a", HeaderValue::from_static("2"));
    headers.append("x-b", HeaderValue::from_bytes(b"\xe9\tz").expect("a value"));
    headers.append("x-empty", HeaderValue::from_static(""));
    headers.append("cookie", HeaderValue::from_static("a=1"));
    headers.append("te", HeaderValue::from_static("trailers"));
    headers.append("cookie", HeaderValue::from_static("b=2; c=3"));
    let asking = tokio::spawn(async move { client.ask(asked).await });
    let mut peer = upstream.accept().await;
    assert_eq!(
        peer.head().await,
        "GET /a%20b?c=%22&d HTTP/1.1\r\nhost: h\r\nx-b: 1\r\nx-b: \u{e9}\tz\r\nx-a: 2\r\nx-empty: \r\n\
         cookie: a=1; b=2; c=3\r\nConnection: TE\r\nTE: trailers\r\nx-forwarded-for: 127.0.0.1\r\n\
         x-forwarded-proto: http\r\nx-forwarded-host: h\r\nforwarded: for=127.0.0.1;host=\"h\";proto=http\r\n\r\n"
    );
    peer.send(
        "HTTP/1.1 200 Quite OK\r\nServer: s\r\nConnection: keep-alive, X-Hop\r\nKeep-Alive: timeout=9\r\nX-Hop: 1\r\n\
         Set-Cookie: a\r\nX-A: 1\r\nSet-Cookie: b\r\nDate: then\r\nContent-Length: 3\r\n\r\nabc",
    )
    .await;
    let answer = within(asking).await.expect("answered");
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.text(), "abc");
    let told: Vec<_> = answer
        .headers
        .iter()
        .map(|(name, value)| format!("{name}: {}", value.to_str().expect("text")))
        .collect();
    assert_eq!(
        told,
        [
            "server: s",
            "set-cookie: a",
            "set-cookie: b",
            "x-a: 1",
            "date: then",
            "content-length: 3"
        ]
    );
    assert_eq!(answer.trailers, None);
}

#[tokio::test]
async fn over_tls_it_is_agreed_on_and_http_1_is_as_before() {
    let (upstream, identity) = (Upstream::bind().await, Identity::new());
    let front = secure(&upstream, &identity);
    let client = Http2::secure(front.address, &identity).await;
    let asking = tokio::spawn(async move { client.ask(get("/a")).await });
    let mut peer = upstream.accept().await;
    let head = peer.head().await;
    assert!(head.starts_with("GET /a HTTP/1.1\r\nhost: h\r\n"), "{head}");
    assert!(head.contains("\r\nx-forwarded-proto: https\r\n"), "{head}");
    peer.send("HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n")
        .await;
    let answer = within(asking).await.expect("answered");
    assert_eq!(answer.status, StatusCode::NO_CONTENT);
    assert!(answer.headers.is_empty(), "{:?}", answer.headers);

    let bridge = Bridge::to(front.address, &[&identity]).await;
    let mut client = Peer::connect(bridge.address).await;
    client.send("GET /b HTTP/1.1\r\nHost: h\r\n\r\n").await;
    let head = peer.head().await;
    assert!(head.starts_with("GET /b HTTP/1.1\r\nHost: h\r\n"), "{head}");
    peer.send("HTTP/1.1 204 No Content\r\n\r\n").await;
    assert!(
        client
            .head()
            .await
            .starts_with("HTTP/1.1 204 No Content\r\n")
    );
}

/// Sends a body in parts, with trailers if there are any; returns the answer.
async fn post(
    client: Http2,
    headers: &[(&'static str, &'static str)],
    parts: &[&'static str],
    trailers: &[(&'static str, &'static str)],
) -> Answer {
    let map = |fields: &[(&'static str, &'static str)]| {
        let fields = fields.iter();
        let fields = fields.map(|(name, value)| {
            (
                header::HeaderName::from_static(name),
                HeaderValue::from_static(value),
            )
        });
        fields.collect::<HeaderMap>()
    };
    let mut asked = request(Method::POST, "/p");
    *asked.headers_mut() = map(headers);
    let (answer, mut sending) = client.begin(asked, false).await;
    for part in parts {
        let sent = send(&mut sending, Bytes::from_static(part.as_bytes()), false).await;
        sent.expect("sent");
    }
    if trailers.is_empty() {
        sending.send_data(Bytes::new(), true).expect("sent");
    } else {
        sending.send_trailers(map(trailers)).expect("sent");
    }
    let answer = answer.await.expect("an answer");
    Answer::read(answer).await.expect("a whole one")
}

#[tokio::test]
async fn bodies_and_trailers_go_both_ways() {
    let upstream = Upstream::bind().await;
    let front = clear(&upstream);
    let client = Http2::clear(front.address).await;
    let posting = tokio::spawn(async move {
        let announced = [("trailer", "x-sum")];
        post(client, &announced, &["ab", "c"], &[("x-sum", "1")]).await
    });
    let mut peer = upstream.accept().await;
    let head = peer.head().await;
    assert!(
        head.contains("\r\ntransfer-encoding: chunked\r\n"),
        "{head}"
    );
    assert!(head.contains("\r\ntrailer: x-sum\r\n"), "{head}");
    let body = peer.until("0\r\nx-sum: 1\r\n\r\n").await;
    let body: String = body.split("\r\n").skip(1).step_by(2).collect();
    assert!(body.starts_with("abc"), "{body}");
    peer.send(
        "HTTP/1.1 200 OK\r\nTrailer: X-T\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nde\r\n1\r\nf\r\n0\r\nX-T: 2\r\n\
         Connection: close\r\n\r\n",
    )
    .await;
    let answer = within(posting).await.expect("answered");
    assert_eq!(answer.text(), "def");
    assert_eq!(answer.header("trailer"), "X-T");
    assert!(!answer.headers.contains_key(header::CONTENT_LENGTH));
    let trailers = answer.trailers.expect("trailers");
    assert_eq!(joined(&trailers, "x-t"), "2");
    assert_eq!(trailers.len(), 1, "{trailers:?}");
}

#[tokio::test]
async fn a_length_is_kept_and_one_that_is_missing_is_said_where_a_body_is_expected() {
    let upstream = Upstream::bind().await;
    let front = clear(&upstream);
    let client = Http2::clear(front.address).await;
    let posting =
        tokio::spawn(
            async move { post(client, &[("content-length", "3")], &["ab", "c"], &[]).await },
        );
    let mut peer = upstream.accept().await;
    let head = peer.head().await;
    assert!(head.contains("\r\ncontent-length: 3\r\n"), "{head}");
    assert!(!head.contains("transfer-encoding"), "{head}");
    assert_eq!(peer.exactly(3).await, "abc");
    peer.send("HTTP/1.1 201 Created\r\n\r\nuntil the end").await;
    peer.finish().await;
    let answer = within(posting).await.expect("answered");
    assert_eq!(
        (answer.status, answer.text()),
        (StatusCode::CREATED, "until the end")
    );

    for (method, length) in [
        (Method::POST, true),
        (Method::PATCH, true),
        (Method::DELETE, false),
    ] {
        let client = Http2::clear(front.address).await;
        let asking = tokio::spawn(async move { client.ask(request(method, "/")).await });
        let mut peer = upstream.accept().await;
        let head = peer.head().await;
        assert_eq!(head.contains("\r\ncontent-length: 0\r\n"), length, "{head}");
        peer.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            .await;
        assert_eq!(
            within(asking)
                .await
                .expect("answered")
                .header("content-length"),
            "0"
        );
        peer.finish().await;
    }
}

#[tokio::test]
async fn answers_without_a_body_say_what_they_would() {
    let upstream = Upstream::bind().await;
    let front = clear(&upstream);
    for (method, answer, status, length) in [
        (Method::HEAD, "200 OK\r\nContent-Length: 5", 200, "5"),
        (
            Method::HEAD,
            "200 OK\r\nTransfer-Encoding: chunked",
            200,
            "",
        ),
        (
            Method::GET,
            "304 Not Modified\r\nContent-Length: 5",
            304,
            "5",
        ),
        (Method::GET, "304 Not Modified\r\nETag: \"a\"", 304, ""),
        (Method::GET, "204 No Content", 204, ""),
        (Method::GET, "200 OK\r\nContent-Length: 0", 200, "0"),
    ] {
        let client = Http2::clear(front.address).await;
        let asking = tokio::spawn(async move { client.ask(request(method, "/")).await });
        let mut peer = upstream.accept().await;
        peer.head().await;
        peer.send(format!("HTTP/1.1 {answer}\r\n\r\n")).await;
        let got = within(asking).await.expect("answered");
        assert_eq!(got.status.as_u16(), status, "{answer}");
        assert_eq!(got.header("content-length"), length, "{answer}");
        assert!(got.body.is_empty(), "{answer}");
        assert!(!got.headers.contains_key("transfer-encoding"), "{answer}");
        peer.finish().await;
    }
}

#[tokio::test]
async fn interim_answers_come_before_the_answer() {
    let upstream = Upstream::bind().await;
    let front = clear(&upstream);
    let client = Http2::clear(front.address).await;
    let mut asked = request(Method::POST, "/");
    let expects = HeaderValue::from_static("100-continue");
    asked.headers_mut().insert(header::EXPECT, expects);
    let (mut answer, mut sending) = client.begin(asked, false).await;
    let mut peer = upstream.accept().await;
    let head = peer.head().await;
    assert!(!head.contains("expect"), "{head}");
    let mut interim = async || {
        let next = std::future::poll_fn(|cx| answer.poll_informational(cx));
        within(next)
            .await
            .expect("one more")
            .expect("an interim answer")
    };
    assert_eq!(interim().await.status(), StatusCode::CONTINUE);
    sending
        .send_data(Bytes::from_static(b"ab"), true)
        .expect("sent");
    peer.until("\r\n0\r\n\r\n").await;
    for hint in ["</a>", "</b>"] {
        peer.send(format!(
            "HTTP/1.1 103 Early Hints\r\nLink: {hint}\r\nConnection: x\r\nX: 1\r\n\r\n"
        ))
        .await;
        let head = interim().await;
        assert_eq!(head.status().as_u16(), 103);
        assert_eq!(joined(head.headers(), "link"), hint);
        assert_eq!(head.headers().len(), 1, "{head:?}");
    }
    peer.send("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na")
        .await;
    let answer = Answer::read(within(answer).await.expect("an answer")).await;
    assert_eq!(answer.expect("a whole one").text(), "a");
}

#[tokio::test]
async fn large_bodies_go_both_ways_at_once_on_many_streams() {
    const LEN: usize = 3 << 20;
    const STREAMS: usize = 8;
    let upstream = Upstream::bind().await;
    let front = clear(&upstream);
    let client = std::sync::Arc::new(Http2::clear(front.address).await);
    let upstream = tokio::spawn(async move {
        let mut serving = tokio::task::JoinSet::new();
        for _ in 0..STREAMS {
            let mut peer = upstream.accept().await;
            serving.spawn(async move {
                peer.head().await;
                let body = peer.exactly(LEN).await;
                peer.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {LEN}\r\n\r\n"))
                    .await;
                peer.send(crate::proxy::stage::latin_1(&body)).await;
                peer.finish().await;
            });
        }
        serving.join_all().await;
    });
    let mut asking = tokio::task::JoinSet::new();
    for stream in 0..STREAMS {
        let client = std::sync::Arc::clone(&client);
        asking.spawn(async move {
            let body: Vec<u8> = (0..LEN).map(|at| (at * (stream + 1) % 251) as u8).collect();
            let body = Bytes::from(body);
            let mut asked = request(Method::PUT, "/");
            asked
                .headers_mut()
                .insert(header::CONTENT_LENGTH, HeaderValue::from(LEN));
            let (answer, mut sending) = client.begin(asked, false).await;
            send(&mut sending, body.clone(), true).await.expect("sent");
            let answer = Answer::read(answer.await.expect("an answer")).await;
            assert!(answer.expect("a whole one").body == body, "the same bytes");
        });
    }
    within(asking.join_all()).await;
    within(upstream).await.expect("it ends");
}

/// What nobody reads is not read from the upstream: the client's window is what holds it up.
#[tokio::test]
async fn a_slow_client_holds_up_its_own_answer_and_no_other() {
    let upstream = Upstream::bind().await;
    let front = clear(&upstream);
    let client = Http2::clear(front.address).await;
    let (slow, _) = client.begin(get("/slow"), true).await;
    let mut peer = upstream.accept().await;
    peer.head().await;
    peer.send("HTTP/1.1 200 OK\r\n\r\n").await;
    let mut slow = within(slow).await.expect("an answer").into_body();
    let mut sent = 0;
    let part = vec![b'x'; 64 << 10];
    loop {
        match tokio::time::timeout(
            std::time::Duration::from_millis(500),
            peer.stream.writable(),
        )
        .await
        {
            Ok(writable) => writable.expect("it lives"),
            Err(_) => break,
        }
        if let Ok(len) = peer.stream.try_write(&part) {
            sent += len;
        }
        // Buffers of the kernel, twice; and ours are small.
        assert!(
            sent < 32 << 20,
            "{sent} bytes were taken of what nobody reads"
        );
    }
    let asking = async {
        let mut other = upstream.accept().await;
        other.head().await;
        other
            .send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            .await;
    };
    let (answer, ()) = within(async { tokio::join!(client.ask(get("/other")), asking) }).await;
    assert_eq!(answer.text(), "ok");
    let reading = async {
        let mut read = 0;
        while let Some(part) = next(&mut slow).await {
            read += part.expect("a part").len();
        }
        read
    };
    peer.finish().await;
    assert_eq!(within(reading).await, sent);
}

#[tokio::test]
async fn who_takes_a_request_back_takes_it_back_from_the_upstream() {
    let upstream = Upstream::bind().await;
    let front = clear(&upstream);
    let client = Http2::clear(front.address).await;
    // Before the answer.
    let (_, mut sending) = client.begin(get("/a"), true).await;
    let mut peer = upstream.accept().await;
    peer.head().await;
    sending.send_reset(Reason::CANCEL);
    assert_eq!(peer.rest().await, "");
    // Within it.
    let (answer, _) = client.begin(get("/b"), true).await;
    let mut peer = upstream.accept().await;
    peer.head().await;
    peer.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")
        .await;
    let mut body = within(answer).await.expect("an answer").into_body();
    assert_eq!(
        within(next(&mut body))
            .await
            .expect("a part")
            .expect("good"),
        "abc"
    );
    drop((body, sending));
    assert_eq!(peer.rest().await, "");
    // Within its own body, as if that were whole: the upstream must not take it for that.
    for reason in [Reason::NO_ERROR, Reason::CANCEL] {
        let (_answer, mut sending) = client.begin(request(Method::POST, "/c"), false).await;
        sending
            .send_data(Bytes::from_static(b"ab"), false)
            .expect("sent");
        let mut peer = upstream.accept().await;
        peer.until("2\r\nab\r\n").await;
        sending.send_reset(reason);
        assert_eq!(peer.rest().await, "");
    }
    // With the whole connection.
    let (_answer, _sending) = client.begin(get("/d"), true).await;
    let mut peer = upstream.accept().await;
    peer.head().await;
    drop(client);
    assert_eq!(peer.rest().await, "");
}

#[tokio::test]
async fn what_the_upstream_breaks_off_is_broken_off() {
    let upstream = Upstream::bind().await;
    let front = clear(&upstream);
    for (head, body) in [
        ("Content-Length: 10", "abc"),
        ("Transfer-Encoding: chunked", "3\r\nabc\r\n"),
    ] {
        let client = Http2::clear(front.address).await;
        let (answer, _) = client.begin(get("/"), true).await;
        let mut peer = upstream.accept().await;
        peer.head().await;
        peer.send(format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n{body}"))
            .await;
        let mut received = within(answer).await.expect("an answer").into_body();
        assert_eq!(
            within(next(&mut received))
                .await
                .expect("a part")
                .expect("good"),
            "abc"
        );
        drop(peer);
        let error = within(next(&mut received))
            .await
            .expect("more")
            .expect_err("broken");
        assert_eq!(error.reason(), Some(Reason::INTERNAL_ERROR), "{error}");
    }
    // Before a word: 502, and the connection goes on.
    let client = Http2::clear(front.address).await;
    let asking = async {
        let mut peer = upstream.accept().await;
        peer.head().await;
    };
    let (answer, ()) = within(async { tokio::join!(client.ask(get("/")), asking) }).await;
    assert_eq!(answer.status, StatusCode::BAD_GATEWAY);
    assert!(answer.text().contains("broke off"), "{}", answer.text());
}

/// An answer that does not wait for the body: the client is told to keep the rest (RFC 9113 §8.1).
#[tokio::test]
async fn an_early_answer_is_heard_while_the_body_is_on_its_way() {
    let upstream = Upstream::bind().await;
    let front = clear(&upstream);
    let client = Http2::clear(front.address).await;
    let (answer, mut sending) = client.begin(request(Method::POST, "/"), false).await;
    sending
        .send_data(Bytes::from_static(b"ab"), false)
        .expect("sent");
    let mut peer = upstream.accept().await;
    peer.until("2\r\nab\r\n").await;
    peer.send("HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno")
        .await;
    let answer = within(answer).await.expect("an answer");
    let answer = Answer::read(answer).await.expect("a whole one");
    assert_eq!((answer.status.as_u16(), answer.text()), (413, "no"));
    let reset = std::future::poll_fn(|cx| sending.poll_reset(cx));
    assert_eq!(within(reset).await.expect("told"), Reason::NO_ERROR);
}

/// Whoever begins with HTTP/1 is spoken HTTP/1 with, at the same address.
#[tokio::test]
async fn the_first_bytes_tell_which_protocol_it_is() {
    let upstream = Upstream::bind().await;
    let front = clear(&upstream);
    let mut client = front.client().await;
    client.send("PRINT / HTTP/1.1\r\nHost: h\r\n\r\n").await;
    let mut peer = upstream.accept().await;
    let head = peer.head().await;
    assert!(
        head.starts_with("PRINT / HTTP/1.1\r\nHost: h\r\n"),
        "{head}"
    );
    peer.send("HTTP/1.1 204 No Content\r\n\r\n").await;
    assert!(client.head().await.starts_with("HTTP/1.1 204 "));
    // Only at the beginning; and an upgrade is not taken up.
    client.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
    assert_eq!(client.rest().await, "");
    let mut client = front.client().await;
    client
        .send("GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\n")
        .await;
    let head = peer.head().await;
    assert!(!head.to_lowercase().contains("upgrade"), "{head}");
    peer.send("HTTP/1.1 204 No Content\r\n\r\n").await;
    assert!(client.head().await.starts_with("HTTP/1.1 204 "));

    // In whatever parts the beginning comes.
    let preface = [PREFACE, SETTINGS].concat();
    for cut in [1, 3, 14, 16, 18, 20, 24, 30] {
        let mut client = front.client().await;
        client.send(&preface[..cut]).await;
        tokio::task::yield_now().await;
        client.send(&preface[cut..]).await;
        let settings = client.exactly(4).await;
        assert_eq!(
            settings.as_bytes()[3],
            4,
            "SETTINGS come first: {settings:?}, cut at {cut}"
        );
    }
    // Where it is not configured, it is no HTTP.
    let front = Front::start(
        Forwarding::new(upstream.settings()),
        settings(|settings| settings.http2.prior_knowledge = false),
    );
    let mut client = front.client().await;
    client.send(&preface).await;
    assert_eq!(client.rest().await, "");
}

pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A frame that leaves all at the defaults.
pub(super) const SETTINGS: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0];
