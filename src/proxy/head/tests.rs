//! Raw heads: what passes, what is encoded, what is refused.

use std::{sync::Arc, task::Poll, time::Duration};

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

use super::{HeadIo, HeadSettings, Link, Refusal, parse};
use crate::proxy::framing::Framing;

/// Treats the head `request_line` + Host.
#[track_caller]
fn check(request_line: &str, expected: Result<&str, Refusal>) {
    check_bytes(request_line.as_bytes(), expected.map(str::as_bytes));
}

#[track_caller]
fn check_bytes(request_line: &[u8], expected: Result<&[u8], Refusal>) {
    let head = [request_line, b"\r\nHost: a.example\r\n\r\n"].concat();
    let treated = parse::treat(&head, 10).map(|treated| treated.rewritten.unwrap_or(head));
    let expected = expected.map(|line| [line, b"\r\nHost: a.example\r\n\r\n"].concat());
    let shown = |bytes: &Vec<u8>| String::from_utf8_lossy(bytes).into_owned();
    assert_eq!(treated.as_ref().map(shown), expected.as_ref().map(shown));
}

#[track_caller]
fn check_fields(version: &str, fields: &str, expected: Result<Framing, Refusal>) {
    let head = format!("POST / HTTP/{version}\r\n{fields}\r\n");
    let framing = parse::treat(head.as_bytes(), 3).map(|treated| treated.framing);
    assert_eq!(framing, expected, "{fields:?}");
}

#[test]
fn what_uri_refuses_is_encoded_and_what_is_encoded_stays() {
    check(
        r#"GET /m?filter={"from":"Bob"} HTTP/1.1"#,
        Ok("GET /m?filter={%22from%22:%22Bob%22} HTTP/1.1"),
    );
    check(
        "GET /m?a=<b>`|^\\{}' HTTP/1.1",
        Ok("GET /m?a=%3Cb%3E`|^\\{}' HTTP/1.1"),
    );
    check(
        "GET /<a>`\"{}|^\\ HTTP/1.1",
        Ok("GET /%3Ca%3E%60\"{}|^\\ HTTP/1.1"),
    );
    check(
        "GET /a%22%3c%zz?b=%22%C3%A9 HTTP/1.1",
        Ok("GET /a%22%3c%zz?b=%22%C3%A9 HTTP/1.1"),
    );
    check(
        "GET /m?f={a:#b}#c HTTP/1.1",
        Ok("GET /m?f={a:%23b}%23c HTTP/1.1"),
    );
    check("GET /a?b?c`? HTTP/1.1", Ok("GET /a?b?c`? HTTP/1.1"));
    check("GET /é?ü=ä HTTP/1.1", Ok("GET /é?ü=ä HTTP/1.1"));
    check_bytes(b"GET /\xe9?a=\xff HTTP/1.1", Ok(b"GET /%E9?a=%FF HTTP/1.1"));
}

#[test]
fn every_byte_of_a_treated_target_is_taken_by_uri() {
    for byte in (0x21..=0xff_u8).filter(|byte| *byte != 0x7f) {
        for target in [vec![b'/', b'a', byte], vec![b'/', b'?', b'a', byte]] {
            let head = [b"GET ", &target[..], b" HTTP/1.1\r\nHost: a\r\n\r\n"].concat();
            let treated = parse::treat(&head, 10).expect("no ambiguity");
            let head = treated.rewritten.unwrap_or(head);
            let line = head.split(|&byte| byte == b' ').nth(1).expect("a target");
            let uri =
                http::Uri::try_from(line).unwrap_or_else(|error| panic!("{byte:#x}: {error}"));
            let decoded: Vec<u8> = percent_encoding::percent_decode_str(&uri.to_string()).collect();
            assert_eq!(decoded, target, "{byte:#x}");
        }
    }
}

#[test]
fn minor_versions_above_one_are_one() {
    check("GET / HTTP/1.7", Ok("GET / HTTP/1.1"));
    check("GET / HTTP/1.0", Ok("GET / HTTP/1.0"));
    check("GET /> HTTP/1.0", Ok("GET /%3E HTTP/1.0"));
    for version in [
        "HTTP/2.0",
        "HTTP/1.10",
        "HTTP/1",
        "http/1.1",
        "HTTP/0.9",
        "HTTP/1.x",
    ] {
        check(&format!("GET / {version}"), Err(Refusal::Bad));
    }
}

