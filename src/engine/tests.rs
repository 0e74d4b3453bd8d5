//! The hub, fed with events that nobody's MongoDB sent.

use std::sync::Arc;
use std::time::Duration;

use bson::{Document, RawDocumentBuf, Timestamp, doc};
use bytes::Bytes;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};

use crate::delivery::{self, Budget, Ending, Outbox, Outlet, Run};
use crate::engine::{Framing, From, GroupLimits, Hub, Plan, Refused, Subscription, Wanted};
use crate::lifecycle::Tasks;
use crate::mongo::feed::{Lost, Ring, Scope, Sink};
use crate::mongo::{Event, Namespace, ResumeToken};
use crate::wire::{JsonMode, Veil};

mod counters;
mod panics;
mod reshaping;
mod schedule;

const OUTBOX_BYTES: usize = 1 << 20;

/// Runs a test under the paused clock with counters of its own, and hands it what reads them.
fn counting<F: Future<Output = ()>>(test: impl FnOnce(PrometheusHandle) -> F) {
    let recorder = PrometheusBuilder::new().build_recorder();
    let handle = recorder.handle();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime");
    // The recorder is this thread's, and so is all that the runtime does.
    metrics::with_local_recorder(&recorder, || runtime.block_on(test(handle)));
}

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
        for Run {
            mut bytes,
            frames: count,
        } in self.runs()
        {
            for _ in 0..count {
                let end = memchr::memmem::find(&bytes, b"\n\n").expect("the end of an event");
                frames.push(bytes.split_to(end + 2));
            }
            assert!(bytes.is_empty(), "a run is whole frames");
        }
        frames
    }

    fn runs(&mut self) -> Vec<Run> {
        let mut runs: Vec<Run> = Vec::new();
        self.outlet.take_ready(&mut runs, usize::MAX);
        runs
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
    join_within(hub, plan, floor, OUTBOX_BYTES).await
}

