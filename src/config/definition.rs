//! `[[stream]]`: definitions for APIs that keep no metadata in MongoDB.

use bson::{Bson, Document, doc};
use toml::de::{DeTable, DeValue};
use toml::value::Offset;

use super::mongodb::{collection_name, database_name};
use super::reader::{Section, Value};

/// One `[[stream]]`. What its stages mean is judged where stored definitions are judged too.
#[derive(Clone, Debug, PartialEq)]
pub struct StaticDefinition {
    /// The database of `collection`, up to the first dot.
    pub database: String,
    /// The collection, from behind the first dot.
    pub collection: String,
    /// The name behind `_streams/`.
    pub uri: String,
    /// The stages, in stored or plain spelling, keys in the order of the file.
    pub stages: Vec<Document>,
    /// `notify_when` as it would be stored.
    pub notify_when: Option<Document>,
    /// Where it stands in the file, for messages about what it means.
    pub line: usize,
}

impl StaticDefinition {
    /// The definition as RESTHeart would store it in `streams`.
    pub fn document(&self) -> Document {
        let stages: Vec<Bson> = self.stages.iter().cloned().map(Bson::Document).collect();
        let mut document = doc! { "uri": &self.uri, "stages": stages };
        if let Some(notify_when) = &self.notify_when {
            document.insert("notify_when", notify_when.clone());
        }
        document
    }
}

/// Reads all `[[stream]]`.
pub(super) fn read(root: &Section<'_>) -> Vec<StaticDefinition> {
    let mut definitions: Vec<StaticDefinition> = Vec::new();
    for value in root.list("stream").unwrap_or_default() {
        let Some(definition) = value
            .section()
            .and_then(|section| read_one(section, &value))
        else {
            continue;
        };
        let is_same = |other: &&StaticDefinition| {
            other.database == definition.database
                && other.collection == definition.collection
                && other.uri == definition.uri
        };
        if let Some(other) = definitions.iter().find(is_same) {
            value.fault(format!(
                "{:?} of {}.{} is already defined in line {}",
                definition.uri, definition.database, definition.collection, other.line
            ));
        }
        definitions.push(definition);
    }
    definitions
}

fn read_one(section: Section<'_>, value: &Value<'_>) -> Option<StaticDefinition> {
    let namespace = match section.value("collection") {
        Some(value) => value.parsed(namespace),
        None => {
            section.missing("collection", "\"database.collection\"");
            None
        }
    };
    let uri = match section.value("uri") {
        Some(value) => value.parsed(uri),
        None => {
            section.missing("uri", "the name behind _streams/");
            None
        }
    };
    let stages = match section.value("stages") {
        Some(value) => value.list().and_then(|stages| documents(&stages)),
        None => {
            section.missing("stages", "an array of stages; [] passes every change");
            None
        }
    };
    // The outer `Option` is the fault's, the inner one the key's.
    let notify_when = match section.value("notify_when") {
        Some(value) => document(&value).map(Some),
        None => Some(None),
    };
    section.finish();
    let (database, collection) = namespace?;
    Some(StaticDefinition {
        database,
        collection,
        uri: uri?,
        stages: stages?,
        notify_when: notify_when?,
        line: value.line,
    })
}

fn namespace(text: &str) -> Result<(String, String), String> {
    let (database, collection) = text
        .split_once('.')
        .ok_or_else(|| "must be \"database.collection\"".to_owned())?;
    let database = database_name(database).map_err(|fault| format!("database {fault}"))?;
    let collection = collection_name(collection).map_err(|fault| format!("collection {fault}"))?;
    Ok((database, collection))
}

fn uri(text: &str) -> Result<String, String> {
    match text {
        "" => Err("must not be empty".to_owned()),
        "_size" | "_meta" => Err("is a name that RESTHeart's URLs reserve".to_owned()),
        text if text.contains('/') => Err("must not contain /: no URL could name it".to_owned()),
        text => Ok(text.to_owned()),
    }
}

/// All documents of an array, or none where one is faulty; every fault is reported.
fn documents(values: &[Value<'_>]) -> Option<Vec<Document>> {
    let read: Vec<Option<Document>> = values.iter().map(document).collect();
    read.into_iter().collect()
}

/// A table as a document, keys in the order of the file; a fault is reported.
pub(super) fn document(value: &Value<'_>) -> Option<Document> {
    let table = value.table()?;
    table_document(table)
        .map_err(|fault| value.fault(fault))
        .ok()
}

/// Keys in the order of the file, since MongoDB compares documents by it.
fn table_document(table: &DeTable<'_>) -> Result<Document, String> {
    let mut entries: Vec<_> = table.iter().collect();
    entries.sort_by_key(|(key, _)| key.span().start);
    entries
        .into_iter()
        .map(|(key, value)| Ok((key.get_ref().to_string(), bson(value.get_ref())?)))
        .collect()
}

fn bson(value: &DeValue<'_>) -> Result<Bson, String> {
    Ok(match value {
        DeValue::String(text) => Bson::String(text.to_string()),
        DeValue::Integer(integer) => {
            let number = i64::from_str_radix(integer.as_str(), integer.radix())
                .map_err(|_| format!("{integer} does not fit into 64 bits"))?;
            // As a JSON parser of MongoDB's drivers reads it.
            i32::try_from(number).map_or(Bson::Int64(number), Bson::Int32)
        }
        DeValue::Float(float) => Bson::Double(
            float
                .as_str()
                .parse()
                .map_err(|_| format!("{float} is not a number"))?,
        ),
        DeValue::Boolean(flag) => Bson::Boolean(*flag),
        DeValue::Datetime(date) => Bson::DateTime(datetime(*date)?),
        DeValue::Array(array) => {
            let elements: Result<Vec<Bson>, String> = array
                .iter()
                .map(|element| bson(element.get_ref()))
                .collect();
            Bson::Array(elements?)
        }
        DeValue::Table(table) => Bson::Document(table_document(table)?),
    })
}

fn datetime(date: toml::value::Datetime) -> Result<bson::DateTime, String> {
    let hint =
        || format!("{date}: a date needs a time and an offset, such as 2026-01-31T12:00:00Z");
    match date.offset {
        Some(Offset::Z | Offset::Custom { .. }) => (),
        None => return Err(hint()),
    }
    bson::DateTime::parse_rfc3339_str(date.to_string()).map_err(|_| hint())
}
