//! Exchanges on a socket whose other end says what a test has it say.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt as _;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
    task::yield_now,
};

use super::{Asked, ExchangeError, Upstream};
use crate::proxy::{
    answer::AnswerHead,
    framing::{Encoder, Framing},
    pool::{RequestBody, UpstreamBody, UpstreamStream},
};

const HEAD: Bytes = Bytes::from_static(b"GET /\"x\" HTTP/1.1\r\nHOST: h\r\n\r\n");

fn scene() -> (Box<Upstream>, UnixStream) {
    let (near, far) = UnixStream::pair().expect("a pair of sockets");
    (Box::new(Upstream::new(UpstreamStream::Unix(near))), far)
}

/// Sends [`HEAD`]; returns the answer's head and framing, and what came before it.
async fn ask(
    upstream: &mut Upstream,
    is_head: bool,
    only_once: bool,
) -> Result<(AnswerHead, Framing, Vec<Bytes>), ExchangeError> {
    let encoder = Encoder::new(Framing::Length(0), std::iter::empty());
    let mut body = Some((RequestBody::Empty, encoder));
    let asked = Asked {
        head: &HEAD,
        is_head,
        may_switch: false,
        only_once,
    };
    let mut interim = Vec::new();
    let within = Duration::from_secs(60);
    let exchange = upstream.exchange(asked, &mut body, within, |head| {
        interim.push(head.interim())
    });
    let answered = exchange.await;
    assert_eq!(
        matches!(answered, Err(ExchangeError::Unsent)),
        body.is_some(),
        "the body is given back where nothing was sent"
    );
    let (head, framing) = answered?;
    Ok((head, framing, interim))
}

/// Has the other end read the request and say `answer` in pieces, and nothing more.
async fn say(mut far: UnixStream, answer: &[u8], piece: usize) {
    let mut request = vec![0; HEAD.len()];
    far.read_exact(&mut request).await.expect("a request");
    assert_eq!(request, HEAD);
    for piece in answer.chunks(piece) {
        far.write_all(piece).await.expect("said");
        yield_now().await;
    }
}

/// The head and the body of `answer`, which comes in pieces of `piece` bytes; the body is `None` where it breaks off.
async fn answered(
    answer: &str,
    piece: usize,
    is_head: bool,
) -> Result<(AnswerHead, Option<String>, Vec<Bytes>), ExchangeError> {
    let (mut upstream, far) = scene();
    let reading = async move {
        let (head, framing, interim) = ask(&mut upstream, is_head, false).await?;
        let body = UpstreamBody::new(framing, upstream, None).collect().await;
        let body = body.ok().map(|body| body.to_bytes().to_vec());
        let body = body.map(|body| String::from_utf8(body).expect("text"));
        Ok((head, body, interim))
    };
    // Who has an answer hangs up; what is said then is nobody's fault.
    let saying = tokio::spawn({
        let answer = answer.as_bytes().to_vec();
        async move { say(far, &answer, piece).await }
    });
    let outcome = reading.await;
    drop(saying);
    outcome
}

#[tokio::test]
async fn a_head_and_a_body_are_read_however_they_come() {
    let body = "x".repeat(20_000);
    let chunks = format!("4e20;e=f\r\n{body}\r\n0\r\nT: 1\r\n\r\n");
    for piece in [1, 3, 60, 10_000, 100_000] {
        for (head, rest, expected) in [
            ("Content-Length: 20000\r\n", &body[..], Some(&body[..])),
            ("Transfer-Encoding: Chunked\r\n", &chunks, Some(&body)),
            ("", &body, Some(&body)),
            ("Content-Length: 20001\r\n", &body, None),
            ("Transfer-Encoding: chunked\r\n", &body, None),
        ] {
            let head = format!("HTTP/1.1 200 Fine\r\nA: 1\r\n{head}B: 2\r\n\r\n");
            let answer = format!("{head}{rest}");
            let (read, got, _) = answered(&answer, piece, false).await.expect("an answer");
            assert_eq!(read.bytes(), head.as_bytes());
            assert_eq!(got.as_deref(), expected, "{head:?} in pieces of {piece}");
        }
    }
}

#[tokio::test]
async fn heads_before_the_answer_are_told_but_for_leave_to_go_on() {
    let answer = "HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\nHTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\nLink: b\n\nHTTP/1.1 204 No Content\r\nX: 1\r\n\r\n";
    for piece in [1, 30, 10_000] {
        let (head, body, interim) = answered(answer, piece, false).await.expect("an answer");
        let link = |to: &str| format!("HTTP/1.1 103 Early Hints\r\nLink: {to}\r\n\r\n");
        assert_eq!(interim, [link("a"), link("b")]);
        assert_eq!(head.status(), 204);
        assert_eq!(body.as_deref(), Some(""));
    }
}

#[tokio::test]
async fn what_is_no_answer_is_told_from_none() {
    let endless = format!("HTTP/1.1 200 OK\r\nA: {}", "a".repeat(300 << 10));
    for (garbage, is_broken) in [
        ("HTTP/1.1 200 OK\r\nno field\r\n\r\nbody", false),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
            false,
        ),
        ("HTTP/1.1 101 Switching Protocols\r\n\r\n", false),
        ("\r\n\r\n", false),
        (&endless, false),
        ("HTTP/1.1 200 OK\r\nCut: of", true),
        ("", true),
    ] {
        for piece in [7, 10_000] {
            match answered(garbage, piece, false).await {
                Err(ExchangeError::Unreadable) if !is_broken => (),
                Err(ExchangeError::Broken(_)) if is_broken => (),
                other => panic!("{other:?} of {:?}", garbage.get(..60)),
            }
        }
    }
}

#[tokio::test]
async fn an_answer_to_head_has_no_body_whatever_it_says() {
    let answer = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n";
    let (_, body, _) = answered(answer, 100, true).await.expect("an answer");
    assert_eq!(body.as_deref(), Some(""));
}

#[tokio::test]
async fn the_next_request_goes_out_on_a_connection_that_owes_nothing() {
    let (mut upstream, mut far) = scene();
    for (answer, is_ready) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", true),
        ("HTTP/1.1 204 No Content\r\n\r\nmore", false),
    ] {
        let saying = async {
            let mut request = vec![0; HEAD.len()];
            far.read_exact(&mut request).await.expect("a request");
            far.write_all(answer.as_bytes()).await.expect("said");
        };
        let (answered, ()) = tokio::join!(ask(&mut upstream, false, false), saying);
        answered.expect("an answer");
        assert_eq!(upstream.is_ready(), is_ready);
    }
}

#[tokio::test]
async fn nothing_is_sent_where_the_other_end_has_spoken_or_gone() {
    for (last_words, only_once) in [("", true), ("HTTP/1.1 408 Late\r\n\r\n", true)] {
        let (mut upstream, mut far) = scene();
        upstream.is_kept = true;
        far.write_all(last_words.as_bytes()).await.expect("said");
        drop(far);
        // The reactor has not had its turn: only the socket itself knows.
        let error = ask(&mut upstream, false, only_once)
            .await
            .expect_err("it has ended");
        assert!(matches!(error, ExchangeError::Unsent), "{error:?}");
    }
    let (mut upstream, far) = scene();
    drop(far);
    yield_now().await;
    yield_now().await;
    let error = ask(&mut upstream, false, false)
        .await
        .expect_err("it has ended");
    assert!(
        matches!(error, ExchangeError::Unsent | ExchangeError::Broken(_)),
        "{error:?}"
    );
}
