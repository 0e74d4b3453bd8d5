//! What MongoDB has, in its order: a bare cursor on the collection, resumed whenever it fails.

use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hash, Hasher},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use bson::{Document, RawDocumentBuf};
use futures_util::StreamExt;
use mongodb::{Client, Collection};
use tokio::{sync::watch, task::JoinHandle};

use crate::{
    sidestream::{DATABASE, EVENTS},
    support::{Outcome, writers::operation_time},
};

/// An event, by its id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Mark(pub(crate) u64);

impl Mark {
    pub(crate) fn of(id: &[u8]) -> Self {
        let mut hasher = DefaultHasher::new();
        id.hash(&mut hasher);
        Self(hasher.finish())
    }
}

/// Each event's place.
pub(crate) struct Truth {
    places: Arc<Mutex<HashMap<Mark, u32>>>,
    count: watch::Receiver<u32>,
    reading: JoinHandle<()>,
}

impl Truth {
    /// Reads from now on.
    pub(crate) async fn begin(mongo: &Client) -> Outcome<Self> {
        let since = operation_time(mongo).await?;
        let collection: Collection<Document> = mongo.database(DATABASE).collection(EVENTS);
        let places = Arc::<Mutex<HashMap<Mark, u32>>>::default();
        let (tell, count) = watch::channel(0);
        let noted = Arc::clone(&places);
        let reading = tokio::spawn(async move {
            let mut behind = None;
            loop {
                let watch = collection.watch();
                let watch = match &behind {
                    None => watch.start_at_operation_time(since),
                    Some(token) => watch.start_after(Clone::clone(token)),
                };
                let Ok(opened) = watch.await else {
                    tokio::time::sleep(AGAIN).await;
                    continue;
                };
                let mut events = opened.with_type::<RawDocumentBuf>();
                while let Some(Ok(event)) = events.next().await {
                    let id = event.get_document("_id").and_then(|id| id.get_str("_data"));
                    let mark = Mark::of(id.expect("an event has an id").as_bytes());
                    let mut places = noted.lock().unwrap_or_else(PoisonError::into_inner);
                    let place = places.len() as u32;
                    places.entry(mark).or_insert(place);
                    tell.send_replace(places.len() as u32);
                    behind = events.resume_token();
                }
                tokio::time::sleep(AGAIN).await;
            }
        });
        Ok(Self {
            places,
            count,
            reading,
        })
    }

    /// The place of an event, once it is known.
    pub(crate) fn place(&self, mark: Mark) -> Option<u32> {
        let places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        places.get(&mark).copied()
    }

    pub(crate) fn places(&self) -> Arc<Mutex<HashMap<Mark, u32>>> {
        Arc::clone(&self.places)
    }

    /// How many events are known.
    pub(crate) fn count(&self) -> u32 {
        *self.count.borrow()
    }

    /// Waits until exactly so many are known; `false` if that does not come.
    pub(crate) async fn has(&self, events: u32, within: Duration) -> bool {
        let until = Instant::now() + within;
        let mut count = self.count.clone();
        let reached = count.wait_for(|count| *count >= events);
        let reached = tokio::time::timeout_at(until.into(), reached).await;
        matches!(reached, Ok(Ok(count)) if *count == events)
    }
}

impl Drop for Truth {
    fn drop(&mut self) {
        self.reading.abort();
    }
}

const AGAIN: Duration = Duration::from_millis(50);
