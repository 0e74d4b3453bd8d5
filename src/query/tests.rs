//! Tables of cases, each as a real server decided it (`tests/it/query.rs` asks it about random ones).

use bson::{Bson, Document, RawDocumentBuf, doc};

use super::compile;
use Verdict::{Differs, Matches};

mod properties;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Matches,
    Differs,
}

#[track_caller]
fn check(filter: Document, document: Document, expected: Verdict) {
    let predicate = compile(&filter).expect("a filter that compiles");
    let document = RawDocumentBuf::try_from(&document).expect("BSON");
    let verdict = if predicate.matches(&document) {
        Matches
    } else {
        Differs
    };
    assert_eq!(verdict, expected, "{filter} on {document:?}");
}

#[track_caller]
fn check_unsupported(filter: Document, message: &str) {
    let refusal = compile(&filter).expect_err("a filter that does not compile");
    assert_eq!(refusal.to_string(), message);
}

fn decimal(text: &str) -> Bson {
    Bson::Decimal128(text.parse().expect("a decimal"))
}

fn regex(pattern: &str, options: &str) -> Bson {
    let text = |text: &str| bson::raw::CString::try_from(text).expect("no NUL");
    Bson::RegularExpression(bson::Regex {
        pattern: text(pattern),
        options: text(options),
    })
}

#[test]
fn equality_fans_out_over_arrays() {
    check(doc! { "a.b": 1 }, doc! { "a": { "b": 1 } }, Matches);
    check(
        doc! { "a.b": 1 },
        doc! { "a": [{ "b": 2 }, { "b": 1 }] },
        Matches,
    );
    check(doc! { "a.b": 1 }, doc! { "a": [{ "b": [2, 1] }] }, Matches);
    check(doc! { "a": [1, 2] }, doc! { "a": [1, 2] }, Matches);
    check(doc! { "a": [1, 2] }, doc! { "a": [[1, 2]] }, Matches);
    check(doc! { "a": 1 }, doc! { "a": [[1]] }, Differs);
    check(doc! { "a.b": 1 }, doc! { "a": [[{ "b": 1 }]] }, Differs);
}

#[test]
fn digits_name_places_and_fields() {
    check(doc! { "a.0": 1 }, doc! { "a": [1, 2] }, Matches);
    check(doc! { "a.0": 2 }, doc! { "a": [1, 2] }, Differs);
    check(doc! { "a.0": 2 }, doc! { "a": { "0": 2 } }, Matches);
    check(doc! { "a.0": 2 }, doc! { "a": [{ "0": 2 }] }, Matches);
    check(doc! { "a.0": 1 }, doc! { "a": [[1]] }, Differs);
    check(doc! { "a.0.0": 1 }, doc! { "a": [[1]] }, Matches);
    check(doc! { "a.00": 1 }, doc! { "a": [1] }, Differs);
    check(doc! { "a.0.b": 1 }, doc! { "a": [{ "b": 1 }] }, Matches);
}

#[test]
fn null_is_missing_and_undefined_too() {
    check(doc! { "a": Bson::Null }, doc! { "b": 1 }, Matches);
    check(
        doc! { "a": Bson::Null },
        doc! { "a": Bson::Undefined },
        Matches,
    );
    check(doc! { "a": Bson::Null }, doc! { "a": 0 }, Differs);
    check(doc! { "a.b": Bson::Null }, doc! { "a": 1 }, Matches);
    check(doc! { "a.b": Bson::Null }, doc! { "a": [] }, Differs);
    check(doc! { "a.b": Bson::Null }, doc! { "a": [1] }, Differs);
    check(doc! { "a.b": Bson::Null }, doc! { "a": [{}] }, Matches);
    check(doc! { "a": { "$in": [Bson::Null] } }, doc! {}, Matches);
    check(
        doc! { "a": { "$ne": Bson::Null } },
        doc! { "a": 1 },
        Matches,
    );
    check(doc! { "a": { "$gte": Bson::Null } }, doc! {}, Matches);
    check(doc! { "a": { "$gt": Bson::Null } }, doc! {}, Differs);
}

