//! What is and is not in history: ids of elsewhere, of never, of long ago, of before a drop.

use bson::doc;
use mongodb::change_stream::event::ResumeToken;

use super::{NO_RING, WAYS, Way, back, define, expect, id_of, refused, write};
use crate::support::client::{Client, Request};
use crate::support::stack::Stack;
use crate::support::{ReplicaSet, client_of};

/// Ids that look like ids and are none of this database's history.
async fn check_foreign(stack: &Stack, name: &str) {
    let collection = define(stack, name).await;
    let other = format!("{name}_elsewhere");
    let elsewhere = stack.mongo().await.database(&other).collection(name);
    let mut cursor = elsewhere.watch().await.expect("a change stream");
    let target = format!("/{name}/_streams/all");
    let mut first = back(stack, Way::Header, &target, "").await;
    write(&collection, 0..1).await;
    write(&elsewhere, 0..1).await;
    write(&collection, 1..3).await;
    expect(&mut first, 0..3).await;
    let foreign = next_id(&mut cursor).await;
    // As if somebody had changed the last digits of the document's key.
    let mut made_up = id_of(&first, 1);
    made_up.replace_range(made_up.len() - 6..made_up.len() - 2, "0FF0");
    for stream in ["all", "own"] {
        let target = format!("/{name}/_streams/{stream}");
        for way in WAYS {
            refused(stack, way, &target, &foreign, 410).await;
            refused(stack, way, &target, &made_up, 410).await;
        }
    }
    write(&collection, 3..4).await;
    expect(&mut first, 3..4).await;
    elsewhere.drop().await.expect("dropped");
}

type Cursor = mongodb::change_stream::ChangeStream<
    mongodb::change_stream::event::ChangeStreamEvent<bson::Document>,
>;

/// The next id as a driver gives it, written as RESTHeart writes it.
pub(super) async fn next_id(cursor: &mut Cursor) -> String {
    let event = loop {
        let next = cursor.next_if_any().await.expect("it is read");
        if let Some(event) = next {
            break event;
        }
    };
    text_of(&event.id)
}

pub(super) fn text_of(id: &ResumeToken) -> String {
    let id = bson::serialize_to_document(id).expect("a token is a document");
    format!(
        "{{\"_data\": \"{}\"}}",
        id.get_str("_data").expect("its text")
    )
}

#[tokio::test]
async fn ids_of_elsewhere_and_of_never_are_refused_by_the_ring() {
    let stack = Stack::start("").await;
    check_foreign(&stack, "resume_foreign_ring").await;
}

#[tokio::test]
async fn ids_of_elsewhere_and_of_never_are_refused_by_a_cursor() {
    let stack = Stack::start(NO_RING).await;
    check_foreign(&stack, "resume_foreign").await;
}

#[tokio::test]
async fn ids_of_other_collections_and_of_restheart_are_good() {
    let stack = Stack::start(NO_RING).await;
    let collection = define(&stack, "resume_tokens").await;
    let other = define(&stack, "resume_tokens_other").await;
    // RESTHeart's cursor is one on the collection, and its ids are the tokens of that.
    let mut here = collection.watch().await.expect("a change stream");
    let mut there = other.watch().await.expect("a change stream");
    write(&collection, 0..1).await;
    write(&other, 100..101).await;
    write(&collection, 1..3).await;
    for (id, from) in [
        (next_id(&mut here).await, 1),
        (next_id(&mut there).await, 1),
    ] {
        for stream in ["all", "own"] {
            for way in WAYS {
                let target = format!("/resume_tokens/_streams/{stream}");
                let mut client = back(&stack, way, &target, &id).await;
                expect(&mut client, from..3).await;
                client.nothing_more().await;
            }
        }
    }
}

#[tokio::test]
async fn older_than_the_oplog_is_410() {
    let stack = Stack::shared().await;
    let collection = define(stack, "resume_old").await;
    let target = "/resume_old/_streams/all";
    let mut first = back(stack, Way::Header, target, "").await;
    write(&collection, 0..1).await;
    expect(&mut first, 0..1).await;
    let mut old = id_of(&first, 0);
    // The time stands behind the type: 2001.
    let time = old.find("\"82").expect("a token begins with it") + 3;
    old.replace_range(time..time + 8, "3B9ACA00");
    for stream in ["all", "own"] {
        for way in WAYS {
            let target = format!("/resume_old/_streams/{stream}");
            refused(stack, way, &target, &old, 410).await;
        }
    }
}

