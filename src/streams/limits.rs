//! How large definitions, variables and pipelines may be.

use bson::{Bson, Document};

use crate::notation::DEPTH_MAX;

/// The bounds of what is bound and compiled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PipelineLimits {
    /// Variables that a request may bring.
    pub variables_max: usize,
    /// How deep variables and definitions may be nested; never more than [`DEPTH_MAX`].
    pub depth_max: usize,
    /// Stages of one definition.
    pub stages_max: usize,
    /// What a definition, and the pipeline that it becomes, may weigh (see [`weight`]).
    pub values_max: usize,
}

impl Default for PipelineLimits {
    /// As wide as can be.
    fn default() -> Self {
        Self {
            variables_max: usize::MAX,
            depth_max: DEPTH_MAX,
            stages_max: usize::MAX,
            values_max: usize::MAX,
        }
    }
}

/// Returns how many values there are in `value`, itself, documents and arrays among them. A regular expression weighs as
/// much as it costs to compile.
pub fn weight(value: &Bson) -> usize {
    weigh(vec![value])
}

/// As [`weight`], for all that is in a document.
pub fn weight_of(document: &Document) -> usize {
    weigh(document.values().collect())
}

fn weigh(mut left: Vec<&Bson>) -> usize {
    let mut total = 0;
    while let Some(value) = left.pop() {
        total += match value {
            Bson::RegularExpression(_) => REGEX_WEIGHT,
            _ => 1,
        };
        match value {
            Bson::Document(document) => {
                // `$regex` with a text.
                if document.contains_key("$regex") {
                    total += REGEX_WEIGHT;
                }
                left.extend(document.values());
            }
            Bson::Array(values) => left.extend(values),
            _ => (),
        }
    }
    total
}

/// An ordinary one takes far longer than a value (`examples/bench-compile`).
const REGEX_WEIGHT: usize = 100;

#[cfg(test)]
mod tests;
