//! A panic in the task of a cursor ends the sessions that rest on it, and no others; and the next who come are served.

use std::task::{Context, Wake, Waker};

use super::*;

/// Whoever wakes this session panics: as a fault does that nobody knows of yet.
struct Fatal;

impl Wake for Fatal {
    fn wake(self: Arc<Self>) {
        panic!("as the test wants");
    }
}

/// Has the next push into this session panic, in the task that pushes.
fn arm(outlet: &mut Outlet) {
    let waker = Waker::from(Arc::new(Fatal));
    let ready = outlet.poll_ready(&mut Context::from_waker(&waker), &mut Vec::new(), 1);
    assert!(ready.is_pending(), "nothing has come yet");
}

/// Reads what came before the end.
async fn ending(mut session: Session) -> Ending {
    loop {
        if let Err(ending) = session.next().await {
            return ending;
        }
    }
}

#[tokio::test]
async fn a_dedicated_cursor_that_panics_ends_its_own_sessions_alone() {
    let house = House::open(mongo_uri().await, "panic_own", RING_BYTES).await;
    let subscribe = |stages| async { house.subscribe(stages, None).await.expect("subscribed") };
    let mut armed = subscribe(dedicated()).await;
    let beside = subscribe(dedicated()).await;
    let mut shared = subscribe(vec![]).await;
    let other = [
        dedicated(),
        vec![doc! { "$match": { "operationType": "insert" } }],
    ]
    .concat();
    let mut other = subscribe(other).await;
    arm(&mut armed.outlet);
    house.insert(0).await;
    // First the one that is not armed: to wait for the other takes the fault out of it, if that comes before the event.
    assert_eq!(ending(beside).await, Ending::OurFault);
    assert_eq!(ending(armed).await, Ending::OurFault);
    let mut again = subscribe(dedicated()).await;
    house.insert(1).await;
    again.expect(1..2).await;
    shared.expect(0..2).await;
    other.expect(0..2).await;
    house.close().await;
}

/// By a cursor, or from the ring in parts that its outbox has room for.
async fn check_catch_up(name: &str, ring_bytes: usize, outbox_bytes: usize) {
    let house = House::open(mongo_uri().await, name, ring_bytes).await;
    let mut live = house.subscribe(vec![], None).await.expect("subscribed");
    house.insert(0).await;
    let token = live.token().await;
    for number in 1..40 {
        house.insert(number).await;
    }
    live.expect(1..40).await;
    let (outbox, mut outlet) = delivery::channel(outbox_bytes);
    arm(&mut outlet);
    let coming = house.subscribe_into(vec![], Some(token.clone()), outbox, outlet);
    match coming.await {
        Ok(armed) => assert_eq!(ending(armed).await, Ending::OurFault),
        // It was over before the answer; that says nothing of history.
        Err(refused) => assert!(matches!(refused, Refused::Unavailable(_)), "{refused}"),
    }
    let back = house
        .subscribe_with(vec![], Some(token), outbox_bytes)
        .await;
    let mut back = back.expect("history reaches back");
    house.insert(40).await;
    back.expect(1..41).await;
    live.expect(40..41).await;
    house.close().await;
}

#[tokio::test]
async fn a_catch_up_cursor_that_panics_ends_its_passengers_alone() {
    check_catch_up("panic_ride", 0, OUTBOX_BYTES).await;
}

#[tokio::test]
async fn a_catch_up_from_the_ring_that_panics_ends_its_session_alone() {
    check_catch_up("panic_replay", RING_BYTES, 8192).await;
}
