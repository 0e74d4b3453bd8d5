//! What the security screen lets through.

use bson::doc;

use super::*;

#[track_caller]
fn check(stages: &[Document], expected: &str) {
    let violation = super::check(stages).expect_err("a violation");
    assert_eq!(
        violation.to_string(),
        format!("Cannot open change stream: Security violation: {expected}")
    );
}

#[test]
fn places_are_named() {
    check(
        &[
            doc! { "$match": {} },
            doc! { "$match": { "$and": [{}, { "$or": [{ "$where": "1" }] }] } },
        ],
        "BLACKLISTED_OPERATOR operator '$where' at pipeline[1].$match.$and[1].$or[0] - Operator is in security blacklist",
    );
    check(
        &[doc! { "a": 1, "$OUT": "x" }],
        "BLACKLISTED_STAGE operator '$OUT' at pipeline[0] - Pipeline stage is in security blacklist",
    );
    check(
        &[doc! { "$function": {} }],
        "JAVASCRIPT_EXECUTION operator '$function' at pipeline[0] - JavaScript execution is disabled by security policy",
    );
}

#[test]
fn values_are_no_operators() {
    assert_eq!(
        super::check(&[doc! { "$match": { "a": "$where" } }]),
        Ok(())
    );
}
