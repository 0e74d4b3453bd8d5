//! Expressions against a real server: whatever compiles must make of a document what the server makes of it.

use bson::{Bson, Document, RawDocumentBuf, doc};
use futures_util::TryStreamExt;
use mongodb::{Client, Collection};
use sidestream::query::{self, Expression};

use super::expression_generator::Generator;
use super::{from_environment, raw, seed, text};
use crate::support;

/// Compares `PAIRS` pairs of expression and document, and asserts that most expressions compile.
///
/// `SIDESTREAM_QUERY_SEED` repeats a run, `SIDESTREAM_EXPRESSION_PAIRS` makes it longer.
#[tokio::test]
async fn compiled_expressions_give_what_mongodb_gives() {
    let seed = seed();
    let pairs_min = from_environment("SIDESTREAM_EXPRESSION_PAIRS").unwrap_or(PAIRS) as usize;
    println!("SIDESTREAM_QUERY_SEED={seed}");
    let mut generator = Generator::new(seed);
    let server = Server::connect(seed).await;
    let mut record = Record::default();
    while record.pairs + record.failures < pairs_min {
        let documents: Vec<Document> = (0..DOCUMENTS as i32)
            .map(|id| with_id(id, generator.document()))
            .collect();
        server.replace(&documents).await;
        let stored: Vec<RawDocumentBuf> = documents.iter().map(raw).collect();
        for _ in 0..EXPRESSIONS {
            let expression = generator.expression();
            record.expressions += 1;
            let Some(compiled) = compile(&expression) else {
                if server.first(&expression).await {
                    record.refused += 1;
                    if std::env::var("SIDESTREAM_EXPRESSION_REFUSED").is_ok() {
                        let why = query::compile_expression(&holder(&expression));
                        println!("refused {why:?} {expression}");
                    }
                }
                continue;
            };
            record.compiled += 1;
            compare(&server, &expression, &compiled, &stored, &mut record).await;
        }
    }
    server.drop().await;
    println!("{record:?}");
    // What the server refuses too, because a constant part fails, is rightly not compiled.
    let judged = record.compiled + record.refused;
    assert!(
        record.compiled * 10 >= judged * 9,
        "at least 90 % of what the server takes compiles: {record:?}"
    );
    assert!(
        record.plain * 10 >= record.pairs,
        "not all are null: {record:?}"
    );
    assert!(
        record.limited * 1000 <= record.pairs,
        "limits are reached seldom: {record:?}"
    );
}

#[derive(Debug, Default)]
struct Record {
    expressions: usize,
    compiled: usize,
    /// Not compiled, but the server takes it.
    refused: usize,
    /// Compared results.
    pairs: usize,
    /// Of them, those that are neither null nor missing.
    plain: usize,
    /// Failures on which the server failed as well.
    failures: usize,
    /// Failures at limits of ours, which the server may have or not.
    limited: usize,
}

async fn compare(
    server: &Server,
    expression: &Bson,
    compiled: &Expression,
    stored: &[RawDocumentBuf],
    record: &mut Record,
) {
    let (mut ids, mut results) = (Vec::new(), Vec::new());
    let mut failing = Vec::new();
    for (id, document) in stored.iter().enumerate() {
        match compiled.compute(document) {
            Ok(result) => {
                ids.push(id as i32);
                results.push(result);
            }
            Err(failure) if LIMITS.contains(&failure.code()) => record.limited += 1,
            Err(_) => failing.push(id as i32),
        }
    }
    record.pairs += results.len();
    for result in &results {
        let value = canonical(result);
        record.plain += usize::from(!matches!(value, None | Some(Bson::Null)));
    }
    let agrees = match server.evaluate(expression, &ids).await {
        Ok(truth) => {
            truth.len() == results.len()
                && truth
                    .iter()
                    .zip(&results)
                    .all(|(truth, ours)| same(truth, ours))
        }
        Err(_) => false,
    };
    if !agrees {
        report(server, expression, stored, &ids).await;
    }
    // Each failure costs a question of its own.
    let most = from_environment("SIDESTREAM_EXPRESSION_FAILURES").unwrap_or(FAILURES) as usize;
    failing.truncate(most);
    for id in failing {
        record.failures += 1;
        if server.evaluate(expression, &[id]).await.is_ok() {
            report(server, expression, stored, &[id]).await;
        }
    }
}

/// Finds a document on which we and the server differ, makes it and the expression smaller, and panics with them.
async fn report(server: &Server, expression: &Bson, stored: &[RawDocumentBuf], ids: &[i32]) {
    for id in ids {
        let document = Document::try_from(stored[*id as usize].clone()).expect("BSON");
        if differs(server, expression, &document).await {
            let (expression, mut document) = shrink(server, expression.clone(), document).await;
            document.insert("_id", 0);
            server.replace(std::slice::from_ref(&document)).await;
            let ours = compile(&expression).map(|compiled| compiled.compute(&raw(&document)));
            let theirs = server.evaluate(&expression, &[0]).await;
            let show = |result: &RawDocumentBuf| format!("{:?}", canonical(result));
            panic!(
                "we and the server differ\nexpression {expression}\ndocument {}\nours   {:?}\ntheirs {:?}",
                text(&document),
                ours.map(|ours| ours.as_ref().map(show).map_err(ToString::to_string)),
                theirs.map(|theirs| theirs.first().map(show)),
            );
        }
    }
    panic!("together the server gives another answer than one by one: {expression}");
}

