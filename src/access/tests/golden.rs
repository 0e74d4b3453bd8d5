//! RESTHeart's recorded decisions, replayed in process. A row that is neither decided as recorded nor listed fails.

mod lists;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bson::{Bson, Document, doc};
use serde_json::Value;

use super::support::{JWT_KEY, PW, Store, document, head};
use crate::access::{
    Access, AccessSettings, Denied, GuardSettings, JwtAlgorithm, JwtSettings, JwtVerifier,
    OriginCheck, OriginSettings, PasswordKind, UserSettings, Users,
};
use crate::config::{Config, ProcessEnvironment};
use lists::{Expected, listed};

/// A file's users and permissions, and the access over them.
struct World {
    access: Access,
    users: Arc<Store>,
    permissions: Arc<Store>,
    namespaces: Namespaces,
    /// Whether the clock is ours, so that it can wait.
    waits: bool,
}

/// Where the file keeps users and permissions.
#[derive(Clone, Copy)]
struct Namespaces {
    users: &'static str,
    permissions: &'static str,
}

const USUAL: Namespaces = Namespaces {
    users: "restheart.users",
    permissions: "restheart.acl",
};

impl World {
    fn new(settings: AccessSettings, name_property: &'static str, namespaces: Namespaces) -> Self {
        let users = Store::new(name_property);
        let access = Access::new(settings, Arc::clone(&users) as Arc<dyn Users>);
        Self {
            access,
            users,
            permissions: Store::new("_id"),
            namespaces,
            waits: false,
        }
    }

    fn usual() -> Self {
        let jwt = JwtVerifier::new(JwtSettings::new(JWT_KEY, JwtAlgorithm::Hs256)).unwrap();
        let world = Self::new(
            AccessSettings {
                jwt: Some(jwt),
                ..AccessSettings::default()
            },
            "_id",
            USUAL,
        );
        let password = bcrypt::hash("secret", 4).unwrap();
        world
            .users
            .put(doc! { "_id": "admin", "password": password, "roles": ["admin"] });
        world
    }

    fn store(&self, namespace: &str) -> Option<&Store> {
        match namespace {
            namespace if namespace == self.namespaces.users => Some(&self.users),
            namespace if namespace == self.namespaces.permissions => Some(&self.permissions),
            _ => None,
        }
    }

    fn write_setup(&self, setup: &Value) {
        for (namespace, documents) in setup.as_object().into_iter().flatten() {
            if let Some(store) = self.store(namespace) {
                documents
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(document)
                    .for_each(|document| store.put(document));
            }
        }
    }

    /// The permission and the user of a compact row.
    fn write_compact(&self, row: &Value) {
        let Some(predicate) = row["predicate"].as_str() else {
            return;
        };
        let name = row["name"].as_str().unwrap();
        let role = if row["user"].is_null() {
            "$unauthenticated".to_owned()
        } else {
            format!("r_{name}")
        };
        self.permissions.put(doc! { "_id": format!("acl_{name}"), "roles": [&role], "priority": 1, "predicate": predicate });
        if !row["user"].is_null() {
            let mut user = doc! { "_id": format!("u_{name}"), "password": PW, "roles": [&role] };
            user.extend(document(&row["user"]));
            self.users.put(user);
        }
    }

    fn load_permissions(&self) {
        self.access.replace_permissions(self.permissions.all());
    }

    fn apply(&self, operation: &Value) {
        let Some(store) = self.store(operation["ns"].as_str().unwrap()) else {
            return;
        };
        let id = super::support::bson(&operation["filter"]["_id"]);
        match operation["op"].as_str().unwrap() {
            "replaceOne" => store.put(document(&operation["replacement"])),
            "deleteOne" => store.remove(&id),
            "updateOne" => {
                let mut changed = store.by_id(&id).unwrap();
                changed.extend(document(&operation["update"]["$set"]));
                store.put(changed);
            }
            other => panic!("unknown operation {other}"),
        }
        self.load_permissions();
    }

