//! One value of each BSON type, in each mode.

use std::fmt::Write as _;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use bson::{
    Binary, RawArray, RawBsonRef, RawDocument, RawDocumentBuf, Timestamp,
    raw::{RawBinaryRef, RawDbPointerRef, RawElement, RawRegexRef},
};

use super::{DEPTH_MAX, JsonError, JsonMode, date, number, string::write_string};

/// Appends `document`; `depth` is the number of documents and arrays around it.
pub(crate) fn write_document(
    document: &RawDocument,
    mode: JsonMode,
    depth: usize,
    out: &mut String,
) -> Result<(), JsonError> {
    if depth >= DEPTH_MAX {
        return Err(JsonError::TooDeep);
    }
    out.push('{');
    for (index, element) in document.iter_elements().enumerate() {
        let element = element?;
        if index > 0 {
            out.push_str(", ");
        }
        write_string(element.key().as_str(), out);
        out.push_str(": ");
        write_element(&element, mode, depth, out)?;
    }
    out.push('}');
    Ok(())
}

pub(crate) fn write_array(
    array: &RawArray,
    mode: JsonMode,
    depth: usize,
    out: &mut String,
) -> Result<(), JsonError> {
    if depth >= DEPTH_MAX {
        return Err(JsonError::TooDeep);
    }
    out.push('[');
    for (index, element) in RawDocument::from_bytes(array.as_bytes())?
        .iter_elements()
        .enumerate()
    {
        let element = element?;
        if index > 0 {
            out.push_str(", ");
        }
        write_element(&element, mode, depth, out)?;
    }
    out.push(']');
    Ok(())
}

/// Appends the value of `element`. MongoDB stores strings that are not UTF-8; Java reads them with replacements.
pub(crate) fn write_element(
    element: &RawElement<'_>,
    mode: JsonMode,
    depth: usize,
    out: &mut String,
) -> Result<(), JsonError> {
    match element.value() {
        Ok(value) => write_value(value, mode, depth, out),
        Err(_) => write_value(
            element.value_utf8_lossy()?.as_raw_bson_ref(),
            mode,
            depth,
            out,
        ),
    }
}

