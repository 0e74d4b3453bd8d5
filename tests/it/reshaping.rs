//! Streams whose stages reshape the event: shared, and frame for frame what MongoDB's own cursor gives.

use bson::{Document, doc};

use crate::support::client::{Client, Request};
use crate::support::stack::{self, ADMIN, Stack};

/// Pipelines as people write them, each with a name.
fn pipelines() -> Vec<(&'static str, Vec<Document>)> {
    vec![
        (
            "include",
            vec![
                doc! { "$project": { "operationType": 1, "fullDocument.name": 1, "fullDocument.tags": 1, "documentKey": 1 } },
            ],
        ),
        (
            "exclude",
            vec![
                doc! { "$project": { "fullDocument.secret": 0, "fullDocument.lines.price": 0, "ns": 0 } },
            ],
        ),
        (
            "add",
            vec![
                doc! { "$addFields": { "fullDocument.from": "$ns.coll", "fullDocument.lines.of": "$fullDocument.name" } },
            ],
        ),
        (
            "again",
            vec![
                doc! { "$unset": ["fullDocument.secret", "documentKey"] },
                doc! { "$set": { "fullDocument.secret": "$$REMOVE", "documentKey": { "_id": "$fullDocument._id" } } },
                doc! { "$set": { "fullDocument.secret": "hidden" } },
            ],
        ),
        (
            "redact",
            vec![
                doc! { "$redact": "$$DESCEND" },
                doc! { "$match": { "fullDocument.name": "b" } },
            ],
        ),
        (
            "replace",
            vec![doc! { "$replaceRoot": { "newRoot": {
                "_id": "$_id", "operationType": "$operationType", "fullDocument": { "who": "$fullDocument.name" },
            } } }],
        ),
    ]
}

/// Lets everything pass, and only MongoDB knows: what time it is there is not known here.
fn known_to_mongodb_only() -> Document {
    doc! { "$match": { "$expr": { "$ne": ["$$NOW", null] } } }
}

#[tokio::test]
async fn reshaping_streams_are_shared_and_give_the_frames_of_a_cursor_of_their_own() {
    let stack = Stack::shared().await;
    let database = stack.database().await;
    let mut streams = Vec::new();
    for (name, stages) in pipelines() {
        let mut dedicated = stages.clone();
        dedicated.push(known_to_mongodb_only());
        streams.push(doc! { "uri": name, "stages": stages });
        streams.push(doc! { "uri": format!("{name}-dedicated"), "stages": dedicated });
    }
    stack::define(&database, COLLECTION, doc! { "streams": streams }).await;
    let mut pairs = Vec::new();
    for (name, _) in pipelines() {
        let target = format!("/{COLLECTION}/_streams/{name}");
        // With ids, so that every event is told from every other.
        let shared = stack.watch(&format!("{target}?lastEventID=")).await;
        let sse = stack.open(&Request::sse(&target).auth(ADMIN)).await;
        let dedicated = stack
            .watch(&format!("{target}-dedicated?lastEventID="))
            .await;
        pairs.push((name, shared, sse, dedicated));
    }
    write(&database.collection(COLLECTION)).await;
    for (name, shared, sse, dedicated) in &mut pairs {
        for place in 0..EVENTS {
            if *name == "redact" && place != 1 {
                continue;
            }
            let (ours, theirs) = (shared.next().await, dedicated.next().await);
            assert_eq!(ours, theirs, "{name}: left in process, right MongoDB's");
            let event = sse.next().await;
            assert!(ours.ends_with(&event[1..]), "{name}: {ours} as SSE {event}");
        }
    }
    let kinds = kinds(stack).await;
    for (name, _) in pipelines() {
        let kind = |uri: &str| kinds.iter().find(|(found, _)| found == uri).cloned();
        assert_eq!(kind(name), Some((name.to_owned(), "shared".to_owned())));
        let dedicated = format!("{name}-dedicated");
        assert_eq!(kind(&dedicated), Some((dedicated, "dedicated".to_owned())));
    }
}

/// Six events, of which the second and the last but one bear the name `b`.
async fn write(data: &mongodb::Collection<Document>) {
    let documents = [
        doc! { "_id": 1, "name": "a", "secret": 1, "tags": ["x"], "lines": [{ "price": 1.5, "n": 1 }, 7] },
        doc! { "_id": 2, "name": "b", "lines": { "price": 2 }, "nested": { "secret": true } },
        doc! { "_id": 3, "secret": null },
    ];
    data.insert_many(documents).await.expect("inserted");
    let by_id = |id: i32| doc! { "_id": id };
    data.update_one(by_id(3), doc! { "$set": { "lines": [[{ "n": 2 }]] } })
        .await
        .expect("updated");
    data.replace_one(by_id(1), doc! { "name": "c" })
        .await
        .expect("replaced");
    data.delete_one(by_id(2)).await.expect("deleted");
}

/// What `/streams` says of the collection's streams: how each is served.
async fn kinds(stack: &Stack) -> Vec<(String, String)> {
    let answer = Client::open(stack.sidestream.admin, &Request::http("GET", "/streams")).await;
    let answer: serde_json::Value = serde_json::from_str(answer.body()).expect("JSON");
    let streams = answer["streams"].as_array().expect("a list");
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    streams
        .iter()
        .filter(|stream| stream["collection"] == COLLECTION)
        .map(|stream| (text(&stream["uri"]), text(&stream["kind"])))
        .collect()
}

const COLLECTION: &str = "reshaping";
const EVENTS: usize = 6;
