//! Waiting for the drain beside a busy future, at the price of one load per poll.

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
};

use futures_util::task::AtomicWaker;

/// A future that is polled only when it was woken.
///
/// Each connection waits for the word to drain in every poll; asking the token takes a lock that all connections share.
pub(super) struct Alarm<F> {
    future: Pin<Box<F>>,
    bell: Arc<Bell>,
    waker: Waker,
}

#[derive(Default)]
struct Bell {
    has_rung: AtomicBool,
    task: AtomicWaker,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.has_rung.store(true, Ordering::Release);
        self.task.wake();
    }
}

impl<F: Future<Output = ()>> Alarm<F> {
    pub(super) fn new(future: F) -> Self {
        let bell = Arc::new(Bell {
            has_rung: AtomicBool::new(true),
            task: AtomicWaker::new(),
        });
        Self {
            future: Box::pin(future),
            waker: Waker::from(Arc::clone(&bell)),
            bell,
        }
    }

    /// Is ready when the future is. Must not be polled again then.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        // A task's waker stays the same for its life; registering is cheap where it has not changed.
        self.bell.task.register(cx.waker());
        if !self.bell.has_rung.swap(false, Ordering::AcqRel) {
            return Poll::Pending;
        }
        self.future
            .as_mut()
            .poll(&mut Context::from_waker(&self.waker))
    }
}
