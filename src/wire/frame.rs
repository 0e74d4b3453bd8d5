//! What a client gets of a change event, and how it is wrapped.
//!
//! The text has at most four entries, in this order: `fullDocument`, `documentKey`, `updateDescription`,
//! `operationType`. Everything else of an event, and all that a pipeline adds beside them, is left out, as RESTHeart
//! leaves it out.
//!
//! Source: `restheart-compat.md` sections 3.2, 4.3 and 5; RFC 6455 section 5.2.

#[cfg(test)]
mod tests;
mod veiled;

use bson::{RawArray, RawBsonRef, RawDocument};
use bytes::{BufMut, Bytes, BytesMut};

use super::{
    JsonMode, Veil,
    deflate::{self, Window},
    json::{self, JsonError},
};

/// Why an event has no text: it is skipped for those whose pipeline made it so.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// A pipeline gave one of the four entries (or the id) a type that a change event does not have there.
    #[error("{entry} of the event is of type {found}")]
    Type {
        /// The path of the entry in the event.
        entry: &'static str,
        /// The BSON type it has, or `missing`.
        found: String,
    },
    /// The event could not be written.
    #[error(transparent)]
    Json(#[from] JsonError),
}

impl From<bson::error::Error> for FrameError {
    fn from(error: bson::error::Error) -> Self {
        Self::Json(error.into())
    }
}

/// Appends the text of `event` to `out`, less what `veil` hides; `with_id` puts the event's id in front.
///
/// # Errors
/// [`FrameError::Type`] where RESTHeart's own decoding fails, for example when `fullDocument` was made a string;
/// `out` is then as it was before.
pub fn event_text(
    event: &RawDocument,
    mode: JsonMode,
    veil: &Veil,
    with_id: bool,
    out: &mut String,
) -> Result<(), FrameError> {
    let start = out.len();
    let written = write_event(event, mode, veil, with_id, out);
    if written.is_err() {
        out.truncate(start);
    }
    written
}

/// The parts of an event that frames show. Null counts as absent.
#[derive(Default)]
struct Parts<'a> {
    id: Option<&'a RawDocument>,
    full_document: Option<&'a RawDocument>,
    document_key: Option<&'a RawDocument>,
    update_description: Option<&'a RawDocument>,
    operation_type: Option<&'a str>,
}

impl<'a> Parts<'a> {
    fn read(event: &'a RawDocument, with_id: bool) -> Result<Self, FrameError> {
        let mut parts = Self::default();
        for element in event.iter_elements() {
            let element = element?;
            match element.key().as_str() {
                "_id" if with_id => parts.id = document("_id", element.value()?)?,
                "fullDocument" => parts.full_document = document("fullDocument", element.value()?)?,
                "documentKey" => parts.document_key = document("documentKey", element.value()?)?,
                "updateDescription" => {
                    parts.update_description = document("updateDescription", element.value()?)?
                }
                "operationType" => {
                    parts.operation_type = match element.value()? {
                        RawBsonRef::String(name) => Some(operation_type(name)),
                        RawBsonRef::Null => None,
                        other => return Err(wrong_type("operationType", other)),
                    };
                }
                _ => (),
            }
        }
        if with_id && parts.id.is_none() {
            return Err(FrameError::Type {
                entry: "_id",
                found: "missing".to_owned(),
            });
        }
        Ok(parts)
    }
}

fn write_event(
    event: &RawDocument,
    mode: JsonMode,
    veil: &Veil,
    with_id: bool,
    out: &mut String,
) -> Result<(), FrameError> {
    let parts = Parts::read(event, with_id)?;
    out.push('{');
    let body = out.len();
    let entry = |key: &str, out: &mut String| {
        if out.len() > body {
            out.push_str(", ");
        }
        out.push('"');
        out.push_str(key);
        out.push_str("\": ");
    };
    if let Some(id) = parts.id {
        entry("_id", out);
        json::write_document(id, mode, out)?;
    }
    if let Some(full_document) = parts.full_document {
        entry("fullDocument", out);
        veiled::write_document(full_document, mode, veil, out)?;
    }
    if let Some(document_key) = parts.document_key {
        entry("documentKey", out);
        veiled::write_document_key(document_key, mode, veil, out)?;
    }
    if let Some(description) = parts.update_description.filter(|_| veil.update_description) {
        entry("updateDescription", out);
        write_update_description(description, mode, veil, out)?;
    }
    if let Some(operation_type) = parts.operation_type {
        entry("operationType", out);
        json::write_string(operation_type, out);
    }
    out.push('}');
    Ok(())
}

