//! The index finds whom asking everybody finds.

use std::collections::BTreeSet;

use bson::{Bson, Document, RawDocumentBuf, doc};
use proptest::prelude::*;

use super::Index;
use crate::query::{self, Necessary, Predicate};

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

fn filter() -> impl Strategy<Value = Document> {
    let operations = prop::collection::vec(
        prop::sample::select(vec!["insert", "update", "other"]),
        1..3,
    );
    let operand = value()
        .prop_filter("undefined cannot be asked for", |value| {
            *value != Bson::Undefined
        })
        .boxed();
    let plain = prop_oneof![
        4 => (path(), operand.clone()).prop_map(|(path, value)| doc! { path: { "$eq": value } }),
        2 => (path(), prop::collection::vec(operand.clone(), 0..4)).prop_map(|(path, values)| doc! { path: { "$in": values } }),
        1 => (path(), operand).prop_map(|(path, value)| doc! { path: { "$ne": value } }),
        1 => operations.prop_map(|names| doc! { "operationType": { "$in": names } }),
        1 => Just(doc! {}),
    ];
    plain.prop_recursive(2, 6, 2, |inner| {
        (
            prop::sample::select(vec!["$and", "$or"]),
            prop::collection::vec(inner, 1..3),
        )
            .prop_map(|(operator, clauses)| doc! { operator: clauses })
    })
}

fn candidates(index: &mut Index<usize>, event: &RawDocumentBuf) -> Vec<usize> {
    let mut ids = Vec::new();
    index.candidates(event, &mut ids);
    ids
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
        removed in prop::collection::vec(any::<prop::sample::Index>(), 0..10),
    ) {
        let predicates = compiled(&filters);
        prop_assume!(!predicates.is_empty());
        let mut index = Index::new();
        let mut present: BTreeSet<usize> = (0..predicates.len()).collect();
        for (id, predicate) in predicates.iter().enumerate() {
            index.insert(id, predicate.necessary());
        }
        for place in removed {
            let id = place.index(predicates.len());
            prop_assert_eq!(index.remove(id), present.remove(&id));
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
    }
}

#[track_caller]
fn check(filter: Document, event: Document, is_candidate: bool) {
    let predicate = query::compile(&filter).expect("compiles");
    let mut index = Index::new();
    index.insert(7, predicate.necessary());
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
        doc! { "n": "x" },
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
fn the_rarest_conjunct_is_chosen() {
    let predicate =
        query::compile(&doc! { "operationType": "insert", "n": 1, "m": { "$in": [1, 2] } });
    let necessary = predicate.expect("compiles").necessary();
    assert!(
        matches!(necessary, Necessary::Equality { path, keys } if path.to_string() == "n" && keys.len() == 1)
    );
}

#[test]
fn a_group_put_in_again_is_moved() {
    let necessary = |filter: Document| query::compile(&filter).expect("compiles").necessary();
    let mut index = Index::new();
    index.insert(1, necessary(doc! { "n": 1 }));
    index.insert(1, necessary(doc! { "n": 2 }));
    let event = |n: i32| RawDocumentBuf::try_from(&doc! { "n": n }).expect("BSON");
    assert_eq!(index.len(), 1);
    assert!(candidates(&mut index, &event(1)).is_empty());
    assert_eq!(candidates(&mut index, &event(2)), [1]);
    assert!(index.remove(1));
    assert!(!index.remove(1));
    assert!(index.is_empty());
    assert!(candidates(&mut index, &event(2)).is_empty());
}
