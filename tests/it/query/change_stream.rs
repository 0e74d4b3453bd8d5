//! The same in a change stream, where the server rewrites a `$match` for the oplog.

use bson::{Document, RawDocumentBuf, Timestamp, doc};
use mongodb::change_stream::event::ResumeToken;
use mongodb::options::FullDocumentType;
use mongodb::{Client, Database};
use sidestream::query::{self, Predicate};

use super::generator::Generator;
use super::{expressions, fails, from_environment, seed, smaller, text};
use crate::support;

/// Compares what a filter lets through in a change stream with what the compiled one says of the unfiltered events.
#[tokio::test]
async fn compiled_filters_select_what_a_change_stream_delivers() {
    let seed = seed();
    let filters = from_environment("SIDESTREAM_QUERY_STREAMS").unwrap_or(FILTERS);
    println!("SIDESTREAM_QUERY_SEED={seed}");
    let mut generator = Generator::new(seed);
    let client = Client::with_uri_str(support::mongo_uri().await)
        .await
        .expect("a server");
    let history = History::make(&client, &mut generator, "stream").await;
    let events = history.read(&[]).await.expect("events");
    assert!(
        events.len() > 3 * DOCUMENTS,
        "every kind of event: {}",
        events.len()
    );
    for event in &events {
        generator.see(&Document::try_from(event.clone()).expect("BSON"));
    }
    let (mut compiled, mut matches) = (0, 0);
    for _ in 0..filters {
        let filter = generator.event_filter_with_expression();
        let predicate = match query::compile(&filter) {
            Ok(predicate) => predicate,
            Err(refusal) => {
                println!("refused: {refusal}");
                continue;
            }
        };
        compiled += 1;
        matches += compare(&history, &filter, &predicate, &events).await;
    }
    history.drop().await;
    println!(
        "{compiled} of {filters} filters compile, {} events, {} pairs, {matches} matches",
        events.len(),
        compiled * events.len() as u64,
    );
    assert!(
        compiled * 10 >= filters * 9,
        "at least 90 % compile: {compiled} of {filters}"
    );
    assert!(matches >= compiled, "some match: {matches}");
}

async fn compare(
    history: &History,
    filter: &Document,
    predicate: &Predicate,
    events: &[RawDocumentBuf],
) -> u64 {
    let matches = events.iter().filter(|event| predicate.matches(event));
    let Some(trouble) = trouble(history, filter, predicate, events).await else {
        return matches.count() as u64;
    };
    let (mut filter, mut trouble) = (filter.clone(), trouble);
    'smaller: loop {
        for smaller in smaller(&filter) {
            let Ok(predicate) = query::compile(&smaller) else {
                continue;
            };
            if let Some(found) = self::trouble(history, &smaller, &predicate, events).await {
                (filter, trouble) = (smaller, found);
                continue 'smaller;
            }
        }
        panic!("{trouble}\nfilter {}", text(&filter));
    }
}

/// What the server does otherwise, if anything.
async fn trouble(
    history: &History,
    filter: &Document,
    predicate: &Predicate,
    events: &[RawDocumentBuf],
) -> Option<String> {
    let stage = doc! { "$match": filter.clone() };
    let delivered = match history.read(&[stage]).await {
        Ok(delivered) => delivered,
        // Where an expression fails on an event, the server's stream ends.
        Err(_)
            if events
                .iter()
                .any(|event| fails(&expressions(filter), event)) =>
        {
            return None;
        }
        Err(error) => return Some(format!("compiled, but the server refuses: {error}")),
    };
    let mut delivered = delivered.iter().map(token).peekable();
    for event in events {
        let expected = delivered.next_if_eq(&token(event)).is_some();
        if predicate.matches(event) != expected {
            let event = text(&Document::try_from(event.clone()).expect("BSON"));
            return Some(format!(
                "the server says {expected}, we do not\nevent  {event}"
            ));
        }
    }
    let more = delivered.next();
    more.map(|token| format!("an event that the unfiltered stream does not have: {token}"))
}

pub(super) fn token(event: &RawDocumentBuf) -> String {
    let token = event.get_document("_id").expect("a token");
    token.get_str("_data").expect("its text").to_owned()
}

