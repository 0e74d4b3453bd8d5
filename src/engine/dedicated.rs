//! Pipelines that MongoDB evaluates: one cursor for all sessions with an equal pipeline.
//!
//! A dedicated cursor is not in the feed's order, so an event of it waits until the feed has passed its token: whatever
//! the feed brought before, a revocation among it, has taken effect by then.
//!
//! An event on which the pipeline fails (`$divide` by a string) is skipped, counted and logged; the stream goes on.
//! The cursor is reopened behind the last good event, event by event, until it fails again, and then behind the next.

mod cursor;
mod pool;

pub(super) use pool::Pool;
