//! JSON that keeps its order, and the BSON it stands for in canonical Extended JSON: golden documents are stored with
//! exactly the types and the order in which they were recorded.

use std::fmt::{self, Write};
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bson::{Decimal128, RawDocumentBuf};
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

/// A JSON value. Whole numbers and others stay apart, as their texts are.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Json {
    Null,
    Bool(bool),
    Int(i64),
    Double(f64),
    Text(String),
    List(Vec<Json>),
    Object(Vec<(String, Json)>),
}

impl Json {
    /// Parses a text.
    ///
    /// # Panics
    /// If it is not JSON.
    #[track_caller]
    pub(crate) fn parse(text: &str) -> Self {
        serde_json::from_str(text).unwrap_or_else(|error| panic!("not JSON ({error}): {text}"))
    }

    /// Makes an object.
    pub(crate) fn object<const N: usize>(fields: [(&str, Json); N]) -> Self {
        Self::Object(fields.map(|(key, value)| (key.to_owned(), value)).into())
    }

    /// Returns a field of an object, `None` also where this is no object.
    pub(crate) fn field(&self, key: &str) -> Option<&Json> {
        let found = self.fields().iter().find(|(name, _)| name == key);
        found.map(|(_, value)| value)
    }

    /// Sets a field of an object, at its old place if it had one.
    pub(crate) fn set(&mut self, key: &str, value: Json) {
        let Self::Object(fields) = self else {
            panic!("no object: {self}")
        };
        match fields.iter_mut().find(|(name, _)| name == key) {
            Some((_, old)) => *old = value,
            None => fields.push((key.to_owned(), value)),
        }
    }

    /// Removes a field of an object and returns it.
    pub(crate) fn remove(&mut self, key: &str) -> Option<Json> {
        let Self::Object(fields) = self else {
            return None;
        };
        let place = fields.iter().position(|(name, _)| name == key)?;
        Some(fields.remove(place).1)
    }

    /// Returns the fields of an object; none of anything else.
    pub(crate) fn fields(&self) -> &[(String, Json)] {
        match self {
            Self::Object(fields) => fields,
            _ => &[],
        }
    }

    /// Returns the elements of a list; none of anything else.
    pub(crate) fn elements(&self) -> &[Json] {
        match self {
            Self::List(elements) => elements,
            _ => &[],
        }
    }

    /// Returns a text.
    pub(crate) fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Returns the text of a field.
    ///
    /// # Panics
    /// If there is none.
    #[track_caller]
    pub(crate) fn text_of(&self, key: &str) -> &str {
        let text = self.field(key).and_then(Json::text);
        text.unwrap_or_else(|| panic!("no text `{key}` in {self}"))
    }

    /// Returns the document that this object is in canonical Extended JSON.
    ///
    /// # Panics
    /// If it is no object.
    pub(crate) fn to_bson(&self) -> RawDocumentBuf {
        let Self::Object(fields) = self else {
            panic!("no document: {self}")
        };
        let fields = fields.iter().map(|(key, value)| (key.clone(), value));
        RawDocumentBuf::from_bytes(document(fields)).expect("its length is right")
    }
}

impl From<&str> for Json {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl FromIterator<Json> for Json {
    fn from_iter<I: IntoIterator<Item = Json>>(elements: I) -> Self {
        Self::List(elements.into_iter().collect())
    }
}

impl fmt::Display for Json {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => out.write_str("null"),
            Self::Bool(value) => write!(out, "{value}"),
            Self::Int(value) => write!(out, "{value}"),
            Self::Double(value) => write!(out, "{value:?}"),
            Self::Text(value) => write!(out, "{}", serde_json::json!(value)),
            Self::List(elements) => {
                out.write_char('[')?;
                for (i, element) in elements.iter().enumerate() {
                    let comma = if i > 0 { ", " } else { "" };
                    write!(out, "{comma}{element}")?;
                }
                out.write_char(']')
            }
            Self::Object(fields) => {
                out.write_char('{')?;
                for (i, (key, value)) in fields.iter().enumerate() {
                    let comma = if i > 0 { ", " } else { "" };
                    write!(out, "{comma}{}: {value}", serde_json::json!(key))?;
                }
                out.write_char('}')
            }
        }
    }
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(JsonVisitor)
    }
}

struct JsonVisitor;