/// Writes `updatedFields` and `removedFields`, and nothing else of the description.
///
/// RESTHeart's answer to a pipeline that took one of them away is part of the format: without `updatedFields` it says
/// null; without `removedFields` it says `[]` for `updatedFields` and nothing for the other.
fn write_update_description(
    description: &RawDocument,
    mode: JsonMode,
    veil: &Veil,
    out: &mut String,
) -> Result<(), FrameError> {
    let updated = match description.get("updatedFields")? {
        Some(value) => document("updateDescription.updatedFields", value)?,
        None => None,
    };
    let removed = match description.get("removedFields")? {
        Some(value) => array("updateDescription.removedFields", value)?,
        None => None,
    };
    let Some(removed) = removed else {
        out.push_str(r#"{"updatedFields": []}"#);
        return Ok(());
    };
    out.push_str(r#"{"updatedFields": "#);
    match updated {
        Some(updated) => veiled::write_updated_fields(updated, mode, veil, out)?,
        None => out.push_str("null"),
    }
    out.push_str(r#", "removedFields": "#);
    veiled::write_removed_fields(removed, veil, out)?;
    out.push('}');
    Ok(())
}

/// Returns `name` if it is one that RESTHeart's driver knows, else `other`.
fn operation_type(name: &str) -> &str {
    match name {
        "insert" | "update" | "replace" | "delete" | "invalidate" | "drop" | "dropDatabase"
        | "rename" => name,
        _ => "other",
    }
}

fn document<'a>(
    entry: &'static str,
    value: RawBsonRef<'a>,
) -> Result<Option<&'a RawDocument>, FrameError> {
    match value {
        RawBsonRef::Document(document) => Ok(Some(document)),
        RawBsonRef::Null => Ok(None),
        other => Err(wrong_type(entry, other)),
    }
}

fn array<'a>(
    entry: &'static str,
    value: RawBsonRef<'a>,
) -> Result<Option<&'a RawArray>, FrameError> {
    match value {
        RawBsonRef::Array(array) => Ok(Some(array)),
        RawBsonRef::Null => Ok(None),
        other => Err(wrong_type(entry, other)),
    }
}

fn wrong_type(entry: &'static str, found: RawBsonRef<'_>) -> FrameError {
    FrameError::Type {
        entry,
        found: format!("{:?}", found.element_type()),
    }
}

/// Returns the text of a resume token: `{"_data": "82…"}`, as RESTHeart's SSE ids are written.
pub fn token_text(token: &RawDocument) -> String {
    let mut text = String::new();
    match json::write_document(token, JsonMode::Default, &mut text) {
        Ok(()) => text,
        // A token comes from MongoDB and is a document of one string; an id is then better empty than half.
        Err(_) => "{}".to_owned(),
    }
}

/// Returns `payload` as one unmasked WebSocket text frame: header and payload.
pub fn websocket_text(payload: &str) -> Bytes {
    websocket_frame(FINAL_TEXT, payload.as_bytes())
}

/// As [`websocket_text`], compressed where that makes it smaller. Source: RFC 7692 sections 6.1 and 7.2.1.
pub fn websocket_text_deflated(payload: &str, window: Window) -> Bytes {
    deflate::with_payload(payload.as_bytes(), window, |deflated| match deflated {
        Some(deflated) => websocket_frame(FINAL_TEXT | RSV1, deflated),
        None => websocket_text(payload),
    })
}

fn websocket_frame(first: u8, payload: &[u8]) -> Bytes {
    let length = payload.len();
    let mut frame = BytesMut::with_capacity(length + WEBSOCKET_HEADER_MAX);
    frame.put_u8(first);
    match (u8::try_from(length), u16::try_from(length)) {
        (Ok(length @ 0..=125), _) => frame.put_u8(length),
        (_, Ok(length)) => {
            frame.put_u8(126);
            frame.put_u16(length);
        }
        (_, Err(_)) => {
            frame.put_u8(127);
            frame.put_u64(length as u64);
        }
    }
    frame.put_slice(payload);
    frame.freeze()
}

/// Returns one SSE event of type `change` with the resume token as its id; no blank follows the colons.
pub fn sse_event(token_json: &str, payload: &str) -> Bytes {
    let mut event = BytesMut::with_capacity(token_json.len() + payload.len() + 32);
    event.put_slice(b"id:");
    event.put_slice(token_json.as_bytes());
    event.put_slice(b"\nevent:change\n");
    // JSON holds no raw line break, so this is one line; another text must not break out of its field.
    for line in payload.split(['\n', '\r']) {
        event.put_slice(b"data:");
        event.put_slice(line.as_bytes());
        event.put_slice(b"\n");
    }
    event.put_slice(b"\n");
    event.freeze()
}

/// The first byte of a text frame that is a whole message.
const FINAL_TEXT: u8 = 0x81;
/// Says of a message that it is compressed.
const RSV1: u8 = 0x40;

/// The longest header of an unmasked frame: two bytes and a 64-bit length.
const WEBSOCKET_HEADER_MAX: usize = 10;
