//! Attempts to have one request of HTTP/2 be two of HTTP/1.1, or another, for whoever stands behind ("downgrade"): at a
//! recording upstream nothing arrives, or one request of the same meaning.

use tokio::sync::oneshot;

use super::{
    clear,
    frames::{self, Frame},
};
use crate::proxy::{
    fidelity::message::Message,
    smuggling::record,
    stage::{Upstream, within},
};

type Fields = &'static [(&'static str, &'static str)];

/// What is sent on one stream, and what else on it.
#[derive(Clone, Copy, Debug)]
struct Attempt<'a> {
    fields: &'a [(&'a str, &'a str)],
    /// `None`: the stream ends with the head.
    body: Option<&'a str>,
    trailers: Fields,
}

/// What the client heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Heard {
    Status(u16),
    Reset(u32),
    GoAway(u32),
    End,
}

/// Sends it; returns what arrived at the upstream, and what the client heard.
async fn attempt(attempt: Attempt<'_>) -> (Vec<Message>, Heard) {
    let upstream = Upstream::bind().await;
    let front = clear(&upstream);
    let (stop, stopped) = oneshot::channel();
    let recording = tokio::spawn(record(upstream, stopped));
    let mut client = frames::connect(&front).await;
    let ends = |is_end: bool| if is_end { frames::END_STREAM } else { 0 };
    let has_trailers = !attempt.trailers.is_empty();
    let mut sent = Vec::new();
    let flags = frames::END_HEADERS | ends(attempt.body.is_none() && !has_trailers);
    sent.push(Frame::new(
        frames::HEADERS,
        flags,
        1,
        frames::block(attempt.fields),
    ));
    if let Some(body) = attempt.body {
        sent.push(Frame::new(frames::DATA, ends(!has_trailers), 1, body));
    }
    if has_trailers {
        let flags = frames::END_HEADERS | frames::END_STREAM;
        sent.push(Frame::new(
            frames::HEADERS,
            flags,
            1,
            frames::block(attempt.trailers),
        ));
    }
    let sent: Vec<u8> = sent.iter().flat_map(Frame::bytes).collect();
    client.send(sent).await;
    let hearing = async {
        while let Some(frame) = Frame::read(&mut client).await {
            match (frame.kind, frame.stream) {
                (frames::HEADERS, 1) => return Heard::Status(frame.status()),
                (frames::RST_STREAM, 1) => return Heard::Reset(frame.code()),
                (frames::GOAWAY, _) => return Heard::GoAway(frame.code()),
                _ => (),
            }
        }
        Heard::End
    };
    let heard = within(hearing).await;
    drop(client);
    // With the listener its connections to the upstream end.
    front.shutdown.begin();
    front.ended().await;
    stop.send(()).expect("the recorder listens");
    let seen = recording.await.expect("what arrived can be read");
    (seen, heard)
}

/// Nothing arrives, whatever the client hears.
async fn refused(fields: &[(&str, &str)], body: Option<&str>) {
    println!("{fields:?} {body:?}");
    let (seen, heard) = attempt(Attempt {
        fields,
        body,
        trailers: &[],
    })
    .await;
    assert!(seen.is_empty(), "{fields:?} arrived as {seen:?}");
    assert_ne!(heard, Heard::Status(200), "{fields:?}");
}

/// The usual four, and one more behind.
macro_rules! with {
    ($($field:expr),*) => {
        &[(":method", "POST"), (":scheme", "http"), (":authority", "h"), (":path", "/"), $($field),*]
    };
}

#[tokio::test]
async fn fields_that_would_be_more_than_one_are_refused() {
    for fields in FIELDS {
        for body in [None, Some(SMUGGLED)] {
            refused(fields, body).await;
        }
    }
}

const SMUGGLED: &str = "0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: other\r\n\r\n";

