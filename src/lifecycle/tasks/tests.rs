//! Families of tasks: counted, drained, nested.

use std::{
    future::pending,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use tokio::{sync::oneshot, time::Instant};

use super::{ANEW_PAUSE, Tasks};
use crate::lifecycle::Shutdown;

#[tokio::test(start_paused = true)]
async fn draining_waits_for_every_task() {
    let tasks = Tasks::new();
    let (finish, finished) = oneshot::channel::<()>();
    tasks.spawn("one", async { finished.await.unwrap() });
    tasks.spawn("two", async {
        tokio::time::sleep(Duration::from_secs(5)).await
    });
    assert_eq!(tasks.count(), 2);
    finish.send(()).unwrap();
    let started = Instant::now();
    assert!(tasks.drained(Duration::from_secs(60)).await);
    assert_eq!(started.elapsed(), Duration::from_secs(5));
    assert_eq!(tasks.count(), 0);
}

#[tokio::test(start_paused = true)]
async fn draining_gives_up_in_time_and_says_so() {
    let tasks = Tasks::new();
    let stuck = tasks.spawn("stuck", pending());
    let started = Instant::now();
    assert!(!tasks.drained(Duration::from_secs(7)).await);
    assert_eq!(started.elapsed(), Duration::from_secs(7));
    stuck.abort();
    assert!(
        tasks.drained(Duration::from_secs(7)).await,
        "an aborted task is gone"
    );
}

#[tokio::test(start_paused = true)]
async fn a_family_is_drained_with_the_families_within() {
    let house = Tasks::new();
    let wing = house.child();
    let room = wing.child();
    let task = room.spawn("room", pending());
    assert_eq!([house.count(), wing.count(), room.count()], [1, 1, 1]);
    assert!(!house.drained(Duration::from_secs(1)).await);
    task.abort();
    assert!(room.drained(Duration::from_secs(1)).await);
    assert!(house.drained(Duration::from_secs(1)).await);

    let other = house.spawn("house", pending());
    assert!(
        wing.drained(Duration::from_secs(1)).await,
        "a wing waits for its own only"
    );
    other.abort();
}

#[tokio::test]
async fn a_task_that_panics_is_not_counted_any_more() {
    let tasks = Tasks::new();
    let task = tasks.spawn("clumsy", async { panic!("as the test wants") });
    assert!(task.await.unwrap_err().is_panic());
    assert!(tasks.drained(Duration::from_secs(60)).await);
}

#[tokio::test]
async fn blocking_work_is_tracked_and_returns() {
    let tasks = Tasks::new();
    assert_eq!(tasks.spawn_blocking("sum", || 1 + 1).await.unwrap(), 2);
    assert!(tasks.drained(Duration::from_secs(60)).await);
}

#[tokio::test(start_paused = true)]
async fn a_kept_task_begins_anew_after_each_panic_until_it_ends() {
    let tasks = Tasks::new();
    let begun = Arc::new(AtomicU32::new(0));
    let times = Arc::clone(&begun);
    let started = Instant::now();
    let kept = tasks.spawn_kept("kept", move || {
        let times = Arc::clone(&times);
        async move {
            let time = times.fetch_add(1, Ordering::AcqRel);
            assert!(time == 3, "as the test wants");
        }
    });
    kept.await.expect("it does not panic itself");
    assert_eq!(begun.load(Ordering::Acquire), 4);
    assert_eq!(started.elapsed(), ANEW_PAUSE * 3);
    assert_eq!(tasks.count(), 0);
}

#[tokio::test]
async fn a_vital_task_that_panics_ends_the_process_and_one_that_ends_does_not() {
    let (tasks, shutdown) = (Tasks::new(), Shutdown::new());
    let ended = tasks.spawn_vital("ends", &shutdown, async {});
    ended.await.expect("it ended");
    assert!(!shutdown.is_draining());
    let panicked = tasks.spawn_vital("heart", &shutdown, async { panic!("as the test wants") });
    panicked.await.expect("the panic is caught");
    assert!(shutdown.is_draining());
    assert_eq!(shutdown.fault(), Some("heart"));
}
