//! What a wish and a shutdown promise.

use crate::lifecycle::{Shutdown, Wish};

// The signals themselves are sent to a real process, in the integration tests.

#[tokio::test]
async fn wishes_are_kept_and_are_one() {
    let reload = Wish::new();
    reload.request();
    reload.clone().request();
    reload.requested().await;
    assert!(futures_util::FutureExt::now_or_never(reload.requested()).is_none());
    reload.request();
    reload.requested().await;
}

#[tokio::test]
async fn shutdown_goes_in_two_steps() {
    let shutdown = Shutdown::new();
    assert!(!shutdown.is_draining());
    shutdown.clone().begin();
    shutdown.draining().await;
    assert!(shutdown.is_draining());
    assert!(futures_util::FutureExt::now_or_never(shutdown.hurried()).is_none());
    shutdown.hurry();
    shutdown.hurried().await;
}

#[tokio::test]
async fn hurry_also_begins() {
    let shutdown = Shutdown::new();
    shutdown.hurry();
    shutdown.draining().await;
}

#[tokio::test]
async fn a_hand_over_drains_and_says_so() {
    let shutdown = Shutdown::new();
    assert!(!shutdown.has_successor());
    shutdown.clone().hand_over();
    shutdown.draining().await;
    assert!(shutdown.has_successor());
}
