//! MongoDB is away for a while.

use std::time::Duration;

use super::{PATIENCE, Scene, closed, expect};
use crate::support::client::{Received, Request};
use crate::support::stack::ADMIN;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_stay_open_with_heartbeats_while_mongodb_is_away_and_go_on() {
    let settings = "[streams]\nfeed_patience = \"5m\"\nping_interval = \"200ms\"\ncomment_interval = \"200ms\"\n";
    let mut scene = Scene::open(1, settings).await;
    let mut clients = scene.watch("data").await;
    scene.write(0..5).await;
    expect(&mut clients, 0..5).await;
    scene.set.kill(0).await;
    // Who comes now is told at once; once Sidestream has noticed.
    let refused = Request::websocket("/data/_streams/all").auth(ADMIN);
    let noticed = async { while scene.stack.open(&refused).await.status() != Some(503) {} };
    let noticed = tokio::time::timeout(PATIENCE, noticed).await;
    noticed.expect("503 while MongoDB is away");
    let heard = |received: &Received| (received.pings, comments(received));
    let before = clients.each_ref().map(|client| client.look(heard));
    let [websocket, sse] = &clients;
    let pings = |received: &Received| received.pings >= before[0].0 + 3;
    assert!(
        websocket.wait(PATIENCE, pings).await,
        "{}",
        websocket.state()
    );
    // Comments wake nobody in this client: looked at until they are there.
    let commented = async {
        while sse.look(comments) < before[1].1 + 3 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let commented = tokio::time::timeout(PATIENCE, commented).await;
    commented.expect("comments while MongoDB is away");
    scene.set.restart(0).await;
    scene.write(5..10).await;
    expect(&mut clients, 5..10).await;
    for client in &clients {
        client.nothing_more().await;
    }
}

fn comments(received: &Received) -> usize {
    let body = String::from_utf8_lossy(&received.body);
    body.lines().filter(|line| line.starts_with(':')).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn beyond_feed_patience_sessions_are_told_with_1011_and_resume() {
    let settings = "[streams]\nfeed_patience = \"500ms\"\n";
    let mut scene = Scene::open(1, settings).await;
    let mut clients = scene.watch("data").await;
    scene.write(0..5).await;
    let ids = expect(&mut clients, 0..5).await;
    scene.set.kill(0).await;
    closed(&clients, 1011).await;
    scene.set.restart(0).await;
    scene.write(5..8).await;
    let back = async {
        let target = format!("/data/_streams/all?lastEventID={}", ids[0]);
        let request = Request::websocket(&target).auth(ADMIN);
        while scene.stack.open(&request).await.status() != Some(101) {}
    };
    let back = tokio::time::timeout(PATIENCE, back).await;
    back.expect("they get in again");
    let mut back = scene.watch_behind("data", &ids).await;
    expect(&mut back, 5..8).await;
}
