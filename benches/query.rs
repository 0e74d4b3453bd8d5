//! What an event costs: compiling a filter, judging an event, finding who may want it among many.
//!
//! `cargo bench --bench query`. No server is needed. The group `index` finds the one group that wants an event among 1, 1,000
//! and 100,000, and asks its residual; `residual_only` is what it costs where no index can tell them apart.

use std::hint::black_box;

use bson::{Bson, Document, RawDocumentBuf, doc, oid::ObjectId};
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use sidestream::engine::index::Index;
use sidestream::query::{Predicate, compile};

const MESSAGE: &str = "hello, everybody who listens";

/// A change event as the server sends it, with a document of some twenty fields.
fn event(name: &str) -> RawDocumentBuf {
    let id = ObjectId::from_bytes([7; 12]);
    let mut document =
        doc! { "_id": id, "message": MESSAGE, "name": name, "price": 50, "owner": 0 };
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

/// What each of many groups asks for, of the event `name0`, whose price is 50.
fn wanted(kind: &str, place: usize) -> Document {
    let price = 50 + place as i64;
    match kind {
        "equality" => doc! { "fullDocument.name": format!("name{place}") },
        "range" => doc! { "fullDocument.price": { "$gte": price, "$lt": price + 1 } },
        "owner_and_room" => {
            doc! { "fullDocument.owner": (place % 10) as i64, "fullDocument.name": format!("name{place}") }
        }
        // No index tells these apart: all but the first let everything pass that is not of their name.
        _ => {
            doc! { "fullDocument.message": { "$not": { "$eq": if place == 0 { "?" } else { MESSAGE } } } }
        }
    }
}

fn finding(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("index");
    for (kind, sizes) in [
        ("equality", &[1, 1_000, 100_000][..]),
        ("range", &[1, 1_000, 100_000]),
        ("owner_and_room", &[1, 1_000, 100_000]),
        ("residual_only", &[100_000]),
    ] {
        for size in sizes {
            let filters = (0..*size).map(|place| predicate(&wanted(kind, place)));
            let predicates: Vec<Predicate> = filters.collect();
            let mut index = Index::new();
            for (id, predicate) in predicates.iter().enumerate() {
                index.insert(id, &predicate.necessary());
            }
            let event = event("name0");
            let mut found = Vec::new();
            group.bench_function(BenchmarkId::new(kind, size), |bencher| {
                bencher.iter(|| {
                    found.clear();
                    index.candidates(black_box(&event), &mut found);
                    found.retain(|id| predicates[*id].matches(&event));
                    assert_eq!(found, [0]);
                });
            });
        }
    }
    group.finish();
}

/// A group that comes and goes again among a hundred thousand.
fn changing(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("join_and_leave");
    for kind in ["equality", "range", "owner_and_room"] {
        let mut index = Index::new();
        for id in 0..100_000 {
            index.insert(id, &predicate(&wanted(kind, id)).necessary());
        }
        let necessary = predicate(&wanted(kind, 77_777)).necessary();
        group.bench_function(kind, |bencher| {
            bencher.iter(|| {
                index.insert(100_000, black_box(&necessary));
                index.remove(100_000)
            });
        });
    }
    group.finish();
}

/// What sorting values costs: the order is what ranges and lists of `$in` are looked up by.
fn ordering(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("order");
    let decimal = |text: &str| Bson::Decimal128(text.parse().expect("a decimal"));
    for (name, value, operand) in [
        ("integers", Bson::Int32(15), Bson::Int32(14)),
        ("integer_and_double", Bson::Int32(15), Bson::Double(14.5)),
        ("double_and_decimal", Bson::Double(0.1), decimal("0.09")),
        (
            "texts",
            Bson::from("hello, everybody"),
            Bson::from("hello, everyman"),
        ),
    ] {
        let predicate = predicate(&doc! { "a": { "$gt": operand } });
        let event = RawDocumentBuf::try_from(&doc! { "a": value }).expect("BSON");
        group.bench_function(name, |bencher| {
            bencher.iter(|| predicate.matches(black_box(&event)))
        });
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(20).measurement_time(std::time::Duration::from_secs(1)).warm_up_time(std::time::Duration::from_millis(300));
    targets = compiling, matching, ordering, finding, changing
}
criterion_main!(benches);