const FIELDS: [Fields; 40] = [
    // Line ends and controls in a value.
    with![("x", "a\r\nGET /smuggled HTTP/1.1\r\nHost: other\r\n\r\n")],
    with![("x", "a\r\nTransfer-Encoding: chunked")],
    with![("x", "a\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n")],
    with![("x", "a\nTransfer-Encoding: chunked")],
    with![("x", "a\rTransfer-Encoding: chunked")],
    with![("x", "a\0b")],
    with![("x", "a\u{1}b")],
    with![("x", "a\u{7f}b")],
    with![("x", "\r\n")],
    with![("x", " a")],
    with![("x", "a\t")],
    with![("cookie", "a=1\r\nX: 1"), ("cookie", "b=2")],
    with![("user-agent", "a\r\n b")],
    // Names that are none.
    with![("x\r\nTransfer-Encoding", "chunked")],
    with![("x: 1\r\nTransfer-Encoding", "chunked")],
    with![("x\nconnection", "upgrade")],
    with![("x y", "1")],
    with![("x:", "1")],
    with![("x\0", "1")],
    with![("X", "1")],
    with![("Transfer-Encoding", "chunked")],
    with![("transfer-encoding ", "chunked")],
    with![("\ttransfer-encoding", "chunked")],
    with![("x\u{e9}", "1")],
    with![("", "1")],
    with![(":", "1")],
    // About a connection.
    with![("connection", "close")],
    with![("connection", "content-length")],
    with![("keep-alive", "timeout=5")],
    with![("proxy-connection", "keep-alive")],
    with![("transfer-encoding", "chunked")],
    with![("transfer-encoding", "identity")],
    with![("transfer-encoding", "")],
    with![("upgrade", "websocket")],
    with![("upgrade", "h2c")],
    with![("te", "gzip")],
    with![("te", "trailers, chunked")],
    with![("te", "trailers\r\nx: 1")],
    with![("host", "other")],
    with![("host", "h"), ("host", "h")],
];

#[tokio::test]
async fn heads_that_are_no_single_request_are_refused() {
    for (method, scheme, authority, path, fields) in HEADS {
        let first = [
            (":method", method),
            (":scheme", scheme),
            (":authority", authority),
            (":path", path),
        ];
        let first = first.into_iter().filter(|(_, value)| *value != NONE);
        let fields: Vec<_> = first.chain(fields.iter().copied()).collect();
        for body in [None, Some(SMUGGLED)] {
            refused(&fields, body).await;
        }
    }
}

/// What says nothing of itself.
const NONE: &str = "none";

/// Method, scheme, authority and path, and the fields behind them.
const HEADS: [(&str, &str, &str, &str, Fields); 46] = [
    // Methods.
    ("GET / HTTP/1.1\r\nX: ", "http", "h", "/", &[]),
    ("GET /smuggled HTTP/1.1", "http", "h", "/", &[]),
    ("G T", "http", "h", "/", &[]),
    ("", "http", "h", "/", &[]),
    ("CONNECT", NONE, "h:80", NONE, &[]),
    ("CONNECT", "http", "h:80", "/", &[]),
    (NONE, "http", "h", "/", &[]),
    // Targets.
    ("GET", "http", "h", "/ HTTP/1.1\r\nHost: other\r\n\r\n", &[]),
    ("GET", "http", "h", "/a b", &[]),
    ("GET", "http", "h", "/a\r\nX: 1", &[]),
    ("GET", "http", "h", "/a\nX: 1", &[]),
    ("GET", "http", "h", "/a\0", &[]),
    ("GET", "http", "h", "/a\t", &[]),
    ("GET", "http", "h", "", &[]),
    ("GET", "http", "h", "a", &[]),
    ("GET", "http", "h", "?a", &[]),
    ("GET", "http", "h", "*", &[]),
    ("GET", "http", "h", "http://h/a", &[]),
    ("GET", "http", "h", "@other/a", &[]),
    ("GET", "http", "h", NONE, &[]),
    // Hosts.
    ("GET", "http", "h\r\nX: 1", "/", &[]),
    ("GET", "http", "h other", "/", &[]),
    ("GET", "http", "h,other", "/", &[]),
    ("GET", "http", "user@h", "/", &[]),
    ("GET", "http", "h/other", "/", &[]),
    ("GET", "http", "", "/", &[]),
    ("GET", "http", NONE, "/", &[]),
    ("GET", "http", NONE, "/", &[("host", "")]),
    (
        "GET",
        "http",
        NONE,
        "/",
        &[("host", "h"), ("host", "other")],
    ),
    ("GET", "http", NONE, "/", &[("host", "h, other")]),
    ("GET", "http", NONE, "/", &[("host", "user@h")]),
    ("GET", "http", NONE, "/", &[("host", "h\r\nX: 1")]),
    // Schemes.
    ("GET", NONE, "h", "/", &[]),
    ("GET", "http://other/?", "h", "/", &[]),
    ("GET", "http\r\nX: 1", "h", "/", &[]),
    ("GET", "ftp", "h", "/", &[]),
    // What stands before the fields, twice, too late or unknown.
    ("GET", "http", "h", "/", &[(":method", "POST")]),
    ("GET", "http", "h", "/", &[(":path", "/b")]),
    ("GET", "http", "h", "/", &[(":authority", "other")]),
    ("GET", "http", "h", NONE, &[("x", "1"), (":path", "/")]),
    ("GET", "http", "h", "/", &[(":status", "200")]),
    ("GET", "http", "h", "/", &[(":x", "1")]),
    ("GET", "http", "h", "/", &[(":protocol", "websocket")]),
    // Tunnels.
    ("CONNECT", "http", "h", "/", &[(":protocol", "other")]),
    ("CONNECT", "http", "h", NONE, &[(":protocol", "websocket")]),
    (
        "CONNECT",
        "http",
        "h",
        "/",
        &[(":protocol", "websocket"), ("content-length", "2")],
    ),
];

