//! Documents of a large collection, read on demand and remembered until the feed says that they changed.

use std::collections::{BTreeSet, HashMap};
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bson::{Bson, Document, Timestamp, doc};
use futures_util::TryStreamExt as _;
use futures_util::future::{BoxFuture, FutureExt as _, Shared, WeakShared};
use lru::LruCache;
use mongodb::Client;
use tokio::time::Instant;

use crate::mongo::client::Clock;
use crate::mongo::mirror::Known;
use crate::mongo::{MongoError, Namespace};

/// How long "there is no such document" is believed without asking again.
const ABSENCE_REMEMBERED: Duration = Duration::from_secs(1);
/// How often one find is repeated because a change overtook it, before its answer is given unremembered.
const OVERTAKEN_MAX: u32 = 3;

/// Names that are asked for at once.
const NAMES_PER_FIND: usize = 1000;

const ID: &str = "_id";
/// Later than every reading.
const TIME_MAX: Timestamp = Timestamp {
    time: u32::MAX,
    increment: u32::MAX,
};

type Reading = Shared<BoxFuture<'static, Result<Known, MongoError>>>;
/// Does not keep a find going that everybody has given up: its answer would be old when the next one asks.
type Weak = WeakShared<BoxFuture<'static, Result<Known, MongoError>>>;

/// Finds documents by `_id`, or another property, that is a string, and remembers them.
///
/// A lookup takes its place in the table before it reads, so that a change that overtakes it is noticed. While no feed
/// watches the collection nothing is remembered: each question goes to MongoDB.
pub struct Lookup {
    state: Arc<State>,
}

struct State {
    namespace: Namespace,
    client: Client,
    clock: Clock,
    /// The property that is asked for.
    property: String,
    watched: AtomicBool,
    table: Mutex<Table>,
}

struct Table {
    slots: LruCache<String, Slot>,
    finds: Finds,
    /// How many finds were begun, and which of them was the first that is watched from its beginning on.
    begun: u64,
    watched_from: u64,
}

enum Slot {
    /// A find is under way, as long as somebody waits for it. The time is that of the newest change seen meanwhile.
    Reading {
        reading: Weak,
        /// Tells it from a later one of the same name.
        number: u64,
        overtaken: Option<Timestamp>,
    },
    Known {
        known: Known,
        read_at: Instant,
    },
}

/// A bucket of finds that fills up evenly.
#[derive(Debug)]
pub struct Finds {
    per_second: f64,
    left: f64,
    filled_at: Instant,
}

impl std::fmt::Debug for Lookup {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lookup")
            .field("namespace", &self.state.namespace)
            .finish_non_exhaustive()
    }
}

impl Lookup {
    /// Remembers up to `remembered_max` documents of `namespace` and sends at most `finds_per_second` finds.
    pub fn new(
        namespace: Namespace,
        client: Client,
        clock: Clock,
        remembered_max: NonZeroUsize,
        finds_per_second: u32,
    ) -> Self {
        let table = Table {
            slots: LruCache::new(remembered_max),
            finds: Finds::new(finds_per_second),
            begun: 0,
            watched_from: 0,
        };
        let state = State {
            namespace,
            client,
            clock,
            property: ID.to_owned(),
            watched: AtomicBool::new(false),
            table: Mutex::new(table),
        };
        Self {
            state: Arc::new(state),
        }
    }

    /// Looks documents up by another property than `_id`. To be called before anything is asked.
    pub fn by(self, property: String) -> Self {
        let State {
            namespace,
            client,
            clock,
            table,
            ..
        } = Arc::into_inner(self.state)
            .expect("invariant: nobody has asked yet, so nobody else holds the state");
        let state = State {
            namespace,
            client,
            clock,
            property,
            watched: AtomicBool::new(false),
            table,
        };
        Self {
            state: Arc::new(state),
        }
    }

