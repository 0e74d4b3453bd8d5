//! What holds for all values, all filters and all bytes.

use std::cmp::Ordering;
use std::time::{Duration, Instant};

use bson::spec::BinarySubtype;
use bson::{Binary, Bson, Document, JavaScriptCodeWithScope, RawDocumentBuf, Timestamp, doc};
use proptest::prelude::*;

use super::{decimal, regex};
use crate::query::compile;
use crate::query::order::{self, key};
use crate::query::value::{Doc, Value};

/// Numbers where types meet: around 2^53 and 2^63, zeros, NaN, infinities, halves, what only a decimal can hold.
fn number() -> impl Strategy<Value = Bson> {
    let texts = [
        "0",
        "-0",
        "0E+6000",
        "1",
        "1.0",
        "10E-1",
        "NaN",
        "Infinity",
        "-Infinity",
        "9007199254740991",
        "9007199254740992",
        "9007199254740993",
        "-9007199254740993",
        "9223372036854775807",
        "9223372036854775808",
        "-9223372036854775808",
        "-9223372036854775809",
        "0.1",
        "0.1000000000000000055511151231257827",
        "0.1000000000000000055511151231257828",
        "0.5",
        "1E-6176",
        "9.999999999999999999999999999999999E+6144",
        "1E+308",
        "5E-324",
    ];
    let around = |bits: u32| {
        prop_oneof![Just(-1_i64), Just(0), Just(1)]
            .prop_map(move |by| (1_i128 << bits).saturating_add(i128::from(by)))
    };
    let doubles = prop_oneof![
        Just(0.0),
        Just(-0.0),
        Just(f64::NAN),
        Just(-f64::NAN),
        Just(f64::INFINITY),
        Just(f64::NEG_INFINITY),
        Just(0.1),
        Just(0.5),
        Just(1.0),
        Just(f64::MAX),
        Just(f64::MIN_POSITIVE),
        Just(5e-324),
        Just(9_007_199_254_740_992.0),
        Just(9_223_372_036_854_775_808.0),
        Just(-9_223_372_036_854_775_808.0),
        any::<f64>(),
    ];
    prop_oneof![
        any::<i32>().prop_map(Bson::Int32),
        (-2..3_i32).prop_map(Bson::Int32),
        any::<i64>().prop_map(Bson::Int64),
        (-2..3_i64).prop_map(Bson::Int64),
        prop_oneof![around(53), around(63)]
            .prop_map(|integer| Bson::Int64(integer.min(i128::from(i64::MAX)) as i64)),
        doubles.prop_map(Bson::Double),
        prop::sample::select(texts.to_vec()).prop_map(decimal),
        any::<[u8; 16]>().prop_map(|bytes| Bson::Decimal128(bson::Decimal128::from_bytes(bytes))),
    ]
}

fn value() -> impl Strategy<Value = Bson> {
    let text = || {
        prop_oneof![Just(""), Just("a"), Just("ab"), Just("b"), Just("a\0")].prop_map(str::to_owned)
    };
    let subtype = prop_oneof![Just(BinarySubtype::Generic), Just(BinarySubtype::Uuid)];
    let plain = prop_oneof![
        6 => number(),
        2 => text().prop_map(Bson::String),
        1 => text().prop_map(Bson::Symbol),
        1 => text().prop_map(Bson::JavaScriptCode),
        1 => prop::sample::select(vec![
            Bson::Null, Bson::Undefined, Bson::MinKey, Bson::MaxKey, Bson::Boolean(true), Bson::Boolean(false),
            regex("a", ""), regex("a", "i"), regex("b", ""),
        ]),
        1 => any::<i64>().prop_map(|at| Bson::DateTime(bson::DateTime::from_millis(at))),
        1 => (0..2_u32, 0..2_u32).prop_map(|(time, increment)| Bson::Timestamp(Timestamp { time, increment })),
        1 => prop::collection::vec(0..2_u8, 0..3).prop_flat_map(move |bytes| {
            let bytes = Just(bytes);
            (bytes, subtype.clone()).prop_map(|(bytes, subtype)| Bson::Binary(Binary { subtype, bytes }))
        }),
        1 => any::<bool>().prop_map(|high| Bson::ObjectId(bson::oid::ObjectId::from_bytes([u8::from(high); 12]))),
    ];
    plain.prop_recursive(3, 20, 3, |inner| {
        let fields = || {
            prop::collection::vec(
                (prop_oneof![Just("a"), Just("b"), Just("0")], inner.clone()),
                0..3,
            )
        };
        let document = |fields: Vec<(&str, Bson)>| {
            let fields = fields
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value));
            fields.collect::<Document>()
        };
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Bson::Array),
            fields().prop_map(move |fields| Bson::Document(document(fields))),
            fields().prop_map(move |fields| Bson::JavaScriptCodeWithScope(
                JavaScriptCodeWithScope {
                    code: "x".to_owned(),
                    scope: document(fields),
                }
            )),
        ]
    })
}

fn raw(document: Document) -> RawDocumentBuf {
    RawDocumentBuf::try_from(&document).expect("BSON")
}