#[tokio::test]
async fn lengths_that_are_not_those_of_the_body_let_no_whole_request_arrive() {
    for (fields, body) in LENGTHS {
        refused(fields, *body).await;
    }
}

const LENGTHS: &[(Fields, Option<&str>)] = &[
    (with![("content-length", "4")], None),
    (with![("content-length", "4")], Some("ab")),
    (with![("content-length", "4")], Some("")),
    (with![("content-length", "0")], Some(SMUGGLED)),
    (with![("content-length", "5")], Some(SMUGGLED)),
    (
        with![("content-length", "5"), ("content-length", "44")],
        Some(SMUGGLED),
    ),
    (
        with![("content-length", "2"), ("content-length", "2")],
        Some("ab"),
    ),
    (with![("content-length", "2, 2")], Some("ab")),
    (with![("content-length", "+2")], Some("ab")),
    (with![("content-length", "-2")], Some("ab")),
    (with![("content-length", "0x2")], Some("ab")),
    (with![("content-length", " 2")], Some("ab")),
    (with![("content-length", "2 ")], Some("ab")),
    (with![("content-length", "")], Some("ab")),
    (
        with![("content-length", "2\r\nTransfer-Encoding: chunked")],
        Some("ab"),
    ),
    (
        with![("content-length", "99999999999999999999")],
        Some("ab"),
    ),
    (
        with![("content-length", "2"), ("transfer-encoding", "chunked")],
        Some("ab"),
    ),
];

#[tokio::test]
async fn trailers_are_fields_and_nothing_else() {
    let check = async |trailers: Fields, expected: &[&str]| {
        println!("{trailers:?}");
        let fields = with![(
            "trailer",
            "x, host, content-length, transfer-encoding, connection, te"
        )];
        let body = Some("ab");
        let (seen, heard) = attempt(Attempt {
            fields,
            body,
            trailers,
        })
        .await;
        match expected {
            // What has no end never was whole.
            [] => {
                assert!(seen.is_empty(), "{trailers:?} arrived as {seen:?}");
                assert_ne!(heard, Heard::Status(200), "{trailers:?}");
            }
            expected => {
                assert_eq!(seen.len(), 1, "{trailers:?}, heard {heard:?}");
                let trailers = seen[0].trailers.iter().map(String::as_str);
                assert_eq!(seen[0].body, "ab", "{trailers:?}");
                assert_eq!(trailers.collect::<Vec<_>>(), expected);
            }
        }
    };
    check(&[("x", "1")], &["x: 1\r\n"]).await;
    check(
        &[("x", "1"), ("host", "other"), ("content-length", "9")],
        &["x: 1\r\n"],
    )
    .await;
    check(&[("x", "1\r\n\r\nGET /smuggled HTTP/1.1\r\n\r\n")], &[]).await;
    check(&[("x\r\ny", "1")], &[]).await;
    // h2 throws away what may stand before a head only; nobody hears of it.
    check(&[(":path", "/b"), ("x", "1")], &["x: 1\r\n"]).await;
    check(&[("x", "1"), ("transfer-encoding", "chunked")], &[]).await;
    check(&[("x", "1"), ("connection", "x")], &[]).await;
}

