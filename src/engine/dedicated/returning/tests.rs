//! Whoever asks for others may go away at any moment.

use std::time::Duration;

use bson::{Timestamp, doc};

use super::*;
use crate::delivery;
use crate::engine::{Framing, Wanted};
use crate::mongo::Namespace;
use crate::wire::{JsonMode, Veil};

/// One who comes back, and what he hears.
fn returning() -> (Returning, oneshot::Receiver<Result<(), Refused>>) {
    let wanted = Wanted {
        namespace: Namespace::new("d", "c"),
        stages: vec![doc! { "$match": { "$expr": { "$ne": ["$$NOW", null] } } }],
        notify: None,
        veil: Veil::default(),
        mode: JsonMode::Default,
        framing: Framing::WebSocket {
            ids: true,
            deflate: None,
        },
    };
    let at = ResumeToken::parse("8200000001000000012B").expect("a token");
    let floor = Timestamp {
        time: 1,
        increment: 1,
    };
    let (done, told) = oneshot::channel();
    let returning = Returning {
        plan: Plan::choose(wanted).expect("a plan"),
        from: From {
            floor,
            resume: Some(at.clone()),
        },
        at,
        outbox: delivery::channel(1024).0,
        done,
    };
    (returning, told)
}

/// The next who asks to be taken.
fn next(asked: &mut mpsc::Receiver<Work>) -> oneshot::Sender<()> {
    match asked.try_recv() {
        Ok(Work::Join(joining)) => joining.taken.expect("he comes back"),
        _ => panic!("nobody asks"),
    }
}

#[tokio::test(start_paused = true)]
async fn who_was_taken_is_told_though_the_one_who_asked_went_away() {
    let (cursor, mut asked) = mpsc::channel(4);
    let (first, first_told) = returning();
    let (second, mut second_told) = returning();
    let until = Instant::now() + Duration::from_secs(1);
    // The last is asked about first, and its answer is awaited first.
    let mut asking = Box::pin(ask(&cursor, vec![second, first], until));
    assert!(futures_util::poll!(asking.as_mut()).is_pending());
    let unanswered = next(&mut asked);
    next(&mut asked).send(()).expect("it is still wanted");
    assert!(futures_util::poll!(asking.as_mut()).is_pending());
    drop(asking);
    assert!(matches!(second_told.try_recv(), Ok(Ok(()))));
    assert!(first_told.await.is_err(), "he takes his turn again");
    assert!(
        unanswered.send(()).is_err(),
        "and cannot be taken here any more"
    );
}

#[tokio::test(start_paused = true)]
async fn who_was_not_taken_in_time_is_left_in_his_place() {
    let (cursor, mut asked) = mpsc::channel(4);
    let mut told = Vec::new();
    let mut all = Vec::new();
    for _ in 0..3 {
        let (returning, hears) = returning();
        all.push(returning);
        told.push(hears);
    }
    let outboxes: Vec<_> = all.iter().map(|one| one.outbox.clone()).collect();
    let until = Instant::now() + Duration::from_secs(1);
    let mut asking = Box::pin(ask(&cursor, all, until));
    assert!(futures_util::poll!(asking.as_mut()).is_pending());
    let late = next(&mut asked);
    next(&mut asked).send(()).expect("it is still wanted");
    drop(next(&mut asked));
    let left = asking.await;
    assert_eq!(Instant::now(), until);
    assert!(late.send(()).is_err());
    assert!(matches!(told[1].try_recv(), Ok(Ok(()))));
    let is = |left: &Returning, index: usize| left.outbox.is_same(&outboxes[index]);
    assert!(left.len() == 2 && is(&left[0], 0) && is(&left[1], 2));
    for untold in [0, 2] {
        let heard = told[untold].try_recv();
        assert_eq!(heard.err(), Some(oneshot::error::TryRecvError::Empty));
    }
}
