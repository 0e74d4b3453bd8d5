//! Where a variable's value comes from, and which of two wins.

use bson::bson;

use crate::streams::testing::principal;

use super::*;

fn query(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

fn collect(
    pairs: &[(&str, &str)],
    properties: Option<&Document>,
) -> Result<Variables, VariableError> {
    let principal = properties.map(principal);
    Variables::collect(
        &query(pairs),
        &Caller {
            principal: principal.as_ref(),
            ..Caller::default()
        },
        "d",
        "c",
        &PipelineLimits::default(),
    )
}

#[track_caller]
fn check(pairs: &[(&str, &str)], name: &str, expected: Option<Bson>) {
    let user = doc! { "_id": "ada", "team": { "role": "lead" } };
    let variables = collect(pairs, Some(&user)).expect("variables");
    assert_eq!(
        variables.get(name).map(|bound| bound.value),
        expected,
        "{name}"
    );
}

#[track_caller]
fn check_refused(pairs: &[(&str, &str)], expected: &str) {
    assert_eq!(
        collect(pairs, None).expect_err("refused").to_string(),
        expected
    );
}

#[test]
fn the_stronger_binding_wins() {
    check(&[("n", "plain")], "n", Some(bson!("plain")));
    check(&[("n", "plain"), ("avars", "{n: 5}")], "n", Some(bson!(5)));
    check(
        &[("n", "first"), ("n", "second")],
        "n",
        Some(bson!("first")),
    );
    check(
        &[("avars", "{n: null}"), ("n", "plain")],
        "n",
        Some(Bson::Null),
    );
    check(&[], "n", None);
}

#[test]
fn reserved_parameters_bind_nothing() {
    for name in ["avars", "jsonMode", "page", "pagesize", "lastEventID"] {
        check(
            &[
                ("jsonMode", "SHELL"),
                ("page", "1"),
                ("pagesize", "1"),
                ("avars", "{}"),
            ],
            name,
            None,
        );
    }
    check(&[("avars", "{page: 'mine'}")], "page", Some(bson!("mine")));
}

#[test]
fn no_client_binds_a_name_that_begins_with_at() {
    let forged = "{'@user': {'x': 1, 'team': 2}, '@user.x': 1, '@user.team.role': 'boss', '@tenant': 't', '@page': 9}";
    let pairs = [("avars", forged), ("@user.y", "1"), ("@tenant", "t")];
    check(&pairs, "@user.x", None);
    check(&pairs, "@user.y", None);
    check(&pairs, "@tenant", None);
    check(&pairs, "@page", Some(bson!(1)));
    check(&pairs, "@user.team.role", Some(bson!("lead")));
    check(&pairs, "['@user'].x", None);
}

#[test]
fn a_stranger_is_null() {
    let variables = collect(&[("avars", "{'@user': {'_id': 'ada'}}")], None).expect("variables");
    assert_eq!(
        variables.get("@user").map(|bound| bound.value),
        Some(Bson::Null)
    );
    assert_eq!(variables.get("@user._id"), None);
}

#[test]
fn operators_and_what_acts_like_one_are_refused() {
    for avars in [
        "{x: {$gt: 1}}",
        "{x: [[{$gt: 1}]]}",
        "{x: /a/}",
        "{x: {$regex: 'a'}}",
        "{x: {$code: 'a'}}",
    ] {
        check_refused(
            &[("avars", avars)],
            &format!("illegal avars parameter: {avars}"),
        );
    }
    check(
        &[("avars", "{x: {$oid: '5f1e9b3b8c1d4e0001a1b2c3'}}")],
        "x.y",
        None,
    );
    check(&[("avars", "{x: '$name'}")], "x", Some(bson!("$name")));
}

#[test]
fn numbers_out_of_range_are_refused_in_order() {
    check_refused(
        &[("page", "x"), ("pagesize", "y")],
        "illegal pagesize parameter, it is not a number",
    );
    check_refused(
        &[("pagesize", "1001")],
        "illegal pagesize parameter, pagesize must be >= 0 and <= 1000",
    );
    check_refused(
        &[("page", "0"), ("avars", "{")],
        "illegal page parameter, it is < 1",
    );
    check_refused(
        &[("avars", "{")],
        "illegal avars parameter, it is not a json object: {",
    );
}

#[test]
fn pages_are_counted() {
    let pairs = [("page", "3"), ("pagesize", "10")];
    for (name, expected) in [
        ("@page", 3),
        ("@pagesize", 10),
        ("@limit", 10),
        ("@skip", 20),
    ] {
        check(&pairs, name, Some(bson!(expected)));
    }
    check(&[("page", "2147483647")], "@skip", Some(bson!(i32::MAX)));
}
