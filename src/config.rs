//! (door of `config`)
