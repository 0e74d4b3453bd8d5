//! (door of `proxy`)