/// A database in which everything has already happened.
pub(super) struct History {
    database: Database,
    begin: Timestamp,
    end: Timestamp,
}

impl History {
    /// Makes it with the documents of `generator`, in a database named after `purpose`.
    pub(super) async fn make(client: &Client, generator: &mut Generator, purpose: &str) -> Self {
        let database = client.database(&format!("query_{purpose}_{}", std::process::id()));
        let begin = operation_time(&database).await;
        let data = database.collection::<Document>("data");
        for id in 0..DOCUMENTS as i32 {
            let mut document = doc! { "_id": id };
            document.extend(generator.document());
            data.insert_one(document).await.expect("inserted");
        }
        for id in 0..DOCUMENTS as i32 {
            let by_id = doc! { "_id": id };
            let changes = doc! { "$set": { "a": id % 3, "b.a": id }, "$unset": { "c": 1 } };
            // Refused where `b` is no document: then there is one event less.
            if data.update_one(by_id.clone(), changes).await.is_err() {
                let changes = doc! { "$set": { "a": id % 3 } };
                data.update_one(by_id.clone(), changes)
                    .await
                    .expect("updated");
            }
            // Updates by a pipeline tell of truncated arrays.
            for list in [
                doc! { "list": [1, 2, { "a": id }] },
                doc! { "list": [1, 2] },
            ] {
                data.update_one(by_id.clone(), vec![doc! { "$set": list }])
                    .await
                    .expect("updated");
            }
            data.replace_one(by_id.clone(), generator.document())
                .await
                .expect("replaced");
            if id % 4 == 0 {
                data.delete_one(by_id).await.expect("deleted");
            }
        }
        let other = database.collection::<Document>("other");
        other
            .insert_one(doc! { "_id": "x", "a": 1 })
            .await
            .expect("inserted");
        let names = |name: &str| format!("{}.{name}", database.name());
        let rename = doc! { "renameCollection": names("other"), "to": names("moved") };
        client
            .database("admin")
            .run_command(rename)
            .await
            .expect("renamed");
        database
            .collection::<Document>("moved")
            .drop()
            .await
            .expect("dropped");
        let end = operation_time(&database).await;
        Self {
            database,
            begin,
            end,
        }
    }

    pub(super) async fn drop(self) {
        self.database.drop().await.expect("dropped");
    }

    /// Reads what the stages make of all events, until the stream has passed the end.
    pub(super) async fn read(
        &self,
        stages: &[Document],
    ) -> mongodb::error::Result<Vec<RawDocumentBuf>> {
        let watch = self
            .database
            .watch()
            .full_document(FullDocumentType::UpdateLookup);
        let watch = watch
            .start_at_operation_time(self.begin)
            .max_await_time(std::time::Duration::from_millis(1));
        let stream = watch.pipeline(stages.iter().cloned()).await?;
        let mut stream = stream.with_type::<RawDocumentBuf>();
        let mut events = Vec::new();
        loop {
            match stream.next_if_any().await? {
                Some(event) => events.push(event),
                None if stream
                    .resume_token()
                    .is_some_and(|token| time_of(&token) > self.end) =>
                {
                    return Ok(events);
                }
                None => (),
            }
        }
    }
}

async fn operation_time(database: &Database) -> Timestamp {
    // A write, so that the oplog goes beyond what was before.
    let write = doc! { "appendOplogNote": 1, "data": { "query": 1 } };
    let answer = database
        .client()
        .database("admin")
        .run_command(write)
        .await
        .expect("noted");
    answer.get_timestamp("operationTime").expect("a time")
}

/// Source: a resume token's text begins with the type of a timestamp (`82`) and its eight bytes.
fn time_of(token: &ResumeToken) -> Timestamp {
    let token = bson::serialize_to_document(token).expect("a document");
    let text = token.get_str("_data").expect("its text");
    let number = |part: &str| u32::from_str_radix(part, 16).expect("hexadecimal");
    Timestamp {
        time: number(&text[2..10]),
        increment: number(&text[10..18]),
    }
}

const FILTERS: u64 = 300;
const DOCUMENTS: usize = 20;