    async fn decision(&self, request: &Value) -> Decision {
        let granted = self.access.decide(head(request)).await;
        match granted {
            Ok(grant) => Decision::Allowed(
                grant
                    .permission
                    .and_then(|permission| permission.mongo.read_filter.clone()),
            ),
            Err(Denied::Unauthenticated) => Decision::Unauthenticated,
            Err(Denied::Forbidden) => Decision::Forbidden,
            Err(Denied::Broken(_)) => Decision::Broken,
            Err(Denied::TooMany) => Decision::TooMany,
            Err(Denied::Unavailable(reason)) => panic!("unavailable: {reason}"),
        }
    }
}

/// What was decided; a permission's read filter shows which one it was.
#[derive(Clone, Debug, PartialEq)]
enum Decision {
    Allowed(Option<Document>),
    Unauthenticated,
    Forbidden,
    Broken,
    TooMany,
}

impl Decision {
    fn is_allowed(&self) -> bool {
        matches!(self, Self::Allowed(_))
    }

    /// What a recorded status says of the decision: what comes after it is not ours.
    fn agrees_with(&self, response: &Value) -> bool {
        match (self, response["status"].as_u64().unwrap()) {
            (Self::Unauthenticated, 401) => true,
            (Self::Forbidden, 403) => response["body"].as_str().is_none_or(str::is_empty),
            (Self::Broken, 500) => true,
            // RESTHeart goes on to answer 401 to wrong credentials then, which tells right ones from them.
            (Self::TooMany, 429 | 401) => true,
            (Self::Allowed(_), 403) => response["body"]
                .as_str()
                .is_some_and(|body| !body.is_empty()),
            (Self::Allowed(_), 401 | 500) => false,
            (Self::Allowed(_), _) => true,
            (Self::Unauthenticated | Self::Forbidden | Self::Broken | Self::TooMany, _) => false,
        }
    }
}

/// What came of a file's rows.
#[derive(Default)]
struct Tally {
    passed: usize,
    ours: usize,
    elsewhere: usize,
    failed: Vec<String>,
}

async fn replay(file: &str, text: &str, world: World, rows: usize) {
    let file_value: Value = serde_json::from_str(text).unwrap();
    let cases = file_value["cases"].as_array().unwrap();
    world.write_setup(&file_value["setup"]);
    for row in cases {
        world.write_setup(&row["setup"]);
        world.write_compact(row);
    }
    world.load_permissions();
    let mut listed: BTreeMap<&str, Expected> = listed(file);
    let mut tally = Tally::default();
    for row in cases {
        let name = row["name"].as_str().unwrap();
        let expected = listed.remove(name);
        match (replay_row(&world, row, expected).await, expected) {
            (Ok(()), None) => tally.passed += 1,
            (Ok(()), Some(Expected::Allowed(_) | Expected::Refused(_))) => tally.ours += 1,
            (Ok(()), Some(Expected::Elsewhere(_))) => tally.elsewhere += 1,
            (Err(what), _) => tally.failed.push(format!("{name}: {what}")),
        }
    }
    println!(
        "{file}: {} as recorded, {} ours on purpose, {} tested elsewhere",
        tally.passed, tally.ours, tally.elsewhere
    );
    assert!(
        tally.failed.is_empty(),
        "{file}: {} failed\n{}",
        tally.failed.len(),
        tally.failed.join("\n")
    );
    assert!(
        listed.is_empty(),
        "{file}: listed, but not there: {listed:?}"
    );
    assert_eq!(cases.len(), rows, "{file}: rows");
}

