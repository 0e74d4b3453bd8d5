//! Databases and collections: they are properties, kept in documents of the collection `_properties`.

use bson::oid::ObjectId;
use bson::{Bson, Document, doc};
use http::StatusCode;
use mongodb::error::ErrorKind;
use mongodb::{Collection, Database};

use crate::answer::{Answer, Failure, Outcome};
use crate::documents::{Change, change, replace};
use crate::request::Asked;

/// The `_id` of a database's own properties.
pub(crate) const DATABASE: &str = "_properties";

/// The `_id` of a collection's properties.
pub(crate) fn id_of(collection: &str) -> String {
    format!("_properties.{collection}")
}

/// A database exists if it has properties or a collection.
pub(crate) async fn database_exists(database: &Database) -> Result<bool, Failure> {
    if find(database, DATABASE).await?.is_some() {
        return Ok(true);
    }
    Ok(!database.list_collection_names().await?.is_empty())
}

/// A collection exists if it has properties or MongoDB lists it.
pub(crate) async fn collection_exists(database: &Database, name: &str) -> Result<bool, Failure> {
    if find(database, &id_of(name)).await?.is_some() {
        return Ok(true);
    }
    let listed = database
        .list_collection_names()
        .filter(doc! { "name": name })
        .await?;
    Ok(!listed.is_empty())
}

/// The properties as they are stored, under the plain name of what they describe.
pub(crate) async fn show(database: &Database, id: &str, name: &str) -> Outcome {
    let properties = named(find(database, id).await?, name);
    let etag = properties.get("_etag").cloned();
    Ok(Answer::body(properties).etag(etag.as_ref()))
}

/// The properties with the plain name for `_id`.
pub(crate) fn named(properties: Option<Document>, name: &str) -> Document {
    let mut named = doc! { "_id": name };
    named.extend(
        properties
            .unwrap_or_default()
            .into_iter()
            .filter(|(key, _)| key != "_id"),
    );
    named
}

pub(crate) async fn find(database: &Database, id: &str) -> Result<Option<Document>, Failure> {
    Ok(stored(database).find_one(doc! { "_id": id }).await?)
}

pub(crate) async fn list_collections(database: &Database) -> Outcome {
    let mut names = database.list_collection_names().await?;
    names.retain(|name| name != DATABASE && !name.starts_with("system."));
    names.sort();
    Ok(Answer::body(
        names.into_iter().map(Bson::String).collect::<Vec<_>>(),
    ))
}

pub(crate) async fn put_database(database: &Database, asked: &Asked) -> Outcome {
    let existed = database_exists(database).await?;
    put(database, DATABASE, existed, asked).await
}

pub(crate) async fn put_collection(database: &Database, name: &str, asked: &Asked) -> Outcome {
    let existed = collection_exists(database, name).await?;
    create_collection(database, name).await?;
    put(database, &id_of(name), existed, asked).await
}

async fn put(database: &Database, id: &str, existed: bool, asked: &Asked) -> Outcome {
    let written = replace(
        &stored(database),
        id.into(),
        asked.content()?,
        asked.if_match(),
        true,
    )
    .await?;
    let status = if existed {
        StatusCode::OK
    } else {
        StatusCode::CREATED
    };
    Ok(Answer::empty(status).etag(Some(&written.etag)))
}

pub(crate) async fn patch(database: &Database, id: &str, asked: &Asked) -> Outcome {
    let change_to = Change::from_content(asked.content()?);
    let written = change(
        &stored(database),
        id.into(),
        change_to,
        asked.if_match(),
        true,
    )
    .await?;
    Ok(Answer::empty(StatusCode::OK).etag(Some(&written.etag)))
}

pub(crate) async fn delete_database(database: &Database, asked: &Asked) -> Outcome {
    check_etag(find(database, DATABASE).await?, asked)?;
    database.drop().await?;
    Ok(Answer::empty(StatusCode::NO_CONTENT))
}

/// Drops the collection first, its properties afterwards: so it is that RESTHeart does it.
pub(crate) async fn delete_collection(database: &Database, name: &str, asked: &Asked) -> Outcome {
    let id = id_of(name);
    check_etag(find(database, &id).await?, asked)?;
    database.collection::<Document>(name).drop().await?;
    stored(database).delete_one(doc! { "_id": id }).await?;
    Ok(Answer::empty(StatusCode::NO_CONTENT))
}

/// What has an ETag is deleted only by whoever knows it.
fn check_etag(properties: Option<Document>, asked: &Asked) -> Result<(), Failure> {
    let etag = properties.and_then(|mut properties| properties.remove("_etag"));
    match (etag, asked.if_match()) {
        (Some(etag), Some(given)) if etag == given => Ok(()),
        (Some(etag), None) => Err(Failure::EtagNeeded(etag)),
        (None, None) => Ok(()),
        (_, Some(_)) => Err(Failure::precondition_failed()),
    }
}

/// Creates a collection where it is missing.
pub(crate) async fn create_collection(database: &Database, name: &str) -> Result<(), Failure> {
    match database.create_collection(name).await {
        Ok(()) => Ok(()),
        Err(error) => match error.kind.as_ref() {
            ErrorKind::Command(command) if command.code == NAMESPACE_EXISTS => Ok(()),
            _ => Err(error.into()),
        },
    }
}

/// A new ETag.
pub(crate) fn new_etag() -> Bson {
    Bson::ObjectId(ObjectId::new())
}

fn stored(database: &Database) -> Collection<Document> {
    database.collection(DATABASE)
}

const NAMESPACE_EXISTS: i32 = 48;
