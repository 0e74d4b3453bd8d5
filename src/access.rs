//! (door of `access`)
