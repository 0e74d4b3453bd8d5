//! Escaped keys, there and back.

use bson::doc;
use proptest::prelude::*;

use super::*;

#[track_caller]
fn check(escaped: Document, expected: Document) {
    assert_eq!(unescape(&escaped), expected);
}

#[test]
fn keys_lose_their_escapes_at_every_depth() {
    check(
        doc! { "_$match": { "_$or": [{ "fullDocument::a::b": 1 }, { "a.b": { "_$gt": 1 } }] } },
        doc! { "$match": { "$or": [{ "fullDocument.a.b": 1 }, { "a.b": { "$gt": 1 } }] } },
    );
    check(
        doc! { "__$x": 1, "_x": 2, ":::": 3 },
        doc! { "__$x": 1, "_x": 2, ".:": 3 },
    );
}

#[test]
fn values_lose_the_underscore_only() {
    check(
        doc! { "a": "_$name", "b": ["_$x", "a::b"] },
        doc! { "a": "$name", "b": ["$x", "a::b"] },
    );
}

#[test]
fn of_two_keys_that_become_one_the_last_value_counts() {
    let unescaped = unescape(&doc! { "_$a": 1, "b": 2, "$a": 3 });
    assert_eq!(unescaped, doc! { "$a": 3, "b": 2 });
}

proptest! {
    #[test]
    fn unescaping_undoes_escaping(key in "[a-z$.]{0,8}") {
        // A key may look escaped by itself (`_$`, `::`); those made here do not.
        prop_assert_eq!(unescape_key(&escape_key(&key)), key);
    }

    #[test]
    fn what_holds_no_escape_stays(key in "[a-z$.]{0,8}", text in "[a-z$.:]{0,8}") {
        let document = doc! { key: [text] };
        prop_assert_eq!(unescape(&document), document);
    }
}
