//! `query` against a real server: whatever compiles must select what the server selects.

use std::collections::HashSet;

use bson::{Bson, Document, RawDocument, RawDocumentBuf, doc};
use futures_util::TryStreamExt;
use mongodb::{Client, Collection};
use sidestream::query::{self, Predicate};

use crate::support;

mod change_stream;
mod expression;
mod expression_generator;
mod generator;
mod shaper;
mod stages;
mod stages_stream;

use generator::Generator;

/// Compares `PAIRS` pairs of filter and document, and asserts that most filters compile.
///
/// `SIDESTREAM_QUERY_SEED` repeats a run, `SIDESTREAM_QUERY_PAIRS` makes it longer.
#[tokio::test]
async fn compiled_filters_select_what_mongodb_selects() {
    let seed = seed();
    let pairs_min = from_environment("SIDESTREAM_QUERY_PAIRS").unwrap_or(PAIRS) as usize;
    println!("SIDESTREAM_QUERY_SEED={seed}");
    let mut generator = Generator::new(seed);
    let server = Server::connect(seed).await;
    let mut record = Record::default();
    while record.pairs < pairs_min {
        let documents: Vec<Document> = (0..DOCUMENTS).map(|_| generator.document()).collect();
        server.replace(&documents).await;
        let stored: Vec<RawDocumentBuf> = documents.iter().map(raw).collect();
        for _ in 0..FILTERS {
            let filter = generator.filter_with_expression();
            record.filters += 1;
            let Ok(predicate) = query::compile(&filter) else {
                continue;
            };
            record.compiled += 1;
            compare(
                &server,
                &filter,
                &predicate,
                &documents,
                &stored,
                &mut record,
            )
            .await;
        }
    }
    server.drop().await;
    println!("{record:?}");
    assert!(
        record.compiled * 10 >= record.filters * 9,
        "at least 90 % compile: {record:?}"
    );
    assert!(
        record.matches * 50 >= record.pairs,
        "at least 2 % match: {record:?}"
    );
}

#[derive(Debug, Default)]
struct Record {
    filters: usize,
    compiled: usize,
    pairs: usize,
    matches: usize,
    /// Documents on which an `$expr` fails.
    failures: usize,
}

async fn compare(
    server: &Server,
    filter: &Document,
    predicate: &Predicate,
    documents: &[Document],
    stored: &[RawDocumentBuf],
    record: &mut Record,
) {
    // The server gives up at the first document on which an `$expr` fails, so those are left out.
    let expressions = expressions(filter);
    let failing: Vec<i32> = stored
        .iter()
        .enumerate()
        .filter_map(|(id, bytes)| fails(&expressions, bytes).then_some(id as i32))
        .collect();
    let truth = match server.select(filter, &failing).await {
        Ok(truth) => truth,
        Err(error) => panic!("compiled, but the server refuses {}: {error}", text(filter)),
    };
    for (id, (document, bytes)) in documents.iter().zip(stored).enumerate() {
        if failing.contains(&(id as i32)) {
            record.failures += 1;
            assert!(!predicate.matches(bytes), "lets through where it fails");
            continue;
        }
        record.pairs += 1;
        let expected = truth.contains(&(id as i32));
        record.matches += usize::from(expected);
        if predicate.matches(bytes) != expected {
            let (filter, document) = shrink(server, filter.clone(), document.clone()).await;
            panic!(
                "the server {} but we differ\nfilter   {}\ndocument {}",
                if expected {
                    "selects"
                } else {
                    "does not select"
                },
                text(&filter),
                text(&document)
            );
        }
    }
}

/// Every `$expr` that must hold. Where one fails, another condition that is false decides for us; the server may have
/// evaluated the expression first. Either way the document does not pass.
fn expressions(filter: &Document) -> Vec<Predicate> {
    let mut all = Vec::new();
    for (name, value) in filter {
        match (name.as_str(), value) {
            ("$expr", _) => all.extend(query::compile(&doc! { "$expr": value.clone() })),
            ("$and", Bson::Array(clauses)) => {
                let clauses = clauses.iter().filter_map(Bson::as_document);
                all.extend(clauses.flat_map(expressions));
            }
            _ => (),
        }
    }
    all
}

fn fails(expressions: &[Predicate], document: &RawDocument) -> bool {
    expressions
        .iter()
        .any(|expression| expression.evaluate(document).is_err())
}

