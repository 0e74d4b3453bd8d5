//! Each limit of `[limits]`, reached: what is answered, and that nobody else is harmed.

use std::time::Duration;

use bson::{Document, doc};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use crate::support::client::{Client, Received, Request};
use crate::support::stack::{self, ADMIN, Stack};

#[tokio::test]
async fn sessions_in_all() {
    let stack = start("sessions = 2").await;
    define(&stack, "lim_all", by_number()).await;
    let first = stack.watch("/lim_all/_streams/s?n=1").await;
    let mut second = stack.watch("/lim_all/_streams/s?n=2").await;
    let third = "/lim_all/_streams/s?n=3";
    refused(&stack, third, 503, "sessions").await;
    insert(&stack, "lim_all", doc! { "n": "2" }).await;
    second.next().await;
    drop(first);
    stack.eventually(SESSIONS, "", 1.0).await;
    stack.watch(third).await;
}

#[tokio::test]
async fn sessions_of_one_user_with_values_without_end() {
    let stack = start("sessions_per_user = 3").await;
    stack::add_user(&stack.database().await, "lim_other").await;
    define(&stack, "lim_user", by_number()).await;
    let mut open = Vec::new();
    for n in 0..20 {
        let target = format!("/lim_user/_streams/s?avars={{'n':{n}}}");
        let client = stack.open(&Request::websocket(&target).auth(ADMIN)).await;
        match client.status() {
            Some(101) => open.push(client),
            _ => check_refusal(&client, 429, "sessions_per_user"),
        }
    }
    assert_eq!(open.len(), 3);
    assert_eq!(stack.metric(REACHED, "\"sessions_per_user\"").await, 17.0);
    let request = Request::sse("/lim_user/_streams/s?avars={'n':2}").auth("lim_other:secret");
    let mut other = stack.open(&request).await;
    assert_eq!(other.status(), Some(200), "{}", other.state());
    insert(&stack, "lim_user", doc! { "n": 2 }).await;
    open[2].next().await;
    other.next().await;
    let page = Client::open(stack.sidestream.admin, &Request::http("GET", "/streams")).await;
    let page: serde_json::Value = serde_json::from_str(page.body()).expect("it is JSON");
    let limits = &page["limits"];
    let used = |limit: &str| {
        (
            limits[limit]["used"].as_u64(),
            limits[limit]["max"].as_u64(),
        )
    };
    assert_eq!(used("sessions_per_user"), (Some(3), Some(3)), "{limits}");
    assert_eq!(used("sessions"), (Some(4), Some(50_000)), "{limits}");
    assert_eq!(used("sessions_per_address").0, Some(4), "{limits}");
    // Two values would do for a WebSocket and an SSE session: frames differ, so groups do.
    assert_eq!(used("groups").0, Some(4), "{limits}");
}

#[tokio::test]
async fn sessions_from_one_address() {
    let stack = start("sessions_per_address = 1").await;
    define(&stack, "lim_address", by_number()).await;
    let target = "/lim_address/_streams/s?n=1";
    let _first = stack.watch(target).await;
    refused(&stack, target, 429, "sessions_per_address").await;
    let (mut neighbour, head) = deaf(&stack, "127.0.0.2:0", target).await;
    assert_eq!(head, "HTTP/1.1 101");
    insert(&stack, "lim_address", doc! { "n": "1" }).await;
    let mut some = [0; 200];
    let read = neighbour.read_exact(&mut some).await;
    read.expect("the rest of the head, and what was inserted");
}

#[tokio::test]
async fn subscriptions_of_one_feed_and_feeds() {
    let stack = start("subscriptions_per_feed = 1\nfeeds = 1").await;
    define(&stack, "lim_feed", by_number()).await;
    let target = "/lim_feed/_streams/s?n=1";
    let _first = stack.watch(target).await;
    refused(&stack, target, 503, "subscriptions_per_feed").await;
    refused(&stack, "/all/lim_elsewhere/c/_streams/s", 503, "feeds").await;
}

