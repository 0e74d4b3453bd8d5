//! What is read, and what is refused.

use bson::doc;

use super::entries;

#[test]
fn values_have_bsons_types_and_keys_keep_their_order() {
    let text = "users:\n  - userid: u\n    password: \"0123\"\n    n: 5\n    big: 5000000000\n    half: 0.5\n    \
                ok: true\n    none: null\n    nested: {b: 1, a: [x, 'y']}\nother: [1]\n";
    let expected = doc! {
        "userid": "u", "password": "0123", "n": 5, "big": 5_000_000_000_i64, "half": 0.5, "ok": true,
        "none": null, "nested": { "b": 1, "a": ["x", "y"] },
    };
    let read = entries(text, "users").expect("it is sound");
    assert_eq!(read, std::slice::from_ref(&expected));
    assert!(read[0].keys().eq(expected.keys()), "{:?}", read[0]);
    assert_eq!(entries("users: []", "users"), Ok(Vec::new()));
}

#[track_caller]
fn check_refused(text: &str, reason: &str) {
    let error = entries(text, "users").expect_err("it is refused");
    assert!(error.contains(reason), "{error}");
    assert!(!error.contains("secret"), "{error}");
}

#[test]
fn what_is_no_list_of_entries_is_refused_without_being_quoted() {
    check_refused("", "a list under");
    check_refused("secret", "a list under");
    check_refused("users: secret", "a list under");
    check_refused("user: [{}]", "a list under");
    check_refused("users: [{}]\n---\nusers: []", "a list under");
    check_refused("users: [{}, secret]", "entry 2");
    check_refused("users:\n  - password: [secret\n  - b", "line");
    check_refused("users: [{? [secret] : 1}]", "a key that is not a text");
    let deep = format!("users: [{{a: {}{}}}]", "[".repeat(150), "]".repeat(150));
    check_refused(&deep, "deeper");
}
