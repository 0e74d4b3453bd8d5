//! What a grant hears when what it rests on changes, and what `@user` is.

use bson::{Bson, DateTime, Document, doc, oid::ObjectId};
use serde_json::json;

use super::support::{JWT_KEY, PW, access, get, head};
use crate::access::{
    Access, AccessSettings, Denied, JwtAlgorithm, JwtSettings, JwtVerifier, Mechanism, Problem,
};
use crate::delivery::Ending;

fn user(roles: &[&str]) -> Document {
    doc! { "_id": "u", "password": PW, "roles": roles }
}

fn permission(id: &str, roles: &[&str], predicate: &str) -> Document {
    doc! { "_id": id, "roles": roles, "predicate": predicate, "priority": 1 }
}

#[tokio::test]
async fn revoked_permission_ends_at_once() {
    let (access, _) = access(
        vec![user(&["r"])],
        vec![permission("p", &["r"], "path-prefix('/c')")],
    );
    let grant = get(&access, "/c/_streams/s", Some("u:pw")).await.unwrap();
    assert_eq!(access.recheck(&grant), None);
    access.replace_permissions(Vec::<Document>::new());
    assert_eq!(access.recheck(&grant), Some(Ending::PermissionGone));
    assert_eq!(
        get(&access, "/c/_streams/s", Some("u:pw"))
            .await
            .unwrap_err(),
        Denied::Forbidden
    );
}

#[tokio::test]
async fn another_filter_is_a_change_and_another_text_is_not() {
    let (access, _) = access(
        vec![user(&["r"])],
        vec![permission("p", &["r"], "path-prefix('/c')")],
    );
    let grant = get(&access, "/c/_streams/s", Some("u:pw")).await.unwrap();
    access.replace_permissions([
        permission("p", &["r", "s"], "true"),
        permission("q", &["s"], "foo("),
    ]);
    assert_eq!(access.recheck(&grant), None);
    let mut filtered = permission("p", &["r"], "true");
    filtered.insert("mongo", doc! { "readFilter": { "owner": "@user._id" } });
    access.replace_permissions([filtered]);
    assert_eq!(access.recheck(&grant), Some(Ending::PermissionChanged));
}

#[tokio::test]
async fn public_stream_made_private_ends_anonymous_grants_only() {
    let (access, _) = access(
        vec![user(&["r"])],
        vec![permission("p", &["$unauthenticated", "r"], "true")],
    );
    let anonymous = get(&access, "/c/_streams/s", None).await.unwrap();
    let known = get(&access, "/c/_streams/s", Some("u:pw")).await.unwrap();
    access.replace_permissions([permission("p", &["r"], "true")]);
    assert_eq!(access.recheck(&anonymous), Some(Ending::PermissionGone));
    assert_eq!(access.recheck(&known), None);
}

#[tokio::test]
async fn root_role_survives_every_permission() {
    let (access, _) = access(vec![user(&["admin"])], vec![]);
    let grant = get(&access, "/c/_streams/s", Some("u:pw")).await.unwrap();
    assert!(grant.is_root());
    access.replace_permissions([permission("p", &["admin"], "false")]);
    assert_eq!(access.recheck(&grant), None);
}

#[tokio::test]
async fn options_is_allowed_with_the_rights_of_nobody() {
    let (access, _) = access(vec![user(&["admin"])], vec![]);
    let grant = access
        .decide(head(
            &json!({ "target": "/c/_streams/s", "method": "OPTIONS" }),
        ))
        .await
        .unwrap();
    assert!(!grant.is_root());
}

#[tokio::test]
async fn changed_record_ends_the_grant() {
    let (access, _) = access(vec![user(&["r"])], vec![permission("p", &["r"], "true")]);
    let grant = get(&access, "/c/_streams/s", Some("u:pw")).await.unwrap();
    assert_eq!(access.recheck_user(&grant, "u", Some(&user(&["r"]))), None);
    assert_eq!(access.recheck_user(&grant, "other", None), None);
    assert_eq!(
        access.recheck_user(&grant, "u", Some(&user(&["s"]))),
        Some(Ending::CredentialsChanged)
    );
    assert_eq!(
        access.recheck_user(&grant, "u", None),
        Some(Ending::CredentialsChanged)
    );
}

