//! What is queued: a frame, or several in one piece.

use bytes::{Bytes, BytesMut};

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
    /// Joins frames; `None` of nothing.
    pub fn join(frames: &[Bytes]) -> Option<Self> {
        if let [only] = frames {
            return Some(only.clone().into());
        }
        let mut bytes = BytesMut::with_capacity(frames.iter().map(Bytes::len).sum());
        frames
            .iter()
            .for_each(|frame| bytes.extend_from_slice(frame));
        (!bytes.is_empty()).then(|| Self {
            bytes: bytes.freeze(),
            frames: u32::try_from(frames.len()).unwrap_or(u32::MAX),
        })
    }
}
