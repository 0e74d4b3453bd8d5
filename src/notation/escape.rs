//! Keys that MongoDB once could not store: `_$match` for `$match`, `a::b` for `a.b`.
//!
//! Both spellings occur in storage, mixed; reading accepts any mixture.
//!
//! Source: `restheart-compat.md` section 1.3.

#[cfg(test)]
mod tests;

use bson::{Bson, Document};

/// Returns `document` with its keys, and its string values that begin with `_$`, unescaped at every depth.
///
/// Two keys that become one: the last value, at the place of the first.
pub fn unescape(document: &Document) -> Document {
    document
        .iter()
        .map(|(key, value)| (unescape_key(key), unescape_value(value)))
        .collect()
}

/// Returns `value` unescaped as [`unescape`] does it.
pub fn unescape_value(value: &Bson) -> Bson {
    match value {
        Bson::Document(document) => Bson::Document(unescape(document)),
        Bson::Array(values) => Bson::Array(values.iter().map(unescape_value).collect()),
        Bson::String(text) => Bson::String(unescape_operator(text).to_owned()),
        other => other.clone(),
    }
}

/// Returns `key` with one underscore before a leading `$` removed, and each `::` made a dot.
pub fn unescape_key(key: &str) -> String {
    unescape_operator(key).replace("::", ".")
}

fn unescape_operator(text: &str) -> &str {
    match text.strip_prefix('_') {
        Some(operator) if operator.starts_with('$') => operator,
        _ => text,
    }
}

/// Returns `document` with its keys escaped at every depth: what stands escaped already stays so.
pub fn escape_keys(document: &Document) -> Document {
    document
        .iter()
        .map(|(key, value)| (escape_key(key), escape_value(value)))
        .collect()
}

fn escape_value(value: &Bson) -> Bson {
    match value {
        Bson::Document(document) => Bson::Document(escape_keys(document)),
        Bson::Array(values) => Bson::Array(values.iter().map(escape_value).collect()),
        other => other.clone(),
    }
}

fn escape_key(key: &str) -> String {
    let underscore = if key.starts_with('$') { "_" } else { "" };
    format!("{underscore}{}", key.replace('.', "::"))
}
