//! Why a session ends.

/// Why a session is ended from below. The close code and the text for each are in `session::close`.
///
/// Source: design section 7.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ending {
    /// The process is shutting down or handing over to a new binary.
    Draining,
    /// The definition of the stream changed, and still exists.
    DefinitionChanged,
    /// The permission changed and still lets the client in (another read filter, other hidden fields).
    PermissionChanged,
    /// A fault of ours.
    OurFault,
    /// MongoDB has been away for too long. Nothing is missing: whoever comes back with the last id goes on behind it.
    FeedAway,
    /// The credentials expired.
    CredentialsExpired,
    /// The user's record changed or vanished: password, roles, properties.
    CredentialsChanged,
    /// No permission lets the client in any more.
    PermissionGone,
    /// The definition was removed.
    StreamGone,
    /// The collection (or its database) was dropped or renamed.
    CollectionGone,
    /// The client did not read fast enough: its outbox was full.
    Slow,
    /// Events are missing from here on: MongoDB's history no longer reaches, or an event was too large.
    HistoryLost,
}

impl Ending {
    /// Whether frames that were queued before the ending may still be written.
    ///
    /// A revocation and a slow client drop what is queued; all others flush it first (bounded by the session's close
    /// timeout), since those events came before the ending.
    pub fn flushes(self) -> bool {
        match self {
            Self::Draining
            | Self::DefinitionChanged
            | Self::PermissionChanged
            | Self::StreamGone
            | Self::CollectionGone
            | Self::HistoryLost
            | Self::FeedAway
            | Self::CredentialsExpired => true,
            Self::OurFault | Self::CredentialsChanged | Self::PermissionGone | Self::Slow => false,
        }
    }
}
