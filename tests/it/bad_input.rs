//! Bad input: a clear answer, and nothing else harmed.

use bson::{Document, doc};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::client::{Client, Request};
use crate::support::sidestream::Sidestream;
use crate::support::stack::{self, ADMIN, Stack, config};
use crate::support::upstream::Echo;
use crate::support::{ReplicaSet, mongo_uri};

#[tokio::test]
async fn three_mistakes_in_the_file_are_told_at_once_with_their_lines() {
    let toml = r#"
[server]
listen = ["nowhere"]
drain = "30 fortnights"
[upstream]
url = "http://127.0.0.1:8081"
[mongodb]
uri = "mongodb://127.0.0.1:27017/?replicaSet=rs0"
watcg = "database"
"#;
    let (code, log) = Sidestream::refuse(toml).await;
    assert_eq!(code, EX_USAGE, "{log:?}");
    let log = log.join("\n");
    for (line, key) in [
        (3, "server.listen"),
        (4, "server.drain"),
        (9, "mongodb.watcg"),
    ] {
        let told = |text: &str| text.contains(&format!(":{line}: ")) && text.contains(key);
        assert!(log.lines().any(told), "{line} {key}: {log}");
    }
    let checked = Sidestream::check(toml).await;
    assert_eq!(checked.status.code(), Some(EX_USAGE));
}

#[tokio::test]
async fn mongodb_without_a_replica_set_stops_streams_only_and_check_says_what_to_do() {
    let server = ReplicaSet::standalone().await;
    let answer = streams_unavailable(&server.uri).await;
    assert!(answer.contains("replica set"), "{answer}");
    // A connection string that names a set finds no server that fits: then check asks the server itself.
    let named = format!("{}?replicaSet=rs0", server.uri);
    for uri in [server.uri.as_str(), &named] {
        let checked = check(uri).await;
        assert!(checked.contains("rs.initiate()"), "{uri}: {checked}");
    }
}

#[tokio::test]
async fn wrong_credentials_for_mongodb_stop_streams_only_and_check_says_so() {
    let uri = mongo_uri()
        .await
        .replace("mongodb://", "mongodb://nobody:wrong@");
    let answer = streams_unavailable(&uri).await;
    assert!(!answer.contains("wrong@"), "a secret was told: {answer}");
    let checked = check(&uri).await;
    assert!(checked.to_lowercase().contains("authenti"), "{checked}");
    assert!(!checked.contains("wrong@"), "a secret was told: {checked}");
}

