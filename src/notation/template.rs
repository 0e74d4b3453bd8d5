//! `{"$var": …}` in a document, replaced by values.
//!
//! A document whose only key is `$var` stands for the value of the variable that it names; with an array of two it also
//! names a default. What was put in is not looked at again. Everything but defaults, which are written where the
//! template is, goes in as a value: a string that begins with `$` is not a field path, an operator is refused.
//!
//! Source: `restheart-compat.md` section 2.3.

#[cfg(test)]
mod tests;

use bson::{Bson, Document};

use super::literal::{self, Place};

/// What a variable is bound to.
#[derive(Clone, Debug, PartialEq)]
pub struct Bound {
    /// The value.
    pub value: Bson,
    /// Whether operators in it are meant: it comes from the administrators' own metadata.
    pub is_trusted: bool,
}

/// Why a template has no value.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum TemplateError {
    /// A variable without default is bound to nothing.
    #[error("variable {0} not bound")]
    Unbound(String),
    /// What follows `$var` is neither a name nor a name and a default.
    #[error("wrong variable name {0}")]
    WrongName(Bson),
    /// A variable is bound to something that would act as an operator where it stands.
    #[error("variable {0} holds an operator")]
    Operator(String),
}

/// Returns `stage`, one stage of a pipeline, with its variables replaced. `bound` says what a name is bound to.
///
/// The result is no document if the whole stage is a variable.
///
/// # Errors
/// [`TemplateError`]; of several faults the first that is met.
pub fn interpolate(
    stage: &Document,
    bound: &dyn Fn(&str) -> Option<Bound>,
) -> Result<Bson, TemplateError> {
    let template = Template { bound };
    if let Some(operand) = variable(stage) {
        return template.value(operand, Place::Query);
    }
    let mut resolved = Document::new();
    for (name, operand) in stage {
        let place = if name == "$match" {
            Place::Query
        } else {
            Place::Expression
        };
        resolved.insert(name, template.resolve(operand, place)?);
    }
    Ok(Bson::Document(resolved))
}

struct Template<'a> {
    bound: &'a dyn Fn(&str) -> Option<Bound>,
}

impl Template<'_> {
    // Recursion: a definition is nested no deeper than `DEPTH_MAX`, and what is put in is not walked.
    fn resolve(&self, value: &Bson, place: Place) -> Result<Bson, TemplateError> {
        match value {
            Bson::Document(document) => match variable(document) {
                Some(operand) => self.value(operand, place),
                None => document
                    .iter()
                    .map(|(key, value)| Ok((key.clone(), self.resolve(value, place.under(key))?)))
                    .collect::<Result<Document, _>>()
                    .map(Bson::Document),
            },
            Bson::Array(values) => values
                .iter()
                .map(|value| self.resolve(value, place))
                .collect::<Result<_, _>>()
                .map(Bson::Array),
            other => Ok(other.clone()),
        }
    }

    fn value(&self, operand: &Bson, place: Place) -> Result<Bson, TemplateError> {
        let (name, default) = match operand {
            Bson::String(name) => (name, None),
            Bson::Array(values) => match values.as_slice() {
                [Bson::String(name), default] => (name, Some(default)),
                _ => return Err(TemplateError::WrongName(operand.clone())),
            },
            _ => return Err(TemplateError::WrongName(operand.clone())),
        };
        match ((self.bound)(name), default) {
            (
                Some(Bound {
                    value,
                    is_trusted: true,
                }),
                _,
            ) => Ok(value),
            (
                Some(Bound {
                    value,
                    is_trusted: false,
                }),
                _,
            ) => place
                .literal(value)
                .ok_or_else(|| TemplateError::Operator(name.clone())),
            (None, Some(default)) => Ok(default.clone()),
            (None, None) => Err(TemplateError::Unbound(name.clone())),
        }
    }
}

/// Returns what follows `$var`, if that is the only key.
fn variable(document: &Document) -> Option<&Bson> {
    if document.len() == 1 {
        document.get("$var")
    } else {
        None
    }
}

/// Whether `value` holds an operator, a regular expression or code anywhere: what no client may bind.
pub fn holds_operator(value: &Bson) -> bool {
    literal::acts(value)
}

/// Returns what `document` holds under `name`: under that very key, or else along the path that `name` spells, with
/// `.` between steps, `[n]` for the elements of arrays and `['key']` for keys.
///
/// A blank name and a malformed path lead nowhere.
pub fn lookup<'a>(document: &'a Document, name: &str) -> Option<&'a Bson> {
    if name.trim().is_empty() {
        return None;
    }
    if let Some(value) = document.get(name) {
        return Some(value);
    }
    let mut steps = path(name)?.into_iter();
    let Some(Step::Key(first)) = steps.next() else {
        return None;
    };
    steps.try_fold(document.get(first)?, |here, step| match (here, step) {
        (Bson::Document(document), Step::Key(key)) => document.get(key),
        (Bson::Array(values), Step::Index(index)) => values.get(index),
        _ => None,
    })
}

/// One step of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// The value of a key of a document.
    Key(String),
    /// An element of an array.
    Index(usize),
}

/// Reads a path: keys between dots, `[n]`, `['key']` and `["key"]`; nothing if it is malformed.
pub fn path(text: &str) -> Option<Vec<Step>> {
    let mut steps = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        if let Some(bracket) = rest.strip_prefix('[') {
            let (step, after) = bracketed(bracket)?;
            steps.push(step);
            rest = after;
        } else {
            let key = match (steps.is_empty(), rest.strip_prefix('.')) {
                (true, None) => rest,
                (false, Some(key)) => key,
                _ => return None,
            };
            let end = key.find(['.', '[']).unwrap_or(key.len());
            if end == 0 {
                return None;
            }
            steps.push(Step::Key(key[..end].to_owned()));
            rest = &key[end..];
        }
    }
    Some(steps)
}

/// Reads what stands behind `[`, and returns it with what follows `]`.
fn bracketed(text: &str) -> Option<(Step, &str)> {
    for quote in ['\'', '"'] {
        if let Some(quoted) = text.strip_prefix(quote) {
            let (key, after) = quoted.split_once(quote)?;
            return Some((Step::Key(key.to_owned()), after.strip_prefix(']')?));
        }
    }
    let (index, after) = text.split_once(']')?;
    Some((Step::Index(index.parse().ok()?), after))
}
