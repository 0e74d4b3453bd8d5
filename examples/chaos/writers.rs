//! Who writes: several tasks, each write repeated until a majority has it.

use std::{
    collections::HashSet,
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use bson::{Document, doc};
use futures_util::TryStreamExt;
use mongodb::{
    Client, Collection,
    options::{CollectionOptions, ReadConcern, WriteConcern},
};
use tokio::task::JoinHandle;

use crate::{
    sidestream::{DATABASE, EVENTS},
    support::Outcome,
    truth::{SLICES, slice_of},
};

/// The writers of one run.
#[derive(Clone)]
pub(crate) struct Writers {
    collection: Collection<Document>,
    count: u32,
    /// How many documents are inserted at once.
    batch: u32,
    events: u32,
    next: Arc<AtomicU32>,
    written: Arc<AtomicU32>,
}

impl Writers {
    pub(crate) fn new(mongo: &Client, count: u32, batch: u32, events: u32) -> Self {
        Self {
            collection: durable(mongo, DATABASE, EVENTS),
            count,
            batch,
            events,
            next: Arc::default(),
            written: Arc::default(),
        }
    }

    /// How many events are written for sure.
    pub(crate) fn written(&self) -> u32 {
        self.written.load(Ordering::Acquire)
    }

    /// Writes something that each client is to see.
    pub(crate) async fn write_for_everybody(&self) -> Outcome<()> {
        let first = self.next.fetch_add(EVERYBODY, Ordering::Relaxed);
        self.write(first..first + EVERYBODY).await
    }

    /// Writes all that is left, at an even pace over this time.
    pub(crate) fn begin(&self, within: Duration) -> JoinHandle<Outcome<()>> {
        let this = self.clone();
        tokio::spawn(async move {
            let share = f64::from(this.count * this.batch) / f64::from(this.events);
            let pause = within.mul_f64(share);
            let writing = (0..this.count).map(|_| {
                let this = this.clone();
                tokio::spawn(async move {
                    let mut due = Instant::now();
                    loop {
                        let first = this.next.fetch_add(this.batch, Ordering::Relaxed);
                        let end = this.events.min(first.saturating_add(this.batch));
                        if first >= end {
                            return Outcome::Ok(());
                        }
                        this.write(first..end).await?;
                        // What an outage held up is made up for: then writes come as fast as they can.
                        due += pause;
                        tokio::time::sleep_until(due.into()).await;
                    }
                })
            });
            let writing: Vec<_> = writing.collect();
            for writer in writing {
                writer.await??;
            }
            // What each of them took beyond the end is taken by nobody.
            this.next.store(this.events, Ordering::Relaxed);
            Ok(())
        })
    }

    /// Makes the events with these numbers: updates each of an earlier document, inserts the others.
    async fn write(&self, numbers: Range<u32>) -> Outcome<()> {
        let count = numbers.len() as u32;
        let (updates, inserts): (Vec<u32>, Vec<u32>) =
            numbers.partition(|number| number % UPDATE_EVERY == UPDATE_EVERY - 1);
        insert(&self.collection, inserts).await?;
        update(&self.collection, &updates).await?;
        self.written.fetch_add(count, Ordering::AcqRel);
        Ok(())
    }
}

/// A collection in which what was acknowledged stays, and what is read was.
pub(crate) fn durable(mongo: &Client, database: &str, name: &str) -> Collection<Document> {
    let mut majority = WriteConcern::majority();
    majority.w_timeout = Some(Duration::from_secs(10));
    let options = CollectionOptions::builder()
        .write_concern(majority)
        .read_concern(ReadConcern::majority())
        .build();
    mongo
        .database(database)
        .collection_with_options(name, options)
}

/// Inserts the documents with these numbers, each once, whatever fails on the way.
pub(crate) async fn insert(
    collection: &Collection<Document>,
    mut numbers: Vec<u32>,
) -> Outcome<()> {
    let until = Instant::now() + GIVE_UP;
    while !numbers.is_empty() {
        let documents = numbers.iter().map(|number| document(*number));
        let Err(error) = collection.insert_many(documents).ordered(true).await else {
            return Ok(());
        };
        if Instant::now() > until {
            return Err(error.into());
        }
        tokio::time::sleep(AGAIN).await;
        // The answer was lost, or a part was written: what a majority has stays, and is not written again. What is there but not
        // for sure yet is refused as a duplicate, and asked for again.
        if let Ok(there) = find(collection, &numbers).await {
            numbers.retain(|number| !there.contains(number));
        }
    }
    Ok(())
}

async fn find(collection: &Collection<Document>, numbers: &[u32]) -> Outcome<HashSet<u32>> {
    let ids: Vec<i64> = numbers.iter().copied().map(i64::from).collect();
    let found = collection.find(doc! { "_id": { "$in": ids } });
    let found: Vec<Document> = found
        .projection(doc! { "_id": 1 })
        .await?
        .try_collect()
        .await?;
    let ids = found.iter().map(|document| document.get_i64("_id"));
    ids.map(|id| Ok(u32::try_from(id?)?)).collect()
}

/// Makes each of these events of the document before it, once, whatever fails on the way: the second time changes nothing, and so
/// is no event.
async fn update(collection: &Collection<Document>, numbers: &[u32]) -> Outcome<()> {
    let until = Instant::now() + GIVE_UP;
    let ids: Vec<i64> = numbers
        .iter()
        .map(|number| i64::from(*number) - 1)
        .collect();
    while !ids.is_empty() {
        let change = doc! { "$set": { "again": true } };
        let which = doc! { "_id": { "$in": &ids } };
        match collection.update_many(which, change).await {
            Ok(updated) if updated.matched_count == ids.len() as u64 => return Ok(()),
            // Another writer has one of the documents in hand.
            Ok(_) if Instant::now() > until => {
                return Err(format!("of the documents {ids:?} not all come").into());
            }
            Err(error) if Instant::now() > until => return Err(error.into()),
            _ => tokio::time::sleep(AGAIN).await,
        }
    }
    Ok(())
}

fn document(number: u32) -> Document {
    let id = i64::from(number);
    let text = "x".repeat((number as usize * 37) % 400);
    // A variable in an address is text.
    doc! { "_id": id, "n": id, "slice": slice_of(id).to_string(), "text": text }
}

/// Each eighth event is an update of the document before.
const UPDATE_EVERY: u32 = 8;
/// So many in a row have a document of each slice, though an eighth of them are updates.
const EVERYBODY: u32 = 2 * SLICES;
const _: () = assert!(SLICES % UPDATE_EVERY == UPDATE_EVERY / 2);
const GIVE_UP: Duration = Duration::from_secs(120);
const AGAIN: Duration = Duration::from_millis(50);
