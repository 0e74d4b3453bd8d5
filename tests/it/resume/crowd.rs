//! Many who come back at once, and writes that do not wait for them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};

use bson::{Document, doc};
use futures_util::StreamExt as _;

use super::history::next_id;
use super::{CATCH_UP, NO_RING, OPENS, Way, back, define, expect, id_of, write};
use crate::support::client::{Received, SILENCE};
use crate::support::stack::{self, METRIC_WAIT, Stack};

const CLIENTS: i32 = 1000;
/// Cursors that they may cost: one for those who came first, and one for each twentieth of a second that the others took.
const CURSORS_MAX: f64 = 60.0;

#[tokio::test]
async fn a_thousand_different_ids_at_once_cost_few_cursors() {
    let stack = Stack::start(NO_RING).await;
    let database = stack.database().await;
    let last = doc! { "$match": { "fullDocument.n": { "$gte": CLIENTS - 3 } } };
    let streams = doc! { "streams": [{ "uri": "last", "stages": [last] }] };
    stack::define(&database, "resume_crowd", streams).await;
    let collection = database.collection::<Document>("resume_crowd");
    let mut cursor = collection.watch().await.expect("a change stream");
    let documents = (0..CLIENTS).map(|n| doc! { "_id": n, "n": n });
    collection.insert_many(documents).await.expect("inserted");
    let mut ids = Vec::new();
    for _ in 0..CLIENTS {
        ids.push(next_id(&mut cursor).await);
    }
    let stack = Arc::new(stack);
    let each = |(place, id): (usize, String)| {
        let stack = Arc::clone(&stack);
        async move {
            let way = super::WAYS[place % 3];
            let mut client = back(&stack, way, "/resume_crowd/_streams/last", &id).await;
            let place = i32::try_from(place).expect("a small number");
            expect(&mut client, (CLIENTS - 3).max(place + 1)..CLIENTS).await;
            client
        }
    };
    let opening = futures_util::stream::iter(ids.into_iter().enumerate().map(each));
    let mut clients: Vec<_> = opening.buffer_unordered(CLIENTS as usize).collect().await;
    let opened = stack.metric(OPENS, CATCH_UP).await;
    println!("{CLIENTS} clients with an id each cost {opened} cursors");
    assert!(opened <= CURSORS_MAX, "{opened} cursors");
    write(&collection, CLIENTS..CLIENTS + 1).await;
    for client in &mut clients {
        expect(client, CLIENTS..CLIENTS + 1).await;
    }
    stack.eventually("sidestream_cursors", CATCH_UP, 0.0).await;
}

/// The ring holds a handful of events, and is round many times while a cursor reads.
#[tokio::test]
async fn a_tiny_ring_at_full_speed_is_caught_up_with() {
    let stack = Stack::start("[limits]\nring = \"2KiB\"").await;
    let collection = define(&stack, "resume_speed").await;
    let target = "/resume_speed/_streams/all";
    let mut first = back(&stack, Way::Header, target, "").await;
    write(&collection, 0..1).await;
    expect(&mut first, 0..1).await;
    let id = id_of(&first, 0);
    drop(first);
    let (stop, written) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicI32::new(1)),
    );
    let writing = tokio::spawn({
        let (stop, written) = (Arc::clone(&stop), Arc::clone(&written));
        async move {
            while !stop.load(Ordering::Acquire) {
                let begin = written.load(Ordering::Acquire);
                let documents = (begin..begin + 20).map(|n| doc! { "_id": n, "n": n });
                let inserted = collection.insert_many(documents).await;
                inserted.expect("inserted");
                written.store(begin + 20, Ordering::Release);
            }
        }
    });
    while written.load(Ordering::Acquire) < 1000 {
        tokio::task::yield_now().await;
    }
    let mut clients = Vec::new();
    for _ in 0..3 {
        clients.push(back(&stack, Way::WebSocket, target, &id).await);
    }
    // They are members, and need no cursor any more, though writes go on.
    stack.eventually("sidestream_cursors", CATCH_UP, 0.0).await;
    assert!(!writing.is_finished(), "writes go on");
    stop.store(true, Ordering::Release);
    writing.await.expect("all was written");
    let written = written.load(Ordering::Acquire);
    println!("{written} events were written meanwhile");
    let count = usize::try_from(written - 1).expect("a positive number");
    for client in &clients {
        let whole = |received: &Received| received.frames.len() + received.events.len() >= count;
        assert!(
            client.wait(METRIC_WAIT, whole).await,
            "{} of {count}",
            client.count()
        );
        client.quiet(SILENCE).await;
        client.look(|received| {
            let events = received.events.iter().map(|event| &event["data"]);
            let frames = received.frames.iter().chain(events);
            for (frame, n) in frames.zip(1..) {
                let wanted = format!("\"n\": {n}}}");
                assert!(frame.contains(&wanted), "{wanted} is not in {frame}");
            }
        });
        assert_eq!(client.count(), count, "no more and no fewer");
    }
}
