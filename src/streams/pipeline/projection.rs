//! `projectResponse` of a permission, as a veil.

use bson::{Bson, Document};

use crate::{notation::escape, wire::Veil};

/// Returns the veil that hides what `projection` hides: a document of paths, with 0 or 1 (or false, true) for each.
///
/// # Errors
/// The reason where it holds anything else: what cannot be understood must not be shown.
pub(super) fn veil(projection: &Document) -> Result<Veil, String> {
    let mut paths = Vec::new();
    flatten("", &escape::unescape(projection), &mut paths)?;
    let (shown, hidden): (Vec<_>, Vec<_>) = paths.into_iter().partition(|(_, is_shown)| *is_shown);
    let hidden: Vec<String> = hidden.into_iter().map(|(path, _)| path).collect();
    let mut shown: Vec<String> = shown.into_iter().map(|(path, _)| path).collect();
    // As in MongoDB, `_id` alone neither makes a projection inclusive nor is left out of one.
    let shown_paths = if shown.iter().any(|path| path != "_id") {
        if !shown.iter().chain(&hidden).any(|path| path == "_id") {
            shown.push("_id".to_owned());
        }
        Some(shown)
    } else if shown.is_empty() || !hidden.is_empty() {
        None
    } else {
        Some(shown)
    };
    Ok(Veil {
        hidden_paths: hidden,
        shown_paths,
        update_description: true,
    })
}

// Recursion: a stored document is nested no deeper than `notation::DEPTH_MAX`.
fn flatten(
    prefix: &str,
    projection: &Document,
    paths: &mut Vec<(String, bool)>,
) -> Result<(), String> {
    for (key, value) in projection {
        let path = if prefix.is_empty() {
            key.clone()
        } else {
            format!("{prefix}.{key}")
        };
        if path.starts_with('$') || path.contains(".$") || path.split('.').any(str::is_empty) {
            return Err(format!("{path} is no path"));
        }
        let is_shown = match value {
            Bson::Document(inner) if !inner.is_empty() => {
                flatten(&path, inner, paths)?;
                continue;
            }
            Bson::Boolean(boolean) => *boolean,
            Bson::Int32(int) => *int != 0,
            Bson::Int64(int) => *int != 0,
            Bson::Double(double) => *double != 0.0,
            _ => return Err(format!("{path} is neither shown nor hidden")),
        };
        paths.push((path, is_shown));
    }
    Ok(())
}
