//! Values: what stands in an argument, and what it yields.

use bson::{Bson, Document};

use super::attribute::Attribute;
use super::evaluate::{Evaluation, Failure};

/// A value as the tree holds it.
#[derive(Debug)]
pub(super) enum Text {
    /// Itself.
    Literal(String),
    /// Itself, unless the user has a property that is named inside: then nobody can say what was meant, and it fails.
    Naming(String),
    /// `@user.x.y`.
    User(String),
    /// `@request.x`.
    Request(String),
    /// `@now`, in milliseconds.
    Now,
    /// A variable that yields nothing that could be compared: `@user`, `@request`, `@filter`, an unknown property.
    Unmatchable,
    /// Attributes and text, put together.
    Attributes(Vec<Attribute>),
}

impl Text {
    /// Whether the request's headers may have a say.
    pub(super) fn may_read_headers(&self) -> bool {
        match self {
            Self::Literal(_) | Self::Naming(_) | Self::User(_) | Self::Now | Self::Unmatchable => {
                false
            }
            Self::Request(_) => true,
            Self::Attributes(parts) => parts.iter().any(Attribute::may_read_headers),
        }
    }
}

/// What a [`Text`] yields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    /// Not there; equals only itself.
    Null,
    /// A text.
    Text(String),
    /// There, but equal to nothing, not even to itself.
    Unmatchable,
    /// An array of the user's record.
    Many(Vec<String>),
}

impl Text {
    /// Yields the value.
    pub(super) fn value(&self, evaluation: &Evaluation<'_>) -> Result<Value, Failure> {
        match self {
            Self::Literal(text) => Ok(Value::Text(text.clone())),
            Self::Naming(text) => match evaluation.user_properties() {
                Some(properties) if names_a_property(text, properties) => {
                    Err(Failure::VariableInText)
                }
                Some(_) | None => Ok(Value::Text(text.clone())),
            },
            Self::User(path) => match evaluation.user_properties() {
                Some(properties) => user_value(properties, path),
                None => Ok(Value::Unmatchable),
            },
            Self::Request(name) => Ok(evaluation.request_property(name)),
            Self::Now => Ok(Value::Text(evaluation.now_millis().to_string())),
            Self::Unmatchable => Ok(Value::Unmatchable),
            Self::Attributes(parts) => Ok(attributes_value(parts, evaluation)),
        }
    }

    /// Yields the value where an array has no place.
    pub(super) fn single(&self, evaluation: &Evaluation<'_>) -> Result<Value, Failure> {
        match self.value(evaluation)? {
            Value::Many(_) => Err(Failure::ArrayForValue),
            other @ (Value::Null | Value::Text(_) | Value::Unmatchable) => Ok(other),
        }
    }
}

/// Yields the values of a list; an array of the user's record stands for its elements, if it is all there is.
pub(super) fn values(texts: &[Text], evaluation: &Evaluation<'_>) -> Result<Vec<Value>, Failure> {
    if let [only] = texts {
        return Ok(match only.value(evaluation)? {
            Value::Many(elements) => elements.into_iter().map(Value::Text).collect(),
            other @ (Value::Null | Value::Text(_) | Value::Unmatchable) => vec![other],
        });
    }
    texts.iter().map(|text| text.single(evaluation)).collect()
}

impl Value {
    /// The text, if it is one.
    pub(super) fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Null | Self::Unmatchable | Self::Many(_) => None,
        }
    }

    /// Whether both are the same; what is unmatchable is not even the same as itself.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Null, Self::Null) => true,
            (Self::Text(one), Self::Text(two)) => one == two,
            (Self::Null | Self::Text(_) | Self::Unmatchable | Self::Many(_), _) => false,
        }
    }
}

fn attributes_value(parts: &[Attribute], evaluation: &Evaluation<'_>) -> Value {
    if let [only] = parts {
        return only.read(evaluation).map_or(Value::Null, Value::Text);
    }
    Value::Text(
        parts
            .iter()
            .filter_map(|part| part.read(evaluation))
            .collect(),
    )
}

/// `@user.<path>`: null is as absent, and what is absent is equal to nothing.
fn user_value(properties: &Document, path: &str) -> Result<Value, Failure> {
    match find(properties, path)? {
        None | Some(Bson::Null) => Ok(Value::Unmatchable),
        Some(Bson::Array(elements)) => elements
            .iter()
            .map(|element| scalar(element).ok_or(Failure::ArrayOfDocuments))
            .collect::<Result<_, _>>()
            .map(Value::Many),
        Some(other) => Ok(scalar(other).map_or(Value::Unmatchable, Value::Text)),
    }
}

/// Looks a dotted path up; a key may itself hold dots.
fn find<'a>(document: &'a Document, path: &str) -> Result<Option<&'a Bson>, Failure> {
    if let Some(value) = document.get(path) {
        return Ok(Some(value));
    }
    let mut current = document;
    let mut rest = path;
    while let Some((name, after)) = rest.split_once('.') {
        match current.get(name) {
            Some(Bson::Document(inner)) => current = inner,
            Some(Bson::Array(_)) => return Err(Failure::PathIntoArray),
            Some(_) | None => return Ok(None),
        }
        if let Some(value) = current.get(after) {
            return Ok(Some(value));
        }
        rest = after;
    }
    Ok(None)
}

/// The text of a scalar, as RESTHeart spells it; none for what has no text.
fn scalar(value: &Bson) -> Option<String> {
    match value {
        Bson::String(text) => Some(text.clone()),
        Bson::Boolean(value) => Some(value.to_string()),
        Bson::Int32(value) => Some(value.to_string()),
        Bson::Int64(value) => Some(value.to_string()),
        Bson::Double(value) => Some(java_double(*value)),
        Bson::Decimal128(value) => Some(value.to_string()),
        Bson::ObjectId(value) => Some(value.to_hex()),
        Bson::DateTime(value) => Some(value.timestamp_millis().to_string()),
        _ => None,
    }
}

/// Spells a double as Java does: `5.0`, `1.0E10`.
fn java_double(value: f64) -> String {
    let size = value.abs();
    if !value.is_finite() || size == 0.0 || (1e-3..1e7).contains(&size) {
        return match value {
            value if value.is_nan() => "NaN".to_owned(),
            value if value.is_infinite() => {
                if value > 0.0 { "Infinity" } else { "-Infinity" }.to_owned()
            }
            value => format!("{value:?}"),
        };
    }
    let text = format!("{value:E}");
    match text.split_once('E') {
        Some((digits, exponent)) if !digits.contains('.') => format!("{digits}.0E{exponent}"),
        Some(_) | None => text,
    }
}

/// Whether the text holds `@user.<path>` of a property that exists.
fn names_a_property(text: &str, properties: &Document) -> bool {
    let mut rest = text;
    while let Some(at) = rest.find(USER_PREFIX) {
        rest = &rest[at + USER_PREFIX.len()..];
        if begins_with_a_leaf(rest, properties) {
            return true;
        }
    }
    false
}

fn begins_with_a_leaf(text: &str, properties: &Document) -> bool {
    let mut pending = vec![(text, properties)];
    while let Some((text, document)) = pending.pop() {
        for (key, value) in document {
            let Some(after) = text.strip_prefix(key.as_str()) else {
                continue;
            };
            match value {
                Bson::Null => (),
                Bson::Document(inner) => {
                    pending.extend(after.strip_prefix('.').map(|after| (after, inner)))
                }
                _ => return true,
            }
        }
    }
    false
}

/// How a property of the user is named.
pub(super) const USER_PREFIX: &str = "@user.";
