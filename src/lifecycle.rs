//! (door of `lifecycle`)
