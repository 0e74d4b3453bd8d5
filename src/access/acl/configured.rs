//! Permissions of a configuration file: RESTHeart's `fileAclAuthorizer`, also as tables in our own.
//!
//! Source: compat 9.3.

use bson::{Bson, Document};

use super::permission::Problem;
use crate::notation::shell;

/// Returns the permission as a collection would hold it. `role` may stand for `roles`; filters may be texts in JSON. Its
/// `_id` is its place in the list, unless it has one.
///
/// # Errors
/// What is wrong with it.
pub(super) fn stored_form(mut document: Document, index: usize) -> Result<Document, Box<Problem>> {
    let id = document
        .remove("_id")
        .unwrap_or_else(|| Bson::String(format!("configured {}", index + 1)));
    let problem = |reason: String| {
        Box::new(Problem {
            id: id.clone(),
            reason,
        })
    };
    match (document.remove("role"), document.contains_key("roles")) {
        (Some(_), true) => return Err(problem("both role and roles are given".to_owned())),
        (Some(role), false) => drop(document.insert("roles", vec![role])),
        (None, _) => (),
    }
    if let Some(Bson::Document(mongo)) = document.get_mut("mongo") {
        for name in FILTERS {
            let Some(Bson::String(text)) = mongo.get(name) else {
                continue;
            };
            match shell::parse(text) {
                Ok(Bson::Document(filter)) => drop(mongo.insert(name, filter)),
                Ok(_) => return Err(problem(format!("mongo.{name} is not a document"))),
                Err(error) => {
                    return Err(problem(format!("mongo.{name}: {}", error.reason)));
                }
            }
        }
    }
    let mut stored = bson::doc! { "_id": id };
    stored.extend(document);
    Ok(stored)
}

const FILTERS: [&str; 4] = [
    "readFilter",
    "writeFilter",
    "mergeRequest",
    "projectResponse",
];