    /// The name under which a changed document is remembered: its property now, or, where it is gone, the one under which
    /// a document with that `_id` is remembered.
    pub fn name_of(&self, id: &Bson, document: Option<&Document>) -> Option<String> {
        if self.state.property == ID {
            return id.as_str().map(str::to_owned);
        }
        if let Some(name) =
            document.and_then(|document| document.get_str(&self.state.property).ok())
        {
            return Some(name.to_owned());
        }
        let mut table = self.state.lock();
        let is_it = |slot: &Slot| match slot {
            Slot::Known { known, .. } => known
                .document
                .as_ref()
                .is_some_and(|document| document.get(ID) == Some(id)),
            Slot::Reading { .. } => false,
        };
        let found = table.slots.iter().find(|(_, slot)| is_it(slot));
        let found = found.map(|(name, _)| name.clone());
        if found.is_none() {
            // A find under way may bring it under whatever name: each reads once more.
            for (_, slot) in table.slots.iter_mut() {
                if let Slot::Reading { overtaken, .. } = slot {
                    *overtaken = Some(TIME_MAX);
                }
            }
        }
        found
    }

    /// The collection that is looked into.
    pub fn namespace(&self) -> &Namespace {
        &self.state.namespace
    }

    /// Says whether a feed watches the collection from now on. What was remembered is forgotten when it ends.
    pub fn set_watched(&self, watched: bool) {
        let mut table = self.state.lock();
        let before = self.state.watched.swap(watched, Ordering::AcqRel);
        if !watched {
            table.slots.clear();
        } else if !before {
            // What changed under a find that began earlier may not have been seen.
            table.watched_from = table.begun;
        }
    }

    /// Returns the document with this `_id`, from memory or from MongoDB. Equal questions share one find.
    ///
    /// # Errors
    /// [`MongoError::TooManyFinds`] at the limit, else as [`MongoError`].
    /// # Cancel safety
    /// Safe: a find that others share goes on with them.
    pub async fn find(&self, id: &str) -> Result<Known, MongoError> {
        let reading = {
            let mut table = self.state.lock();
            match table.slots.get(id) {
                Some(Slot::Known { known, read_at }) if self.state.is_good(known, *read_at) => {
                    return Ok(known.clone());
                }
                Some(Slot::Reading { reading, .. }) => match reading.upgrade() {
                    Some(reading) => reading,
                    None => self.start(&mut table, id)?,
                },
                _ => self.start(&mut table, id)?,
            }
        };
        reading.await
    }

    /// Reads the document anew, whatever is remembered.
    ///
    /// # Errors
    /// As [`Lookup::find`].
    pub async fn refresh(&self, id: &str) -> Result<Known, MongoError> {
        let reading = self.start(&mut self.state.lock(), id)?;
        reading.await
    }

    /// Reads the documents of these names, past what is remembered. Those that are not there are not in the answer.
    ///
    /// # Errors
    /// As [`MongoError`].
    pub async fn read_all(
        &self,
        names: &BTreeSet<String>,
    ) -> Result<HashMap<String, Document>, MongoError> {
        let State { property, .. } = &*self.state;
        let mut found = HashMap::new();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        for some in names.chunks(NAMES_PER_FIND) {
            let filter = doc! { property: { "$in": some } };
            let mut documents = self.state.collection().find(filter).await?;
            while let Some(document) = documents.try_next().await? {
                if let Ok(name) = document.get_str(property) {
                    found.insert(name.to_owned(), document);
                }
            }
        }
        Ok(found)
    }

    /// Forgets everything: a write may have changed any document.
    pub fn forget_all(&self) {
        self.state.lock().slots.clear();
    }

    /// Applies a change that the feed brought, to what is remembered.
    pub fn apply(&self, id: &str, document: Option<Document>, time: Timestamp) {
        let mut table = self.state.lock();
        if self.state.property != ID {
            self.rename(&mut table, id, document.as_ref(), time);
        }
        match table.slots.peek_mut(id) {
            Some(Slot::Reading { overtaken, .. }) => *overtaken = (*overtaken).max(Some(time)),
            Some(Slot::Known { known, read_at }) if time > known.as_of => {
                *known = Known {
                    document: document.map(Arc::new),
                    as_of: time,
                };
                *read_at = Instant::now();
            }
            Some(Slot::Known { .. }) | None => (),
        }
    }

