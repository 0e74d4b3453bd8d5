//! The clock: one reading for all who wait, and what a panic costs.

use std::sync::atomic::AtomicU32;

use super::*;

fn time(second: u32) -> Timestamp {
    Timestamp {
        time: second,
        increment: 0,
    }
}

#[tokio::test(start_paused = true)]
async fn one_reading_serves_all_who_asked_before_it() {
    let readings = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&readings);
    let clock = Clock::reading(&Tasks::new(), move || {
        let second = counted.fetch_add(1, Ordering::AcqRel);
        async move {
            tokio::time::sleep(Duration::from_millis(10)).await;
            Ok(time(second))
        }
    });
    let asking: Vec<_> = (0..100).map(|_| clock.now()).collect();
    let answers = futures_util::future::join_all(asking).await;
    assert!(
        answers
            .into_iter()
            .all(|answer| answer.ok() == Some(time(0)))
    );
    assert_eq!(clock.now().await.ok(), Some(time(1)));
    assert_eq!(readings.load(Ordering::Acquire), 2);
}

#[tokio::test(start_paused = true)]
async fn a_panic_refuses_those_who_wait_and_nobody_after_them() {
    let readings = Arc::new(AtomicU32::new(0));
    let clock = Clock::reading(&Tasks::new(), move || {
        let reading = readings.fetch_add(1, Ordering::AcqRel);
        async move {
            assert!(reading != 1, "as the test wants");
            Ok(time(reading))
        }
    });
    assert_eq!(clock.now().await.ok(), Some(time(0)));
    let refused = clock.now().await;
    assert!(
        matches!(refused, Err(MongoError::Unreachable(_))),
        "{refused:?}"
    );
    assert_eq!(clock.now().await.ok(), Some(time(2)));
}
