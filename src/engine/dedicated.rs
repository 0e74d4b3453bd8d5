//! Pipelines that MongoDB evaluates: one cursor for all sessions with an equal pipeline.
//!
//! A dedicated cursor is not in the feed's order, so an event of it waits until the feed has passed its token: whatever
//! the feed brought before, a revocation among it, has taken effect by then.
//!
//! Who comes back with an id joins a cursor of his pipeline that has handed out nothing behind it, if there is one; else he waits
//! for his turn, and all who wait with him get one cursor together, from the oldest id on. In the present that goes into the one
//! that all share: so a pipeline has one cursor again soon after however many came back.
//!
//! An event on which the pipeline fails (`$divide` by a string) is skipped, counted and logged; the stream goes on.
//! The cursor is reopened behind the last good event, event by event, until it fails again, and then behind the next.

mod cursor;
mod merging;
mod pool;
mod returning;

pub(super) use pool::Pool;
