//! A client's connection: what is heard on it, and what is said.

use std::{
    future::poll_fn,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full, StreamBody, combinators::BoxBody};
use hyper::body::Frame;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};

use super::{Asked, BrokenOff, Http1, Left, Over};
use crate::proxy::{BodyError, ClientBody, HeadSettings, ProxyBody, Refusal};

fn scene(settings: HeadSettings) -> (DuplexStream, Http1<DuplexStream>) {
    let (client, server) = duplex(1 << 20);
    (client, Http1::new(server, Arc::new(settings)))
}

async fn request(connection: &mut Http1<DuplexStream>) -> (Request<ClientBody>, Asked) {
    let heard = poll_fn(|cx| connection.poll_request(cx)).await;
    heard.unwrap_or_else(|over| panic!("{over:?} in the place of a request"))
}

/// Why no request comes.
async fn over(connection: &mut Http1<DuplexStream>) -> Over {
    let heard = poll_fn(|cx| connection.poll_request(cx)).await;
    heard.expect_err("no request")
}

fn is_silent(connection: &mut Http1<DuplexStream>) -> bool {
    let polled = connection.poll_request(&mut Context::from_waker(Waker::noop()));
    polled.is_pending()
}

fn line(request: &Request<ClientBody>) -> String {
    format!(
        "{} {} {:?}",
        request.method(),
        request.uri(),
        request.version()
    )
}

async fn text(request: Request<ClientBody>) -> Result<String, BodyError> {
    let body = request.into_body().collect().await?.to_bytes();
    Ok(String::from_utf8(body.to_vec())?)
}

/// A body whose length nobody knows before.
fn parts(parts: &'static [&'static str]) -> ProxyBody {
    let parts = parts
        .iter()
        .map(|part| Ok::<_, BodyError>(Frame::data(Bytes::from_static(part.as_bytes()))));
    ProxyBody::boxed(StreamBody::new(futures_util::stream::iter(parts)))
}

#[tokio::test]
async fn the_next_request_is_kept_back_until_the_answer_is_complete() {
    for fin in [false, true] {
        let (mut client, mut connection) = scene(HeadSettings::default());
        let first = "POST /> HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi";
        let second = "GET /< HTTP/1.1\r\nHost: a\r\n\r\n";
        let all = format!("{first}{second}rest");
        client.write_all(all.as_bytes()).await.expect("written");
        if fin {
            client.shutdown().await.expect("shut down");
        }
        let (asked, how) = request(&mut connection).await;
        assert_eq!(line(&asked), "POST /%3E HTTP/1.1");
        assert_eq!(text(asked).await.expect("a body"), "hi");
        // What is there is no sign that the client has gone.
        let gone = poll_fn(|cx| Poll::Ready(connection.poll_gone(cx))).await;
        assert!(gone.is_pending());
        let answered = connection
            .answer(Response::new(ProxyBody::empty()), how, true)
            .await;
        assert_eq!(answered.expect("written"), Left::Open);

        let (asked, how) = request(&mut connection).await;
        assert_eq!(line(&asked), "GET /%3C HTTP/1.1");
        drop(asked);
        if fin {
            let answered = connection
                .answer(Response::new(ProxyBody::empty()), how, true)
                .await;
            assert_eq!(answered.expect("written"), Left::Open);
            assert!(matches!(over(&mut connection).await, Over::End));
        } else {
            let (_, behind) = connection.into_parts().expect("nobody else has it");
            assert_eq!(behind, "rest");
        }
    }
}

#[tokio::test]
async fn a_head_may_come_byte_by_byte_and_after_empty_lines() {
    let (mut client, mut connection) = scene(HeadSettings::default());
    for byte in "\r\n\r\nGET /> HTTP/1.2\r\nHost: a\r\n\r".bytes() {
        client.write_all(&[byte]).await.expect("written");
        assert!(is_silent(&mut connection));
    }
    client.write_all(b"\n").await.expect("written");
    let (asked, _) = request(&mut connection).await;
    assert_eq!(line(&asked), "GET /%3E HTTP/1.1");
}

#[tokio::test]
async fn a_request_is_what_its_head_says() {
    let (mut client, mut connection) = scene(HeadSettings::default());
    client
        .write_all(b"PURGE /a?b HTTP/1.0\r\nB: 1\r\nA:\t2 \r\nb:\r\nC: \xfc\r\n\r\n")
        .await
        .expect("written");
    let (asked, _) = request(&mut connection).await;
    assert_eq!(line(&asked), "PURGE /a?b HTTP/1.0");
    let mut expected = HeaderMap::new();
    for (name, value) in [("b", &b"1"[..]), ("a", b"2"), ("b", b""), ("c", b"\xfc")] {
        expected.append(name, HeaderValue::from_bytes(value).expect("a value"));
    }
    assert_eq!(*asked.headers(), expected);
}

