//! Attempts to make one request be two, or another, for whoever stands behind: at a recording upstream no more arrives
//! than the client was answered for, and what arrives means what was sent.
//!
//! The families are those of the published research on request smuggling: two lengths, hidden codings, chunk sizes, line
//! ends, folding, hosts, `Connection`, upgrades, request lines.

use std::pin::pin;

use tokio::{sync::oneshot, task::JoinSet};

use super::{
    fidelity::message::{Message, request},
    stage::{Front, Upstream, latin_1, within},
};

/// What must become of an attempt.
#[derive(Clone, Copy, Debug)]
enum Fate {
    /// 400 (or another refusal), and the upstream hears nothing.
    Refused,
    /// Exactly these requests arrive: line without version, body.
    Arrives(&'static [(&'static str, &'static str)]),
    /// The request arrives and has this field with this value.
    Keeps(&'static str, &'static str),
    /// The upstream's connection breaks off within the request, which so never is whole.
    Broken,
}

use Fate::{Arrives, Broken, Keeps, Refused};

/// Records every whole request and answers it, until told to stop and no connection is left.
pub(super) async fn record(upstream: Upstream, stop: oneshot::Receiver<()>) -> Vec<Message> {
    let mut connections = JoinSet::new();
    let mut stop = pin!(stop);
    loop {
        let mut peer = tokio::select! {
            // First what is there: all that was ever connected is.
            biased;
            peer = upstream.accept_whenever() => peer,
            _ = &mut stop => break,
        };
        connections.spawn(async move {
            let mut seen = Vec::new();
            while let Some(message) = request(&mut peer).await {
                seen.push(message);
                peer.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
                    .await;
            }
            seen
        });
    }
    // A panic is something that the recorder cannot read.
    within(connections.join_all()).await.concat()
}

async fn check(raw: &str, fate: Fate) {
    println!("{raw:?}");
    let upstream = Upstream::bind().await;
    let front = Front::before(&upstream);
    let (stop, stopped) = oneshot::channel();
    let recording = tokio::spawn(record(upstream, stopped));
    let mut client = front.client().await;
    client.send(latin_1(raw)).await;
    client.finish().await;
    let answers = client.rest().await;
    // With the listener its connections to the upstream end.
    front.shutdown.begin();
    front.ended().await;
    stop.send(()).expect("the recorder listens");
    let seen = recording.await.expect("what arrived can be read");
    let accepted = answers.matches(" 200 OK\r\n").count();
    assert_eq!(
        seen.len(),
        accepted,
        "{raw:?} arrived as {seen:?}, answered {answers:?}"
    );
    let told: Vec<(&str, &str)> = seen
        .iter()
        .map(|message| {
            (
                message.line.rsplit_once(' ').expect("a version").0,
                &*message.body,
            )
        })
        .collect();
    match fate {
        Refused => assert!(
            seen.is_empty() && (answers.is_empty() || answers.starts_with("HTTP/1.1 4")),
            "{raw:?} arrived as {seen:?}, answered {answers:?}"
        ),
        Broken => assert!(seen.is_empty(), "{raw:?} arrived as {seen:?}"),
        Arrives(expected) => {
            assert_eq!(told, expected, "{raw:?}, answered {answers:?}");
        }
        Keeps(name, value) => {
            assert_eq!(seen.len(), 1, "{raw:?}, answered {answers:?}");
            assert_eq!(
                seen[0].value(name).as_deref(),
                Some(value),
                "{raw:?} arrived as {seen:?}"
            );
        }
    }
}

/// Heads that differ from a sound one by one thing, with a body that would be read two ways.
#[tokio::test]
async fn hidden_and_doubled_framing_is_refused() {
    let bodies = ["0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n", ""];
    let mut tried = 0;
    for coding in CODINGS {
        for length in ["", "Content-Length: 4\r\n"] {
            for body in bodies {
                check(
                    &format!("POST / HTTP/1.1\r\nHost: h\r\n{length}{coding}\r\n\r\n{body}"),
                    Refused,
                )
                .await;
                tried += 1;
            }
        }
    }
    for length in LENGTHS {
        for body in bodies {
            check(
                &format!("POST / HTTP/1.1\r\nHost: h\r\n{length}\r\n\r\n{body}"),
                Refused,
            )
            .await;
            tried += 1;
        }
    }
    assert!(tried >= 150, "{tried}");
}

const CODINGS: [&str; 32] = [
    "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
    "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
    "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked",
    "Transfer-Encoding: identity",
    "Transfer-Encoding:",
    "Transfer-Encoding: xchunked",
    "Transfer-Encoding: chunkedx",
    "Transfer-Encoding: chunk",
    "Transfer-Encoding: chunked, identity",
    "Transfer-Encoding: identity, chunked",
    "Transfer-Encoding: chunked, chunked",
    "Transfer-Encoding: chunked,",
    "Transfer-Encoding: , chunked",
    "Transfer-Encoding: gzip, chunked",
    "Transfer-Encoding: chunked;q=1",
    "Transfer-Encoding: \"chunked\"",
    "Transfer-Encoding: 'chunked'",
    "Transfer-Encoding: \u{b}chunked",
    "Transfer-Encoding: chunked\u{b}",
    "Transfer-Encoding: chunked\u{c}",
    "Transfer-Encoding: \u{a0}chunked",
    "Transfer-Encoding: chun\u{ad}ked",
    "Transfer-Encoding: \0chunked",
    "Transfer-Encoding : chunked",
    "Transfer-Encoding\t: chunked",
    " Transfer-Encoding: chunked",
    "\tTransfer-Encoding: chunked",
    "X: 1\r\n\tTransfer-Encoding: chunked",
    "X: 1\rTransfer-Encoding: chunked",
    "X: 1\nTransfer-Encoding: chunked",
    "Transfer-Encoding\r\n: chunked",
    "Transfer-Encoding:\r\n chunked",
];

const LENGTHS: [&str; 24] = [
    "Content-Length: 4\r\nTransfer-Encoding: chunked",
    "Transfer-Encoding: chunked\r\nContent-Length: 4",
    "Content-Length: 0\r\nTransfer-Encoding: chunked",
    "content-length: 4\r\nTRANSFER-ENCODING: CHUNKED",
    "Content-Length: 4\r\nContent-Length: 0",
    "Content-Length: 4\r\nContent-Length: 4",
    "Content-Length: 0\r\nContent-Length: 45",
    "Content-Length: 4, 4",
    "Content-Length: 4,5",
    "Content-Length: +4",
    "Content-Length: -4",
    "Content-Length: -0",
    "Content-Length: 0x4",
    "Content-Length: 4 4",
    "Content-Length: 4;",
    "Content-Length: 4.0",
    "Content-Length: \"4\"",
    "Content-Length:",
    "Content-Length: 4\0",
    "Content-Length: \u{b2}",
    "Content-Length: 99999999999999999999",
    "Content-Length : 4",
    " Content-Length: 4",
    "Content-Length:\r\n 4",
];

#[tokio::test]
async fn chunk_sizes_that_can_be_read_two_ways_break_off() {
    for chunks in CHUNKS {
        let raw =
            format!("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}");
        check(&raw, Broken).await;
    }
}

const CHUNKS: [&str; 26] = [
    "0x3\r\nabc\r\n0\r\n\r\n",
    "+3\r\nabc\r\n0\r\n\r\n",
    "-3\r\nabc\r\n0\r\n\r\n",
    " 3\r\nabc\r\n0\r\n\r\n",
    "\r\n3\r\nabc\r\n0\r\n\r\n",
    "\r\nabc\r\n0\r\n\r\n",
    "g\r\nabc\r\n0\r\n\r\n",
    "3g\r\nabc\r\n0\r\n\r\n",
    "3\nabc\n0\n\n",
    "3\nabc\r\n0\r\n\r\n",
    "3\rabc\r\n0\r\n\r\n",
    "3\r\r\nabc\r\n0\r\n\r\n",
    "3\r\nabc\n0\r\n\r\n",
    "3\r\nabcd\r\n0\r\n\r\n",
    "3\r\nab\r\n0\r\n\r\n",
    "3\r\nabc0\r\n\r\n",
    "3;a\nb\r\nabc\r\n0\r\n\r\n",
    "3;\0\r\nabc\r\n0\r\n\r\n",
    "10000000000000003\r\nabc\r\n0\r\n\r\n",
    "ffffffffffffffff\r\nabc\r\n0\r\n\r\n",
    "\u{b2}\r\nab\r\n0\r\n\r\n",
    "0\r\nX: 1\n\r\n",
    "0\r\nX: 1\r\n\n",
    "0\n\n",
    "0\r\n",
    "3\r\nabc\r\n",
];

#[tokio::test]
async fn lines_hosts_and_targets_that_can_be_read_two_ways_are_refused() {
    for head in HEADS {
        check(head, Refused).await;
    }
}

const HEADS: [&str; 46] = [
    // Line ends and controls.
    "GET / HTTP/1.1\nHost: h\n\n",
    "GET / HTTP/1.1\r\nHost: h\n\r\n",
    "GET / HTTP/1.1\r\nHost: h\r\nX: 1\r\n\n",
    "GET / HTTP/1.1\rHost: h\r\r",
    "GET / HTTP/1.1\r\nHost: h\r\nX: a\rb\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: h\r\nX: a\r\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: h\r\nX: a\0b\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: h\r\nX\0: a\r\n\r\n",
    "GET /\0 HTTP/1.1\r\nHost: h\r\n\r\n",
    "GET /a\rb HTTP/1.1\r\nHost: h\r\n\r\n",
    "GET /a\nb HTTP/1.1\r\nHost: h\r\n\r\n",
    // Fields that are none.
    "GET / HTTP/1.1\r\nHost: h\r\nX\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: h\r\n: a\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: h\r\nX : a\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: h\r\nX Y: a\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: h\r\nX(: a\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: h\r\n\u{e9}: a\r\n\r\n",
    // Folding.
    "GET / HTTP/1.1\r\nHost: h\r\nX: a\r\n b\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: h\r\nX: a\r\n\tb\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: h\r\nX:\r\n  : a\r\n\r\n",
    "GET / HTTP/1.1\r\n Host: h\r\n\r\n",
    "GET / HTTP/1.1\r\nHost:\r\n h\r\n\r\n",
    // Hosts.
    "GET / HTTP/1.1\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: h\r\nHost: h\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: h\r\nhost: other\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: h, other\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: h other\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: h/other\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: h#other\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: h?other\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: \u{e9}\r\n\r\n",
    "GET http://other/ HTTP/1.1\r\nHost: h\r\n\r\n",
    "GET http://h@other/ HTTP/1.1\r\nHost: h\r\n\r\n",
    "GET http:///a HTTP/1.1\r\nHost: h\r\n\r\n",
    "GET //other/ HTTP/1.1\r\n\r\n",
    // Request lines.
    "GET /a b HTTP/1.1\r\nHost: h\r\n\r\n",
    "GET  / HTTP/1.1\r\nHost: h\r\n\r\n",
    "GET /  HTTP/1.1\r\nHost: h\r\n\r\n",
    "GET / HTTP/1.1 \r\nHost: h\r\n\r\n",
    " GET / HTTP/1.1\r\nHost: h\r\n\r\n",
    "GET\t/ HTTP/1.1\r\nHost: h\r\n\r\n",
    "G@T / HTTP/1.1\r\nHost: h\r\n\r\n",
    "GET / HTTP/2.0\r\nHost: h\r\n\r\n",
    "GET / http/1.1\r\nHost: h\r\n\r\n",
    "GET /\r\n\r\n",
    "CONNECT other:80 HTTP/1.1\r\nHost: other:80\r\n\r\n",
];

/// What is sound arrives as what it is, however it is meant.
#[tokio::test]
async fn what_is_sound_arrives_as_one_request_of_the_same_meaning() {
    for (raw, fate) in SOUND {
        check(raw, *fate).await;
    }
}

const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nHost: other\r\n\r\n";

const SOUND: &[(&str, Fate)] = &[
    // What looks like a request is a body, and the other way round.
    (
        "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 39\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: other\r\n\r\n",
        Arrives(&[("POST /", SMUGGLED)]),
    ),
    (
        "GET / HTTP/1.1\r\nHost: h\r\nContent-Length: 39\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: other\r\n\r\n",
        Arrives(&[("GET /", SMUGGLED)]),
    ),
    (
        "GET / HTTP/1.1\r\nHost: h\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: other\r\n\r\n",
        Arrives(&[("GET /", ""), ("GET /smuggled", "")]),
    ),
    (
        "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: other\r\n\r\n",
        Arrives(&[("POST /", ""), ("GET /smuggled", "")]),
    ),
    (
        "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n27\r\nGET /smuggled HTTP/1.1\r\nHost: other\r\n\r\n\r\n0\r\n\r\n",
        Arrives(&[("POST /", SMUGGLED)]),
    ),
    (
        "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0;\"\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: other\r\n\r\n",
        Arrives(&[("POST /", ""), ("GET /smuggled", "")]),
    ),
    (
        "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nTransfer-Encoding: x\r\nContent-Length: 9\r\nHost: other\r\n\r\n",
        Arrives(&[("POST /", "")]),
    ),
    (
        "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: CHUNKED \r\n\r\n0000000000000002\r\nab\r\n0\r\n\r\n",
        Arrives(&[("POST /", "ab")]),
    ),
    (
        "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 0002\r\n\r\nab",
        Arrives(&[("POST /", "ab")]),
    ),
    // Names that are only like those that delimit.
    (
        "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\nTransfer_Encoding: chunked\r\n\r\nab",
        Arrives(&[("POST /", "ab")]),
    ),
    (
        "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\nX-Transfer-Encoding: chunked\r\n\r\nab",
        Arrives(&[("POST /", "ab")]),
    ),
    (
        "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\nContent_Length: 9\r\n\r\nab",
        Arrives(&[("POST /", "ab")]),
    ),
    // Taking away by `Connection` what others rely on.
    (
        "POST / HTTP/1.1\r\nHost: h\r\nConnection: Content-Length\r\nContent-Length: 2\r\n\r\nab",
        Arrives(&[("POST /", "ab")]),
    ),
    (
        "POST / HTTP/1.1\r\nHost: h\r\nConnection: close, Transfer-Encoding\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n",
        Arrives(&[("POST /", "ab")]),
    ),
    (
        "GET / HTTP/1.1\r\nHost: h\r\nConnection: close, Host\r\n\r\n",
        Keeps("host", "h"),
    ),
    (
        "GET / HTTP/1.1\r\nHost: h\r\nConnection: X-Forwarded-For\r\nX-Forwarded-For: 1.1.1.1\r\n\r\n",
        Keeps("x-forwarded-for", "1.1.1.1, 127.0.0.1"),
    ),
    (
        "GET / HTTP/1.1\r\nHost: h\r\nConnection: X-Forwarded-Host, x-forwarded-proto\r\nX-Forwarded-Host: a\r\n\r\n",
        Keeps("x-forwarded-host", "a"),
    ),
    (
        "GET / HTTP/1.1\r\nHost: h\r\nConnection: forwarded\r\nForwarded: for=1.1.1.1\r\n\r\n",
        Keeps(
            "forwarded",
            "for=1.1.1.1, for=127.0.0.1;host=\"h\";proto=http",
        ),
    ),
    // Upgrades that are none: what is behind is another request, and no tunnel.
    (
        "GET / HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: other\r\n\r\n",
        Arrives(&[("GET /", ""), ("GET /smuggled", "")]),
    ),
    (
        "POST / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 2\r\n\r\nab",
        Arrives(&[("POST /", "ab")]),
    ),
    (
        "GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\nPRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        Arrives(&[("GET /", "")]),
    ),
    (
        "GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 777\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: other\r\n\r\n",
        // The upstream answers 200: the connection ends with that answer.
        Arrives(&[("GET /", "")]),
    ),
    // Targets keep their meaning.
    (
        "GET /%2e%2e//a/../b?c#d HTTP/1.1\r\nHost: h\r\n\r\n",
        Arrives(&[("GET /%2e%2e//a/../b?c#d", "")]),
    ),
    (
        "GET /a%0d%0aX:%20b HTTP/1.1\r\nHost: h\r\n\r\n",
        Arrives(&[("GET /a%0d%0aX:%20b", "")]),
    ),
    (
        "GET http://h/a HTTP/1.1\r\nHost: h\r\n\r\n",
        Arrives(&[("GET /a", "")]),
    ),
    (
        "OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n",
        Arrives(&[("OPTIONS *", "")]),
    ),
];
