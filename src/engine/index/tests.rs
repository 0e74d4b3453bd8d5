//! The index finds whom asking everybody finds.

use std::collections::BTreeSet;

use bson::{Bson, Document, RawDocumentBuf, doc};
use proptest::prelude::*;

use super::Index;
use crate::query::{self, Predicate};

fn value() -> impl Strategy<Value = Bson> {
    let decimal = |text: &str| Bson::Decimal128(text.parse().expect("a decimal"));
    let plain = prop_oneof![
        (0..3_i32).prop_map(Bson::Int32),
        (0..3_i64).prop_map(Bson::Int64),
        prop_oneof![Just(0.0), Just(-0.0), Just(1.0), Just(2.5), Just(f64::NAN)]
            .prop_map(Bson::Double),
        prop_oneof![
            Just("0"),
            Just("-0"),
            Just("1.00"),
            Just("2.5"),
            Just("NaN")
        ]
        .prop_map(decimal),
        prop_oneof![Just("x"), Just("y"), Just("insert")].prop_map(Bson::from),
        Just(Bson::Symbol("x".to_owned())),
        Just(Bson::Null),
        Just(Bson::Undefined),
        any::<bool>().prop_map(Bson::Boolean),
        (250..260_usize, 0..2_usize)
            .prop_map(|(len, last)| Bson::String("z".repeat(len) + ["a", "b"][last])),
    ];
    plain.prop_recursive(2, 12, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Bson::Array),
            prop::collection::vec((name(), inner), 0..3)
                .prop_map(document)
                .prop_map(Bson::Document),
        ]
    })
}

fn name() -> impl Strategy<Value = String> {
    prop_oneof![Just("a"), Just("b"), Just("0")].prop_map(str::to_owned)
}

fn path() -> impl Strategy<Value = String> {
    let known = ["a", "a.b", "b", "a.0", "a.0.b", "a.b.a", "operationType"];
    prop::sample::select(known.to_vec()).prop_map(str::to_owned)
}

fn document(fields: Vec<(String, Bson)>) -> Document {
    fields.into_iter().collect()
}

fn event() -> impl Strategy<Value = Document> {
    let operation = prop_oneof![
        4 => prop::sample::select(vec!["insert", "update", "delete", "unheardOf"]).prop_map(|name| Some(Bson::from(name))),
        1 => Just(None),
        1 => Just(Some(Bson::from(vec!["insert"]))),
    ];
    (operation, prop::collection::vec((name(), value()), 0..3)).prop_map(|(operation, fields)| {
        let mut event = document(fields);
        if let Some(operation) = operation {
            event.insert("operationType", operation);
        }
        event
    })
}

fn operand() -> impl Strategy<Value = Bson> {
    value().prop_filter("undefined cannot be asked for", |value| {
        *value != Bson::Undefined
    })
}

/// Operators of one path; some of them make a range.
fn operators(depth: u32) -> BoxedStrategy<Document> {
    let range = || prop::sample::select(vec!["$gt", "$gte", "$lt", "$lte"]);
    let kinds = prop::sample::select(vec!["string", "number", "array", "null", "object"]);
    let plain = prop_oneof![
        3 => operand().prop_map(|value| doc! { "$eq": value }),
        2 => prop::collection::vec(operand(), 0..4).prop_map(|values| doc! { "$in": values }),
        1 => operand().prop_map(|value| doc! { "$ne": value }),
        3 => (range(), operand()).prop_map(|(operator, value)| doc! { operator: value }),
        3 => (range(), operand(), range(), operand()).prop_map(|(one, left, other, right)| {
            doc! { one: left }.into_iter().chain(doc! { other: right }).collect()
        }),
        1 => any::<bool>().prop_map(|exists| doc! { "$exists": exists }),
        1 => kinds.prop_map(|kind| doc! { "$type": kind }),
        1 => (0..3).prop_map(|size| doc! { "$size": size }),
        1 => Just(doc! { "$regex": "^x" }),
        1 => Just(doc! { "$mod": [2, 0] }),
        1 => Just(doc! { "$gt": Bson::MinKey }),
        1 => prop::collection::vec(operand(), 0..3).prop_map(|values| doc! { "$all": values }),
    ];
    match depth {
        0 => plain.boxed(),
        _ => prop_oneof![
            6 => plain,
            1 => operators(depth - 1).prop_map(|inner| doc! { "$not": inner }),
            2 => operators(depth - 1).prop_map(|inner| doc! { "$elemMatch": inner }),
            2 => (path(), operators(depth - 1)).prop_map(|(path, inner)| doc! { "$elemMatch": { path: inner } }),
        ]
        .boxed(),
    }
}

