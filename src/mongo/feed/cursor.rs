//! Opening a change stream over several collections, from a place in history.

use std::collections::BTreeSet;
use std::future::IntoFuture as _;
use std::sync::Arc;
use std::time::Duration;

use bson::{Document, RawDocumentBuf, Timestamp, doc};
use futures_util::future::{BoxFuture, FutureExt as _};
use mongodb::action::Watch;
use mongodb::change_stream::ChangeStream;
use mongodb::options::{
    FullDocumentBeforeChangeType, FullDocumentType, ReadPreference, SelectionCriteria,
};
use mongodb::{Client, Collection, Database};
use tokio::time::Instant;

use crate::mongo::{Event, MongoError, Namespace, ResumeToken};

/// An open change stream of raw events.
pub type Opened = Box<dyn Reader>;

/// What a [`Tail`] reads: MongoDB's change stream, or in a test what it is told.
pub trait Reader: Send {
    /// Reads the next event: nothing if there is none yet, or will be none.
    fn read(self: Box<Self>) -> BoxFuture<'static, (Opened, Read)>;
    /// Behind which place it would go on, if it were opened anew.
    fn token(&self) -> Option<ResumeToken>;
    /// Whether there may be more.
    fn is_alive(&self) -> bool;
}

/// What a read brought.
pub type Read = Result<Option<RawDocumentBuf>, MongoError>;

impl Reader for ChangeStream<RawDocumentBuf> {
    fn read(mut self: Box<Self>) -> BoxFuture<'static, (Opened, Read)> {
        let reading = async move {
            let read = self.next_if_any().await.map_err(MongoError::from);
            (self as Opened, read)
        };
        reading.boxed()
    }

    fn token(&self) -> Option<ResumeToken> {
        ResumeToken::from_driver(self.resume_token().as_ref()?)
    }

    fn is_alive(&self) -> bool {
        Self::is_alive(self)
    }
}

/// The pause of an idle feed's `getMore`.
const AWAIT_MAX: Duration = Duration::from_secs(1);

/// How long an answer may take before the way to MongoDB counts as broken: a peer that is cut off or stopped says nothing.
/// A healthy one answers after [`AWAIT_MAX`] at the latest, unless it has much of its history to go through.
pub(super) const ANSWER_MAX: Duration = Duration::from_secs(15);

/// The longest that an answer is waited for: MongoDB may have much of its history to go through.
const ANSWER_MAX_MOST: Duration = Duration::from_secs(8 * 60);

/// How long the next answer may take, after one that did not come in time: twice as long, up to [`ANSWER_MAX_MOST`].
pub fn longer(answer_max: Duration) -> Duration {
    (answer_max * 2).min(ANSWER_MAX_MOST)
}

/// Events that MongoDB sends at once. Without a bound it fills 16 MB before it answers: with a long history to go through, and a
/// document to look up for each update, a busy one does not do that within [`ANSWER_MAX`], however often it is asked.
const BATCH_EVENTS: u32 = 1000;

/// How long the event that MongoDB could not send is looked for.
const NEXT_ID_TIMEOUT: Duration = Duration::from_secs(10);

/// How much one change stream spans.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    /// One database.
    Database(Arc<str>),
    /// Every database of the deployment.
    Deployment,
}

impl Scope {
    /// Whether this scope spans a database.
    pub fn spans(&self, database: &str) -> bool {
        match self {
            Self::Database(name) => **name == *database,
            Self::Deployment => true,
        }
    }
}

impl std::fmt::Display for Scope {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Database(name) => f.write_str(name),
            Self::Deployment => f.write_str("(deployment)"),
        }
    }
}

/// Where a change stream begins.
#[derive(Clone, Debug)]
pub enum Start {
    /// With the first event at or after this time.
    At(Timestamp),
    /// Behind this event, also if it is an `invalidate`.
    After(ResumeToken),
}

