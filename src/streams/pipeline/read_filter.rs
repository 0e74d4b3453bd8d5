//! A filter on documents, made a filter on the events that carry them.
//!
//! Every path moves under `fullDocument`; an event without a document cannot be judged, and is held back, unless it is a
//! delete and there is a stored pre-image to judge. What cannot be moved exactly is refused: half a filter is none.

use bson::{Bson, Document, doc};

use crate::notation::DEPTH_MAX;

/// Returns the filter on events that holds if and only if the event carries a document and `filter` holds for it. With
/// `pre_images` a delete is judged by the document as it was, if the collection kept that.
///
/// # Errors
/// The reason where `filter` cannot be moved exactly.
pub(super) fn reroot(filter: &Document, pre_images: bool) -> Result<Document, String> {
    let now = moved(filter, ROOT)?;
    if !pre_images {
        return Ok(now);
    }
    let mut is_there = doc! { OPERATION: { "$ne": DELETE } };
    is_there.extend(now);
    let mut is_gone = doc! { OPERATION: DELETE };
    is_gone.extend(moved(filter, PRE_IMAGE)?);
    Ok(doc! { "$or": [is_there, is_gone] })
}

fn moved(filter: &Document, root: &str) -> Result<Document, String> {
    let mut moved = doc! { root: { "$type": "object" } };
    moved.extend(query(filter, root, 0)?);
    Ok(moved)
}

/// Returns the filter on events that carry a document.
pub(super) fn judged() -> Document {
    doc! { ROOT: { "$type": "object" } }
}

/// Whether every path in `filter` is one of the document of an event already.
pub(super) fn is_written_for_events(filter: &Document) -> bool {
    fn paths_are(filter: &Document, depth: usize) -> bool {
        depth <= DEPTH_MAX
            && filter
                .iter()
                .all(|(key, value)| match (key.as_str(), value) {
                    ("$and" | "$or" | "$nor", Bson::Array(clauses)) => {
                        clauses.iter().all(|clause| {
                            clause
                                .as_document()
                                .is_some_and(|clause| paths_are(clause, depth + 1))
                        })
                    }
                    (path, _) => path
                        .strip_prefix(ROOT)
                        .is_some_and(|rest| rest.starts_with('.')),
                })
    }
    !filter.is_empty() && paths_are(filter, 0)
}

fn query(filter: &Document, root: &str, depth: usize) -> Result<Document, String> {
    if depth > DEPTH_MAX {
        return Err("it is nested too deep".to_owned());
    }
    let mut rerooted = Document::new();
    let mut conjuncts = Vec::new();
    for (key, value) in filter {
        match key.as_str() {
            "$and" | "$or" => {
                let clauses = clauses(key, value, root, depth)?;
                rerooted.insert(key, clauses);
            }
            // MongoDB 6.0.5 refuses a $nor of two on `fullDocument` in a change stream; one for each means the same.
            "$nor" => {
                let clauses = clauses(key, value, root, depth)?;
                conjuncts.extend(clauses.into_iter().map(|clause| doc! { "$nor": [clause] }));
            }
            "$expr" => drop(rerooted.insert(key, expression(value, root, depth + 1)?)),
            "$comment" => drop(rerooted.insert(key, value)),
            operator if operator.starts_with('$') => {
                return Err(format!("{operator} has no meaning on an event"));
            }
            path if path.split('.').any(str::is_empty) => {
                return Err(format!("'{path}' is no path"));
            }
            path => drop(rerooted.insert(format!("{root}.{path}"), value)),
        }
    }
    if !conjuncts.is_empty() {
        if let Some(and) = rerooted.remove("$and") {
            conjuncts.push(doc! { "$and": and });
        }
        rerooted.insert("$and", conjuncts);
    }
    Ok(rerooted)
}

fn clauses(
    operator: &str,
    value: &Bson,
    root: &str,
    depth: usize,
) -> Result<Vec<Document>, String> {
    let malformed = || format!("{operator} needs an array of documents");
    let Bson::Array(clauses) = value else {
        return Err(malformed());
    };
    if clauses.is_empty() {
        return Err(malformed());
    }
    clauses
        .iter()
        .map(|clause| {
            clause
                .as_document()
                .ok_or_else(malformed)
                .and_then(|clause| query(clause, root, depth + 1))
        })
        .collect()
}

/// Moves the field paths of an aggregation expression.
fn expression(value: &Bson, root: &str, depth: usize) -> Result<Bson, String> {
    if depth > DEPTH_MAX {
        return Err("it is nested too deep".to_owned());
    }
    Ok(match value {
        Bson::String(text) => Bson::String(field_path(text, root)?),
        Bson::Array(values) => Bson::Array(
            values
                .iter()
                .map(|value| expression(value, root, depth + 1))
                .collect::<Result<_, _>>()?,
        ),
        Bson::Document(document) => {
            let mut moved = Document::new();
            for (key, value) in document {
                let value = match key.as_str() {
                    "$literal" => value.clone(),
                    // Code sees the whole event, and a field got by name may be got from it.
                    "$function" | "$accumulator" | "$getField" | "$setField" | "$unsetField"
                    | "$meta" => {
                        return Err(format!("{key} cannot be moved to the document of an event"));
                    }
                    _ => expression(value, root, depth + 1)?,
                };
                moved.insert(key, value);
            }
            Bson::Document(moved)
        }
        other => other.clone(),
    })
}

fn field_path(text: &str, root: &str) -> Result<String, String> {
    if let Some(variable) = text.strip_prefix("$$") {
        let name = variable.split('.').next().unwrap_or(variable);
        return match name {
            "ROOT" | "CURRENT" => Err(format!("$${name} would be the event")),
            _ => Ok(text.to_owned()),
        };
    }
    Ok(match text.strip_prefix('$') {
        Some(path) => format!("${root}.{path}"),
        None => text.to_owned(),
    })
}

/// Where an event carries its document.
const ROOT: &str = "fullDocument";
/// Where it carries what that was before, if it was asked for and the collection keeps it.
pub(super) const PRE_IMAGE: &str = "fullDocumentBeforeChange";
const OPERATION: &str = "operationType";
const DELETE: &str = "delete";