#[test]
fn negation_is_of_the_whole_array() {
    check(doc! { "a": { "$ne": 1 } }, doc! { "a": [1, 2] }, Differs);
    check(doc! { "a": { "$ne": 1 } }, doc! {}, Matches);
    check(doc! { "a": { "$nin": [1, 3] } }, doc! { "a": [2] }, Matches);
    check(
        doc! { "a": { "$not": { "$gt": 1 } } },
        doc! { "a": [1, 2] },
        Differs,
    );
    check(doc! { "$nor": [{ "a": 1 }] }, doc! { "a": 2 }, Matches);
}

#[test]
fn numbers_compare_by_value_across_types() {
    check(doc! { "a": 1 }, doc! { "a": 1.0 }, Matches);
    check(doc! { "a": 1 }, doc! { "a": decimal("1.00") }, Matches);
    check(doc! { "a": 0 }, doc! { "a": -0.0 }, Matches);
    check(
        doc! { "a": (1_i64 << 53) + 1 },
        doc! { "a": 9_007_199_254_740_992.0 },
        Differs,
    );
    check(
        doc! { "a": { "$gt": i64::MAX } },
        doc! { "a": 9_223_372_036_854_775_808.0 },
        Matches,
    );
    check(doc! { "a": 0.1 }, doc! { "a": decimal("0.1") }, Differs);
    check(
        doc! { "a": { "$gt": 0.1 } },
        doc! { "a": decimal("0.1000000000000000055511151231257827") },
        Differs,
    );
    check(
        doc! { "a": { "$lt": f64::MAX } },
        doc! { "a": decimal("1.797693134862315708145274237317044E+308") },
        Differs,
    );
    check(doc! { "a": 0.5 }, doc! { "a": decimal("0.500") }, Matches);
    check(
        doc! { "a": { "$gt": f64::MAX } },
        doc! { "a": decimal("1E+6000") },
        Matches,
    );
    check(
        doc! { "a": { "$lt": f64::INFINITY } },
        doc! { "a": decimal("1E+6000") },
        Matches,
    );
    check(
        doc! { "a": { "$gt": 0.0 } },
        doc! { "a": decimal("1E-6000") },
        Matches,
    );
}

#[test]
fn nan_equals_itself_and_is_in_no_range() {
    check(
        doc! { "a": f64::NAN },
        doc! { "a": decimal("NaN") },
        Matches,
    );
    check(doc! { "a": { "$lt": 1 } }, doc! { "a": f64::NAN }, Differs);
    check(
        doc! { "a": { "$lte": f64::NAN } },
        doc! { "a": f64::NAN },
        Matches,
    );
    check(
        doc! { "a": { "$lte": [1] } },
        doc! { "a": [f64::NAN] },
        Matches,
    );
}

#[test]
fn ranges_keep_to_the_type() {
    check(doc! { "a": { "$gt": 1 } }, doc! { "a": "x" }, Differs);
    check(
        doc! { "a": { "$lt": "b" } },
        doc! { "a": Bson::Symbol("a".to_owned()) },
        Matches,
    );
    check(doc! { "a": { "$gt": Bson::MinKey } }, doc! {}, Matches);
    check(
        doc! { "a": { "$lt": Bson::MaxKey } },
        doc! { "a": "x" },
        Matches,
    );
    check(
        doc! { "a": { "$lt": doc! { "b": 2 } } },
        doc! { "a": { "b": 1 } },
        Matches,
    );
    check(
        doc! { "a": { "b": 1, "c": 2 } },
        doc! { "a": { "c": 2, "b": 1 } },
        Differs,
    );
}

