//! A small collection kept in memory.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex};

use bson::{Bson, Document, RawDocumentBuf, Timestamp, doc};
use futures_util::TryStreamExt as _;
use mongodb::Client;

use crate::mongo::client::Clock;
use crate::mongo::{MongoError, Namespace};

/// One document as it is known, or the knowledge that it is not there.
#[derive(Clone, Debug)]
pub struct Known {
    /// The document; `None` if it was removed.
    pub document: Option<Arc<Document>>,
    /// The operation time from which this is known to hold: changes at or before it are already in it.
    pub as_of: Timestamp,
}

/// A whole collection, as snapshot and stream of changes together have it.
///
/// Each document remembers the operation time of the reading it came from. A change that is not newer is ignored, so
/// a slow feed never puts back what a later read has brought. The time is taken *before* the read: a change that
/// happens between is applied twice, never missed.
#[derive(Debug)]
pub struct Mirror {
    namespace: Namespace,
    client: Client,
    clock: Clock,
    inner: Mutex<Inner>,
    /// Readings one after the other: of two at the same operation time nobody could tell which is the newer.
    reading: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct Inner {
    documents: HashMap<Vec<u8>, (Bson, Known)>,
    /// As of when a document of which nothing is known is known not to be there.
    read_whole: Option<Timestamp>,
    /// How many documents the last reading of the whole found.
    present: usize,
    /// How often anything in it has become another.
    revision: u64,
}

impl Mirror {
    /// Makes an empty mirror; [`Mirror::load`] fills it.
    pub fn new(namespace: Namespace, client: Client, clock: Clock) -> Self {
        Self {
            namespace,
            client,
            clock,
            inner: Mutex::default(),
            reading: tokio::sync::Mutex::default(),
        }
    }

    /// The collection that is mirrored.
    pub fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// Reads the whole collection anew. Returns the operation time from which that holds.
    ///
    /// # Errors
    /// As [`MongoError`]; the mirror stays as it was.
    pub async fn load(&self) -> Result<Timestamp, MongoError> {
        let _one_at_a_time = self.reading.lock().await;
        let as_of = self.clock.now().await?;
        let all: Vec<Document> = self.collection().find(doc! {}).await?.try_collect().await?;
        let with_id = |document: Document| Some((document.get("_id")?.clone(), document));
        let mut fresh: HashMap<_, _> = all
            .into_iter()
            .filter_map(with_id)
            .map(|(id, document)| {
                (
                    key(&id),
                    (
                        id,
                        Known {
                            document: Some(Arc::new(document)),
                            as_of,
                        },
                    ),
                )
            })
            .collect();
        let mut inner = self.lock();
        let mut is_changed = false;
        for (key, (id, known)) in inner.documents.drain() {
            // What the feed brought while the read was under way is newer than the read may be.
            if known.as_of > as_of {
                fresh.insert(key, (id, known));
                continue;
            }
            let now = fresh
                .get(&key)
                .and_then(|(_, known)| known.document.as_ref());
            is_changed |= now != known.document.as_ref();
            if now.is_some()
                && now == known.document.as_ref()
                && let Some(slot) = fresh.get_mut(&key)
            {
                slot.1.document = known.document;
            }
        }
        // A document that nothing was known of has no entry that could differ.
        let present = |documents: &HashMap<_, (Bson, Known)>| {
            documents
                .values()
                .filter(|(_, known)| known.document.is_some())
                .count()
        };
        let count = present(&fresh);
        is_changed |= count != std::mem::replace(&mut inner.present, count);
        inner.documents = fresh;
        inner.revision += u64::from(is_changed);
        inner.read_whole = inner.read_whole.max(Some(as_of));
        Ok(as_of)
    }

    /// Reads one document anew and returns it as it is known now.
    ///
    /// # Errors
    /// As [`MongoError`]; the mirror stays as it was.
    pub async fn refresh(&self, id: &Bson) -> Result<Known, MongoError> {
        let _one_at_a_time = self.reading.lock().await;
        let as_of = self.clock.now().await?;
        let document = self
            .collection()
            .find_one(doc! { "_id": id.clone() })
            .await?;
        let read = Known {
            document: document.map(Arc::new),
            as_of,
        };
        let mut inner = self.lock();
        inner.revision += 1;
        let slot = inner
            .documents
            .entry(key(id))
            .or_insert_with(|| (id.clone(), read.clone()));
        if slot.1.as_of <= read.as_of {
            slot.1 = read;
        }
        Ok(slot.1.clone())
    }

    /// Applies a change that the feed brought. `false` if it is not newer than what is known.
    pub fn apply(&self, id: &Bson, document: Option<Document>, time: Timestamp) -> bool {
        let mut inner = self.lock();
        let read_whole = inner.read_whole;
        let known = Known {
            document: document.map(Arc::new),
            as_of: time,
        };
        let is_newer = match inner.documents.entry(key(id)) {
            Entry::Occupied(mut slot) => {
                let newer = time > slot.get().1.as_of;
                if newer {
                    slot.get_mut().1 = known;
                }
                newer
            }
            // Known not to be there when the whole was read: an older change is in that.
            Entry::Vacant(_) if read_whole.is_some_and(|read| time <= read) => false,
            Entry::Vacant(slot) => {
                slot.insert((id.clone(), known));
                true
            }
        };
        inner.revision += u64::from(is_newer);
        is_newer
    }

    /// Applies the removal of the whole collection; returns the ids that are gone now.
    pub fn clear(&self, time: Timestamp) -> Vec<Bson> {
        let mut gone = Vec::new();
        let mut inner = self.lock();
        inner.revision += 1;
        for (id, known) in inner.documents.values_mut() {
            if time > known.as_of && known.document.is_some() {
                *known = Known {
                    document: None,
                    as_of: time,
                };
                gone.push(id.clone());
            }
        }
        gone
    }

    /// How often anything in it has become another: equal numbers, equal documents.
    pub fn revision(&self) -> u64 {
        self.lock().revision
    }

    /// All documents that are there.
    pub fn documents(&self) -> Vec<(Arc<Document>, Timestamp)> {
        let inner = self.lock();
        let there = |(_, known): &(Bson, Known)| Some((known.document.clone()?, known.as_of));
        inner.documents.values().filter_map(there).collect()
    }

    fn collection(&self) -> mongodb::Collection<Document> {
        self.client
            .database(&self.namespace.database)
            .collection(&self.namespace.collection)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner
            .lock()
            .expect("invariant: no code panics while it holds this lock")
    }
}

/// The bytes by which an `_id` is looked up. Ids of metadata are strings and ObjectIds, for which equal means equal bytes.
fn key(id: &Bson) -> Vec<u8> {
    RawDocumentBuf::try_from(doc! { "": id.clone() })
        .map(RawDocumentBuf::into_bytes)
        .unwrap_or_default()
}
