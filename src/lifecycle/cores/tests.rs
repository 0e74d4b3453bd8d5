//! Threads, turns and the end.

use std::time::Duration;

use tokio::sync::mpsc;

use super::*;

#[tokio::test]
async fn tasks_run_where_they_are_sent_and_are_counted() {
    let cores = Cores::start(NonZeroUsize::new(2).unwrap()).unwrap();
    let tasks = Tasks::new();
    let (found, mut places) = mpsc::channel(2);
    for index in 0..cores.count() {
        let found = found.clone();
        cores.spawn_at(index, &tasks, "test", async move {
            found
                .send((index, Cores::here()))
                .await
                .expect("the test listens");
        });
    }
    for _ in 0..2 {
        let (sent, ran) = places.recv().await.unwrap();
        assert_eq!(ran, Some(sent));
    }
    assert!(tasks.drained(Duration::from_secs(10)).await);
    assert_eq!(Cores::here(), None, "the test runs elsewhere");
}

#[tokio::test]
async fn places_are_near_as_long_as_that_is_fair() {
    let cores = Cores::start(NonZeroUsize::new(3).unwrap()).unwrap();
    // Who is on none of the threads spreads them.
    let mut spread: Vec<_> = (0..6).map(|_| cores.place()).collect();
    let mut indices: Vec<_> = spread.iter().map(Place::index).collect();
    indices.sort_unstable();
    assert_eq!(indices, [0, 0, 1, 1, 2, 2]);

    let tasks = Tasks::new();
    let (found, mut places) = mpsc::channel(1);
    let taking = cores.clone();
    cores.spawn_at(1, &tasks, "test", async move {
        let taken: Vec<_> = (0..3 * NEARER_BY).map(|_| taking.place()).collect();
        found.send(taken).await.expect("the test listens");
    });
    let taken = places.recv().await.unwrap();
    let first = taken.iter().take_while(|place| place.index() == 1);
    assert_eq!(first.count(), NEARER_BY + 1);
    let near = taken.iter().filter(|place| place.index() == 1).count();
    assert!(near < taken.len() - NEARER_BY, "{near} of {}", taken.len());

    // Who goes leaves room.
    drop(taken);
    spread.retain(|place| place.index() != 2);
    assert_eq!(cores.place().index(), 2);
}

#[tokio::test]
async fn what_still_runs_ends_with_the_last_handle() {
    let cores = Cores::start(NonZeroUsize::MIN).unwrap();
    let tasks = Tasks::new();
    cores.spawn_at(0, &tasks, "test", std::future::pending());
    assert_eq!(tasks.count(), 1);
    drop(cores);
    assert!(tasks.drained(Duration::from_secs(10)).await);
}
