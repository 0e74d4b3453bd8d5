//! What is read of an answer's head, and what the client gets of it.

use std::time::Duration;

use bytes::BytesMut;

use super::{AnswerHead, ClientHead, Framing, Unreadable, Word, end};

fn read(bytes: &[u8]) -> Option<AnswerHead> {
    let mut read = BytesMut::from(bytes);
    let head = AnswerHead::take(&mut read, &mut 0).ok().flatten();
    head.filter(|_| read.is_empty())
}

fn head(text: &str) -> AnswerHead {
    read(text.as_bytes()).unwrap_or_else(|| panic!("{text:?} is an answer's head"))
}

#[test]
fn the_body_ends_where_the_head_says() {
    let check = |fields: &str, expected: Result<Framing, Unreadable>| {
        let head = head(&format!("HTTP/1.1 200 OK\r\n{fields}\r\n"));
        assert_eq!(head.framing(false, false), expected, "{fields:?}");
        assert_eq!(head.framing(true, false), Ok(Framing::Length(0)), "to HEAD");
    };
    check("", Ok(Framing::Close));
    check("Content-Length: 3\r\n", Ok(Framing::Length(3)));
    check(
        "content-length:3\r\nCONTENT-LENGTH: 3 , 3\r\n",
        Ok(Framing::Length(3)),
    );
    check("Transfer-Encoding: chunked\r\n", Ok(Framing::Chunked));
    check(
        "Transfer-Encoding: gzip\r\nTransfer-Encoding: a, Chunked\r\n",
        Ok(Framing::Chunked),
    );
    check("Transfer-Encoding: chunked, gzip\r\n", Ok(Framing::Close));
    check(
        "Transfer-Encoding: chunked\r\nContent-Length: 3\r\n",
        Ok(Framing::Chunked),
    );
    for broken in [
        "3, 4",
        "-3",
        "+3",
        "",
        "3,",
        "99999999999999999999",
        "3\r\nContent-Length: 4",
    ] {
        check(&format!("Content-Length: {broken}\r\n"), Err(Unreadable));
    }
    for status in [204, 304] {
        let head = head(&format!("HTTP/1.1 {status} X\r\nContent-Length: 3\r\n\r\n"));
        assert_eq!(head.framing(false, false), Ok(Framing::Length(0)));
    }
    let switching = head("HTTP/1.1 101 X\r\n\r\n");
    assert_eq!(switching.framing(false, true), Ok(Framing::Length(0)));
    assert_eq!(switching.framing(false, false), Err(Unreadable));
    let old = head("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    assert_eq!(old.framing(false, false), Err(Unreadable));
}

#[test]
fn a_connection_stays_by_the_upstreams_word() {
    for (head_text, stays) in [
        ("HTTP/1.1 200 OK\r\n\r\n", true),
        ("HTTP/1.1 200 OK\r\nConnection: x, Close\r\n\r\n", false),
        ("HTTP/1.0 200 OK\r\n\r\n", false),
        ("HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\n\r\n", true),
    ] {
        assert_eq!(head(head_text).stays(), stays, "{head_text:?}");
    }
}

#[test]
fn what_is_no_head_is_not_taken_for_one() {
    for broken in [
        "",
        "HTTP/1.1\r\n\r\n",
        "HTTP/2.0 200 OK\r\n\r\n",
        "HTTP/1.2 200 OK\r\n\r\n",
        "HTTP/1.x 200 OK\r\n\r\n",
        "HTTP/1.1 20 OK\r\n\r\n",
        "HTTP/1.1 2000 OK\r\n\r\n",
        "HTTP/1.1  200 OK\r\n\r\n",
        "HTTP/1.1 099 OK\r\n\r\n",
        "HTTP/1.1 200 O\u{0}K\r\n\r\n",
        "HTTP/1.1 200 OK\r\na\r\n\r\n",
        "HTTP/1.1 200 OK\r\na b: 1\r\n\r\n",
        "HTTP/1.1 200 OK\r\n: 1\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding : chunked\r\n\r\n",
        "HTTP/1.1 200 OK\r\na: 1\r\n folded\r\n\r\n",
        "HTTP/1.1 200 OK\r\na: 1\u{7f}\r\n\r\n",
        "HTTP/1.1 200 OK\r\na: 1\r2\r\n\r\n",
    ] {
        assert_eq!(read(broken.as_bytes()), None, "{broken:?}");
    }
    let odd = "HTTP/1.1 299 \u{e9}t\u{e9}\r\n!#$%&'*+-.^_`|~: \u{fc}\t\r\nempty:\r\n\r\n";
    assert_eq!(head(odd).status(), 299);
}

#[test]
fn the_end_is_found_wherever_one_has_looked_before() {
    for (bytes, expected) in [
        ("HTTP/1.1 200 OK\r\na: 1\r\n\r\nbody\r\n\r\n", Some(25)),
        ("HTTP/1.1 200 OK\n\nbody", Some(17)),
        ("HTTP/1.1 200 OK\r\n\n", Some(18)),
        ("HTTP/1.1 200 OK\r\na: 1\r\n\r", None),
    ] {
        let latest = expected.map_or(bytes.len(), |end| end - 1);
        for scanned in 0..=latest {
            assert_eq!(
                end(bytes.as_bytes(), scanned),
                expected,
                "{bytes:?} from {scanned}"
            );
        }
    }
}

const NEW: &[u8] = b"HTTP/1.1";
const OLD: &[u8] = b"HTTP/1.0";
const CLOSE: Option<&[u8]> = Some(b"close");
const NOTHING: Framing = Framing::Length(0);

/// What a client gets of `upstream`'s head where its connection is of this version, says this, and the body goes like this.
fn for_client(
    upstream: &str,
    (version, connection, framing): (&'static [u8], Option<&'static [u8]>, Framing),
    is_to_head: bool,
    says_it_stays: bool,
) -> String {
    let word = Word {
        version,
        connection,
        framing,
    };
    let client = ClientHead {
        head: head(upstream),
        is_to_head,
        says_it_stays,
    };
    String::from_utf8(client.write(&word).to_vec()).expect("text")
}

#[test]
fn the_client_gets_the_upstreams_bytes_but_for_what_is_about_the_connection() {
    let upstream = "HTTP/1.1 200 Fine\r\nSet-Cookie:a\r\nX:  1 \r\nset-COOKIE: b\r\nconnection: x, Keep-Alive\r\nKeep-Alive: timeout=5\r\nContent-Length: 3\r\nTE: a\r\nEnd:\r\n\r\n";
    assert_eq!(
        for_client(upstream, (NEW, None, Framing::Length(3)), false, true),
        "HTTP/1.1 200 Fine\r\nSet-Cookie:a\r\nset-COOKIE: b\r\nconnection: keep-alive\r\nContent-Length: 3\r\nEnd:\r\n\r\n"
    );
    // To HTTP/1.0, and at the end of a connection, it is our own word that counts.
    assert_eq!(
        for_client(upstream, (OLD, CLOSE, Framing::Length(3)), false, true),
        "HTTP/1.0 200 Fine\r\nSet-Cookie:a\r\nset-COOKIE: b\r\nconnection: close\r\nContent-Length: 3\r\nEnd:\r\n\r\n"
    );
    assert_eq!(
        for_client(
            "HTTP/1.0 200 OK\nA: 1\n\n",
            (NEW, CLOSE, Framing::Chunked),
            false,
            false
        ),
        "HTTP/1.1 200 OK\r\nA: 1\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
    );
}

#[test]
fn how_the_body_goes_out_is_our_word_in_the_upstreams_place() {
    let both = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n";
    assert_eq!(
        for_client(both, (NEW, None, Framing::Chunked), false, false),
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n"
    );
    // A client of HTTP/1.0 reads to the end.
    assert_eq!(
        for_client(both, (OLD, None, Framing::Close), false, false),
        "HTTP/1.0 200 OK\r\n\r\n"
    );
    let twice = "HTTP/1.1 200 OK\r\nContent-Length: 03\r\ncontent-length: 03\r\n\r\n";
    assert_eq!(
        for_client(twice, (NEW, None, Framing::Length(3)), false, false),
        "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n"
    );
}

#[test]
fn where_there_is_no_body_its_length_is_still_told() {
    let length = "HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\n\r\n";
    assert_eq!(
        for_client(length, (NEW, None, NOTHING), false, false),
        length
    );
    let head = "HTTP/1.1 200 OK\r\ncontent-length: 7\r\n\r\n";
    assert_eq!(for_client(head, (NEW, None, NOTHING), true, false), head);
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    assert_eq!(
        for_client(chunked, (NEW, None, NOTHING), true, false),
        chunked
    );
    assert_eq!(
        for_client(chunked, (OLD, None, NOTHING), true, false),
        "HTTP/1.0 200 OK\r\n\r\n"
    );
    // RFC 9110 §8.6: not in a 204.
    assert_eq!(
        for_client(
            "HTTP/1.1 204 No\r\nContent-Length: 0\r\n\r\n",
            (NEW, None, NOTHING),
            false,
            false
        ),
        "HTTP/1.1 204 No\r\n\r\n"
    );
}

#[test]
fn interim_heads_lose_what_is_about_the_connection() {
    let hints = head(
        "HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\nConnection: b\r\nB: 1\r\nlink: </c>\r\n\r\n",
    );
    assert!(hints.is_interim());
    assert_eq!(
        hints.interim(),
        "HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\nlink: </c>\r\n\r\n"
    );
    assert!(!head("HTTP/1.1 101 Switching Protocols\r\n\r\n").is_interim());
}

#[test]
fn the_upstreams_word_on_its_connection_is_understood() {
    let of = |fields: &str| head(&format!("HTTP/1.1 200 OK\r\n{fields}\r\n"));
    let kept = |fields: &str| of(fields).keep_alive_timeout().map(|kept| kept.as_secs());
    assert_eq!(kept("Keep-Alive: timeout=5, max=100\r\n"), Some(4));
    assert_eq!(
        kept("keep-alive: max=1\r\nkeep-alive: timeout=\"3\"\r\n"),
        Some(2)
    );
    assert_eq!(
        of("keep-alive: timeout=0\r\n").keep_alive_timeout(),
        Some(Duration::ZERO)
    );
    assert_eq!(kept("keep-alive: timeout=x\r\n"), None);
    assert!(of("connection: x\r\nConnection: a, Keep-Alive\r\n").keeps_alive());
    assert!(!of("connection: close\r\n").keeps_alive());
}
