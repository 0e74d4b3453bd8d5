//! MongoDB comes back with another history, another name, another time.

use bson::{Binary, Timestamp, doc, spec::BinarySubtype};

use super::{PATIENCE, Scene, closed, expect};
use crate::support::client::Request;
use crate::support::stack::ADMIN;

/// Whether the feed stands at the event that is lost, or at a place behind it that no event bears.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restored_backup_is_told_with_4410_and_ids_of_the_lost_future_with_410() {
    for is_idle in [false, true] {
        let mut scene = Scene::open(1, "").await;
        let mut clients = scene.watch("data").await;
        scene.write(0..5).await;
        expect(&mut clients, 0..5).await;
        scene.set.kill(0).await;
        scene.set.save(0);
        scene.set.restart(0).await;
        scene.write(5..10).await;
        let ids = expect(&mut clients, 5..10).await;
        if is_idle {
            // Until the feed has moved on behind the last event.
            let lag = async {
                let before = scene.position().await;
                while scene.position().await == before {}
            };
            let lag = tokio::time::timeout(PATIENCE, lag).await;
            lag.expect("an idle feed moves");
        }
        scene.set.kill(0).await;
        scene.set.restore(0);
        scene.set.restart(0).await;
        closed(&clients, 4410).await;
        let mut fresh = scene.watch("data").await;
        scene.write(20..23).await;
        expect(&mut fresh, 20..23).await;
        for id in &ids {
            let target = format!("/data/_streams/all?lastEventID={id}");
            let back = scene
                .stack
                .open(&Request::websocket(&target).auth(ADMIN))
                .await;
            assert_eq!(back.status(), Some(410), "{}", back.state());
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_gets_another_name_costs_nothing() {
    let mut scene = Scene::open(1, "").await;
    let mut clients = scene.watch("data").await;
    scene.write(0..5).await;
    expect(&mut clients, 0..5).await;
    scene.set.rename(0).await;
    scene.write(5..10).await;
    expect(&mut clients, 5..10).await;
    for client in &clients {
        client.nothing_more().await;
    }
}

/// A clock that jumps is a cluster time that jumps: a week forward, which no server ever takes back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_that_jumps_costs_nothing() {
    let scene = Scene::open(1, "").await;
    let mut clients = scene.watch("data").await;
    scene.write(0..5).await;
    let before = expect(&mut clients, 0..5).await;
    let direct = scene.set.direct(0).await;
    let mut session = direct.start_session().await.expect("a session");
    let admin = direct.database("admin");
    let now = admin.run_command(doc! { "ping": 1 }).await;
    let now = now.expect("it answers");
    let now = now.get_timestamp("operationTime").expect("a replica set");
    let nobody = Binary {
        subtype: BinarySubtype::Generic,
        bytes: vec![0; 20],
    };
    let later = doc! {
        "clusterTime": Timestamp { time: now.time + 7 * 24 * 3600, increment: 1 },
        "signature": { "hash": nobody, "keyId": 0_i64 },
    };
    let later = bson::deserialize_from_document(later).expect("a cluster time");
    session.advance_cluster_time(&later);
    let told = admin.run_command(doc! { "ping": 1 }).session(&mut session);
    told.await.expect("it takes the time");
    scene.write(5..10).await;
    let behind = expect(&mut clients, 5..10).await;
    let mut back = [
        scene.watch_behind("data", &before).await,
        scene.watch_behind("data", &behind).await,
        scene.watch("data").await,
    ];
    scene.write(10..12).await;
    for (clients, from) in back.iter_mut().zip([5, 10, 10]) {
        expect(clients, from..12).await;
    }
}
