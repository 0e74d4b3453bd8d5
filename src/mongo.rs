//! (door of `mongo`)