/// Makes filter and document smaller as long as we and the server differ on them.
async fn shrink(
    server: &Server,
    mut filter: Document,
    mut document: Document,
) -> (Document, Document) {
    loop {
        let filters = smaller(&filter)
            .into_iter()
            .map(|filter| (filter, document.clone()));
        let documents = smaller(&document)
            .into_iter()
            .map(|document| (filter.clone(), document));
        let mut found = None;
        for (filter, document) in filters.chain(documents) {
            if differs(server, &filter, &document).await {
                found = Some((filter, document));
                break;
            }
        }
        match found {
            Some(smaller) => (filter, document) = smaller,
            None => return (filter, document),
        }
    }
}

async fn differs(server: &Server, filter: &Document, document: &Document) -> bool {
    let Ok(predicate) = query::compile(filter) else {
        return false;
    };
    server.replace(std::slice::from_ref(document)).await;
    match server.select(filter, &[]).await {
        Ok(truth) => truth.contains(&0) != predicate.matches(&raw(document)),
        Err(_) => predicate.evaluate(&raw(document)).is_ok(),
    }
}

/// Every document with one thing less, at any depth.
fn smaller(document: &Document) -> Vec<Document> {
    let mut all = Vec::new();
    for (name, value) in document {
        let mut without = document.clone();
        without.remove(name);
        all.push(without);
        for value in smaller_values(value) {
            let mut with = document.clone();
            with.insert(name, value);
            all.push(with);
        }
    }
    all
}

fn smaller_values(value: &Bson) -> Vec<Bson> {
    match value {
        Bson::Document(document) => smaller(document).into_iter().map(Bson::Document).collect(),
        Bson::Array(values) => {
            let mut all = Vec::new();
            for (place, value) in values.iter().enumerate() {
                let mut without = values.clone();
                without.remove(place);
                all.push(Bson::Array(without));
                for value in smaller_values(value) {
                    let mut with = values.clone();
                    with[place] = value;
                    all.push(Bson::Array(with));
                }
            }
            all
        }
        _ => Vec::new(),
    }
}

struct Server {
    collection: Collection<Document>,
}

impl Server {
    async fn connect(seed: u64) -> Self {
        let client = Client::with_uri_str(support::mongo_uri().await)
            .await
            .expect("a server");
        let name = format!("differential_{seed}_{}", std::process::id());
        Self {
            collection: client.database("query").collection(&name),
        }
    }

    /// Makes these the only documents, with their places as ids.
    async fn replace(&self, documents: &[Document]) {
        self.collection.delete_many(doc! {}).await.expect("emptied");
        let with_ids = documents.iter().enumerate().map(|(id, document)| {
            let mut with_id = doc! { "_id": id as i32 };
            with_id.extend(document.clone());
            with_id
        });
        self.collection
            .insert_many(with_ids)
            .await
            .expect("inserted");
    }

    /// Returns the ids of what the filter selects, asked of all but some.
    async fn select(
        &self,
        filter: &Document,
        without: &[i32],
    ) -> mongodb::error::Result<HashSet<i32>> {
        let filter = match without {
            [] => filter.clone(),
            without => doc! { "$and": [{ "_id": { "$nin": without } }, filter.clone()] },
        };
        let cursor = self
            .collection
            .find(filter)
            .projection(doc! { "_id": 1 })
            .batch_size(10_000)
            .await?;
        let ids = cursor.map_ok(|document| document.get_i32("_id").expect("an id"));
        ids.try_collect().await
    }

    async fn drop(self) {
        self.collection.drop().await.expect("dropped");
    }
}

fn raw(document: &Document) -> RawDocumentBuf {
    RawDocumentBuf::try_from(document).expect("BSON")
}

/// Extended JSON, and the crate's own notation, since the first has no NaN.
fn text(document: &Document) -> String {
    let json = serde_json::to_string(document).expect("JSON");
    format!("{json}\n         {document}")
}

/// The seed of a run. The same one unless another is asked for: what a change breaks is told from what nobody had met yet,
/// which is for long runs over many seeds (`docs/measuring.md`).
fn seed() -> u64 {
    from_environment("SIDESTREAM_QUERY_SEED").unwrap_or(SEED)
}

fn from_environment(name: &str) -> Option<u64> {
    std::env::var(name)
        .ok()
        .map(|value| value.parse().expect("a number"))
}

const SEED: u64 = 20_261_126;
const PAIRS: u64 = 240_000;
const DOCUMENTS: usize = 400;
/// Filters asked of one set of documents.
const FILTERS: usize = 200;
