//! The word that the process ends.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use tokio_util::sync::CancellationToken;

/// Says that the process ends, in two steps: finish what runs, then stop waiting for it. Clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Shutdown {
    draining: CancellationToken,
    at_once: CancellationToken,
    fault: Arc<OnceLock<&'static str>>,
    has_successor: Arc<AtomicBool>,
}

impl Shutdown {
    /// Makes one that nobody has begun.
    pub fn new() -> Self {
        Self::default()
    }

    /// Begins to drain: take nothing new, finish what runs.
    pub fn begin(&self) {
        self.draining.cancel();
    }

    /// Begins to drain because another process has taken over, on the same sockets.
    pub fn hand_over(&self) {
        self.has_successor.store(true, Ordering::Release);
        self.begin();
    }

    /// Whether another process has taken over. Asked once draining has begun.
    pub fn has_successor(&self) -> bool {
        self.has_successor.load(Ordering::Acquire)
    }

    /// Begins to drain because this task, without which the process is of no use, has panicked.
    pub fn fail(&self, task: &'static str) {
        // The first one is told.
        self.fault.get_or_init(|| task);
        self.begin();
    }

    /// The task whose panic ends the process, if that is why it ends.
    pub fn fault(&self) -> Option<&'static str> {
        self.fault.get().copied()
    }

    /// Asks not to wait any longer for what has not finished. Also begins to drain.
    pub fn hurry(&self) {
        self.draining.cancel();
        self.at_once.cancel();
    }

    /// Returns whether draining has begun.
    pub fn is_draining(&self) -> bool {
        self.draining.is_cancelled()
    }

    /// Waits until draining begins.
    ///
    /// # Cancel safety
    /// Safe.
    pub async fn draining(&self) {
        self.draining.cancelled().await;
    }

    /// Waits until nobody shall be waited for any longer.
    ///
    /// # Cancel safety
    /// Safe.
    pub async fn hurried(&self) {
        self.at_once.cancelled().await;
    }
}
