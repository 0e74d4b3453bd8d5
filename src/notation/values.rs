//! `@user.x`, `%USER`, `@now`, `@qparams['n']` and the like in the filters of a permission, replaced by values.
//!
//! Only a string that is such a name as a whole is replaced, and by a value: it is never put into text, and never
//! becomes an operator or, inside `$expr`, a field path. What a user, a permission or the query lacks is null.
//!
//! Source: `restheart-compat.md` section 9.5, last part.

#[cfg(test)]
mod tests;

use bson::{Bson, DateTime, Document};

use super::literal::Place;

/// What the names stand for in one request.
#[derive(Clone, Copy, Debug)]
pub struct Values<'a> {
    /// The user's name.
    pub user_name: Option<&'a str>,
    /// The user's roles.
    pub roles: &'a [String],
    /// What `@user` is.
    pub user: Option<&'a Document>,
    /// The query's parameters, decoded.
    pub query: &'a [(String, String)],
    /// What `@request` is; a filter that asks for what it lacks is refused.
    pub request: Option<&'a Document>,
    /// What `@mongoPermissions` is.
    pub permissions: Option<&'a Document>,
    /// The time.
    pub now: DateTime,
}

/// Why a filter has no value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ValueError {
    /// The name cannot be given a value here.
    #[error("{0} has no value on a stream")]
    NoValue(String),
    /// The value would act as an operator where it stands.
    #[error("{0} holds an operator")]
    Operator(String),
}

/// Returns `document` with the names in its string values replaced.
///
/// # Errors
/// [`ValueError`]; a filter that cannot be resolved must not be left out.
pub fn interpolate(document: &Document, values: &Values<'_>) -> Result<Document, ValueError> {
    values.document(document, Place::Query)
}

enum Resolved {
    /// No name: the text stays.
    Text,
    Value(Bson),
}

impl Values<'_> {
    // Recursion: a stored document is nested no deeper than `DEPTH_MAX`.
    fn document(&self, document: &Document, place: Place) -> Result<Document, ValueError> {
        document
            .iter()
            .map(|(key, value)| Ok((key.clone(), self.value(value, place.under(key))?)))
            .collect()
    }

    fn value(&self, value: &Bson, place: Place) -> Result<Bson, ValueError> {
        Ok(match value {
            Bson::Document(document) => Bson::Document(self.document(document, place)?),
            Bson::Array(values) => Bson::Array(
                values
                    .iter()
                    .map(|value| self.value(value, place))
                    .collect::<Result<_, _>>()?,
            ),
            Bson::String(text) => match self.resolve(text)? {
                Resolved::Text => value.clone(),
                Resolved::Value(found) => place
                    .literal(found)
                    .ok_or_else(|| ValueError::Operator(text.clone()))?,
            },
            other => other.clone(),
        })
    }

    fn resolve(&self, text: &str) -> Result<Resolved, ValueError> {
        let value = match text {
            "%USER" => self.user_name.map_or(Bson::Null, Bson::from),
            "%ROLES" => Bson::from(self.roles.to_vec()),
            "%NOW" | "@now" => Bson::DateTime(DateTime::from_millis(
                self.now.timestamp_millis() / 1000 * 1000,
            )),
            _ => {
                if let Some(path) = name(text, "@user") {
                    self.user
                        .and_then(|user| walk(user, path))
                        .map_or(Bson::Null, as_json_numbers)
                } else if let Some(path) = name(text, "@request") {
                    let found = self.request.and_then(|request| walk(request, path));
                    found.ok_or_else(|| ValueError::NoValue(text.to_owned()))?
                } else if let Some(path) = name(text, "@mongoPermissions") {
                    self.permissions
                        .and_then(|permissions| walk(permissions, path))
                        .unwrap_or(Bson::Null)
                } else if let Some(parameter) = parameter(text) {
                    let found = self.query.iter().find(|(name, _)| name == parameter);
                    found.map_or(Bson::Null, |(_, value)| Bson::from(value.as_str()))
                } else if text == "@filter" || text.starts_with("@rnd(") {
                    return Err(ValueError::NoValue(text.to_owned()));
                } else {
                    return Ok(Resolved::Text);
                }
            }
        };
        Ok(Resolved::Value(value))
    }
}

/// Returns the path behind `@name`, empty if there is none; nothing if `text` is another name.
fn name<'t>(text: &'t str, name: &str) -> Option<&'t str> {
    match text.strip_prefix(name)? {
        "" => Some(""),
        rest => rest.strip_prefix('.'),
    }
}

/// Returns the name in `@qparams['name']`.
fn parameter(text: &str) -> Option<&str> {
    let quoted = text.strip_prefix("@qparams[")?.strip_suffix(']')?;
    ['\'', '"']
        .into_iter()
        .find_map(|quote| quoted.strip_prefix(quote)?.strip_suffix(quote))
}

/// Follows `path`, whose segments of digits are places in arrays.
fn walk(document: &Document, path: &str) -> Option<Bson> {
    if path.is_empty() {
        return Some(Bson::Document(document.clone()));
    }
    let mut segments = path.split('.');
    let mut here = document.get(segments.next()?)?;
    for segment in segments {
        here = match here {
            Bson::Document(document) => document.get(segment)?,
            Bson::Array(values) => values.get(segment.parse::<usize>().ok()?)?,
            _ => return None,
        };
    }
    Some(here.clone())
}

/// Integers become doubles, as RESTHeart's are, where that does not change the number: a filter must not let in a
/// neighbour because of a lost digit.
fn as_json_numbers(value: Bson) -> Bson {
    match value {
        Bson::Int32(int) => Bson::Double(f64::from(int)),
        Bson::Int64(int) if int.unsigned_abs() <= 1 << f64::MANTISSA_DIGITS => {
            Bson::Double(int as f64)
        }
        Bson::Document(document) => Bson::Document(
            document
                .into_iter()
                .map(|(key, value)| (key, as_json_numbers(value)))
                .collect(),
        ),
        Bson::Array(values) => Bson::Array(values.into_iter().map(as_json_numbers).collect()),
        other => other,
    }
}