#[tokio::test]
async fn history_lost_after_the_upgrade_is_4410() {
    let set = ReplicaSet::start().await;
    let uri = format!("{}&appName=resume-lost", set.uri);
    let stack = Stack::over(&uri, NO_RING).await;
    let collection = define(&stack, "resume_lost").await;
    let target = "/resume_lost/_streams/all";
    let mut first = back(&stack, Way::Header, target, "").await;
    write(&collection, 0..3).await;
    expect(&mut first, 0..3).await;
    let mut clients = Vec::new();
    for way in WAYS {
        let mut client = back(&stack, way, target, &id_of(&first, 0)).await;
        expect(&mut client, 1..3).await;
        clients.push(client);
    }
    let admin = client_of(&set.direct_uri()).await.database("admin");
    let fail = doc! {
        "configureFailPoint": "failCommand", "mode": { "times": 1 },
        "data": { "failCommands": ["getMore"], "errorCode": 286, "appName": "resume-lost" },
    };
    admin
        .run_command(fail)
        .await
        .expect("fail points are allowed");
    for client in &clients {
        assert_eq!(client.close_code().await, 4410);
    }
}

#[tokio::test]
async fn a_drop_behind_the_id_is_4404() {
    for settings in ["", NO_RING] {
        let stack = Stack::start(settings).await;
        let collection = define(&stack, "resume_drop").await;
        let mut first = back(&stack, Way::Header, "/resume_drop/_streams/all", "").await;
        write(&collection, 0..2).await;
        expect(&mut first, 0..2).await;
        let id = id_of(&first, 0);
        collection.drop().await.expect("dropped");
        assert_eq!(first.close_code().await, 4404);
        let database = stack.database().await;
        let created = database.create_collection("resume_drop").await;
        created.expect("created");
        // A pipeline that hides the drop does not hide that the collection went.
        for stream in ["all", "own"] {
            for way in WAYS {
                let target = format!("/resume_drop/_streams/{stream}");
                let mut client = back(&stack, way, &target, &id).await;
                expect(&mut client, 1..2).await;
                assert_eq!(
                    client.close_code().await,
                    4404,
                    "{settings} {way:?} {stream}"
                );
            }
        }
    }
}

#[tokio::test]
async fn the_ring_tells_its_reach() {
    let stack = Stack::start("[limits]\nring = \"8KiB\"").await;
    let collection = define(&stack, "resume_reach").await;
    let mut first = back(&stack, Way::Header, "/resume_reach/_streams/all", "").await;
    write(&collection, 0..50).await;
    expect(&mut first, 0..50).await;
    let page = Client::open(stack.sidestream.admin, &Request::http("GET", "/streams")).await;
    let page: serde_json::Value = serde_json::from_str(page.body()).expect("it is JSON");
    let feeds = page["feeds"].as_array().expect("a list");
    let feed = feeds.iter().find(|feed| feed["scope"] == "restheart");
    let ring = &feed.expect("it is open")["ring"];
    let number = |key: &str| {
        ring[key]
            .as_u64()
            .unwrap_or_else(|| panic!("{key} of {ring}"))
    };
    assert_eq!(number("bytes_max"), 8 << 10);
    assert!((4 << 10..=8 << 10).contains(&number("bytes")), "{ring}");
    assert!((4..40).contains(&number("events")), "{ring}");
    // It has gone round just now.
    assert!(number("reach_seconds") < 60, "{ring}");
    let reached = async { while stack.metric("sidestream_ring_bytes", "").await < 4096.0 {} };
    let reached = tokio::time::timeout(crate::support::stack::METRIC_WAIT, reached).await;
    reached.expect("the metric follows");
    let page = Client::open(stack.sidestream.admin, &Request::http("GET", "/metrics")).await;
    assert!(page.body().contains("\nsidestream_ring_reach_seconds "));
}
