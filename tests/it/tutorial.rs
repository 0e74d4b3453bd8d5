//! The tutorial, sentence by sentence, over the legacy API and the real binary. Each test has a collection of its own.

use std::time::Duration;

use bson::{Document, doc};
use tokio::time::timeout;

use crate::support::client::{Close, Kind, Request};
use crate::support::stack::{ADMIN, Stack, clear};

#[tokio::test]
async fn sentence_1_put_of_streams_goes_through_and_both_can_be_connected_to_at_once() {
    let stack = cleared("tutorial1").await;
    let answer = stack.write("PUT", "/tutorial1", STREAMS).await;
    assert_eq!(answer.status(), Some(201), "{}", answer.state());
    let mut all = stack.watch("/tutorial1/_streams/all").await;
    let mut mine = stack.watch("/tutorial1/_streams/mine?n=uji").await;
    all.nothing_more().await;
    mine.nothing_more().await;
    let properties = stack.database().await.collection::<Document>("_properties");
    let stored = properties
        .find_one(doc! { "_id": "_properties.tutorial1" })
        .await;
    let stored = stored
        .expect("it can be read")
        .expect("it is stored where RESTHeart stores it");
    let streams = stored.get_array("streams").expect("as it was sent");
    assert_eq!(streams.len(), 2);
    let first = streams[0].as_document().expect("an entry");
    assert!(first.get_str("uri").is_ok_and(|uri| uri == "all"));
    stack
        .write("POST", "/tutorial1", r#"{"name": "uji"}"#)
        .await;
    all.next().await;
    mine.next().await;
}

#[tokio::test]
async fn sentence_2_shal_shows_links_to_the_streams() {
    let stack = tutorial("tutorial2").await;
    let request = Request::http("GET", "/tutorial2?rep=SHAL").auth(ADMIN);
    let answer = stack.open(&request).await;
    assert_eq!(answer.status(), Some(200), "{}", answer.state());
    let body: serde_json::Value = serde_json::from_str(answer.body()).expect("it is JSON");
    for name in ["all", "mine"] {
        let path = format!("/tutorial2/_streams/{name}");
        assert_eq!(body["_links"][name]["href"], path, "{body}");
    }
}

#[tokio::test]
async fn sentence_3_basic_credentials_connect_and_others_get_401() {
    let stack = tutorial("tutorial3").await;
    let target = "/tutorial3/_streams/all";
    // A client turns `ws://admin:secret@host` into this header.
    drop(stack.watch(target).await);
    let wrong = ["admin:wrong", "admin:", "nobody:secret", ":"];
    let requests = wrong
        .iter()
        .map(|pair| Request::websocket(target).auth(pair));
    for request in requests.chain([Request::websocket(target)]) {
        let answer = stack.open(&request).await;
        assert_eq!(answer.status(), Some(401), "{}", answer.state());
        assert_eq!(answer.body(), "");
        let wanted = [
            ("www-authenticate", r#"Basic realm="RESTHeart Realm""#),
            ("content-type", "application/json; charset=UTF-8"),
            ("access-control-allow-origin", "*"),
            ("access-control-allow-credentials", "true"),
            ("access-control-expose-headers", "ETag"),
        ];
        for (name, value) in wanted {
            assert_eq!(answer.header(name).as_deref(), Some(value), "{name}");
        }
    }
}

#[tokio::test]
async fn sentence_4_posted_permission_opens_one_stream_at_once_and_not_the_other() {
    let stack = tutorial("tutorial4").await;
    let permissions = stack.database().await.collection::<Document>("acl");
    let own = doc! { "_id": "unauthenticatedCanConnectToMyWebSocket" };
    permissions
        .delete_one(own)
        .await
        .expect("the primary takes writes");
    let all = Request::websocket("/tutorial4/_streams/all");
    let mine = Request::websocket("/tutorial4/_streams/mine?n=uji");
    within_a_second(answered(stack, &all, 401)).await;
    let permission = r#"{"_id":"unauthenticatedCanConnectToMyWebSocket",
        "predicate":"path-prefix('/tutorial4/_streams/all')","priority":0,"roles":["$unauthenticated"]}"#;
    stack.write("POST", "/acl", permission).await;
    let mut client = stack.open(&all).await;
    assert_eq!(client.status(), Some(101), "{}", client.state());
    assert_eq!(stack.open(&mine).await.status(), Some(401));
    stack.write("POST", "/tutorial4", r#"{"_id": 1}"#).await;
    assert!(
        client
            .next()
            .await
            .starts_with(r#"{"fullDocument": {"_id": 1, "#)
    );
}

#[tokio::test]
async fn sentence_5_every_open_all_receives_a_posted_message_byte_for_byte() {
    let stack = tutorial("tutorial5").await;
    let mut clients = Vec::new();
    for _ in 0..3 {
        clients.push(stack.watch("/tutorial5/_streams/all").await);
    }
    let message = r#"{"message":"hi uji","name":"uji"}"#;
    stack.write("POST", "/tutorial5", message).await;
    let messages = stack.database().await.collection::<Document>("tutorial5");
    let stored = messages.find_one(doc! {}).await;
    let stored = stored.expect("it can be read").expect("it is stored");
    let id = stored.get_object_id("_id").expect("the API made one");
    let etag = stored.get_object_id("_etag").expect("the API sets it");
    let wanted = format!(
        r#"{{"fullDocument": {{"_id": {{"$oid": "{id}"}}, "message": "hi uji", "name": "uji", "_etag": {{"$oid": "{etag}"}}}}, "documentKey": {{"_id": {{"$oid": "{id}"}}}}, "operationType": "insert"}}"#
    );
    for client in &mut clients {
        assert_eq!(client.next().await, wanted);
        client.nothing_more().await;
    }
}

#[tokio::test]
async fn sentence_6_mine_receives_ujis_messages_only_and_asks_for_its_variable() {
    let stack = tutorial("tutorial6").await;
    let targets = [
        "/tutorial6/_streams/mine?n=uji",
        r#"/tutorial6/_streams/mine?avars={"n":"uji"}"#,
        "/tutorial6/_streams/mine?avars=%7B%22n%22%3A%22uji%22%7D",
    ];
    let mut clients = Vec::new();
    for target in targets {
        clients.push(stack.watch(target).await);
    }
    for (id, name) in [(1, "Bob"), (2, "uji"), (3, "Uji"), (4, "uji")] {
        let message = format!(r#"{{"_id": {id}, "name": "{name}"}}"#);
        stack.write("POST", "/tutorial6", &message).await;
    }
    for client in &mut clients {
        for id in [2, 4] {
            let start = format!(r#"{{"fullDocument": {{"_id": {id}, "name": "uji", "#);
            let frame = client.next().await;
            assert!(frame.starts_with(&start), "{frame}");
        }
        client.nothing_more().await;
    }
    let unbound = Request::websocket("/tutorial6/_streams/mine").auth(ADMIN);
    let refused = stack.open(&unbound).await;
    assert_eq!(refused.status(), Some(400));
    let body = r#"{"http status code": 400, "http status description": "Bad Request", "message": "variable n not bound"}"#;
    assert_eq!(refused.body(), body);
}

#[tokio::test]
async fn sentence_7_ifvar_gives_all_without_the_variable_and_ujis_with_it() {
    let stack = cleared("tutorial7").await;
    let streams = r#"{"streams":[{"uri":"some","stages":[{"$ifvar":["n",{"_$match":{"fullDocument::name":{"_$var":"n"}}}]}]}]}"#;
    stack.write("PUT", "/tutorial7", streams).await;
    let mut all = stack.watch("/tutorial7/_streams/some").await;
    let mut ujis = stack.watch("/tutorial7/_streams/some?n=uji").await;
    for name in ["Bob", "uji"] {
        let message = format!(r#"{{"name": "{name}"}}"#);
        stack.write("POST", "/tutorial7", &message).await;
    }
    assert!(all.next().await.contains(r#""name": "Bob""#));
    assert!(all.next().await.contains(r#""name": "uji""#));
    assert!(ujis.next().await.contains(r#""name": "uji""#));
    ujis.nothing_more().await;
}

#[tokio::test]
async fn sentence_8_the_same_streams_come_as_server_sent_events() {
    let stack = tutorial("tutorial8").await;
    let mut clients = Vec::new();
    for target in ["/tutorial8/_streams/all", "/tutorial8/_streams/mine?n=uji"] {
        let client = stack.open(&Request::sse(target).auth(ADMIN)).await;
        assert_eq!(client.kind, Kind::Sse, "{}", client.state());
        clients.push(client);
    }
    stack
        .write("POST", "/tutorial8", r#"{"_id": 1, "name": "uji"}"#)
        .await;
    for client in &mut clients {
        assert!(
            client
                .next()
                .await
                .starts_with(r#"{"fullDocument": {"_id": 1, "name": "uji", "#)
        );
        let body = client.look(|received| String::from_utf8(received.body.clone()));
        let body = body.expect("SSE is UTF-8");
        let pattern = "^id:\\{\"_data\": \"82[0-9A-F]+\"\\}\nevent:change\ndata:\\{[^\n]+\\}\n\n$";
        assert!(
            regex::Regex::new(pattern)
                .expect("it is one")
                .is_match(&body),
            "{body}"
        );
    }
}

#[tokio::test]
async fn sentence_9_definitions_changed_through_the_api_take_effect_at_once() {
    let stack = tutorial("tutorial9a").await;
    let mut all = stack.watch("/tutorial9a/_streams/all").await;
    let mine = stack.watch("/tutorial9a/_streams/mine?n=uji").await;
    let added = Request::websocket("/tutorial9a/_streams/added").auth(ADMIN);
    assert_eq!(stack.open(&added).await.status(), Some(404));

    stack
        .write(
            "PATCH",
            "/tutorial9a",
            &streams(&[ALL, MINE_CHANGED, ADDED]),
        )
        .await;
    assert_eq!(within_a_second(mine.close_code()).await, 1012);
    let added = stack.open(&added).await;
    assert_eq!(added.status(), Some(101), "{}", added.state());

    stack
        .write("PUT", "/tutorial9a", &streams(&[ALL, MINE_CHANGED]))
        .await;
    assert_eq!(within_a_second(added.close_code()).await, 4404);
    let gone = Request::websocket("/tutorial9a/_streams/added").auth(ADMIN);
    assert_eq!(stack.open(&gone).await.status(), Some(404));

    stack.write("POST", "/tutorial9a", r#"{"_id": 1}"#).await;
    assert!(
        all.next()
            .await
            .starts_with(r#"{"fullDocument": {"_id": 1, "#)
    );
    assert_eq!(all.close(), None);
}

#[tokio::test]
async fn sentence_9_definitions_changed_in_mongodb_take_effect_within_a_second() {
    let stack = tutorial("tutorial9b").await;
    let mut all = stack.watch("/tutorial9b/_streams/all").await;
    let mine = stack.watch("/tutorial9b/_streams/mine?n=uji").await;

    set_streams(stack, "tutorial9b", &[ALL, MINE_CHANGED, ADDED]).await;
    assert_eq!(within_a_second(mine.close_code()).await, 1012);
    let added = Request::websocket("/tutorial9b/_streams/added").auth(ADMIN);
    let added = within_a_second(answered(stack, &added, 101)).await;

    set_streams(stack, "tutorial9b", &[ALL, MINE_CHANGED]).await;
    let closed = within_a_second(added.closed()).await;
    assert!(
        matches!(closed, Close::WebSocket { code: 4404, .. }),
        "{closed:?}"
    );
    let gone = Request::websocket("/tutorial9b/_streams/added").auth(ADMIN);
    within_a_second(answered(stack, &gone, 404)).await;

    stack.write("POST", "/tutorial9b", r#"{"_id": 1}"#).await;
    assert!(
        all.next()
            .await
            .starts_with(r#"{"fullDocument": {"_id": 1, "#)
    );
    assert_eq!(all.close(), None);
}

#[tokio::test]
async fn sentence_9_permissions_changed_in_mongodb_take_effect_within_a_second() {
    let stack = tutorial("tutorial9c").await;
    let permissions = stack.database().await.collection::<Document>("acl");
    let all = Request::websocket("/tutorial9c/_streams/all");
    let mine = Request::websocket("/tutorial9c/_streams/mine?n=uji");
    let own = doc! { "_id": "tutorial9c" };
    let removed = permissions.delete_one(own.clone()).await;
    removed.expect("the primary takes writes");
    let mut untouched = stack.watch("/tutorial9c/_streams/all").await;
    within_a_second(answered(stack, &all, 401)).await;

    let added = doc! {
        "_id": "tutorial9c", "predicate": "path-prefix('/tutorial9c/_streams/all')",
        "priority": 0, "roles": ["$unauthenticated"],
    };
    permissions
        .insert_one(added)
        .await
        .expect("the primary takes writes");
    within_a_second(answered(stack, &all, 101)).await;

    let changed = doc! { "$set": { "predicate": "path-prefix('/tutorial9c/_streams/mine')" } };
    permissions
        .update_one(own.clone(), changed)
        .await
        .expect("the primary takes writes");
    within_a_second(answered(stack, &mine, 101)).await;
    within_a_second(answered(stack, &all, 401)).await;

    permissions
        .delete_one(own)
        .await
        .expect("the primary takes writes");
    within_a_second(answered(stack, &mine, 401)).await;
    stack.write("POST", "/tutorial9c", r#"{"_id": 1}"#).await;
    assert!(
        untouched
            .next()
            .await
            .starts_with(r#"{"fullDocument": {"_id": 1, "#)
    );
}

async fn cleared(collection: &str) -> &'static Stack {
    let stack = Stack::shared().await;
    clear(&stack.database().await, collection).await;
    stack
}

/// Puts the tutorial's streams on a collection.
async fn tutorial(collection: &str) -> &'static Stack {
    let stack = cleared(collection).await;
    stack.write("PUT", &format!("/{collection}"), STREAMS).await;
    stack
}

async fn set_streams(stack: &Stack, collection: &str, entries: &[&str]) {
    let properties = stack.database().await.collection::<Document>("_properties");
    let streams: Document = serde_json::from_str(&streams(entries)).expect("it is a document");
    let id = doc! { "_id": format!("_properties.{collection}") };
    let updated = properties.update_one(id, doc! { "$set": streams }).await;
    assert_eq!(updated.expect("the primary takes writes").modified_count, 1);
}

/// Asks again and again until the status is the wanted one.
async fn answered(stack: &Stack, request: &Request, status: u16) -> crate::support::client::Client {
    loop {
        let client = stack.open(request).await;
        if client.status() == Some(status) {
            return client;
        }
    }
}

#[track_caller]
fn within_a_second<T>(what: impl Future<Output = T>) -> impl Future<Output = T> {
    let caller = std::panic::Location::caller();
    async move {
        let done = timeout(Duration::from_secs(1), what).await;
        done.unwrap_or_else(|_| panic!("{caller}: it took more than a second"))
    }
}

fn streams(entries: &[&str]) -> String {
    format!(r#"{{"streams":[{}]}}"#, entries.join(","))
}

const STREAMS: &str = r#"{"streams":[{"uri":"all","stages":[{"_$match":{"_$or":[{"operationType":"insert"},{"operationType":"update"}]}}]},{"uri":"mine","stages":[{"_$match":{"fullDocument::name":{"_$var":"n"}}}]}]}"#;
const ALL: &str = r#"{"uri":"all","stages":[{"_$match":{"_$or":[{"operationType":"insert"},{"operationType":"update"}]}}]}"#;
const MINE_CHANGED: &str =
    r#"{"uri":"mine","stages":[{"_$match":{"fullDocument::to":{"_$var":"n"}}}]}"#;
const ADDED: &str = r#"{"uri":"added","stages":[]}"#;
