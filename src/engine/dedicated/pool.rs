//! Which dedicated cursors there are.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use mongodb::Client;
use tokio::sync::{OnceCell, mpsc};

use super::cursor::{Cursor, Joining, Source};
use crate::delivery::Outbox;
use crate::engine::plan::PipelineKey;
use crate::engine::{EngineSettings, From, Plan, Refused};
use crate::lifecycle::Tasks;
use crate::mongo::MongoError;
use crate::mongo::feed::{Feed, Start};

/// Sessions that may wait to be taken in by one cursor; a further one waits.
const JOINING_MAX: usize = 1024;

/// The dedicated cursors, by pipeline.
#[derive(Debug)]
pub(in crate::engine) struct Pool {
    client: Client,
    settings: EngineSettings,
    tasks: Tasks,
    cursors: Arc<Cursors>,
}

#[derive(Debug, Default)]
pub(super) struct Cursors {
    by_key: Mutex<HashMap<Key, Arc<OnceCell<mpsc::Sender<Joining>>>>>,
    open: AtomicUsize,
    /// Numbers the cursors of clients that came back.
    own_next: AtomicU64,
    by_stream: Mutex<HashMap<Arc<str>, usize>>,
}

/// A client that comes back has a cursor of its own, from its place on: one that another opened at the same place has
/// gone on since, and what it has passed would be missed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    pipeline: PipelineKey,
    own: Option<u64>,
}

/// One place among the limited number of cursors; given back when dropped.
#[derive(Debug)]
pub(super) struct Place {
    cursors: Arc<Cursors>,
    key: Key,
    stream: Arc<str>,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.cursors.open.fetch_sub(1, Ordering::AcqRel);
        let mut by_stream = self
            .cursors
            .by_stream
            .lock()
            .expect("invariant: nothing panics under this lock");
        if let Some(count) = by_stream.get_mut(&self.stream) {
            *count -= 1;
            if *count == 0 {
                by_stream.remove(&self.stream);
            }
        }
    }
}

impl Place {
    /// Takes the cursor out of the pool, so that nobody joins it any more.
    pub(super) fn close(&self) {
        let mut by_key = self
            .cursors
            .by_key
            .lock()
            .expect("invariant: nothing panics under this lock");
        if by_key
            .get(&self.key)
            .is_some_and(|cell| cell.get().is_none_or(mpsc::Sender::is_closed))
        {
            by_key.remove(&self.key);
        }
    }
}

impl Pool {
    pub(in crate::engine) fn new(client: Client, settings: EngineSettings, tasks: Tasks) -> Self {
        Self {
            client,
            settings,
            tasks,
            cursors: Arc::default(),
        }
    }

    pub(in crate::engine) fn open_cursors(&self) -> usize {
        self.cursors.open.load(Ordering::Acquire)
    }

    /// Joins the cursor with this pipeline, opening it if there is none.
    pub(in crate::engine) async fn subscribe(
        &self,
        feed: &Arc<Feed>,
        plan: &Plan,
        from: &From,
        outbox: &Outbox,
    ) -> Result<(), Refused> {
        let key = Key {
            pipeline: plan.key.pipeline.clone(),
            own: from
                .resume
                .as_ref()
                .map(|_| self.cursors.own_next.fetch_add(1, Ordering::Relaxed)),
        };
        loop {
            let cell = {
                let mut by_key = self
                    .cursors
                    .by_key
                    .lock()
                    .expect("invariant: nothing panics under this lock");
                let cell = by_key.entry(key.clone()).or_default();
                if cell.get().is_some_and(mpsc::Sender::is_closed) {
                    *cell = Arc::default();
                }
                Arc::clone(cell)
            };
            // Also where the caller goes away while the cursor opens.
            let _unopened = Unopened {
                cursors: &self.cursors,
                key: &key,
                cell: &cell,
            };
            let joining = cell
                .get_or_try_init(|| self.open(feed, plan, from, &key))
                .await?;
            let member = Joining {
                plan: plan.clone(),
                from: from.clone(),
                outbox: outbox.clone(),
            };
            if joining.send(member).await.is_ok() {
                return Ok(());
            }
            // The cursor ended for want of members just now; the next round opens another.
        }
    }

    async fn open(
        &self,
        feed: &Arc<Feed>,
        plan: &Plan,
        from: &From,
        key: &Key,
    ) -> Result<mpsc::Sender<Joining>, Refused> {
        let place = self.place(key, &plan.stream)?;
        let start = match &from.resume {
            // The time, since the id may be that of an event in another collection; what is not behind it is left out. A
            // stream of the collection itself is ended by a drop, whatever the pipeline lets pass.
            Some(token) => Start::At(token.time()),
            None => Start::At(from.floor),
        };
        let source = Source::new(self.client.clone(), &plan.wanted);
        let stream = source.check(&start).await.map_err(|error| match error {
            MongoError::HistoryLost(_) => Refused::HistoryLost,
            MongoError::Refused { message, .. } => Refused::Pipeline(message),
            other => Refused::Unavailable(other),
        })?;
        let (joining, joins) = mpsc::channel(JOINING_MAX);
        let patience = self.settings.patience;
        let cursor = Cursor::new(source, start, joins, feed.position(), place, patience);
        self.tasks.spawn("engine.dedicated", cursor.run(stream));
        Ok(joining)
    }

    fn place(&self, key: &Key, stream: &Arc<str>) -> Result<Place, Refused> {
        let mut by_stream = self
            .cursors
            .by_stream
            .lock()
            .expect("invariant: nothing panics under this lock");
        let here = by_stream.get(stream).copied().unwrap_or(0);
        if here >= self.settings.dedicated_cursors_per_stream_max {
            return Err(Refused::Limit {
                limit: "dedicated_cursors_per_stream",
            });
        }
        if self.open_cursors() >= self.settings.dedicated_cursors_max {
            return Err(Refused::Limit {
                limit: "dedicated_cursors",
            });
        }
        self.cursors.open.fetch_add(1, Ordering::AcqRel);
        by_stream.insert(Arc::clone(stream), here + 1);
        Ok(Place {
            cursors: Arc::clone(&self.cursors),
            key: key.clone(),
            stream: Arc::clone(stream),
        })
    }
}

/// Takes a cursor that was never opened out of the pool again, unless others wait for it too.
struct Unopened<'a> {
    cursors: &'a Cursors,
    key: &'a Key,
    cell: &'a Arc<OnceCell<mpsc::Sender<Joining>>>,
}

impl Drop for Unopened<'_> {
    fn drop(&mut self) {
        if self.cell.initialized() {
            return;
        }
        let mut by_key = self
            .cursors
            .by_key
            .lock()
            .expect("invariant: nothing panics under this lock");
        let is_current = |current: &Arc<_>| Arc::ptr_eq(current, self.cell);
        // The pool's handle and this one: whoever else waits opens the cursor himself and needs the place in the pool.
        if by_key.get(self.key).is_some_and(is_current) && Arc::strong_count(self.cell) <= 2 {
            by_key.remove(self.key);
        }
    }
}
