//! The recorded cases, as far as they can be judged without a server.

use bson::{Bson, Document, doc};
use percent_encoding::percent_decode_str;

use crate::{
    access::{Mechanism, MongoPermissions, Permission, Principal},
    wire::{
        json::{JsonMode, error_body},
        testing::Json,
    },
};

use super::{
    BindError, BindRequest, BoundPipeline, CollectionDefinitions, DefinitionError, PipelineLimits,
    VariableError, bind,
};

/// One recorded case: a request for a stream, and what was answered.
pub(super) struct Case {
    pub(super) name: String,
    pub(super) note: Option<String>,
    pub(super) status: i64,
    pub(super) body: Option<String>,
    pub(super) frames: Vec<String>,
    pub(super) uri: String,
    pub(super) query: Vec<(String, String)>,
    pub(super) definitions: CollectionDefinitions,
    collection: String,
    user: Option<Document>,
    permission: Document,
    is_root: bool,
}

/// What we answer: a refusal's status and body, or a pipeline.
pub(super) type Answer = Result<BoundPipeline, (u16, String)>;

impl Case {
    /// Reads a case; none if it asks for no stream of a collection whose metadata it sets up.
    pub(super) fn read(case: &Json) -> Option<Self> {
        let target = case.text(&["request", "target"])?;
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let mut tokens = path
            .split('/')
            .skip_while(|token| !token.starts_with("c_") && *token != "c");
        let mut collection = tokens.next()?;
        if let Some("c") = tokens.clone().next() {
            collection = tokens.next()?;
        }
        let uri = tokens
            .nth(1)
            .filter(|uri| !uri.is_empty() && !uri.contains(';'))?;
        // As RESTHeart does, `%2F` stays.
        let uri = percent_decode_str(&uri.replace("%2F", "%252F"))
            .decode_utf8()
            .ok()?
            .into_owned();
        let Some(Json::Object(setup)) = case.at(&["setup"]) else {
            return None;
        };
        let documents = |name: &str| {
            let found = setup
                .iter()
                .filter(move |(namespace, _)| namespace.ends_with(name));
            found
                .flat_map(|(_, documents)| documents.list(&[]).iter().map(Json::to_document))
                .collect::<Vec<_>>()
        };
        let id = format!("_properties.{collection}");
        let properties = documents("._properties")
            .into_iter()
            .find(|document| document.get("_id").and_then(Bson::as_str) == Some(&id))?;
        let login = case
            .text(&["request", "auth"])
            .and_then(|auth| auth.split_once(':'));
        let is_root = login.is_some_and(|(name, _)| name == "admin");
        let stored = documents(".users").into_iter().find(|user| {
            login.is_some_and(|(name, _)| user.get("_id").and_then(Bson::as_str) == Some(name))
        });
        let user = match stored {
            Some(user) => Some(as_access_does(user)),
            None if is_root => {
                Some(doc! { "_id": "admin", "roles": ["admin"], "authDb": "restheart" })
            }
            None => None,
        };
        let permission = documents(".acl")
            .into_iter()
            .find_map(|permission| permission.get_document("mongo").ok().cloned());
        Some(Self {
            name: case.name().to_owned(),
            note: case.text(&["note"]).map(str::to_owned),
            status: match case.at(&["response", "status"])? {
                Json::Integer(status) => *status,
                _ => return None,
            },
            body: case.text(&["response", "body"]).map(str::to_owned),
            frames: case
                .list(&["frames"])
                .iter()
                .filter_map(|frame| frame.text(&[]))
                .map(str::to_owned)
                .collect(),
            uri,
            query: query
                .split('&')
                .filter(|pair| !pair.is_empty())
                .map(parameter)
                .collect(),
            definitions: CollectionDefinitions::parse(
                properties.get("streams"),
                &PipelineLimits::default(),
            ),
            collection: collection.to_owned(),
            user,
            permission: permission.unwrap_or_default(),
            is_root,
        })
    }

