//! Feed, hub and cursors together, against a real server.

mod faults;
mod panics;
mod returning;

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bson::{Document, doc};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use mongodb::{Client, Collection};
use sidestream::delivery::{self, Ending, Outcome, Outlet, Run};
use sidestream::engine::{
    Engine, EngineSettings, Framing, From, Hub, Plan, Refused, Subscription, Wanted,
};
use sidestream::lifecycle::Tasks;
use sidestream::mongo::client::Clock;
use sidestream::mongo::feed::{Change, Feed, FeedSettings, Gate, Scope};
use sidestream::mongo::{MongoError, Namespace, ResumeToken};
use sidestream::wire::{JsonMode, Veil};

use crate::support::{ReplicaSet, client_of, mongo_uri};

const WAIT: Duration = Duration::from_secs(30);
const RING_BYTES: usize = 16 << 20;
/// Catch-up cursors at once.
const CURSORS: usize = 4;
const OUTBOX_BYTES: usize = 64 << 20;
const METADATA: &str = "_properties";

/// Remembers what it was told, and how far the data had come then.
#[derive(Debug, Default)]
struct Metadata {
    watched: Mutex<BTreeSet<Namespace>>,
    changes: Mutex<Vec<Change>>,
    on_change: Mutex<Option<delivery::Outbox>>,
    panics: AtomicBool,
}

impl Gate for Metadata {
    fn changed(&self, change: Change) {
        assert!(!self.panics.load(Ordering::Acquire), "as the test wants");
        self.changes
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(change);
        if let Some(outbox) = &*self
            .on_change
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
        {
            outbox.end(Ending::StreamGone);
        }
    }

    fn reload<'a>(&'a self, _scope: &'a Scope) -> BoxFuture<'a, Result<(), MongoError>> {
        Box::pin(async { Ok(()) })
    }

    fn watched(&self, _scope: &Scope) -> BTreeSet<Namespace> {
        self.watched
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn is_metadata(&self, namespace: &Namespace) -> bool {
        &*namespace.collection == METADATA
    }

    fn live(&self, _scope: &Scope, _live: bool) {}
}

/// One database, its feed and an engine.
struct House {
    client: Client,
    database: String,
    clock: Clock,
    feed: Arc<Feed>,
    engine: Engine,
    metadata: Arc<Metadata>,
}

impl House {
    async fn open(uri: &str, name: &str, ring_bytes: usize) -> Self {
        let client = client_of(uri).await;
        let database = format!("query_engine_{name}_{}", std::process::id());
        let tasks = Tasks::new();
        let clock = Clock::start(client.clone(), &tasks);
        let hub = Arc::new(Hub::new(tasks.clone()));
        let metadata = Arc::new(Metadata::default());
        let watched = [METADATA, "data"].map(|name| Namespace::new(&*database, name));
        *metadata
            .watched
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = watched.into();
        let settings = FeedSettings {
            ring_bytes,
            backoff_max: Duration::from_secs(1),
            patience: WAIT,
            pre_images: false,
        };
        let feed = Arc::new(Feed::start(
            client.clone(),
            clock.clone(),
            Scope::Database(database.as_str().into()),
            settings,
            Arc::clone(&hub) as _,
            Arc::clone(&metadata) as _,
            &tasks,
        ));
        feed.live(WAIT).await.expect("the feed opens");
        let settings = EngineSettings {
            dedicated_cursors_max: 10,
            dedicated_cursors_per_stream_max: 10,
            catch_up_cursors_max: CURSORS,
            catch_up_cursors_per_second: 20,
            patience: WAIT,
        };
        let engine = Engine::new(client.clone(), hub, settings, tasks);
        Self {
            client,
            database,
            clock,
            feed,
            engine,
            metadata,
        }
    }

    fn collection(&self, name: &str) -> Collection<Document> {
        self.client.database(&self.database).collection(name)
    }

    async fn insert(&self, number: i32) {
        let document = doc! { "_id": number, "n": number };
        let inserted = self.collection("data").insert_one(document).await;
        inserted.expect("inserted");
    }

    async fn subscribe(
        &self,
        stages: Vec<Document>,
        resume: Option<ResumeToken>,
    ) -> Result<Session, Refused> {
        self.subscribe_with(stages, resume, OUTBOX_BYTES).await
    }

    async fn subscribe_with(
        &self,
        stages: Vec<Document>,
        resume: Option<ResumeToken>,
        outbox_bytes: usize,
    ) -> Result<Session, Refused> {
        let (outbox, outlet) = delivery::channel(outbox_bytes);
        self.subscribe_into(stages, resume, outbox, outlet).await
    }

