//! No sleep is needed in anybody's test: from the 101 on nothing is missed, nothing from before arrives, and what was
//! written through the proxy holds when its answer is there. Each of these is tried hundreds of times.

use bson::{Document, doc};
use mongodb::Collection;
use mongodb::options::WriteConcern;

use crate::support::client::Request;
use crate::support::stack::{ADMIN, Stack, clear};
use crate::support::{ReplicaSet, client_of};

#[tokio::test]
async fn write_at_once_on_the_101_is_received() {
    let stack = Stack::shared().await;
    in_lanes("fresh_first", |lane, rounds| async move {
        clear(&stack.database().await, &lane).await;
        define(stack, &lane, ALL).await;
        let collection = collection(stack, &lane).await;
        for round in rounds {
            let mut client = stack.watch(&format!("/{lane}/_streams/all")).await;
            let written = collection.insert_one(doc! { "_id": round }).await;
            written.expect("the primary takes writes");
            assert_eq!(client.next().await, inserted(round));
        }
    })
    .await;
}

#[tokio::test]
async fn nothing_from_before_arrives_and_nobody_is_closed() {
    let stack = Stack::shared().await;
    in_lanes("fresh_before", |lane, rounds| async move {
        clear(&stack.database().await, &lane).await;
        define(stack, &lane, ALL).await;
        let collection = collection(stack, &lane).await;
        let database = stack.database().await;
        for round in rounds {
            collection.drop().await.expect("the primary takes writes");
            let created = database.create_collection(&lane).await;
            created.expect("it was dropped");
            let before = collection
                .insert_one(doc! { "_id": "before" })
                .write_concern(WriteConcern::nodes(1));
            before.await.expect("the primary takes writes");
            let mut client = stack.watch(&format!("/{lane}/_streams/all")).await;
            let written = collection.insert_one(doc! { "_id": round }).await;
            written.expect("the primary takes writes");
            assert_eq!(client.next().await, inserted(round));
            assert_eq!(client.close(), None);
        }
    })
    .await;
}

#[tokio::test]
async fn stream_put_through_the_proxy_can_be_connected_to_at_once() {
    let stack = Stack::shared().await;
    in_lanes("fresh_put", |lane, rounds| {
        put_and_connect(stack, lane, rounds)
    })
    .await;
}

#[tokio::test]
async fn permission_changed_by_a_wildcard_patch_holds_at_once() {
    let stack = Stack::shared().await;
    in_lanes("fresh_acl", |lane, rounds| {
        patch_and_connect(stack, lane, rounds)
    })
    .await;
}

#[tokio::test]
async fn slow_writes_in_mongodb_do_not_make_what_was_put_or_patched_late() {
    let set = ReplicaSet::start().await;
    let stack = &Stack::over(&set.uri, "").await;
    let delay = doc! {
        "configureFailPoint": "failCommand",
        "mode": "alwaysOn",
        "data": {
            "failCommands": ["update", "findAndModify", "insert"],
            "blockConnection": true,
            "blockTimeMS": DELAY_MILLIS,
        },
    };
    let admin = client_of(&set.uri).await.database("admin");
    admin
        .run_command(delay)
        .await
        .expect("the server has fail points");
    tokio::join!(
        in_lanes("slow_put", |lane, rounds| put_and_connect(
            stack, lane, rounds
        )),
        in_lanes("slow_acl", |lane, rounds| patch_and_connect(
            stack, lane, rounds
        )),
    );
}

#[tokio::test]
async fn hundred_clients_with_different_values_cost_one_cursor() {
    let set = ReplicaSet::start().await;
    let stack = Stack::over(&set.uri, "").await;
    define(&stack, "messages", &format!("{ALL},{MINE}")).await;
    let mut clients = Vec::new();
    for n in 0..40 {
        let mine = format!("/messages/_streams/mine?n=user{n}");
        clients.push(stack.watch("/messages/_streams/all").await);
        clients.push(stack.watch(&mine).await);
        if n % 2 == 0 {
            let request = Request::sse(&mine).auth(ADMIN);
            clients.push(stack.open(&request).await);
            assert_eq!(clients.last().expect("pushed").status(), Some(200));
        }
    }
    assert_eq!(clients.len(), 100);
    let collection = collection(&stack, "messages").await;
    let written = collection
        .insert_one(doc! { "_id": 1, "name": "user7" })
        .await;
    written.expect("the primary takes writes");
    clients[0].next().await;
    assert_eq!(change_stream_cursors(&set).await, 1);
}

