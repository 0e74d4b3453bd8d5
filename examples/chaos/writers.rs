//! Who writes: several tasks, each write repeated until a majority has it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use bson::{Document, doc};
use mongodb::{Client, Collection, error::ErrorKind, options::WriteConcern};
use tokio::task::JoinHandle;

use crate::{
    sidestream::{DATABASE, EVENTS},
    support::Outcome,
};

/// The writers of one run.
#[derive(Clone)]
pub(crate) struct Writers {
    collection: Collection<Document>,
    count: u32,
    events: u32,
    next: Arc<AtomicU32>,
    written: Arc<AtomicU32>,
}

impl Writers {
    pub(crate) fn new(mongo: &Client, count: u32, events: u32) -> Self {
        Self {
            collection: durable(mongo, DATABASE, EVENTS),
            count,
            events,
            next: Arc::default(),
            written: Arc::default(),
        }
    }

    /// How many events are written for sure.
    pub(crate) fn written(&self) -> u32 {
        self.written.load(Ordering::Acquire)
    }

    /// Writes the next one. Every fourth write is an update of a document that an earlier one made.
    pub(crate) async fn write_one(&self) -> Outcome<()> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        write(&self.collection, number).await?;
        self.written.fetch_add(1, Ordering::AcqRel);
        Ok(())
    }

    /// Writes all, at an even pace over this time.
    pub(crate) fn begin(&self, within: Duration) -> JoinHandle<Outcome<()>> {
        let this = self.clone();
        tokio::spawn(async move {
            let pause = within.mul_f64(f64::from(this.count) / f64::from(this.events));
            let writing = (0..this.count).map(|_| {
                let this = this.clone();
                tokio::spawn(async move {
                    let mut due = Instant::now();
                    while this.next.load(Ordering::Relaxed) < this.events {
                        this.write_one().await?;
                        // What an outage held up is made up for: then writes come as fast as they can.
                        due += pause;
                        tokio::time::sleep_until(due.into()).await;
                    }
                    Outcome::Ok(())
                })
            });
            let writing: Vec<_> = writing.collect();
            for writer in writing {
                writer.await??;
            }
            Ok(())
        })
    }
}

/// A collection in which what was acknowledged stays.
pub(crate) fn durable(mongo: &Client, database: &str, name: &str) -> Collection<Document> {
    let mut majority = WriteConcern::majority();
    majority.w_timeout = Some(Duration::from_secs(10));
    let options = mongodb::options::CollectionOptions::builder()
        .write_concern(majority)
        .build();
    mongo
        .database(database)
        .collection_with_options(name, options)
}

/// Inserts the document with this number, whatever fails on the way.
pub(crate) async fn write(collection: &Collection<Document>, number: u32) -> Outcome<()> {
    let until = Instant::now() + GIVE_UP;
    let id = i64::from(number);
    let text = "x".repeat((number as usize * 37) % 400);
    loop {
        let document = doc! { "_id": id, "n": id, "text": &text };
        match collection
            .insert_one(document)
            .await
            .map_err(|error| *error.kind)
        {
            Ok(_) => return Ok(()),
            Err(ErrorKind::Write(mongodb::error::WriteFailure::WriteError(error)))
                if error.code == DUPLICATE =>
            {
                // It had been written, but the answer was lost; a majority has it when a later write has one.
                let touched = doc! { "_id": "majority" };
                let noted = collection
                    .client()
                    .database("chaos_notes")
                    .collection::<Document>("notes");
                let noted = noted.replace_one(touched.clone(), touched).upsert(true);
                if noted.await.is_ok() {
                    return Ok(());
                }
            }
            Err(error) if Instant::now() > until => return Err(format!("{error:?}").into()),
            Err(_) => tokio::time::sleep(AGAIN).await,
        }
    }
}

const DUPLICATE: i32 = 11000;
const GIVE_UP: Duration = Duration::from_secs(120);
const AGAIN: Duration = Duration::from_millis(50);
