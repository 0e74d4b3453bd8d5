//! `[limits]`: what this process uses at most.

use std::fmt::Display;

use super::reader::Section;
use super::value::size_text;

/// `[limits]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Sessions at a time; more are answered 503.
    pub sessions: usize,
    /// Of them, those of one user; more are answered 429.
    pub sessions_per_user: usize,
    /// Of them, those from one address; more are answered 429.
    pub sessions_per_address: usize,
    /// Of them, those that one feed serves; more are answered 503.
    pub subscriptions_per_feed: usize,
    /// Groups of sessions with an equal plan; a session that needs one more is answered 503.
    pub groups: usize,
    /// Bytes of the bound pipelines of all groups; a group that needs more is answered 503.
    pub groups_size: usize,
    /// Unsent bytes of one session, before it is closed as slow.
    pub outbox: usize,
    /// Unsent bytes of all sessions, before the one that has most of them is closed as slow.
    pub outboxes: usize,
    /// Bytes of one frame; an event that needs more is as lost as one that MongoDB cannot send.
    pub frame: usize,
    /// Bytes of the query parameter `avars`, decoded.
    pub avars: usize,
    /// Variables that one request may bind.
    pub variables: usize,
    /// How deep `avars` and definitions may be nested.
    pub depth: usize,
    /// Stages of one definition.
    pub stages: usize,
    /// Values in one pipeline, its variables put in: what bounds the time that it takes to compile it.
    pub values: usize,
    /// Cursors in all for pipelines that cannot be evaluated in process.
    pub dedicated_cursors: usize,
    /// The same, for one stream.
    pub dedicated_cursors_per_stream: usize,
    /// Cursors in all for clients that resume from before the ring.
    pub catch_up_cursors: usize,
    /// The same, opened per second.
    pub catch_up_cursors_per_second: usize,
    /// Databases watched at a time.
    pub feeds: usize,
    /// Bytes of recent events kept for resuming, for each database.
    pub ring: usize,
    /// Users kept in memory.
    pub users_remembered: usize,
    /// Right passwords remembered, as keyed digests.
    pub passwords_remembered: usize,
    /// Passwords checked at a time.
    pub bcrypt_concurrency: usize,
    /// Reads per second of definitions and users that are not known.
    pub finds_per_second: usize,
}

impl Limits {
    pub(super) fn read(section: Section<'_>, connections: usize) -> Self {
        let sessions = section.count("sessions", SESSIONS.min(connections), 1..=10_000_000);
        if sessions > connections {
            let text = format!(
                "{sessions} is more than server.max_connections, {connections}, and each is a connection"
            );
            section.fault("sessions", text);
        }
        let of_sessions = |key, default| count_within(&section, key, default, "sessions", sessions);
        let dedicated_cursors = section.count("dedicated_cursors", DEDICATED, 0..=10_000);
        let outboxes = section.size("outboxes", OUTBOXES, MIB..=1 << 40);
        let of_outboxes = |key, default| size_within(&section, key, default, "outboxes", outboxes);
        let limits = Self {
            sessions,
            sessions_per_user: of_sessions("sessions_per_user", SESSIONS_PER_USER),
            sessions_per_address: of_sessions("sessions_per_address", SESSIONS_PER_ADDRESS),
            subscriptions_per_feed: of_sessions("subscriptions_per_feed", SUBSCRIPTIONS),
            groups: section.count("groups", sessions.saturating_mul(2), 1..=20_000_000),
            groups_size: section.size("groups_size", GROUPS_SIZE, MIB..=64 * GIB),
            outbox: of_outboxes("outbox", OUTBOX),
            outboxes,
            frame: of_outboxes("frame", FRAME),
            avars: section.size("avars", AVARS, 2..=256 * KIB),
            variables: section.count("variables", VARIABLES, 0..=VARIABLES),
            depth: section.count("depth", DEPTH, 1..=DEPTH),
            stages: section.count("stages", STAGES, 1..=STAGES),
            values: section.count("values", VALUES, 1..=10_000_000),
            dedicated_cursors,
            dedicated_cursors_per_stream: count_within(
                &section,
                "dedicated_cursors_per_stream",
                DEDICATED_PER_STREAM,
                "dedicated_cursors",
                dedicated_cursors,
            ),
            catch_up_cursors: section.count("catch_up_cursors", CATCH_UP, 0..=10_000),
            catch_up_cursors_per_second: section.count(
                "catch_up_cursors_per_second",
                CATCH_UP_PER_SECOND,
                1..=10_000,
            ),
            feeds: section.count("feeds", FEEDS, 1..=1_000),
            ring: section.size("ring", RING, 0..=4 * GIB),
            users_remembered: section.count("users_remembered", USERS, 1..=10_000_000),
            passwords_remembered: section.count("passwords_remembered", PASSWORDS, 1..=10_000_000),
            bcrypt_concurrency: section.count("bcrypt_concurrency", BCRYPT, 1..=256),
            finds_per_second: section.count("finds_per_second", FINDS, 1..=100_000),
        };
        section.finish();
        limits
    }
}