async fn replay_row(world: &World, row: &Value, expected: Option<Expected>) -> Result<(), String> {
    if let Some(expected @ Expected::Elsewhere(_)) = expected {
        println!("{}: {}", row["name"], expected.reason());
        return Ok(());
    }
    if let Some(steps) = row["steps"].as_array() {
        return replay_steps(world, steps).await;
    }
    let mut request = row["request"].clone();
    let is_compact = row.get("predicate").is_some();
    if is_compact && !row["user"].is_null() && request.get("auth").is_none() {
        let usual = format!("u_{}", row["name"].as_str().unwrap());
        let name = row["user"]["_id"].as_str().unwrap_or(&usual);
        request["auth"] = Value::from(format!("{name}:pw"));
    }
    let decision = world.decision(&request).await;
    match expected {
        Some(Expected::Allowed(_)) if decision.is_allowed() => return Ok(()),
        Some(Expected::Refused(_)) if !decision.is_allowed() => return Ok(()),
        Some(listed) => {
            return Err(format!(
                "{decision:?} is not what is listed ({}): {}",
                listed.reason(),
                row["predicate"]
            ));
        }
        None => (),
    }
    if is_compact {
        let agrees = row["allowed"] == decision.is_allowed()
            && (decision.is_allowed() || decision.agrees_with(row));
        return if agrees {
            Ok(())
        } else {
            Err(format!(
                "{decision:?}, recorded {}: {}",
                row["status"], row["predicate"]
            ))
        };
    }
    if !decision.agrees_with(&row["response"]) {
        return Err(format!(
            "{decision:?}, recorded {}",
            row["response"]["status"]
        ));
    }
    check_attached(row, &decision)
}

/// Where the row's read filter picks the frames, the one attached must be the one that did.
fn check_attached(row: &Value, decision: &Decision) -> Result<(), String> {
    let is_about_it = row["name"]
        .as_str()
        .is_some_and(|name| name.starts_with("attached-") || FILE_ACL_ATTACHED.contains(&name));
    let Some(frame) = row["frames"][0].as_str().filter(|_| is_about_it) else {
        return Ok(());
    };
    let frame: Value = serde_json::from_str(frame).unwrap();
    let who = Bson::String(frame["fullDocument"]["who"].as_str().unwrap().to_owned());
    match decision {
        Decision::Allowed(Some(filter)) if filter.get("fullDocument.who") == Some(&who) => Ok(()),
        other => Err(format!("attached {other:?}, recorded {who}")),
    }
}

const FILE_ACL_ATTACHED: [&str; 3] = [
    "file-acl-lowest-number",
    "file-acl-tie-later",
    "file-acl-first-role",
];

async fn replay_steps(world: &World, steps: &[Value]) -> Result<(), String> {
    for (index, step) in steps.iter().enumerate() {
        for operation in step["mongo"].as_array().into_iter().flatten() {
            world.apply(operation);
        }
        if let Some(seconds) = step["wait"].as_f64().filter(|_| world.waits) {
            tokio::time::advance(Duration::from_secs_f64(seconds)).await;
        }
        if step.get("request").is_some() {
            let decision = world.decision(&step["request"]).await;
            if !decision.agrees_with(&step["response"]) {
                return Err(format!(
                    "step {index}: {decision:?}, recorded {}",
                    step["response"]["status"]
                ));
            }
        }
    }
    Ok(())
}

macro_rules! file {
    ($name:literal) => {
        include_str!(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/golden/access/",
            $name,
            ".json"
        ))
    };
}

#[tokio::test]
async fn predicates_decide_as_recorded() {
    replay("predicates", file!("predicates"), World::usual(), 390).await;
}

#[tokio::test]
async fn permissions_decide_as_recorded() {
    replay("acl", file!("acl"), World::usual(), 59).await;
}

#[tokio::test]
async fn credentials_decide_as_recorded() {
    replay(
        "authentication",
        file!("authentication"),
        World::usual(),
        124,
    )
    .await;
}

#[tokio::test]
async fn mongo_permissions_decide_as_recorded() {
    replay(
        "mongo-permissions",
        file!("mongo-permissions"),
        World::usual(),
        52,
    )
    .await;
}

#[tokio::test]
async fn guards_decide_as_recorded() {
    replay("guards", file!("guards"), World::usual(), 25).await;
}

