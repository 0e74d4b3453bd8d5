//! One change stream made an ordered, resumable feed.
//!
//! A feed watches every collection that somebody could ask for, and the metadata beside them, in one cursor. It hands
//! data to its [`Sink`] in batches and tells its [`Gate`] of each change of metadata before anything behind it is
//! handed on. Subscribing costs MongoDB nothing; only a change of the *watched set* reopens the cursor, after the last
//! token, so that nothing is missed.
//!
//! After an error the feed resumes by token, with capped and jittered backoff. It never restarts silently: where
//! history is lost the sink is told of the gap, and the gate reads its metadata anew.
//!
//! Source: design section 6, *Feed*.

mod cursor;
mod ring;
mod source;
mod task;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bson::{Bson, Document, Timestamp};
use futures_util::future::BoxFuture;
use tokio::sync::{mpsc, oneshot, watch};

pub use cursor::{
    Opened, Read, Reader, Reading, Scope, Start, Step, Tail, has_happened, longer, next_id, open,
    open_collection, open_showing,
};
pub use ring::{Pin, Ring};
pub(crate) use source::Source;

use crate::lifecycle::Tasks;
use crate::mongo::client::{Clock, Connection};
use crate::mongo::{Event, MongoError, Namespace, ResumeToken};

/// Requests to watch another collection that may wait at once; one more waits for its turn.
const COMMANDS_MAX: usize = 1024;

/// `BSONObjectTooLarge`: an event of more than 16 MB cannot be sent.
pub const CODE_TOO_LARGE: i32 = 10334;

/// Whoever takes the events.
pub trait Sink: Send + Sync {
    /// Takes a batch, in order. The feed waits until it is taken: a slow sink slows the cursor, and MongoDB keeps.
    fn deliver(&self, events: Vec<Arc<Event>>) -> BoxFuture<'_, ()>;
    /// Events are missing from here on, for these collections. In order with the batches, and waited for as they are.
    fn gap(&self, lost: Lost) -> BoxFuture<'_, ()>;
    /// MongoDB has been away for longer than sessions are kept waiting. Nothing is missing: the feed goes on where it stopped.
    /// Told again while that lasts, for who came meanwhile.
    fn away<'a>(&'a self, scope: &'a Scope) -> BoxFuture<'a, ()>;
    /// The feed broke down by a fault of ours and begins anew: whoever rests on it has come to an end. Must not block.
    fn broken(&self, scope: &Scope);
}

/// What a gap concerns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lost {
    /// Everything the feed watches.
    Everything(Scope),
    /// One collection: an event of it was too large for MongoDB to send.
    Collection(Namespace),
}

/// Whoever keeps the metadata. Called by the feed, in order with the data.
pub trait Gate: Send + Sync {
    /// Applies a change and ends what rests on it. Must not block: the feed goes on when it returns.
    fn changed(&self, change: Change);
    /// Reads all metadata of the scope anew. Called before a cursor is opened that does not continue an earlier one.
    fn reload<'a>(&'a self, scope: &'a Scope) -> BoxFuture<'a, Result<(), MongoError>>;
    /// The collections of the scope that must be watched: metadata, and whatever has a definition.
    fn watched(&self, scope: &Scope) -> BTreeSet<Namespace>;
    /// Whether a change in this collection concerns the gate.
    fn is_metadata(&self, namespace: &Namespace) -> bool;
    /// Whether others wait for what this feed tells ([`Gate::heard`]).
    fn is_awaited(&self, _scope: &Scope) -> bool {
        false
    }
    /// The feed has told all that had happened until now, as far as MongoDB has it for a majority. Told again with each
    /// answer of MongoDB, at least once in a second, unless the feed is behind or has lost MongoDB.
    fn heard(&self, _scope: &Scope) {}
    /// What has to be done before events of this scope go on, if anything: what decides who may see them may be brought by
    /// another feed. Must not wait for one. After an error it is asked for anew.
    fn clear<'a>(&'a self, _scope: &'a Scope) -> Option<BoxFuture<'a, Result<(), MongoError>>> {
        None
    }
    /// The feed came to life (`true`) or lost MongoDB (`false`).
    fn live(&self, scope: &Scope, live: bool);
}

/// A change of metadata.
#[derive(Clone, Debug)]
pub enum Change {
    /// A document is now this, or gone.
    Document {
        /// Where.
        namespace: Namespace,
        /// Its `_id`.
        id: Bson,
        /// The document; `None` if it was removed.
        document: Option<Document>,
        /// When.
        time: Timestamp,
    },
    /// A whole collection of metadata was dropped, renamed, or replaced by another.
    Collection {
        /// Which.
        namespace: Namespace,
        /// When.
        time: Timestamp,
    },
}

/// How a feed is doing.
#[derive(Clone, Debug)]
pub enum State {
    /// The first cursor is not open yet.
    Opening,
    /// The cursor is open.
    Live,
    /// MongoDB refused or is away; the feed tries again.
    Down(MongoError),
}

