//! A deadline that is moved on every request and nearly never met.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::time::{Instant, Sleep, sleep_until};

/// A deadline over a timer that is only touched when it fires or must fire earlier.
///
/// Moving a tokio timer takes a lock; moving this one later, or putting it off, is an assignment.
#[derive(Debug, Default)]
pub(crate) struct Deadline {
    at: Option<Instant>,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Deadline {
    /// Sets the deadline to `after` from now.
    pub(crate) fn set(&mut self, after: Duration) {
        self.at = Instant::now().checked_add(after);
    }

    /// Takes the deadline away.
    pub(crate) fn clear(&mut self) {
        self.at = None;
    }

    /// Returns whether there is a deadline.
    pub(crate) fn is_set(&self) -> bool {
        self.at.is_some()
    }

    /// Is ready once the deadline has passed; pending for ever without one.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(at) = self.at else {
            return Poll::Pending;
        };
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(sleep_until(at)));
        if sleep.deadline() > at {
            sleep.as_mut().reset(at);
        }
        while sleep.as_mut().poll(cx).is_ready() {
            if sleep.deadline() >= at {
                return Poll::Ready(());
            }
            sleep.as_mut().reset(at);
        }
        Poll::Pending
    }
}