#[tokio::test]
async fn groups_and_their_pipelines() {
    let stack = start("groups = 2\ngroups_size = \"1MiB\"").await;
    define(&stack, "lim_groups", by_number()).await;
    let target = |n: &str| format!("/lim_groups/_streams/s?n={n}");
    let _first = stack.watch(&target("1")).await;
    let mut second = stack.watch(&target("2")).await;
    refused(&stack, &target("3"), 503, "groups").await;
    let mut alike = stack.watch(&target("2")).await;
    insert(&stack, "lim_groups", doc! { "n": "2" }).await;
    second.next().await;
    alike.next().await;
    let long = doc! { "streams": [{ "uri": "s", "stages": [{ "$match": { "fullDocument.n": "x".repeat(2 << 20) } }] }] };
    define(&stack, "lim_groups_long", long).await;
    drop(_first);
    stack.eventually(SESSIONS, "", 2.0).await;
    let request = Request::websocket("/lim_groups_long/_streams/s").auth(ADMIN);
    // The first one's group goes a moment after it.
    let mut client = stack.open(&request).await;
    while client.body().contains("limits.groups is") {
        client = stack.open(&request).await;
    }
    check_refusal(&client, 503, "groups_size");
}

#[tokio::test]
async fn dedicated_cursors_in_all_and_of_one_stream() {
    let stack = start("dedicated_cursors = 2\ndedicated_cursors_per_stream = 1").await;
    // What is random can be evaluated by MongoDB alone.
    let filter = doc! { "fullDocument.n": { "$ne": { "$var": "n" } }, "$expr": { "$gte": [{ "$rand": {} }, 0] } };
    let stream = |uri: &str| doc! { "uri": uri, "stages": [{ "$match": filter.clone() }] };
    let streams = ["a", "b", "c"].map(stream);
    define(
        &stack,
        "lim_dedicated",
        doc! { "streams": streams.to_vec() },
    )
    .await;
    let target = |uri: &str, n: u8| format!("/lim_dedicated/_streams/{uri}?n={n}");
    let mut first = stack.watch(&target("a", 1)).await;
    let limit = "dedicated_cursors_per_stream";
    refused(&stack, &target("a", 2), 503, limit).await;
    let mut alike = stack.watch(&target("a", 1)).await;
    let mut second = stack.watch(&target("b", 2)).await;
    refused(&stack, &target("c", 3), 503, "dedicated_cursors").await;
    insert(&stack, "lim_dedicated", doc! { "n": "x" }).await;
    for client in [&mut first, &mut alike, &mut second] {
        client.next().await;
    }
}

#[tokio::test]
async fn catch_up_cursors() {
    let stack = start("catch_up_cursors = 0\nring = \"0B\"").await;
    define(&stack, "lim_catch_up", by_number()).await;
    let target = "/lim_catch_up/_streams/s?n=1&lastEventID=";
    let mut client = stack.watch(target).await;
    insert(&stack, "lim_catch_up", doc! { "n": "1" }).await;
    let frame = client.next().await;
    let (_, id) = frame.split_once("\"_data\": \"").expect("an id");
    let (id, _) = id.split_once('"').expect("its end");
    insert(&stack, "lim_catch_up", doc! { "n": "1" }).await;
    client.next().await;
    refused(&stack, &format!("{target}{id}"), 503, "catch_up_cursors").await;
}