#[tokio::test(start_paused = true)]
async fn a_slow_head_is_refused_and_silence_is_closed_without_a_word() {
    let (mut client, mut connection) = scene(HeadSettings::default());
    assert!(matches!(over(&mut connection).await, Over::End));

    let (mut slow, mut connection) = scene(HeadSettings::default());
    slow.write_all(b"GET / HT").await.expect("written");
    assert!(matches!(
        over(&mut connection).await,
        Over::Refused(Refusal::TooSlow)
    ));
    client.flush().await.expect("the client lives until here");
}

#[tokio::test(start_paused = true)]
async fn empty_lines_do_not_buy_time() {
    let (mut client, mut connection) = scene(HeadSettings::default());
    client.write_all(b"\r\n").await.expect("written");
    assert!(is_silent(&mut connection));
    tokio::time::advance(HeadSettings::default().time_max - Duration::from_secs(1)).await;
    client.write_all(b"\r\n").await.expect("written");
    assert!(is_silent(&mut connection));
    tokio::time::advance(Duration::from_secs(2)).await;
    assert!(matches!(
        over(&mut connection).await,
        Over::Refused(Refusal::TooSlow)
    ));
}

#[tokio::test(start_paused = true)]
async fn a_client_that_closed_its_half_is_waited_for_while_it_is_written_to() {
    let grace = HeadSettings::default().half_close_grace;
    let (mut client, mut connection) = scene(HeadSettings::default());
    let head = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    client.write_all(head).await.expect("written");
    client.shutdown().await.expect("shut down");
    let (_, how) = request(&mut connection).await;
    let (telling, told) = tokio::sync::mpsc::channel::<Bytes>(1);
    let told = futures_util::stream::unfold(told, |mut told| async {
        let part = told.recv().await?;
        Some((Ok::<_, BodyError>(Frame::data(part)), told))
    });
    let body = ProxyBody::boxed(BoxBody::new(StreamBody::new(told)));
    let mut answering = std::pin::pin!(connection.answer(Response::new(body), how, true));
    let mut poll = || {
        answering
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()))
    };
    assert!(poll().is_pending());
    for _ in 0..3 {
        tokio::time::advance(grace - Duration::from_millis(1)).await;
        telling.try_send(Bytes::from_static(b"x")).expect("heard");
        assert!(poll().is_pending(), "written to: alive");
    }
    tokio::time::advance(grace + Duration::from_millis(1)).await;
    assert!(poll().is_pending(), "something was written meanwhile");
    tokio::time::advance(grace + Duration::from_millis(1)).await;
    assert!(matches!(poll(), Poll::Ready(Err(_))), "silent: gone");
}

#[tokio::test]
async fn a_client_that_goes_is_noticed() {
    let (mut client, mut connection) = scene(HeadSettings {
        half_close_grace: Duration::ZERO,
        ..HeadSettings::default()
    });
    let head = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    client.write_all(head).await.expect("written");
    let (_asked, _) = request(&mut connection).await;
    drop(client);
    poll_fn(|cx| connection.poll_gone(cx)).await;
}

