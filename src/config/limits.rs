//! `[limits]`: what this process uses at most.

use super::reader::Section;

/// `[limits]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Sessions at a time; more are answered 503.
    pub sessions: usize,
    /// Unsent bytes of one session, before it is closed as slow.
    pub outbox: usize,
    /// Bytes of the query parameter `avars`, decoded.
    pub avars: usize,
    /// Cursors in all for pipelines that cannot be evaluated in process.
    pub dedicated_cursors: usize,
    /// The same, for the streams of one collection.
    pub dedicated_cursors_per_collection: usize,
    /// Cursors in all for clients that resume from before the ring.
    pub catch_up_cursors: usize,
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
    pub(super) fn read(section: Section<'_>) -> Self {
        let limits = Self {
            sessions: section.count("sessions", SESSIONS, 1..=10_000_000),
            outbox: section.size("outbox", OUTBOX, 4 * KIB..=GIB),
            avars: section.size("avars", AVARS, 2..=256 * KIB),
            dedicated_cursors: section.count("dedicated_cursors", DEDICATED, 0..=10_000),
            dedicated_cursors_per_collection: section.count(
                "dedicated_cursors_per_collection",
                DEDICATED_PER_COLLECTION,
                0..=10_000,
            ),
            catch_up_cursors: section.count("catch_up_cursors", CATCH_UP, 0..=10_000),
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

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;
const GIB: usize = 1 << 30;

/// At below 16 KiB for each idle session, 1.6 GiB: what a machine for this purpose has.
pub(super) const SESSIONS: usize = 100_000;

/// About a thousand ordinary events: a train's tunnel, not a phone left in a drawer.
const OUTBOX: usize = MIB;

/// Far more than variables need, and half of what a head may have.
const AVARS: usize = 32 * KIB;

/// Each costs mongod a cursor that reads the whole oplog. Few pipelines need one.
const DEDICATED: usize = 64;

/// One collection cannot take them all.
const DEDICATED_PER_COLLECTION: usize = 16;

/// They are short-lived: others that resume wait for their turn.
const CATCH_UP: usize = 16;

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

const _: () = assert!(DEDICATED_PER_COLLECTION < DEDICATED);
const _: () = assert!(AVARS < OUTBOX);