/// Appends `value`; `depth` is the number of documents and arrays around it, less one.
pub(crate) fn write_value(
    value: RawBsonRef<'_>,
    mode: JsonMode,
    depth: usize,
    out: &mut String,
) -> Result<(), JsonError> {
    match value {
        RawBsonRef::Double(double) => number::write_double(double, mode, out),
        RawBsonRef::String(text) => write_string(text, out),
        RawBsonRef::Array(array) => write_array(array, mode, depth + 1, out)?,
        RawBsonRef::Document(document) => write_document(document, mode, depth + 1, out)?,
        RawBsonRef::Boolean(boolean) => out.push_str(if boolean { "true" } else { "false" }),
        RawBsonRef::Null => out.push_str("null"),
        RawBsonRef::RegularExpression(regex) => write_regex(regex, mode, out),
        RawBsonRef::JavaScriptCode(code) => write_named("$code", code, "}", out),
        RawBsonRef::JavaScriptCodeWithScope(code) => {
            write_named("$code", code.code, r#", "$scope": "#, out);
            write_document(code.scope, mode, depth + 1, out)?;
            out.push('}');
        }
        RawBsonRef::Int32(int) => number::write_int32(int, mode, out),
        RawBsonRef::Int64(int) => number::write_int64(int, mode, out),
        RawBsonRef::Timestamp(timestamp) => write_timestamp(timestamp, mode, out),
        RawBsonRef::Binary(binary) => write_binary(binary, mode, out),
        RawBsonRef::ObjectId(id) => write_object_id(&id.to_hex(), mode, out),
        RawBsonRef::DateTime(date) => date::write_date(date.timestamp_millis(), mode, out),
        RawBsonRef::Symbol(text) => write_named("$symbol", text, "}", out),
        RawBsonRef::Decimal128(decimal) => {
            let (before, after) = match mode {
                JsonMode::Shell => (r#"NumberDecimal(""#, r#"")"#),
                _ => (r#"{"$numberDecimal": ""#, r#""}"#),
            };
            out.push_str(before);
            number::write_decimal(decimal, out);
            out.push_str(after);
        }
        RawBsonRef::Undefined => {
            out.push_str(shell_or(mode, "undefined", r#"{"$undefined": true}"#))
        }
        RawBsonRef::MinKey => out.push_str(shell_or(mode, "MinKey", r#"{"$minKey": 1}"#)),
        RawBsonRef::MaxKey => out.push_str(shell_or(mode, "MaxKey", r#"{"$maxKey": 1}"#)),
        RawBsonRef::DbPointer(pointer) => write_pointer(pointer, mode, out)?,
    }
    Ok(())
}

fn shell_or(mode: JsonMode, shell: &'static str, other: &'static str) -> &'static str {
    if mode == JsonMode::Shell {
        shell
    } else {
        other
    }
}

/// Appends `{"name": "text"` and `rest`.
fn write_named(name: &str, text: &str, rest: &str, out: &mut String) {
    out.push_str("{\"");
    out.push_str(name);
    out.push_str("\": ");
    write_string(text, out);
    out.push_str(rest);
}

fn write_object_id(hex: &str, mode: JsonMode, out: &mut String) {
    match mode {
        JsonMode::Shell => write!(out, r#"ObjectId("{hex}")"#),
        _ => write!(out, r#"{{"$oid": "{hex}"}}"#),
    }
    .expect("invariant: a String takes all text");
}

fn write_timestamp(timestamp: Timestamp, mode: JsonMode, out: &mut String) {
    let Timestamp { time, increment } = timestamp;
    match mode {
        // The driver prints both halves as signed integers here.
        JsonMode::Shell => write!(
            out,
            "Timestamp({}, {})",
            time.cast_signed(),
            increment.cast_signed()
        ),
        _ => write!(
            out,
            r#"{{"$timestamp": {{"t": {time}, "i": {increment}}}}}"#
        ),
    }
    .expect("invariant: a String takes all text");
}

fn write_binary(binary: RawBinaryRef<'_>, mode: JsonMode, out: &mut String) {
    let Binary { subtype, bytes } = binary.to_binary();
    let subtype = u8::from(subtype);
    let base64 = BASE64_STANDARD.encode(bytes);
    match mode {
        JsonMode::Shell => write!(out, r#"new BinData({subtype}, "{base64}")"#),
        JsonMode::Strict => write!(
            out,
            r#"{{"$binary": "{base64}", "$type": "{subtype:02X}"}}"#
        ),
        JsonMode::Default | JsonMode::Relaxed | JsonMode::Extended => {
            write!(
                out,
                r#"{{"$binary": {{"base64": "{base64}", "subType": "{subtype:02X}"}}}}"#
            )
        }
    }
    .expect("invariant: a String takes all text");
}

fn write_regex(regex: RawRegexRef<'_>, mode: JsonMode, out: &mut String) {
    let pattern = regex.pattern.as_str();
    // The driver sorts the options when it reads them.
    let mut options: Vec<char> = regex.options.as_str().chars().collect();
    options.sort_unstable();
    let options = String::from_iter(options);
    let (before, between, after) = match mode {
        JsonMode::Shell => {
            out.push('/');
            out.push_str(&if pattern.is_empty() {
                "(?:)".to_owned()
            } else {
                pattern.replace('/', "\\/")
            });
            out.push('/');
            out.push_str(&options);
            return;
        }
        JsonMode::Strict => (r#"{"$regex": "#, r#", "$options": "#, "}"),
        JsonMode::Default | JsonMode::Relaxed | JsonMode::Extended => (
            r#"{"$regularExpression": {"pattern": "#,
            r#", "options": "#,
            "}}",
        ),
    };
    out.push_str(before);
    write_string(pattern, out);
    out.push_str(between);
    write_string(&options, out);
    out.push_str(after);
}

fn write_pointer(
    pointer: RawDbPointerRef<'_>,
    mode: JsonMode,
    out: &mut String,
) -> Result<(), JsonError> {
    // The crate keeps the parts of a pointer to itself, so they are read from its bytes:
    // length of the document (4), type (1), empty key (1), length of the namespace (4), namespace, NUL, id (12), NUL.
    let mut holder = RawDocumentBuf::new();
    holder.append(bson::raw::cstr!(""), RawBsonRef::DbPointer(pointer));
    let bytes = holder.as_bytes();
    let id_at = bytes.len() - 13;
    let namespace = String::from_utf8_lossy(&bytes[10..id_at - 1]);
    let mut hex = String::with_capacity(24);
    for byte in &bytes[id_at..id_at + 12] {
        write!(hex, "{byte:02x}").expect("invariant: a String takes all text");
    }
    if mode == JsonMode::Extended {
        out.push_str(r#"{"$dbPointer": "#);
    }
    write_named("$ref", &namespace, r#", "$id": "#, out);
    write_object_id(&hex, mode, out);
    out.push_str(if mode == JsonMode::Extended {
        "}}"
    } else {
        "}"
    });
    Ok(())
}
