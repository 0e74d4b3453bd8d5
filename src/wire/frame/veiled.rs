//! Documents written under a veil.

use bson::{RawArray, RawBsonRef, RawDocument, raw::RawElement, spec::ElementType};

use crate::wire::{
    JsonMode, Veil,
    json::{self, DEPTH_MAX, JsonError},
    veil::{Shade, Sight},
};

use super::{FrameError, wrong_type};

/// Appends the document of an event.
pub(super) fn write_document(
    document: &RawDocument,
    mode: JsonMode,
    veil: &Veil,
    out: &mut String,
) -> Result<(), JsonError> {
    if veil.is_clear() {
        return json::write_document(document, mode, out);
    }
    write_part(document, mode, &veil.shade(), 0, out)
}

/// Appends the key of a document. It holds `_id`, which an inclusive projection does not take away, and the fields of
/// the shard key, which are under the veil like the document.
pub(super) fn write_document_key(
    key: &RawDocument,
    mode: JsonMode,
    veil: &Veil,
    out: &mut String,
) -> Result<(), JsonError> {
    if veil.is_clear() {
        return json::write_document(key, mode, out);
    }
    let mut veil = veil.clone();
    if let Some(shown) = &mut veil.shown_paths {
        shown.push("_id".to_owned());
    }
    let shade = veil.shade();
    // The fields of a shard key are dotted names.
    write_entries(key, mode, |name| shade.path(name), 0, out)
}

/// Appends `updatedFields`, whose keys are dotted paths of the document.
pub(super) fn write_updated_fields(
    updated: &RawDocument,
    mode: JsonMode,
    veil: &Veil,
    out: &mut String,
) -> Result<(), JsonError> {
    if veil.is_clear() {
        return json::write_document(updated, mode, out);
    }
    let shade = veil.shade();
    write_entries(updated, mode, |path| shade.path(path), 0, out)
}

/// Appends `removedFields`, an array of dotted paths.
pub(super) fn write_removed_fields(
    removed: &RawArray,
    veil: &Veil,
    out: &mut String,
) -> Result<(), FrameError> {
    let shade = veil.shade();
    out.push('[');
    let start = out.len();
    for value in removed {
        let path = match value? {
            RawBsonRef::String(path) => path,
            other => return Err(wrong_type("updateDescription.removedFields", other)),
        };
        match shade.path(path) {
            Sight::Hidden => continue,
            // What is removed is gone with all that the veil hides in it.
            Sight::Whole | Sight::Part(_) => (),
        }
        if out.len() > start {
            out.push_str(", ");
        }
        json::write_string(path, out);
    }
    out.push(']');
    Ok(())
}

fn write_part(
    document: &RawDocument,
    mode: JsonMode,
    shade: &Shade<'_>,
    depth: usize,
    out: &mut String,
) -> Result<(), JsonError> {
    write_entries(document, mode, |name| shade.field(name), depth, out)
}

fn write_entries<'a>(
    document: &RawDocument,
    mode: JsonMode,
    sight: impl Fn(&str) -> Sight<'a>,
    depth: usize,
    out: &mut String,
) -> Result<(), JsonError> {
    if depth >= DEPTH_MAX {
        return Err(JsonError::TooDeep);
    }
    out.push('{');
    let start = out.len();
    for element in document.iter_elements() {
        let element = element?;
        let name = element.key().as_str();
        let sight = sight(name);
        if is_hidden(&element, &sight)? {
            continue;
        }
        if out.len() > start {
            out.push_str(", ");
        }
        json::write_string(name, out);
        out.push_str(": ");
        write_sight(&element, mode, &sight, depth, out)?;
    }
    out.push('}');
    Ok(())
}

fn is_hidden(element: &RawElement<'_>, sight: &Sight<'_>) -> Result<bool, JsonError> {
    Ok(match sight {
        Sight::Hidden => true,
        Sight::Whole => false,
        Sight::Part(shade) if shade.shows_scalars() => false,
        Sight::Part(_) => !matches!(
            element.element_type(),
            ElementType::EmbeddedDocument | ElementType::Array
        ),
    })
}

fn write_sight(
    element: &RawElement<'_>,
    mode: JsonMode,
    sight: &Sight<'_>,
    depth: usize,
    out: &mut String,
) -> Result<(), JsonError> {
    let Sight::Part(shade) = sight else {
        return json::write_element(element, mode, depth, out);
    };
    match element.value() {
        Ok(RawBsonRef::Document(document)) => write_part(document, mode, shade, depth + 1, out),
        Ok(RawBsonRef::Array(array)) => write_array(array, mode, shade, depth + 1, out),
        _ => json::write_element(element, mode, depth, out),
    }
}

fn write_array(
    array: &RawArray,
    mode: JsonMode,
    shade: &Shade<'_>,
    depth: usize,
    out: &mut String,
) -> Result<(), JsonError> {
    if depth >= DEPTH_MAX {
        return Err(JsonError::TooDeep);
    }
    out.push('[');
    let start = out.len();
    for element in RawDocument::from_bytes(array.as_bytes())?.iter_elements() {
        let element = element?;
        let sight = Sight::Part(shade.clone());
        if is_hidden(&element, &sight)? {
            continue;
        }
        if out.len() > start {
            out.push_str(", ");
        }
        write_sight(&element, mode, &sight, depth, out)?;
    }
    out.push(']');
    Ok(())
}