#[tokio::test]
async fn credentials_are_not_written_out() {
    let (access, _) = access(vec![user(&["r"])], vec![permission("p", &["r"], "true")]);
    let grant = get(&access, "/c/_streams/s?avars=hidden", Some("u:pw"))
        .await
        .unwrap();
    let text = format!("{grant:?} {:?}", grant.head().unpacked());
    assert!(text.contains("Grant"));
    for secret in ["Basic", PW, "hidden"] {
        assert!(!text.contains(secret), "{text}");
    }
}

#[tokio::test]
async fn changed_hash_is_asked_again() {
    let (access, store) = access(vec![user(&["r"])], vec![permission("p", &["r"], "true")]);
    get(&access, "/c/_streams/s", Some("u:pw")).await.unwrap();
    store.put(doc! { "_id": "u", "password": bcrypt::hash("new", 4).unwrap(), "roles": ["r"] });
    assert_eq!(
        get(&access, "/c/_streams/s", Some("u:pw"))
            .await
            .unwrap_err(),
        Denied::Unauthenticated
    );
    get(&access, "/c/_streams/s", Some("u:new")).await.unwrap();
}

#[tokio::test]
async fn broken_permissions_are_named() {
    let (access, _) = access(vec![], vec![]);
    let reported = access.replace_permissions([
        permission("good", &["r"], "true"),
        permission("typo", &["r"], "path-prefx('/c')"),
        doc! { "_id": "roles", "roles": "r", "predicate": "true" },
        doc! { "_id": "mongo", "roles": ["r"], "predicate": "true", "mongo": { "readFilter": "x" } },
    ]);
    let problem = |id: &str, reason: &str| Problem {
        id: id.into(),
        reason: reason.to_owned(),
    };
    let expected = [
        problem(
            "typo",
            "predicate: there is no predicate \"path-prefx\", at byte 0",
        ),
        problem("roles", "roles is not an array"),
        problem("mongo", "mongo.readFilter is not a document"),
    ];
    assert_eq!(reported, expected);
    assert_eq!(access.problems(), expected);
}

/// Source: golden `variables`, var-user-whole.
#[tokio::test]
async fn user_is_the_record_in_resthearts_types() {
    let joined = DateTime::from_millis(1_700_000_000_000);
    let oid = ObjectId::parse_str("5f1e9b3b8c1d4e0001a1b2c3").unwrap();
    let record = doc! {
        "_id": "u", "password": PW, "roles": ["r"], "team": { "role": "lead", "ids": [1, 2_i64] }, "age": 30,
        "big": 9_007_199_254_740_993_i64, "small": 5_i64, "score": 1.0, "half": 0.5, "joined": joined, "oid": oid,
        "ok": true, "nick": null, "esc": "$x::y",
    };
    let (access, _) = access(vec![record], vec![permission("p", &["r"], "true")]);
    let grant = get(&access, "/c/_streams/s", Some("u:pw")).await.unwrap();
    let expected = doc! {
        "_id": "u", "roles": ["r"], "team": { "role": "lead", "ids": [1, 2] }, "age": 30,
        "big": 9_007_199_254_740_993_i64, "small": 5, "score": 1.0, "half": 0.5, "joined": joined, "oid": oid,
        "ok": true, "esc": "$x::y", "authDb": "restheart",
    };
    let properties = grant.principal.unwrap().properties.clone().unwrap();
    assert_eq!(
        properties.iter().collect::<Vec<_>>(),
        expected.iter().collect::<Vec<_>>()
    );
}

fn with_tokens() -> Access {
    let jwt = JwtVerifier::new(JwtSettings::new(JWT_KEY, JwtAlgorithm::Hs256)).unwrap();
    let settings = AccessSettings {
        jwt: Some(jwt),
        ..AccessSettings::default()
    };
    Access::new(settings, super::support::Store::new("_id"))
}