/// A number that is a part of another one: its default is never more than that, and what is written must not be.
fn count_within(
    section: &Section<'_>,
    key: &'static str,
    default: usize,
    whole_key: &str,
    whole: usize,
) -> usize {
    let count = section.count(key, default.min(whole), 0..=10_000_000);
    if count > whole {
        section.fault(key, more_than_whole(count, whole_key, whole));
    }
    count
}

fn more_than_whole(part: impl Display, whole_key: &str, whole: impl Display) -> String {
    format!("{part} is more than limits.{whole_key}, {whole}, of which it is a part")
}

/// As [`count_within`], for sizes.
fn size_within(
    section: &Section<'_>,
    key: &'static str,
    default: usize,
    whole_key: &str,
    whole: usize,
) -> usize {
    let size = section.size(key, default.min(whole), 4 * KIB..=4 * GIB);
    if size > whole {
        let (size, whole) = (size_text(size), size_text(whole));
        section.fault(key, more_than_whole(size, whole_key, whole));
    }
    size
}

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;
const GIB: usize = 1 << 30;

/// At 6 KiB for each idle session and as much in the kernel, they fit into a machine of 1 GB beside all else.
pub(super) const SESSIONS: usize = 50_000;

/// A service that opens streams for all of its own clients with one user is not rare.
const SESSIONS_PER_USER: usize = 20_000;

/// Behind a load balancer all clients have one address. It cannot bring more than this: Linux gives a connection to one place
/// one of 28,232 ports.
const SESSIONS_PER_ADDRESS: usize = 20_000;

/// One database is the ordinary case, so it may have them all.
const SUBSCRIPTIONS: usize = SESSIONS;

/// 150 bytes are an ordinary pipeline with its values: room for twice as many groups as there may be. Decoded, compiled and
/// indexed each byte takes about ten.
const GROUPS_SIZE: usize = 16 * MIB;

/// About a thousand ordinary events: a train's tunnel, not a phone left in a drawer.
const OUTBOX: usize = MIB;

/// A quarter of a machine of 1 GB; 256 clients that have stopped reading different streams.
const OUTBOXES: usize = 256 * MIB;

/// MongoDB's 16 MB, written as text. The worst that BSON can become is some hundred.
const FRAME: usize = 64 * MIB;

/// Far more than variables need, and half of what a head may have.
const AVARS: usize = 32 * KIB;

/// As many as RESTHeart takes parameters; there is no use for more.
const VARIABLES: usize = 1000;

/// As deep as MongoDB stores documents.
const DEPTH: usize = 100;

/// As many as MongoDB takes.
const STAGES: usize = 1000;

/// Some thousand ids in an `$in`. To compile them takes the time of a connection's thread.
const VALUES: usize = 20_000;

/// Each costs mongod a cursor that reads the whole oplog. Few pipelines need one.
const DEDICATED: usize = 64;

/// One stream cannot take them all.
const DEDICATED_PER_STREAM: usize = 16;

/// They are short-lived: others that resume wait for their turn.
const CATCH_UP: usize = 16;

/// Whoever waits for the next one shares it, so a thousand clients that come back at once need a few.
const CATCH_UP_PER_SECOND: usize = 20;

/// Each holds one connection to MongoDB.
const FEEDS: usize = 16;

/// Some ten thousand events: a client that was away for a moment needs no cursor.
const RING: usize = 16 * MIB;

/// About 20 MiB at 2 KiB a user.
const USERS: usize = 10_000;

/// As many as users; a digest is small.
const PASSWORDS: usize = USERS;

/// A check at cost 12 takes a quarter of a second of one core: two leave the others to the traffic.
const BCRYPT: usize = 2;

/// More than any honest traffic of first-time users on one instance, and nothing for MongoDB.
const FINDS: usize = 200;

const _: () = assert!(DEDICATED_PER_STREAM < DEDICATED);
const _: () = assert!(AVARS < OUTBOX && OUTBOX < FRAME && FRAME < OUTBOXES);