async fn join_within(hub: &Hub, plan: Plan, floor: u32, bytes: usize) -> Session {
    let (outbox, outlet) = delivery::channel(bytes);
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
    hub.deliver(vec![event(1)]).await;
    hub.deliver(vec![event(2)]).await;
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

/// What comes together is joined once and shared, also between sessions of which one is behind.
#[tokio::test(start_paused = true)]
async fn frames_of_one_batch_are_one_run() {
    let hub = Hub::new(Tasks::new());
    let mut sessions = [
        join(&hub, plan(None), 0).await,
        join(&hub, plan(None), 0).await,
    ];
    hub.deliver(vec![event(1)]).await;
    hub.deliver((2..=500).map(event).collect()).await;
    settled(&hub).await;
    let runs = sessions.each_mut().map(Session::runs);
    assert!(runs[0].len() < 10, "{} runs", runs[0].len());
    assert_eq!(runs[0].iter().map(|run| run.frames).sum::<u32>(), 500);
    for (one, other) in runs[0].iter().zip(&runs[1]) {
        assert_eq!(one.bytes.as_ptr(), other.bytes.as_ptr());
    }
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
async fn those_who_come_back_together_share_the_frames() {
    let hub = Hub::new(Tasks::new());
    let ring = Arc::new(Ring::new(1 << 20));
    ring.restart(place(0));
    (1..=6).for_each(|second| ring.push(event(second)));
    let third = || plan(Some(doc! { "fullDocument.third": 1 }));
    let mut sessions = Vec::new();
    for (plan, after) in [(third(), 0), (third(), 3), (plan(None), 3), (third(), 3)] {
        sessions.push(
            rejoin(&hub, plan, &ring, place(after))
                .await
                .expect("the ring reaches"),
        );
    }
    let frames: Vec<Vec<Bytes>> = sessions.iter_mut().map(Session::frames).collect();
    let seconds: Vec<Vec<u32>> = frames
        .iter()
        .map(|frames| frames.iter().map(second_of).collect())
        .collect();
    assert_eq!(seconds, [vec![1, 4], vec![4], vec![4, 5, 6], vec![4]]);
    assert_eq!(frames[0][1].as_ptr(), frames[1][0].as_ptr());
    // Nobody comes back for a while: it is rendered anew.
    idle().await;
    idle().await;
    idle().await;
    let mut later = rejoin(&hub, third(), &ring, place(3))
        .await
        .expect("the ring reaches");
    assert_ne!(later.frames()[0].as_ptr(), frames[3][0].as_ptr());
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
    hub.deliver(vec![event(1)]).await;
    hub.deliver(vec![event(2)]).await;
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

#[tokio::test]
async fn groups_are_bounded_and_who_fits_into_one_that_is_there_is_let_in() {
    let limits = GroupLimits {
        groups_max: 2,
        ..GroupLimits::default()
    };
    let hub = Hub::new(Tasks::new()).within(limits);
    let filter = |n: i32| plan(Some(doc! { "fullDocument.n": n }));
    let mut sessions = Vec::new();
    for n in [1, 2, 1, 2] {
        let seated = hub.seat(filter(n)).await.expect("there is room");
        sessions.push(join(&hub, seated, 0).await);
    }
    let refused = hub.seat(filter(3)).await;
    assert!(
        matches!(refused, Err(Refused::Limit { limit: "groups" })),
        "{refused:?}"
    );
    hub.deliver(vec![event(1), event(2), event(3)]).await;
    settled(&hub).await;
    let seconds: Vec<_> = sessions.iter_mut().map(Session::seconds).collect();
    assert_eq!(seconds, [[1], [2], [1], [2]]);
    // With the last session of a group its place is given back.
    sessions.drain(..1);
    sessions.remove(1);
    let seated = async {
        loop {
            match hub.seat(filter(3)).await {
                Ok(seated) => return seated,
                Err(_) => tokio::task::yield_now().await,
            }
        }
    };
    let seated = tokio::time::timeout(Duration::from_secs(10), seated).await;
    let mut third = join(&hub, seated.expect("it is given back"), 0).await;
    hub.deliver(vec![event(3)]).await;
    settled(&hub).await;
    assert_eq!(third.seconds(), [3]);
}

#[tokio::test]
async fn pipelines_of_all_groups_are_bounded_in_bytes() {
    let long = |letter: &str| plan(Some(doc! { "fullDocument.text": letter.repeat(600) }));
    let limits = GroupLimits {
        bytes_max: 1000,
        ..GroupLimits::default()
    };
    let hub = Hub::new(Tasks::new()).within(limits);
    let seated = hub.seat(long("a")).await.expect("there is room");
    let _session = join(&hub, seated, 0).await;
    let refused = hub.seat(long("b")).await;
    assert!(
        matches!(
            refused,
            Err(Refused::Limit {
                limit: "groups_size"
            })
        ),
        "{refused:?}"
    );
    assert_eq!(hub.groups().0, 1, "who was refused left nothing");
    hub.seat(long("a")).await.expect("that group is there");
    hub.seat(plan(None)).await.expect("a small one has room");
}

#[tokio::test]
async fn an_event_longer_than_a_frame_may_be_ends_those_who_wanted_it() {
    let hub = Hub::new(Tasks::new());
    let budget = Budget::new(usize::MAX, 500);
    let mut sessions = Vec::new();
    for filter in [None, Some(doc! { "fullDocument.n": 2 })] {
        let (outbox, outlet) = delivery::channel_within(OUTBOX_BYTES, &budget);
        let subscription = hub.join(plan(filter), from(0), outbox).await;
        sessions.push((outlet, subscription));
    }
    let long = doc! {
        "operationType": "insert", "ns": { "db": "d", "coll": "c" },
        "fullDocument": { "n": 1, "text": "x".repeat(500) },
    };
    hub.deliver(vec![event_of(1, long), event(2)]).await;
    settled(&hub).await;
    let (all, _) = &mut sessions[0];
    assert_eq!(all.ended(), Some(Ending::HistoryLost));
    let (second, _) = &mut sessions[1];
    assert_eq!(second.ended(), None, "it did not want that event");
    let mut frames = Vec::new();
    second.take_ready(&mut frames, 10);
    assert_eq!(
        frames
            .iter()
            .map(|run| second_of(&run.bytes))
            .collect::<Vec<_>>(),
        [2]
    );
}
