//! What the outboxes of a process hold together.
//!
//! A frame is counted from its rendering until its last handle is gone: once, however many outboxes it waits in, since it
//! is in memory once, and also while a writer has it in hand. So one message to ten thousand clients is small, and what is
//! counted is what is resident. Beside it the room of each queue is counted, which is not shared; it changes when a queue
//! doubles or is given back, so a push costs no access to what all cores share.
//!
//! Not counted is what a session makes of a frame for itself: an SSE body that is compressed, up to one batch of it.
//!
//! Nobody waits here. Who finds that more is held than may be ends the session that holds most ([`Budget::exceeded`]).

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use tokio::sync::Notify;

use crate::delivery::Run;

/// How much all outboxes may hold, and how much they do.
#[derive(Debug)]
pub struct Budget {
    bytes_max: usize,
    frame_bytes_max: usize,
    used: AtomicUsize,
    /// Told when the bound is crossed.
    crossed: Notify,
}

impl Budget {
    /// Makes a budget: bytes of all frames and queues, and bytes of the text of one frame.
    pub fn new(bytes_max: usize, frame_bytes_max: usize) -> Arc<Self> {
        Arc::new(Self {
            bytes_max,
            frame_bytes_max,
            used: AtomicUsize::new(0),
            crossed: Notify::new(),
        })
    }

    /// Makes one that is never exceeded.
    pub fn unlimited() -> Arc<Self> {
        Self::new(usize::MAX, usize::MAX)
    }

    /// Returns how many bytes are held.
    pub fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// Returns how many bytes may be held.
    pub fn bytes_max(&self) -> usize {
        self.bytes_max
    }

    /// Returns how long the text of a frame may be.
    pub fn frame_bytes_max(&self) -> usize {
        self.frame_bytes_max
    }

    /// Returns how many bytes are held that should not be.
    pub fn excess(&self) -> usize {
        self.used().saturating_sub(self.bytes_max)
    }

    /// Waits until more is held than may be. For one task, which then relieves it.
    ///
    /// # Cancel safety
    /// Safe.
    pub async fn exceeded(&self) {
        while self.excess() == 0 {
            self.crossed.notified().await;
        }
    }

    /// Counts a frame until its last handle is dropped.
    pub fn count(self: &Arc<Self>, frame: Bytes) -> Bytes {
        self.take(frame.len());
        Bytes::from_owner(Counted {
            frame,
            budget: Arc::clone(self),
        })
    }

    fn take(&self, bytes: usize) {
        // Relaxed: nothing else is read on the strength of this number.
        let before = self.used.fetch_add(bytes, Ordering::Relaxed);
        let was_within = before <= self.bytes_max;
        if was_within && before.saturating_add(bytes) > self.bytes_max {
            self.crossed.notify_one();
        }
    }

    fn give(&self, bytes: usize) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// The bytes behind a frame that is counted.
struct Counted {
    frame: Bytes,
    budget: Arc<Budget>,
}

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.frame
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.budget.give(self.frame.len());
    }
}

/// The room that one queue has for handles, counted.
#[derive(Debug)]
pub(super) struct Room {
    budget: Arc<Budget>,
    handles: usize,
}

impl Room {
    pub(super) fn new(budget: Arc<Budget>) -> Self {
        Self { budget, handles: 0 }
    }

    /// Notes for how many handles the queue has room now.
    pub(super) fn is(&mut self, handles: usize) {
        // Mostly it is as it was.
        if handles == self.handles {
            return;
        }
        let (before, now) = (self.handles * HANDLE_BYTES, handles * HANDLE_BYTES);
        match now > before {
            true => self.budget.take(now - before),
            false => self.budget.give(before - now),
        }
        self.handles = handles;
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.is(0);
    }
}

const HANDLE_BYTES: usize = size_of::<Run>();

#[cfg(test)]
mod tests;