/// The token of golden `variables`, var-user-jwt.
const ADA: &str = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJpc3MiOiJyZXN0aGVhcnQub3JnIiwic3ViIjoiYWRhIiwicm9sZXMiOlsiYWRtaW4iXSwiZXhwIjo0MTAyNDQ0ODAwLCJsZXZlbCI6MywidGVhbSI6eyJuIjoxLjUsImlkcyI6WzFdfSwid2hlbiI6IjIwMjMtMTEtMTRUMjI6MTM6MjBaIiwibm9uZSI6bnVsbCwieWVzIjp0cnVlfQ.sJsU8weHh_9mTSocP8hrRMDz31IflQVoHdBbOGQD7XA";

async fn ada(access: &Access) -> crate::access::Grant {
    let headers = json!({ "Authorization": format!("Bearer {ADA}") });
    access
        .decide(head(
            &json!({ "target": "/c/_streams/s", "headers": headers }),
        ))
        .await
        .unwrap()
}

#[tokio::test]
async fn user_of_a_token_is_its_payload() {
    let principal = ada(&with_tokens()).await.principal.unwrap();
    assert_eq!(principal.mechanism, Mechanism::Jwt);
    let expires = principal
        .expires_at
        .unwrap()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap();
    assert_eq!(expires.as_secs(), 4_102_444_800);
    let expected = doc! {
        "sub": "ada", "level": 3.0, "yes": true, "roles": ["admin"], "iss": "restheart.org",
        "team": { "n": 1.5, "ids": [1.0] }, "none": Bson::Null, "exp": 4_102_444_800.0, "when": "2023-11-14T22:13:20Z",
    };
    let properties = principal.properties.clone().unwrap();
    assert_eq!(
        properties.iter().collect::<Vec<_>>(),
        expected.iter().collect::<Vec<_>>()
    );
}

#[tokio::test]
async fn token_ends_with_its_user() {
    let access = with_tokens();
    let grant = ada(&access).await;
    assert_eq!(access.recheck_user(&grant, "u", None), None);
    assert_eq!(
        access.recheck_user(&grant, "ada", None),
        Some(Ending::CredentialsChanged)
    );
}

/// Many at once hear what each alone does.
#[tokio::test]
async fn a_change_is_heard_by_those_whom_it_concerns() {
    let at = |id: &str, priority: i32, roles: &[&str], predicate: &str| {
        doc! { "_id": id, "roles": roles, "predicate": predicate, "priority": priority }
    };
    let filtered = |mut permission: Document, n: i32| {
        permission.insert("mongo", doc! { "readFilter": { "n": n } });
        permission
    };
    let before = vec![
        at("own", 5, &["r"], "path-prefix('/c')"),
        at("public", 5, &["$unauthenticated"], "path-prefix('/p')"),
        at("other", 5, &["s"], "path-prefix('/c')"),
    ];
    let (access, _) = access(vec![user(&["r"])], before.clone());
    let grants = [
        get(&access, "/c/_streams/s", Some("u:pw")).await.unwrap(),
        get(&access, "/p/_streams/s", None).await.unwrap(),
    ];
    let gone = Some(Ending::PermissionGone);
    let changed = Some(Ending::PermissionChanged);
    let cases = [
        // Its own.
        ("own", None, [gone, None]),
        (
            "own",
            Some(at("own", 5, &["r"], "path-prefix('/d')")),
            [gone, None],
        ),
        (
            "own",
            Some(filtered(at("own", 5, &["r"], "true"), 1)),
            [changed, None],
        ),
        ("public", None, [None, gone]),
        // Another that comes before it, one that comes behind it, one that does not hold, one of another role.
        (
            "new",
            Some(filtered(at("new", 9, &["r"], "true"), 1)),
            [changed, None],
        ),
        (
            "new",
            Some(filtered(at("new", 1, &["r"], "true"), 1)),
            [None, None],
        ),
        (
            "new",
            Some(filtered(at("new", 9, &["r"], "exists(%{i,X-No})"), 1)),
            [None, None],
        ),
        (
            "new",
            Some(filtered(at("new", 9, &["r"], "exists(%{i,Host})"), 1)),
            [changed, None],
        ),
        (
            "new",
            Some(filtered(at("new", 9, &["$unauthenticated"], "true"), 1)),
            [None, changed],
        ),
        (
            "other",
            Some(filtered(at("other", 9, &["r", "s"], "method(GET)"), 1)),
            [changed, None],
        ),
        ("other", None, [None, None]),
        // Whether authentication is required, each permission for everybody answers.
        (
            "new",
            Some(filtered(at("new", 9, &["r"], "auth-required"), 1)),
            [changed, None],
        ),
    ];
    for (id, now, heard) in cases {
        let mut documents = before.clone();
        documents.retain(|document| document.get_str("_id").unwrap() != id);
        documents.extend(now.clone());
        access.replace_permissions(documents);
        let rechecking = access.rechecking();
        for (grant, heard) in grants
            .iter()
            .chain(&grants)
            .zip(heard.into_iter().chain(heard))
        {
            assert_eq!(rechecking.recheck(grant), heard, "{id}: {now:?}");
        }
        access.replace_permissions(before.clone());
    }
}

