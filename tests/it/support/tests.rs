//! The support is trusted by all other tests, so it has its own.

use std::process::Command;
use std::time::Duration;

use bson::doc;

use super::process::{Process, scratch};
use super::{ReplicaSet, client_of};

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