#[test]
fn ambiguous_request_lines_are_refused() {
    for line in [
        "G\rET / HTTP/1.1",
        "GET /a b HTTP/1.1",
        "GET  / HTTP/1.1",
        "GET / HTTP/1.1 ",
        "GET /",
        "GET",
        "GET a HTTP/1.1",
        "GET * HTTP/1.1",
        "GET /\ta HTTP/1.1",
        "GET /\u{1}a HTTP/1.1",
        "GET /\u{7f} HTTP/1.1",
        "GET /\0 HTTP/1.1",
        "GET /\ra HTTP/1.1",
    ] {
        check(line, Err(Refusal::Bad));
    }
    // Without a Host there is nothing that the authority must be equal to; and it goes no further than here.
    for target in [
        "http://a\rX:b/",
        "http://a\0/",
        "http://a\u{1}/",
        "http://\u{7f}/",
    ] {
        let head = format!("GET {target} HTTP/1.0\r\n\r\n");
        let treated = parse::treat(head.as_bytes(), 10);
        assert_eq!(treated, Err(Refusal::Bad), "{target:?}");
    }
    check("CONNECT a:1 HTTP/1.1", Err(Refusal::Connect));
    check("PRI * HTTP/2.0", Err(Refusal::Preface));
    check("OPTIONS * HTTP/1.1", Ok("OPTIONS * HTTP/1.1"));
    check(
        &format!("GET /{} HTTP/1.1", "a".repeat(65_534)),
        Err(Refusal::TargetTooLong),
    );
}

#[test]
fn absolute_targets_are_served_for_the_host_only() {
    check("GET http://a.example/b?c HTTP/1.1", Ok("GET /b?c HTTP/1.1"));
    check(
        "GET HTTPS://A.Example:443/b HTTP/1.1",
        Ok("GET /b HTTP/1.1"),
    );
    check(
        "GET http://a.example?x=\"1\" HTTP/1.1",
        Ok("GET /?x=%221%22 HTTP/1.1"),
    );
    check("GET http://a.example HTTP/1.1", Ok("GET / HTTP/1.1"));
    for target in [
        "http://b.example/",
        "http://a.example:81/",
        "http://a.example@b.example/",
        "http:///",
        "ws://a.example/",
    ] {
        check(&format!("GET {target} HTTP/1.1"), Err(Refusal::Bad));
    }
}

#[test]
fn ambiguous_fields_are_refused() {
    let ok = |length| Ok(Framing::Length(length));
    check_fields("1.1", "Host: a\r\n", ok(0));
    check_fields("1.1", "Host: a\r\nContent-Length: 12\r\n", ok(12));
    check_fields(
        "1.1",
        "hOST:a\r\ntransfer-encoding:  Chunked \r\n",
        Ok(Framing::Chunked),
    );
    check_fields("1.0", "", ok(0));
    for fields in [
        "",
        "Host: a\r\nHost: a\r\n",
        "Host: a b\r\n",
        "Host: a/b\r\n",
        "Host: a,b\r\n",
        "Host: a\r\n b\r\n",
        "Host: a\r\nX: a\rb\r\n",
        "Host: a\r\nX: a\0b\r\n",
        "Host: a\r\nX\r\n",
        "Host: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n",
        "Host: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 1\r\n",
        "Host: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n",
        "Host: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n",
        "Host: a\r\nContent-Length: 1, 1\r\n",
        "Host: a\r\nContent-Length: +1\r\n",
        "Host: a\r\nContent-Length:\r\n",
        "Host: a\r\nContent-Length: 99999999999999999999\r\n",
        "Host: a\r\nTransfer-Encoding: gzip, chunked\r\n",
        "Host: a\r\nTransfer-Encoding: identity\r\n",
        "Host: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
    ] {
        check_fields("1.1", fields, Err(Refusal::Bad));
    }
    check_fields("1.0", "Transfer-Encoding: chunked\r\n", Err(Refusal::Bad));
    check_fields(
        "1.1",
        "Host: a\r\nA: 1\r\nB: 2\r\nC: 3\r\n",
        Err(Refusal::HeadTooLong),
    );
}

fn head_io(settings: HeadSettings) -> (DuplexStream, HeadIo<DuplexStream>, Arc<Link>) {
    let (client, server) = duplex(1 << 20);
    let link = Arc::new(Link::default());
    (
        client,
        HeadIo::new(server, Arc::new(settings), Arc::clone(&link)),
        link,
    )
}

/// Reads what is there.
async fn read(io: &mut HeadIo<DuplexStream>) -> String {
    let mut room = vec![0; 1 << 16];
    let len = io.read(&mut room).await.expect("no refusal");
    String::from_utf8_lossy(&room[..len]).into_owned()
}

async fn is_pending(io: &mut HeadIo<DuplexStream>) -> bool {
    let mut room = [0; 10];
    let mut reading = std::pin::pin!(io.read(&mut room));
    std::future::poll_fn(|cx| Poll::Ready(reading.as_mut().poll(cx).is_pending())).await
}