/// How a change stream is read.
#[derive(Clone, Copy, Debug)]
pub struct Reading {
    /// How many events MongoDB sends at once. One makes it send them singly, to get past one that it cannot send.
    pub batch_size: u32,
    /// How long MongoDB holds a `getMore` for which there is nothing. An idle stream's token moves when it ends.
    pub await_max: Duration,
    /// How long an answer may take in all.
    pub answer_max: Duration,
    /// Whether events bear the state before a change, where a collection keeps it.
    pub pre_images: bool,
}

impl Default for Reading {
    fn default() -> Self {
        Self {
            batch_size: BATCH_EVENTS,
            await_max: AWAIT_MAX,
            answer_max: ANSWER_MAX,
            pre_images: false,
        }
    }
}

/// Opens a change stream over the `watched` collections of a scope, with further stages behind the selection.
///
/// # Errors
/// As [`MongoError`]: [`MongoError::HistoryLost`] if history does not reach back to `start`.
pub async fn open(
    client: &Client,
    scope: &Scope,
    watched: &BTreeSet<Namespace>,
    start: &Start,
    stages: &[Document],
    reading: Reading,
) -> Result<Opened, MongoError> {
    let wanted = selection(scope, watched, start);
    open_wanted(client, scope, wanted, start, stages, reading).await
}

/// As [`open`], without further stages, and the events with these ids are shown wherever they happened: so whoever reads sees
/// whether they are of this scope's history.
///
/// # Errors
/// As [`open`].
pub async fn open_showing(
    client: &Client,
    scope: &Scope,
    watched: &BTreeSet<Namespace>,
    start: &Start,
    ids: &[&ResumeToken],
    reading: Reading,
) -> Result<Opened, MongoError> {
    let mut wanted = selection(scope, watched, start);
    if !ids.is_empty() {
        let ids: Vec<&str> = ids.iter().map(|id| id.as_str()).collect();
        wanted.push(doc! { "_id._data": { "$in": ids } });
    }
    open_wanted(client, scope, wanted, start, &[], reading).await
}

/// Opens a change stream over one collection, through a pipeline.
///
/// # Errors
/// As [`MongoError`]: [`MongoError::HistoryLost`] if history does not reach back to `start`.
pub async fn open_collection(
    client: &Client,
    namespace: &Namespace,
    start: &Start,
    stages: Vec<Document>,
    reading: Reading,
) -> Result<Opened, MongoError> {
    let database = client.database(&namespace.database);
    let target = Target::Collection(database.collection(&namespace.collection));
    open_target(&target, stages, start, reading).await
}

/// What is watched: they have one type of action, which borrows them.
enum Target<'a> {
    Collection(Collection<Document>),
    Database(Database),
    Deployment(&'a Client),
}

impl<'a> Target<'a> {
    fn of(client: &'a Client, scope: &Scope) -> Self {
        match scope {
            Scope::Database(name) => Self::Database(client.database(name)),
            Scope::Deployment => Self::Deployment(client),
        }
    }

    fn watch(&self) -> Watch<'_> {
        match self {
            Self::Collection(collection) => collection.watch(),
            Self::Database(database) => database.watch(),
            Self::Deployment(client) => client.watch(),
        }
    }
}

async fn open_wanted(
    client: &Client,
    scope: &Scope,
    wanted: Vec<Document>,
    start: &Start,
    stages: &[Document],
    reading: Reading,
) -> Result<Opened, MongoError> {
    let selection = doc! { "$match": { "$or": wanted } };
    let pipeline = std::iter::once(selection).chain(stages.iter().cloned());
    let target = Target::of(client, scope);
    let opened = open_target(&target, pipeline, start, reading).await;
    opened.map_err(MongoError::on_resuming)
}

