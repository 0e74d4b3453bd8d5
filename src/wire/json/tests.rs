//! Every BSON type in every JSON mode.

use bson::{Bson, Document, RawDocumentBuf, doc, oid::ObjectId};
use proptest::prelude::*;

use super::*;

#[track_caller]
fn check(mode: JsonMode, value: impl Into<Bson>, expected: &str) {
    let document = doc! { "v": value.into() };
    assert_eq!(
        document_text(&document, mode),
        format!(r#"{{"v": {expected}}}"#)
    );
}

#[test]
fn doubles_are_written_as_java_prints_them() {
    for (value, expected) in [
        (1.0, "1.0"),
        (-1.5, "-1.5"),
        (0.0, "0.0"),
        (9_999_999.999, "9999999.999"),
        (1e7, "1.0E+7"),
        (1.234_567_8e7, "1.2345678E+7"),
        (0.001, "0.001"),
        (0.000_999, "9.99E-4"),
        (123.456, "123.456"),
        (100.0, "100.0"),
        (1_000_000.0, "1000000.0"),
        // Before JDK 19 these two had more digits than they need.
        (2e-3, "0.002"),
        (2e23, "2.0E+23"),
        (1e23, "1.0E+23"),
        // The closest of two digits, where one would do.
        (f64::from_bits(1), "4.9E-324"),
        (f64::from_bits(2), "9.9E-324"),
        (f64::from_bits(3), "1.5E-323"),
        (f64::MAX, "1.7976931348623157E+308"),
    ] {
        check(JsonMode::Default, value, expected);
    }
}

#[test]
fn decimals_are_written_as_java_prints_them() {
    for text in [
        "0",
        "-0",
        "1.50",
        "0E+3",
        "0.000001",
        "1E-7",
        "1E+2",
        "12345678901234567890.12",
        "-Infinity",
        "NaN",
    ] {
        let decimal: bson::Decimal128 = text.parse().expect("a decimal");
        check(
            JsonMode::Default,
            decimal,
            &format!(r#"{{"$numberDecimal": "{text}"}}"#),
        );
    }
    // A coefficient beyond 34 digits in the other encoding counts as zero.
    let mut bytes = [0xff; 16];
    bytes[15] = 0x6c;
    bytes[14] = 0x11;
    let decimal = bson::Decimal128::from_bytes(bytes);
    check(JsonMode::Shell, decimal, r#"NumberDecimal("0E+3")"#);
}

#[test]
fn shell_dates_before_the_reform_are_julian() {
    let date = |millis| bson::DateTime::from_millis(millis);
    check(
        JsonMode::Shell,
        date(-12_219_292_800_000),
        r#"ISODate("1582-10-15T00:00:00.000Z")"#,
    );
    check(
        JsonMode::Shell,
        date(-12_219_292_800_001),
        r#"ISODate("1582-10-04T23:59:59.999Z")"#,
    );
    check(
        JsonMode::Shell,
        date(253_399_536_000_000),
        r#"ISODate("9999-11-30T00:00:00.000Z")"#,
    );
    check(
        JsonMode::Shell,
        date(253_399_536_000_001),
        "new Date(253399536000001)",
    );
    check(
        JsonMode::Shell,
        date(-59_014_396_800_001),
        "new Date(-59014396800001)",
    );
    check(
        JsonMode::Shell,
        date(951_782_400_000),
        r#"ISODate("2000-02-29T00:00:00.000Z")"#,
    );
}

#[test]
fn error_bodies_are_written_as_restheart_does() {
    assert_eq!(
        error_body(
            404,
            Some("Not Found"),
            Some("Change Stream does not exist"),
            None,
            JsonMode::Extended
        ),
        r#"{"http status code": {"$numberInt": "404"}, "http status description": "Not Found", "message": "Change Stream does not exist"}"#
    );
    assert_eq!(
        error_body(
            400,
            None,
            Some("a \"b\"\tc"),
            Some(("E", "m \"q\"")),
            JsonMode::Default
        ),
        r#"{"http status code": 400, "message": "a 'b'  c", "exception": "E", "exception message": "m 'q'"}"#
    );
}

#[test]
fn modes_are_named_without_regard_to_case() {
    assert_eq!(JsonMode::from_parameter(Some("shell")), JsonMode::Shell);
    assert_eq!(
        JsonMode::from_parameter(Some("Extended")),
        JsonMode::Extended
    );
    assert_eq!(JsonMode::from_parameter(Some("")), JsonMode::Default);
    assert_eq!(JsonMode::from_parameter(None), JsonMode::Default);
}

#[test]
fn strings_that_are_not_utf8_are_written_with_replacements() {
    let mut bytes = bson::serialize_to_vec(&doc! { "s": "ab" }).expect("BSON");
    let at = bytes
        .iter()
        .position(|byte| *byte == b'a')
        .expect("the string");
    bytes[at] = 0xff;
    let mut out = String::new();
    write_document(
        RawDocument::from_bytes(&bytes).expect("BSON"),
        JsonMode::Default,
        &mut out,
    )
    .expect("text");
    assert_eq!(out, "{\"s\": \"\u{fffd}b\"}");
}

#[test]
fn excessive_nesting_is_refused() {
    let mut document = RawDocumentBuf::new();
    for _ in 0..=DEPTH_MAX {
        let mut outer = RawDocumentBuf::new();
        outer.append(bson::raw::cstr!("a"), document);
        document = outer;
    }
    let mut out = String::new();
    let error = write_document(&document, JsonMode::Default, &mut out).expect_err("too deep");
    assert!(matches!(error, JsonError::TooDeep), "{error}");
}

fn any_bson() -> impl Strategy<Value = Bson> {
    let leaf = prop_oneof![
        any::<f64>().prop_map(Bson::Double),
        any::<String>().prop_map(Bson::String),
        any::<i32>().prop_map(Bson::Int32),
        any::<i64>().prop_map(Bson::Int64),
        any::<i64>().prop_map(|millis| Bson::DateTime(bson::DateTime::from_millis(millis))),
        any::<[u8; 16]>().prop_map(|bytes| Bson::Decimal128(bson::Decimal128::from_bytes(bytes))),
        any::<[u8; 12]>().prop_map(|bytes| Bson::ObjectId(ObjectId::from_bytes(bytes))),
        any::<(u32, u32)>()
            .prop_map(|(time, increment)| Bson::Timestamp(bson::Timestamp { time, increment })),
        any::<(u8, Vec<u8>)>().prop_map(|(subtype, bytes)| Bson::Binary(bson::Binary {
            subtype: subtype.into(),
            bytes
        })),
        Just(Bson::Null),
        any::<bool>().prop_map(Bson::Boolean),
        any::<String>().prop_map(Bson::Symbol),
        Just(Bson::MinKey),
        Just(Bson::Undefined),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Bson::Array),
            prop::collection::vec(("[^\0]{0,6}", inner), 0..4)
                .prop_map(|entries| Bson::Document(entries.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn every_mode_but_the_shell_writes_json(value in any_bson()) {
        let document: Document = doc! { "v": value };
        for mode in [JsonMode::Default, JsonMode::Relaxed, JsonMode::Extended] {
            let text = document_text(&document, mode);
            let parsed: Result<serde_json::Value, _> = serde_json::from_str(&text);
            prop_assert!(parsed.is_ok(), "{text}");
        }
        for mode in [JsonMode::Strict, JsonMode::Shell] {
            let text = document_text(&document, mode);
            prop_assert!(text.len() > 6, "{}", text);
        }
    }

    #[test]
    fn doubles_read_back_as_they_were(bits in any::<u64>()) {
        let value = f64::from_bits(bits);
        prop_assume!(value.is_finite());
        let mut text = String::new();
        number::write_double(value, JsonMode::Default, &mut text);
        prop_assert_eq!(text.parse::<f64>().expect("a number").to_bits(), bits);
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        let mut framed = i32::try_from(bytes.len() + 5).expect("short").to_le_bytes().to_vec();
        framed.extend(bytes);
        framed.push(0);
        let document = RawDocument::from_bytes(&framed).expect("a frame of a document");
        let mut out = String::new();
        // Whether it is BSON is not the point here.
        let written = write_document(document, JsonMode::Extended, &mut out);
        prop_assert!(written.is_ok() || !out.is_empty());
    }
}
