//! (door of `wire`)