    async fn subscribe_into(
        &self,
        stages: Vec<Document>,
        resume: Option<ResumeToken>,
        outbox: delivery::Outbox,
        outlet: Outlet,
    ) -> Result<Session, Refused> {
        let namespace = Namespace::new(&*self.database, "data");
        self.feed.watch(&namespace).await.expect("it is watched");
        let floor = self.clock.now().await.expect("the operation time");
        let wanted = Wanted {
            namespace,
            stages,
            notify: None,
            veil: Veil::default(),
            mode: JsonMode::Default,
            framing: Framing::Sse,
        };
        let plan = Plan::choose(wanted).expect("a plan");
        let from = From { floor, resume };
        let held = outbox.clone();
        let subscription = self
            .engine
            .subscribe(&self.feed, plan, from, outbox)
            .await?;
        Ok(Session {
            outlet,
            split: VecDeque::new(),
            outbox: held,
            _subscription: subscription,
        })
    }

    async fn close(self) {
        let database = self.client.database(&self.database);
        drop(self.feed);
        database.drop().await.expect("dropped");
    }
}

struct Session {
    outlet: Outlet,
    /// Frames that came in one run with the one before.
    split: VecDeque<Bytes>,
    outbox: delivery::Outbox,
    _subscription: Subscription,
}

impl Session {
    /// The next frame, or why there are no more.
    async fn next(&mut self) -> Result<Bytes, Ending> {
        if let Some(frame) = self.split.pop_front() {
            return Ok(frame);
        }
        let mut runs: Vec<Run> = Vec::new();
        let ready = self.outlet.ready(&mut runs, 1);
        match tokio::time::timeout(WAIT, ready).await {
            Ok(Outcome::Frames) => (),
            Ok(Outcome::Rest) => panic!("no socket was lent"),
            Ok(Outcome::Ended(ending)) => return Err(ending),
            Err(_) => panic!("nothing comes"),
        }
        for Run { mut bytes, frames } in runs {
            for _ in 0..frames {
                let end = memchr::memmem::find(&bytes, b"\n\n").expect("the end of an event");
                self.split.push_back(bytes.split_to(end + 2));
            }
            assert!(bytes.is_empty(), "a run is whole frames");
        }
        Ok(self.split.pop_front().expect("a run has frames"))
    }

    /// Asserts that these numbers come next, each once and in order.
    #[track_caller]
    fn expect(&mut self, numbers: std::ops::Range<i32>) -> impl Future<Output = ()> {
        let place = std::panic::Location::caller();
        async move {
            for number in numbers {
                let frame = self.next().await;
                let frame = frame.unwrap_or_else(|ending| panic!("{place}: {ending:?}"));
                assert_eq!(number_of(&frame), number, "{place}");
            }
        }
    }

