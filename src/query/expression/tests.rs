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

/// Where the server simplifies nothing, numbers are added in the order in which they stand.
#[test]
fn what_stands_in_a_field_is_added_in_order_or_refused() {
    let field = |value: Bson| doc! { "$getField": { "field": "x", "input": { "x": value } } };
    check(field(doc! { "$add": ["$n", "$half", 1] }.into()), 8.5);
    check_refused(field(doc! { "$add": [1, "$n"] }.into()));
    check_refused(field(doc! { "$add": ["$n", 1, 2] }.into()));
    let inner = doc! { "$add": ["$n", "$half"] };
    check_refused(field(
        doc! { "$not": [{ "$add": ["$n", inner.clone()] }] }.into(),
    ));
    check(doc! { "$add": [1, inner] }, 8.5);
    for name in ["$setField", "$unsetField"] {
        let mut arguments = doc! { "field": "x", "input": { "y": { "$multiply": [2, "$n"] } } };
        if name == "$setField" {
            arguments.insert("value", 1);
        }
        check_refused(doc! { name: arguments });
    }
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
}

/// Sorted, as the server's sets are.
#[test]
fn sets_are_joined_and_cut() {
    let one = || bson::bson!([1.0, "a", 7]);
    check(
        doc! { "$setUnion": ["$l", one()] },
        bson::bson!([1, 2, 3, 7, "a"]),
    );
    check(doc! { "$setIntersection": ["$l", one()] }, bson::bson!([1]));
    let few = doc! { "$concatArrays": [["$half"], [1.0]] };
    check(doc! { "$setIntersection": ["$l", few] }, bson::bson!([1.0]));
    check(doc! { "$setUnion": ["$l", "$null"] }, Bson::Null);
    check(doc! { "$setUnion": [] }, bson::bson!([]));
    check_failure(doc! { "$setUnion": ["$l", "$s"] }, 17043);
    check_failure(doc! { "$setIntersection": [[], "$n"] }, 17047);
    // The server folds constants, so that which of them decides depends on the version.
    check_refused(doc! { "$setUnion": ["$l", Bson::Null] });
}

#[test]
fn patterns_are_found_with_their_places_and_captures() {
    let find = |regex: &str| doc! { "$regexFind": { "input": "$u", "regex": regex } };
    check(
        find("€(x)?(.)"),
        doc! { "match": "€😀", "idx": 1, "captures": [Bson::Null, "😀"] },
    );
    check(find("y"), Bson::Null);
    check(
        find("(.)$"),
        doc! { "match": "x", "idx": 3, "captures": ["x"] },
    );
    let all =
        |input: &str, regex: &str| doc! { "$regexFindAll": { "input": input, "regex": regex } };
    let empty = |idx: i32| doc! { "match": "", "idx": idx, "captures": [] };
    check(
        all("$s", "b*"),
        bson::bson!([empty(0), empty(1), { "match": "b", "idx": 2, "captures": [] }]),
    );
    check(
        all("$u", "é?"),
        bson::bson!([{ "match": "é", "idx": 0, "captures": [] }, empty(1), empty(2), empty(3)]),
    );
    check(all("$missing", "a"), bson::bson!([]));
    check_failure(all("$n", "a"), 51104);
    check_refused(doc! { "$regexFind": { "input": "$s", "regex": "$s" } });
    check_refused(find("(?<n>a)"));
}