/// 200 times: another definition, and a session on it that hears what only the new one lets through.
async fn put_and_connect(stack: &Stack, lane: String, rounds: std::ops::Range<i32>) {
    clear(&stack.database().await, &lane).await;
    let collection = collection(stack, &lane).await;
    for round in rounds {
        let stream =
            format!(r#"{{"uri":"s","stages":[{{"_$match":{{"fullDocument::round":{round}}}}}]}}"#);
        define(stack, &lane, &stream).await;
        let mut client = stack.watch(&format!("/{lane}/_streams/s")).await;
        // The feed brings the definition's own event before this one: it must not take the session for an old one.
        let written = collection
            .insert_one(doc! { "_id": round, "round": round })
            .await;
        written.expect("the primary takes writes");
        let frame = client.next().await;
        let wanted = format!(r#"{{"fullDocument": {{"_id": {round}, "#);
        assert!(frame.starts_with(&wanted), "{frame}");
        assert_eq!(client.close(), None);
    }
}

/// 200 times: a permission opens another stream to everybody, and everybody gets in.
async fn patch_and_connect(stack: &Stack, lane: String, rounds: std::ops::Range<i32>) {
    define(
        stack,
        &lane,
        r#"{"uri":"even","stages":[]},{"uri":"odd","stages":[]}"#,
    )
    .await;
    let permission = format!(
        r#"{{"_id":"{lane}","predicate":"path('/nowhere')","priority":0,"roles":["$unauthenticated"]}}"#
    );
    stack.write("POST", "/acl", &permission).await;
    let patch = format!(r#"/acl/*?filter=%7B%22_id%22%3A%22{lane}%22%7D"#);
    for round in rounds {
        let (open, shut) = match round % 2 {
            0 => ("even", "odd"),
            _ => ("odd", "even"),
        };
        let predicate = format!(r#"{{"predicate":"path('/{lane}/_streams/{open}')"}}"#);
        stack.write("PATCH", &patch, &predicate).await;
        let request = |name| Request::websocket(&format!("/{lane}/_streams/{name}"));
        let client = stack.open(&request(open)).await;
        assert_eq!(client.status(), Some(101), "{round}: {}", client.state());
        assert_eq!(
            stack.open(&request(shut)).await.status(),
            Some(401),
            "{round}"
        );
    }
}

/// Runs `ROUNDS` rounds, shared out among lanes that each have a collection of this name and a number.
async fn in_lanes<F, Lane>(name: &str, lane: F)
where
    F: Fn(String, std::ops::Range<i32>) -> Lane,
    Lane: Future<Output = ()>,
{
    let each = ROUNDS / LANES;
    let lanes = (0..LANES).map(|n| lane(format!("{name}{n}"), n * each..(n + 1) * each));
    futures_util::future::join_all(lanes).await;
}

async fn define(stack: &Stack, collection: &str, streams: &str) {
    let body = format!(r#"{{"streams":[{streams}]}}"#);
    stack.write("PUT", &format!("/{collection}"), &body).await;
}

async fn collection(stack: &Stack, name: &str) -> Collection<Document> {
    stack.database().await.collection(name)
}

fn inserted(id: i32) -> String {
    format!(
        r#"{{"fullDocument": {{"_id": {id}}}, "documentKey": {{"_id": {id}}}, "operationType": "insert"}}"#
    )
}

/// Counts the change streams that the server has open, idle ones too.
async fn change_stream_cursors(set: &ReplicaSet) -> usize {
    use futures_util::TryStreamExt;
    let admin = client_of(&set.uri).await.database("admin");
    let operations = admin.aggregate([
        doc! { "$currentOp": { "allUsers": true, "idleCursors": true } },
        doc! { "$match": { "cursor.originatingCommand.pipeline.0.$changeStream": { "$exists": true } } },
        doc! { "$group": { "_id": "$cursor.cursorId" } },
    ]);
    let cursors: Vec<Document> = operations
        .await
        .expect("an administrator may ask")
        .try_collect()
        .await
        .expect("it is one batch");
    cursors.len()
}

const ROUNDS: i32 = 200;
const LANES: i32 = 4;
const DELAY_MILLIS: i32 = 60;
const ALL: &str = r#"{"uri":"all","stages":[{"_$match":{"_$or":[{"operationType":"insert"},{"operationType":"update"}]}}]}"#;
const MINE: &str = r#"{"uri":"mine","stages":[{"_$match":{"fullDocument::name":{"_$var":"n"}}}]}"#;
