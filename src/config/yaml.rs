//! The YAML in which RESTHeart keeps users and permissions outside MongoDB.

use bson::{Bson, Document};
use saphyr::{LoadableYamlNode, Scalar, Yaml};

/// Reads the list of mappings that stands under `key`, keys in the order of the text.
///
/// # Errors
/// What is wrong with it, with the line within the text, and without quoting it: it may hold passwords.
pub(super) fn entries(text: &str, key: &str) -> Result<Vec<Document>, String> {
    let documents = Yaml::load_from_str(text).map_err(|error| {
        format!(
            "is no YAML: line {}: {}",
            error.marker().line(),
            error.info()
        )
    })?;
    let form = || format!("must be YAML with a list under \"{key}:\"");
    let [document] = documents.as_slice() else {
        return Err(form());
    };
    let list = document.as_mapping_get(key).ok_or_else(form)?;
    let list = list.as_vec().ok_or_else(form)?;
    let entries = list.iter().enumerate();
    entries
        .map(|(index, entry)| match bson(entry, 0)? {
            Bson::Document(entry) => Ok(entry),
            _ => Err(format!(
                "entry {} of \"{key}:\" has no properties",
                index + 1
            )),
        })
        .collect()
}

fn bson(value: &Yaml<'_>, depth: usize) -> Result<Bson, String> {
    if depth > DEPTH_MAX {
        return Err(format!("is nested deeper than {DEPTH_MAX}"));
    }
    Ok(match value {
        Yaml::Value(Scalar::Null) => Bson::Null,
        Yaml::Value(Scalar::Boolean(flag)) => Bson::Boolean(*flag),
        Yaml::Value(Scalar::Integer(number)) => {
            i32::try_from(*number).map_or(Bson::Int64(*number), Bson::Int32)
        }
        Yaml::Value(Scalar::FloatingPoint(number)) => Bson::Double(**number),
        Yaml::Value(Scalar::String(text)) => Bson::String(text.to_string()),
        Yaml::Sequence(elements) => {
            let elements = elements.iter().map(|element| bson(element, depth + 1));
            Bson::Array(elements.collect::<Result<_, _>>()?)
        }
        Yaml::Mapping(members) => {
            let mut document = Document::new();
            for (key, value) in members {
                let Bson::String(key) = bson(key, depth + 1)? else {
                    return Err("has a key that is not a text".to_owned());
                };
                document.insert(key, bson(value, depth + 1)?);
            }
            Bson::Document(document)
        }
        Yaml::Representation(..) | Yaml::Tagged(..) | Yaml::Alias(_) | Yaml::BadValue => {
            return Err("has a value with a tag or an alias, which cannot be used here".to_owned());
        }
    })
}

/// As deep as MongoDB's documents may be.
const DEPTH_MAX: usize = 100;

#[cfg(test)]
mod tests;
