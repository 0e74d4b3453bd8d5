//! Values that must stay values where they are put.

use bson::{Bson, doc};

/// What a place in a pipeline makes of what stands there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// A query: `$`-keys are operators, regular expressions match, strings are strings.
    Query,
    /// An aggregation expression: strings that begin with `$` are field paths or variables.
    Expression,
    /// Inside `$literal`: nothing is special.
    Literal,
}

impl Place {
    /// Returns the place of the value under `key`.
    pub(super) fn under(self, key: &str) -> Self {
        match (self, key) {
            (Self::Literal, _) => Self::Literal,
            (Self::Expression, "$literal") => Self::Literal,
            (_, "$expr") => Self::Expression,
            (place, _) => place,
        }
    }

    /// Returns `value` as it has to be written here to mean itself; nothing if it cannot.
    ///
    /// `value` is nested no deeper than [`super::DEPTH_MAX`].
    pub(super) fn literal(self, value: Bson) -> Option<Bson> {
        if self == Self::Literal {
            return Some(value);
        }
        if acts(&value) {
            return None;
        }
        if self == Self::Expression && names_a_field(&value) {
            return Some(Bson::Document(doc! { "$literal": value }));
        }
        Some(value)
    }
}

/// Whether `value` would do something, instead of being compared: an operator, a regular expression, code.
pub(super) fn acts(value: &Bson) -> bool {
    match value {
        Bson::RegularExpression(_) | Bson::JavaScriptCode(_) | Bson::JavaScriptCodeWithScope(_) => {
            true
        }
        Bson::Document(document) => document
            .iter()
            .any(|(key, value)| key.starts_with('$') || acts(value)),
        Bson::Array(values) => values.iter().any(acts),
        _ => false,
    }
}

/// Whether some string in `value` would be read as a field path or variable by an expression.
fn names_a_field(value: &Bson) -> bool {
    match value {
        Bson::String(text) => text.starts_with('$'),
        Bson::Document(document) => document.values().any(names_a_field),
        Bson::Array(values) => values.iter().any(names_a_field),
        _ => false,
    }
}
