//! The two halves do not fall together, and neither falls without a word.

use std::time::{Duration, Instant};

use bson::doc;

use crate::support::client::{Client, Kind, Request};
use crate::support::sidestream::Sidestream;
use crate::support::stack::{self, ADMIN, DATABASE, Stack, add_admin, config};
use crate::support::upstream::Echo;
use crate::support::{ReplicaSet, client_of, mongo_client, mongo_uri};
use crate::support::{mongod, replicas::Replicas};

#[tokio::test]
async fn proxy_half_works_with_mongodb_absent() {
    let upstream = Echo::start().await;
    let settings = "[streams]\nconnect_patience = \"300ms\"\n";
    let sidestream = Sidestream::start(&config(&upstream.url(), NOBODY_URI, settings)).await;
    for method in ["GET", "POST", "PUT", "PATCH", "DELETE"] {
        let request = Request::http(method, "/messages?page=1").body("text");
        let answer = Client::open(sidestream.public, &request).await;
        assert_eq!(answer.status(), Some(200), "{method}: {}", answer.state());
        assert_eq!(answer.body(), format!("{method} /messages?page=1 text"));
    }
    let stream = Request::websocket("/messages/_streams/all").auth(ADMIN);
    let refused = Client::open(sidestream.public, &stream).await;
    assert_eq!(refused.status(), Some(503), "{}", refused.state());
    let events = Request::sse("/messages/_streams/all").auth(ADMIN);
    let refused = Client::open(sidestream.public, &events).await;
    assert_eq!(refused.status(), Some(503), "{}", refused.state());
    assert_eq!(admin(&sidestream, "/health").await.status(), Some(200));
    let ready = admin(&sidestream, "/ready").await;
    assert_eq!(ready.status(), Some(503));
    assert!(
        ready.body().to_lowercase().contains("mongodb"),
        "{}",
        ready.body()
    );
}

