//! `[streams]`: how the streams half behaves; `None` of it exists where it is turned off.

use std::time::Duration;

use super::access::{Acl, Auth};
use super::definition::StaticDefinition;
use super::mongodb::Mongodb;
use super::reader::Section;

/// The streams half: everything that needs MongoDB.
#[derive(Clone, Debug, PartialEq)]
pub struct Streams {
    /// `[mongodb]`.
    pub mongodb: Mongodb,
    /// `[auth]`.
    pub auth: Auth,
    /// `[acl]`; `None`: there are no permissions in MongoDB, so nobody is let in by them.
    pub acl: Acl,
    /// `[[stream]]`.
    pub definitions: Vec<StaticDefinition>,
    /// `[streams]`.
    pub settings: StreamSettings,
}

/// `[streams]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamSettings {
    /// Whether a permission's read filter and hidden fields hold for streams too.
    pub enforce_read_filter: bool,
    /// Whether MongoDB is asked for the state before a change, where a collection keeps it.
    pub pre_images: bool,
    /// What `notify_when` does where the client gives no value.
    pub notify_when_unbound: NotifyWhenUnbound,
    /// How long the answer to a write of metadata may be held back until the new state has been read.
    pub freshness_wait: Duration,
    /// How long a connecting client waits for MongoDB to be ready, before 503 is answered.
    pub connect_patience: Duration,
    /// How long open sessions are kept waiting while MongoDB is away.
    pub feed_patience: Duration,
    /// How long a database that nobody watches keeps its change stream (mount `*` only).
    pub feed_idle: Duration,
    /// How often an idle WebSocket is pinged.
    pub ping_interval: Duration,
    /// How long the answer to a ping may take; a silent peer is gone.
    pub pong_timeout: Duration,
    /// Whether messages to clients that offer it are compressed.
    pub websocket_compression: bool,
    /// How often an idle SSE stream gets a comment.
    pub comment_interval: Duration,
    /// How long a client may take to answer our close frame.
    pub close_timeout: Duration,
    /// How long one write to a client's socket may make no progress.
    pub write_timeout: Duration,
}

/// What `notify_when` does where the client gives no value for its parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotifyWhenUnbound {
    /// Every event is delivered, as RESTHeart documents it.
    Deliver,
    /// The client is refused with 400.
    Refuse,
}

/// Reads `[streams]`: whether the half is on, and how it behaves.
pub(super) fn read(section: Section<'_>) -> (bool, StreamSettings) {
    let is_enabled = section.flag("enabled", true);
    let unbound = [
        ("deliver", NotifyWhenUnbound::Deliver),
        ("refuse", NotifyWhenUnbound::Refuse),
    ];
    let settings = StreamSettings {
        enforce_read_filter: section.flag("enforce_read_filter", true),
        pre_images: section.flag("pre_images", false),
        notify_when_unbound: section.choice(
            "notify_when_unbound",
            NotifyWhenUnbound::Deliver,
            &unbound,
        ),
        freshness_wait: section.duration("freshness_wait", FRESHNESS_WAIT, Duration::ZERO..=MINUTE),
        connect_patience: section.duration(
            "connect_patience",
            CONNECT_PATIENCE,
            Duration::ZERO..=HOUR,
        ),
        feed_patience: section.duration("feed_patience", FEED_PATIENCE, Duration::ZERO..=WEEK),
        feed_idle: section.duration("feed_idle", FEED_IDLE, SECOND..=WEEK),
        ping_interval: section.duration("ping_interval", PING_INTERVAL, TICK..=HOUR),
        pong_timeout: section.duration("pong_timeout", PONG_TIMEOUT, TICK..=HOUR),
        websocket_compression: section.flag("websocket_compression", false),
        comment_interval: section.duration("comment_interval", COMMENT_INTERVAL, TICK..=HOUR),
        close_timeout: section.duration("close_timeout", CLOSE_TIMEOUT, TICK..=HOUR),
        write_timeout: section.duration("write_timeout", WRITE_TIMEOUT, TICK..=HOUR),
    };
    section.finish();
    (is_enabled, settings)
}

/// The least interval that makes sense for anything periodic.
const TICK: Duration = Duration::from_millis(10);
const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(60 * 60);
const WEEK: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// A find of a few documents takes single milliseconds; a quarter of a second is noticed by nobody.
const FRESHNESS_WAIT: Duration = Duration::from_millis(250);

/// As long as an election in a replica set usually takes with some to spare, and short of a client's own patience.
const CONNECT_PATIENCE: Duration = Duration::from_secs(5);

/// An election takes a dozen seconds, the restart of a server after a crash or an upgrade rarely more than a minute.
const FEED_PATIENCE: Duration = Duration::from_secs(2 * 60);

/// Opening one again costs an aggregate and a read of the metadata; keeping one costs MongoDB work for each write.
const FEED_IDLE: Duration = Duration::from_secs(10 * 60);

/// Half of nginx's and AWS ALB's 60 s idle time-out, with room for one lost ping.
const PING_INTERVAL: Duration = Duration::from_secs(25);

/// Mobile networks take seconds to wake.
const PONG_TIMEOUT: Duration = Duration::from_secs(20);

/// As for pings. The HTML standard advises 15 s, since some old proxies drop after a short time.
const COMMENT_INTERVAL: Duration = Duration::from_secs(15);

/// A close frame is answered in one round trip.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// A reader that takes nothing for that long has stopped reading.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);