async fn open_target(
    target: &Target<'_>,
    pipeline: impl IntoIterator<Item = Document>,
    start: &Start,
    reading: Reading,
) -> Result<Opened, MongoError> {
    let watch = target
        .watch()
        .pipeline(pipeline)
        .full_document(FullDocumentType::UpdateLookup)
        .max_await_time(reading.await_max);
    let watch = watch.batch_size(reading.batch_size);
    let watch = match reading.pre_images {
        true => watch.full_document_before_change(FullDocumentBeforeChangeType::WhenAvailable),
        false => watch,
    };
    let watch = match start {
        Start::At(time) => watch.start_at_operation_time(*time),
        Start::After(token) => watch.start_after(token.to_driver()),
    };
    match tokio::time::timeout(reading.answer_max, watch.into_future()).await {
        Ok(Ok(cursor)) => Ok(Box::new(cursor.with_type())),
        Ok(Err(error)) => Err(MongoError::from(error)),
        Err(_) => Err(MongoError::NoAnswer),
    }
}

/// The events that concern the watched collections. A `dropDatabase` and an `invalidate` bear no collection; the event
/// behind which the stream starts must not be hidden by the filter, or MongoDB refuses to resume (280). Only the `_data` of its
/// id counts: that of a document whose `_id` is a long or a double has `_typeBits` beside it, which no client is told.
fn selection(scope: &Scope, watched: &BTreeSet<Namespace>, start: &Start) -> Vec<Document> {
    let mut wanted = vec![doc! { "operationType": { "$in": ["dropDatabase", "invalidate"] } }];
    match scope {
        Scope::Database(_) => {
            let names: Vec<&str> = watched
                .iter()
                .map(|namespace| &*namespace.collection)
                .collect();
            wanted.push(doc! { "ns.coll": { "$in": names.clone() } });
            wanted.push(doc! { "to.coll": { "$in": names } });
        }
        Scope::Deployment => {
            let names = |namespace: &Namespace| doc! { "db": &*namespace.database, "coll": &*namespace.collection };
            let names: Vec<Document> = watched.iter().map(names).collect();
            wanted.push(doc! { "ns": { "$in": names.clone() } });
            wanted.push(doc! { "to": { "$in": names } });
        }
    }
    if let Start::After(token) = start {
        wanted.push(doc! { "_id._data": token.as_str() });
    }
    wanted
}

/// Finds the next event behind `position` without asking for its content: one that cannot be sent, or evaluated.
///
/// # Errors
/// As [`MongoError`]; also if no event comes in time.
pub async fn next_id(
    client: &Client,
    scope: &Scope,
    watched: &BTreeSet<Namespace>,
    position: &Start,
) -> Result<(ResumeToken, Namespace), MongoError> {
    let names_only = [doc! { "$project": { "_id": 1, "ns": 1 } }];
    let reading = Reading {
        batch_size: 1,
        ..Reading::default()
    };
    let mut ids = Tail::new(
        open(client, scope, watched, position, &names_only, reading).await?,
        "probe",
    );
    let next = async {
        loop {
            match ids.step().await? {
                Step::Event(raw) => return Ok(raw),
                Step::Nothing => (),
                Step::End => return Err(MongoError::Unreachable("no next event".to_owned())),
            }
        }
    };
    let none = |_| MongoError::Unreachable("no next event in time".to_owned());
    let raw = tokio::time::timeout(NEXT_ID_TIMEOUT, next)
        .await
        .map_err(none)??;
    let event = Event::read(raw)
        .ok_or_else(|| MongoError::Unreachable("an event without a token".to_owned()))?;
    let namespace = Namespace {
        database: event.database.clone(),
        collection: event.collection.clone(),
    };
    Ok((event.token, namespace))
}

