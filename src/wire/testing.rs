//! Readers for test data: the recorded cases, and canonical Extended JSON as it stands in them.

use std::{fmt, path::Path, str::FromStr};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use bson::{
    Binary, Bson, DateTime, Decimal128, Document, JavaScriptCodeWithScope, RawDocument, Regex,
    Timestamp, oid::ObjectId,
};
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

/// JSON with the order of its keys.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Json {
    Null,
    Boolean(bool),
    Integer(i64),
    Float(f64),
    Text(String),
    Array(Vec<Json>),
    Object(Vec<(String, Json)>),
}

/// Returns the cases recorded in `tests/golden/streams/<name>.json`.
pub(crate) fn recorded(name: &str) -> Vec<Json> {
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/golden/streams/{name}.json"));
    let text = std::fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let Json::Array(cases) = Json::parse(&text) else {
        panic!("{name}: not an array")
    };
    assert!(!cases.is_empty(), "{name}: no cases");
    cases
}

impl Json {
    pub(crate) fn parse(text: &str) -> Self {
        serde_json::from_str(text).unwrap_or_else(|error| panic!("{error} in {text}"))
    }

    /// Returns the value at `path`: keys, and places in arrays as numbers.
    pub(crate) fn at(&self, path: &[&str]) -> Option<&Json> {
        path.iter().try_fold(self, |here, step| match here {
            Self::Object(entries) => entries
                .iter()
                .find(|(key, _)| key == step)
                .map(|(_, value)| value),
            Self::Array(values) => values.get(step.parse::<usize>().ok()?),
            _ => None,
        })
    }

    pub(crate) fn text(&self, path: &[&str]) -> Option<&str> {
        match self.at(path)? {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    pub(crate) fn list(&self, path: &[&str]) -> &[Json] {
        match self.at(path) {
            Some(Self::Array(values)) => values,
            _ => &[],
        }
    }

    pub(crate) fn name(&self) -> &str {
        self.text(&["name"]).expect("a case has a name")
    }

    /// Reads this as canonical Extended JSON v2.
    pub(crate) fn to_bson(&self) -> Bson {
        match self {
            Self::Null => Bson::Null,
            Self::Boolean(value) => Bson::Boolean(*value),
            Self::Integer(value) => i32::try_from(*value).map_or(Bson::Int64(*value), Bson::Int32),
            Self::Float(value) => Bson::Double(*value),
            Self::Text(text) => Bson::String(text.clone()),
            Self::Array(values) => Bson::Array(values.iter().map(Self::to_bson).collect()),
            Self::Object(entries) => self.extended().unwrap_or_else(|| {
                Bson::Document(
                    entries
                        .iter()
                        .map(|(key, value)| (key.clone(), value.to_bson()))
                        .collect(),
                )
            }),
        }
    }

    pub(crate) fn to_document(&self) -> Document {
        match self.to_bson() {
            Bson::Document(document) => document,
            other => panic!("not a document: {other}"),
        }
    }

    fn extended(&self) -> Option<Bson> {
        let Self::Object(entries) = self else {
            return None;
        };
        let (name, value) = entries.first()?;
        let text = || self.text(&[name]).expect("a text");
        Some(match name.as_str() {
            "$oid" => Bson::ObjectId(ObjectId::parse_str(text()).expect("an id")),
            "$numberInt" => Bson::Int32(text().parse().expect("an int32")),
            "$numberLong" => Bson::Int64(text().parse().expect("an int64")),
            "$numberDouble" => Bson::Double(text().parse().expect("a double")),
            "$numberDecimal" => Bson::Decimal128(Decimal128::from_str(text()).expect("a decimal")),
            "$date" => Bson::DateTime(DateTime::from_millis(match value.to_bson() {
                Bson::Int64(millis) => millis,
                other => panic!("not canonical: {other}"),
            })),
            "$timestamp" => {
                let part = |name| match value.at(&[name]) {
                    Some(Self::Integer(part)) => u32::try_from(*part).expect("32 bits"),
                    other => panic!("not a timestamp: {other:?}"),
                };
                Bson::Timestamp(Timestamp {
                    time: part("t"),
                    increment: part("i"),
                })
            }
            "$binary" => {
                let subtype = u8::from_str_radix(value.text(&["subType"]).expect("a subtype"), 16)
                    .expect("hexadecimal");
                let bytes = BASE64_STANDARD
                    .decode(value.text(&["base64"]).expect("bytes"))
                    .expect("base64");
                Bson::Binary(Binary {
                    subtype: subtype.into(),
                    bytes,
                })
            }
            "$regularExpression" if value.at(&["pattern"]).is_some() => {
                Bson::RegularExpression(Regex {
                    pattern: value
                        .text(&["pattern"])
                        .expect("a pattern")
                        .try_into()
                        .expect("no NUL"),
                    options: value
                        .text(&["options"])
                        .expect("options")
                        .try_into()
                        .expect("no NUL"),
                })
            }
            "$minKey" => Bson::MinKey,
            "$maxKey" => Bson::MaxKey,
            "$undefined" => Bson::Undefined,
            "$symbol" => Bson::Symbol(text().to_owned()),
            "$code" => match self.at(&["$scope"]) {
                Some(scope) => Bson::JavaScriptCodeWithScope(JavaScriptCodeWithScope {
                    code: text().to_owned(),
                    scope: scope.to_document(),
                }),
                None => Bson::JavaScriptCode(text().to_owned()),
            },
            "$dbPointer" => pointer(
                value.text(&["$ref"]).expect("a namespace"),
                value.text(&["$id", "$oid"]).expect("an id"),
            ),
            _ => return None,
        })
    }
}

/// Builds a DBPointer, which the crate only reads, never makes.
fn pointer(namespace: &str, id: &str) -> Bson {
    let mut bytes = vec![0, 0, 0, 0, 0x0c, b'p', 0];
    bytes.extend(
        i32::try_from(namespace.len() + 1)
            .expect("short")
            .to_le_bytes(),
    );
    bytes.extend(namespace.as_bytes());
    bytes.push(0);
    bytes.extend(ObjectId::parse_str(id).expect("an id").bytes());
    bytes.push(0);
    let length = i32::try_from(bytes.len()).expect("short").to_le_bytes();
    bytes[..4].copy_from_slice(&length);
    let raw = RawDocument::from_bytes(&bytes).expect("well formed");
    Document::try_from(raw)
        .expect("well formed")
        .remove("p")
        .expect("its one entry")
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(JsonVisitor)
    }
}

struct JsonVisitor;

impl<'de> Visitor<'de> for JsonVisitor {
    type Value = Json;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Json, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Json, E> {
        Ok(Json::Boolean(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Json, E> {
        Ok(Json::Integer(value))
    }

    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<Json, E> {
        i64::try_from(value).map(Json::Integer).map_err(E::custom)
    }

    fn visit_f64<E>(self, value: f64) -> Result<Json, E> {
        Ok(Json::Float(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Json, E> {
        Ok(Json::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Json, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = sequence.next_element()? {
            values.push(value);
        }
        Ok(Json::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Json, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        Ok(Json::Object(entries))
    }
}
