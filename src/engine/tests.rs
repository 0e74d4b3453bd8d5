//! The hub, fed with events that nobody's MongoDB sent.

use std::sync::Arc;
use std::time::Duration;

use bson::{Document, RawDocumentBuf, Timestamp, doc};
use bytes::Bytes;

use crate::delivery::{self, Ending, Outbox, Outlet};
use crate::engine::{Framing, From, Hub, Plan, Subscription, Wanted};
use crate::lifecycle::Tasks;
use crate::mongo::feed::{Lost, Ring, Scope, Sink};
use crate::mongo::{Event, Namespace, ResumeToken};
use crate::wire::{JsonMode, Veil};

mod counters;
mod schedule;

const OUTBOX_BYTES: usize = 1 << 20;

fn namespace() -> Namespace {
    Namespace::new("d", "c")
}

fn place(second: u32) -> ResumeToken {
    ResumeToken::parse(&format!("82{second:08X}00000001")).expect("a token")
}

fn time(second: u32) -> Timestamp {
    Timestamp {
        time: second,
        increment: 1,
    }
}

fn event_of(second: u32, fields: Document) -> Arc<Event> {
    let mut document = doc! { "_id": { "_data": place(second).as_str() } };
    document.extend(fields);
    let raw = RawDocumentBuf::try_from(&document).expect("BSON");
    Arc::new(Event::read(raw).expect("an event"))
}

/// An insert whose document has the second as `n`.
fn event(second: u32) -> Arc<Event> {
    let number = i32::try_from(second).expect("a small number");
    event_of(
        second,
        doc! {
            "operationType": "insert", "ns": { "db": "d", "coll": "c" },
            "fullDocument": { "n": number, "third": number % 3 },
        },
    )
}

fn plan(filter: Option<Document>) -> Plan {
    let wanted = Wanted {
        namespace: namespace(),
        stages: filter
            .into_iter()
            .map(|filter| doc! { "$match": filter })
            .collect(),
        notify: None,
        veil: Veil::default(),
        mode: JsonMode::Default,
        framing: Framing::Sse,
    };
    Plan::choose(wanted).expect("a plan")
}

/// A session without a socket.
struct Session {
    outlet: Outlet,
    _subscription: Option<Subscription>,
}

impl Session {
    /// The events whose frames wait, by their seconds.
    fn seconds(&mut self) -> Vec<u32> {
        self.frames().iter().map(second_of).collect()
    }

    fn frames(&mut self) -> Vec<Bytes> {
        let mut frames = Vec::new();
        self.outlet.take_ready(&mut frames, usize::MAX);
        frames
    }
}

fn second_of(frame: &Bytes) -> u32 {
    let text = std::str::from_utf8(frame).expect("text");
    let (_, token) = text.split_once("\"82").expect("an id");
    u32::from_str_radix(&token[..8], 16).expect("a second")
}

fn from(floor: u32) -> From {
    From {
        floor: time(floor),
        resume: None,
    }
}

async fn join(hub: &Hub, plan: Plan, floor: u32) -> Session {
    let (outbox, outlet) = delivery::channel(OUTBOX_BYTES);
    let subscription = hub.join(plan, from(floor), outbox).await;
    Session {
        outlet,
        _subscription: Some(subscription),
    }
}

async fn rejoin(hub: &Hub, plan: Plan, ring: &Arc<Ring>, after: ResumeToken) -> Option<Session> {
    let (outbox, outlet) = delivery::channel(OUTBOX_BYTES);
    let again = (Arc::clone(ring), after);
    let subscription = hub.rejoin(plan, from(0), outbox, again).await?;
    Some(Session {
        outlet,
        _subscription: Some(subscription),
    })
}

/// Returns when the worker has done everything that was in its queue.
async fn settled(hub: &Hub) {
    let nothing = Arc::new(Ring::new(0));
    let refused = rejoin(hub, plan(None), &nothing, place(0)).await;
    assert!(
        refused.is_none(),
        "a ring without a beginning reaches nowhere"
    );
}

