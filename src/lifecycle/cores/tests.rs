//! Threads, turns and the end.

use std::time::Duration;

use tokio::sync::mpsc;

use super::*;

#[tokio::test]
async fn tasks_take_turns_on_the_threads_and_are_counted() {
    let cores = Cores::start(NonZeroUsize::new(2).unwrap()).unwrap();
    let tasks = Tasks::new();
    let (found, mut places) = mpsc::channel(4);
    for _ in 0..4 {
        let found = found.clone();
        cores.spawn(&tasks, "test", async move {
            found.send(Cores::here()).await.expect("the test listens");
        });
    }
    let mut seen = Vec::new();
    for _ in 0..4 {
        seen.push(places.recv().await.unwrap());
    }
    seen.sort_unstable();
    assert_eq!(seen, [Some(0), Some(0), Some(1), Some(1)]);
    assert!(tasks.drained(Duration::from_secs(10)).await);
    assert_eq!(Cores::here(), None, "the test runs elsewhere");
}

#[tokio::test]
async fn what_still_runs_ends_with_the_last_handle() {
    let cores = Cores::start(NonZeroUsize::MIN).unwrap();
    let tasks = Tasks::new();
    cores.spawn(&tasks, "test", std::future::pending());
    assert_eq!(tasks.count(), 1);
    drop(cores);
    assert!(tasks.drained(Duration::from_secs(10)).await);
}