#[tokio::test]
async fn proxy_half_outlives_mongodb_and_sessions_outlive_its_restart() {
    let mut set = ReplicaSet::start().await;
    let database = client_of(&set.uri).await.database(DATABASE);
    add_admin(&database).await;
    define(&database, "kept").await;
    let upstream = Echo::start().await;
    let sidestream = Sidestream::start(&config(&upstream.url(), &set.uri, "")).await;
    let stream = Request::websocket("/kept/_streams/all").auth(ADMIN);
    let mut client = Client::open(sidestream.public, &stream).await;
    assert_eq!(client.status(), Some(101), "{}", client.state());

    set.kill().await;
    let answer = Client::open(sidestream.public, &Request::http("GET", "/x")).await;
    assert_eq!(answer.body(), "GET /x ");
    set.restart(&["--replSet", "rs0"]).await;

    let database = client_of(&set.uri).await.database(DATABASE);
    let written = database
        .collection("kept")
        .insert_one(doc! { "_id": 1 })
        .await;
    written.expect("it is primary again");
    assert!(
        client
            .next()
            .await
            .starts_with(r#"{"fullDocument": {"_id": 1}"#)
    );
}

#[tokio::test]
async fn streams_half_works_with_the_upstream_absent() {
    let mongo = mongo_client().await;
    let database = mongo.database(DATABASE);
    add_admin(&database).await;
    define(&database, "alone").await;
    let sidestream = Sidestream::start(&config(NOBODY_URL, mongo_uri().await, "")).await;
    let stream = Request::websocket("/alone/_streams/all").auth(ADMIN);
    let mut client = Client::open(sidestream.public, &stream).await;
    assert_eq!(client.status(), Some(101), "{}", client.state());
    let written = database
        .collection("alone")
        .insert_one(doc! { "x": 1 })
        .await;
    written.expect("the primary takes writes");
    assert!(client.next().await.contains(r#""x": 1"#));

    let answer = Client::open(sidestream.public, &Request::http("GET", "/alone")).await;
    assert_eq!(answer.status(), Some(502), "{}", answer.state());
    assert!(!answer.body().is_empty());
    assert_eq!(admin(&sidestream, "/ready").await.status(), Some(503));
    client.nothing_more().await;
}

#[tokio::test]
async fn termination_drains_with_1001_and_exits_with_0() {
    let stack = Stack::start("").await;
    define(&stack.database().await, "drained").await;
    let socket = stack.watch("/drained/_streams/all").await;
    let events = Request::sse("/drained/_streams/all").auth(ADMIN);
    let events = stack.open(&events).await;
    assert_eq!(events.kind, Kind::Sse, "{}", events.state());
    let address = stack.address();

    stack.sidestream.terminate();
    assert_eq!(socket.close_code().await, 1001);
    assert_eq!(events.close_code().await, 1001);
    assert_eq!(stack.sidestream.exit_code().await, 0);
    assert!(tokio::net::TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn the_end_is_told_to_one_after_the_other() {
    const SESSIONS: u32 = 80;
    let uri = mongo_uri().await;
    let database = client_of(uri).await.database(DATABASE);
    add_admin(&database).await;
    define(&database, "spread").await;
    let upstream = Echo::start().await;
    let toml = config(&upstream.url(), uri, "").replace(r#"drain = "2s""#, r#"drain = "10s""#);
    let sidestream = Sidestream::start(&toml).await;
    let mut told = tokio::task::JoinSet::new();
    for _ in 0..SESSIONS {
        let stream = Request::websocket("/spread/_streams/all").auth(ADMIN);
        let client = Client::open(sidestream.public, &stream).await;
        assert_eq!(client.status(), Some(101), "{}", client.state());
        told.spawn(async move {
            assert_eq!(client.close_code().await, 1001);
            Instant::now()
        });
    }
    let begun = Instant::now();
    sidestream.terminate();
    let mut moments = Vec::new();
    while let Some(moment) = told.join_next().await {
        moments.push(moment.expect("it is told") - begun);
    }
    assert_eq!(sidestream.exit_code().await, 0);
    assert!(begun.elapsed() < Duration::from_secs(10));
    moments.sort_unstable();
    // Five milliseconds for each; whoever is late by chance may be so.
    let (first, last) = (moments[0], moments[moments.len() - 1]);
    assert!(
        last - first > Duration::from_millis(5) * SESSIONS / 2,
        "{moments:?}"
    );
    let early = moments
        .iter()
        .filter(|moment| **moment < first + (last - first) / 2);
    let early = u32::try_from(early.count()).expect("few");
    assert!(
        (SESSIONS / 5..=SESSIONS * 4 / 5).contains(&early),
        "{moments:?}"
    );
}

#[tokio::test]
async fn rest_does_not_notice_a_mongodb_that_hangs() {
    const REQUESTS: usize = 300;
    let set = Replicas::start(&mongod::binary(), 1).await;
    let database = set.client().await.database(DATABASE);
    add_admin(&database).await;
    define(&database, "hung").await;
    let upstream = Echo::start().await;
    let settings = "[streams]\nconnect_patience = \"300ms\"\n";
    let sidestream = Sidestream::start(&config(&upstream.url(), &set.uri(), settings)).await;
    let stream = Request::websocket("/hung/_streams/all").auth(ADMIN);
    let mut client = Client::open(sidestream.public, &stream).await;
    assert_eq!(client.status(), Some(101), "{}", client.state());

    set.pause(0, true);
    // Whoever wants a stream now waits, and holds up nobody.
    let (public, waiting) = (sidestream.public, stream.clone());
    let streams: Vec<_> = (0..20)
        .map(|_| tokio::spawn(Client::open(public, &waiting)))
        .collect();
    for number in 0..REQUESTS {
        let method = ["GET", "POST", "PUT", "PATCH", "DELETE"][number % 5];
        let target = format!("/hung/{number}");
        let answer = Client::open(public, &Request::http(method, &target).body("text")).await;
        assert_eq!(answer.status(), Some(200), "{method}: {}", answer.state());
        assert_eq!(answer.body(), format!("{method} {target} text"));
    }
    set.pause(0, false);
    for stream in streams {
        let answer = stream.await.expect("it is answered");
        assert!(
            matches!(answer.status(), Some(101 | 503)),
            "{}",
            answer.state()
        );
    }
    let written = database
        .collection("hung")
        .insert_one(doc! { "_id": 1 })
        .await;
    written.expect("it is primary again");
    let event = client.next().await;
    assert!(
        event.starts_with(r#"{"fullDocument": {"_id": 1}"#),
        "{event}"
    );
}

#[tokio::test]
async fn streams_switched_off_make_it_a_plain_proxy() {
    let upstream = Echo::start().await;
    let settings = "[streams]\nenabled = false\n";
    let sidestream = Sidestream::start(&config(&upstream.url(), NOBODY_URI, settings)).await;
    let target = "/messages/_streams/all?n=uji";
    for request in [
        Request::websocket(target),
        Request::sse(target),
        Request::http("GET", target),
    ] {
        let answer = Client::open(sidestream.public, &request).await;
        assert_eq!(answer.status(), Some(200), "{}", answer.state());
        assert_eq!(answer.body(), format!("GET {target} "));
    }
    assert_eq!(admin(&sidestream, "/ready").await.status(), Some(200));
}

async fn admin(sidestream: &Sidestream, path: &str) -> Client {
    Client::open(sidestream.admin, &Request::http("GET", path)).await
}

async fn define(database: &mongodb::Database, collection: &str) {
    let streams = doc! { "streams": [{ "uri": "all", "stages": [] }] };
    stack::define(database, collection, streams).await;
}

// Port 1 is nobody's on loopback: a connection is refused at once.
const NOBODY_URI: &str = "mongodb://127.0.0.1:1/?replicaSet=rs0&serverSelectionTimeoutMS=500";
const NOBODY_URL: &str = "http://127.0.0.1:1";
