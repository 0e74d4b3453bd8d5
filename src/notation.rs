//! (door of `notation`)
