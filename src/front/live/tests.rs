//! When sessions are told of the end.

use std::time::Duration;

use super::{TELL_INTERVAL_MAX, moments};

#[test]
fn the_end_is_told_evenly_and_to_few_sooner() {
    let told = |count, spread| moments(count, spread).collect::<Vec<_>>();
    let spread = Duration::from_secs(10);
    assert!(told(0, spread).is_empty());
    assert_eq!(told(1, spread), [Duration::ZERO]);
    assert_eq!(told(3, spread), [0, 5, 10].map(Duration::from_millis));
    assert_eq!(told(3, Duration::ZERO), [Duration::ZERO; 3]);

    let many = told(100_000, spread);
    assert_eq!(many.len(), 100_000);
    for tenth in 0..10_u32 {
        let begin = spread / 10 * tenth;
        let within = |moment: &&Duration| **moment >= begin && **moment < begin + spread / 10;
        let count = many.iter().filter(within).count();
        assert!((9_999..=10_001).contains(&count), "{tenth}: {count}");
    }
    assert!(many.is_sorted() && many.iter().all(|moment| *moment < spread));
    let longest = told(1_000, Duration::MAX);
    assert!(
        longest
            .windows(2)
            .all(|two| two[1] - two[0] <= TELL_INTERVAL_MAX * 2)
    );
}
