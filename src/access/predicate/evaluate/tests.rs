//! What is known of a predicate at large is true for everybody.

use bson::doc;
use http::HeaderValue;
use proptest::prelude::*;

use super::AtLarge;
use crate::access::predicate::tests::request;
use crate::access::predicate::{Circumstances, Predicate};
use crate::access::principal::{Mechanism, Principal};
use crate::access::request::RequestHead;
use crate::notation::mounts::Mounts;

fn head(path: &str, query: &str, header: Option<&'static str>) -> RequestHead {
    let mut head = request(path, query);
    if let Some(header) = header {
        head.headers.insert("x-a", HeaderValue::from_static(header));
    }
    head
}

fn user(team: bson::Bson) -> Principal {
    Principal {
        name: "u".to_owned(),
        roles: vec!["r".to_owned()],
        properties: Some(doc! { "team": team }),
        mechanism: Mechanism::Basic,
        expires_at: None,
        signed_by: None,
    }
}

/// Parts of which some look at the target, some at who asks, and some fail or bind a variable.
fn part() -> impl Strategy<Value = String> {
    prop::sample::select(vec![
        "true",
        "false",
        "path-prefix('/a')",
        "path('/a/b')",
        "path-suffix('b')",
        "path-template('/a/{x}')",
        "regex(pattern='/(a)/.*')",
        "equals(${x}, 'b')",
        "equals(${1}, 'a')",
        "equals(%{i,x-a}, 'red')",
        "equals(%R, '/a/b')",
        "method(GET)",
        "method(value=POST)",
        "equals(@user.team, 'red')",
        "equals(@user.team, ${x})",
        "contains(value=%R, search={'b'})",
        "in(value=%R, array={'/a/b', '/c'})",
        "in(value=@user.team, array={'red'})",
        "qparams-contain('q')",
        "exists(%{q,q})",
        "auth-required",
        "idempotent",
    ])
    .prop_map(str::to_owned)
}

fn predicate() -> impl Strategy<Value = String> {
    part().prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            inner.clone().prop_map(|inner| format!("not ({inner})")),
            prop::collection::vec(inner.clone(), 2..4)
                .prop_map(|parts| format!("({})", parts.join(" and "))),
            prop::collection::vec(inner, 2..4)
                .prop_map(|parts| format!("({})", parts.join(" or "))),
        ]
    })
}

fn circumstances<'a>(
    head: &'a RequestHead,
    principal: Option<&'a Principal>,
    authentication_is_required: bool,
    mounts: &'a Mounts,
) -> Circumstances<'a> {
    Circumstances {
        head,
        principal,
        authentication_is_required,
        mounts,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn what_is_known_at_large_is_true_for_everybody(
        text in predicate(),
        path in prop::sample::select(vec!["/a/b", "/a/red", "/a", "/c", "/a/b;m=1", "/"]),
    ) {
        let predicate = Predicate::parse(&text).map_err(|error| TestCaseError::fail(format!("{text}: {error}")))?;
        let mounts = Mounts::new(Vec::new());
        let plain = head(path, "", None);
        let known = predicate.at_large(&circumstances(&plain, None, false, &mounts));
        let users = [user("red".into()), user("b".into()), user(bson::bson!(["red"])), user(bson::bson!([{}]))];
        let somebody = users.iter().map(Some).chain([None]);
        for principal in somebody {
            for (query, header, required) in [("", None, false), ("q=1", Some("red"), true), ("", Some("blue"), true)] {
                let asked = head(path, query, header);
                let holds = predicate.holds(&circumstances(&asked, principal, required, &mounts)) == Ok(true);
                match known {
                    AtLarge::Holds => prop_assert!(holds, "{text} on {path}"),
                    AtLarge::Fails => prop_assert!(!holds, "{text} on {path}"),
                    AtLarge::Depends => (),
                }
                if !predicate.reads_headers() {
                    let without = head(path, query, None);
                    let without = predicate.holds(&circumstances(&without, principal, required, &mounts)) == Ok(true);
                    prop_assert_eq!(holds, without, "{} reads no headers", text);
                }
            }
        }
    }
}

#[test]
fn targets_decide_most_of_what_people_write() {
    let mounts = Mounts::new(Vec::new());
    let head = head("/a/b", "", None);
    for (text, expected) in [
        ("path-prefix('/a')", AtLarge::Holds),
        (
            "path-prefix('/c') and equals(@user.team, 'red')",
            AtLarge::Fails,
        ),
        (
            "equals(@user.team, 'red') and path-prefix('/c')",
            AtLarge::Fails,
        ),
        (
            "equals(@user.team, 'red') or path-prefix('/a')",
            AtLarge::Depends,
        ),
        (
            "path-prefix('/a') or equals(@user.team, 'red')",
            AtLarge::Holds,
        ),
        (
            "not (equals(@user.team, 'red') and path-prefix('/c'))",
            AtLarge::Depends,
        ),
    ] {
        let predicate = Predicate::parse(text).expect(text);
        let circumstances = circumstances(&head, None, false, &mounts);
        assert_eq!(predicate.at_large(&circumstances), expected, "{text}");
    }
}
