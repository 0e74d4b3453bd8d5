//! What a permission hides, a stream does not show; what is revoked, stops.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::time::{Duration, Instant};

use bson::{Document, doc};
use mongodb::{Collection, Database};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::support::client::{Client, Request};
use crate::support::stack::{self, Stack};

/// Stores a user with a role of his own, whose permission has this `mongo` section.
async fn reader(stack: &Stack, name: &str, mongo: Document) {
    let database = stack.database().await;
    stack::add_user(&database, name).await;
    let role = doc! { "$set": { "roles": [name] } };
    let users = database.collection::<Document>("users");
    let changed = users.update_one(doc! { "_id": name }, role).await;
    changed.expect("changed");
    permit(stack, name, mongo).await;
}

async fn permit(stack: &Stack, name: &str, mongo: Document) {
    permit_in(&stack.database().await, name, mongo).await;
}

async fn permit_in(database: &Database, name: &str, mongo: Document) {
    let permission = doc! {
        "_id": name, "predicate": format!("path-prefix('/{name}')"), "roles": [name], "priority": 0, "mongo": mongo,
    };
    let acl = database.collection::<Document>("acl");
    let stored = acl.replace_one(doc! { "_id": name }, permission);
    stored.upsert(true).await.expect("stored");
}

/// Opens a stream as that user.
async fn open(stack: &Stack, name: &str, stream: &str) -> Client {
    let request = Request::websocket(&format!("/{name}/_streams/{stream}"));
    let client = stack.open(&request.auth(&format!("{name}:secret"))).await;
    assert_eq!(client.status(), Some(101), "{}", client.state());
    client
}

/// All frames up to the one of the document `end`.
async fn until_end(client: &mut Client) -> Vec<String> {
    let mut frames = Vec::new();
    loop {
        let frame = client.next().await;
        if frame.contains("\"end\"") {
            return frames;
        }
        frames.push(frame);
    }
}

/// Each leak that a read filter and hidden fields could have.
#[tokio::test]
async fn what_a_permission_hides_from_a_get_a_stream_does_not_show() {
    const NAME: &str = "hidden";
    let stack = Stack::start("").await;
    let mongo = doc! { "readFilter": { "public": true }, "projectResponse": { "secret": 0 } };
    reader(&stack, NAME, mongo).await;
    let copied = doc! { "$addFields": { "fullDocument.copy": "$fullDocument.secret" } };
    let guessed = doc! { "$match": { "$or": [
        { "fullDocument.secret": { "$var": "s" } }, { "fullDocument._id": "end" },
    ] } };
    let streams = doc! { "streams": [
        { "uri": "all", "stages": [] }, { "uri": "copied", "stages": [copied] },
        { "uri": "guessed", "stages": [guessed] },
        { "uri": "notified", "stages": [], "notify_when": { "fullDocument::secret": { "$var": "s" } } },
    ] };
    let database = stack.database().await;
    stack::define(&database, NAME, streams).await;
    let documents = database.collection::<Document>(NAME);
    let mut all = open(&stack, NAME, "all").await;
    let mut copied = open(&stack, NAME, "copied").await;
    let mut guessed = open(&stack, NAME, "guessed?s=shown").await;
    let notified = open(&stack, NAME, "notified?s=shown").await;
    let mut everything = stack.watch(&format!("/{NAME}/_streams/all")).await;

    let insert = async |document: Document| {
        documents.insert_one(document).await.expect("inserted");
    };
    let update = async |change: Document| {
        let changed = documents.update_one(doc! { "_id": 1 }, change).await;
        changed.expect("changed");
    };
    // Secret, changed while it is, made public at once: the lookup of the earlier change may show the later state.
    insert(doc! { "_id": 1, "public": false, "secret": "kept1", "text": "kept2" }).await;
    for number in 0..20 {
        let kept = format!("kept{number}");
        update(doc! { "$set": { "public": false, "secret": &kept, "text": &kept } }).await;
        update(doc! { "$set": { "public": true, "secret": "shown", "text": "open" } }).await;
        update(doc! { "$unset": { "secret": 1 } }).await;
    }
    // It leaves the filter, is replaced outside of it and deleted.
    update(doc! { "$set": { "public": false, "text": "kept3" } }).await;
    let replaced = doc! { "_id": 1, "public": false, "text": "kept4" };
    documents
        .replace_one(doc! { "_id": 1 }, replaced)
        .await
        .expect("replaced");
    documents
        .delete_one(doc! { "_id": 1 })
        .await
        .expect("deleted");
    insert(doc! { "_id": 2, "public": true, "secret": "shown", "text": "open" }).await;
    insert(doc! { "_id": "end", "public": true }).await;

    let frames = until_end(&mut all).await;
    assert!(
        frames.iter().any(|frame| frame.contains("\"open\"")),
        "something is public"
    );
    for frame in frames.iter().chain(&until_end(&mut copied).await) {
        for hidden in [
            "kept",
            "shown",
            "secret",
            "updateDescription",
            "delete",
            "false",
        ] {
            assert!(!frame.contains(hidden), "{hidden} in {frame}");
        }
    }
    // Whether a guess is right cannot be found out: the field is gone before the stage sees it.
    assert_eq!(until_end(&mut guessed).await, Vec::<String>::new());
    notified.nothing_more().await;
    let everything = until_end(&mut everything).await;
    assert!(
        everything.iter().any(|frame| frame.contains("kept19")),
        "root sees all"
    );
}