#[test]
fn elements_are_bound_together() {
    let both = doc! { "a": { "$elemMatch": { "b": 1, "c": 2 } } };
    check(both.clone(), doc! { "a": [{ "b": 1, "c": 2 }] }, Matches);
    check(both, doc! { "a": [{ "b": 1 }, { "c": 2 }] }, Differs);
    let range = doc! { "a": { "$elemMatch": { "$gt": 1, "$lt": 3 } } };
    check(range.clone(), doc! { "a": [0, 2] }, Matches);
    check(range.clone(), doc! { "a": [0, 4] }, Differs);
    check(range, doc! { "a": 2 }, Differs);
    check(
        doc! { "a": { "$all": [1, 2] } },
        doc! { "a": [2, 3, 1] },
        Matches,
    );
    check(doc! { "a": { "$all": [] } }, doc! { "a": [] }, Differs);
    check(
        doc! { "a": { "$size": 2 } },
        doc! { "a": [1, [2]] },
        Matches,
    );
}

#[test]
fn numbers_are_asked_for_bits_and_remainders() {
    check(doc! { "a": { "$mod": [4, 1] } }, doc! { "a": 5.9 }, Matches);
    check(
        doc! { "a": { "$mod": [-1, 0] } },
        doc! { "a": i64::MIN },
        Matches,
    );
    check(
        doc! { "a": { "$mod": [2, 0] } },
        doc! { "a": f64::INFINITY },
        Differs,
    );
    check(
        doc! { "a": { "$bitsAllSet": [1] } },
        doc! { "a": decimal("1.5") },
        Matches,
    );
    check(
        doc! { "a": { "$bitsAllSet": [0] } },
        doc! { "a": 1.5 },
        Differs,
    );
    check(
        doc! { "a": { "$bitsAllSet": [100] } },
        doc! { "a": -1 },
        Matches,
    );
}

#[test]
fn types_are_told_by_number_and_name() {
    check(
        doc! { "a": { "$type": "number" } },
        doc! { "a": decimal("1") },
        Matches,
    );
    check(
        doc! { "a": { "$type": "array" } },
        doc! { "a": [] },
        Matches,
    );
    check(
        doc! { "a": { "$type": [2, 16] } },
        doc! { "a": ["x"] },
        Matches,
    );
    check(
        doc! { "a": { "$type": -1 } },
        doc! { "a": Bson::MinKey },
        Matches,
    );
    check(
        doc! { "a": { "$exists": false } },
        doc! { "a": Bson::Null },
        Differs,
    );
    check(
        doc! { "a.b": { "$exists": false } },
        doc! { "a": [] },
        Matches,
    );
}

#[test]
fn regular_expressions_search_as_pcre_does() {
    check(
        doc! { "a": regex("^a", "") },
        doc! { "a": ["b", "ab"] },
        Matches,
    );
    check(doc! { "a": regex("b$", "") }, doc! { "a": "ab\n" }, Matches);
    check(
        doc! { "a": regex("b$", "") },
        doc! { "a": "ab\n\n" },
        Differs,
    );
    check(
        doc! { "a": regex("k", "i") },
        doc! { "a": "\u{212a}" },
        Matches,
    );
    check(
        doc! { "a": regex("\\w", "i") },
        doc! { "a": "\u{212a}" },
        Differs,
    );
    check(doc! { "a": regex("\\d", "") }, doc! { "a": "٣" }, Differs);
    check(doc! { "a": regex("^.$", "") }, doc! { "a": "\r" }, Matches);
    check(
        doc! { "a": regex("^a.c$", "s") },
        doc! { "a": "a\nc" },
        Matches,
    );
    check(
        doc! { "a": regex("x", "") },
        doc! { "a": regex("x", "") },
        Matches,
    );
    check(
        doc! { "a": { "$regex": "^X", "$options": "i" } },
        doc! { "a": "xy" },
        Matches,
    );
    check(
        doc! { "a": { "$not": regex("x", "") } },
        doc! { "a": 1 },
        Matches,
    );
    check(
        doc! { "a": { "$in": [regex("^x", ""), 1] } },
        doc! { "a": "xy" },
        Matches,
    );
}

