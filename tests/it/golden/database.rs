//! The steps that act in MongoDB: documents go in with exactly the types that are written in the case.

use bson::{Document, doc};
use mongodb::{Client, ClientSession};

use super::case::Case;
use crate::support::json::Json;

/// Stores what a case needs: other collections are dropped before, of those with metadata only the same ids are replaced.
pub(crate) async fn set_up(mongo: &Client, case: &Case) {
    let empty = Json::Object(Vec::new());
    let setup = case.json.field("setup").unwrap_or(&empty);
    for (namespace, documents) in setup.fields() {
        let (database, collection) = split(namespace);
        if METADATA.contains(&collection) {
            let delete = |document: &Json| {
                let id = document.field("_id").expect("metadata has an id").clone();
                Json::object([("q", Json::object([("_id", id)])), ("limit", Json::Int(1))])
            };
            if !documents.elements().is_empty() {
                let deletes = documents.elements().iter().map(delete).collect();
                write(mongo, namespace, "delete", "deletes", deletes, None).await;
            }
        } else {
            run(
                mongo,
                database,
                &command("drop", collection, []),
                None,
                &[NO_NAMESPACE],
            )
            .await;
        }
        if documents.elements().is_empty() {
            let create = command("create", collection, []);
            run(mongo, database, &create, None, &[NAMESPACE_EXISTS]).await;
        } else {
            write(
                mongo,
                namespace,
                "insert",
                "documents",
                documents.clone(),
                None,
            )
            .await;
        }
    }
    for namespace in touched(case) {
        let (database, collection) = split(namespace);
        if setup.field(namespace).is_none() && !METADATA.contains(&collection) {
            let drop = command("drop", collection, []);
            run(mongo, database, &drop, None, &[NO_NAMESPACE]).await;
        }
    }
    for namespace in case.steps("absent") {
        let namespace = namespace.text().expect("it is a namespace");
        let (database, collection) = split(namespace);
        run(
            mongo,
            database,
            &command("drop", collection, []),
            None,
            &[NO_NAMESPACE],
        )
        .await;
        let metadata = format!("{database}._properties");
        let stored = setup.field(&metadata).map_or(&[][..], Json::elements);
        if setup.field(namespace).is_none() && stored.is_empty() {
            let properties = mongo
                .database(database)
                .collection::<Document>("_properties");
            let own = doc! { "_id": format!("_properties.{collection}") };
            properties
                .delete_one(own)
                .await
                .expect("the primary takes writes");
        }
    }
}

/// The collections that a case's steps write to, whether its setup speaks of them or not: an earlier run may have left them.
fn touched(case: &Case) -> Vec<&str> {
    fn namespaces<'a>(steps: &'a [Json], found: &mut Vec<&'a str>) {
        for step in steps {
            found.extend(
                ["ns", "to"]
                    .iter()
                    .filter_map(|key| step.field(key)?.text()),
            );
            namespaces(step.field("ops").map_or(&[], Json::elements), found);
        }
    }
    let mut found = Vec::new();
    namespaces(case.steps("first"), &mut found);
    namespaces(case.steps("then"), &mut found);
    found.retain(|namespace| namespace.contains('.'));
    found
}

/// Does one step. Writes are acknowledged by the majority, as all that a change stream delivers is.
pub(crate) async fn act(mongo: &Client, step: &Json) {
    match step.text_of("op") {
        "transaction" => {
            let mut session = mongo
                .start_session()
                .await
                .expect("a replica set has sessions");
            session
                .start_transaction()
                .await
                .expect("none is under way");
            for step in step.field("ops").map_or(&[][..], Json::elements) {
                act_once(mongo, step, Some(&mut session)).await;
            }
            session
                .commit_transaction()
                .await
                .expect("nothing conflicts");
        }
        _ => act_once(mongo, step, None).await,
    }
}

