//! A bare cursor of the driver on the collection that is written to: what latency is added to, and whose order counts.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use bson::{Document, RawDocumentBuf, Timestamp, doc};
use futures_util::StreamExt;
use mongodb::{Client, options::FullDocumentType};
use tokio::{runtime::Handle, task::JoinHandle};

use super::{Epoch, Outcome, judge::UNKNOWN, writers::MARK};

/// What the cursor has brought, event by event.
#[derive(Clone, Debug, Default)]
pub(crate) struct Order {
    /// The place of each event among all; [`UNKNOWN`] of one that has not come.
    pub(crate) places: Vec<u32>,
    /// When it came.
    pub(crate) arrivals: Vec<u32>,
    count: u32,
}

impl Order {
    fn note(&mut self, number: u32, micros: u32) {
        let index = number as usize;
        if index >= self.places.len() {
            self.places.resize(index + 1, UNKNOWN);
            self.arrivals.resize(index + 1, u32::MAX);
        }
        self.places[index] = self.count;
        self.arrivals[index] = micros;
        self.count += 1;
    }
}

/// Where and what it reads.
#[derive(Clone)]
pub(crate) struct Source {
    pub(crate) uri: String,
    pub(crate) database: String,
    pub(crate) collection: String,
    pub(crate) run: String,
}

/// The cursor, read on a thread of its own until it is dropped.
pub(crate) struct RawCursor {
    order: Arc<Mutex<Order>>,
    reading: JoinHandle<Outcome<()>>,
}

impl RawCursor {
    /// Reads from now on, events as whole as a server gets them; the next is number `first`.
    pub(crate) async fn open(
        thread: &Handle,
        source: &Source,
        epoch: Epoch,
        first: u32,
    ) -> Outcome<Self> {
        Self::begin(thread, source, epoch, first, None).await
    }

    /// Reads what has been written since, from the event `first` on, for its order alone.
    pub(crate) async fn replay(
        thread: &Handle,
        source: &Source,
        since: Timestamp,
        first: u32,
    ) -> Outcome<Self> {
        Self::begin(thread, source, Epoch::now(), first, Some(since)).await
    }

    async fn begin(
        thread: &Handle,
        source: &Source,
        epoch: Epoch,
        first: u32,
        since: Option<Timestamp>,
    ) -> Outcome<Self> {
        let source = source.clone();
        let prefix = format!("{}:", source.run);
        let opened = thread.spawn(async move {
            let collection = Client::with_uri_str(source.uri)
                .await?
                .database(&source.database)
                .collection::<Document>(&source.collection);
            let watch = match since {
                None => collection
                    .watch()
                    .full_document(FullDocumentType::UpdateLookup),
                Some(since) => collection
                    .watch()
                    .pipeline([
                        doc! { "$match": { "operationType": "insert" } },
                        doc! { "$project": { format!("fullDocument.{MARK}"): 1 } },
                    ])
                    .start_at_operation_time(since),
            };
            Outcome::Ok(watch.await?.with_type::<RawDocumentBuf>())
        });
        let mut events = opened.await??;
        let order = Arc::new(Mutex::new(Order {
            count: first,
            ..Order::default()
        }));
        let noted = Arc::clone(&order);
        let reading = thread.spawn(async move {
            while let Some(event) = events.next().await {
                let micros = epoch.micros();
                let event = event?;
                // Other people's events have no mark.
                let mark = event
                    .get_document("fullDocument")
                    .and_then(|document| document.get_str(MARK));
                let number = mark
                    .ok()
                    .and_then(|mark| mark.strip_prefix(&prefix)?.parse().ok());
                // The time of a replay is that of the last write before it, so that one comes again.
                if let Some(number) = number.filter(|number| *number >= first) {
                    noted.lock().expect("nobody panics").note(number, micros);
                }
            }
            Ok(())
        });
        Ok(Self { order, reading })
    }

    /// Waits until it has brought `written` events in all, and returns what it has.
    pub(crate) async fn order(&self, written: u32) -> Outcome<Order> {
        let until = Instant::now() + PATIENCE;
        loop {
            {
                let order = self.order.lock().expect("nobody panics");
                if order.count >= written {
                    return Ok(order.clone());
                }
            }
            if Instant::now() > until || self.reading.is_finished() {
                return Err("the raw cursor has not got all events".into());
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

impl Drop for RawCursor {
    fn drop(&mut self) {
        self.reading.abort();
    }
}

const PATIENCE: Duration = Duration::from_secs(60);
