//! What refuses a request whatever its permissions: a `filter` that carries JavaScript.

use serde_json::Value;

use crate::access::request::RequestHead;

/// Whether the query has a `filter` in which `$where` occurs, at any depth.
///
/// What is no strict JSON is searched as text: rather one refused too many than one let through.
/// Source: golden `guards`, filter-where-*.
pub(crate) fn is_vetoed(head: &RequestHead) -> bool {
    head.parameters("filter")
        .any(|filter| match serde_json::from_str::<Value>(filter) {
            Ok(value) => has_forbidden_key(&value),
            Err(_) => text_may_name_it(filter),
        })
}

fn has_forbidden_key(value: &Value) -> bool {
    let mut pending = vec![value];
    while let Some(value) = pending.pop() {
        match value {
            Value::Object(members) => {
                if members.keys().any(|key| key == FORBIDDEN) {
                    return true;
                }
                pending.extend(members.values());
            }
            Value::Array(elements) => pending.extend(elements),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => (),
        }
    }
    false
}

fn text_may_name_it(text: &str) -> bool {
    let escapes_it = text.contains(r"\u");
    let names_it = text
        .match_indices(FORBIDDEN)
        .any(|(at, _)| !text[..at].ends_with('_'));
    names_it || (escapes_it && text.to_ascii_lowercase().contains("where"))
}

const FORBIDDEN: &str = "$where";