/// What is sound arrives as one request, and says what it said.
#[tokio::test]
async fn what_is_sound_arrives_as_one_request_of_the_same_meaning() {
    for (fields, body, line, kept) in SOUND {
        println!("{fields:?}");
        let attempted = Attempt {
            fields,
            body: *body,
            trailers: &[],
        };
        let (seen, heard) = attempt(attempted).await;
        assert_eq!(
            (seen.len(), heard),
            (1, Heard::Status(200)),
            "{fields:?} arrived as {seen:?}"
        );
        let message = &seen[0];
        assert_eq!(message.line, format!("{line} HTTP/1.1"), "{fields:?}");
        assert_eq!(message.body, body.unwrap_or_default(), "{fields:?}");
        for (name, value) in *kept {
            assert_eq!(
                message.value(name).as_deref(),
                Some(*value),
                "{fields:?} arrived as {message:?}"
            );
        }
    }
}

type Sound = (Fields, Option<&'static str>, &'static str, Fields);

const SOUND: &[Sound] = &[
    (with![], Some(SMUGGLED), "POST /", &[("host", "h")]),
    (
        with![("content-length", "44")],
        Some(SMUGGLED),
        "POST /",
        &[("content-length", "44")],
    ),
    (with![("content-length", "0")], Some(""), "POST /", &[]),
    (with![("host", "H")], None, "POST /", &[("host", "H")]),
    (
        with![("transfer_encoding", "chunked")],
        Some("ab"),
        "POST /",
        &[],
    ),
    (
        with![("x-transfer-encoding", "chunked")],
        Some("ab"),
        "POST /",
        &[],
    ),
    (
        with![("te", "trailers")],
        None,
        "POST /",
        &[("te", "trailers"), ("connection", "TE")],
    ),
    (
        with![("cookie", "a=1"), ("x", "y"), ("cookie", "b=2")],
        None,
        "POST /",
        &[("cookie", "a=1; b=2"), ("x", "y")],
    ),
    (
        with![("x-forwarded-for", "1.1.1.1")],
        None,
        "POST /",
        &[("x-forwarded-for", "1.1.1.1, 127.0.0.1")],
    ),
    (with![("http2-settings", "AAMAAABk")], None, "POST /", &[]),
    (
        &[
            (":method", "GET"),
            (":scheme", "https"),
            (":path", "/%2e%2e//a/../b?c%0d%0aX:%20d"),
            ("host", "h"),
        ],
        None,
        "GET /%2e%2e//a/../b?c%0d%0aX:%20d",
        &[("host", "h")],
    ),
    (
        &[
            (":path", "//other/a"),
            (":authority", "h:80"),
            (":scheme", "http"),
            (":method", "QUERY"),
        ],
        None,
        "QUERY //other/a",
        &[("host", "h:80")],
    ),
    (
        &[
            (":method", "OPTIONS"),
            (":scheme", "http"),
            (":authority", "h"),
            (":path", "*"),
        ],
        None,
        "OPTIONS *",
        &[],
    ),
    (
        &[
            (":method", "GET"),
            (":scheme", "http"),
            (":authority", "[::1]:80"),
            (":path", "/"),
        ],
        None,
        "GET /",
        &[("host", "[::1]:80")],
    ),
    // What people type, encoded once, and never cut.
    (
        &[
            (":method", "GET"),
            (":scheme", "http"),
            (":authority", "h"),
            (":path", "/m?filter={\"a\":\"<b>\"}&c=%22#d"),
        ],
        None,
        "GET /m?filter={%22a%22:%22%3Cb%3E%22}&c=%22%23d",
        &[],
    ),
    (
        &[
            (":method", "GET"),
            (":scheme", "http"),
            (":authority", "h"),
            (":path", "/\u{e9}`#"),
        ],
        None,
        "GET /%E9%60%23",
        &[],
    ),
];