#[tokio::test]
async fn the_next_head_is_kept_back_until_the_answer_is_complete() {
    let (mut client, mut io, link) = head_io(HeadSettings::default());
    let first = "POST /\" HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n";
    client
        .write_all(format!("{first}hiGET /< HTTP/1.1\r\nHost: a\r\n\r\nrest").as_bytes())
        .await
        .expect("write");
    assert_eq!(read(&mut io).await, first);
    assert_eq!(read(&mut io).await, "hi");
    assert!(is_pending(&mut io).await);
    link.answered();
    assert_eq!(read(&mut io).await, "GET /%3C HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(is_pending(&mut io).await);
    assert_eq!(io.into_parts().1, "rest");
}

#[tokio::test]
async fn what_was_read_before_the_answer_was_complete_is_read_on_without_another_sign() {
    for fin in [false, true] {
        let (mut client, mut io, link) = head_io(HeadSettings::default());
        let request = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
        client
            .write_all(request.repeat(2).as_bytes())
            .await
            .expect("write");
        if fin {
            client.shutdown().await.expect("shutdown");
        }
        assert_eq!(read(&mut io).await, request);
        let reading = tokio::spawn(async move {
            let second = read(&mut io).await;
            (second, io)
        });
        // It waits for the answer now, on this one thread.
        tokio::task::yield_now().await;
        link.answered();
        let (second, mut io) = reading.await.expect("woken");
        assert_eq!(second, request);
        if fin {
            let reading = tokio::spawn(async move { read(&mut io).await });
            tokio::task::yield_now().await;
            link.answered();
            assert_eq!(reading.await.expect("woken"), "", "the end");
        }
    }
}

#[tokio::test]
async fn a_head_may_come_byte_by_byte_and_after_empty_lines() {
    let (mut client, mut io, _) = head_io(HeadSettings::default());
    for byte in "\r\n\r\nGET /> HTTP/1.2\r\nHost: a\r\n\r".bytes() {
        client.write_all(&[byte]).await.expect("write");
        assert!(is_pending(&mut io).await);
    }
    client.write_all(b"\n").await.expect("write");
    assert_eq!(read(&mut io).await, "GET /%3E HTTP/1.1\r\nHost: a\r\n\r\n");
}

#[tokio::test(start_paused = true)]
async fn a_slow_head_is_refused_and_silence_is_closed_without_a_word() {
    let (mut client, mut io, link) = head_io(HeadSettings::default());
    assert_eq!(read(&mut io).await, "");
    assert_eq!(link.refusal(), None);

    let (mut slow, mut io, link) = head_io(HeadSettings::default());
    slow.write_all(b"GET / HT").await.expect("write");
    io.read(&mut [0; 10]).await.expect_err("too slow");
    assert_eq!(link.refusal(), Some(Refusal::TooSlow));
    client.flush().await.expect("the client lives until here");
}

#[tokio::test(start_paused = true)]
async fn empty_lines_do_not_buy_time() {
    let (mut client, mut io, link) = head_io(HeadSettings::default());
    client.write_all(b"\r\n").await.expect("write");
    assert!(is_pending(&mut io).await);
    tokio::time::advance(HeadSettings::default().time_max - Duration::from_secs(1)).await;
    client.write_all(b"\r\n").await.expect("write");
    assert!(is_pending(&mut io).await);
    tokio::time::advance(Duration::from_secs(2)).await;
    io.read(&mut [0; 10]).await.expect_err("too slow");
    assert_eq!(link.refusal(), Some(Refusal::TooSlow));
}

#[tokio::test(start_paused = true)]
async fn a_client_that_closed_its_half_is_waited_for_while_it_is_written_to() {
    let settings = HeadSettings::default();
    let grace = settings.half_close_grace;
    let (mut client, mut io, _) = head_io(settings);
    client
        .write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        .await
        .expect("write");
    client.shutdown().await.expect("shutdown");
    read(&mut io).await;
    assert!(is_pending(&mut io).await);
    io.write_all(b"HTTP/1.1 200").await.expect("write");
    tokio::time::advance(grace + Duration::from_millis(1)).await;
    assert!(is_pending(&mut io).await, "written to: alive");
    tokio::time::advance(grace + Duration::from_millis(1)).await;
    assert_eq!(read(&mut io).await, "", "silent: gone");
}

#[tokio::test]
async fn a_head_beyond_the_limit_is_refused() {
    let settings = HeadSettings {
        bytes_max: 64,
        ..HeadSettings::default()
    };
    for (head, refusal) in [
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
    ] {
        let (mut client, mut io, link) = head_io(settings.clone());
        client.write_all(head.as_bytes()).await.expect("write");
        io.read(&mut [0; 1000]).await.expect_err("refused");
        assert_eq!(link.refusal(), Some(refusal), "{head:?}");
    }
}
