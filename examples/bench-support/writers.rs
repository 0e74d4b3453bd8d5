//! Who writes: numbered documents, at a pace or as fast as all clients take them.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use bson::{Document, Timestamp, doc, oid::ObjectId};
use futures_util::future::try_join_all;
use mongodb::{
    Client, Collection,
    options::{InsertManyOptions, InsertOneOptions, WriteConcern},
};
use tokio::{
    sync::Semaphore,
    task::JoinSet,
    time::{MissedTickBehavior, interval},
};

use super::{Epoch, Outcome, crowd::Crowd, judge::Share};

/// The field that makes a document one of ours: the run, a colon, and the event's number.
pub(crate) const MARK: &str = "sidestream_load";

/// Writes the documents of one run into one collection.
#[derive(Clone)]
pub(crate) struct Writer {
    collection: Collection<Document>,
    /// What the marks begin with.
    pub(crate) run: String,
    pad: String,
    /// The field that holds the value, `k0` and so on, and how many values there are.
    field: String,
    pub(crate) values: usize,
    concern: WriteConcern,
    epoch: Epoch,
    /// No document of ours has a smaller id.
    since: ObjectId,
    next: Arc<AtomicU32>,
    issued: Vec<u32>,
}

/// How a collection is filled to the brim.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Saturation {
    pub(crate) writers: usize,
    /// Documents in one insert.
    pub(crate) batch: u32,
    /// Events that may be on their way to the client that is furthest behind.
    pub(crate) window: u32,
    /// Events in all.
    pub(crate) events: u32,
    /// But not longer.
    pub(crate) within: Duration,
}

impl Writer {
    pub(crate) fn new(
        collection: Collection<Document>,
        concern: WriteConcern,
        epoch: Epoch,
    ) -> Self {
        Self {
            collection,
            run: format!("{:016x}", rand::random::<u64>()),
            pad: "x".repeat(PAD_BYTES),
            field: "k".to_owned(),
            values: 1,
            concern,
            epoch,
            since: first_of_this_second(),
            next: Arc::default(),
            issued: Vec::new(),
        }
    }

    pub(crate) fn with_values(mut self, field: &str, values: usize) -> Self {
        (self.field, self.values) = (field.to_owned(), values.max(1));
        self
    }

    pub(crate) fn with_pad(mut self, bytes: usize) -> Self {
        self.pad = "x".repeat(bytes);
        self
    }

    /// What stands before the number in the text of an event.
    pub(crate) fn marker(&self) -> String {
        format!("{}:", self.run)
    }

    /// How many have been written, or at least tried.
    pub(crate) fn written(&self) -> u32 {
        self.next.load(Ordering::Relaxed)
    }

    /// When each was handed to the driver.
    pub(crate) fn issued(&self) -> &[u32] {
        &self.issued
    }

    fn document(&self, number: u32) -> Document {
        let mut document = doc! { MARK: format!("{}:{number}", self.run) };
        let value = number as usize % self.values;
        document.insert(self.field.as_str(), format!("k{value}"));
        document.insert("pad", self.pad.as_str());
        document
    }

    /// Writes `count` documents at an even pace, and does not wait for one before it begins the next: a slow server is
    /// seen in the latency, not in the pace. Returns how many were late since too many were on their way.
    pub(crate) async fn paced(&mut self, count: u32, per_second: u32) -> Outcome<u32> {
        let mut ticks = interval(Duration::from_secs(1) / per_second.max(1));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let places = Arc::new(Semaphore::new(ON_THEIR_WAY_MAX));
        let (mut writing, mut held_up) = (JoinSet::new(), 0);
        let options = InsertOneOptions::builder()
            .write_concern(self.concern.clone())
            .build();
        for _ in 0..count {
            ticks.tick().await;
            held_up += u32::from(places.available_permits() == 0);
            let place = Arc::clone(&places).acquire_owned().await?;
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            let (collection, document) = (self.collection.clone(), self.document(number));
            self.issued.push(self.epoch.micros());
            let options = options.clone();
            writing.spawn(async move {
                let written = collection.insert_one(document).with_options(options).await;
                drop(place);
                written.map(drop)
            });
            while let Some(written) = writing.try_join_next() {
                written??;
            }
        }
        while let Some(written) = writing.join_next().await {
            written??;
        }
        Ok(held_up)
    }

