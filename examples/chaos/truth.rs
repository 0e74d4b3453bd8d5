//! What MongoDB has, in its order: a bare cursor on the collection, resumed whenever it fails.

use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hash, Hasher},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use bson::{Document, RawDocumentBuf, Timestamp};
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

/// Which events a client is to see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Share {
    All,
    /// Those of documents in one slice: `mine?n=…`.
    Slice(u32),
}

/// The slice that a document belongs to.
pub(crate) fn slice_of(document: i64) -> u32 {
    document.rem_euclid(i64::from(SLICES)) as u32
}

/// Where an event stands.
#[derive(Clone, Copy, Debug)]
struct Place {
    among_all: u32,
    slice: u32,
    in_slice: u32,
}

/// The events, each with its place.
#[derive(Debug)]
pub(crate) struct Known {
    places: HashMap<Mark, Place>,
    in_slices: [u32; SLICES as usize],
}

impl Known {
    fn new() -> Self {
        Self {
            places: HashMap::new(),
            in_slices: [0; SLICES as usize],
        }
    }

    /// Takes the next event. One that a resumed cursor brings again keeps its place.
    fn take(&mut self, mark: Mark, slice: u32) {
        let among_all = self.places.len() as u32;
        self.places.entry(mark).or_insert_with(|| {
            let count = &mut self.in_slices[slice as usize];
            *count += 1;
            Place {
                among_all,
                slice,
                in_slice: *count - 1,
            }
        });
    }

    /// The place of an event among those of a share: `None` while it is not known, `Some(None)` if it is none of them.
    pub(crate) fn place(&self, mark: Mark, share: Share) -> Option<Option<u32>> {
        let place = self.places.get(&mark)?;
        Some(match share {
            Share::All => Some(place.among_all),
            Share::Slice(slice) => (place.slice == slice).then_some(place.in_slice),
        })
    }

    /// How many events a share has.
    pub(crate) fn count(&self, share: Share) -> u32 {
        match share {
            Share::All => self.places.len() as u32,
            Share::Slice(slice) => self.in_slices[slice as usize],
        }
    }
}

/// Reads what happens to the collection, until it is dropped.
pub(crate) struct Truth {
    known: Arc<Mutex<Known>>,
    count: watch::Receiver<u32>,
    reading: JoinHandle<()>,
}

impl Truth {
    /// Reads from now on.
    pub(crate) async fn begin(mongo: &Client) -> Outcome<Self> {
        let since = operation_time(mongo).await?;
        let collection: Collection<Document> = mongo.database(DATABASE).collection(EVENTS);
        let known = Arc::new(Mutex::new(Known::new()));
        let (tell, count) = watch::channel(0);
        let reading = tokio::spawn(read(collection, since, Arc::clone(&known), tell));
        Ok(Self {
            known,
            count,
            reading,
        })
    }

    pub(crate) fn known(&self) -> Arc<Mutex<Known>> {
        Arc::clone(&self.known)
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

async fn read(
    collection: Collection<Document>,
    since: Timestamp,
    known: Arc<Mutex<Known>>,
    tell: watch::Sender<u32>,
) {
    let mut behind = None;
    loop {
        let watch = collection.watch();
        let watch = match &behind {
            None => watch.start_at_operation_time(since),
            Some(token) => watch.start_after(Clone::clone(token)),
        };
        if let Ok(opened) = watch.await {
            let mut events = opened.with_type::<RawDocumentBuf>();
            while let Some(Ok(event)) = events.next().await {
                let id = event.get_document("_id").and_then(|id| id.get_str("_data"));
                let mark = Mark::of(id.expect("an event has an id").as_bytes());
                let document = event
                    .get_document("documentKey")
                    .and_then(|key| key.get_i64("_id"));
                let slice = slice_of(document.expect("writers number their documents"));
                let mut known = lock(&known);
                known.take(mark, slice);
                tell.send_replace(known.count(Share::All));
                behind = events.resume_token();
            }
        }
        tokio::time::sleep(AGAIN).await;
    }
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How many slices the documents belong to.
pub(crate) const SLICES: u32 = 20;
const AGAIN: Duration = Duration::from_millis(50);

#[cfg(test)]
mod tests {
    use super::{Known, Mark, Share};

    #[test]
    fn each_share_counts_its_own() {
        let mut known = Known::new();
        for (mark, slice) in [(10, 1), (11, 2), (12, 1), (11, 2), (13, 2)] {
            known.take(Mark(mark), slice);
        }
        let check = |mark, share, expected| assert_eq!(known.place(Mark(mark), share), expected);
        check(12, Share::All, Some(Some(2)));
        check(13, Share::All, Some(Some(3)));
        check(12, Share::Slice(1), Some(Some(1)));
        check(12, Share::Slice(2), Some(None));
        check(13, Share::Slice(2), Some(Some(1)));
        check(14, Share::All, None);
        let counts = [
            Share::All,
            Share::Slice(1),
            Share::Slice(2),
            Share::Slice(3),
        ];
        assert_eq!(counts.map(|share| known.count(share)), [4, 2, 2, 0]);
    }
}
