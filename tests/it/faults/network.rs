//! The network is cut, cursors are killed.

use bson::{Document, doc};

use super::{Scene, closed, expect, id_in};
use crate::support::client::Client;

/// With 0 the answer is lost before it begins; with the others, somewhere in a batch.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_network_cut_in_the_middle_of_an_answer_loses_and_repeats_nothing() {
    let scene = Scene::open(1, "").await;
    let mut clients = scene.watch("data").await;
    let direct = scene.set.direct(0).await;
    let data = direct.database("restheart").collection::<Document>("data");
    for (round, bytes) in [0, 1, 300, 5_000, 20_000, 60_000].into_iter().enumerate() {
        let first = i32::try_from(round).expect("a small number") * 200;
        let numbers = first..first + 200;
        // In one batch, as a rule.
        let text = "x".repeat(300);
        let documents = numbers
            .clone()
            .map(|n| doc! { "_id": n, "n": n, "text": &text });
        scene.set.relay(0).cut_in(bytes);
        data.insert_many(documents)
            .await
            .expect("nothing is cut on this way");
        expect(&mut clients, numbers).await;
        assert!(!scene.set.relay(0).is_to_cut(), "it was cut: {bytes}");
    }
    scene.set.relay(0).cut();
    scene.write(1200..1210).await;
    expect(&mut clients, 1200..1210).await;
    for client in &clients {
        client.nothing_more().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_cursors_and_failing_commands_lose_and_repeat_nothing() {
    let scene = Scene::open(1, "").await;
    let mut clients = scene.watch("data").await;
    let admin = scene.set.direct(0).await.database("admin");
    let mut first = 0;
    // An operator kills what runs, idle or not.
    for _ in 0..3 {
        scene.write(first..first + 10).await;
        let killed = admin.run_command(doc! { "killAllSessions": [] }).await;
        killed.expect("anybody may, without authentication");
        scene.write(first + 10..first + 20).await;
        expect(&mut clients, first..first + 20).await;
        first += 20;
    }
    // CursorNotFound, CursorKilled, Interrupted, InterruptedAtShutdown, NotWritablePrimary, CappedPositionLost; several times,
    // since the driver mends one itself.
    for code in [43, 237, 11601, 11600, 10107, 136] {
        for command in ["getMore", "aggregate"] {
            let data = doc! { "failCommands": ["getMore", command], "errorCode": code };
            scene.set.fail(3, data).await;
            scene.write(first..first + 10).await;
            expect(&mut clients, first..first + 10).await;
            first += 10;
        }
    }
    let data = doc! { "failCommands": ["getMore", "aggregate"], "closeConnection": true };
    scene.set.fail(4, data).await;
    scene.write(first..first + 10).await;
    expect(&mut clients, first..first + 10).await;
    for client in &clients {
        client.nothing_more().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lost_history_is_told_with_4410_and_what_is_there_can_be_had() {
    let scene = Scene::open(1, "").await;
    let mut clients = scene.watch("data").await;
    scene.write(0..5).await;
    let ids = expect(&mut clients, 0..5).await;
    let data = doc! { "failCommands": ["getMore"], "errorCode": 286 };
    scene.set.fail(1, data).await;
    closed(&clients, 4410).await;
    scene.write(5..10).await;
    // The server only said so: who comes back with the last id gets what there was.
    let mut back = scene.watch_behind("data", &ids).await;
    expect(&mut back, 5..10).await;
    scene.write(10..12).await;
    expect(&mut back, 10..12).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collection_that_goes_is_told_with_4404_after_all_that_was_in_it() {
    let scene = Scene::open(1, "").await;
    scene.define("other").await;
    let mut others = scene.watch("other").await;
    let other = scene.collection("other").await;
    let admin = scene.set.client().await.database("admin");
    for (round, way) in ["drop", "rename", "dropDatabase"].into_iter().enumerate() {
        let first = i32::try_from(round).expect("a small number") * 10;
        let mut clients = scene.watch("data").await;
        scene.write(first..first + 5).await;
        match way {
            "drop" => scene
                .collection("data")
                .await
                .drop()
                .await
                .expect("dropped"),
            "rename" => {
                let order = doc! { "renameCollection": "restheart.data", "to": "restheart.gone", "dropTarget": true };
                admin.run_command(order).await.expect("renamed");
            }
            _ => {
                let database = scene.set.client().await.database("restheart");
                database.drop().await.expect("dropped");
            }
        }
        let ids = expect_five(&mut clients, first).await;
        if way == "dropDatabase" {
            // Definitions and users went with it, and whichever goes first ends a stream.
            for client in others.iter().chain(&clients) {
                let code = client.close_code().await;
                assert!([4401, 4404].contains(&code), "{code}: {}", client.state());
            }
            crate::support::stack::add_admin(&scene.set.client().await.database("restheart")).await;
        }
        if way != "dropDatabase" {
            expect_the_end(&mut clients).await;
        }
        scene.define("data").await;
        let mut again = scene.watch("data").await;
        scene.write(first + 5..first + 8).await;
        expect(&mut again, first + 5..first + 8).await;
        // Who comes back from before it went hears that, and nothing of what is there now.
        if way != "dropDatabase" {
            let mut back = scene.watch_behind("data", &ids).await;
            expect_the_end(&mut back).await;
            super::write(&other, i32::from(way == "rename")).await;
        }
    }
    let [first, second] = &mut others;
    for client in [first, second] {
        for number in [0, 1] {
            let message = client.next().await;
            assert_eq!(super::number_of(&message), Some(number), "{message}");
        }
    }
}

/// Five numbers. Returns the ids of the last, whatever has come behind it.
async fn expect_five(clients: &mut [Client; 2], first: i32) -> [String; 2] {
    let mut ids = [String::new(), String::new()];
    for (client, id) in clients.iter_mut().zip(&mut ids) {
        for number in first..first + 5 {
            let message = client.next().await;
            assert_eq!(super::number_of(&message), Some(number), "{message}");
        }
        *id = client.look(|received| match received.events.get(4) {
            Some(event) => id_in(&event["id"]),
            None => id_in(&received.frames[4]),
        });
    }
    ids
}

/// The event that ends it, and 4404.
async fn expect_the_end(clients: &mut [Client; 2]) {
    for client in clients {
        let message = client.next().await;
        let is_end = ["drop", "rename", "dropDatabase"]
            .iter()
            .any(|what| message.contains(&format!("\"operationType\": \"{what}\"")));
        assert!(is_end, "{message}");
        assert_eq!(client.close_code().await, 4404);
    }
}
