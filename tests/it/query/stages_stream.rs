//! The same in a change stream, where the events have the server's own places and a changed `_id` is an error.

use bson::{Document, RawDocumentBuf, doc};
use mongodb::Client;
use sidestream::query;

use super::change_stream::{History, token};
use super::generator::Generator;
use super::shaper::Shaper;
use super::stages::{ID_CHANGED, Ours, Record, assert_alike, text};
use super::{from_environment, seed};
use crate::support;

/// Compares what a change stream delivers of a pipeline with what the compiled one makes of the unfiltered events.
#[tokio::test]
async fn compiled_pipelines_make_what_a_change_stream_delivers() {
    let seed = seed();
    let pipelines = from_environment("SIDESTREAM_PIPELINE_STREAMS").unwrap_or(PIPELINES);
    println!("SIDESTREAM_QUERY_SEED={seed}");
    let mut shaper = Shaper::new(seed);
    let client = Client::with_uri_str(support::mongo_uri().await)
        .await
        .expect("a server");
    let history = History::make(&client, &mut Generator::new(seed), "shape").await;
    let events = history.read(&[]).await.expect("events");
    let mut record = Record::default();
    let mut ids_changed = 0;
    for _ in 0..pipelines {
        let stages = shaper.pipeline();
        record.pipelines += 1;
        let compiled = match query::compile_pipeline(&stages) {
            Ok(compiled) => compiled,
            Err(why) => {
                record.refuse(&why.to_string());
                continue;
            }
        };
        record.compiled += 1;
        record.pairs += events.len();
        let ours = Ours::make(&compiled, &events);
        record.passed += ours.made.len();
        record.failed += ours.failed.len();
        let failed: Vec<Document> = ours.failed.iter().map(|(at, _)| id(&events[*at])).collect();
        let mut pipeline = vec![doc! { "$match": { "_id": { "$nin": failed } } }];
        pipeline.extend(stages.iter().cloned());
        let truth = history.read(&pipeline).await.unwrap_or_else(|error| {
            panic!(
                "the server fails but we do not: {error}\npipeline {}",
                text(&stages)
            )
        });
        assert_alike(&stages, &ours.made, &truth);
        if let Some((at, failure)) = ours.failed.first() {
            record.failures_checked += 1;
            ids_changed += usize::from(failure.code() == ID_CHANGED);
            pipeline[0] = doc! { "$match": { "_id": id(&events[*at]) } };
            // Held back, as in `stages`, or failed.
            let truth = history.read(&pipeline).await;
            assert!(
                truth.unwrap_or_default().is_empty(),
                "we fail ({failure}) but the server does not\npipeline {}\nevent {:?}",
                text(&stages),
                events[*at]
            );
        }
    }
    history.drop().await;
    println!("{ids_changed} changed an _id, {record:?}");
    record.check();
}

fn id(event: &RawDocumentBuf) -> Document {
    doc! { "_data": token(event) }
}

const PIPELINES: u64 = 300;