#[tokio::test]
async fn other_settings_decide_as_recorded() {
    let settings = JwtSettings {
        issuer: Some("https://id.example".to_owned()),
        audience: vec!["sidestream".to_owned(), "other".to_owned()],
        name_claim: "preferred_username".to_owned(),
        roles_claim: "groups".to_owned(),
        fixed_roles: vec!["jwt_fixed".to_owned()],
        ..JwtSettings::new(JWT_KEY, JwtAlgorithm::Hs256)
    };
    let users = UserSettings {
        name_property: "email".to_owned(),
        password_property: "pwd".to_owned(),
        roles_path: "$.auth.groups".to_owned(),
        password_kind: PasswordKind::Plain,
        ..UserSettings::default()
    };
    let settings = AccessSettings {
        users: Some(users),
        jwt: Some(JwtVerifier::new(settings).unwrap()),
        cookie_name: Some("sid".to_owned()),
        root_role: Some("root".to_owned()),
        origins: OriginSettings {
            check: OriginCheck::All,
            listed: vec![
                "https://app.example".to_owned(),
                "http://localhost".to_owned(),
            ],
        },
        ..AccessSettings::default()
    };
    let namespaces = Namespaces {
        users: "restheart.accounts",
        permissions: "restheart.permissions",
    };
    replay(
        "config-variants",
        file!("config-variants"),
        World::new(settings, "email", namespaces),
        35,
    )
    .await;
}

#[tokio::test]
async fn tokens_alone_decide_as_recorded() {
    let jwt = JwtVerifier::new(JwtSettings::new(JWT_KEY, JwtAlgorithm::Hs256)).unwrap();
    let settings = AccessSettings {
        users: None,
        jwt: Some(jwt),
        ..AccessSettings::default()
    };
    replay(
        "jwt-only",
        file!("jwt-only"),
        World::new(settings, "_id", USUAL),
        6,
    )
    .await;
}

/// Users and permissions in RESTHeart's files, read as the configuration reads them.
fn of_files(text: &str) -> World {
    let file: Value = serde_json::from_str(text).unwrap();
    let yaml = |name: &str| file["config"][name].as_str().unwrap().to_owned();
    let quoted = |text: String| toml::Value::String(text).to_string();
    let text = format!(
        "[upstream]\nurl = \"http://127.0.0.1:1\"\n[mongodb]\nuri = \"mongodb://127.0.0.1:1\"\n\
         [auth.file]\nusers = {}\n[acl.file]\npermissions = {}\n",
        quoted(yaml("users.yml")),
        quoted(yaml("acl.yml")),
    );
    let config = Config::parse("s.toml".as_ref(), &text, &ProcessEnvironment).unwrap();
    let streams = config.streams.unwrap();
    let settings = AccessSettings {
        users: None,
        configured_users: streams.auth.users.0,
        configured_permissions: streams.acl.permissions,
        root_role: None,
        jwt: Some(JwtVerifier::new(JwtSettings::new(JWT_KEY, JwtAlgorithm::Hs256)).unwrap()),
        ..AccessSettings::default()
    };
    let world = World::new(settings, "_id", USUAL);
    assert_eq!(world.access.problems(), Vec::new());
    world
}

#[tokio::test]
async fn users_of_a_file_decide_as_recorded() {
    let text = file!("file-realm");
    replay("file-realm", text, of_files(text), 20).await;
}

#[tokio::test]
async fn permissions_of_a_file_decide_as_recorded() {
    let text = file!("file-acl");
    replay("file-acl", text, of_files(text), 15).await;
}

#[tokio::test(start_paused = true)]
async fn failed_logins_are_counted_as_recorded() {
    let text = file!("bruteforce");
    let file: Value = serde_json::from_str(text).unwrap();
    for row in file["cases"].as_array().unwrap() {
        let guard = GuardSettings {
            per_address: 5,
            ..GuardSettings::default()
        };
        let settings = AccessSettings {
            guard,
            ..AccessSettings::default()
        };
        let mut world = World::new(settings, "_id", USUAL);
        world.waits = true;
        world.write_setup(&file["setup"]);
        world.load_permissions();
        let steps = row["steps"].as_array().unwrap();
        replay_steps(&world, steps)
            .await
            .unwrap_or_else(|what| panic!("{}: {what}", row["name"]));
    }
}
