//! Who is let in, and by which permission, against a plain reading of the same permissions; and stored nonsense of all kinds.

use bson::{Bson, Document, bson, doc};
use proptest::prelude::*;

use super::support::{PW, Store, access, get};
use crate::access::{Access, AccessSettings, Denied};

/// A condition, and what it means.
#[derive(Clone, Debug)]
enum Condition {
    Path(&'static str),
    Query(&'static str),
    Team(&'static str),
    All(Vec<Condition>),
    Any(Vec<Condition>),
    Not(Box<Condition>),
}

/// Who asks for what.
#[derive(Debug)]
struct Asked {
    /// `a`, `b` or `ab`.
    collection: &'static str,
    parameter: Option<&'static str>,
    /// None for a stranger.
    team: Option<&'static str>,
}

impl Condition {
    fn text(&self) -> String {
        let joined = |all: &[Self], by: &str| {
            let all: Vec<String> = all.iter().map(|one| format!("({})", one.text())).collect();
            all.join(by)
        };
        match self {
            Self::Path(path) => format!("path-prefix('/{path}')"),
            Self::Query(name) => format!("qparams-contain('{name}')"),
            Self::Team(team) => format!("equals(@user.team, '{team}')"),
            Self::All(all) => joined(all, " and "),
            Self::Any(any) => joined(any, " or "),
            Self::Not(inner) => format!("not ({})", inner.text()),
        }
    }

    /// A stranger has no properties, and so none that equals anything.
    fn holds(&self, asked: &Asked) -> bool {
        match self {
            Self::Path(path) => asked.collection == *path,
            Self::Query(name) => asked.parameter == Some(name),
            Self::Team(team) => asked.team == Some(team),
            Self::All(all) => all.iter().all(|one| one.holds(asked)),
            Self::Any(any) => any.iter().any(|one| one.holds(asked)),
            Self::Not(inner) => !inner.holds(asked),
        }
    }
}

const COLLECTIONS: [&str; 3] = ["a", "b", "ab"];
const ROLES: [&str; 4] = ["r", "s", "t", "$unauthenticated"];
const TEAMS: [&str; 2] = ["red", "blue"];

fn condition() -> impl Strategy<Value = Condition> {
    let leaf = prop_oneof![
        prop::sample::select(&COLLECTIONS[..]).prop_map(Condition::Path),
        prop::sample::select(vec!["x", "y"]).prop_map(Condition::Query),
        prop::sample::select(&TEAMS[..]).prop_map(Condition::Team),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        let some = prop::collection::vec(inner.clone(), 1..4);
        prop_oneof![
            some.clone().prop_map(Condition::All),
            some.prop_map(Condition::Any),
            inner.prop_map(|inner| Condition::Not(Box::new(inner))),
        ]
    })
}

fn roles() -> impl Strategy<Value = Vec<&'static str>> {
    prop::sample::subsequence(&ROLES[..], 1..=ROLES.len()).prop_shuffle()
}

proptest! {
    #[test]
    fn access_decides_as_a_plain_reading_of_the_permissions(
        rules in prop::collection::vec((condition(), roles(), 0..4_i32), 0..8),
        of_user in roles(),
        team in prop::sample::select(&TEAMS[..]),
    ) {
        let user = doc! { "_id": "u", "password": PW, "roles": of_user.clone(), "team": team };
        let stored = rules.iter().enumerate().map(|(number, (condition, roles, priority))| {
            doc! { "_id": format!("p{number}"), "predicate": condition.text(), "roles": roles.clone(), "priority": priority }
        });
        let (access, _) = access(vec![user], stored.collect());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
        for (collection, parameter) in COLLECTIONS.iter().flat_map(|of| [None, Some("x"), Some("y")].map(|name| (of, name))) {
            let query = parameter.map_or(String::new(), |name| format!("?{name}=1"));
            let target = format!("/{collection}/_streams/s{query}");
            for (auth, roles, team) in [(Some("u:pw"), &of_user[..], Some(team)), (None, &["$unauthenticated"][..], None)] {
                let asked = Asked { collection, parameter, team };
                // A role after the other; the highest priority first, and the greater id.
                let expected = roles.iter().find_map(|role| {
                    let of_role = rules.iter().enumerate().filter(|(_, rule)| rule.1.contains(role));
                    let holding = of_role.filter(|(_, rule)| rule.0.holds(&asked));
                    holding.max_by_key(|(number, rule)| (rule.2, *number)).map(|(number, _)| format!("p{number}"))
                });
                let decided = runtime.block_on(get(&access, &target, auth));
                let by = decided.ok().map(|grant| grant.permission.clone().expect("nobody is root").id.clone());
                prop_assert_eq!(by, expected.map(Bson::String), "{:?} {}", auth, target);
            }
        }
    }
}

/// Permissions that cannot be used, and what each should have been.
fn broken() -> Vec<Document> {
    let deep = |depth: usize| format!("{}true{}", "not (".repeat(depth), ")".repeat(depth));
    let good = doc! { "roles": ["r"], "predicate": "true", "priority": 5 };
    let with = |key: &str, value: Bson| {
        let mut document = good.clone();
        document.insert(key, value);
        document
    };
    let mut without_predicate = good.clone();
    without_predicate.remove("predicate");
    vec![
        without_predicate,
        with("predicate", Bson::Null),
        with("predicate", Bson::Int32(1)),
        with("predicate", "".into()),
        with("predicate", "path-prefix('/c'".into()),
        with("predicate", "nobody-knows('/c')".into()),
        with("predicate", deep(1_000).into()),
        with("predicate", "(".repeat(100_000).into()),
        with("predicate", "regex['(']".into()),
        with("roles", Bson::Null),
        with("roles", Bson::Int32(1)),
        with("roles", bson!({ "r": 1 })),
    ]
}

#[tokio::test]
async fn ten_thousand_permissions_of_which_most_are_broken_hurt_no_other() {
    let access = Access::new(AccessSettings::default(), Store::new("_id"));
    let kinds = broken();
    let documents = (0..10_000).map(|number| {
        let mut document = kinds[number % kinds.len()].clone();
        document.insert("_id", format!("p{number:05}"));
        document
    });
    let good = doc! { "_id": "good", "roles": ["$unauthenticated"], "predicate": "path-prefix('/c')", "priority": 0 };
    let problems = access.replace_permissions(documents.chain([good]));
    let named = |number: usize| {
        let id = Bson::String(format!("p{number:05}"));
        problems.iter().any(|problem| problem.id == id)
    };
    for (number, kind) in kinds.iter().enumerate() {
        assert!(named(number), "{kind}");
    }
    assert_eq!(problems.len(), 10_000);
    let grant = get(&access, "/c/_streams/s", None).await.expect("let in");
    assert_eq!(grant.permission.as_ref().expect("it").id, "good".into());
    assert!(get(&access, "/d/_streams/s", None).await.is_err());
}

#[tokio::test]
async fn a_predicate_may_be_long_but_not_of_any_length() {
    let long = |clauses| "path-prefix('/other') or ".repeat(clauses) + "path-prefix('/c')";
    let permission = |predicate| doc! { "_id": "p", "roles": ["$unauthenticated"], "predicate": predicate, "priority": 0 };
    let (access, _) = access(vec![], vec![permission(long(2_500))]);
    assert!(get(&access, "/c/_streams/s", None).await.is_ok());
    assert!(get(&access, "/d/_streams/s", None).await.is_err());
    let [problem] = &access.replace_permissions([permission(long(4_000))])[..] else {
        panic!("of 100 KB it is refused");
    };
    assert!(problem.reason.contains("too long"), "{}", problem.reason);
    assert!(get(&access, "/c/_streams/s", None).await.is_err());
}

#[tokio::test]
async fn users_that_are_none_are_not_let_in() {
    let all = doc! { "_id": "p", "roles": ["r"], "predicate": "true", "priority": 0 };
    for (what, value) in [
        ("roles", Bson::Null),
        ("roles", "r".into()),
        ("roles", bson!({ "0": "r" })),
        ("roles", bson!([["r"]])),
        ("password", Bson::Null),
        ("password", "pw".into()),
        ("password", bson!([PW])),
        (
            "password",
            "$2a$99$bAjRLVo/JBv8/05x478xSuXdHmC7sWR3dGlshGTPnMc5Bp6M0IKTO".into(),
        ),
        ("password", "$2a$04$".into()),
    ] {
        let mut user = doc! { "_id": "u", "password": PW, "roles": ["r"] };
        user.insert(what, value.clone());
        let (access, _) = access(vec![user], vec![all.clone()]);
        let decided = get(&access, "/c/_streams/s", Some("u:pw")).await;
        assert!(
            matches!(decided, Err(Denied::Unauthenticated | Denied::Forbidden)),
            "{what}: {value}"
        );
    }
}