    /// Answers as Sidestream does, with or without the permission's read filter.
    pub(super) fn answer(&self, enforce_read_filter: bool) -> Answer {
        let mode = JsonMode::from_parameter(super::variables::first(&self.query, "jsonMode"));
        let definition = self.definitions.find(&self.uri).map_err(|error| {
            let status = match error {
                DefinitionError::Unknown => 404,
                DefinitionError::Broken(_) => 500,
            };
            (status, body(status, &error.to_string(), None, mode))
        })?;
        let flag = |name| self.permission.get_bool(name).unwrap_or(false);
        let filter = |name| self.permission.get_document(name).ok().cloned();
        let mongo = MongoPermissions {
            allow_management_requests: flag("allowManagementRequests"),
            allow_bulk_patch: flag("allowBulkPatch"),
            allow_bulk_delete: flag("allowBulkDelete"),
            allow_write_mode: flag("allowWriteMode"),
            read_filter: filter("readFilter"),
            write_filter: filter("writeFilter"),
            merge_request: filter("mergeRequest"),
            project_response: filter("projectResponse"),
        };
        let permission = Permission {
            id: Bson::Null,
            mongo,
        };
        let principal = self.user.as_ref().map(principal);
        let request = BindRequest {
            query: &self.query,
            principal: principal.as_ref(),
            permission: (!self.is_root).then_some(&permission),
            is_root: self.is_root,
            database: "restheart",
            collection: &self.collection,
            notify_when_unbound_refuses: false,
            enforce_read_filter,
            pre_images: false,
            never_shown: None,
            limits: PipelineLimits::default(),
        };
        bind(&definition, &request).map_err(|error| {
            let status = match &error {
                BindError::Variables(VariableError::AvarsNotObject { .. }) => 500,
                BindError::Variables(_)
                | BindError::Unbound(_)
                | BindError::TooLarge { .. }
                | BindError::Operator(_) => 400,
                BindError::Screen(_) => 403,
                BindError::Malformed(_)
                | BindError::Stage { .. }
                | BindError::ReadFilter(_)
                | BindError::Projection(_) => 500,
            };
            let exception = error.exception();
            let exception = exception
                .as_ref()
                .map(|(class, message)| (*class, message.as_str()));
            (status, body(status, &error.to_string(), exception, mode))
        })
    }
}

fn body(status: u16, message: &str, exception: Option<(&str, &str)>, mode: JsonMode) -> String {
    let description = http::StatusCode::from_u16(status)
        .expect("a status")
        .canonical_reason();
    error_body(status, description, Some(message), exception, mode)
}

fn parameter(pair: &str) -> (String, String) {
    let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
    let decode = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
    (decode(name), decode(value))
}

/// Somebody whose `@user` is `properties`.
pub(super) fn principal(properties: &Document) -> Principal {
    Principal {
        name: properties
            .get("_id")
            .and_then(Bson::as_str)
            .unwrap_or_default()
            .to_owned(),
        roles: Vec::new(),
        properties: Some(properties.clone()),
        mechanism: Mechanism::Basic,
        expires_at: None,
        signed_by: None,
    }
}

/// What `access` makes of a stored user: this is its work, here only as far as the cases need it.
fn as_access_does(user: Document) -> Document {
    fn small(value: Bson) -> Bson {
        match value {
            Bson::Int64(int) => i32::try_from(int).map_or(Bson::Int64(int), Bson::Int32),
            Bson::Document(document) => Bson::Document(
                document
                    .into_iter()
                    .map(|(key, value)| (key, small(value)))
                    .collect(),
            ),
            Bson::Array(values) => Bson::Array(values.into_iter().map(small).collect()),
            other => other,
        }
    }
    let kept = user
        .into_iter()
        .filter(|(key, value)| key != "password" && *value != Bson::Null);
    let mut properties: Document = kept.map(|(key, value)| (key, small(value))).collect();
    properties.insert("authDb", "restheart");
    properties
}
