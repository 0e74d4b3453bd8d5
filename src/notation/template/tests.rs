//! Variables in a document, replaced by literals.

use bson::{Bson, Document, Regex, bson, doc};

use super::*;

fn bind(bindings: &Document) -> impl Fn(&str) -> Option<Bound> {
    move |name| {
        let is_trusted = name.starts_with("@trusted");
        lookup(bindings, name).map(|value| Bound {
            value: value.clone(),
            is_trusted,
        })
    }
}

#[track_caller]
fn check(stage: Document, bindings: Document, expected: Bson) {
    assert_eq!(interpolate(&stage, &bind(&bindings)), Ok(expected));
}

#[track_caller]
fn check_refused(stage: Document, bindings: Document, expected: &str) {
    let error = interpolate(&stage, &bind(&bindings)).expect_err("refused");
    assert_eq!(error.to_string(), expected);
}

#[track_caller]
fn check_lookup(document: Document, name: &str, expected: Option<Bson>) {
    assert_eq!(lookup(&document, name), expected.as_ref());
}

#[test]
fn variables_are_replaced_at_any_depth() {
    check(
        doc! { "$match": { "$or": [{ "a": { "$var": "x" } }, { "b": { "$in": { "$var": "l" } } }] } },
        doc! { "x": 1, "l": ["a"] },
        bson!({ "$match": { "$or": [{ "a": 1 }, { "b": { "$in": ["a"] } }] } }),
    );
}

#[test]
fn a_default_is_used_as_it_is_where_the_name_is_unbound() {
    let stage = doc! { "$match": { "a": { "$var": ["x", { "$var": "y" }] } } };
    check(
        stage.clone(),
        doc! { "y": 1 },
        bson!({ "$match": { "a": { "$var": "y" } } }),
    );
    check(
        stage,
        doc! { "x": Bson::Null },
        bson!({ "$match": { "a": Bson::Null } }),
    );
}

#[test]
fn var_beside_other_keys_is_an_ordinary_key() {
    let stage = doc! { "$match": { "$var": "x", "a": 1 } };
    check(stage.clone(), doc! {}, Bson::Document(stage));
}

#[test]
fn faults_are_named() {
    check_refused(
        doc! { "$match": { "a": { "$var": "x" } } },
        doc! {},
        "variable x not bound",
    );
    check_refused(
        doc! { "$match": { "a": { "$var": "" } } },
        doc! { "": 1 },
        "variable  not bound",
    );
    for operand in [
        bson!(5),
        bson!(["x"]),
        bson!([1, 2]),
        bson!(["x", 1, 2]),
        bson!({}),
    ] {
        let stage = doc! { "$match": { "a": { "$var": operand.clone() } } };
        assert_eq!(
            interpolate(&stage, &|_| None),
            Err(TemplateError::WrongName(operand))
        );
    }
}

#[test]
fn a_whole_stage_may_be_a_variable() {
    check(doc! { "$var": "x" }, doc! { "x": 5 }, bson!(5));
}

#[test]
fn values_do_not_become_field_paths() {
    let bindings = doc! { "x": "$secret", "d": { "a": ["$b"] } };
    check(
        doc! { "$match": { "a": { "$var": "x" }, "$expr": { "$eq": ["$a", { "$var": "x" }] } } },
        bindings.clone(),
        bson!({ "$match": { "a": "$secret", "$expr": { "$eq": ["$a", { "$literal": "$secret" }] } } }),
    );
    check(
        doc! { "$addFields": { "a": { "$var": "d" }, "b": { "$literal": { "$var": "d" } } } },
        bindings,
        bson!({ "$addFields": { "a": { "$literal": { "a": ["$b"] } }, "b": { "$literal": { "a": ["$b"] } } } }),
    );
}

#[test]
fn values_do_not_become_operators() {
    let regex = Bson::RegularExpression(Regex {
        pattern: bson::raw::cstr!(".*").into(),
        options: bson::raw::cstr!("").into(),
    });
    let bindings = doc! { "o": { "$gt": 1 }, "r": [regex], "@trusted": { "$gt": 1 } };
    for name in ["o", "r"] {
        check_refused(
            doc! { "$match": { "a": { "$var": name } } },
            bindings.clone(),
            &format!("variable {name} holds an operator"),
        );
    }
    check(
        doc! { "$match": { "a": { "$var": "@trusted" } } },
        bindings,
        bson!({ "$match": { "a": { "$gt": 1 } } }),
    );
}

#[test]
fn names_are_keys_first_and_paths_then() {
    let document = || doc! { "a.b": 1, "a": { "b": 2, "c": [{ "d": 3 }, [4]], "e.f": 5 }, "": 6 };
    check_lookup(document(), "a.b", Some(bson!(1)));
    check_lookup(document(), "a.c[0].d", Some(bson!(3)));
    check_lookup(document(), "a.c[1][0]", Some(bson!(4)));
    check_lookup(document(), "a['e.f']", Some(bson!(5)));
    check_lookup(document(), "a[\"b\"]", Some(bson!(2)));
    for nowhere in [
        "", " ", "a.c.0", "a.c[2]", "a.", ".a", "a..b", "a[", "a[x]", "a['b'", "a.b.c", "a.c[-1]",
        "a]",
    ] {
        check_lookup(document(), nowhere, None);
    }
}
