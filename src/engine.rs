//! (door of `engine`)
