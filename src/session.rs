//! (door of `session`)