async fn differs(server: &Server, expression: &Bson, document: &Document) -> bool {
    let mut document = document.clone();
    document.insert("_id", 0);
    let Some(compiled) = compile(expression) else {
        return false;
    };
    server.replace(std::slice::from_ref(&document)).await;
    let theirs = server.evaluate(expression, &[0]).await;
    match (compiled.compute(&raw(&document)), theirs) {
        (Err(failure), _) if LIMITS.contains(&failure.code()) => false,
        (Ok(ours), Ok(theirs)) => !theirs.first().is_some_and(|theirs| same(theirs, &ours)),
        (Err(_), Err(_)) => false,
        (Ok(_), Err(_)) | (Err(_), Ok(_)) => true,
    }
}

async fn shrink(server: &Server, mut expression: Bson, mut document: Document) -> (Bson, Document) {
    document.insert("_id", 0);
    loop {
        let expressions = smaller_expressions(&expression)
            .into_iter()
            .map(|expression| (expression, document.clone()));
        let documents = super::smaller(&document)
            .into_iter()
            .map(|document| (expression.clone(), document));
        let mut found = None;
        for (expression, document) in expressions.chain(documents) {
            if differs(server, &expression, &document).await {
                found = Some((expression, document));
                break;
            }
        }
        match found {
            Some(smaller) if smaller != (expression.clone(), document.clone()) => {
                (expression, document) = smaller;
            }
            _ => return (expression, document),
        }
    }
}

/// Its parts, and itself with a part made smaller.
fn smaller_expressions(expression: &Bson) -> Vec<Bson> {
    let mut all = Vec::new();
    match expression {
        Bson::Document(document) => {
            for (name, value) in document {
                all.push(value.clone());
                for value in smaller_expressions(value) {
                    let mut with = document.clone();
                    with.insert(name, value);
                    all.push(Bson::Document(with));
                }
            }
        }
        Bson::Array(values) => {
            all.extend(values.iter().cloned());
            for (place, value) in values.iter().enumerate() {
                let mut without = values.clone();
                without.remove(place);
                all.push(Bson::Array(without));
                for value in smaller_expressions(value) {
                    let mut with = values.clone();
                    with[place] = value;
                    all.push(Bson::Array(with));
                }
            }
        }
        _ => (),
    }
    all
}

fn holder(expression: &Bson) -> RawDocumentBuf {
    raw(&doc! { "value": [expression.clone()] })
}

/// Compiles the expression inside an array, since a constant has another meaning to `$project`.
fn compile(expression: &Bson) -> Option<Expression> {
    query::compile_expression(&holder(expression)).ok()
}

/// Returns the value inside the array.
fn canonical(result: &RawDocumentBuf) -> Option<Bson> {
    let document = Document::try_from(result.clone()).ok()?;
    document.get_array("value").ok()?.first().cloned()
}

/// Compares byte by byte; but a NaN is a NaN, whatever its bits.
fn same(left: &RawDocumentBuf, right: &RawDocumentBuf) -> bool {
    left.as_bytes() == right.as_bytes() || without_nan(left) == without_nan(right)
}

/// Returns the bytes, each NaN made the same one: its bits do not reach a client.
fn without_nan(document: &RawDocumentBuf) -> Option<Vec<u8>> {
    let mut document = Document::try_from(document.clone()).ok()?;
    for (_, value) in document.iter_mut() {
        replace_nan(value);
    }
    Some(raw(&document).into_bytes())
}

fn replace_nan(value: &mut Bson) {
    match value {
        Bson::Double(double) if double.is_nan() => *double = f64::NAN,
        Bson::Decimal128(decimal) if decimal.to_string().contains("NaN") => {
            *decimal = "NaN".parse().expect("a decimal");
        }
        Bson::Array(values) => values.iter_mut().for_each(replace_nan),
        Bson::Document(document) => document
            .iter_mut()
            .for_each(|(_, value)| replace_nan(value)),
        _ => (),
    }
}

fn with_id(id: i32, document: Document) -> Document {
    let mut with_id = doc! { "_id": id };
    with_id.extend(document);
    with_id
}

struct Server {
    collection: Collection<Document>,
}

impl Server {
    async fn connect(seed: u64) -> Self {
        let client = Client::with_uri_str(support::mongo_uri().await)
            .await
            .expect("a server");
        let name = format!("expressions_{seed}_{}", std::process::id());
        Self {
            collection: client.database("query").collection(&name),
        }
    }

    async fn replace(&self, documents: &[Document]) {
        self.collection.delete_many(doc! {}).await.expect("emptied");
        self.collection
            .insert_many(documents)
            .await
            .expect("inserted");
    }

    /// Evaluates on the documents of these ids, in their order.
    async fn evaluate(
        &self,
        expression: &Bson,
        ids: &[i32],
    ) -> mongodb::error::Result<Vec<RawDocumentBuf>> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let cursor = self
            .collection
            .aggregate([
                doc! { "$match": { "_id": { "$in": ids } } },
                doc! { "$sort": { "_id": 1 } },
                doc! { "$project": { "_id": 0, "value": [expression] } },
            ])
            .batch_size(10_000)
            .with_type::<RawDocumentBuf>()
            .await?;
        cursor.try_collect().await
    }

    /// Says whether the server takes the expression, whatever comes of it.
    async fn first(&self, expression: &Bson) -> bool {
        self.evaluate(expression, &[-1]).await.is_ok()
    }

    async fn drop(self) {
        self.collection.drop().await.expect("dropped");
    }
}

/// What an evaluation may hold and do is bounded; `query::expression` says how.
const LIMITS: [i32; 2] = [146, 10_334];
const PAIRS: u64 = 100_000;
const DOCUMENTS: usize = 150;
/// Expressions asked of one set of documents.
const EXPRESSIONS: usize = 150;
/// Failures of one expression that the server is asked about.
const FAILURES: u64 = 1;
