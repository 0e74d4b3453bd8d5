//! `notify_when`: one more condition on each outgoing event, bound to a query parameter.

use bson::{Bson, Document};

use crate::notation::template::{self, Step};

use super::java;

/// `{ "<top>::<path>": { "$var": "<variable>" } }`: the event is sent if it holds the variable's value there.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct NotifyWhen {
    /// Where in the event, dotted, as MongoDB reads it. `None`: in a part of the event that is no document as it goes out
    /// (`operationType`), or does not go out (`ns`), so that no event ever passes, as in RESTHeart.
    pub path: Option<String>,
    /// The query parameter whose value is asked for.
    pub variable: String,
}

impl NotifyWhen {
    pub(super) fn parse(condition: &Document) -> Result<Self, String> {
        let mut entries = condition.iter();
        let (Some((key, value)), None) = (entries.next(), entries.next()) else {
            let condition = java::text(&Bson::Document(condition.clone()));
            return Err(format!(
                "notify_when must have exactly one entry; got: {condition}"
            ));
        };
        let variable = value
            .as_document()
            .and_then(|value| value.get("$var"))
            .and_then(Bson::as_str);
        let Some(variable) = variable else {
            let value = java::text(value);
            return Err(format!(
                "notify_when value must be {{ \"$var\": \"<varName>\" }}; got: {value}"
            ));
        };
        let halves = key
            .split_once("::")
            .map(|(top, path)| (top.trim(), path.trim()));
        let Some((top, path)) = halves.filter(|(top, path)| !top.is_empty() && !path.is_empty())
        else {
            return Err(format!(
                "notify_when field must use '::' separator, e.g. 'fullDocument::tenantId'; got: {key}"
            ));
        };
        match dotted(path) {
            Some(path) => Ok(Self {
                path: TOPS.contains(&top).then(|| format!("{top}.{path}")),
                variable: variable.to_owned(),
            }),
            None => Err(format!(
                "notify_when field holds a path that MongoDB cannot follow; got: {key}"
            )),
        }
    }
}

/// Returns a path of RESTHeart's notation in MongoDB's.
fn dotted(path: &str) -> Option<String> {
    let steps = template::path(path)?.into_iter().map(|step| match step {
        Step::Key(key) if key.is_empty() || key.contains('.') || key.starts_with('$') => None,
        Step::Key(key) => Some(key),
        Step::Index(index) => Some(index.to_string()),
    });
    Some(steps.collect::<Option<Vec<_>>>()?.join("."))
}

/// The documents of an outgoing event.
const TOPS: [&str; 3] = ["fullDocument", "documentKey", "updateDescription"];
