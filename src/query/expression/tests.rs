//! Tables of what MongoDB 6.0.5 said.

use bson::{Bson, Document, RawDocumentBuf, doc};

use crate::query::{Expression, compile_expression};

fn compile(expression: impl Into<Bson>) -> Result<Expression, String> {
    let holder = doc! { "value": expression.into() };
    let holder = RawDocumentBuf::try_from(&holder).expect("BSON");
    compile_expression(&holder).map_err(|unsupported| unsupported.to_string())
}

fn document() -> Document {
    doc! {
        "n": 5, "z": 0, "null": Bson::Null, "s": "aXb", "u": "é€😀x", "l": [3, 1, 2, 1], "big": 4_611_686_018_427_387_904_i64,
        "max": i32::MAX, "o": { "x": 1, "y": 2 }, "objects": [{ "a": 1 }, { "b": 2 }, { "a": [3] }, 4, [{ "a": 5 }]],
        "half": 2.5, "decimal": Bson::Decimal128("1.5".parse().expect("a decimal")),
        "date": bson::DateTime::from_millis(1_582_982_055_678),
    }
}

/// Says what an expression makes of [`document`]: `Ok(None)` is missing, `Err` a failure.
fn evaluate(expression: impl Into<Bson>) -> Result<Option<Bson>, String> {
    let expression = compile(expression).expect("compiles");
    let document = RawDocumentBuf::try_from(&document()).expect("BSON");
    let result = expression
        .compute(&document)
        .map_err(|failure| failure.to_string())?;
    let result = Document::try_from(result).expect("BSON");
    Ok(result.get("value").cloned())
}

#[track_caller]
fn check(expression: impl Into<Bson>, expected: impl Into<Bson>) {
    assert_eq!(evaluate(expression), Ok(Some(expected.into())));
}

#[track_caller]
fn check_missing(expression: impl Into<Bson>) {
    assert_eq!(evaluate(expression), Ok(None));
}

#[track_caller]
fn check_failure(expression: impl Into<Bson>, code: i32) {
    let failure = evaluate(expression).expect_err("it fails");
    assert!(failure.ends_with(&format!("error {code})")), "{failure}");
}

#[track_caller]
fn check_refused(expression: impl Into<Bson>) {
    let expression = expression.into();
    assert!(
        compile(expression.clone()).is_err(),
        "{expression} compiles"
    );
}

#[test]
fn paths_fan_out_over_arrays_and_take_no_places() {
    check("$o.x", 1);
    check("$objects.a", bson::bson!([1, [3]]));
    check("$l.0", bson::bson!([]));
    check("$$ROOT.o.y", 2);
    check("$$CURRENT.n", 5);
    check_missing("$n.x");
    check_missing("$$REMOVE");
    check(
        bson::bson!(["$missing", { "a": "$missing" }]),
        bson::bson!([null, {}]),
    );
    for wrong in [
        "$",
        "$$",
        "$.a",
        "$a.",
        "$a..b",
        "$a.$b",
        "$$NOW",
        "$$unknown",
    ] {
        check_refused(wrong);
    }
}

#[test]
fn numbers_meet_in_the_wider_type() {
    check(doc! { "$add": ["$max", "$max"] }, 4_294_967_294_i64);
    check(
        doc! { "$add": ["$big", "$big"] },
        9_223_372_036_854_775_808.0,
    );
    check(
        doc! { "$multiply": ["$max", "$max"] },
        4_611_686_014_132_420_609_i64,
    );
    check(doc! { "$subtract": ["$n", "$half"] }, 2.5);
    check(doc! { "$divide": ["$n", 2] }, 2.5);
    check(doc! { "$mod": ["$n", -3] }, 2);
    check(doc! { "$mod": ["$n", 2.0] }, 1);
    check(doc! { "$round": ["$half"] }, 2.0);
    check(doc! { "$round": ["$n", -1] }, 0);
    check(doc! { "$add": ["$null", "$s"] }, Bson::Null);
    check_failure(doc! { "$add": ["$s", "$null"] }, 16554);
    check_failure(doc! { "$divide": ["$n", "$z"] }, 2);
    let third: bson::Decimal128 = "3.333333333333333333333333333333333"
        .parse()
        .expect("a decimal");
    check(doc! { "$divide": ["$n", "$decimal"] }, third);
}

