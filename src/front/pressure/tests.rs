//! Who is ended, and who is not.

use std::sync::Arc;
use std::task::{Context, Wake, Waker};
use std::time::Duration;

use bytes::Bytes;

use super::{relieve as run, round};
use crate::delivery::{Budget, Ending, Outbox, Outlet, channel_within};
use crate::lifecycle::Tasks;

const KIB: usize = 1 << 10;

struct Session {
    outbox: Outbox,
    outlet: Outlet,
}

/// Sessions that each hold so many KiB nobody else holds.
fn sessions(budget: &Arc<Budget>, kibibytes: &[usize]) -> Vec<Session> {
    let session = |kibibytes: &usize| {
        let (outbox, outlet) = channel_within(usize::MAX, budget);
        for _ in 0..*kibibytes {
            let frame = budget.count(Bytes::from(vec![b'x'; KIB]));
            outbox.try_send(frame).expect("there is room");
        }
        Session { outbox, outlet }
    };
    kibibytes.iter().map(session).collect()
}

fn relieve(budget: &Budget, sessions: &[Session], factor: usize) -> usize {
    round(
        budget,
        sessions.iter().map(|session| &session.outbox),
        factor,
    )
}

#[track_caller]
fn check(sessions: &[Session], ended: &[usize]) {
    let found: Vec<usize> = (0..sessions.len())
        .filter(|place| sessions[*place].outbox.ended() == Some(Ending::Slow))
        .collect();
    assert_eq!(found, ended);
}

#[test]
fn the_largest_end_first_and_no_more_than_need_be() {
    let budget = Budget::new(100 * KIB, usize::MAX);
    let sessions = sessions(&budget, &[10, 60, 0, 30, 40]);
    assert!(budget.excess() > 0);
    assert_eq!(relieve(&budget, &sessions, 1), 1);
    check(&sessions, &[1]);
    assert_eq!(budget.excess(), 0);
    assert_eq!(relieve(&budget, &sessions, 1), 0);
    check(&sessions, &[1]);
}

#[test]
fn nobody_ends_for_what_an_ended_session_still_has_in_hand() {
    let budget = Budget::new(100 * KIB, usize::MAX);
    let mut sessions = sessions(&budget, &[0, 80, 20, 30]);
    let mut in_hand = Vec::new();
    let largest = &mut sessions[1];
    assert_eq!(largest.outbox.queued_bytes(), 80 * KIB);
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    assert!(
        largest
            .outlet
            .poll_ready(&mut context, &mut in_hand, 64)
            .is_ready()
    );
    assert_eq!(relieve(&budget, &sessions, 1), 1);
    check(&sessions, &[1]);
    assert!(budget.excess() > 0, "its writer has not let go");
    assert_eq!(relieve(&budget, &sessions, 1), 0);
    check(&sessions, &[1]);
    drop(in_hand);
    assert_eq!(budget.excess(), 0);
}

#[test]
fn who_shares_frees_nothing_so_the_next_rounds_end_more() {
    let budget = Budget::new(100 * KIB, usize::MAX);
    let sessions: Vec<Session> = (0..20).flat_map(|_| sessions(&budget, &[0])).collect();
    for _ in 0..200 {
        let frame = budget.count(Bytes::from(vec![b'x'; KIB]));
        for session in &sessions {
            session
                .outbox
                .try_send(frame.clone())
                .expect("there is room");
        }
    }
    let ended: Vec<usize> = [1, 2, 4, 8, 16, 32]
        .into_iter()
        .map(|factor| relieve(&budget, &sessions, factor))
        .collect();
    assert_eq!(ended.iter().sum::<usize>(), 20, "{ended:?}");
    assert!(ended[0] < ended[2], "{ended:?}");
    assert_eq!(budget.used(), 0);
}

/// Whoever wakes this session panics.
struct Fatal;

impl Wake for Fatal {
    fn wake(self: Arc<Self>) {
        panic!("as the test wants");
    }
}

#[tokio::test(start_paused = true)]
async fn a_panic_while_it_relieves_does_not_leave_the_budget_to_itself() {
    let budget = Budget::new(100 * KIB, usize::MAX);
    let mut sessions = sessions(&budget, &[80, 60, 10]);
    let waker = Waker::from(Arc::new(Fatal));
    let fatal = &mut sessions[0].outlet;
    let ended = fatal.poll_ended(&mut Context::from_waker(&waker));
    assert!(ended.is_pending(), "whoever ends it wakes it");
    let outboxes: Vec<Outbox> = sessions
        .iter()
        .map(|session| session.outbox.clone())
        .collect();
    let relieved = Arc::clone(&budget);
    let kept = Tasks::new().spawn_kept("pressure", move || {
        let outboxes = outboxes.clone();
        run(Arc::clone(&relieved), move || outboxes.clone())
    });
    let within = async || {
        while budget.excess() > 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    within().await;
    check(&sessions, &[0]);
    let _more = budget.count(Bytes::from(vec![b'x'; 50 * KIB]));
    within().await;
    check(&sessions, &[0, 1]);
    kept.abort();
}