impl<'de> Visitor<'de> for JsonVisitor {
    type Value = Json;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Json, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Json, E> {
        Ok(Json::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Json, E> {
        Ok(Json::Int(value))
    }

    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<Json, E> {
        i64::try_from(value).map(Json::Int).map_err(E::custom)
    }

    fn visit_f64<E>(self, value: f64) -> Result<Json, E> {
        Ok(Json::Double(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Json, E> {
        Ok(Json::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Json, A::Error> {
        let mut elements = Vec::new();
        while let Some(element) = access.next_element()? {
            elements.push(element);
        }
        Ok(Json::List(elements))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Json, A::Error> {
        let mut fields = Vec::new();
        while let Some(field) = access.next_entry()? {
            fields.push(field);
        }
        Ok(Json::Object(fields))
    }
}

fn document<'a>(fields: impl Iterator<Item = (String, &'a Json)>) -> Vec<u8> {
    let mut body = Vec::new();
    for (key, value) in fields {
        let (kind, bytes) = element(value);
        body.push(kind);
        body.extend(c_string(&key));
        body.extend(bytes);
    }
    let length = i32::try_from(body.len() + 5).expect("a golden document is small");
    [&length.to_le_bytes()[..], &body, &[0]].concat()
}

/// Returns the BSON type and the bytes of a value. Bytes, and not the crate's types: those cannot hold a DBPointer.
fn element(value: &Json) -> (u8, Vec<u8>) {
    match value {
        Json::Null => (0x0A, Vec::new()),
        Json::Bool(value) => (0x08, vec![u8::from(*value)]),
        Json::Int(value) => match i32::try_from(*value) {
            Ok(small) => (0x10, small.to_le_bytes().into()),
            Err(_) => (0x12, value.to_le_bytes().into()),
        },
        Json::Double(value) => (0x01, value.to_le_bytes().into()),
        Json::Text(value) => (0x02, string(value)),
        Json::List(elements) => {
            let numbered = elements.iter().enumerate();
            let fields = numbered.map(|(i, element)| (i.to_string(), element));
            (0x04, document(fields))
        }
        Json::Object(fields) => extended(fields).unwrap_or_else(|| {
            let fields = fields.iter().map(|(key, value)| (key.clone(), value));
            (0x03, document(fields))
        }),
    }
}

/// Returns what an object stands for if it is exactly one of the forms of canonical Extended JSON.
fn extended(fields: &[(String, Json)]) -> Option<(u8, Vec<u8>)> {
    if let [(first, code), (second, scope)] = fields {
        if first == "$code" && second == "$scope" {
            let scope = document(scope.fields().iter().map(|(k, v)| (k.clone(), v)));
            let body = [string(code.text()?), scope].concat();
            let length = i32::try_from(body.len() + 4).expect("a golden document is small");
            return Some((0x0F, [&length.to_le_bytes()[..], &body].concat()));
        }
        return None;
    }
    let [(key, value)] = fields else { return None };
    let text = value.text();
    Some(match (key.as_str(), text, value) {
        ("$oid", Some(hex), _) => (
            0x07,
            bson::oid::ObjectId::from_str(hex).ok()?.bytes().into(),
        ),
        ("$numberInt", Some(digits), _) => (0x10, digits.parse::<i32>().ok()?.to_le_bytes().into()),
        ("$numberLong", Some(digits), _) => {
            (0x12, digits.parse::<i64>().ok()?.to_le_bytes().into())
        }
        ("$numberDouble", Some(digits), _) => {
            (0x01, digits.parse::<f64>().ok()?.to_le_bytes().into())
        }
        ("$numberDecimal", Some(digits), _) => {
            (0x13, Decimal128::from_str(digits).ok()?.bytes().into())
        }
        ("$date", None, _) => {
            let millis = value.text_of("$numberLong").parse::<i64>().ok()?;
            (0x09, millis.to_le_bytes().into())
        }
        ("$binary", None, _) => {
            let mut bytes = STANDARD.decode(value.text_of("base64")).ok()?;
            let subtype = u8::from_str_radix(value.text_of("subType"), 16).ok()?;
            if subtype == 2 {
                bytes = [&length_of(&bytes)[..], &bytes].concat();
            }
            (0x05, [&length_of(&bytes)[..], &[subtype], &bytes].concat())
        }
        ("$timestamp", None, _) => (0x11, [number(value, "i")?, number(value, "t")?].concat()),
        ("$regularExpression", None, _) => {
            let (pattern, options) = (value.text_of("pattern"), value.text_of("options"));
            (0x0B, [c_string(pattern), c_string(options)].concat())
        }
        ("$symbol", Some(text), _) => (0x0E, string(text)),
        ("$code", Some(text), _) => (0x0D, string(text)),
        ("$dbPointer", None, _) => {
            let id = value.field("$id")?.text_of("$oid");
            let id = bson::oid::ObjectId::from_str(id).ok()?.bytes();
            (0x0C, [&string(value.text_of("$ref"))[..], &id].concat())
        }
        ("$minKey", _, Json::Int(1)) => (0xFF, Vec::new()),
        ("$maxKey", _, Json::Int(1)) => (0x7F, Vec::new()),
        ("$undefined", _, Json::Bool(true)) => (0x06, Vec::new()),
        _ => return None,
    })
}

fn number(value: &Json, key: &str) -> Option<Vec<u8>> {
    match value.field(key)? {
        Json::Int(number) => Some(u32::try_from(*number).ok()?.to_le_bytes().into()),
        _ => None,
    }
}

fn length_of(bytes: &[u8]) -> [u8; 4] {
    let length = i32::try_from(bytes.len()).expect("a golden value is small");
    length.to_le_bytes()
}

fn string(text: &str) -> Vec<u8> {
    let bytes = c_string(text);
    [&length_of(&bytes)[..], &bytes].concat()
}

fn c_string(text: &str) -> Vec<u8> {
    [text.as_bytes(), &[0]].concat()
}