/// Whether MongoDB's history has this event: one restored from a backup has not, nor has another deployment. Also `true`
/// where history does not reach back so far.
///
/// # Errors
/// As [`MongoError`].
pub async fn has_happened(
    client: &Client,
    scope: &Scope,
    token: &ResumeToken,
) -> Result<bool, MongoError> {
    let it = doc! { "$match": { "_id._data": token.as_str() } };
    let target = Target::of(client, scope);
    // The primary has all that any member has told us.
    let primary = SelectionCriteria::ReadPreference(ReadPreference::Primary);
    let watch = target
        .watch()
        .pipeline([it, doc! { "$project": { "_id": 1 } }])
        .start_at_operation_time(token.time())
        .selection_criteria(primary)
        .batch_size(1)
        .max_await_time(AWAIT_MAX);
    let opened = tokio::time::timeout(ANSWER_MAX, watch.into_future());
    let opened = match opened.await.map_err(|_| MongoError::NoAnswer)? {
        Ok(opened) => Box::new(opened.with_type()),
        Err(error) => {
            return match MongoError::from(error) {
                MongoError::HistoryLost(_) => Ok(true),
                other => Err(other),
            };
        }
    };
    let mut probe = Tail::new(opened, "probe");
    loop {
        match probe.step().await? {
            Step::Event(_) => return Ok(true),
            Step::Nothing => (),
            Step::End => return Ok(false),
        }
        // A new primary may need a moment until it knows what a majority has: until then its history seems to end before.
        let is_past = |place: &ResumeToken| place.time() > token.time();
        if probe.token().is_some_and(is_past) {
            return Ok(false);
        }
    }
}

/// Reads a change stream, one step at a time.
///
/// The driver's own `Stream` hides the token while it waits, and a read that is dropped half-way loses its batch; here the
/// read that is under way is kept until it is done.
pub struct Tail {
    kind: &'static str,
    /// The stream, while nobody reads it.
    idle: Option<Opened>,
    /// The read that is under way, and until when it may take.
    reading: Option<(BoxFuture<'static, (Opened, Read)>, Instant)>,
    token: Option<ResumeToken>,
    answer_max: Duration,
}

impl Drop for Tail {
    fn drop(&mut self) {
        metrics::gauge!("sidestream_cursors", "kind" => self.kind).decrement(1.0);
    }
}

/// What a read brought.
#[derive(Debug)]
pub enum Step {
    /// An event.
    Event(RawDocumentBuf),
    /// Nothing new; the token may have moved.
    Nothing,
    /// The stream is over: its last event was an `invalidate`.
    End,
}

impl Tail {
    /// Begins to read. `kind` is the label by which the metric `sidestream_cursors` counts it.
    pub fn new(stream: Opened, kind: &'static str) -> Self {
        metrics::gauge!("sidestream_cursors", "kind" => kind).increment(1.0);
        metrics::counter!("sidestream_cursor_opens_total", "kind" => kind).increment(1);
        let token = stream.token();
        Self {
            kind,
            idle: Some(stream),
            reading: None,
            token,
            answer_max: ANSWER_MAX,
        }
    }

    /// Lets an answer take so long.
    pub fn within(mut self, answer_max: Duration) -> Self {
        self.answer_max = answer_max;
        self
    }

    /// Behind which place the stream would go on, if it were opened anew now.
    pub fn token(&self) -> Option<&ResumeToken> {
        self.token.as_ref()
    }

    /// Waits for the next event, or until MongoDB says that there is none yet.
    ///
    /// # Errors
    /// As [`MongoError`]; the stream is of no more use then.
    /// # Cancel safety
    /// Safe: the read goes on with the next call.
    pub async fn step(&mut self) -> Result<Step, MongoError> {
        let reading = match (&mut self.reading, self.idle.take()) {
            (Some(reading), _) => reading,
            (none, Some(stream)) => none.insert((stream.read(), Instant::now() + self.answer_max)),
            (None, None) => return Ok(Step::End),
        };
        let (reading, until) = reading;
        let done = tokio::time::timeout_at(*until, reading).await;
        self.reading = None;
        let (stream, read) = done.map_err(|_| MongoError::NoAnswer)?;
        let read = read?;
        if let Some(token) = stream.token() {
            self.token = Some(token);
        }
        let is_over = read.is_none() && !stream.is_alive();
        self.idle = Some(stream);
        Ok(match read {
            Some(raw) => Step::Event(raw),
            None if is_over => Step::End,
            None => Step::Nothing,
        })
    }

    /// The next step, if it need not be waited for.
    pub fn step_now(&mut self) -> Option<Result<Step, MongoError>> {
        self.step().now_or_never()
    }
}
