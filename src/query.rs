//! (door of `query`)
