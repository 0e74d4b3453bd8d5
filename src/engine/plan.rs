//! A bound pipeline with its way of being served chosen.

use std::sync::Arc;

use bson::{Document, RawDocumentBuf};

use crate::engine::groups::Place;
use crate::lifecycle::Tasks;
use crate::mongo::Namespace;
use crate::query::{self, Necessary, Pipeline, Predicate};
use crate::wire::deflate::Window;
use crate::wire::{JsonMode, Veil};

/// How a frame of a session looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Framing {
    /// A WebSocket text frame; with `ids` each begins with the event's `_id`.
    WebSocket {
        /// The client asked for ids.
        ids: bool,
        /// Messages are compressed, looking back so far.
        deflate: Option<Window>,
    },
    /// An event of `text/event-stream`.
    Sse,
}

/// What a session wants of a collection.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// The collection that is watched.
    pub namespace: Namespace,
    /// The stages behind `$changeStream`, bound.
    pub stages: Vec<Document>,
    /// A `$match` filter on the event as it goes out (`notify_when`).
    pub notify: Option<Document>,
    /// What of an event is hidden from this session.
    pub veil: Veil,
    /// How values are written.
    pub mode: JsonMode,
    /// How frames are written.
    pub framing: Framing,
}

/// How a pipeline is evaluated.
#[derive(Clone, Debug)]
pub enum Served {
    /// In process: every stage compiles.
    Shared(Arc<Pipeline>),
    /// By MongoDB, in a cursor shared by all sessions with an equal pipeline.
    Dedicated {
        /// Why it cannot be evaluated in process.
        reason: String,
    },
}

/// All fields that two sessions must have in common to be one group. Compared by value, never by hash.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PlanKey {
    pub(super) pipeline: PipelineKey,
    notify: Option<Vec<u8>>,
    veil: Veil,
    mode: JsonMode,
    framing: Framing,
}

impl PlanKey {
    fn of(wanted: &Wanted) -> Result<Self, PlanError> {
        let encode = |document: &Document| {
            let raw = RawDocumentBuf::try_from(document)
                .map_err(|error| PlanError::Encoding(error.to_string()))?;
            Ok(raw.into_bytes())
        };
        let mut stages = Vec::new();
        for stage in &wanted.stages {
            stages.extend(encode(stage)?);
        }
        Ok(Self {
            pipeline: PipelineKey {
                namespace: wanted.namespace.clone(),
                stages,
            },
            notify: wanted.notify.as_ref().map(encode).transpose()?,
            veil: wanted.veil.clone(),
            mode: wanted.mode,
            framing: wanted.framing,
        })
    }

    /// How long the pipeline is, with what it is compared by.
    pub(super) fn bytes(&self) -> usize {
        self.pipeline.stages.len() + self.notify.as_ref().map_or(0, Vec::len)
    }
}

/// What two sessions must have in common to share a cursor.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PipelineKey {
    namespace: Namespace,
    stages: Vec<u8>,
}

/// A bound pipeline with its way of being served chosen.
#[derive(Clone, Debug)]
pub struct Plan {
    /// What the session wants.
    pub wanted: Arc<Wanted>,
    /// How the stages are evaluated.
    pub served: Served,
    /// The compiled `notify_when`.
    pub notify: Option<Arc<Predicate>>,
    pub(super) key: PlanKey,
    /// The stream's name, by which dedicated cursors are counted. Equal plans of two streams are one group all the same.
    pub(super) stream: Arc<str>,
    /// The place of the group that this plan founds.
    pub(super) place: Option<Arc<Place>>,
}

/// Why a pipeline can be served neither way.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// It cannot be written as BSON.
    #[error("the pipeline cannot be encoded: {0}")]
    Encoding(String),
    /// `notify_when` is evaluated on what goes out, so MongoDB cannot do it for us.
    #[error("notify_when cannot be evaluated: {0}")]
    Notify(String),
    /// The process ends, and compiles nothing more.
    #[error("the server is shutting down")]
    Ending,
}

impl Plan {
    /// Chooses how `wanted` is served.
    ///
    /// # Errors
    /// As [`PlanError`].
    pub fn choose(wanted: Wanted) -> Result<Self, PlanError> {
        let key = PlanKey::of(&wanted)?;
        Self::compile(wanted, key)
    }

    /// As [`Plan::choose`]; a pipeline that may take long to compile is compiled on a thread where that holds nobody up.
    ///
    /// # Errors
    /// As [`PlanError`].
    pub(super) async fn choose_aside(wanted: Wanted, tasks: &Tasks) -> Result<Self, PlanError> {
        let key = PlanKey::of(&wanted)?;
        if key.bytes() <= COMPILED_HERE_BYTES_MAX {
            return Self::compile(wanted, key);
        }
        let compiling = tasks.spawn_blocking("engine.compile", || Self::compile(wanted, key));
        match compiling.await {
            Ok(plan) => plan,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(_cancelled) => Err(PlanError::Ending),
            },
        }
    }

    fn compile(wanted: Wanted, key: PlanKey) -> Result<Self, PlanError> {
        let notify = wanted.notify.as_ref().map(query::compile).transpose();
        let notify = notify.map_err(|unsupported| PlanError::Notify(unsupported.to_string()))?;
        Ok(Self {
            served: serve(&wanted.stages),
            stream: wanted.namespace.to_string().into(),
            wanted: Arc::new(wanted),
            notify: notify.map(Arc::new),
            key,
            place: None,
        })
    }

    /// Names the stream that it belongs to. Without a name it is the collection's.
    pub fn of_stream(self, stream: impl Into<Arc<str>>) -> Self {
        Self {
            stream: stream.into(),
            ..self
        }
    }

    /// What every event that passes must have, for the index: what each of its filters asks for. `notify_when` is
    /// asked of what goes out, and so says something of the event itself only where the stages keep its paths.
    pub fn necessary(&self) -> Necessary {
        let (stages, pipeline) = match &self.served {
            Served::Shared(pipeline) => (pipeline.necessary(), Some(pipeline)),
            Served::Dedicated { .. } => (Necessary::anything(), None),
        };
        let paths = self.wanted.notify.iter().flat_map(Document::keys);
        let is_kept = |path: &String| {
            !path.starts_with('$') && pipeline.is_none_or(|pipeline| pipeline.keeps(path))
        };
        let are_kept = paths.into_iter().all(is_kept);
        let notify = self.notify.as_deref().filter(|_| are_kept);
        let notify = notify.map(Predicate::necessary);
        let all = std::iter::once(stages).chain(notify);
        all.reduce(Necessary::and)
            .unwrap_or_else(Necessary::anything)
    }

    /// Whether the feed alone serves it.
    pub fn is_shared(&self) -> bool {
        matches!(self.served, Served::Shared(_))
    }
}

/// What is longer is compiled aside. An ordinary filter of this length takes some tens of microseconds; one made of
/// regular expressions some milliseconds (`examples/bench-compile`).
const COMPILED_HERE_BYTES_MAX: usize = 1 << 10;

/// Chooses how a pipeline is evaluated. Also what `check` and `/streams` tell of a definition.
pub fn serve(stages: &[Document]) -> Served {
    match query::compile_pipeline(stages) {
        Ok(pipeline) => Served::Shared(Arc::new(pipeline)),
        Err(unsupported) => Served::Dedicated {
            reason: unsupported.to_string(),
        },
    }
}
