//! What is known of one upstream: whether it is set aside, since when, and why.

use std::{
    fmt,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;

use crate::proxy::UpstreamAddress;

/// How an upstream is.
#[derive(Clone, Debug)]
pub struct Standing {
    /// Which one.
    pub address: UpstreamAddress,
    /// Why it is set aside; `None`: it is not.
    pub reason: Option<String>,
    /// For how long it has been as it is.
    pub lasting: Duration,
    /// Requests under way, tunnels included; `None` where there is but one upstream.
    pub requests: Option<usize>,
}

/// How often in a row something must happen before it counts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Thresholds {
    pub(super) rise: u32,
    pub(super) fall: u32,
}

/// What a mark has changed.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// Not used any more, and why.
    Aside(String),
    /// Used again.
    Back,
}

/// The marks of one upstream. A request that is answered reads two numbers here and mostly writes none.
#[derive(Debug)]
pub(super) struct Marks {
    is_aside: AtomicBool,
    /// Requests in a row that failed.
    failures: AtomicU32,
    /// What only changes with checks and at changes; never held for longer than that takes.
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    since: Instant,
    reason: Option<String>,
    /// Checks in a row.
    passed: u32,
    failed: u32,
    /// It was checked before.
    is_known: bool,
}

impl Marks {
    /// It counts as well until something is known.
    pub(super) fn new() -> Self {
        Self {
            is_aside: AtomicBool::new(false),
            failures: AtomicU32::new(0),
            state: Mutex::new(State {
                since: Instant::now(),
                reason: None,
                passed: 0,
                failed: 0,
                is_known: false,
            }),
        }
    }

    pub(super) fn is_aside(&self) -> bool {
        self.is_aside.load(Ordering::Relaxed)
    }

    /// A request was answered.
    pub(super) fn answered(&self) {
        if self.failures.load(Ordering::Relaxed) != 0 {
            self.failures.store(0, Ordering::Relaxed);
        }
    }

    /// A request failed.
    pub(super) fn failed(&self, after: Thresholds, why: &dyn fmt::Display) -> Option<Change> {
        let before = self.failures.fetch_add(1, Ordering::Relaxed);
        if before.saturating_add(1) < after.fall || self.is_aside() {
            return None;
        }
        self.set_aside(&mut self.state(), why)
    }

    /// A check was passed.
    pub(super) fn check_passed(&self, after: Thresholds) -> Option<Change> {
        let mut state = self.state();
        state.is_known = true;
        state.failed = 0;
        if !self.is_aside() {
            return None;
        }
        state.passed += 1;
        if state.passed < after.rise {
            return None;
        }
        state.since = Instant::now();
        state.reason = None;
        self.failures.store(0, Ordering::Relaxed);
        self.is_aside.store(false, Ordering::Relaxed);
        Some(Change::Back)
    }

    /// A check failed. The first one of all is enough: it has never been seen to be well.
    pub(super) fn check_failed(&self, after: Thresholds, why: &dyn fmt::Display) -> Option<Change> {
        let mut state = self.state();
        let was_known = std::mem::replace(&mut state.is_known, true);
        state.passed = 0;
        state.failed = state.failed.saturating_add(1);
        if self.is_aside() {
            state.reason = Some(why.to_string());
            return None;
        }
        if state.failed < after.fall && was_known {
            return None;
        }
        self.set_aside(&mut state, why)
    }

    pub(super) fn standing(&self, address: UpstreamAddress, requests: Option<usize>) -> Standing {
        let state = self.state();
        Standing {
            address,
            reason: state.reason.clone(),
            lasting: state.since.elapsed(),
            requests,
        }
    }

    fn set_aside(&self, state: &mut State, why: &dyn fmt::Display) -> Option<Change> {
        // Two requests may fail at once.
        if self.is_aside.swap(true, Ordering::Relaxed) {
            return None;
        }
        let reason = why.to_string();
        state.since = Instant::now();
        state.reason = Some(reason.clone());
        state.passed = 0;
        Some(Change::Aside(reason))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Each field is right by itself.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
