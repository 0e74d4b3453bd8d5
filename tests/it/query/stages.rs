//! `query::compile_pipeline` against a real server: what compiles must make of each event what the server makes of it.

use std::borrow::Cow;

use bson::{Bson, Document, RawDocumentBuf, doc};
use futures_util::TryStreamExt;
use mongodb::{Client, Collection};
use sidestream::query::{self, Failure, Pipeline};

use super::shaper::Shaper;
use super::{from_environment, seed};
use crate::support;

/// Compares `PAIRS` pairs of pipeline and event, byte for byte, and asserts that most pipelines compile.
///
/// `SIDESTREAM_QUERY_SEED` repeats a run, `SIDESTREAM_PIPELINE_PAIRS` makes it longer.
#[tokio::test]
async fn compiled_pipelines_make_what_mongodb_makes() {
    let seed = seed();
    let pairs_min = from_environment("SIDESTREAM_PIPELINE_PAIRS").unwrap_or(PAIRS) as usize;
    println!("SIDESTREAM_QUERY_SEED={seed}");
    let mut shaper = Shaper::new(seed);
    let server = Server::connect(seed).await;
    let mut record = Record::default();
    while record.pairs < pairs_min {
        let events: Vec<RawDocumentBuf> = (0..EVENTS).map(|at| event(&mut shaper, at)).collect();
        server.replace(&events).await;
        for _ in 0..PIPELINES {
            let pipeline = shaper.pipeline();
            record.pipelines += 1;
            match query::compile_pipeline(&pipeline) {
                Ok(compiled) => {
                    compare(&server, &pipeline, &compiled, &events, &mut record).await;
                }
                Err(why) => record.refuse(&why.to_string()),
            }
        }
    }
    server.collection.drop().await.expect("dropped");
    println!("{record:?}");
    record.check();
}

/// What a run has seen.
#[derive(Debug, Default)]
pub(super) struct Record {
    pub(super) pipelines: usize,
    pub(super) compiled: usize,
    pub(super) pairs: usize,
    pub(super) passed: usize,
    pub(super) failed: usize,
    pub(super) failures_checked: usize,
    refused: std::collections::BTreeMap<String, usize>,
}

impl Record {
    pub(super) fn refuse(&mut self, why: &str) {
        let reason = why.split_once(']').map_or(why, |(_, reason)| reason);
        *self.refused.entry(reason.to_owned()).or_default() += 1;
    }

    #[track_caller]
    pub(super) fn check(&self) {
        assert!(
            self.compiled * 10 >= self.pipelines * 9,
            "at least 90 % compile: {} of {}",
            self.compiled,
            self.pipelines
        );
        assert!(self.passed * 4 >= self.pairs, "a quarter passes: {self:?}");
        assert!(self.failures_checked > 0, "some fail: {self:?}");
    }
}

/// What we make of the events: what goes on, and those on which the pipeline fails.
pub(super) struct Ours<'e> {
    pub(super) made: Vec<Cow<'e, bson::RawDocument>>,
    pub(super) failed: Vec<(usize, Failure)>,
}

impl<'e> Ours<'e> {
    pub(super) fn make(pipeline: &Pipeline, events: &'e [RawDocumentBuf]) -> Self {
        let (mut made, mut failed) = (Vec::new(), Vec::new());
        for (place, event) in events.iter().enumerate() {
            match pipeline.run(event) {
                Ok(outcome) => made.extend(outcome),
                Err(failure) => failed.push((place, failure)),
            }
        }
        Self { made, failed }
    }
}

async fn compare(
    server: &Server,
    stages: &[Document],
    pipeline: &Pipeline,
    events: &[RawDocumentBuf],
    record: &mut Record,
) {
    record.compiled += 1;
    record.pairs += events.len();
    let ours = Ours::make(pipeline, events);
    record.passed += ours.made.len();
    record.failed += ours.failed.len();
    let failed: Vec<Bson> = ours
        .failed
        .iter()
        .map(|(place, _)| id_of(&events[*place]))
        .collect();
    let truth = server.run(doc! { "_id": { "$nin": failed } }, stages).await;
    let truth = truth.unwrap_or_else(|error| {
        panic!(
            "the server fails but we do not: {error}\npipeline {}",
            text(stages)
        )
    });
    assert_alike(stages, &ours.made, &truth);
    // Every failure would take a question each. A changed `_id` is one in change streams only.
    let failure = ours
        .failed
        .iter()
        .find(|(_, failure)| failure.code() != ID_CHANGED);
    if let Some((place, failure)) = failure {
        record.failures_checked += 1;
        let only = doc! { "_id": id_of(&events[*place]) };
        // A `$match` that the server moves in front may hold the event back before it can fail: nobody sees a difference.
        if let Ok(made) = server.run(only, stages).await
            && !made.is_empty()
        {
            panic!(
                "we fail ({failure}) but the server does not\npipeline {}\nevent {:?}\nmakes {made:?}",
                text(stages),
                events[*place],
            );
        }
    }
}

