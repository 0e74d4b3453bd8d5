//! Canonical bytes of a value: equal values have equal keys, so a hash table can look them up.
//!
//! Necessary only: different values may share a key (numbers are keyed by their nearest double, null stands for
//! undefined and missing too, deep or very large values are cut). Whoever finds a key still asks the predicate.

use crate::query::order::Bracket;
use crate::query::order::number::Number;
use crate::query::value::{Doc, Value};

/// Appends the key of `value`; `None` is a missing field.
pub(crate) fn write_key(value: Option<Value<'_>>, out: &mut Vec<u8>) {
    let Some(value) = value else {
        return out.push(Bracket::Null as u8);
    };
    write_value(value, out.len() + KEY_BYTES_MAX, DEPTH_MAX, out);
}

/// Returns the first byte that the key of such a value has.
pub(crate) fn key_tag(value: Option<Value<'_>>) -> u8 {
    match value.map(|value| Bracket::of(value.kind)) {
        None | Some(Bracket::Undefined) => Bracket::Null as u8,
        Some(bracket) => bracket as u8,
    }
}

fn write_value(value: Value<'_>, end: usize, depth: usize, out: &mut Vec<u8>) {
    out.push(key_tag(Some(value)));
    match Bracket::of(value.kind) {
        Bracket::MinKey | Bracket::Undefined | Bracket::Null | Bracket::MaxKey => (),
        Bracket::Number => {
            let double = Number::of(value).map_or(0.0, Number::nearest_double);
            out.extend_from_slice(&double.to_bits().to_le_bytes());
        }
        Bracket::String | Bracket::Code => write_bytes(value.text(), end, out),
        Bracket::Object | Bracket::Array => {
            write_document(Doc::new(value.bytes()), end, depth, out);
        }
        Bracket::ScopedCode => write_bytes(value.scoped_code().0, end, out),
        Bracket::Binary
        | Bracket::ObjectId
        | Bracket::Boolean
        | Bracket::Date
        | Bracket::Timestamp
        | Bracket::Regex
        | Bracket::DbPointer => write_bytes(value.bytes(), end, out),
    }
}

fn write_document(document: Doc<'_>, end: usize, depth: usize, out: &mut Vec<u8>) {
    if depth == 0 {
        return;
    }
    for (name, value) in document.elements() {
        if out.len() >= end {
            return;
        }
        write_bytes(name, end, out);
        write_value(value, end, depth - 1, out);
    }
    out.push(END);
}

/// Appends the length and as much of the bytes as has room.
fn write_bytes(bytes: &[u8], end: usize, out: &mut Vec<u8>) {
    let room = end.saturating_sub(out.len());
    out.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
    out.extend_from_slice(&bytes[..bytes.len().min(room)]);
}

/// A key stops growing here; equal values are cut at the same place.
const KEY_BYTES_MAX: usize = 256;
/// Below this depth everything has the same key.
const DEPTH_MAX: usize = 16;
const END: u8 = 0xff;
