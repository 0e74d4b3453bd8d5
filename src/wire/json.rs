//! BSON as Extended JSON, in the five modes that RESTHeart knows, as the MongoDB Java driver spells them.
//!
//! The text is written straight from raw BSON; no document is built. One blank follows each `:` and each `,`, none
//! stands inside brackets. Nothing that a document holds makes this panic: bytes that are no BSON, or nesting beyond
//! [`DEPTH_MAX`], are an error, and strings that are not UTF-8 are written with replacement characters, as Java reads them.
//!
//! Source: `restheart-compat.md` section 3.4; MongoDB Java driver 5.7 (`JsonWriter` and its converters).

mod date;
mod number;
mod string;
mod value;

#[cfg(test)]
mod tests;

use std::fmt::Write as _;

use bson::{Document, RawDocument, RawDocumentBuf};

pub(crate) use string::write_string;
pub(crate) use value::write_element;

/// How BSON types that JSON lacks are spelled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum JsonMode {
    /// RESTHeart's own: as [`JsonMode::Relaxed`], but dates are `{"$date": <millis> }`.
    #[default]
    Default,
    /// Relaxed Extended JSON v2.
    Relaxed,
    /// Canonical Extended JSON v2: every number names its type.
    Extended,
    /// Extended JSON v1, "strict".
    Strict,
    /// The notation of the mongo shell, which is not JSON.
    Shell,
}

impl JsonMode {
    /// Returns the mode that the first value of the query parameter `jsonMode` asks for; unknown names mean none.
    pub fn from_parameter(parameter: Option<&str>) -> Self {
        const NAMES: [(&str, JsonMode); 4] = [
            ("RELAXED", JsonMode::Relaxed),
            ("EXTENDED", JsonMode::Extended),
            ("STRICT", JsonMode::Strict),
            ("SHELL", JsonMode::Shell),
        ];
        let Some(parameter) = parameter else {
            return Self::Default;
        };
        NAMES
            .into_iter()
            .find(|(name, _)| parameter.eq_ignore_ascii_case(name))
            .map_or(Self::Default, |(_, mode)| mode)
    }
}

/// Why BSON could not be written.
#[derive(Debug, thiserror::Error)]
pub enum JsonError {
    /// The bytes are not BSON.
    #[error(transparent)]
    Malformed(#[from] bson::error::Error),
    /// Documents and arrays are nested more than [`DEPTH_MAX`] deep. MongoDB itself stops far before.
    #[error("nested more than {DEPTH_MAX} deep")]
    TooDeep,
}

/// Appends `document` as JSON to `out`.
///
/// # Errors
/// [`JsonError`]; what was written to `out` until then stays there.
pub fn write_document(
    document: &RawDocument,
    mode: JsonMode,
    out: &mut String,
) -> Result<(), JsonError> {
    value::write_document(document, mode, 0, out)
}

/// Returns `document` as JSON: for error bodies and other texts, not for the way of an event.
///
/// A document that BSON cannot hold (a NUL in a key, excessive nesting) is `{}`.
pub fn document_text(document: &Document, mode: JsonMode) -> String {
    let mut text = String::new();
    let written = RawDocumentBuf::try_from(document)
        .map_err(JsonError::from)
        .and_then(|raw| write_document(&raw, mode, &mut text));
    match written {
        Ok(()) => text,
        Err(_) => "{}".to_owned(),
    }
}

/// Returns the JSON body of an error answer, as RESTHeart writes it.
///
/// In messages each `"` becomes `'` and each tab two blanks. `exception` is the name of a class and its message.
///
/// Source: `restheart-compat.md` section 6.1.
pub fn error_body(
    status: u16,
    description: Option<&str>,
    message: Option<&str>,
    exception: Option<(&str, &str)>,
    mode: JsonMode,
) -> String {
    let mut out = String::from(r#"{"http status code": "#);
    number::write_int32(i32::from(status), mode, &mut out);
    let mut entry = |key: &str, value: &str| {
        write!(out, r#", "{key}": "#).expect("invariant: a String takes all text");
        write_string(value, &mut out);
    };
    if let Some(description) = description {
        entry("http status description", description);
    }
    let plain = |message: &str| message.replace('"', "'").replace('\t', "  ");
    if let Some(message) = message {
        entry("message", &plain(message));
    }
    if let Some((class, message)) = exception {
        entry("exception", class);
        entry("exception message", &plain(message));
    }
    out.push('}');
    out
}

/// How deep documents and arrays may be nested: MongoDB stores 100 levels, and allows itself 200 on the wire.
pub const DEPTH_MAX: usize = 255;