/// A delete is judged by the document as it was, where the collection keeps that; in process and by a cursor of its own.
#[tokio::test]
async fn with_pre_images_a_delete_of_what_was_visible_is_told() {
    const NAME: &str = "images";
    let stack = Stack::start("[streams]\npre_images = true\n").await;
    let mongo = doc! { "readFilter": { "public": true } };
    reader(&stack, NAME, mongo).await;
    let own = doc! { "$match": { "$expr": { "$ne": ["$$NOW", null] } } };
    // What was is there to judge by, and for nothing else.
    let old = doc! { "$addFields": { "documentKey.was": "$fullDocumentBeforeChange" } };
    let streams = doc! { "streams": [
        { "uri": "all", "stages": [] }, { "uri": "own", "stages": [own] }, { "uri": "old", "stages": [old] },
    ] };
    let database = stack.database().await;
    stack::define(&database, NAME, streams).await;
    let documents = database.collection::<Document>(NAME);
    let mut clients = Vec::new();
    for stream in ["all", "own", "old"] {
        clients.push(open(&stack, NAME, stream).await);
    }
    for is_kept in [false, true] {
        let keep = doc! { "collMod": NAME, "changeStreamPreAndPostImages": { "enabled": is_kept } };
        database.run_command(keep).await.expect("it can keep them");
        for (id, public) in [("public", true), ("secret", false), ("left", true)] {
            let document = doc! { "_id": id, "public": public, "text": "was" };
            documents.insert_one(document).await.expect("inserted");
        }
        let hide = doc! { "$set": { "public": false } };
        let hidden = documents.update_one(doc! { "_id": "left" }, hide).await;
        hidden.expect("changed");
        for id in ["public", "secret", "left"] {
            let gone = documents.delete_one(doc! { "_id": id }).await;
            assert_eq!(gone.expect("deleted").deleted_count, 1);
        }
        let end = doc! { "_id": if is_kept { "end" } else { "between" }, "public": true };
        documents.insert_one(end).await.expect("inserted");
    }
    for client in &mut clients {
        let frames = until_end(client).await;
        let deletes: Vec<&String> = frames
            .iter()
            .filter(|frame| frame.contains("\"delete\""))
            .collect();
        assert_eq!(
            deletes,
            [r#"{"documentKey": {"_id": "public"}, "operationType": "delete"}"#]
        );
        for hidden in ["secret", "false"] {
            let shown = frames.iter().find(|frame| frame.contains(hidden));
            assert_eq!(shown, None, "{hidden}");
        }
    }
}

/// The highest number that may be on its way when the permission goes, and what comes behind it.
struct Writer {
    documents: Collection<Document>,
    next: AtomicI32,
    stopped: AtomicBool,
}

impl Writer {
    async fn run(self: Arc<Self>) {
        while !self.stopped.load(Ordering::Acquire) {
            let number = self.next.fetch_add(1, Ordering::AcqRel);
            let written = self.documents.insert_one(doc! { "_id": number }).await;
            written.expect("written");
            // An update is looked up, which takes its time in the feed.
            let changed = doc! { "$set": { "changed": true } };
            let changed = self
                .documents
                .update_one(doc! { "_id": number }, changed)
                .await;
            changed.expect("changed");
        }
    }
}

/// Again and again, while several write: what is written after the revocation was acknowledged reaches nobody, in process
/// or by a cursor of its own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_that_is_written_after_a_revocation_is_delivered() {
    let rounds = std::env::var("SIDESTREAM_REVOCATION_ROUNDS").ok();
    let rounds = rounds.map_or(25, |rounds| rounds.parse().expect("a number"));
    revoke_again_and_again("revoked", None, rounds).await;
}

