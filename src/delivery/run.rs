//! What is queued: a frame, or several in one piece.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use crate::delivery::Budget;

/// Whole frames, one behind the other in one piece of shared memory.
///
/// Under load many sessions get the same frames. Joined once, they cost each of them one place in the queue and one slice
/// in a write, instead of one for each frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// The frames' bytes. Never empty.
    pub bytes: Bytes,
    /// How many frames these are.
    pub frames: u32,
}

impl From<Bytes> for Run {
    /// One frame.
    fn from(bytes: Bytes) -> Self {
        Self { bytes, frames: 1 }
    }
}

impl Run {
    /// Joins frames, and counts what they become.
    pub fn join(frames: &[Bytes], budget: &Arc<Budget>) -> Self {
        let mut bytes = BytesMut::with_capacity(frames.iter().map(Bytes::len).sum());
        for frame in frames {
            bytes.extend_from_slice(frame);
        }
        Self {
            bytes: budget.count(bytes.freeze()),
            frames: u32::try_from(frames.len()).unwrap_or(u32::MAX),
        }
    }
}