fn filter() -> impl Strategy<Value = Document> {
    let operations = prop::collection::vec(
        prop::sample::select(vec!["insert", "update", "other"]),
        1..3,
    );
    let operator = prop::sample::select(vec!["$in", "$nin"]);
    let plain = prop_oneof![
        8 => (path(), operators(2)).prop_map(|(path, operators)| doc! { path: operators }),
        1 => (operator, operations).prop_map(|(operator, names)| doc! { "operationType": { operator: names } }),
        1 => Just(doc! {}),
    ];
    plain.prop_recursive(2, 6, 3, |inner| {
        (
            prop::sample::select(vec!["$and", "$and", "$or", "$nor"]),
            prop::collection::vec(inner, 1..4),
        )
            .prop_map(|(operator, clauses)| match operator {
                "$nor" => doc! { operator: [clauses[0].clone()] },
                _ => doc! { operator: clauses },
            })
    })
}

fn candidates(index: &mut Index<usize>, event: &RawDocumentBuf) -> Vec<usize> {
    let mut ids = Vec::new();
    index.candidates(event, &mut ids);
    ids
}

fn remembers_nothing(index: &Index<usize>) -> bool {
    index.is_empty() && index.tree.is_empty() && index.paths.is_empty()
}

fn compiled(filters: &[Document]) -> Vec<Predicate> {
    let predicates = filters.iter().map(query::compile);
    predicates.filter_map(Result::ok).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn index_and_residual_are_brute_force(
        filters in prop::collection::vec(filter(), 1..20),
        events in prop::collection::vec(event(), 1..10),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<bool>()), 0..20),
    ) {
        let predicates = compiled(&filters);
        prop_assume!(!predicates.is_empty());
        let mut index = Index::new();
        let mut present: BTreeSet<usize> = (0..predicates.len()).collect();
        for (id, predicate) in predicates.iter().enumerate() {
            index.insert(id, &predicate.necessary());
        }
        // Some leave, some of them come back, some are put in again.
        for (place, comes) in changes {
            let id = place.index(predicates.len());
            if comes {
                index.insert(id, &predicates[id].necessary());
                present.insert(id);
            } else {
                prop_assert_eq!(index.remove(id), present.remove(&id));
            }
        }
        prop_assert_eq!(index.len(), present.len());
        for event in &events {
            let event = RawDocumentBuf::try_from(event).expect("BSON");
            let found = candidates(&mut index, &event);
            let distinct: BTreeSet<usize> = found.iter().copied().collect();
            prop_assert_eq!(distinct.len(), found.len(), "each once");
            prop_assert!(distinct.is_subset(&present));
            let by_index: Vec<usize> = distinct.into_iter().filter(|id| predicates[*id].matches(&event)).collect();
            let by_asking: Vec<usize> = present.iter().copied().filter(|id| predicates[*id].matches(&event)).collect();
            prop_assert_eq!(by_index, by_asking);
        }
        for id in present {
            prop_assert!(index.remove(id));
        }
        prop_assert!(remembers_nothing(&index));
    }
}