/// The same with permissions in another database, whose feed has an order of its own: sessions end, and soon.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revocation_in_another_database_ends_sessions_while_many_write() {
    revoke_again_and_again("remote", Some("remote_rules"), 5).await;
}

async fn revoke_again_and_again(name: &'static str, elsewhere: Option<&str>, rounds: usize) {
    const SESSIONS: usize = 20;
    let seed = rand::random();
    println!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let settings = elsewhere.map(|database| format!("[acl.mongo]\ndatabase = \"{database}\"\n"));
    let stack = Stack::start(&settings.unwrap_or_default()).await;
    let database = stack.database().await;
    let rules = match elsewhere {
        Some(name) => database.client().database(name),
        None => database.clone(),
    };
    let dedicated = doc! { "$match": { "$expr": { "$ne": ["$$NOW", null] } } };
    let streams = doc! { "streams": [
        { "uri": "all", "stages": [] }, { "uri": "own", "stages": [dedicated] },
    ] };
    stack::define(&database, name, streams).await;
    reader(&stack, name, doc! {}).await;
    permit_in(&rules, name, doc! {}).await;
    let writer = Arc::new(Writer {
        documents: database.collection(name),
        next: AtomicI32::new(0),
        stopped: AtomicBool::new(false),
    });
    let writing: Vec<_> = (0..3)
        .map(|_| tokio::spawn(Arc::clone(&writer).run()))
        .collect();
    let acl = rules.collection::<Document>("acl");
    let mut longest = Duration::ZERO;
    for round in 0..rounds {
        let mut sessions = Vec::new();
        for number in 0..SESSIONS {
            let stream = if number % 4 == 0 { "own" } else { "all" };
            sessions.push(open(&stack, name, stream).await);
        }
        // Until some events have come, and then some.
        let some = random.random_range(0..20);
        for session in &mut sessions {
            for _ in 0..some {
                session.next().await;
            }
        }
        acl.delete_one(doc! { "_id": name }).await.expect("deleted");
        // Whatever got a lower number may have been written before.
        let first_after = writer.next.load(Ordering::Acquire);
        let revoked_at = Instant::now();
        for session in sessions {
            assert_eq!(session.close_code().await, 4403, "round {round}");
            longest = longest.max(revoked_at.elapsed());
            let highest = session.look(|received| {
                let ids = received.frames.iter().filter_map(|frame| number_of(frame));
                ids.max()
            });
            assert!(
                elsewhere.is_some() || highest.is_none_or(|highest| highest < first_after),
                "round {round}: {highest:?} was written after {first_after}"
            );
        }
        permit_in(&rules, name, doc! {}).await;
    }
    println!(
        "{rounds} rounds of {SESSIONS} sessions; the last one ended {longest:?} after its revocation at most"
    );
    writer.stopped.store(true, Ordering::Release);
    for task in writing {
        task.await.expect("it wrote all");
    }
}

fn number_of(frame: &str) -> Option<i32> {
    let frame: serde_json::Value = serde_json::from_str(frame).expect("JSON");
    let id = frame["documentKey"]["_id"].as_i64()?;
    i32::try_from(id).ok()
}
