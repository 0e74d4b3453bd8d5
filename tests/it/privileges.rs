//! The role of `docs/privileges.md` against a server with access control: enough, and not too much.

use std::os::unix::fs::PermissionsExt;

use bson::{Bson, Document, doc};
use mongodb::Client;
use mongodb::error::ErrorKind;

use sidestream::mongo::Namespace;
use sidestream::mongo::feed::Scope;
use sidestream::mongo::privileges::{Missing, Need, missing};

use crate::support::{ReplicaSet, client_of, mongo_client};

#[tokio::test]
async fn without_access_control_nothing_is_missing() {
    let client = mongo_client().await;
    let found = missing(&client, &needs()).await.expect("it answers");
    assert_eq!(found, []);
}

#[tokio::test]
async fn documented_role_is_enough_and_what_is_missing_is_named() {
    let mut commands = documented_commands().into_iter();
    let mut next = || commands.next().expect("the page has four commands");
    let (set, _key) = with_access_control().await;
    let root = client_as(&set, "root:root@").await.database("admin");

    let nobody = client_as(&set, "").await;
    let found = check(&nobody, &[]).await;
    let text =
        "cannot watch database restheart: MongoDB asks for credentials, and mongodb.uri has none";
    assert_eq!(found[0].to_string(), text);

    let role = next();
    let mut without_watching = role.clone();
    without_watching.insert("createRole", "reader");
    let privileges =
        doc! { "resource": { "db": "restheart", "collection": "" }, "actions": ["find"] };
    without_watching.insert("privileges", vec![privileges]);
    root.run_command(without_watching).await.expect("a role");
    let reader = doc! { "createUser": "reader", "pwd": "p", "roles": ["reader"] };
    root.run_command(reader).await.expect("a user");
    let client = client_as(&set, "reader:p@").await;
    let found = check(&client, &["_properties", "acl"]).await;
    let text = "cannot watch database restheart: reader@admin lacks the privilege \
                { resource: { db: \"restheart\", collection: \"\" }, actions: [\"changeStream\"] }";
    assert_eq!(found[0].to_string(), text);

    root.run_command(role).await.expect("the role");
    root.run_command(next()).await.expect("the user");
    let client = client_as(&set, "sidestream:choose%20a%20password@").await;
    check(&client, &["restheart", "_properties", "acl"]).await;
    root.run_command(next()).await.expect("the second database");
    check(
        &client,
        &["restheart", "_properties", "acl", "accounts", "users"],
    )
    .await;
    refuses_to_write(&client).await;
    root.run_command(next()).await.expect("all databases");
    let all = [
        "restheart",
        "_properties",
        "acl",
        "accounts",
        "users",
        "deployment",
    ];
    check(&client, &all).await;
    refuses_to_write(&client).await;
    assert!(
        commands.next().is_none(),
        "every command of the page is tried"
    );
}

/// Everything that Sidestream does, in the hardest case: users in another database, and the deployment watched.
fn needs() -> Vec<Need> {
    vec![
        Need::Watch(Scope::Database("restheart".into())),
        Need::Read(Namespace::new("restheart", "_properties")),
        Need::Read(Namespace::new("restheart", "acl")),
        Need::Watch(Scope::Database("accounts".into())),
        Need::Read(Namespace::new("accounts", "users")),
        Need::Watch(Scope::Deployment),
    ]
}

/// Checks that exactly the needs named by their collection or database are allowed.
async fn check(client: &Client, allowed: &[&str]) -> Vec<Missing> {
    let found = missing(client, &needs()).await.expect("it answers");
    let is_missing = |need: &Need| match need {
        Need::Watch(Scope::Database(name)) => !allowed.contains(&&**name),
        Need::Watch(Scope::Deployment) => !allowed.contains(&"deployment"),
        Need::Read(namespace) => !allowed.contains(&&*namespace.collection),
    };
    let expected: Vec<Need> = needs().into_iter().filter(is_missing).collect();
    let refused: Vec<Need> = found.iter().map(|missing| missing.need.clone()).collect();
    assert_eq!(refused, expected);
    found
}

async fn refuses_to_write(client: &Client) {
    let collection = client
        .database("restheart")
        .collection::<Document>("messages");
    let error = collection
        .insert_one(doc! {})
        .await
        .expect_err("it only reads");
    let is_refused =
        matches!(error.kind.as_ref(), ErrorKind::Command(refused) if refused.code == 13);
    assert!(is_refused, "{error}");
}

async fn client_as(set: &ReplicaSet, credentials: &str) -> Client {
    let uri = set
        .uri
        .replace("mongodb://", &format!("mongodb://{credentials}"));
    client_of(&format!("{uri}&authSource=admin")).await
}

/// A replica set that asks for credentials, with the user `root`.
async fn with_access_control() -> (ReplicaSet, tempfile::NamedTempFile) {
    let mut set = ReplicaSet::start().await;
    let admin = client_of(&set.uri).await.database("admin");
    let root = doc! { "createUser": "root", "pwd": "root", "roles": ["root"] };
    let durable = doc! { "w": "majority", "j": true };
    let mut command = root;
    command.insert("writeConcern", durable);
    admin.run_command(command).await.expect("the first user");
    let key = tempfile::NamedTempFile::new().expect("a temporary file");
    std::fs::write(key.path(), "a key that the only member shares with itself")
        .expect("it is ours");
    let owner_only = std::fs::Permissions::from_mode(0o400);
    std::fs::set_permissions(key.path(), owner_only).expect("it is ours");
    set.kill().await;
    let path = key.path().to_str().expect("a plain path");
    set.restart(&["--replSet", "rs0", "--auth", "--keyFile", path])
        .await;
    (set, key)
}

/// The commands of the page, in their order.
fn documented_commands() -> Vec<Document> {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/privileges.md");
    let page = std::fs::read_to_string(page).expect("the page is part of the repository");
    let blocks = page.split("```js\n").skip(1);
    let commands = blocks.map(|block| {
        let command = block
            .split_once("runCommand(")
            .and_then(|(_, rest)| rest.split_once(")\n```"))
            .expect("each block is one runCommand")
            .0;
        let json: serde_json::Value = serde_json::from_str(command).expect("written as JSON");
        match bson::serialize_to_bson(&json) {
            Ok(Bson::Document(document)) => document,
            other => panic!("{other:?}"),
        }
    });
    commands.collect()
}
