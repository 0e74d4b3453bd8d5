//! What is remembered when finds and changes cross each other. No server: what a find brings is put in by hand.

use crate::lifecycle::Tasks;

use super::*;

#[tokio::test(start_paused = true)]
async fn finds_are_capped_per_second_and_come_back_with_time() {
    let mut finds = Finds::new(2);
    assert!(finds.take());
    assert!(finds.take());
    assert!(!finds.take());
    tokio::time::advance(Duration::from_millis(500)).await;
    assert!(finds.take());
    assert!(!finds.take());
}

fn time(time: u32) -> Timestamp {
    Timestamp { time, increment: 0 }
}

async fn lookup(property: &str) -> Lookup {
    let client = Client::with_uri_str("mongodb://127.0.0.1:1/?serverSelectionTimeoutMS=1")
        .await
        .expect("an address");
    let clock = Clock::start(client.clone(), &Tasks::new());
    let remembered = NonZeroUsize::new(10).expect("not zero");
    let lookup = Lookup::new(Namespace::new("d", "users"), client, clock, remembered, 100);
    lookup.set_watched(true);
    match property {
        ID => lookup,
        other => {
            let lookup = lookup.by(other.to_owned());
            lookup.set_watched(true);
            lookup
        }
    }
}

fn remember(lookup: &Lookup, name: &str, document: Document, as_of: u32) {
    let known = Known {
        document: Some(Arc::new(document)),
        as_of: time(as_of),
    };
    let read_at = Instant::now();
    let slot = Slot::Known { known, read_at };
    lookup.state.lock().slots.put(name.to_owned(), slot);
}

fn remembered(lookup: &Lookup, name: &str) -> Option<Document> {
    match lookup.state.lock().slots.peek(name) {
        Some(Slot::Known { known, .. }) => known.document.as_deref().cloned(),
        _ => None,
    }
}

#[tokio::test]
async fn a_renamed_document_is_gone_under_its_old_name() {
    let lookup = lookup("name").await;
    remember(&lookup, "old", doc! { "_id": 1, "name": "old" }, 1);
    remember(&lookup, "other", doc! { "_id": 2, "name": "other" }, 1);
    let now = doc! { "_id": 1, "name": "new" };
    let name = lookup.name_of(&Bson::Int32(1), Some(&now)).expect("a name");
    lookup.apply(&name, Some(now), time(2));
    assert_eq!(remembered(&lookup, "old"), None);
    assert!(remembered(&lookup, "other").is_some());
}

#[tokio::test]
async fn an_older_change_puts_nothing_back() {
    let lookup = lookup(ID).await;
    remember(&lookup, "a", doc! { "_id": "a", "v": 2 }, 5);
    lookup.apply("a", Some(doc! { "_id": "a", "v": 1 }), time(5));
    assert_eq!(remembered(&lookup, "a"), Some(doc! { "_id": "a", "v": 2 }));
    lookup.apply("a", None, time(6));
    assert_eq!(remembered(&lookup, "a"), None);
}

#[tokio::test]
async fn a_find_that_everybody_gave_up_is_not_continued() {
    let lookup = lookup(ID).await;
    let given_up = lookup.start(&mut lookup.state.lock(), "a").expect("a find");
    drop(given_up);
    let begun = lookup.state.lock().begun;
    // There is no server, so the answer is an error; but it is that of a new find.
    lookup.find("a").await.expect_err("nobody answers");
    assert_eq!(lookup.state.lock().begun, begun + 1);
}

#[tokio::test]
async fn an_earlier_find_leaves_the_place_to_a_later_one() {
    let lookup = lookup(ID).await;
    let earlier = lookup.start(&mut lookup.state.lock(), "a").expect("a find");
    let later = lookup.start(&mut lookup.state.lock(), "a").expect("a find");
    earlier.await.expect_err("nobody answers");
    let table = lookup.state.lock();
    let is_later = |slot: Option<&Slot>| matches!(slot, Some(Slot::Reading { number: 1, .. }));
    assert!(is_later(table.slots.peek("a")));
    drop((table, later));
}

#[tokio::test]
async fn finds_that_began_unwatched_are_told_apart() {
    let lookup = lookup(ID).await;
    lookup.set_watched(false);
    let unwatched = lookup.start(&mut lookup.state.lock(), "a").expect("a find");
    lookup.set_watched(true);
    assert_eq!(lookup.state.lock().watched_from, 1);
    // A cursor that is only reopened loses nothing.
    lookup.set_watched(true);
    assert_eq!(lookup.state.lock().watched_from, 1);
    drop(unwatched);
}
