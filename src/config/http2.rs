//! `[server.http2]`: HTTP/2 towards clients.

use std::time::Duration;

use super::reader::Section;
use super::server::{HOUR, SECOND};

/// `[server.http2]`: where HTTP/2 is spoken with clients, and its limits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Http2 {
    /// Whether it is offered over TLS.
    pub over_tls: bool,
    /// Whether a client in clear may begin with it, without asking.
    pub prior_knowledge: bool,
    /// Requests of one connection at a time, streams among them.
    pub max_streams: u32,
    /// How often a connection with requests on it is pinged.
    pub ping_interval: Duration,
    /// How long the answer to a ping may take.
    pub ping_timeout: Duration,
}

impl Http2 {
    pub(super) fn read(section: Section<'_>) -> Self {
        let max_streams = section.count("max_streams", MAX_STREAMS, 1..=MAX_STREAMS_MAX);
        let http2 = Self {
            over_tls: section.flag("over_tls", true),
            prior_knowledge: section.flag("prior_knowledge", false),
            max_streams: u32::try_from(max_streams).unwrap_or(u32::MAX),
            ping_interval: section.duration("ping_interval", PING_INTERVAL, SECOND..=HOUR),
            ping_timeout: section.duration("ping_timeout", PING_TIMEOUT, SECOND..=HOUR),
        };
        section.finish();
        http2
    }
}

/// As nginx has it; RFC 9113 §6.5.2 would not have it below 100.
const MAX_STREAMS: usize = 128;

const MAX_STREAMS_MAX: usize = 10_000;

/// Routers forget a quiet connection after a minute, the worst of them after half of that.
const PING_INTERVAL: Duration = Duration::from_secs(25);

/// As for the pong of a WebSocket.
const PING_TIMEOUT: Duration = Duration::from_secs(20);