    async fn token(&mut self) -> ResumeToken {
        let frame = self.next().await.expect("a frame");
        let text = std::str::from_utf8(&frame).expect("text").to_owned();
        let (_, token) = text.split_once("\"_data\": \"").expect("an id");
        let (token, _) = token.split_once('"').expect("its end");
        ResumeToken::parse(token).expect("a token")
    }
}

fn number_of(frame: &Bytes) -> i32 {
    let text = std::str::from_utf8(frame).expect("text");
    let (_, number) = text.split_once("\"n\":").expect("a number");
    let number = number.trim_start();
    let end = number.find(|c: char| !c.is_ascii_digit());
    number[..end.expect("its end")].parse().expect("digits")
}

/// Writes 0, 1, 2, … until `count`, and counts what is acknowledged.
fn writer(house: &House, count: i32) -> (Arc<AtomicI32>, tokio::task::JoinHandle<()>) {
    let data = house.collection("data");
    let written = Arc::new(AtomicI32::new(0));
    let done = Arc::clone(&written);
    let task = tokio::spawn(async move {
        for number in 0..count {
            let inserted = data.insert_one(doc! { "_id": number, "n": number }).await;
            inserted.expect("inserted");
            done.store(number + 1, Ordering::Release);
        }
    });
    (written, task)
}

#[tokio::test]
async fn data_and_metadata_come_in_one_order() {
    let house = House::open(mongo_uri().await, "order", RING_BYTES).await;
    let mut session = house.subscribe(vec![], None).await.expect("subscribed");
    *house.metadata.on_change.lock().expect("sound") = Some(session.outbox.clone());
    for number in 0..3 {
        house.insert(number).await;
    }
    let properties = house.collection(METADATA);
    let revoked = properties.insert_one(doc! { "_id": "data" }).await;
    revoked.expect("inserted");
    for number in 3..6 {
        house.insert(number).await;
    }
    session.expect(0..3).await;
    assert_eq!(
        session.next().await,
        Err(Ending::StreamGone),
        "nothing behind the change gets through"
    );
    house.close().await;
}

#[tokio::test]
async fn the_watched_set_grows_without_loss_while_writes_go_on() {
    let house = House::open(mongo_uri().await, "grows", RING_BYTES).await;
    let mut session = house.subscribe(vec![], None).await.expect("subscribed");
    let (written, writing) = writer(&house, 400);
    let mut late = Vec::new();
    for place in 0..10 {
        let name = format!("late{place}");
        let namespace = Namespace::new(&*house.database, name.as_str());
        house.feed.watch(&namespace).await.expect("it is watched");
        let inserted = house
            .collection(&name)
            .insert_one(doc! { "n": place })
            .await;
        inserted.expect("inserted");
        late.push(namespace);
    }
    assert!(
        written.load(Ordering::Acquire) < 400,
        "writes went on meanwhile"
    );
    session.expect(0..400).await;
    writing.await.expect("all written");
    // Each write that followed the answer has come, and the ring does not claim more than it has.
    for namespace in late {
        let ring = house.feed.ring();
        let reach = ring.reaches_back_to(&namespace).expect("it is watched");
        let events = ring.since(&reach, &namespace).expect("it reaches back");
        assert_eq!(events.len(), 1, "{namespace}");
    }
    house.close().await;
}

async fn check_resume(name: &str, ring_bytes: usize, stages: Vec<Document>, clients: usize) {
    const COUNT: i32 = 1500;
    let house = House::open(mongo_uri().await, name, ring_bytes).await;
    let mut first = house
        .subscribe(stages.clone(), None)
        .await
        .expect("subscribed");
    let (_, writing) = writer(&house, COUNT);
    let token = first.token().await;
    first.expect(1..300).await;
    for _ in 0..clients {
        let back = house.subscribe(stages.clone(), Some(token.clone())).await;
        let mut back = back.expect("history reaches back");
        // So that each comes back when the others have gone on.
        back.expect(1..300).await;
        first.expect(300..301).await;
        back.expect(300..COUNT).await;
        first = match house.subscribe(stages.clone(), Some(token.clone())).await {
            Ok(mut next) => {
                next.expect(1..300).await;
                next
            }
            Err(refused) => panic!("{refused}"),
        };
    }
    writing.await.expect("all written");
    house.close().await;
}

#[tokio::test]
async fn who_comes_back_from_the_ring_gets_each_event_once() {
    check_resume("ring", RING_BYTES, vec![], 2).await;
}

#[tokio::test]
async fn who_comes_back_by_a_cursor_gets_each_event_once() {
    check_resume("cursor", 4096, vec![], 2).await;
}

/// What only MongoDB evaluates.
fn dedicated() -> Vec<Document> {
    vec![doc! { "$match": { "$expr": { "$ne": ["$$NOW", null] } } }]
}

#[tokio::test]
async fn dedicated_clients_with_one_id_each_get_all_behind_it() {
    check_resume("dedicated", RING_BYTES, dedicated(), 2).await;
}

#[tokio::test]
async fn an_event_on_which_a_pipeline_fails_is_skipped_alone_in_process() {
    check_failing("fails", vec![]).await;
}

#[tokio::test]
async fn an_event_on_which_a_pipeline_fails_is_skipped_alone_by_a_cursor() {
    check_failing("fails_dedicated", dedicated()).await;
}

/// Every other event fails, by a divisor that is 0 or no number, and by a root that is no document.
async fn check_failing(database: &str, mut stages: Vec<Document>) {
    let house = House::open(mongo_uri().await, database, RING_BYTES).await;
    let ratio = doc! { "$divide": ["$fullDocument.n", "$fullDocument.d"] };
    stages.extend([
        doc! { "$addFields": { "ratio": ratio } },
        doc! { "$replaceRoot": { "newRoot": { "$ifNull": ["$fullDocument.root", "$$ROOT"] } } },
        doc! { "$project": { "operationType": 1, "fullDocument": { "n": 1 } } },
    ]);
    let mut session = house.subscribe(stages, None).await.expect("subscribed");
    let data = house.collection("data");
    for (number, document) in [
        doc! { "d": 0 },
        doc! { "d": "no number" },
        doc! { "d": 1, "root": 1 },
    ]
    .into_iter()
    .enumerate()
    {
        let good = doc! { "n": number as i32, "d": 1 };
        data.insert_one(good).await.expect("inserted");
        let mut failing = doc! { "n": 7 };
        failing.extend(document);
        data.insert_one(failing).await.expect("inserted");
    }
    data.insert_one(doc! { "n": 3, "d": 1 })
        .await
        .expect("inserted");
    session.expect(0..4).await;
    house.close().await;
}

#[tokio::test]
async fn an_event_too_large_is_told_and_the_feed_goes_on_behind_it() {
    let house = House::open(mongo_uri().await, "large", RING_BYTES).await;
    let mut session = house.subscribe(vec![], None).await.expect("subscribed");
    house.insert(0).await;
    let token = session.token().await;
    // Document and description together are more than MongoDB sends.
    let data = house.collection("data");
    for name in ["a", "b"] {
        let half = doc! { "$set": { name: "x".repeat(7 << 20) } };
        data.update_one(doc! { "_id": 0 }, half)
            .await
            .expect("updated");
    }
    let mut ending = session.next().await;
    while ending.is_ok() {
        ending = session.next().await;
    }
    assert!(matches!(ending, Err(Ending::HistoryLost)), "{ending:?}");
    let mut fresh = house.subscribe(vec![], None).await.expect("subscribed");
    house.insert(1).await;
    fresh.expect(1..2).await;
    // The hole is told to who comes back from before it, whoever notices it first.
    match house.subscribe(vec![], Some(token)).await {
        Err(refused) => assert!(matches!(refused, Refused::HistoryLost), "{refused}"),
        Ok(mut back) => {
            let mut ending = back.next().await;
            while ending.is_ok() {
                ending = back.next().await;
            }
            assert_eq!(ending, Err(Ending::HistoryLost));
        }
    }
    house.close().await;
}

#[tokio::test]
async fn an_id_of_the_future_is_refused() {
    let house = House::open(mongo_uri().await, "future", RING_BYTES).await;
    let mut session = house.subscribe(vec![], None).await.expect("subscribed");
    house.insert(0).await;
    let token = session.token().await;
    let later = format!("82F{}", &token.as_str()[3..]);
    let later = ResumeToken::parse(&later).expect("a token");
    let refused = house.subscribe(vec![], Some(later)).await;
    assert!(matches!(refused.err(), Some(Refused::HistoryLost)));
    house.close().await;
}

async fn fail_next_get_more(set: &ReplicaSet, code: i32) {
    let admin = client_of(&set.direct_uri()).await.database("admin");
    let fail = doc! {
        "configureFailPoint": "failCommand", "mode": { "times": 1 },
        "data": { "failCommands": ["getMore"], "errorCode": code, "appName": "sidestream-feed" },
    };
    admin
        .run_command(fail)
        .await
        .expect("fail points are allowed");
}

/// Lets only the house's commands fail.
fn named(set: &ReplicaSet) -> String {
    format!("{}&appName=sidestream-feed", set.uri)
}

#[tokio::test]
async fn a_killed_cursor_loses_and_repeats_nothing() {
    let set = ReplicaSet::start().await;
    let house = House::open(&named(&set), "killed", RING_BYTES).await;
    let mut session = house.subscribe(vec![], None).await.expect("subscribed");
    let (_, writing) = writer(&house, 600);
    // CursorNotFound, which the driver mends; Interrupted and CursorKilled, as an operator's `killOp` gives.
    for (place, code) in [43, 11601, 237, 43].into_iter().enumerate() {
        let place = i32::try_from(place).expect("a small number") * 100;
        session.expect(place..place + 100).await;
        fail_next_get_more(&set, code).await;
    }
    session.expect(400..600).await;
    writing.await.expect("all written");
    house.close().await;
}

#[tokio::test]
async fn lost_history_is_told_and_the_feed_goes_on() {
    let set = ReplicaSet::start().await;
    let house = House::open(&named(&set), "lost", RING_BYTES).await;
    let mut session = house.subscribe(vec![], None).await.expect("subscribed");
    house.insert(0).await;
    let token = session.token().await;
    fail_next_get_more(&set, 286).await;
    assert_eq!(session.next().await, Err(Ending::HistoryLost));
    // The ring says nothing of what was before, and the place before it is reached by a cursor.
    let mut back = loop {
        match house.subscribe(vec![], Some(token.clone())).await {
            Ok(session) => break session,
            Err(Refused::Unavailable(_)) => (),
            Err(refused) => panic!("{refused}"),
        }
    };
    house.insert(1).await;
    house.insert(2).await;
    back.expect(1..3).await;
    house.close().await;
}