    /// Writes at an even pace until it is told to stop.
    pub(crate) async fn until(&mut self, stop: &AtomicBool, per_second: u32) -> Outcome<()> {
        while !stop.load(Ordering::Relaxed) {
            self.paced(2, per_second).await?;
        }
        Ok(())
    }

    /// Writes as fast as it can, but waits for the client that is furthest behind.
    pub(crate) async fn saturated(&mut self, crowd: &Crowd, how: &Saturation) -> Outcome<()> {
        let first = self.written();
        let until = Instant::now() + how.within;
        let reached = AtomicU32::new(0);
        let writers =
            (0..how.writers).map(|_| self.fill(crowd, how, first + how.events, until, &reached));
        let mut issued: Vec<(u32, u32)> = try_join_all(writers).await?.concat();
        issued.sort_unstable();
        self.issued
            .extend(issued.into_iter().map(|(_, micros)| micros));
        Ok(())
    }

    async fn fill(
        &self,
        crowd: &Crowd,
        how: &Saturation,
        last: u32,
        until: Instant,
        reached: &AtomicU32,
    ) -> Outcome<Vec<(u32, u32)>> {
        let options = InsertManyOptions::builder()
            .write_concern(self.concern.clone())
            .build();
        let mut issued = Vec::new();
        while self.written() + how.batch <= last {
            while self.written() >= reached.load(Ordering::Relaxed) + how.window {
                reached.store(self.reached(crowd), Ordering::Relaxed);
                if self.written() >= reached.load(Ordering::Relaxed) + how.window {
                    if Instant::now() > until {
                        return Ok(issued);
                    }
                    tokio::time::sleep(BREATH).await;
                }
            }
            if Instant::now() > until {
                break;
            }
            let begin = self.next.fetch_add(how.batch, Ordering::Relaxed);
            let documents = (begin..begin + how.batch).map(|number| self.document(number));
            let documents: Vec<_> = documents.collect();
            let micros = self.epoch.micros();
            issued.extend((begin..begin + how.batch).map(|number| (number, micros)));
            self.collection
                .insert_many(documents)
                .with_options(options.clone())
                .await?;
        }
        Ok(issued)
    }

    /// How far the client that is furthest behind has come, counted in all events. Those whose session has ended are not
    /// waited for.
    fn reached(&self, crowd: &Crowd) -> u32 {
        let written = self.written();
        let behind = crowd.members.iter().enumerate().map(|(index, member)| {
            let missing = Share::of(index, self.values)
                .count(written)
                .saturating_sub(member.events());
            match missing {
                0 => 0,
                _ if member.end().is_some() => 0,
                missing => missing.saturating_mul(self.values as u32),
            }
        });
        written.saturating_sub(behind.max().unwrap_or(0))
    }

    /// Deletes what it wrote, and does not look at what is older.
    pub(crate) async fn clean(&self) -> Outcome<u64> {
        let mark = doc! { "$gte": format!("{}:", self.run), "$lt": format!("{};", self.run) };
        let ours = doc! { "_id": { "$gte": self.since }, MARK: mark };
        Ok(self.collection.delete_many(ours).await?.deleted_count)
    }
}

/// The smallest id that this process could make now: ids begin with the time.
fn first_of_this_second() -> ObjectId {
    let mut bytes = ObjectId::new().bytes();
    bytes[4..].fill(0);
    ObjectId::from_bytes(bytes)
}

/// MongoDB's time now: a cursor that begins there misses nothing that is written from here on.
pub(crate) async fn operation_time(mongo: &Client) -> Outcome<Timestamp> {
    let answer = mongo
        .database("admin")
        .run_command(doc! { "ping": 1 })
        .await?;
    answer
        .get_timestamp("operationTime")
        .map_err(|_| "MongoDB is no replica set: it has no change streams".into())
}

const PAD_BYTES: usize = 128;
/// More than this, and MongoDB is what is measured.
const ON_THEIR_WAY_MAX: usize = 256;
/// How long writers wait for clients that are behind.
const BREATH: Duration = Duration::from_micros(200);
