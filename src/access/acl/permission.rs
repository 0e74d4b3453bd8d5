//! One permission, as stored and as understood.

use std::sync::Arc;

use bson::{Bson, Document, doc};

use tracing::debug;

use crate::access::predicate::{Circumstances, Predicate};

/// A permission that lets a request in.
#[derive(Clone, Debug, PartialEq)]
pub struct Permission {
    /// Its `_id`.
    pub id: Bson,
    /// What it says of the data; all-false and empty where the document has no `mongo` section.
    pub mongo: MongoPermissions,
}

/// The `mongo` section of a permission. Filters are as stored: keys may be escaped, variables are not yet put in.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MongoPermissions {
    /// Changing databases, collections, indexes.
    pub allow_management_requests: bool,
    /// PATCH of many documents.
    pub allow_bulk_patch: bool,
    /// DELETE of many documents.
    pub allow_bulk_delete: bool,
    /// The parameter `wm`.
    pub allow_write_mode: bool,
    /// Which documents may be read.
    pub read_filter: Option<Document>,
    /// Which documents may be written.
    pub write_filter: Option<Document>,
    /// What is put into each written document.
    pub merge_request: Option<Document>,
    /// Which fields are shown.
    pub project_response: Option<Document>,
}

/// A permission that is not understood.
#[derive(Clone, Debug, PartialEq)]
pub struct Problem {
    /// The document's `_id`.
    pub id: Bson,
    /// What is wrong with it, for people.
    pub reason: String,
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.id, self.reason)
    }
}

/// A permission, and when it applies.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) permission: Arc<Permission>,
    pub(crate) roles: Vec<String>,
    pub(crate) priority: Option<Bson>,
    pub(crate) predicate: Predicate,
    /// Why the `mongo` section is not understood: the permission matches, and the request then fails.
    pub(crate) broken: Option<String>,
}

impl MongoPermissions {
    /// What the root role has: everything, unfiltered.
    pub fn all() -> Self {
        Self {
            allow_management_requests: true,
            allow_bulk_patch: true,
            allow_bulk_delete: true,
            allow_write_mode: true,
            ..Self::default()
        }
    }

    /// What `@mongoPermissions` stands for, in RESTHeart's order; `escape` writes a filter's keys as they are stored.
    ///
    /// Source: golden `variables`, var-permissions-whole.
    pub fn variable(&self, escape: impl Fn(&Document) -> Document) -> Document {
        let filter = |filter: &Option<Document>| {
            filter
                .as_ref()
                .map_or(Bson::Null, |filter| Bson::Document(escape(filter)))
        };
        doc! {
            "allowManagementRequests": self.allow_management_requests,
            "allowWriteMode": self.allow_write_mode,
            "allowBulkPatch": self.allow_bulk_patch,
            "writeFilter": filter(&self.write_filter),
            "allowBulkDelete": self.allow_bulk_delete,
            "readFilter": filter(&self.read_filter),
        }
    }

    fn parse(section: &Document) -> Result<Self, String> {
        let flag = |name: &str| match section.get(name) {
            None | Some(Bson::Null) => Ok(false),
            Some(Bson::Boolean(value)) => Ok(*value),
            Some(_) => Err(format!("mongo.{name} is not a boolean")),
        };
        let filter = |name: &str| match section.get(name) {
            None | Some(Bson::Null) => Ok(None),
            Some(Bson::Document(value)) => Ok(Some(value.clone())),
            Some(_) => Err(format!("mongo.{name} is not a document")),
        };
        Ok(Self {
            allow_management_requests: flag("allowManagementRequests")?,
            allow_bulk_patch: flag("allowBulkPatch")?,
            allow_bulk_delete: flag("allowBulkDelete")?,
            allow_write_mode: flag("allowWriteMode")?,
            read_filter: filter("readFilter")?,
            write_filter: filter("writeFilter")?,
            merge_request: filter("mergeRequest")?,
            project_response: filter("projectResponse")?,
        })
    }
}

impl Entry {
    /// Understands a document; a `mongo` section that is not understood is kept as `broken`.
    ///
    /// # Errors
    /// Why the document is no permission, for people.
    pub(crate) fn parse(document: &Document) -> Result<Self, String> {
        let roles = roles(document)?;
        let text = match document.get("predicate") {
            Some(Bson::String(text)) => text,
            Some(_) => return Err("predicate is not a string".to_owned()),
            None => return Err("predicate is missing".to_owned()),
        };
        let predicate = Predicate::parse(text).map_err(|error| format!("predicate: {error}"))?;
        let (mongo, broken) = match document.get("mongo") {
            Some(Bson::Document(section)) => match MongoPermissions::parse(section) {
                Ok(mongo) => (mongo, None),
                Err(reason) => (MongoPermissions::default(), Some(reason)),
            },
            // Another type is as none. Source: golden `acl`, doc-mongo-string.
            Some(_) | None => (MongoPermissions::default(), None),
        };
        let permission = Arc::new(Permission {
            id: id_of(document),
            mongo,
        });
        Ok(Self {
            permission,
            roles,
            priority: document.get("priority").cloned(),
            predicate,
            broken,
        })
    }
}

impl Entry {
    /// Whether its predicate holds; one that cannot be evaluated does not.
    pub(super) fn holds(&self, circumstances: &Circumstances<'_>) -> bool {
        self.predicate.holds(circumstances).unwrap_or_else(|failure| {
            debug!(permission.id = %self.permission.id, %failure, "a permission cannot be evaluated and is passed over");
            false
        })
    }
}

/// The `_id` of a permission's document.
pub(super) fn id_of(document: &Document) -> Bson {
    document.get("_id").cloned().unwrap_or(Bson::Null)
}

fn roles(document: &Document) -> Result<Vec<String>, String> {
    let Some(Bson::Array(roles)) = document.get("roles") else {
        return Err("roles is not an array".to_owned());
    };
    if roles.is_empty() {
        return Err("roles is empty".to_owned());
    }
    let names = roles.iter().map(|role| role.as_str().map(str::to_owned));
    names
        .collect::<Option<_>>()
        .ok_or_else(|| "roles holds something that is not a string".to_owned())
}