#[tokio::test(start_paused = true)]
async fn equal_plans_share_one_rendering() {
    let hub = Hub::new(Tasks::new());
    let third = || plan(Some(doc! { "fullDocument.third": 1 }));
    let mut sessions = [join(&hub, third(), 0).await, join(&hub, third(), 0).await];
    let mut other = join(&hub, plan(None), 0).await;
    hub.deliver(vec![event(1), event(2)]).await;
    settled(&hub).await;
    let [first, second] = sessions.each_mut().map(Session::frames);
    assert_eq!(first.iter().map(second_of).collect::<Vec<_>>(), [1]);
    assert_eq!(first[0].as_ptr(), second[0].as_ptr());
    let others = other.frames();
    assert_eq!(
        others[0].as_ptr(),
        first[0].as_ptr(),
        "another plan, the same output"
    );
    assert_eq!(others.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn floors_hide_what_was_before() {
    let hub = Hub::new(Tasks::new());
    let mut sessions = [
        join(&hub, plan(None), 2).await,
        join(&hub, plan(None), 0).await,
    ];
    hub.deliver(vec![event(1), event(2), event(3)]).await;
    settled(&hub).await;
    assert_eq!(sessions[0].seconds(), [3]);
    assert_eq!(sessions[1].seconds(), [1, 2, 3]);
}

#[tokio::test(start_paused = true)]
async fn who_comes_back_gets_each_event_once() {
    let hub = Hub::new(Tasks::new());
    let ring = Arc::new(Ring::new(1 << 20));
    ring.restart(place(0));
    // The feed fills the ring before it hands on: 3 and 4 are in the ring already, and come in the batch too.
    (1..=4).for_each(|second| ring.push(event(second)));
    let mut session = rejoin(&hub, plan(None), &ring, place(1))
        .await
        .expect("the ring reaches back");
    hub.deliver(vec![event(3), event(4), event(5)]).await;
    settled(&hub).await;
    assert_eq!(session.seconds(), [2, 3, 4, 5]);
}

#[tokio::test(start_paused = true)]
async fn a_ring_that_moved_on_pushes_nothing_and_says_so() {
    let hub = Hub::new(Tasks::new());
    let ring = Arc::new(Ring::new(event(1).bytes() * 2));
    ring.restart(place(0));
    (1..=4).for_each(|second| ring.push(event(second)));
    let (outbox, outlet) = delivery::channel(OUTBOX_BYTES);
    let again = (Arc::clone(&ring), place(1));
    let joined = hub.rejoin(plan(None), from(0), outbox.clone(), again).await;
    assert!(joined.is_none());
    assert_eq!(outlet.ended(), None, "the caller goes on with a cursor");
    assert_eq!(outbox.queued_bytes(), 0);
    // Nor if it holds more than one push can take.
    let (small, _outlet) = delivery::channel(100);
    let again = (ring, place(2));
    assert!(
        hub.rejoin(plan(None), from(0), small, again)
            .await
            .is_none()
    );
}

#[track_caller]
fn check_gone(session: &mut Session, seconds: &[u32], ending: Option<Ending>) {
    assert_eq!(session.seconds(), seconds);
    assert_eq!(session.outlet.ended(), ending);
}

#[tokio::test(start_paused = true)]
async fn what_removes_the_collection_ends_those_whose_floor_is_before_it() {
    let ns = || doc! { "db": "d", "coll": "c" };
    let other = || doc! { "db": "d", "coll": "other" };
    for fields in [
        doc! { "operationType": "drop", "ns": ns() },
        doc! { "operationType": "rename", "ns": ns(), "to": other() },
        doc! { "operationType": "rename", "ns": other(), "to": ns() },
        doc! { "operationType": "dropDatabase", "ns": { "db": "d" } },
    ] {
        let hub = Hub::new(Tasks::new());
        let inserts = || plan(Some(doc! { "operationType": "insert" }));
        let mut before = join(&hub, inserts(), 1).await;
        let mut behind = join(&hub, inserts(), 2).await;
        hub.deliver(vec![event_of(2, fields), event(3)]).await;
        settled(&hub).await;
        check_gone(&mut before, &[], Some(Ending::CollectionGone));
        check_gone(&mut behind, &[3], None);
    }
}

#[tokio::test(start_paused = true)]
async fn another_collection_going_concerns_nobody_here() {
    let hub = Hub::new(Tasks::new());
    let mut session = join(&hub, plan(None), 0).await;
    let drop = doc! { "operationType": "drop", "ns": { "db": "d", "coll": "other" } };
    let database = doc! { "operationType": "dropDatabase", "ns": { "db": "e" } };
    hub.deliver(vec![event_of(1, drop), event_of(2, database), event(3)])
        .await;
    settled(&hub).await;
    check_gone(&mut session, &[3], None);
}

#[tokio::test(start_paused = true)]
async fn a_slow_member_is_ended_and_the_others_are_served() {
    let hub = Hub::new(Tasks::new());
    let (outbox, outlet): (Outbox, Outlet) = delivery::channel(1);
    let subscription = hub.join(plan(None), from(0), outbox).await;
    let mut slow = Session {
        outlet,
        _subscription: Some(subscription),
    };
    let mut healthy = join(&hub, plan(None), 0).await;
    hub.deliver(vec![event(1), event(2)]).await;
    settled(&hub).await;
    check_gone(&mut slow, &[], Some(Ending::Slow));
    check_gone(&mut healthy, &[1, 2], None);
}

#[tokio::test(start_paused = true)]
async fn a_gap_is_told_before_anything_behind_it() {
    let hub = Hub::new(Tasks::new());
    let mut session = join(&hub, plan(None), 0).await;
    hub.deliver(vec![event(1)]).await;
    hub.gap(Lost::Everything(Scope::Database("d".into()))).await;
    hub.deliver(vec![event(9)]).await;
    settled(&hub).await;
    check_gone(&mut session, &[1], Some(Ending::HistoryLost));
}

#[tokio::test(start_paused = true)]
async fn a_gap_elsewhere_is_not_told_here() {
    let hub = Hub::new(Tasks::new());
    let mut session = join(&hub, plan(None), 0).await;
    hub.gap(Lost::Everything(Scope::Database("e".into()))).await;
    hub.gap(Lost::Collection(Namespace::new("d", "other")))
        .await;
    hub.deliver(vec![event(1)]).await;
    settled(&hub).await;
    check_gone(&mut session, &[1], None);
}

#[tokio::test(start_paused = true)]
async fn a_worker_retires_with_its_last_member_and_comes_back() {
    let tasks = Tasks::new();
    let hub = Hub::new(tasks.clone());
    let staying = join(&hub, plan(None), 0).await;
    let leaving = plan(Some(doc! { "fullDocument.third": 1 }));
    let group = Arc::downgrade(&leaving.wanted);
    drop(join(&hub, leaving, 0).await);
    idle().await;
    assert!(
        group.upgrade().is_none(),
        "a group goes with its last member"
    );
    assert_eq!(tasks.count(), 1, "its worker has another member");
    drop(staying);
    idle().await;
    assert_eq!(tasks.count(), 0, "the worker goes with the last");
    let mut again = join(&hub, plan(None), 0).await;
    hub.deliver(vec![event(1)]).await;
    settled(&hub).await;
    assert_eq!(again.seconds(), [1]);
}

/// With the clock paused this is until everybody waits, and then some.
async fn idle() {
    tokio::time::sleep(Duration::from_secs(1)).await;
}
