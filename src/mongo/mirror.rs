//! A small collection kept in memory.

use std::collections::HashMap;
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
    documents: Mutex<HashMap<Vec<u8>, (Bson, Known)>>,
}

impl Mirror {
    /// Makes an empty mirror; [`Mirror::load`] fills it.
    pub fn new(namespace: Namespace, client: Client, clock: Clock) -> Self {
        Self {
            namespace,
            client,
            clock,
            documents: Mutex::default(),
        }
    }

    /// The collection that is mirrored.
    pub fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// Reads the whole collection anew.
    ///
    /// # Errors
    /// As [`MongoError`]; the mirror stays as it was.
    pub async fn load(&self) -> Result<Timestamp, MongoError> {
        let as_of = self.clock.now().await?;
        let all: Vec<Document> = self.collection().find(doc! {}).await?.try_collect().await?;
        let mut documents = self.lock();
        let mut fresh = HashMap::with_capacity(all.len());
        for document in all {
            let Some(id) = document.get("_id").cloned() else {
                continue;
            };
            fresh.insert(
                key(&id),
                (
                    id,
                    Known {
                        document: Some(Arc::new(document)),
                        as_of,
                    },
                ),
            );
        }
        // What the feed brought while the read was under way is newer than the read may be.
        for (key, (id, known)) in documents.drain() {
            if known.as_of > as_of {
                fresh.insert(key, (id, known));
            }
        }
        *documents = fresh;
        Ok(as_of)
    }

    /// Reads one document anew and returns it as it is known now.
    ///
    /// # Errors
    /// As [`MongoError`]; the mirror stays as it was.
    pub async fn refresh(&self, id: &Bson) -> Result<Known, MongoError> {
        let as_of = self.clock.now().await?;
        let document = self
            .collection()
            .find_one(doc! { "_id": id.clone() })
            .await?;
        let read = Known {
            document: document.map(Arc::new),
            as_of,
        };
        let mut documents = self.lock();
        let slot = documents
            .entry(key(id))
            .or_insert_with(|| (id.clone(), read.clone()));
        if slot.1.as_of <= read.as_of {
            slot.1 = read;
        }
        Ok(slot.1.clone())
    }

    /// Applies a change that the feed brought. `false` if it is not newer than what is known.
    pub fn apply(&self, id: &Bson, document: Option<Document>, time: Timestamp) -> bool {
        let mut documents = self.lock();
        let known = Known {
            document: document.map(Arc::new),
            as_of: time,
        };
        match documents.entry(key(id)) {
            std::collections::hash_map::Entry::Occupied(mut slot) => {
                let newer = time > slot.get().1.as_of;
                if newer {
                    slot.get_mut().1 = known;
                }
                newer
            }
            std::collections::hash_map::Entry::Vacant(slot) => {
                slot.insert((id.clone(), known));
                true
            }
        }
    }

    /// Applies the removal of the whole collection; returns the ids that are gone now.
    pub fn clear(&self, time: Timestamp) -> Vec<Bson> {
        let mut gone = Vec::new();
        for (id, known) in self.lock().values_mut() {
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

    /// One document as it is known; `None` if nothing is known of it.
    pub fn known(&self, id: &Bson) -> Option<Known> {
        self.lock().get(&key(id)).map(|(_, known)| known.clone())
    }

    /// All documents that are there.
    pub fn documents(&self) -> Vec<(Arc<Document>, Timestamp)> {
        let documents = self.lock();
        documents
            .values()
            .filter_map(|(_, known)| Some((known.document.clone()?, known.as_of)))
            .collect()
    }

    fn collection(&self) -> mongodb::Collection<Document> {
        self.client
            .database(&self.namespace.database)
            .collection(&self.namespace.collection)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Vec<u8>, (Bson, Known)>> {
        self.documents
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