#[track_caller]
fn check(filter: Document, event: Document, is_candidate: bool) {
    let predicate = query::compile(&filter).expect("compiles");
    let mut index = Index::new();
    index.insert(7, &predicate.necessary());
    let event = RawDocumentBuf::try_from(&event).expect("BSON");
    assert_eq!(
        candidates(&mut index, &event),
        vec![7; usize::from(is_candidate)]
    );
}

#[test]
fn only_those_who_may_want_an_event_are_asked() {
    check(
        doc! { "fullDocument.n": 1 },
        doc! { "fullDocument": { "n": 1.0 } },
        true,
    );
    check(
        doc! { "fullDocument.n": 1 },
        doc! { "fullDocument": { "n": 2 } },
        false,
    );
    check(
        doc! { "fullDocument.n": 1 },
        doc! { "fullDocument": { "n": [3, 1, 1] } },
        true,
    );
    check(
        doc! { "fullDocument.n": Bson::Null },
        doc! { "fullDocument": {} },
        true,
    );
    check(
        doc! { "fullDocument.n": Bson::Null },
        doc! { "fullDocument": { "n": 0 } },
        false,
    );
    check(
        doc! { "n": { "$in": [1, "x"] }, "m": { "$gt": 3 } },
        doc! { "n": "x", "m": 4 },
        true,
    );
    check(
        doc! { "$or": [{ "n": 1 }, { "n": 2 }] },
        doc! { "n": 2 },
        true,
    );
    check(
        doc! { "$or": [{ "n": 1 }, { "n": 2 }] },
        doc! { "n": 3 },
        false,
    );
    check(
        doc! { "operationType": "insert" },
        doc! { "operationType": "insert" },
        true,
    );
    check(
        doc! { "operationType": "insert" },
        doc! { "operationType": "delete" },
        false,
    );
    check(
        doc! { "$or": [{ "operationType": "insert" }, { "operationType": "update" }] },
        doc! { "operationType": "update" },
        true,
    );
    check(doc! { "n": { "$in": [] } }, doc! { "n": 1 }, false);
    check(doc! {}, doc! {}, true);
}

#[test]
fn every_equality_and_a_range_count() {
    let filter = doc! { "operationType": "insert", "owner": "me", "room": { "$in": [1, 2] }, "price": { "$gte": 5, "$lt": 9 } };
    let event = |change: Document| {
        let mut event = doc! { "operationType": "insert", "owner": "me", "room": 2.0, "price": 5 };
        event.extend(change);
        event
    };
    check(filter.clone(), event(doc! {}), true);
    for change in [
        doc! { "operationType": "update" },
        doc! { "owner": "you" },
        doc! { "room": 3 },
        doc! { "price": 9 },
        doc! { "price": "6" },
        doc! { "price": f64::NAN },
    ] {
        check(filter.clone(), event(change), false);
    }
}

#[test]
fn each_bound_may_be_met_by_another_element() {
    let filter = doc! { "n": { "$gt": 5, "$lt": 3 } };
    check(filter.clone(), doc! { "n": [1, 9] }, true);
    check(filter.clone(), doc! { "n": [4, 9] }, false);
    check(filter, doc! { "n": 4 }, false);
}

#[test]
fn elements_presence_and_alternatives_are_looked_up() {
    let members = doc! { "members": { "$elemMatch": { "user": "me" } } };
    check(
        members.clone(),
        doc! { "members": [{ "user": "me" }] },
        true,
    );
    check(members, doc! { "members": [{ "user": "you" }] }, false);
    let either = doc! { "$or": [{ "from": "me" }, { "to": "me" }], "read": false };
    check(
        either.clone(),
        doc! { "to": "me", "from": "me", "read": false },
        true,
    );
    check(either.clone(), doc! { "to": "me", "read": true }, false);
    check(either, doc! { "to": "you", "read": false }, false);
    check(doc! { "n": { "$exists": true } }, doc! { "m": 1 }, false);
    check(doc! { "n": { "$type": "string" } }, doc! { "n": 1 }, false);
    check(
        doc! { "operationType": { "$ne": "delete" } },
        doc! { "operationType": "delete" },
        false,
    );
}

