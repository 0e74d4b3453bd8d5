//! What is counted, and when it is told.

use std::task::{Context, Poll, Waker};

use bytes::Bytes;

use super::{Budget, HANDLE_BYTES};
use crate::delivery::{Ending, Outlet, channel_within};

fn frame(bytes: usize) -> Bytes {
    Bytes::from(vec![b'x'; bytes])
}

fn take_all(outlet: &mut Outlet) -> Vec<Bytes> {
    let mut frames = Vec::new();
    outlet.take_ready(&mut frames, usize::MAX);
    frames.into_iter().map(|run| run.bytes).collect()
}

/// The bytes of frames alone: queues are small beside them here.
#[track_caller]
fn check(budget: &Budget, kibibytes: usize) {
    assert_eq!(budget.used() >> 10, kibibytes, "{}", budget.used());
}

#[test]
fn a_frame_counts_once_until_nobody_holds_it() {
    let budget = Budget::new(1 << 20, usize::MAX);
    let ends: Vec<_> = (0..5)
        .map(|_| channel_within(usize::MAX, &budget))
        .collect();
    let shared = budget.count(frame(100 << 10));
    for (outbox, _) in &ends {
        outbox.try_send(shared.clone()).expect("there is room");
    }
    drop(shared);
    check(&budget, 100);
    let mut ends = ends.into_iter();
    let (first, mut outlet) = ends.next().expect("there are five");
    let in_hand = take_all(&mut outlet);
    let (second, _outlet) = ends.next().expect("there are five");
    second.end(Ending::Slow);
    drop(ends);
    // A writer has it in hand.
    check(&budget, 100);
    drop(in_hand);
    check(&budget, 0);
    drop((first, outlet, second, _outlet));
    assert_eq!(budget.used(), 0);
}

#[test]
fn the_room_of_each_queue_counts() {
    let budget = Budget::new(1 << 20, usize::MAX);
    let (outbox, mut outlet) = channel_within(usize::MAX, &budget);
    let shared = budget.count(frame(1));
    for _ in 0..1000 {
        outbox.try_send(shared.clone()).expect("there is room");
    }
    assert_eq!(budget.used(), 1 + 1024 * HANDLE_BYTES);
    drop(take_all(&mut outlet));
    assert_eq!(budget.used(), 1, "an idle queue keeps no room of that size");
    outbox.try_send(shared.clone()).expect("there is room");
    drop(outlet);
    drop(shared);
    assert_eq!(budget.used(), 0);
    assert!(outbox.try_send(frame(1)).is_err());
    assert_eq!(budget.used(), 0);
}

#[test]
fn who_waits_is_told_when_the_bound_is_crossed_and_only_then() {
    let budget = Budget::new(1000, usize::MAX);
    let mut context = Context::from_waker(Waker::noop());
    let mut exceeded = Box::pin(budget.exceeded());
    assert_eq!(exceeded.as_mut().poll(&mut context), Poll::Pending);
    let within = budget.count(frame(1000));
    assert_eq!(exceeded.as_mut().poll(&mut context), Poll::Pending);
    let beyond = budget.count(frame(1));
    assert_eq!(budget.excess(), 1);
    assert_eq!(exceeded.as_mut().poll(&mut context), Poll::Ready(()));
    drop(beyond);
    assert_eq!(budget.excess(), 0);
    // Crossed while nobody waited, and over again: not told.
    drop(budget.count(frame(1)));
    let mut exceeded = Box::pin(budget.exceeded());
    assert_eq!(exceeded.as_mut().poll(&mut context), Poll::Pending);
    drop(within);
    assert_eq!(budget.used(), 0);
}
