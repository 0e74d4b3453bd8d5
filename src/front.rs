//! (door of `front`)
