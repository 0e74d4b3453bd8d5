//! What an event costs: compiling a filter, judging an event, finding who may want it among many.
//!
//! `cargo bench --bench query`. No server is needed. The last group shows that a lookup does not grow with the number
//! of groups, beside asking everybody.

use std::hint::black_box;

use bson::{Bson, Document, RawDocumentBuf, doc, oid::ObjectId};
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use sidestream::engine::index::Index;
use sidestream::query::{Predicate, compile};

/// A change event as the server sends it, with a document of some twenty fields.
fn event(name: &str) -> RawDocumentBuf {
    let id = ObjectId::from_bytes([7; 12]);
    let mut document = doc! { "_id": id, "message": "hello, everybody who listens", "name": name };
    for place in 0..16 {
        document.insert(format!("field{place}"), place);
    }
    document.insert("tags", vec!["a", "b", "c"]);
    document.insert(
        "address",
        doc! { "city": "Rome", "lines": [{ "no": 1 }, { "no": 2 }] },
    );
    let event = doc! {
        "_id": { "_data": "8265f0c1a8000000012b022c0100296e5a1004" },
        "operationType": "insert",
        "clusterTime": bson::Timestamp { time: 1_700_000_000, increment: 1 },
        "wallTime": bson::DateTime::from_millis(1_700_000_000_000),
        "fullDocument": document,
        "ns": { "db": "restheart", "coll": "messages" },
        "documentKey": { "_id": id },
    };
    RawDocumentBuf::try_from(&event).expect("BSON")
}

fn filters() -> [(&'static str, Document); 6] {
    let names: Vec<String> = (0..1_000).map(|place| format!("name{place}")).collect();
    [
        (
            "operation",
            doc! { "$or": [{ "operationType": "insert" }, { "operationType": "update" }] },
        ),
        ("equality", doc! { "fullDocument.name": "uji" }),
        (
            "range",
            doc! { "fullDocument.field15": { "$gte": 3, "$lt": 100.5 } },
        ),
        ("in_1000", doc! { "fullDocument.name": { "$in": names } }),
        (
            "array",
            doc! { "fullDocument.address.lines": { "$elemMatch": { "no": { "$gt": 1 } } } },
        ),
        (
            "regex",
            doc! { "fullDocument.message": { "$regex": "^hello.*listens$" } },
        ),
    ]
}

fn predicate(filter: &Document) -> Predicate {
    compile(filter).expect("compiles")
}

fn compiling(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("compile");
    for (name, filter) in filters() {
        group.bench_function(name, |bencher| bencher.iter(|| compile(black_box(&filter))));
    }
    group.finish();
}

fn matching(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("matches");
    let event = event("uji");
    for (name, filter) in filters() {
        let predicate = predicate(&filter);
        group.bench_function(name, |bencher| {
            bencher.iter(|| predicate.matches(black_box(&event)))
        });
    }
    group.finish();
}

fn finding(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("index");
    for groups in [1, 1_000, 100_000] {
        let wanted =
            |place: usize| doc! { "fullDocument.name": Bson::from(format!("name{place}")) };
        let predicates: Vec<Predicate> =
            (0..groups).map(|place| predicate(&wanted(place))).collect();
        let mut index = Index::new();
        for (id, predicate) in predicates.iter().enumerate() {
            index.insert(id, predicate.necessary());
        }
        let event = event("name0");
        let mut found = Vec::new();
        group.bench_function(BenchmarkId::new("lookup_and_residual", groups), |bencher| {
            bencher.iter(|| {
                found.clear();
                index.candidates(black_box(&event), &mut found);
                found.retain(|id| predicates[*id].matches(&event));
                assert_eq!(found, [0]);
            });
        });
        group.bench_function(BenchmarkId::new("asking_everybody", groups), |bencher| {
            bencher.iter(|| {
                predicates
                    .iter()
                    .filter(|predicate| predicate.matches(black_box(&event)))
                    .count()
            });
        });
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(20).measurement_time(std::time::Duration::from_secs(1)).warm_up_time(std::time::Duration::from_millis(300));
    targets = compiling, matching, finding
}
criterion_main!(benches);
