//! (door of `streams`)
