//! What values weigh.

use bson::{Bson, Regex, bson};

use super::weight;

#[track_caller]
fn check(value: Bson, expected: usize) {
    assert_eq!(weight(&value), expected, "{value}");
}

#[test]
fn every_value_counts_and_a_regular_expression_counts_more() {
    check(bson!(1), 1);
    check(bson!([]), 1);
    check(bson!([1, [2, 3], { "a": 4 }]), 7);
    let regex = Bson::RegularExpression(Regex {
        pattern: "a".try_into().expect("it has no NUL"),
        options: "".try_into().expect("it has no NUL"),
    });
    check(bson!([regex]), 101);
    check(bson!({ "a": { "$regex": "a", "$options": "i" } }), 104);
}
