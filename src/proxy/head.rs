//! Heads of requests: each is read here, raw, before anybody acts on it.
//!
//! `http::Uri` refuses targets that people type and RESTHeart takes (`?filter={"from":"Bob"}`), and cuts at a raw `#`: these are
//! percent-encoded for whoever reads a target on our side, and the upstream gets them as they came. What can be read in two
//! ways is refused.

pub(super) mod http2;
mod link;
mod parse;
mod raw;
mod target;

use std::time::Duration;

pub(super) use self::parse::{end, treat};
pub use self::{
    link::{Link, Refusal},
    raw::{RawHead, set_header},
};

/// Limits on request heads and on the time between them.
#[derive(Clone, Debug)]
pub struct HeadSettings {
    /// The longest head, in bytes, the empty line included. At most [`HEAD_BYTES_MAX`].
    pub bytes_max: usize,
    /// How long a head may take from its first byte (on a new connection: from the accept) to its last.
    pub time_max: Duration,
    /// How long a kept connection may be silent between two requests.
    pub idle_max: Duration,
    /// How long a request goes on for a client that has closed its sending half and gets nothing written.
    pub half_close_grace: Duration,
}

impl Default for HeadSettings {
    fn default() -> Self {
        Self {
            bytes_max: 128 << 10,
            time_max: Duration::from_secs(30),
            idle_max: Duration::from_secs(75),
            half_close_grace: Duration::from_secs(5),
        }
    }
}

/// The most that [`HeadSettings::bytes_max`] may be.
pub const HEAD_BYTES_MAX: usize = 256 << 10;

#[cfg(test)]
mod tests;
