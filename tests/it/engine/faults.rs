//! Ids of events elsewhere, clients that do not read, a feed that panics.

use sidestream::mongo::Event;
use sidestream::mongo::feed::{Reading, Start, Step, Tail, open};

use super::*;

/// A document whose `_id` is a long or a double has more in its event's id than clients are told.
#[tokio::test]
async fn an_id_of_another_collections_event_is_good_whatever_its_document_is_called() {
    let house = House::open(mongo_uri().await, "elsewhere", 0).await;
    let other = Namespace::new(&*house.database, "other");
    house.feed.watch(&other).await.expect("it is watched");
    for place in 0..3 {
        let id = event_id(place);
        let mut position = house.feed.position();
        let before = house.clock.now().await.expect("the operation time");
        let others = house.collection("other");
        let inserted = others.insert_one(doc! { "_id": id }).await;
        inserted.expect("inserted");
        let first = i32::try_from(place).expect("a small number") * 10;
        house.insert(first).await;
        // A cursor of the test's own tells the id of the event elsewhere.
        let begin = Start::At(before);
        let watched = BTreeSet::from([other.clone()]);
        let mut cursor = Tail::new(
            open(
                &house.client,
                house.feed.scope(),
                &watched,
                &begin,
                &[],
                Reading::default(),
            )
            .await
            .expect("opened"),
            "test",
        );
        let mut elsewhere = None;
        while elsewhere.is_none() {
            if let Step::Event(raw) = cursor.step().await.expect("events") {
                let event = Event::read(raw).expect("an event");
                let is_newest = event.document().0 == Some(event_id(place));
                elsewhere = is_newest.then_some(event.token);
            }
        }
        let token = elsewhere.expect("found");
        let passed = position.wait_for(|at| at.as_ref().is_some_and(|at| *at > token));
        passed.await.expect("the feed goes on");
        let inserts =
            || doc! { "$match": { "operationType": "insert", "fullDocument.n": { "$gte": 0 } } };
        for stages in [vec![inserts()], [vec![inserts()], dedicated()].concat()] {
            let mut back = house
                .subscribe(stages, Some(token.clone()))
                .await
                .expect("history reaches back");
            back.expect(first..first + 1).await;
        }
    }
    house.close().await;
}

fn event_id(place: usize) -> bson::Bson {
    match place {
        0 => bson::Bson::Int32(1),
        1 => bson::Bson::Int64(2),
        _ => bson::Bson::Double(3.0),
    }
}

#[tokio::test]
async fn a_client_that_comes_back_and_does_not_read_gives_up_its_cursor_and_holds_no_ring() {
    const RING: usize = 4096;
    const OUTBOX: usize = 4096;
    let house = House::open(mongo_uri().await, "deaf", RING).await;
    let mut reader = house.subscribe(vec![], None).await.expect("subscribed");
    house.insert(0).await;
    let token = reader.token().await;
    for number in 1..200 {
        house.insert(number).await;
    }
    // More of them than there may be cursors.
    let mut deaf = Vec::new();
    for _ in 0..=CURSORS {
        let client = house.subscribe_with(vec![], Some(token.clone()), OUTBOX);
        deaf.push(client.await.expect("history reaches back"));
    }
    reader.expect(1..200).await;
    // One that reads gets everything, whoever does not.
    let back = house.subscribe_with(vec![], Some(token), OUTBOX).await;
    back.expect("history reaches back").expect(1..200).await;
    assert!(house.feed.ring().bytes() <= RING);
    for client in deaf {
        assert!(client.outbox.queued_bytes() <= OUTBOX);
        assert_eq!(
            client.outbox.ended(),
            None,
            "its session says when it is too slow"
        );
    }
    house.close().await;
}

#[tokio::test]
async fn a_feed_that_panics_ends_its_sessions_and_begins_anew() {
    let house = House::open(mongo_uri().await, "panics", RING_BYTES).await;
    let mut session = house.subscribe(vec![], None).await.expect("subscribed");
    house.insert(0).await;
    session.expect(0..1).await;
    house.metadata.panics.store(true, Ordering::Release);
    let properties = house.collection(METADATA);
    let fatal = properties.insert_one(doc! { "_id": "data" }).await;
    fatal.expect("inserted");
    assert_eq!(session.next().await, Err(Ending::OurFault));
    house.metadata.panics.store(false, Ordering::Release);
    let mut again = loop {
        let live = house.feed.live(WAIT).await;
        match live {
            Ok(()) => break house.subscribe(vec![], None).await.expect("subscribed"),
            Err(_) => tokio::task::yield_now().await,
        }
    };
    house.insert(1).await;
    again.expect(1..2).await;
    house.close().await;
}
