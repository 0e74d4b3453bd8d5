//! MongoDB as a source of ordered changes.
//!
//! One [`feed::Feed`] per database is one change stream over everything that is watched there: the data of every
//! collection with a definition, and the metadata (definitions, permissions, users), in one order. Batches of data go
//! to a [`feed::Sink`]; a change of metadata is told to the [`feed::Gate`] before the feed goes on, so that nothing
//! behind a revocation can get through. [`mirror::Mirror`] keeps a small collection in memory, [`lookup::Lookup`]
//! remembers documents of a large one; both know at which operation time they were read and ignore older changes.
//!
//! This wing knows nothing of subscriptions and clients.

pub mod client;
pub mod event;
pub mod feed;
pub mod lookup;
pub mod mirror;
pub mod privileges;

pub use event::{Event, Namespace, Operation, ResumeToken};

/// Whatever MongoDB or the way to it refused.
#[derive(Clone, Debug, thiserror::Error)]
pub enum MongoError {
    /// MongoDB does not answer, or not as a replica set member that accepts reads.
    #[error("MongoDB is not reachable: {0}")]
    Unreachable(String),
    /// No answer came in time: the peer may be stopped, the network cut, or the question a long one.
    #[error("MongoDB is not reachable: no answer in time")]
    NoAnswer,
    /// MongoDB does not accept the credentials of the connection string.
    #[error("MongoDB does not accept the credentials of mongodb.uri: {0}")]
    Credentials(String),
    /// MongoDB runs without a replica set, so it has no change streams.
    #[error("MongoDB runs without a replica set; change streams need one")]
    NoReplicaSet,
    /// The place in history that was asked for is gone or never was.
    #[error("history does not reach back to this id: {0}")]
    HistoryLost(String),
    /// MongoDB understood and refused the command.
    #[error("MongoDB refused: {message} (code {code})")]
    Refused {
        /// MongoDB's numeric error code.
        code: i32,
        /// MongoDB's own text.
        message: String,
    },
    /// More questions a second than `limits.finds_per_second` allows.
    #[error("too many lookups of unknown names")]
    TooManyFinds,
}

/// `ChangeStreamHistoryLost`, `InvalidResumeToken`.
const CODES_HISTORY_LOST: [i32; 2] = [286, 260];
/// `ChangeStreamFatalError`: on opening, the token's own event is not there; later, a pipeline removed an event's `_id`.
const CODE_FATAL: i32 = 280;
/// `Location40573`: the `$changeStream` stage is only supported on replica sets.
const CODE_NO_REPLICA_SET: i32 = 40573;

impl MongoError {
    /// What an error means if it came on opening a change stream behind a token.
    pub(crate) fn on_resuming(self) -> Self {
        match self {
            Self::Refused {
                code: CODE_FATAL,
                message,
            } => Self::HistoryLost(message),
            other => other,
        }
    }
}

impl From<mongodb::error::Error> for MongoError {
    fn from(error: mongodb::error::Error) -> Self {
        use mongodb::error::ErrorKind;
        match error.kind.as_ref() {
            ErrorKind::Command(refused) if refused.code == CODE_NO_REPLICA_SET => {
                Self::NoReplicaSet
            }
            ErrorKind::Command(refused) if CODES_HISTORY_LOST.contains(&refused.code) => {
                Self::HistoryLost(refused.message.clone())
            }
            ErrorKind::Command(refused) if !error.contains_label("ResumableChangeStreamError") => {
                Self::Refused {
                    code: refused.code,
                    message: refused.message.clone(),
                }
            }
            ErrorKind::Authentication { message, .. } => Self::Credentials(message.clone()),
            ErrorKind::ServerSelection { message, .. } => Self::Unreachable(message.clone()),
            _ => Self::Unreachable(error.to_string()),
        }
    }
}