#[test]
fn lines_begin_and_end_at_breaks_where_asked() {
    check(
        doc! { "a": regex("^b", "m") },
        doc! { "a": "a\nb" },
        Matches,
    );
    check(doc! { "a": regex("^b", "") }, doc! { "a": "a\nb" }, Differs);
    check(
        doc! { "a": regex("a$", "m") },
        doc! { "a": "a\nb" },
        Matches,
    );
    check(doc! { "a": regex("a$", "") }, doc! { "a": "a\nb" }, Differs);
}

/// Each is delivered like that by a change stream (`tests/it/query/change_stream.rs` asks for random ones).
#[test]
fn what_people_ask_of_an_event_is_compiled() {
    let event = || {
        doc! {
            "operationType": "update", "clusterTime": bson::Timestamp { time: 7, increment: 1 },
            "ns": { "db": "shop", "coll": "orders" }, "documentKey": { "_id": 5 },
            "updateDescription": { "updatedFields": { "status": "paid", "lines.0": 1 }, "removedFields": ["note"], "truncatedArrays": [{ "field": "lines", "newSize": 2 }] },
        }
    };
    let before = bson::Timestamp {
        time: 6,
        increment: 9,
    };
    for filter in [
        doc! { "operationType": { "$in": ["insert", "update"] } },
        doc! { "operationType": { "$ne": "delete" } },
        doc! { "operationType": regex("^(insert|update)$", "") },
        doc! { "clusterTime": { "$gt": before } },
        doc! { "documentKey._id": { "$gte": 5, "$lt": 10 } },
        doc! { "documentKey": { "_id": 5 } },
        doc! { "ns.coll": regex("^ord", "") },
        doc! { "ns": { "db": "shop", "coll": "orders" } },
        doc! { "updateDescription.updatedFields.status": { "$exists": true } },
        doc! { "updateDescription.updatedFields.status": { "$type": "string" } },
        doc! { "updateDescription.updatedFields.status": { "$in": ["paid", "sent"] } },
        // A name with dots is one field of the event, to which no path leads.
        doc! { "updateDescription.updatedFields.lines.0": { "$exists": false } },
        doc! { "updateDescription.removedFields": "note" },
        doc! { "updateDescription.removedFields": { "$size": 1 } },
        doc! { "updateDescription.truncatedArrays": { "$elemMatch": { "field": "lines", "newSize": { "$lt": 3 } } } },
    ] {
        check(filter, event(), Matches);
    }
}

