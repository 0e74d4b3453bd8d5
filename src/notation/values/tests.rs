//! `@user`, `@now` and their like in a document, replaced by values.

use bson::{Document, bson, doc};

use super::*;

#[track_caller]
fn resolve(filter: Document) -> Result<Document, ValueError> {
    let user = doc! { "_id": "ada", "age": 30, "big": 9_007_199_254_740_993_i64, "team": { "ids": [1, { "n": "x" }] }, "op": { "$gt": "" }, "esc": "$owner" };
    let roles = ["editor".to_owned()];
    let query = [
        ("n".to_owned(), "first".to_owned()),
        ("n".to_owned(), "second".to_owned()),
    ];
    let values = Values {
        user_name: Some("ada"),
        roles: &roles,
        user: Some(&user),
        query: &query,
        request: None,
        permissions: None,
        now: DateTime::from_millis(1_700_000_000_120),
    };
    interpolate(&filter, &values)
}

#[track_caller]
fn check(value: impl Into<Bson>, expected: impl Into<Bson>) {
    assert_eq!(
        resolve(doc! { "a": value.into() }),
        Ok(doc! { "a": expected.into() })
    );
}

#[test]
fn names_become_values() {
    check("%USER", "ada");
    check("%ROLES", bson!(["editor"]));
    check("@now", DateTime::from_millis(1_700_000_000_000));
    check("@user._id", "ada");
    check("@user.age", 30.0);
    check("@user.team.ids.0", 1.0);
    check("@user.team.ids.1.n", "x");
    check("@qparams['n']", "first");
    check("@qparams[\"n\"]", "first");
    check(
        bson!({ "$in": ["@user._id", "b"] }),
        bson!({ "$in": ["ada", "b"] }),
    );
}

#[test]
fn a_large_number_keeps_its_digits() {
    check("@user.big", 9_007_199_254_740_993_i64);
}

#[test]
fn what_does_not_exist_is_null() {
    for name in [
        "@user.nope",
        "@user.team.ids.9",
        "@user._id.x",
        "@qparams['x']",
        "@mongoPermissions.readFilter",
    ] {
        check(name, Bson::Null);
    }
}

#[test]
fn other_text_stays() {
    for text in [
        "@unknown",
        "@users.x",
        "x@user._id",
        "%OTHER",
        "@qparams[n]",
        "",
    ] {
        check(text, text);
    }
}

#[test]
fn what_cannot_be_known_is_refused() {
    for name in ["@request.remoteIp", "@filter", "@rnd(32)"] {
        assert_eq!(
            resolve(doc! { "a": name }),
            Err(ValueError::NoValue(name.to_owned()))
        );
    }
}

#[test]
fn a_users_own_field_stays_a_value() {
    assert_eq!(
        resolve(doc! { "a": "@user.op" }),
        Err(ValueError::Operator("@user.op".to_owned()))
    );
    check("@user.esc", "$owner");
    assert_eq!(
        resolve(doc! { "$expr": { "$eq": ["$owner", "@user.esc"] } }),
        Ok(doc! { "$expr": { "$eq": ["$owner", { "$literal": "$owner" }] } })
    );
}