/// `$` may take the last line break with it, but is not what was found.
#[test]
fn the_end_of_a_line_is_no_part_of_a_match() {
    let text = doc! { "$concat": ["$s", "\n"] };
    for (regex, found) in [("b$", "b"), ("b?$", "b"), ("X.*?$", "Xb"), ("q|b$", "b")] {
        let find = doc! { "$regexFind": { "input": text.clone(), "regex": regex } };
        let found = doc! { "match": found, "idx": 3 - found.len() as i32, "captures": [] };
        check(find, found);
    }
    let greedy = doc! { "$regexFind": { "input": text, "regex": "b.*$", "options": "s" } };
    check(greedy, doc! { "match": "b\n", "idx": 2, "captures": [] });
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

#[test]
fn dates_are_made_and_moved() {
    let date = |millis| Bson::DateTime(bson::DateTime::from_millis(millis));
    check(
        doc! { "$dateToParts": { "date": "$date", "timezone": "+11" } },
        doc! { "year": 2020, "month": 3, "day": 1, "hour": 0, "minute": 14, "second": 15, "millisecond": 678 },
    );
    check_failure(
        doc! { "$dateToParts": { "date": "$date", "iso8601": "$n" } },
        40521,
    );
    check(
        doc! { "$dateFromParts": { "year": 2020, "month": 13, "day": "$n", "hour": -25 } },
        date(1_609_714_800_000),
    );
    check(
        doc! { "$dateFromParts": { "isoWeekYear": 2020, "isoWeek": 54, "isoDayOfWeek": "$n", "timezone": "-08:00" } },
        date(1_610_092_800_000),
    );
    check_failure(doc! { "$dateFromParts": { "year": "$z" } }, 40523);
    check_failure(
        doc! { "$dateFromParts": { "year": "$n", "millisecond": i64::MIN } },
        159,
    );
    let shift =
        |unit: &str, amount: &str| doc! { "startDate": "$date", "unit": unit, "amount": amount };
    // The 29th of February, a year on.
    check(
        doc! { "$dateAdd": shift("quarter", "$n") },
        date(1_622_294_055_678),
    );
    check(
        doc! { "$dateSubtract": { "startDate": "$date", "unit": "year", "amount": 1 } },
        date(1_551_359_655_678),
    );
    check_failure(doc! { "$dateAdd": shift("year", "$big") }, 5_976_500);
    check_failure(doc! { "$dateAdd": shift("day", "$half") }, 5_166_405);
    check(doc! { "$dateAdd": shift("day", "$null") }, Bson::Null);
    for unit in ["Day", "days", "$s"] {
        check_refused(doc! { "$dateAdd": shift(unit, "$n") });
    }
}

/// As the server has it: what is before 1970 and has milliseconds loses a second (measured on 6.0.5).
#[test]
fn dates_before_1970_lose_a_second_when_they_are_moved() {
    let millis = doc! { "$subtract": ["$date", 1_582_982_055_679_i64 + 34_560_000_000] };
    check(
        doc! { "$dateAdd": { "startDate": millis, "unit": "second", "amount": "$n" } },
        bson::DateTime::from_millis(-34_559_996_001),
    );
    let first = doc! { "$add": [{ "$subtract": ["$date", "$date"] }, bson::DateTime::from_millis(i64::MIN)] };
    check_failure(
        doc! { "$dateAdd": { "startDate": first, "unit": "second", "amount": 1 } },
        5_166_406,
    );
    // Of the 1st of October 1947 it is the 30th of September that a month is added to; of September, the 31st of August.
    let month_on = |millis: i64| {
        let date = doc! { "$add": [{ "$subtract": ["$date", "$date"] }, bson::DateTime::from_millis(millis)] };
        doc! { "$dateAdd": { "startDate": date, "unit": "month", "amount": 1 } }
    };
    for (from, to) in [
        ("1947-10-01T00:00:00.486Z", "1947-10-30T23:59:59.486Z"),
        ("1941-09-01T00:00:00.927Z", "1941-10-01T23:59:59.927Z"),
        ("1947-10-31T00:00:00.486Z", "1947-11-29T23:59:59.486Z"),
    ] {
        let date = |text| bson::DateTime::parse_rfc3339_str(text).expect("a date");
        check(month_on(date(from).timestamp_millis()), date(to));
    }
}

#[test]
fn dates_are_compared_and_cut_by_units() {
    let difference = |unit: &str| doc! { "startDate": "$date", "endDate": bson::DateTime::from_millis(-1), "unit": unit };
    for (unit, count) in [
        ("year", -51_i64),
        ("quarter", -201),
        ("month", -602),
        ("week", -2617),
        ("day", -18_322),
        ("hour", -439_718),
        ("millisecond", -1_582_982_055_679),
    ] {
        check(doc! { "$dateDiff": difference(unit) }, count);
    }
    let cut = |unit: &str, size: Bson| doc! { "date": "$date", "unit": unit, "binSize": size, "startOfWeek": "MON" };
    for (unit, size, millis) in [
        ("week", 1, 1_582_502_400_000_i64),
        ("week", 2, 1_581_897_600_000),
        ("month", 5, 1_577_836_800_000),
        ("hour", 7, 1_582_959_600_000),
    ] {
        check(
            doc! { "$dateTrunc": cut(unit, size.into()) },
            bson::DateTime::from_millis(millis),
        );
    }
    check_failure(doc! { "$dateTrunc": cut("day", "$z".into()) }, 5_439_018);
    check_refused(doc! { "$dateTrunc": cut("day", 0.into()) });
    check_refused(
        doc! { "$dateDiff": { "startDate": "$date", "endDate": "$date", "unit": "day", "timezone": "Europe/Rome" } },
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