/// What is decided for many at once is what each would be told alone, whatever is permitted.
#[tokio::test]
async fn classes_decide_as_each_alone() {
    use rand::rngs::StdRng;
    use rand::seq::IndexedRandom as _;
    use rand::{Rng as _, SeedableRng as _};
    let seed = rand::random();
    println!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let predicates = [
        "path-prefix('/a')",
        "path-prefix('/b') and equals(@user.team, 'red')",
        "equals(@user.team, 'red')",
        "path-template('/{x}/_streams/s') and equals(${x}, 'a')",
        "qparams-contain('q')",
        "exists(%{i,Authorization})",
        "auth-required",
        "not path-prefix('/a')",
        "false",
    ];
    let users = [
        ("u1", "red", vec!["r", "s"]),
        ("u2", "blue", vec!["s", "r"]),
        ("u3", "red", vec!["s"]),
    ];
    let stored = users.iter().map(|(name, team, roles)| {
        doc! { "_id": name, "password": PW, "team": team, "roles": roles }
    });
    let everything = permission("all", &["r", "s", "$unauthenticated"], "true");
    let (access, _) = access(stored.collect(), vec![everything]);
    let mut grants = Vec::new();
    for credentials in [Some("u1:pw"), Some("u2:pw"), Some("u3:pw"), None] {
        for target in ["/a/_streams/s", "/b/_streams/s", "/b/_streams/s?q=1"] {
            grants.push(get(&access, target, credentials).await.unwrap());
        }
    }
    for _ in 0..300 {
        let documents = (0..random.random_range(0..6)).map(|n| {
            let role = *["r", "s", "$unauthenticated"].choose(&mut random).unwrap();
            let mut permission = permission(
                &n.to_string(),
                &[role],
                predicates.choose(&mut random).unwrap(),
            );
            permission.insert("priority", random.random_range(0..3));
            permission.insert("mongo", doc! { "readFilter": { "n": n } });
            permission
        });
        let documents: Vec<Document> = documents.collect();
        access.replace_permissions(documents.clone());
        let rechecking = access.rechecking();
        for grant in &grants {
            // Alone: a decision of its own on the very same head and principal.
            let alone = access.judge(&grant.head.unpacked(), grant.principal.as_deref());
            let expected = match alone {
                Err(_) => Some(Ending::PermissionGone),
                Ok(permission) => (permission.map(|one| one.mongo.clone())
                    != grant.permission.as_ref().map(|one| one.mongo.clone()))
                .then_some(Ending::PermissionChanged),
            };
            assert_eq!(
                rechecking.recheck(grant),
                expected,
                "{documents:?} for {:?}",
                grant.principal
            );
        }
    }
}