#[tokio::test]
async fn a_head_beyond_the_limit_is_refused() {
    let settings = HeadSettings {
        bytes_max: 64,
        ..HeadSettings::default()
    };
    for (head, expected) in [
        (format!("GET /{} ", "a".repeat(100)), Refusal::TargetTooLong),
        (
            format!("GET / HTTP/1.1\r\nHost: {}", "a".repeat(100)),
            Refusal::HeadTooLong,
        ),
        (
            format!("GET / HTTP/1.1\r\nHost: {}\r\n\r\n", "a".repeat(100)),
            Refusal::HeadTooLong,
        ),
        ("\u{16}\u{3}\u{1}".to_owned(), Refusal::Bad),
        ("GET / HTTP/1.1\nHo".to_owned(), Refusal::Bad),
        ("G@T / HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), Refusal::Bad),
    ] {
        let (mut client, mut connection) = scene(settings.clone());
        client.write_all(head.as_bytes()).await.expect("written");
        match over(&mut connection).await {
            Over::Refused(refusal) => assert_eq!(refusal, expected, "{head:?}"),
            other => panic!("{other:?} for {head:?}"),
        }
    }
}

/// What a client gets for `asked`, of which nobody reads the body; and whether its connection stays.
async fn answered(asked: &str, answer: Response<ProxyBody>) -> (String, Result<Left, BrokenOff>) {
    let (mut client, mut connection) = scene(HeadSettings::default());
    client.write_all(asked.as_bytes()).await.expect("written");
    let (asked, how) = request(&mut connection).await;
    drop(asked);
    let left = connection.answer(answer, how, true).await;
    drop(connection);
    let mut got = String::new();
    client.read_to_string(&mut got).await.expect("text");
    (got, left)
}

fn answer(
    status: u16,
    fields: &[(&'static str, &'static str)],
    body: ProxyBody,
) -> Response<ProxyBody> {
    let mut answer = Response::new(body);
    *answer.status_mut() = StatusCode::from_u16(status).expect("a status");
    for (name, value) in fields {
        answer
            .headers_mut()
            .append(*name, HeaderValue::from_static(value));
    }
    answer
}

#[tokio::test]
async fn an_answer_of_our_own_says_how_it_goes_out() {
    let full = || ProxyBody::full("abc");
    let get = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    let head = "HEAD / HTTP/1.1\r\nHost: a\r\n\r\n";
    let old = "GET / HTTP/1.0\r\n\r\n";
    let old_staying = "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n";
    let last = "GET / HTTP/1.1\r\nHost: a\r\nConnection: x, Close\r\n\r\n";
    let fields = &[("b", "1"), ("a", "2"), ("b", "3")];
    for (asked, answer, expected, left) in [
        (
            get,
            answer(200, fields, full()),
            "HTTP/1.1 200 OK\r\nb: 1\r\nb: 3\r\na: 2\r\ncontent-length: 3\r\n\r\nabc",
            Left::Open,
        ),
        (
            get,
            answer(404, &[], ProxyBody::empty()),
            "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n",
            Left::Open,
        ),
        (
            get,
            answer(204, &[], ProxyBody::empty()),
            "HTTP/1.1 204 No Content\r\n\r\n",
            Left::Open,
        ),
        (
            get,
            answer(304, &[], full()),
            "HTTP/1.1 304 Not Modified\r\n\r\n",
            Left::Open,
        ),
        (
            get,
            answer(200, &[], parts(&["ab", "", "c"])),
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n",
            Left::Open,
        ),
        (
            get,
            answer(200, &[("connection", "close")], full()),
            "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 3\r\n\r\nabc",
            Left::Closing,
        ),
        (
            last,
            answer(200, &[], full()),
            "HTTP/1.1 200 OK\r\ncontent-length: 3\r\nconnection: close\r\n\r\nabc",
            Left::Closing,
        ),
        (
            head,
            answer(200, &[], full()),
            "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n",
            Left::Open,
        ),
        (
            head,
            answer(200, &[("content-length", "7")], ProxyBody::empty()),
            "HTTP/1.1 200 OK\r\ncontent-length: 7\r\n\r\n",
            Left::Open,
        ),
        (
            head,
            answer(200, &[], parts(&["ab"])),
            "HTTP/1.1 200 OK\r\n\r\n",
            Left::Open,
        ),
        (
            old,
            answer(200, &[], full()),
            "HTTP/1.0 200 OK\r\ncontent-length: 3\r\n\r\nabc",
            Left::Closing,
        ),
        (
            old,
            answer(200, &[], parts(&["ab", "c"])),
            "HTTP/1.0 200 OK\r\n\r\nabc",
            Left::Closing,
        ),
        (
            old_staying,
            answer(200, &[], full()),
            "HTTP/1.0 200 OK\r\ncontent-length: 3\r\nconnection: keep-alive\r\n\r\nabc",
            Left::Open,
        ),
        (
            old_staying,
            answer(200, &[], parts(&["abc"])),
            "HTTP/1.0 200 OK\r\n\r\nabc",
            Left::Closing,
        ),
    ] {
        let (got, how) = answered(asked, answer).await;
        assert_eq!(got, expected, "{asked:?}");
        assert_eq!(how.expect("written"), left, "{asked:?}");
    }
}

#[tokio::test]
async fn a_body_that_nobody_reads_costs_the_connection_unless_it_is_there_and_small() {
    let large = format!("Content-Length: 200000\r\n\r\n{}", "x".repeat(200_000));
    for (rest, expected) in [
        ("Content-Length: 3\r\n\r\nabc", Left::Open),
        (
            "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
            Left::Open,
        ),
        ("Content-Length: 3\r\n\r\nab", Left::Closing),
        ("Transfer-Encoding: chunked\r\n\r\n3 x", Left::Closing),
        (
            "Expect: 100-continue\r\nContent-Length: 3\r\n\r\n",
            Left::Closing,
        ),
        (&large, Left::Closing),
    ] {
        let asked = format!("POST / HTTP/1.1\r\nHost: a\r\n{rest}");
        let (got, left) = answered(&asked, answer(200, &[], ProxyBody::empty())).await;
        let close = match expected {
            Left::Open => "",
            Left::Closing => "connection: close\r\n",
        };
        assert_eq!(
            got,
            format!("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n{close}\r\n")
        );
        assert_eq!(left.expect("written"), expected, "{:?}", asked.get(..80));
    }
}

#[tokio::test]
async fn leave_to_send_a_body_is_given_when_somebody_wants_it() {
    let (mut client, mut connection) = scene(HeadSettings::default());
    let head = b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-Continue\r\nContent-Length: 3\r\n\r\n";
    client.write_all(head).await.expect("written");
    let (asked, how) = request(&mut connection).await;
    let mut got = [0; 25];
    let reading = async {
        client.read_exact(&mut got).await.expect("leave");
        client.write_all(b"abc").await.expect("written");
    };
    let (body, ()) = tokio::join!(text(asked), reading);
    assert_eq!(body.expect("a body"), "abc");
    assert_eq!(got, *b"HTTP/1.1 100 Continue\r\n\r\n");
    let answered = connection
        .answer(Response::new(ProxyBody::empty()), how, true)
        .await;
    assert_eq!(answered.expect("written"), Left::Open);
}

#[tokio::test]
async fn a_body_that_is_none_is_told_from_a_whole_one() {
    for (rest, is_whole) in [
        ("Content-Length: 3\r\n\r\nab", false),
        ("Transfer-Encoding: chunked\r\n\r\n3\r\nab", false),
        ("Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", false),
        (
            "Transfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n",
            false,
        ),
        (
            "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
            true,
        ),
    ] {
        let (mut client, mut connection) = scene(HeadSettings::default());
        let asked = format!("POST / HTTP/1.1\r\nHost: a\r\n{rest}");
        client.write_all(asked.as_bytes()).await.expect("written");
        client.shutdown().await.expect("shut down");
        let (asked, how) = request(&mut connection).await;
        assert_eq!(text(asked).await.is_ok(), is_whole, "{rest:?}");
        let answered = connection
            .answer(Response::new(ProxyBody::empty()), how, true)
            .await;
        let left = answered.expect("written");
        assert_eq!(left == Left::Open, is_whole, "{rest:?}");
    }
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_none() {
    let broken = futures_util::stream::iter([
        Ok(Frame::data(Bytes::from_static(b"abc"))),
        Err(BodyError::from("broken")),
    ]);
    let broken = ProxyBody::boxed(StreamBody::new(broken));
    let (got, left) = answered(
        "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        answer(200, &[], broken),
    )
    .await;
    let broken = left.expect_err("it is not whole");
    assert!(!broken.looks_whole);
    assert!(got.ends_with("\r\n\r\n3\r\nabc\r\n"), "{got:?}");
}

#[tokio::test]
async fn what_came_behind_a_request_is_seen_before_the_connection_is_closed() {
    let (mut client, mut connection) = scene(HeadSettings::default());
    let head = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    client.write_all(head).await.expect("written");
    let (_, how) = request(&mut connection).await;
    let answered = connection
        .answer(Response::new(ProxyBody::empty()), how, false)
        .await;
    assert_eq!(answered.expect("written"), Left::Closing);
    connection.look().await;
    assert!(!connection.has_unread());
    client.write_all(b"\r\n").await.expect("written");
    connection.look().await;
    assert!(connection.has_unread());
}

#[tokio::test]
async fn large_answers_go_out_whole() {
    let large = "x".repeat(3_000_000);
    let full =
        ProxyBody::boxed(Full::new(Bytes::from(large.clone())).map_err(|never| match never {}));
    let (mut client, mut connection) = scene(HeadSettings::default());
    let head = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    client.write_all(head).await.expect("written");
    let (asked, how) = request(&mut connection).await;
    drop(asked);
    let answering = tokio::spawn(async move {
        connection
            .answer(
                answer(200, &[(header::ETAG.as_str(), "x")], full),
                how,
                false,
            )
            .await
    });
    let mut got = String::new();
    client.read_to_string(&mut got).await.expect("text");
    assert_eq!(
        answering.await.expect("no panic").expect("written"),
        Left::Closing
    );
    let expected =
        "HTTP/1.1 200 OK\r\netag: x\r\ncontent-length: 3000000\r\nconnection: close\r\n\r\n";
    assert!(
        got.starts_with(expected)
            && got.ends_with(&large)
            && got.len() == expected.len() + large.len()
    );
}