#[tokio::test]
async fn finds_of_unknown_names() {
    let stack = start("finds_per_second = 1").await;
    define(&stack, "lim_finds", by_number()).await;
    let mut known = stack.watch("/lim_finds/_streams/s?n=1").await;
    let mut answers = Vec::new();
    // A login may take the first find of users, so these are all of one who is known by now.
    for n in 0..10 {
        let target = format!("/lim_finds{n}/_streams/s");
        let client = stack.open(&Request::websocket(&target).auth(ADMIN)).await;
        if client.status() == Some(503) {
            check_refusal(&client, 503, "finds_per_second");
        }
        answers.push(client.status());
    }
    assert!(answers.contains(&Some(503)), "{answers:?}");
    let unexpected = |status: &&Option<u16>| !matches!(status, Some(404 | 503));
    assert_eq!(answers.iter().find(unexpected), None, "{answers:?}");
    insert(&stack, "lim_finds", doc! { "n": "1" }).await;
    known.next().await;
}

#[tokio::test]
async fn variables_and_definitions() {
    let stack = start("avars = \"500B\"\nvariables = 2\ndepth = 6\nstages = 2\nvalues = 60").await;
    let stage = doc! { "$match": { "fullDocument.n": { "$in": { "$var": ["n", []] } } } };
    let deep = doc! { "$match": { "a": { "$not": { "$in": [[1]] } } } };
    let wide = doc! { "$match": { "a": { "$in": vec![1; 60] } } };
    let streams = doc! { "streams": [
        { "uri": "s", "stages": [stage.clone()] },
        { "uri": "long", "stages": [stage.clone(), stage.clone(), stage] },
        { "uri": "deep", "stages": [deep] },
        { "uri": "wide", "stages": [wide] },
    ] };
    define(&stack, "lim_sizes", streams).await;
    let mut good = stack.watch("/lim_sizes/_streams/s?avars={'n':[1]}").await;
    for (uri, limit) in [("long", "stages"), ("deep", "depth"), ("wide", "values")] {
        let target = format!("/lim_sizes/_streams/{uri}");
        let client = stack.open(&Request::websocket(&target).auth(ADMIN)).await;
        assert_eq!(client.status(), Some(500), "{uri}: {}", client.state());
        let told = format!("limits.{limit} is ");
        assert!(client.body().contains(&told), "{}", client.state());
    }
    let many = format!("avars={{'n':[{}]}}", "1,".repeat(60));
    let long = format!("avars={{'n':'{}'}}", "x".repeat(600));
    for (query, limit) in [
        ("avars={'n':[1]}&x=1&y=1", "variables"),
        ("avars={'n':[[[[[[[1]]]]]]]}", "depth"),
        (&many, "values"),
        (&long, "avars"),
    ] {
        let target = format!("/lim_sizes/_streams/s?{query}");
        let client = stack.open(&Request::websocket(&target).auth(ADMIN)).await;
        assert_eq!(client.status(), Some(400), "{limit}: {}", client.state());
        let told = format!("(limits.{limit})");
        assert!(client.body().contains(&told), "{}", client.state());
        let label = format!("\"{limit}\"");
        assert_eq!(stack.metric(REACHED, &label).await, 1.0, "{limit}");
    }
    insert(&stack, "lim_sizes", doc! { "n": 1 }).await;
    good.next().await;
}

