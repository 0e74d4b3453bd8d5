//! `$ifvar`: a stage that is there if a variable is bound.
//!
//! `{ "$ifvar": [condition, stage] }` or `[condition, stage, other stage]`; the condition is a name, or a list of names
//! that must all be bound. Other keys beside `$ifvar` are thrown away. Deeper in a stage `$ifvar` means nothing.

use bson::{Bson, Document};

use crate::streams::java;

/// Returns the stage that `stage` stands for, itself if it is no `$ifvar`, or none.
///
/// # Errors
/// RESTHeart's message where the form is malformed. Its test of the form is loose, so that some forms pass it and fail
/// later, by the type that they have in the wrong place.
pub(super) fn choose(
    stage: &Document,
    is_bound: &dyn Fn(&str) -> bool,
) -> Result<Option<Document>, String> {
    let Some(form) = stage.get("$ifvar") else {
        return Ok(Some(stage.clone()));
    };
    let parts = match form {
        Bson::Array(parts) if matches!(parts.len(), 2 | 3) && looks_right(parts) => parts,
        _ => {
            return Err(format!(
                "Invalid optional stage: {}",
                java::text(&Bson::Document(stage.clone()))
            ));
        }
    };
    let chosen = if holds(&parts[0], is_bound)? {
        parts.get(1)
    } else {
        parts.get(2)
    };
    match chosen {
        None => Ok(None),
        Some(Bson::Document(stage)) => Ok(Some(stage.clone())),
        Some(other) => Err(java::unexpected_type("DOCUMENT", other)),
    }
}

fn looks_right(parts: &[Bson]) -> bool {
    let is_condition = match &parts[0] {
        Bson::String(_) => true,
        Bson::Array(names) => names.iter().all(|name| name.as_str().is_some()),
        _ => false,
    };
    is_condition || parts[1..].iter().any(|part| part.as_document().is_some())
}

fn holds(condition: &Bson, is_bound: &dyn Fn(&str) -> bool) -> Result<bool, String> {
    let names = match condition {
        Bson::String(name) => return Ok(is_bound(name)),
        Bson::Array(names) => names,
        other => return Err(java::unexpected_type("ARRAY", other)),
    };
    for name in names {
        match name {
            Bson::String(name) if is_bound(name) => (),
            Bson::String(_) => return Ok(false),
            other => return Err(java::unexpected_type("STRING", other)),
        }
    }
    Ok(true)
}