async fn act_once(mongo: &Client, step: &Json, session: Option<&mut ClientSession>) {
    let namespace = || step.text_of("ns");
    let field = |name: &str| step.field(name).cloned();
    let kind = step.text_of("op");
    match kind {
        "insertOne" => {
            let documents = Json::List(vec![field("document").expect("it is there")]);
            write(
                mongo,
                namespace(),
                "insert",
                "documents",
                documents,
                session,
            )
            .await;
        }
        "insertMany" => {
            let documents = field("documents").expect("they are there");
            write(
                mongo,
                namespace(),
                "insert",
                "documents",
                documents,
                session,
            )
            .await;
        }
        "updateOne" | "updateMany" | "replaceOne" => {
            let with = field("update")
                .or_else(|| field("replacement"))
                .expect("it is there");
            let mut update = Json::object([
                ("q", field("filter").expect("it is there")),
                ("u", with),
                ("multi", Json::Bool(kind == "updateMany")),
                ("upsert", field("upsert").unwrap_or(Json::Bool(false))),
            ]);
            if let Some(filters) = field("arrayFilters") {
                update.set("arrayFilters", filters);
            }
            let updates = Json::List(vec![update]);
            write(mongo, namespace(), "update", "updates", updates, session).await;
        }
        "deleteOne" | "deleteMany" => {
            let limit = Json::Int(i64::from(kind == "deleteOne"));
            let filter = field("filter").expect("it is there");
            let deletes = Json::List(vec![Json::object([("q", filter), ("limit", limit)])]);
            write(mongo, namespace(), "delete", "deletes", deletes, session).await;
        }
        "drop" | "create" => {
            let (database, collection) = split(namespace());
            let majority = ("writeConcern", majority());
            run(
                mongo,
                database,
                &command(kind, collection, [majority]),
                session,
                &[],
            )
            .await;
        }
        "rename" => {
            let fields = [
                ("to", Json::from(step.text_of("to"))),
                (
                    "dropTarget",
                    field("dropTarget").unwrap_or(Json::Bool(false)),
                ),
            ];
            let rename = command("renameCollection", namespace(), fields);
            run(mongo, "admin", &rename, session, &[]).await;
        }
        "dropDatabase" => {
            let drop = Json::object([("dropDatabase", Json::Int(1)), ("writeConcern", majority())]);
            run(mongo, step.text_of("db"), &drop, session, &[]).await;
        }
        "command" => {
            let command = field("command").expect("it is there");
            run(mongo, step.text_of("db"), &command, session, &[]).await;
        }
        other => panic!("unknown step {other}"),
    }
}

async fn write(
    mongo: &Client,
    namespace: &str,
    verb: &str,
    key: &str,
    statements: Json,
    session: Option<&mut ClientSession>,
) {
    let (database, collection) = split(namespace);
    let mut command = command(verb, collection, [(key, statements)]);
    if session.is_none() {
        command.set("writeConcern", majority());
    }
    run(mongo, database, &command, session, &[]).await;
}

/// Runs a command; errors with one of the codes in `allowed` are as good as success.
async fn run(
    mongo: &Client,
    database: &str,
    command: &Json,
    session: Option<&mut ClientSession>,
    allowed: &[i32],
) {
    let database = mongo.database(database);
    let mut action = database.run_raw_command(command.to_bson());
    if let Some(session) = session {
        action = action.session(session);
    }
    match action.await {
        Ok(reply) => assert!(!reply.contains_key("writeErrors"), "{command}: {reply}"),
        Err(error) => match *error.kind {
            mongodb::error::ErrorKind::Command(ref error) if allowed.contains(&error.code) => (),
            _ => panic!("{command}: {error}"),
        },
    }
}

fn command<const N: usize>(verb: &str, subject: &str, fields: [(&str, Json); N]) -> Json {
    let mut command = Json::object([(verb, Json::from(subject))]);
    for (key, value) in fields {
        command.set(key, value);
    }
    command
}

fn majority() -> Json {
    Json::object([("w", Json::from("majority"))])
}

fn split(namespace: &str) -> (&str, &str) {
    namespace.split_once('.').expect("a namespace has a point")
}

const METADATA: [&str; 3] = ["_properties", "acl", "users"];
const NO_NAMESPACE: i32 = 26;
const NAMESPACE_EXISTS: i32 = 48;