#[test]
fn what_is_not_certain_is_refused() {
    let text = "is not evaluated here";
    check_unsupported(doc! { "$expr": { "$rand": {} } }, &format!("$rand {text}"));
    check_unsupported(doc! { "$jsonSchema": {} }, &format!("$jsonSchema {text}"));
    check_unsupported(
        doc! { "$nor": [{ "a": 1 }, { "b": 1 }] },
        &format!("$nor with more than one clause {text}"),
    );
    check_unsupported(
        doc! { "a": { "$elemMatch": { "$all": [1] } } },
        &format!("$all {text} at a"),
    );
    for path in ["updateDescription.a", "documentKey._id", "clusterTime"] {
        for operator in ["$lt", "$lte", "$gt", "$gte"] {
            let condition = doc! { "$not": { operator: Bson::MaxKey } };
            let what = "an order against MinKey or MaxKey";
            check_unsupported(
                doc! { path: condition },
                &format!("{what} {text} at {path}"),
            );
        }
    }
    for path in ["lsid", "lsid.id", "txnNumber"] {
        check_unsupported(
            doc! { path: { "$exists": false } },
            &format!("{path} {text}"),
        );
    }
    check_unsupported(
        doc! { "ns.db": "a\0b" },
        &format!("a text with NUL {text} at ns.db"),
    );
    check_unsupported(
        doc! { "ns.coll": { "$not": regex("^$", "") } },
        &format!("a regular expression that the empty text matches {text} at ns.coll"),
    );
    // It would hold inside a character, where PCRE does not look: in "aéa".
    check_unsupported(
        doc! { "a": regex("\\B", "") },
        &format!("a regular expression with \\B {text} at a"),
    );
    // Nobody else can build one.
    let bytes = b"\x1a\0\0\0\x0cp\0\x02\0\0\0a\0------------\0";
    let pointer = Document::from_reader(&bytes[..]).expect("BSON");
    let literal = doc! { "$literal": [pointer] };
    check_unsupported(
        doc! { "$expr": { "$eq": ["$a", literal] } },
        &format!("a DBPointer in an expression {text}"),
    );
    check_unsupported(doc! { "$and": [] }, &format!("$and {text}"));
    check_unsupported(
        doc! { "a.b": { "$geoWithin": {} } },
        &format!("$geoWithin {text} at a.b"),
    );
    check_unsupported(
        doc! { "a": { "$gt": 1, "x": 1 } },
        &format!("x {text} at a"),
    );
    check_unsupported(
        doc! { "a": Bson::Undefined },
        &format!("undefined {text} at a"),
    );
    check_unsupported(
        doc! { "a": { "$gt": regex("x", "") } },
        &format!("an order of regular expressions {text} at a"),
    );
    check_unsupported(doc! { "a..b": 1 }, &format!("a..b {text}"));
    check_unsupported(
        doc! { "a": { "$mod": [0, 1] } },
        &format!("$mod {text} at a"),
    );
    check_unsupported(
        doc! { "a": { "$options": "i" } },
        &format!("$options {text} at a"),
    );
    for (pattern, options) in [
        ("(?=x)", ""),
        ("(a)*", ""),
        ("(a)\\1", ""),
        ("a.*b.*", ""),
        ("a$b", ""),
        ("(a", ""),
        ("a)", ""),
        ("[", ""),
        ("[z-a]", ""),
        ("[[:alpha:]]", ""),
        ("*", ""),
        ("a++", ""),
        ("a{2,1}", ""),
        ("a{,2}", ""),
        ("\\h", ""),
        ("\\", ""),
        ("^", "m"),
        ("^a?", "m"),
        ("^(a|)", "m"),
        ("x", "x"),
        ("é", "i"),
    ] {
        let refusal = compile(&doc! { "a": regex(pattern, options) });
        assert!(refusal.is_err(), "/{pattern}/{options}");
    }
}

#[test]
fn depth_and_size_are_bounded() {
    let nested =
        |depth: usize| (0..depth).fold(doc! { "a": 1 }, |inner, _| doc! { "$and": [inner] });
    assert!(compile(&nested(40)).is_ok());
    assert!(compile(&nested(60)).is_err());
    let value = |depth: usize| doc! { "a": (0..depth).fold(Bson::Int32(1), |inner, _| Bson::Array(vec![inner])) };
    assert!(compile(&value(90)).is_ok());
    assert!(compile(&value(110)).is_err());
    assert!(compile(&doc! { "a": { "$in": (0..300_000).collect::<Vec<i32>>() } }).is_err());
    assert!(compile(&doc! { ["a"; 200].join("."): 1 }).is_err());
}

#[test]
fn bytes_that_are_no_bson_do_no_harm() {
    let whole = bson::rawdoc! { "a": { "b": [1, "x", { "c": true }] }, "d": 1.5 };
    let predicate = compile(&doc! { "a.b.c": true, "d": { "$gt": 1 } }).expect("compiles");
    assert!(predicate.matches(&whole));
    for place in 4..whole.as_bytes().len() - 1 {
        for byte in [0, 1, 3, 4, 0x7f, 0xff] {
            let mut bytes = whole.as_bytes().to_vec();
            bytes[place] = byte;
            let broken = RawDocumentBuf::from_bytes(bytes).expect("its length and end are right");
            // Whatever the answer is, it comes.
            let _answer = predicate.matches(&broken);
        }
    }
}
