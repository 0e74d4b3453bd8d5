//! Raw heads: what passes, what is encoded, what is refused.

use bytes::Bytes;

use super::{Refusal, parse};
use crate::proxy::framing::Framing;

/// The request line of what a head was read as.
fn line(head: &[u8]) -> Result<Vec<u8>, Refusal> {
    let treated = parse::treat(head, 10)?;
    let parts = treated.parts(&Bytes::copy_from_slice(head))?;
    Ok(format!("{} {} {:?}", parts.method, parts.uri, parts.version).into_bytes())
}

/// Treats the head `request_line` + Host.
#[track_caller]
fn check(request_line: &str, expected: Result<&str, Refusal>) {
    check_bytes(request_line.as_bytes(), expected.map(str::as_bytes));
}

#[track_caller]
fn check_bytes(request_line: &[u8], expected: Result<&[u8], Refusal>) {
    let head = [request_line, b"\r\nHost: a.example\r\n\r\n"].concat();
    let shown = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let read = line(&head);
    assert_eq!(
        read.as_deref().map(shown),
        expected.as_ref().copied().map(shown)
    );
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
            let head = line(&head).expect("no ambiguity");
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