/// A client that does not read is not the one who is closed: the one who holds most is.
#[tokio::test]
async fn bytes_in_all_outboxes() {
    let limits = "outbox = \"8MiB\"\noutboxes = \"8MiB\"";
    let stack = start(limits).await;
    define(&stack, "lim_outboxes", by_number()).await;
    let all = doc! { "streams": [
        { "uri": "s", "stages": [{ "$match": { "fullDocument.n": { "$var": "n" } } }] },
        { "uri": "all", "stages": [] },
    ] };
    define(&stack, "lim_outboxes", all).await;
    let mut reader = stack.watch("/lim_outboxes/_streams/all").await;
    let target = |n: u8| format!("/lim_outboxes/_streams/s?avars={{'n':{n}}}");
    let (mut most, head) = deaf(&stack, "127.0.0.1:0", &target(1)).await;
    assert_eq!(head, "HTTP/1.1 101");
    let (less, head) = deaf(&stack, "127.0.0.1:0", &target(2)).await;
    assert_eq!(head, "HTTP/1.1 101");
    stack.eventually(SESSIONS, "", 3.0).await;
    let text = "x".repeat(256 << 10);
    let mut rounds = 0;
    while stack.metric(REACHED, "\"outboxes\"").await == 0.0 {
        for n in [1, 1, 2] {
            insert(&stack, "lim_outboxes", doc! { "n": n, "text": &text }).await;
            reader.next().await;
        }
        rounds += 1;
        assert!(rounds < 100, "nobody is closed");
    }
    assert_eq!(stack.metric(REACHED, "\"outboxes\"").await, 1.0);
    assert_eq!(stack.metric(REACHED, "\"outbox\"").await, 0.0);
    // What the kernel took, the rest of the frame that was begun, and why.
    let mut rest = Vec::new();
    most.read_to_end(&mut rest)
        .await
        .expect("it is closed in order");
    let close = [0x11, 0x38];
    assert!(
        rest[rest.len() - 60..].windows(2).any(|code| code == close),
        "4408 is told"
    );
    stack.eventually(SESSIONS, "", 2.0).await;
    reader.nothing_more().await;
    drop(less);
}

#[tokio::test]
async fn an_event_longer_than_a_frame_may_be_is_told_with_4410() {
    let stack = start("frame = \"1MiB\"").await;
    define(&stack, "lim_frame", by_number()).await;
    let websocket = stack.watch("/lim_frame/_streams/s?n=1").await;
    let request = Request::sse("/lim_frame/_streams/s?n=1").auth(ADMIN);
    let sse = stack.open(&request).await;
    let mut unconcerned = stack.watch("/lim_frame/_streams/s?n=2").await;
    let long = doc! { "n": "1", "text": "x".repeat(1 << 20) };
    insert(&stack, "lim_frame", long).await;
    assert_eq!(websocket.close_code().await, 4410);
    assert_eq!(sse.close_code().await, 4410);
    assert!(stack.metric(REACHED, "\"frame\"").await >= 1.0);
    let mut again = stack.watch("/lim_frame/_streams/s?n=1").await;
    for n in ["1", "2"] {
        insert(&stack, "lim_frame", doc! { "n": n }).await;
    }
    again.next().await;
    unconcerned.next().await;
}

#[tokio::test]
async fn a_healthy_reader_gets_15_mb_whatever_its_outbox_is() {
    let stack = start("outbox = \"4KiB\"").await;
    define(&stack, "lim_large", by_number()).await;
    let mut websocket = stack.watch("/lim_large/_streams/s?n=1").await;
    let request = Request::sse("/lim_large/_streams/s?n=1").auth(ADMIN);
    let mut sse = stack.open(&request).await;
    let text = "x".repeat(15_000_000);
    for id in 0..2 {
        let number = i32::try_from(id).expect("a small number");
        let large = doc! { "_id": number, "n": "1", "text": &text };
        insert(&stack, "lim_large", large).await;
        for client in [&mut websocket, &mut sse] {
            // As long as it takes where nothing is optimised; a session that was closed would not wait.
            let there = |received: &Received| {
                received.ended || received.frames.len() + received.events.len() > id
            };
            client.wait(PATIENCE, there).await;
            let message = client.next().await;
            let start =
                format!("{{\"fullDocument\": {{\"_id\": {id}, \"n\": \"1\", \"text\": \"xxx");
            assert!(message.starts_with(&start), "{}", &message[..100]);
            assert!(message.len() > text.len(), "{}", message.len());
        }
    }
    assert_eq!(stack.metric("sidestream_closes_total", "").await, 0.0);
}

