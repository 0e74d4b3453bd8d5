//! (door of `front`)
pub mod listener;
