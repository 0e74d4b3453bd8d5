//! The table: method and place → what is done.

use bson::{Bson, Document};
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use mongodb::{Client, Database};

use crate::accounts::Accounts;
use crate::answer::{Answer, Failure, Outcome, Shape};
use crate::documents::Documents;
use crate::properties;
use crate::request::{Asked, Place, Target};

/// The API over one MongoDB.
pub(crate) struct Api {
    client: Client,
    root: String,
    pub(crate) accounts: Accounts,
}

impl Api {
    /// `root` is the database that `/` shows, and the home of the users.
    pub(crate) fn new(client: Client, root: String) -> Self {
        let accounts = Accounts::new(client.database(&root));
        Self {
            client,
            root,
            accounts,
        }
    }

    /// Answers one request, whatever it is.
    pub(crate) async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let (parts, body) = request.into_parts();
        let shape = Shape::of(&parts);
        if !METHODS.contains(&parts.method) {
            return shape.response(Err(Failure::UnknownMethod));
        }
        if parts.method == Method::OPTIONS {
            return shape.options();
        }
        shape.response(self.outcome(&parts, body).await)
    }

    async fn outcome(&self, parts: &http::request::Parts, body: Incoming) -> Outcome {
        self.accounts.admit(&parts.headers).await?;
        let target = Target::parse(parts.uri.path(), &self.root)?;
        let body = Limited::new(body, BODY_BYTES_MAX)
            .collect()
            .await
            .map_err(|error| {
                if error.is::<http_body_util::LengthLimitError>() {
                    Failure::Refused(
                        StatusCode::PAYLOAD_TOO_LARGE,
                        "the body is too large".to_owned(),
                    )
                } else {
                    Failure::bad_request("the body could not be read")
                }
            })?;
        let asked = Asked::new(parts, body.to_bytes());
        self.dispatch(&target, &asked).await
    }

    async fn dispatch(&self, target: &Target, asked: &Asked) -> Outcome {
        let refused = || Failure::method_not_allowed(&asked.method);
        if target.place == Place::Root {
            return match asked.method {
                Method::GET => self.list_databases().await,
                _ => Err(refused()),
            };
        }
        let database = self.client.database(&target.database);
        let is_new_database = target.place == Place::Database && asked.method == Method::PUT;
        if !is_new_database && !properties::database_exists(&database).await? {
            return Err(Failure::not_found(format!(
                "Db '{}' does not exist",
                database.name()
            )));
        }
        let Some(name) = target.collection() else {
            return self.on_database(&database, target, asked).await;
        };
        let is_new_collection =
            matches!(target.place, Place::Collection(_)) && asked.method == Method::PUT;
        if !is_new_collection && !properties::collection_exists(&database, name).await? {
            return Err(Failure::not_found(format!(
                "Collection '{name}' does not exist"
            )));
        }
        self.on_collection(&database, name, target, asked).await
    }

    async fn on_database(&self, database: &Database, target: &Target, asked: &Asked) -> Outcome {
        match (&target.place, &asked.method) {
            (Place::Database, &Method::GET) => properties::list_collections(database).await,
            (Place::Database, &Method::PUT) => properties::put_database(database, asked).await,
            (Place::Database, &Method::PATCH) => {
                properties::patch(database, properties::DATABASE, asked).await
            }
            (Place::Database, &Method::DELETE) => {
                properties::delete_database(database, asked).await
            }
            (Place::DatabaseProperties, &Method::GET) => {
                properties::show(database, properties::DATABASE, database.name()).await
            }
            _ => Err(Failure::method_not_allowed(&asked.method)),
        }
    }

    async fn on_collection(
        &self,
        database: &Database,
        name: &str,
        target: &Target,
        asked: &Asked,
    ) -> Outcome {
        let collection = database.collection::<Document>(name);
        let documents = Documents {
            holds_users: self.accounts.are_in(&collection),
            database: database.clone(),
            path: format!("{}/{}", target.base, crate::request::encode(name)),
            collection,
        };
        let id = properties::id_of(name);
        match (&target.place, &asked.method) {
            (Place::Collection(_), &Method::GET) => documents.list(asked).await,
            (Place::Collection(_), &Method::POST) => documents.post(asked).await,
            (Place::Collection(_), &Method::PUT) => {
                properties::put_collection(database, name, asked).await
            }
            (Place::Collection(_), &Method::PATCH) => properties::patch(database, &id, asked).await,
            (Place::Collection(_), &Method::DELETE) => {
                properties::delete_collection(database, name, asked).await
            }
            (Place::CollectionProperties(_), &Method::GET) => {
                properties::show(database, &id, name).await
            }
            (Place::Size(_), &Method::GET) => documents.size(asked).await,
            (Place::Documents(_), &Method::PATCH) => documents.patch_many(asked).await,
            (Place::Documents(_), &Method::DELETE) => documents.delete_many(asked).await,
            (Place::Document(_, token), &Method::GET) => {
                documents.show(asked.id(token)?, asked).await
            }
            (Place::Document(_, token), &Method::PUT) => {
                documents.put(asked.id(token)?, asked).await
            }
            (Place::Document(_, token), &Method::PATCH) => {
                documents.patch(asked.id(token)?, asked).await
            }
            (Place::Document(_, token), &Method::DELETE) => {
                documents.delete(asked.id(token)?, asked).await
            }
            _ => Err(Failure::method_not_allowed(&asked.method)),
        }
    }

    async fn list_databases(&self) -> Outcome {
        let names = self.client.list_database_names().await?;
        let names = names
            .into_iter()
            .filter(|name| !SYSTEM_DATABASES.contains(&name.as_str()));
        Ok(Answer::body(names.map(Bson::String).collect::<Vec<_>>()))
    }
}

const METHODS: [Method; 7] = [
    Method::GET,
    Method::HEAD,
    Method::POST,
    Method::PUT,
    Method::DELETE,
    Method::PATCH,
    Method::OPTIONS,
];
const SYSTEM_DATABASES: [&str; 3] = ["admin", "config", "local"];
/// MongoDB takes no document above 16 MB; a bulk POST may hold several.
const BODY_BYTES_MAX: usize = 32 * 1024 * 1024;
