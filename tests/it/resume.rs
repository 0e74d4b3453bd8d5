//! Clients that come back with their last event's id, over the real binary.

mod access;
mod crowd;
mod history;

use std::ops::Range;

use bson::{Document, doc};
use mongodb::Collection;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use crate::support::client::{Client, Kind, Request};
use crate::support::stack::{self, ADMIN, Stack};

/// Every resume needs a cursor.
const NO_RING: &str = "[limits]\nring = \"0B\"";
const OPENS: &str = "sidestream_cursor_opens_total";
const CATCH_UP: &str = "\"catch_up\"";

/// A collection with the streams `all`, served in process, and `own`, which has a cursor of its own.
async fn define(stack: &Stack, collection: &str) -> Collection<Document> {
    let streams = [
        doc! { "uri": "all", "stages": [] },
        doc! { "uri": "own", "stages": [stack::dedicated()] },
    ];
    let database = stack.database().await;
    stack::define(&database, collection, doc! { "streams": streams.to_vec() }).await;
    database.collection(collection)
}

async fn write(collection: &Collection<Document>, numbers: Range<i32>) {
    for n in numbers {
        let written = collection.insert_one(doc! { "_id": n, "n": n }).await;
        written.expect("the primary takes writes");
    }
}

/// The ways to come back.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Way {
    WebSocket,
    Header,
    Parameter,
}

const WAYS: [Way; 3] = [Way::WebSocket, Way::Header, Way::Parameter];

fn encoded(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}

fn request(way: Way, target: &str, id: &str) -> Request {
    let with = |id: &str| format!("{target}?lastEventID={}", encoded(id));
    let request = match way {
        Way::WebSocket => Request::websocket(&with(id)),
        Way::Parameter => Request::sse(&with(id)),
        Way::Header => Request::sse(target).header("Last-Event-ID", id),
    };
    request.auth(ADMIN)
}

/// Comes back.
async fn back(stack: &Stack, way: Way, target: &str, id: &str) -> Client {
    let client = stack.open(&request(way, target, id)).await;
    let is_open = matches!(client.kind, Kind::WebSocket | Kind::Sse);
    assert!(is_open, "{way:?} {target}: {}", client.state());
    client
}

/// Asserts that it is refused.
async fn refused(stack: &Stack, way: Way, target: &str, id: &str, status: u16) {
    let client = stack.open(&request(way, target, id)).await;
    let state = client.state();
    assert_eq!(
        client.status(),
        Some(status),
        "{way:?} {target} {id}: {state}"
    );
}

/// Asserts that these numbers come next.
async fn expect(client: &mut Client, numbers: Range<i32>) {
    for n in numbers {
        let frame = client.next().await;
        let wanted = format!("\"n\": {n}}}");
        assert!(frame.contains(&wanted), "{wanted} is not in {frame}");
    }
}

/// The id of the client's event number `nth`, as the client got it.
fn id_of(client: &Client, nth: usize) -> String {
    client.look(|received| match client.kind {
        Kind::Sse => received.events[nth]["id"].clone(),
        _ => {
            let frame = received.frames[nth].strip_prefix("{\"_id\": ");
            let frame = frame.expect("a frame with an id begins with it");
            frame[..=frame.find('}').expect("an id is an object")].to_owned()
        }
    })
}

/// What one client got is where every other way goes on.
async fn check_ways(stack: &Stack, name: &str) {
    let collection = define(stack, name).await;
    for stream in ["all", "own"] {
        let target = format!("/{name}/_streams/{stream}");
        // An empty id turns ids on.
        let mut first = back(stack, Way::WebSocket, &target, "").await;
        let mut second = back(stack, Way::Header, &target, "").await;
        write(&collection, 0..6).await;
        expect(&mut first, 0..6).await;
        expect(&mut second, 0..6).await;
        let id = id_of(&first, 2);
        assert_eq!(id, id_of(&second, 2), "ids are the same on both transports");
        let mut others = Vec::new();
        for way in WAYS {
            others.push(back(stack, way, &target, &id).await);
        }
        // The bare token is as good.
        let token = id.split('"').nth(3).expect("the token").to_owned();
        for way in WAYS {
            others.push(back(stack, way, &target, &token).await);
        }
        write(&collection, 6..8).await;
        for client in &mut others {
            expect(client, 3..8).await;
        }
        for client in [&mut first, &mut second] {
            expect(client, 6..8).await;
        }
        for client in &others {
            client.nothing_more().await;
        }
        // An id of one that came back is good too.
        let mut again = back(stack, Way::WebSocket, &target, &id_of(&others[0], 3)).await;
        expect(&mut again, 7..8).await;
        collection.delete_many(doc! {}).await.expect("deleted");
    }
}

#[tokio::test]
async fn every_way_goes_on_from_the_ring() {
    let stack = Stack::start("").await;
    check_ways(&stack, "resume_ring").await;
    assert_eq!(stack.metric(OPENS, CATCH_UP).await, 0.0, "the ring has it");
    assert_eq!(
        stack.metric("sidestream_resumes_total", "\"ring\"").await,
        7.0
    );
}

#[tokio::test]
async fn every_way_goes_on_by_a_cursor() {
    let stack = Stack::start(NO_RING).await;
    check_ways(&stack, "resume_cursor").await;
    assert!(stack.metric(OPENS, CATCH_UP).await > 0.0);
}

#[tokio::test]
async fn ids_are_there_only_where_they_are_asked_for() {
    let stack = Stack::shared().await;
    let collection = define(stack, "resume_ids").await;
    let target = "/resume_ids/_streams/all";
    let mut plain = stack.watch(target).await;
    write(&collection, 0..1).await;
    let frame = plain.next().await;
    assert!(frame.starts_with("{\"fullDocument\": "), "{frame}");
    // On WebSocket the header, which browsers cannot set, asks for nothing.
    let request = Request::websocket(target)
        .auth(ADMIN)
        .header("Last-Event-ID", "garbage");
    let client = stack.open(&request).await;
    assert_eq!(client.status(), Some(101), "{}", client.state());
}

#[tokio::test]
async fn an_event_source_that_reconnects_goes_on_where_it_was() {
    let stack = Stack::shared().await;
    let collection = define(stack, "resume_source").await;
    let target = "/resume_source/_streams/all";
    let mut first = back(stack, Way::Header, target, "").await;
    write(&collection, 0..4).await;
    expect(&mut first, 0..4).await;
    // It repeats the address with the old id, and says in the header what it has got since.
    let request = request(Way::Parameter, target, &id_of(&first, 0));
    let request = request.header("Last-Event-ID", &id_of(&first, 2));
    let mut client = stack.open(&request).await;
    expect(&mut client, 3..4).await;
    client.nothing_more().await;
}

#[tokio::test]
async fn nonsense_is_400() {
    let stack = Stack::shared().await;
    define(stack, "resume_nonsense").await;
    for target in [
        "/resume_nonsense/_streams/all",
        "/resume_nonsense/_streams/own",
    ] {
        for id in [
            "garbage",
            "{}",
            "{\"_data\": \"zz\"}",
            "{\"_data\": 1}",
            "82",
            "[1]",
        ] {
            for way in WAYS {
                refused(stack, way, target, id, 400).await;
            }
        }
    }
}