/// The bounds of a feed.
#[derive(Clone, Copy, Debug)]
pub struct FeedSettings {
    /// Bytes of recent events kept for clients that come back.
    pub ring_bytes: usize,
    /// The longest pause between two attempts to reopen.
    pub backoff_max: Duration,
    /// How long sessions are kept waiting while MongoDB is away; then the sink is told.
    pub patience: Duration,
    /// Whether MongoDB is asked for the state before a change, where a collection keeps it.
    pub pre_images: bool,
}

/// A handle to a feed. The feed ends when its last handle is dropped.
#[derive(Debug)]
pub struct Feed {
    scope: Scope,
    pre_images: bool,
    commands: mpsc::Sender<Command>,
    ring: Arc<Ring>,
    state: watch::Receiver<State>,
    position: watch::Receiver<Option<ResumeToken>>,
    began: watch::Receiver<Option<Timestamp>>,
}

/// What a feed can be asked.
enum Command {
    /// Watch this collection too; the reply comes when no event after the reply's time can be missed any more.
    Watch {
        namespace: Namespace,
        reply: oneshot::Sender<Result<(), MongoError>>,
    },
}

impl Feed {
    /// Starts a feed. Its cursor opens in the background.
    pub fn start(
        connection: impl Into<Connection>,
        clock: Clock,
        scope: Scope,
        settings: FeedSettings,
        sink: Arc<dyn Sink>,
        gate: Arc<dyn Gate>,
        tasks: &Tasks,
    ) -> Self {
        let source = Arc::new(connection.into());
        Self::over(source, clock, scope, settings, sink, gate, tasks)
    }

    /// As [`Feed::start`], with events from elsewhere.
    pub(crate) fn over(
        source: Arc<dyn Source>,
        clock: Clock,
        scope: Scope,
        settings: FeedSettings,
        sink: Arc<dyn Sink>,
        gate: Arc<dyn Gate>,
        tasks: &Tasks,
    ) -> Self {
        let (commands, asked) = mpsc::channel(COMMANDS_MAX);
        let (state, state_seen) = watch::channel(State::Opening);
        let (position, position_seen) = watch::channel(None);
        let (began, began_seen) = watch::channel(None);
        let ring = Arc::new(Ring::new(settings.ring_bytes));
        let task = task::Task {
            source,
            clock,
            scope: scope.clone(),
            settings,
            sink,
            gate,
            asked,
            ring: Arc::clone(&ring),
            state,
            position,
            watched: BTreeSet::new(),
            began,
            last: None,
            heard_at: None,
            owes: None,
            answer_max: cursor::ANSWER_MAX,
            disturbances: 0,
        };
        tasks.spawn("mongo.feed", task.run());
        Self {
            scope,
            pre_images: settings.pre_images,
            commands,
            ring,
            state: state_seen,
            position: position_seen,
            began: began_seen,
        }
    }

    /// What is watched.
    pub fn scope(&self) -> &Scope {
        &self.scope
    }

    /// Whether its events bear the state before a change, where a collection keeps it.
    pub fn pre_images(&self) -> bool {
        self.pre_images
    }

    /// Makes sure that `namespace` is watched: every event of it that is written after this returns will come.
    ///
    /// # Errors
    /// The reason why the feed is down, if it is and has no place in history from which it will go on.
    /// # Cancel safety
    /// Safe: the collection may be watched all the same.
    pub async fn watch(&self, namespace: &Namespace) -> Result<(), MongoError> {
        let (reply, done) = oneshot::channel();
        let ended = || MongoError::Unreachable("shutting down".to_owned());
        let command = Command::Watch {
            namespace: namespace.clone(),
            reply,
        };
        self.commands.send(command).await.map_err(|_| ended())?;
        done.await.map_err(|_| ended())?
    }

    /// Waits until the cursor is open, at most `patience`.
    ///
    /// # Errors
    /// The reason why it is not.
    /// # Cancel safety
    /// Safe.
    pub async fn live(&self, patience: Duration) -> Result<(), MongoError> {
        let mut state = self.state.clone();
        let settled = state.wait_for(|state| !matches!(state, State::Opening));
        match tokio::time::timeout(patience, settled).await {
            Ok(Ok(state)) => match &*state {
                State::Live => Ok(()),
                State::Down(reason) => Err(reason.clone()),
                State::Opening => unreachable!("`wait_for` waited for another state"),
            },
            Ok(Err(_)) => Err(MongoError::Unreachable("shutting down".to_owned())),
            Err(_) => Err(MongoError::Unreachable(
                "the change stream does not open".to_owned(),
            )),
        }
    }

    /// How the feed is doing.
    pub fn state(&self) -> State {
        self.state.borrow().clone()
    }

    /// The recent events.
    pub fn ring(&self) -> &Arc<Ring> {
        &self.ring
    }

    /// Whether every event behind `time` of what is watched has come or will come: no history was lost since.
    pub fn is_whole_since(&self, time: Timestamp) -> bool {
        self.began.borrow().is_some_and(|began| began <= time)
    }

    /// How far the feed has come: everything at or before this has been handed to the sink.
    pub fn position(&self) -> watch::Receiver<Option<ResumeToken>> {
        self.position.clone()
    }
}
