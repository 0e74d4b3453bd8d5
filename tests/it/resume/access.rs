//! Resuming asks for permission anew, and shows what may be seen now.

use bson::{Document, doc};

use super::{NO_RING, WAYS, Way, define, expect, id_of, request, write};
use crate::support::client::Client;
use crate::support::stack::{self, Stack};

const USER: &str = "resume_reader:secret";

async fn permit(stack: &Stack, filter: Document) {
    let database = stack.database().await;
    let permission = doc! {
        "_id": "resume_reader", "predicate": "path-prefix('/resume_access')", "roles": ["resume_reader"],
        "priority": 0, "mongo": { "readFilter": filter },
    };
    let acl = database.collection::<Document>("acl");
    let stored = acl.replace_one(doc! { "_id": "resume_reader" }, permission);
    stored.upsert(true).await.expect("stored");
}

async fn open(stack: &Stack, way: Way, stream: &str, id: &str) -> Client {
    let target = format!("/resume_access/_streams/{stream}");
    stack.open(&request(way, &target, id).auth(USER)).await
}

/// Opens it as soon as the permission of this test is known.
async fn check(settings: &str) {
    let stack = Stack::start(settings).await;
    let database = stack.database().await;
    stack::add_user(&database, "resume_reader").await;
    let users = database.collection::<Document>("users");
    let own_role = doc! { "$set": { "roles": ["resume_reader"] } };
    let changed = users.update_one(doc! { "_id": "resume_reader" }, own_role);
    changed.await.expect("changed");
    permit(&stack, doc! { "n": { "$gte": 0 } }).await;
    let collection = define(&stack, "resume_access").await;
    let mut first = open(&stack, Way::Header, "all", "").await;
    let mut watching = open(&stack, Way::WebSocket, "all", "").await;
    write(&collection, 0..6).await;
    expect(&mut first, 0..6).await;
    expect(&mut watching, 0..6).await;
    let id = id_of(&first, 0);
    permit(&stack, doc! { "n": { "$gte": 4 } }).await;
    assert_eq!(watching.close_code().await, 1012, "another filter");
    for stream in ["all", "own"] {
        for way in WAYS {
            let mut client = open(&stack, way, stream, &id).await;
            expect(&mut client, 4..6).await;
            client.nothing_more().await;
        }
    }
    let acl = database.collection::<Document>("acl");
    let mut last = open(&stack, Way::WebSocket, "all", &id).await;
    expect(&mut last, 4..6).await;
    let revoked = acl.delete_one(doc! { "_id": "resume_reader" }).await;
    revoked.expect("deleted");
    assert_eq!(last.close_code().await, 4403);
    for stream in ["all", "own"] {
        for way in WAYS {
            let client = open(&stack, way, stream, &id).await;
            assert_eq!(client.status(), Some(403), "{}", client.state());
        }
    }
}

#[tokio::test]
async fn what_may_not_be_seen_now_is_not_shown() {
    // One after the other: both change the same permission.
    for settings in ["", NO_RING] {
        check(settings).await;
    }
}
