//! The word that the process ends.

use tokio_util::sync::CancellationToken;

/// Says that the process ends, in two steps: finish what runs, then stop waiting for it. Clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Shutdown {
    draining: CancellationToken,
    at_once: CancellationToken,
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
