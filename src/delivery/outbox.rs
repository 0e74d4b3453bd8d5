//! (to be furnished: see the brief)
use crate::delivery::Ending;
use bytes::Bytes;

/// The producers' side.
#[derive(Clone, Debug)]
pub struct Outbox;
/// The session's side.
#[derive(Debug)]
pub struct Outlet;
/// What the writer takes.
#[derive(Debug)]
pub enum Outcome {
    /// Frames were appended to the buffer.
    Frames,
    /// The session ends; nothing more will come.
    Ended(Ending),
}
/// Why a frame was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SendError {
    /// The outbox was full; it has ended itself with [`Ending::Slow`].
    Full,
    /// The session has already ended.
    Ended,
}
/// Makes the two ends.
pub fn channel(_bytes_max: usize) -> (Outbox, Outlet) {
    (Outbox, Outlet)
}
impl Outbox {
    /// Queues.
    pub fn try_send(&self, _frame: Bytes) -> Result<(), SendError> {
        Err(SendError::Ended)
    }
    /// Ends.
    pub fn end(&self, _ending: Ending) {}
}