#[tokio::test]
async fn metadata_that_is_not_what_it_should_be_is_500_for_its_own_stream_only() {
    let stack = Stack::shared().await;
    let broken = [
        doc! { "streams": 5 },
        doc! { "streams": "x" },
        doc! { "streams": { "uri": "s", "stages": [] } },
        doc! { "streams": [{ "uri": "s" }] },
        doc! { "streams": [{ "uri": "s", "stages": [5] }] },
        doc! { "streams": [{ "uri": "s", "stages": [{ "$match": 5 }] }] },
        doc! { "streams": [{ "uri": "s", "stages": [], "notify_when": 1 }] },
    ];
    define(
        stack,
        "bad_good",
        doc! { "streams": [{ "uri": "s", "stages": [] }] },
    )
    .await;
    let mut untouched = stack.watch("/bad_good/_streams/s").await;
    for (n, properties) in broken.into_iter().enumerate() {
        let text = properties.to_string();
        let collection = format!("bad_properties{n}");
        define(stack, &collection, properties).await;
        let stream = format!("/{collection}/_streams/s");
        let answer = stack.open(&Request::websocket(&stream).auth(ADMIN)).await;
        assert_eq!(answer.status(), Some(500), "{text}: {}", answer.state());
        assert!(
            answer.body().contains("\"message\": \""),
            "{text}: {}",
            answer.state()
        );
    }
    stack.write("POST", "/bad_good", r#"{"_id": 1}"#).await;
    untouched.next().await;
}

#[tokio::test]
async fn avars_that_are_none_are_refused() {
    let stack = Stack::shared().await;
    let stages = doc! { "streams": [{ "uri": "s", "stages": [{ "$match": { "fullDocument.n": { "$var": "n" } } }] }] };
    define(stack, "bad_avars", stages).await;
    for (avars, status) in [
        ("{'n':", 400),
        ("abc", 400),
        ("[1]", 500),
        ("{'n':{'$gt':1}}", 400),
    ] {
        let target = format!("/bad_avars/_streams/s?avars={avars}");
        let answer = stack.open(&Request::websocket(&target).auth(ADMIN)).await;
        assert_eq!(answer.status(), Some(status), "{avars}: {}", answer.state());
        assert!(
            answer.body().contains("\"message\": \""),
            "{}",
            answer.state()
        );
    }
    let mut untouched = stack.watch("/bad_avars/_streams/s?n=x").await;
    let huge = "x".repeat(10 << 20);
    let target = format!("/bad_avars/_streams/s?avars={{'n':'{huge}'}}");
    let answer = stack.open(&Request::websocket(&target).auth(ADMIN)).await;
    // A server may close before it has read 10 MB; it must not take them.
    assert!(
        matches!(answer.status(), Some(400 | 414 | 431) | None),
        "{:?}",
        answer.status()
    );
    stack.write("POST", "/bad_avars", r#"{"n": "x"}"#).await;
    untouched.next().await;
}

#[tokio::test]
async fn stage_that_mongodb_refuses_is_refused_with_the_reason() {
    let stack = Stack::shared().await;
    let streams = doc! { "streams": [
        { "uri": "bad", "stages": [{ "$project": { "a": { "$noSuchOperator": 1 } } }] },
        { "uri": "good", "stages": [] },
    ] };
    define(stack, "bad_stage", streams).await;
    let mut untouched = stack.watch("/bad_stage/_streams/good").await;
    let answer = stack
        .open(&Request::websocket("/bad_stage/_streams/bad").auth(ADMIN))
        .await;
    let refused = answer
        .status()
        .is_some_and(|status| (400..=500).contains(&status));
    assert!(
        refused && answer.body().contains("$noSuchOperator"),
        "{}",
        answer.state()
    );
    stack.write("POST", "/bad_stage", r#"{"_id": 1}"#).await;
    untouched.next().await;
}

#[tokio::test]
async fn filter_that_is_not_shared_is_told_by_operator_and_place() {
    let stack = Stack::shared().await;
    let name = doc! { "fullDocument.name": { "$regex": "(?=x)" } };
    let streams = doc! { "streams": [
        { "uri": "regex", "stages": [{ "$match": { "operationType": "insert" } }, { "$match": name }] },
        { "uri": "schema", "stages": [{ "$match": { "$or": [{ "$jsonSchema": {} }] } }] },
    ] };
    define(stack, "bad_reasons", streams).await;
    let reasons = [
        "stages[1].$match: a regular expression with a group of a special kind is not evaluated here at fullDocument.name",
        "stages[0].$match: $jsonSchema is not evaluated here",
    ];
    let told = async {
        loop {
            let request = Request::http("GET", "/streams");
            let answer = Client::open(stack.sidestream.admin, &request).await;
            if reasons.iter().all(|reason| answer.body().contains(reason)) {
                return;
            }
        }
    };
    let told = tokio::time::timeout(stack::METRIC_WAIT, told).await;
    assert!(told.is_ok(), "/streams does not tell the reasons");
    let checked = check(&stack.mongo_uri).await;
    for reason in reasons {
        assert!(checked.contains(reason), "{reason}: {checked}");
    }
}

#[tokio::test]
async fn garbage_frames_end_their_own_session_with_1002() {
    let stack = Stack::shared().await;
    define(
        stack,
        "bad_frames",
        doc! { "streams": [{ "uri": "s", "stages": [] }] },
    )
    .await;
    let mut untouched = stack.watch("/bad_frames/_streams/s").await;
    let client = stack.watch("/bad_frames/_streams/s").await;
    client.send_raw(b"GET / HTTP/1.1\r\n\r\n").await;
    assert_eq!(client.close_code().await, 1002);
    stack.write("POST", "/bad_frames", r#"{"_id": 1}"#).await;
    untouched.next().await;
}

#[tokio::test]
async fn client_that_never_reads_is_closed_and_others_get_everything() {
    let stack = Stack::start("").await;
    define(
        &stack,
        "bad_slow",
        doc! { "streams": [{ "uri": "s", "stages": [] }] },
    )
    .await;
    let mut reader = stack.watch("/bad_slow/_streams/s").await;
    let socket = tokio::net::TcpSocket::new_v4().expect("a socket can be made");
    socket.set_recv_buffer_size(4096).expect("it takes a size");
    let mut deaf = socket.connect(stack.address()).await.expect("it listens");
    let request = Request::websocket("/bad_slow/_streams/s").auth(ADMIN);
    deaf.write_all(&request.bytes(&stack.address().to_string()))
        .await
        .expect("it reads");
    let mut head = [0; 12];
    deaf.read_exact(&mut head).await.expect("it answers");
    assert_eq!(&head, b"HTTP/1.1 101");
    // The head goes out before the session is counted, so the count is awaited.
    let both = async { while stack.metric(SESSIONS, "").await != 2.0 {} };
    tokio::time::timeout(std::time::Duration::from_secs(10), both)
        .await
        .expect("both sessions are counted");

    let collection = stack.database().await.collection::<Document>("bad_slow");
    let big = "x".repeat(256 << 10);
    for n in 0..MANY {
        let written = collection.insert_one(doc! { "_id": n, "big": &big }).await;
        written.expect("the primary takes writes");
        let start = format!(r#"{{"fullDocument": {{"_id": {n}, "#);
        assert!(reader.next().await.starts_with(&start), "{n}");
    }
    stack
        .eventually("sidestream_closes_total{", "slow", 1.0)
        .await;
    reader.nothing_more().await;
    drop(deaf);
    stack.eventually(SESSIONS, "", 1.0).await;
}

#[tokio::test]
async fn client_that_vanishes_is_forgotten() {
    let stack = Stack::start("").await;
    define(
        &stack,
        "bad_vanish",
        doc! { "streams": [{ "uri": "s", "stages": [] }] },
    )
    .await;
    let mut untouched = stack.watch("/bad_vanish/_streams/s").await;
    for _ in 0..10 {
        drop(stack.watch("/bad_vanish/_streams/s").await);
    }
    stack.eventually(SESSIONS, "", 1.0).await;
    stack.write("POST", "/bad_vanish", r#"{"_id": 1}"#).await;
    untouched.next().await;
}

#[tokio::test]
async fn second_sidestream_on_one_port_says_so_and_the_first_goes_on() {
    let stack = Stack::shared().await;
    let address = stack.address().to_string();
    let toml = config(NOBODY_URL, mongo_uri().await, "").replacen("127.0.0.1:0", &address, 1);
    let (code, log) = Sidestream::refuse(&toml).await;
    assert_ne!(code, 0);
    let log = log.join("\n");
    assert!(
        log.contains(&address) && log.to_lowercase().contains("in use"),
        "{log}"
    );
    let answer = stack.open(&Request::http("GET", "/").auth(ADMIN)).await;
    assert_eq!(answer.status(), Some(200), "{}", answer.state());
}

/// Asserts that REST goes on over this MongoDB while streams are 503, and returns the refusal's body.
async fn streams_unavailable(uri: &str) -> String {
    let upstream = Echo::start().await;
    let settings = "[streams]\nconnect_patience = \"300ms\"\n";
    let sidestream = Sidestream::start(&config(&upstream.url(), uri, settings)).await;
    let stream = Request::websocket("/messages/_streams/all").auth(ADMIN);
    let refused = Client::open(sidestream.public, &stream).await;
    assert_eq!(refused.status(), Some(503), "{}", refused.state());
    let answer = Client::open(sidestream.public, &Request::http("GET", "/messages")).await;
    assert_eq!(answer.body(), "GET /messages ");
    refused.body().to_owned()
}

/// Runs `sidestream check` over this MongoDB and returns all that it says. It must find something wrong.
async fn check(uri: &str) -> String {
    let output = Sidestream::check(&config(NOBODY_URL, uri, "")).await;
    assert_ne!(output.status.code(), Some(0));
    let said = [output.stdout, output.stderr].concat();
    String::from_utf8(said).expect("it speaks UTF-8")
}

async fn define(stack: &Stack, collection: &str, properties: Document) {
    stack::define(&stack.database().await, collection, properties).await;
}

const SESSIONS: &str = "sidestream_sessions{";
const EX_USAGE: i32 = 64;
const MANY: i32 = 64;
const NOBODY_URL: &str = "http://127.0.0.1:1";