fn only(document: &RawDocumentBuf) -> Value<'_> {
    Doc::new(document.as_bytes())
        .get(b"v")
        .expect("it is there")
}

fn key_of(value: Value<'_>) -> Vec<u8> {
    let mut key = Vec::new();
    key::write_key(Some(value), &mut key);
    key
}

/// What makes a document of any bytes: its length and its end.
fn framed(mut bytes: Vec<u8>) -> RawDocumentBuf {
    bytes.splice(0..0, [0; 4]);
    bytes.push(0);
    let len = bytes.len() as i32;
    bytes[..4].copy_from_slice(&len.to_le_bytes());
    RawDocumentBuf::from_bytes(bytes).expect("its length and end are right")
}

/// Filters that look like some: operators and paths with any values.
fn filter() -> impl Strategy<Value = Document> {
    let operators = [
        "$eq",
        "$ne",
        "$gt",
        "$gte",
        "$lt",
        "$lte",
        "$in",
        "$nin",
        "$exists",
        "$type",
        "$mod",
        "$all",
        "$size",
        "$elemMatch",
        "$regex",
        "$options",
        "$not",
        "$bitsAllSet",
        "$bitsAnyClear",
        "$and",
        "$or",
        "$nor",
        "$expr",
        "$comment",
        "$unheardOf",
        "a",
        "a.b",
        "a.0",
        "operationType",
        "ns.coll",
        "updateDescription.updatedFields.a",
        "",
    ];
    let leaf = (prop::sample::select(operators.to_vec()), value())
        .prop_map(|(name, value)| doc! { name: value });
    leaf.prop_recursive(4, 16, 3, move |inner| {
        let name = prop::sample::select(operators.to_vec());
        (name, prop::collection::vec(inner, 1..3), any::<bool>()).prop_map(
            |(name, inner, is_list)| match is_list {
                true => doc! { name: inner },
                false => doc! { name: inner.into_iter().flatten().collect::<Document>() },
            },
        )
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn the_order_is_total(values in prop::collection::vec(value(), 3)) {
        let values: Vec<RawDocumentBuf> = values.into_iter().map(|value| raw(doc! { "v": value })).collect();
        let [a, b, c] = [only(&values[0]), only(&values[1]), only(&values[2])];
        prop_assert_eq!(order::compare(a, a), Ordering::Equal);
        prop_assert_eq!(order::compare(a, b), order::compare(b, a).reverse());
        let (one, other) = (order::compare(a, b), order::compare(b, c));
        if one == other || other.is_eq() {
            prop_assert_eq!(order::compare(a, c), one);
        } else if one.is_eq() {
            prop_assert_eq!(order::compare(a, c), other);
        }
    }

    #[test]
    fn numbers_are_on_one_line(values in prop::collection::vec(number(), 3)) {
        let values: Vec<RawDocumentBuf> = values.into_iter().map(|value| raw(doc! { "v": value })).collect();
        let mut sorted: Vec<Value<'_>> = values.iter().map(only).collect();
        sorted.sort_by(|left, right| order::compare(*left, *right));
        prop_assert!(order::compare(sorted[0], sorted[1]).is_le());
        prop_assert!(order::compare(sorted[1], sorted[2]).is_le());
        prop_assert!(order::compare(sorted[0], sorted[2]).is_le());
        let all_equal = order::compare(sorted[0], sorted[2]).is_eq();
        prop_assert_eq!(all_equal, order::compare(sorted[0], sorted[1]).is_eq() && order::compare(sorted[1], sorted[2]).is_eq());
    }

    #[test]
    fn equal_values_have_equal_keys(left in value(), right in prop_oneof![value(), number()]) {
        let (left, right) = (raw(doc! { "v": left }), raw(doc! { "v": right }));
        if order::compare(only(&left), only(&right)).is_eq() {
            prop_assert_eq!(key_of(only(&left)), key_of(only(&right)));
        }
        let tag = key_of(only(&left))[0];
        prop_assert_eq!(tag, key::key_tag(Some(only(&left))));
    }

    #[test]
    fn any_filter_is_judged_on_any_event(filter in filter(), event in value(), bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(predicate) = compile(&filter) {
            let _necessary = predicate.necessary();
            predicate.matches(&raw(doc! { "a": event }));
            predicate.matches(&framed(bytes));
        }
    }

    #[test]
    fn any_bytes_are_a_filter_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(filter) = Document::try_from(framed(bytes.clone())) && let Ok(predicate) = compile(&filter) {
            predicate.matches(&framed(bytes));
        }
    }
}

#[test]
fn equal_numbers_of_different_types_have_equal_keys() {
    for values in [
        vec![
            Bson::Int32(0),
            Bson::Int64(0),
            Bson::Double(-0.0),
            decimal("-0"),
            decimal("0E+6000"),
        ],
        vec![
            Bson::Int64(1 << 53),
            Bson::Double(9_007_199_254_740_992.0),
            decimal("9007199254740992.0"),
        ],
        vec![
            Bson::Double(9_223_372_036_854_775_808.0),
            decimal("9223372036854775808"),
        ],
        vec![
            Bson::Double(f64::NAN),
            Bson::Double(-f64::NAN),
            decimal("NaN"),
        ],
        vec![Bson::Int64(i64::MAX), decimal("9223372036854775807")],
    ] {
        let values: Vec<RawDocumentBuf> = values
            .into_iter()
            .map(|value| raw(doc! { "v": value }))
            .collect();
        for other in &values[1..] {
            assert!(
                order::compare(only(&values[0]), only(other)).is_eq(),
                "{:?} {other:?}",
                values[0]
            );
            assert_eq!(key_of(only(&values[0])), key_of(only(other)));
        }
    }
}

/// Ten thousand levels, as bytes: a document of that depth could not even be dropped.
fn nested_arrays(levels: usize) -> RawDocumentBuf {
    let mut bytes = vec![5, 0, 0, 0, 0];
    for _ in 0..levels {
        let len = bytes.len() as i32 + 8;
        let mut outer = len.to_le_bytes().to_vec();
        outer.extend(b"\x040\0");
        outer.append(&mut bytes);
        outer.push(0);
        bytes = outer;
    }
    RawDocumentBuf::from_bytes(bytes).expect("a document")
}

#[test]
fn a_deep_event_is_judged() {
    let event = nested_arrays(10_000);
    for filter in [
        doc! { "0": 1 },
        doc! { "0.0.0.0": 1 },
        doc! { "0": { "$gt": [[[1]]] } },
        doc! { "0": { "$elemMatch": { "$elemMatch": { "$exists": true } } } },
        doc! { "0": { "$in": [[[[1]]], 5] } },
        doc! { "$nor": [{ "0.0": { "$size": 3 } }] },
    ] {
        let predicate = compile(&filter).expect("compiles");
        let _answer = predicate.matches(&event);
        let _necessary = predicate.necessary();
    }
}

#[track_caller]
fn check_refused_in_time(filter: Document, message: &str) {
    let begin = Instant::now();
    let refusal = compile(&filter).expect_err("refused").to_string();
    assert!(
        begin.elapsed() < Duration::from_secs(5),
        "{:?}",
        begin.elapsed()
    );
    assert!(refusal.starts_with(message), "{refusal}");
    // Dropping it would recurse as deep as it is.
    std::mem::forget(filter);
}

#[test]
fn filters_made_to_hurt_are_refused_with_the_reason() {
    let nested =
        |levels: usize| (0..levels).fold(doc! { "a": 1 }, |inner, _| doc! { "$or": [inner] });
    check_refused_in_time(nested(10_000), "a filter nested so deeply");
    check_refused_in_time(nested(60), "a filter nested so deeply");
    check_refused_in_time(doc! { ["a"; 1_000].join("."): 1 }, "a.a.a");
    check_refused_in_time(doc! { ["0"; 90].join("."): 1 }, "0.0.0");
    let many: Vec<Document> = (0..100_000).map(|n| doc! { "a": { "$gt": n } }).collect();
    check_refused_in_time(doc! { "$or": many }, "so many conditions");
    let regexes: Vec<Bson> = (0..1_000)
        .map(|n| regex(&format!("^{n}[a-z]{{0,100}}"), ""))
        .collect();
    check_refused_in_time(
        doc! { "a": { "$in": regexes } },
        "so many regular expressions",
    );
    for pattern in [
        "(a+)+$",
        "(a|aa)*b",
        "^(([a-z])+.)+$",
        "a{1,99}b{1,99}c{1,99}",
        "(?:x{99}){99}",
        "(a?){99}a{99}",
    ] {
        check_refused_in_time(
            doc! { "a": regex(pattern, "") },
            "a regular expression with",
        );
    }
}

/// A document of 15 MB with arrays of a hundred thousand elements: it must not hold up everybody for long.
#[test]
fn a_large_array_is_judged_in_time() {
    let element = |n: i32| doc! { "n": n, "text": "x".repeat(100), "list": [n, n + 1] };
    let elements: Vec<Document> = (0..100_000).map(element).collect();
    let event = raw(doc! { "operationType": "insert", "fullDocument": { "items": elements } });
    assert!(
        event.as_bytes().len() > 14 << 20,
        "{}",
        event.as_bytes().len()
    );
    for filter in [
        doc! { "fullDocument.items": { "$elemMatch": { "n": -1, "text": regex("y$", "") } } },
        doc! { "fullDocument.items": { "$elemMatch": { "list": { "$elemMatch": { "$gt": 200_000 } } } } },
        doc! { "fullDocument.items.list": { "$all": [1, 200_000] } },
        doc! { "fullDocument.items.99999.n": -1 },
    ] {
        let predicate = compile(&filter).expect("compiles");
        let begin = Instant::now();
        assert!(!predicate.matches(&event), "{filter}");
        // The bound is for a busy machine without optimisation.
        assert!(
            begin.elapsed() < Duration::from_secs(10),
            "{:?} {filter}",
            begin.elapsed()
        );
    }
}
