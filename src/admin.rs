//! (door of `admin`)