/// As many candidates as matches, however many groups there are.
#[test]
fn a_hundred_thousand_groups_make_no_false_candidates() {
    let groups = 100_000;
    let filter = |place: i32| match place % 5 {
        0 => doc! { "fullDocument.name": format!("name{place}") },
        1 => {
            doc! { "fullDocument.room": { "$in": [place, place + 1_000_000] }, "operationType": "insert" }
        }
        2 => doc! { "fullDocument.price": { "$gte": place, "$lt": place + 50 } },
        3 => doc! { "fullDocument.owner": place % 10, "fullDocument.room": place },
        _ => doc! { "$or": [{ "fullDocument.from": place }, { "fullDocument.to": place }] },
    };
    let predicates: Vec<Predicate> = (0..groups)
        .map(|place| query::compile(&filter(place)).expect("compiles"))
        .collect();
    let mut index = Index::new();
    for (id, predicate) in predicates.iter().enumerate() {
        index.insert(id, &predicate.necessary());
    }
    for (document, expected) in [
        (doc! { "name": "name70000" }, 1),
        (doc! { "room": 70_001 }, 1),
        (doc! { "room": 70_003, "owner": 3 }, 1),
        (doc! { "room": 70_003, "owner": 4 }, 0),
        (doc! { "price": 70_000.5 }, 10),
        (doc! { "price": [10, 20_000] }, 4_000),
        (doc! { "from": 70_004, "to": 70_004 }, 1),
        (
            doc! { "name": "nobody", "room": -1, "owner": 3, "from": [9, 14] },
            2,
        ),
    ] {
        let event = doc! { "operationType": "insert", "fullDocument": document };
        let event = RawDocumentBuf::try_from(&event).expect("BSON");
        let found = candidates(&mut index, &event);
        let matching = predicates
            .iter()
            .filter(|predicate| predicate.matches(&event));
        assert_eq!(
            (found.len(), matching.count()),
            (expected, expected),
            "{event:?}"
        );
    }
    for id in 0..predicates.len() {
        assert!(index.remove(id));
    }
    assert!(remembers_nothing(&index));
}

#[test]
fn a_group_put_in_again_is_moved() {
    let necessary = |filter: Document| query::compile(&filter).expect("compiles").necessary();
    let mut index = Index::new();
    index.insert(1, &necessary(doc! { "n": 1 }));
    index.insert(1, &necessary(doc! { "n": 2 }));
    let event = |n: i32| RawDocumentBuf::try_from(&doc! { "n": n }).expect("BSON");
    assert_eq!(index.len(), 1);
    assert!(candidates(&mut index, &event(1)).is_empty());
    assert_eq!(candidates(&mut index, &event(2)), [1]);
    assert!(index.remove(1));
    assert!(!index.remove(1));
    assert!(remembers_nothing(&index));
    assert!(candidates(&mut index, &event(2)).is_empty());
}

/// What an event holds is looked up for what is asked, not what is asked for what it holds, whichever is less.
#[test]
fn a_large_array_is_looked_up_in_time() {
    let predicates: Vec<Predicate> = (0..2_000)
        .map(|n| query::compile(&doc! { "a": { "$all": [n, 200_000 + n] } }).expect("compiles"))
        .collect();
    let mut index = Index::new();
    for (id, predicate) in predicates.iter().enumerate() {
        index.insert(id, &predicate.necessary());
    }
    let event = doc! { "a": (0..100_000).collect::<Vec<i32>>() };
    let event = RawDocumentBuf::try_from(&event).expect("BSON");
    let begin = std::time::Instant::now();
    assert!(candidates(&mut index, &event).is_empty());
    assert!(
        begin.elapsed() < std::time::Duration::from_secs(5),
        "{:?}",
        begin.elapsed()
    );
}
