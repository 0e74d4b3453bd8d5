//! (door of `app`)