    /// A document that is found by a property may have had another name before: under that it is gone. Which name a find
    /// under way will bring the document under is not known, so each is overtaken.
    fn rename(&self, table: &mut Table, name: &str, document: Option<&Document>, time: Timestamp) {
        let id = document.and_then(|document| document.get(ID));
        for (other, slot) in table.slots.iter_mut() {
            match slot {
                Slot::Reading { overtaken, .. } => *overtaken = (*overtaken).max(Some(time)),
                Slot::Known { known, read_at } => {
                    let known_id = known.document.as_ref().and_then(|known| known.get(ID));
                    if other != name && id.is_some() && known_id == id && time > known.as_of {
                        *known = Known {
                            document: None,
                            as_of: time,
                        };
                        *read_at = Instant::now();
                    }
                }
            }
        }
    }

    fn start(&self, table: &mut Table, id: &str) -> Result<Reading, MongoError> {
        if !table.finds.take() {
            return Err(MongoError::TooManyFinds);
        }
        let (state, name) = (Arc::clone(&self.state), id.to_owned());
        let number = table.begun;
        table.begun += 1;
        let reading = async move { state.read(&name, number).await }
            .boxed()
            .shared();
        if let Some(weak) = reading.downgrade() {
            let slot = Slot::Reading {
                reading: weak,
                number,
                overtaken: None,
            };
            table.slots.put(id.to_owned(), slot);
        }
        Ok(reading)
    }
}

impl State {
    /// Finds until no change has overtaken the find, and remembers the answer.
    async fn read(&self, id: &str, number: u64) -> Result<Known, MongoError> {
        for _ in 0..OVERTAKEN_MAX {
            let answer = self.read_once(id).await;
            let mut table = self.lock();
            let is_watched = self.watched.load(Ordering::Acquire) && number >= table.watched_from;
            let overtaken = match table.slots.peek_mut(id) {
                Some(Slot::Reading {
                    number: own,
                    overtaken,
                    ..
                }) if *own == number => overtaken.take(),
                // A later find has taken the place: its answer is the one to remember.
                _ => return answer,
            };
            match (&answer, overtaken) {
                (Ok(known), Some(time)) if time > known.as_of => continue,
                (Ok(known), _) if is_watched => {
                    let slot = Slot::Known {
                        known: known.clone(),
                        read_at: Instant::now(),
                    };
                    table.slots.put(id.to_owned(), slot);
                    return answer;
                }
                _ => {
                    table.slots.pop(id);
                    return answer;
                }
            }
        }
        self.give_up(id, number);
        self.read_once(id).await
    }

    fn give_up(&self, id: &str, number: u64) {
        let mut table = self.lock();
        if let Some(Slot::Reading { number: own, .. }) = table.slots.peek(id)
            && *own == number
        {
            table.slots.pop(id);
        }
    }

    async fn read_once(&self, id: &str) -> Result<Known, MongoError> {
        let as_of = self.clock.now().await?;
        let filter = doc! { &self.property: id };
        let document = self.collection().find_one(filter).await?;
        Ok(Known {
            document: document.map(Arc::new),
            as_of,
        })
    }

    fn collection(&self) -> mongodb::Collection<Document> {
        self.client
            .database(&self.namespace.database)
            .collection(&self.namespace.collection)
    }

    fn is_good(&self, known: &Known, read_at: Instant) -> bool {
        self.watched.load(Ordering::Acquire)
            && (known.document.is_some() || read_at.elapsed() < ABSENCE_REMEMBERED)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Table> {
        self.table
            .lock()
            .expect("invariant: no code panics while it holds this lock")
    }
}

impl Finds {
    /// A full bucket for so many finds a second.
    pub fn new(per_second: u32) -> Self {
        Self {
            per_second: per_second.into(),
            left: per_second.into(),
            filled_at: Instant::now(),
        }
    }

    /// Takes a find out, if there is one.
    pub fn take(&mut self) -> bool {
        let now = Instant::now();
        let filled = now.duration_since(self.filled_at).as_secs_f64() * self.per_second;
        self.left = (self.left + filled).min(self.per_second);
        self.filled_at = now;
        if self.left < 1.0 {
            return false;
        }
        self.left -= 1.0;
        true
    }
}

#[cfg(test)]
mod tests;
