//! Texts in the shell's notation, and what they mean.

use bson::{bson, doc};
use proptest::prelude::*;

use super::*;

#[track_caller]
fn check(text: &str, expected: impl Into<Bson>) {
    assert_eq!(parse(text), Ok(expected.into()), "{text}");
}

#[track_caller]
fn check_refused(text: &str) {
    parse(text).expect_err(text);
}

fn date(millis: i64) -> Bson {
    Bson::DateTime(DateTime::from_millis(millis))
}

fn id() -> Bson {
    Bson::ObjectId(ObjectId::parse_str("5f1e9b3b8c1d4e0001a1b2c3").expect("an id"))
}

#[test]
fn leniency_is_the_drivers() {
    check(r#"{"x":1}"#, doc! { "x": 1 });
    check(
        "{'x':'a', $y: 'b', _z1: null}",
        doc! { "x": "a", "$y": "b", "_z1": Bson::Null },
    );
    check("{x:1,}", doc! { "x": 1 });
    check("{x:1 y:2}", doc! { "x": 1, "y": 2 });
    check("[1,]", bson!([1]));
    check("[1 'a']", bson!([1, "a"]));
    check("{x:1} and so on", doc! { "x": 1 });
    check("{x:1, y:2, x:3}", doc! { "x": 3, "y": 2 });
    check(" \n{}", doc! {});
}

#[test]
fn numbers_have_the_smallest_type() {
    check(
        "{a:2147483647, b:2147483648, c:-1, d:007}",
        doc! { "a": i32::MAX, "b": 2_147_483_648_i64, "c": -1, "d": 7 },
    );
    check(
        "{a:1e2, b:1.5, c:-Infinity, d:Infinity}",
        doc! { "a": 100.0, "b": 1.5, "c": f64::NEG_INFINITY, "d": f64::INFINITY },
    );
    check("-0", 0);
    let Ok(Bson::Double(nan)) = parse("NaN") else {
        panic!("a double")
    };
    assert!(nan.is_nan());
    for text in [
        "1.",
        ".5",
        "-",
        "1e",
        "+1",
        "99999999999999999999",
        "1x",
        "0x10",
        "1.e2",
        "-inf",
    ] {
        check_refused(text);
    }
}

#[test]
fn strings_are_read_by_utf16_units() {
    check(r#""\u00e9 \ud83d\ude00 \/ \' \n""#, "é 😀 / ' \n");
    check("'a\"b\n'", "a\"b\n");
    check(r#""\ud83d""#, "\u{fffd}");
    for text in ["'a", r#""\x""#, r#""\u12""#, r#""\u12é4""#, "\"\\"] {
        check_refused(text);
    }
}

#[test]
fn constructors_make_their_types() {
    check("ObjectId('5f1e9b3b8c1d4e0001a1b2c3')", id());
    check("new ObjectId(\"5f1e9b3b8c1d4e0001a1b2c3\")", id());
    check("NumberLong(5)", 5_i64);
    check("NumberLong('9007199254740993')", 9_007_199_254_740_993_i64);
    check("NumberInt('5')", 5);
    check(
        "NumberDecimal('1.10')",
        Bson::Decimal128("1.10".parse().expect("a decimal")),
    );
    check(
        "ISODate('2023-11-14T22:13:20.120Z')",
        date(1_700_000_000_120),
    );
    check("ISODate('2023-11-14')", date(1_699_920_000_000));
    check("new Date(1700000000000)", date(1_700_000_000_000));
    check(
        "new Date(2023, 10, 14, 22, 13, 20)",
        date(1_700_000_000_000),
    );
    check(
        "Timestamp(1, 2)",
        Bson::Timestamp(Timestamp {
            time: 1,
            increment: 2,
        }),
    );
    check(
        "[MinKey, MaxKey(), undefined]",
        bson!([Bson::MinKey, Bson::MaxKey, Bson::Undefined]),
    );
    check(
        "BinData(0, 'AAEC')",
        Bson::Binary(Binary {
            subtype: BinarySubtype::Generic,
            bytes: vec![0, 1, 2],
        }),
    );
    check(
        "HexData(128, 'ff00')",
        Bson::Binary(Binary {
            subtype: 128.into(),
            bytes: vec![255, 0],
        }),
    );
    let bytes: Vec<u8> = (0..16).collect();
    check(
        "UUID('00010203-0405-0607-0809-0a0b0c0d0e0f')",
        Bson::Binary(Binary {
            subtype: BinarySubtype::Uuid,
            bytes,
        }),
    );
    for text in [
        "abc",
        "ObjectId('x')",
        "ObjectId(5)",
        "Date(5)",
        "NumberLong()",
        "new Foo()",
        "BinData(0, '!')",
        "ISODate('2023-02-30')",
    ] {
        check_refused(text);
    }
}

#[test]
fn extended_json_old_and_new_makes_its_types() {
    check(r#"{"$oid":"5f1e9b3b8c1d4e0001a1b2c3"}"#, id());
    check(r#"{"$numberLong":"7"}"#, 7_i64);
    check(r#"{"$numberInt":"7"}"#, 7);
    check(r#"{"$numberDouble":"-Infinity"}"#, f64::NEG_INFINITY);
    check(
        r#"{"$date":"2023-11-14T22:13:20Z"}"#,
        date(1_700_000_000_000),
    );
    check(
        r#"{"$date":"2023-11-14T23:13:20.001+01:00"}"#,
        date(1_700_000_000_001),
    );
    check(r#"{"$date":1700000000000}"#, date(1_700_000_000_000));
    check(r#"{"$date":{"$numberLong":"-1"}}"#, date(-1));
    check(
        r#"{"$timestamp":{"t":4294967295,"i":1}}"#,
        Bson::Timestamp(Timestamp {
            time: u32::MAX,
            increment: 1,
        }),
    );
    let bytes = Bson::Binary(Binary {
        subtype: BinarySubtype::Md5,
        bytes: vec![0, 1, 2],
    });
    check(
        r#"{"$binary":{"base64":"AAEC","subType":"05"}}"#,
        bytes.clone(),
    );
    check(r#"{"$binary":"AAEC","$type":"05"}"#, bytes);
    let regex: Bson = Regex {
        pattern: bson::raw::cstr!("^a").into(),
        options: bson::raw::cstr!("i").into(),
    }
    .into();
    for text in [
        "/^a/i",
        r#"{"$regex":"^a","$options":"i"}"#,
        r#"{"$regularExpression":{"pattern":"^a","options":"i"}}"#,
    ] {
        check(text, regex.clone());
    }
    check(r#"{"$symbol":"s"}"#, Bson::Symbol("s".to_owned()));
    check(r#"{"$gt":1}"#, doc! { "$gt": 1 });
    check(r#"{"$oid":"x","a":1}"#, doc! { "$oid": "x", "a": 1 });
    for text in [
        r#"{"$oid":"x"}"#,
        r#"{"$numberLong":7}"#,
        r#"{"$date":true}"#,
        r#"{"$undefined":1}"#,
    ] {
        check_refused(text);
    }
}

#[test]
fn malformed_text_is_refused() {
    for text in [
        "", "{", "{\"x\":", "{x}", "{1:2}", "[", "]", "{x:}", "{x:1]", "#", "'",
    ] {
        check_refused(text);
    }
}

#[test]
fn depth_and_size_are_bounded() {
    check_refused(&"[".repeat(200_000));
    check_refused(&"{a:".repeat(200_000));
    let deep = format!("{}{}", "[".repeat(DEPTH_MAX), "]".repeat(DEPTH_MAX));
    parse(&deep).expect("as deep as is allowed");
    check_refused(&format!("'{}'", "x".repeat(BYTES_MAX)));
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in "[\\PC\\{\\}\\[\\]:,'\"$/()0-9eE.+a-zA-Z-]{0,40}") {
        if let Ok(value) = parse(&text) {
            prop_assert!(crate::notation::is_shallow(&value));
        }
    }

    #[test]
    fn what_serde_writes_is_read(text in any::<String>(), int in any::<i32>(), double in -1e15..1e15_f64) {
        let json = serde_json::json!({ "t": text, "l": [int, double] }).to_string();
        let Bson::Document(read) = parse(&json).expect("JSON") else { panic!("a document") };
        prop_assert_eq!(read.get_str("t").expect("a text"), text);
        prop_assert_eq!(read.get_array("l").expect("an array")[0].clone(), Bson::Int32(int));
        prop_assert_eq!(read.get_array("l").expect("an array")[1].as_f64().expect("a double"), double);
    }
}