#[test]
fn sums_are_compensated_and_constants_come_last() {
    check(doc! { "$sum": [1e16, "$n", -1e16] }, 5.0);
    check(
        doc! { "$add": ["$date", 2.5] },
        bson::DateTime::from_millis(1_582_982_055_680),
    );
    check(doc! { "$avg": "$l" }, 1.75);
}

#[test]
fn a_constant_decides_and_what_fails_beside_it_is_refused() {
    check(doc! { "$and": ["$n", false] }, false);
    check(doc! { "$or": ["$z", "$n"] }, true);
    check_refused(doc! { "$and": [{ "$divide": [1, "$z"] }, false] });
    check_refused(doc! { "$cond": [true, 1, { "$divide": [1, 0] }] });
    check_refused(doc! { "$eq": [1] });
    check_refused(doc! { "$cond": { "if": 1, "then": 2 } });
    check_refused(doc! { "$rand": {} });
    check_refused(doc! { "$pow": ["$n", 2] });
    check_refused(doc! { "$toDate": "$s" });
    check_refused(doc! { "$year": { "date": "$date", "timezone": "Europe/Rome" } });
}

#[test]
fn texts_are_cut_by_bytes_or_by_code_points() {
    check(doc! { "$substrCP": ["$u", 1, 2] }, "€😀");
    check_failure(doc! { "$substrBytes": ["$u", 1, 1] }, 28656);
    check(doc! { "$strLenBytes": "$u" }, 10);
    check(doc! { "$indexOfCP": ["$u", "€"] }, 1);
    check(doc! { "$toUpper": "$u" }, "é€😀X");
    check(
        doc! { "$replaceAll": { "input": "$s", "find": "", "replacement": "-" } },
        "-a-X-b-",
    );
    check(doc! { "$split": ["$s", "X"] }, bson::bson!(["a", "b"]));
    check(doc! { "$toString": "$half" }, "2.5");
    check(
        doc! { "$regexMatch": { "input": "$s", "regex": "x", "options": "i" } },
        true,
    );
}

#[test]
fn arrays_are_mapped_filtered_and_reduced() {
    let double = doc! { "$multiply": ["$$this", 2] };
    check(
        doc! { "$map": { "input": "$l", "in": double } },
        bson::bson!([6, 2, 4, 2]),
    );
    let large = doc! { "$gt": ["$$q", 1] };
    check(
        doc! { "$filter": { "input": "$l", "as": "q", "cond": large } },
        bson::bson!([3, 2]),
    );
    let sum = doc! { "$add": ["$$value", "$$this"] };
    check(
        doc! { "$reduce": { "input": "$l", "initialValue": 0, "in": sum } },
        7,
    );
    check(doc! { "$setDifference": ["$l", [3]] }, bson::bson!([1, 2]));
    check_missing(doc! { "$arrayElemAt": ["$l", 9] });
    check_refused(doc! { "$setUnion": ["$l", [1]] });
}

#[test]
fn dates_are_taken_apart() {
    check(doc! { "$isoWeek": "$date" }, 9);
    check(
        doc! { "$hour": { "date": "$date", "timezone": "+01:00" } },
        14,
    );
    check(
        doc! { "$dateToString": { "date": "$date" } },
        "2020-02-29T13:14:15.678Z",
    );
}

/// What would take for ever, or fill the memory, ends.
#[test]
fn loops_and_sizes_have_limits() {
    let numbers = doc! { "$range": ["$z", 100_000] };
    let inner = doc! { "$size": { "$map": { "input": numbers.clone(), "in": { "$add": ["$$this", "$n"] } } } };
    check_failure(
        doc! { "$map": { "input": numbers.clone(), "in": inner } },
        146,
    );
    let doubled = doc! { "$concat": ["$$value", "$$value"] };
    let grown = doc! { "$reduce": { "input": { "$range": ["$z", 100] }, "initialValue": "$s", "in": doubled } };
    check_failure(grown, 10334);
    let nested = doc! { "$reduce": { "input": numbers, "initialValue": "$l", "in": ["$$value"] } };
    check_failure(nested, 15);
    let mut deep = Bson::from("$n");
    for _ in 0..60 {
        deep = doc! { "$not": [deep] }.into();
    }
    check_refused(deep);
}
