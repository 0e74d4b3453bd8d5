//! Which dedicated cursors there are.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use mongodb::Client;
use tokio::sync::{OnceCell, mpsc};

use super::cursor::{Cursor, Joining, Source, Work};
use super::returning::Rooms;
use crate::delivery::Outbox;
use crate::engine::plan::PipelineKey;
use crate::engine::{EngineSettings, From, Plan, Refused};
use crate::lifecycle::Tasks;
use crate::mongo::MongoError;
use crate::mongo::feed::{Feed, Start};

/// Sessions that may wait to be taken in by one cursor; a further one waits.
const WORK_MAX: usize = 1024;

/// The dedicated cursors, by pipeline.
#[derive(Debug)]
pub(in crate::engine) struct Pool {
    client: Client,
    settings: EngineSettings,
    tasks: Tasks,
    pub(super) cursors: Arc<Cursors>,
    /// Where those wait who come back.
    pub(super) rooms: Rooms,
}

type ByKey = HashMap<Key, Arc<OnceCell<mpsc::Sender<Work>>>>;

#[derive(Debug, Default)]
pub(super) struct Cursors {
    by_key: Mutex<ByKey>,
    open: AtomicUsize,
    /// Numbers the cursors of clients that came back.
    own_next: AtomicU64,
    by_stream: Mutex<HashMap<Arc<str>, usize>>,
}

/// By what a cursor is found.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pipeline: PipelineKey,
    /// The number of one that was opened for clients that came back, at an earlier place; `None` of the one that all share.
    own: Option<u64>,
}

impl Cursors {
    fn by_key(&self) -> MutexGuard<'_, ByKey> {
        self.by_key
            .lock()
            .expect("invariant: nothing panics under this lock")
    }

    /// The open cursors of a pipeline: the one that all share, and those of clients that came back.
    pub(super) fn of(&self, pipeline: &PipelineKey) -> Vec<mpsc::Sender<Work>> {
        let by_key = self.by_key();
        let of_it = by_key.iter().filter(|(key, _)| key.pipeline == *pipeline);
        of_it.filter_map(|(_, cell)| cell.get().cloned()).collect()
    }
}

/// One place among the limited number of cursors; given back when dropped.
#[derive(Debug)]
pub(super) struct Place {
    cursors: Arc<Cursors>,
    key: Key,
    stream: Arc<str>,
}

/// What else there is of a pipeline.
pub(super) enum Beside {
    /// The cursor that all share.
    Shared(mpsc::Sender<Work>),
    /// Nothing: so this cursor is the one that all share from now on.
    Nobody,
    /// The one that all are to share is just being opened.
    Opening,
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
    /// Whether it is the place of a cursor that was opened for clients that came back.
    pub(super) fn is_own(&self) -> bool {
        self.key.own.is_some()
    }

    /// Looks for the cursor that all share. If there is none, this one is from now on.
    pub(super) fn beside(&mut self) -> Beside {
        let shared = Key {
            pipeline: self.key.pipeline.clone(),
            own: None,
        };
        let mut by_key = self.cursors.by_key();
        if let Some(cell) = by_key.get(&shared) {
            match cell.get() {
                Some(other) if !other.is_closed() => return Beside::Shared(other.clone()),
                Some(_) => (),
                None => return Beside::Opening,
            }
        }
        if let Some(this) = by_key.remove(&self.key) {
            by_key.insert(shared.clone(), this);
            drop(by_key);
            self.key = shared;
        }
        Beside::Nobody
    }

    /// Takes the cursor out of the pool, so that nobody joins it any more.
    pub(super) fn close(&self) {
        let mut by_key = self.cursors.by_key();
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
            rooms: Rooms::default(),
        }
    }

    pub(in crate::engine) fn open_cursors(&self) -> usize {
        self.cursors.open.load(Ordering::Acquire)
    }

    /// Joins a cursor with this pipeline, opening one if there is none that will do.
    pub(in crate::engine) async fn subscribe(
        &self,
        feed: &Arc<Feed>,
        plan: &Plan,
        from: &From,
        outbox: &Outbox,
    ) -> Result<(), Refused> {
        if from.resume.is_some() {
            return self.come_back(feed, plan, from, outbox).await;
        }
        let key = Key {
            pipeline: plan.key.pipeline.clone(),
            own: None,
        };
        loop {
            let cell = {
                let mut by_key = self.cursors.by_key();
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
            let start = Start::At(from.floor);
            let joining = cell
                .get_or_try_init(|| self.open(feed, plan, start, &key))
                .await?;
            let member = Joining {
                plan: plan.clone(),
                from: from.clone(),
                outbox: outbox.clone(),
                taken: None,
            };
            if joining.send(Work::Join(Box::new(member))).await.is_ok() {
                return Ok(());
            }
            // The cursor ended for want of members just now; the next round opens another.
        }
    }

    /// Opens a cursor for clients that come back, at a place of theirs.
    pub(super) async fn open_own(
        &self,
        feed: &Arc<Feed>,
        plan: &Plan,
        start: Start,
    ) -> Result<mpsc::Sender<Work>, Refused> {
        let key = Key {
            pipeline: plan.key.pipeline.clone(),
            own: Some(self.cursors.own_next.fetch_add(1, Ordering::Relaxed)),
        };
        let work = self.open(feed, plan, start, &key).await?;
        let cell = Arc::new(OnceCell::new_with(Some(work.clone())));
        let mut by_key = self.cursors.by_key();
        by_key.insert(key.clone(), cell);
        // It has not been found there if it has ended already.
        if work.is_closed() {
            by_key.remove(&key);
        }
        drop(by_key);
        Ok(work)
    }

    async fn open(
        &self,
        feed: &Arc<Feed>,
        plan: &Plan,
        start: Start,
        key: &Key,
    ) -> Result<mpsc::Sender<Work>, Refused> {
        let place = self.place(key, &plan.stream)?;
        let source = Source::new(self.client.clone(), &plan.wanted, feed.pre_images());
        let stream = source.check(&start).await.map_err(|error| match error {
            MongoError::HistoryLost(_) => Refused::HistoryLost,
            MongoError::Refused { message, .. } => Refused::Pipeline(message),
            other => Refused::Unavailable(other),
        })?;
        let (work, asked) = mpsc::channel(WORK_MAX);
        let patience = self.settings.patience;
        let cursor = Cursor::new(source, start, asked, feed.position(), place, patience);
        self.tasks.spawn("engine.dedicated", cursor.run(stream));
        Ok(work)
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
    cell: &'a Arc<OnceCell<mpsc::Sender<Work>>>,
}

impl Drop for Unopened<'_> {
    fn drop(&mut self) {
        if self.cell.initialized() {
            return;
        }
        let mut by_key = self.cursors.by_key();
        let is_current = |current: &Arc<_>| Arc::ptr_eq(current, self.cell);
        // The pool's handle and this one: whoever else waits opens the cursor himself and needs the place in the pool.
        if by_key.get(self.key).is_some_and(is_current) && Arc::strong_count(self.cell) <= 2 {
            by_key.remove(self.key);
        }
    }
}
