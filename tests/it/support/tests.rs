//! The support is trusted by all other tests, so it has its own.

use std::io::Write;
use std::process::Command;
use std::time::Duration;

use bson::doc;
use flate2::Compression;
use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

use super::client::{Client, Close, Request};
use super::process::{Process, scratch};
use super::sidestream::LegacyApi;
use super::stack::ADMIN;
use super::upstream::Echo;
use super::{ReplicaSet, client_of, mongo_uri};

#[tokio::test]
async fn replica_set_survives_a_kill_with_its_documents() {
    let mut set = ReplicaSet::start().await;
    let collection = client_of(&set.uri)
        .await
        .database("harness")
        .collection("kept");
    let written = collection.insert_one(doc! { "_id": 1 }).await;
    written.expect("the primary takes writes");
    set.kill().await;
    set.restart(&["--replSet", "rs0"]).await;
    let collection = client_of(&set.uri).await.database("harness");
    let collection = collection.collection::<bson::Document>("kept");
    let found = collection.find_one(doc! {}).await;
    assert_eq!(found.expect("it is primary again"), Some(doc! { "_id": 1 }));
}

#[tokio::test]
async fn process_ends_with_its_handle_and_takes_its_scratch_directory_along() {
    let directory = scratch("support");
    let mut command = Command::new("sh");
    command.args(["-c", "echo up; exec sleep 600"]);
    let process = Process::start(&command, Some(&directory));
    process
        .log
        .wait("the word", 0, |line| (line == "up").then_some(()))
        .await;
    let own = format!("/proc/{}", process.pid);
    assert!(std::path::Path::new(&own).exists());
    drop(process);
    assert!(!std::path::Path::new(&own).exists());
    assert!(!directory.exists());
}

#[tokio::test]
async fn process_tells_its_exit_code_and_both_outputs() {
    let mut command = Command::new("sh");
    command.args(["-c", "echo out; echo err >&2; exit 64"]);
    let process = Process::start(&command, None);
    let log = process.log.clone();
    assert_eq!(process.exit_code(Duration::from_secs(10)).await, 64);
    let mut lines = log.lines();
    lines.sort();
    assert_eq!(lines, ["err", "out"]);
}

#[tokio::test]
async fn client_reads_bodies_and_events_in_every_coding() {
    let echo = Echo::start().await;
    let answer = Client::open(echo.address, &Request::http("PUT", "/x?y").body("text")).await;
    assert_eq!(
        (answer.status(), answer.body()),
        (Some(200), "PUT /x?y text")
    );
    let event = "id:1\nevent:change\ndata:{\"a\": 1}\n\n";
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    let mut zlib = ZlibEncoder::new(Vec::new(), Compression::fast());
    let mut bare = DeflateEncoder::new(Vec::new(), Compression::fast());
    for encoder in [&mut gzip as &mut dyn Write, &mut zlib, &mut bare] {
        encoder
            .write_all(event.as_bytes())
            .expect("memory takes it");
        // The stream goes on: the client must read what is there without its end.
        encoder.flush().expect("memory takes it");
    }
    check_events("", event.as_bytes()).await;
    check_events("Content-Encoding: gzip\r\n", gzip.get_ref()).await;
    check_events("Content-Encoding: deflate\r\n", zlib.get_ref()).await;
    check_events("Content-Encoding: deflate\r\n", bare.get_ref()).await;
}

/// Serves the bytes as an SSE body, as it is and in chunks, and wants one event of them.
async fn check_events(coding: &str, body: &[u8]) {
    for is_chunked in [false, true] {
        let listener = TcpListener::bind("127.0.0.1:0")
            .await
            .expect("loopback has a free port");
        let address = listener.local_addr().expect("it is bound");
        let framing = if is_chunked {
            "Transfer-Encoding: chunked\r\n"
        } else {
            ""
        };
        let head =
            format!("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n{coding}{framing}\r\n");
        let mut answer = head.into_bytes();
        if is_chunked {
            answer.extend(
                format!("{:x}\r\n", body.len())
                    .bytes()
                    .chain(body.iter().copied()),
            );
            answer.extend(b"\r\n");
        } else {
            answer.extend(body);
        }
        let serve = async {
            let (mut stream, _) = listener.accept().await.expect("the client connects");
            stream.write_all(&answer).await.expect("it reads");
            stream
        };
        let request = Request::sse("/");
        let (mut client, stream) = tokio::join!(Client::open(address, &request), serve);
        assert_eq!(client.next().await, "{\"a\": 1}");
        client.nothing_more().await;
        drop(stream);
        assert_eq!(client.closed().await, Close::Sse);
    }
}

#[tokio::test]
async fn legacy_api_listens_and_lets_the_administrator_in() {
    let legacy = LegacyApi::start(mongo_uri().await).await;
    let request = Request::http("GET", "/harness_none").auth(ADMIN);
    let answer = Client::open(legacy.address, &request).await;
    assert_eq!(answer.status(), Some(404), "{}", answer.state());
}