/// MongoDB cannot send an event of more than 16 MB: an update brings the document and what of it was updated.
#[tokio::test]
async fn an_event_that_mongodb_cannot_send_is_told_with_4410_and_the_feed_goes_on() {
    let stack = start("").await;
    define(&stack, "lim_event", by_number()).await;
    define(&stack, "lim_event_other", by_number()).await;
    insert(&stack, "lim_event", doc! { "_id": 1, "n": "1" }).await;
    let websocket = stack.watch("/lim_event/_streams/s?n=1").await;
    let request = Request::sse("/lim_event/_streams/s?n=1").auth(ADMIN);
    let sse = stack.open(&request).await;
    let mut other = stack.watch("/lim_event_other/_streams/s?n=1").await;
    let collection = stack.database().await.collection::<Document>("lim_event");
    let large = doc! { "$set": { "text": "x".repeat(9_000_000) } };
    let updated = collection.update_one(doc! { "_id": 1 }, large).await;
    updated.expect("9 MB fit into a document");
    insert(&stack, "lim_event_other", doc! { "n": "1" }).await;
    assert_eq!(websocket.close_code().await, 4410);
    assert_eq!(sse.close_code().await, 4410);
    other.next().await;
    let mut again = stack.watch("/lim_event/_streams/s?n=1").await;
    insert(&stack, "lim_event", doc! { "_id": 2, "n": "1" }).await;
    again.next().await;
    other.nothing_more().await;
}

async fn start(limits: &str) -> Stack {
    Stack::start(&format!("[limits]\n{limits}\n")).await
}

/// A stream of the documents whose `n` is the variable.
fn by_number() -> Document {
    let filter = doc! { "fullDocument.n": { "$var": "n" } };
    doc! { "streams": [{ "uri": "s", "stages": [{ "$match": filter }] }] }
}

async fn define(stack: &Stack, collection: &str, properties: Document) {
    stack::define(&stack.database().await, collection, properties).await;
}

async fn insert(stack: &Stack, collection: &str, document: Document) {
    let collection = stack.database().await.collection::<Document>(collection);
    let inserted = collection.insert_one(document).await;
    inserted.expect("the primary takes writes");
}

/// Asserts that a stream is refused for this limit.
async fn refused(stack: &Stack, target: &str, status: u16, limit: &str) {
    let before = stack.metric(REACHED, &format!("\"{limit}\"")).await;
    let client = stack.open(&Request::websocket(target).auth(ADMIN)).await;
    check_refusal(&client, status, limit);
    let after = stack.metric(REACHED, &format!("\"{limit}\"")).await;
    assert_eq!(after, before + 1.0, "{limit}");
}

/// Asserts that an answer is a refusal in RESTHeart's form, and says which limit it is and when to come again.
#[track_caller]
fn check_refusal(client: &Client, status: u16, limit: &str) {
    assert_eq!(client.status(), Some(status), "{}", client.state());
    let told = format!(": limits.{limit} is reached\"");
    let code = format!("\"http status code\": {status}");
    let body = client.body();
    assert!(body.contains(&told) && body.contains(&code), "{body}");
    let later = client.header("retry-after");
    let expected = if status == 429 { "10" } else { "2" };
    assert_eq!(later.as_deref(), Some(expected), "{body}");
}

/// Opens a WebSocket from an address and reads nothing but the first line of the answer.
async fn deaf(stack: &Stack, from: &str, target: &str) -> (TcpStream, String) {
    let socket = TcpSocket::new_v4().expect("a socket can be made");
    socket.set_recv_buffer_size(4096).expect("it takes a size");
    let from = from.parse().expect("an address");
    socket.bind(from).expect("an address of this machine");
    let mut stream = socket.connect(stack.address()).await.expect("it listens");
    let request = Request::websocket(target).auth(ADMIN);
    let bytes = request.bytes(&stack.address().to_string());
    stream.write_all(&bytes).await.expect("it reads");
    let mut head = [0; 12];
    stream.read_exact(&mut head).await.expect("it answers");
    (stream, String::from_utf8_lossy(&head).into_owned())
}

const SESSIONS: &str = "sidestream_sessions{";
const REACHED: &str = "sidestream_limits_reached_total{";
const PATIENCE: Duration = Duration::from_secs(90);