/// Asserts that both are byte for byte the same, in the same order.
#[track_caller]
pub(super) fn assert_alike(
    stages: &[Document],
    ours: &[Cow<'_, bson::RawDocument>],
    truth: &[RawDocumentBuf],
) {
    for (place, (ours, truth)) in ours.iter().zip(truth).enumerate() {
        assert!(
            ours.as_bytes() == truth.as_bytes(),
            "event {place} of those that pass\npipeline {}\nours   {:?}\nserver {truth:?}",
            text(stages),
            &**ours,
        );
    }
    assert_eq!(
        ours.len(),
        truth.len(),
        "as many pass (left ours): pipeline {}",
        text(stages)
    );
}

struct Server {
    collection: Collection<RawDocumentBuf>,
}

impl Server {
    async fn connect(seed: u64) -> Self {
        let client = Client::with_uri_str(support::mongo_uri().await)
            .await
            .expect("a server");
        let name = format!("pipelines_{seed}_{}", std::process::id());
        Self {
            collection: client.database("query").collection(&name),
        }
    }

    async fn replace(&self, events: &[RawDocumentBuf]) {
        self.collection.delete_many(doc! {}).await.expect("emptied");
        self.collection.insert_many(events).await.expect("inserted");
    }

    /// What the stages make of the events that `filter` lets through, in order.
    ///
    /// As in a change stream, nothing is moved into the query, and the document is one in memory: on stored bytes the
    /// server has a `$project` of its own.
    async fn run(
        &self,
        filter: Document,
        stages: &[Document],
    ) -> mongodb::error::Result<Vec<RawDocumentBuf>> {
        let as_events = [
            doc! { "$match": filter },
            doc! { "$_internalInhibitOptimization": {} },
            doc! { "$addFields": { "_id": "$_id" } },
            doc! { "$_internalInhibitOptimization": {} },
        ];
        let pipeline = as_events.into_iter().chain(stages.iter().cloned());
        let cursor = self
            .collection
            .aggregate(pipeline)
            .with_type::<RawDocumentBuf>()
            .batch_size(10_000)
            .await?;
        cursor.try_collect().await
    }
}

/// A document with all fields of an event, so that the server has no empty places in it.
fn event(shaper: &mut Shaper, at: usize) -> RawDocumentBuf {
    let kind = ["insert", "update", "replace", "delete"][at % 4];
    let full_document = match at % 8 {
        3 => Bson::Null,
        _ => {
            let mut document = doc! { "_id": at as i32 };
            document.extend(shaper.document());
            document.into()
        }
    };
    let event = doc! {
        "_id": { "_data": format!("82{at:08X}000000012B022C0100296E5A1004") },
        "operationType": kind,
        "clusterTime": bson::Timestamp { time: 1, increment: at as u32 },
        "wallTime": bson::DateTime::from_millis(at as i64),
        "fullDocument": full_document,
        "ns": { "db": "query", "coll": "data" },
        "documentKey": { "_id": at as i32 },
        "updateDescription": {
            "updatedFields": shaper.document(),
            "removedFields": ["b"],
            "truncatedArrays": [],
        },
        "stateBeforeChange": Bson::Null,
    };
    RawDocumentBuf::try_from(&event).expect("BSON")
}

fn id_of(event: &RawDocumentBuf) -> Bson {
    let id = event.get("_id").expect("BSON").expect("an _id");
    id.try_into().expect("BSON")
}

pub(super) fn text(stages: &[Document]) -> String {
    let json = serde_json::to_string(stages).expect("JSON");
    let own: Vec<String> = stages.iter().map(Document::to_string).collect();
    format!("{json}\n         {}", own.join(", "))
}

/// `ChangeStreamFatalError`.
pub(super) const ID_CHANGED: i32 = 280;
const PAIRS: u64 = 40_000;
const EVENTS: usize = 80;
/// Pipelines asked of one set of events.
const PIPELINES: usize = 60;
