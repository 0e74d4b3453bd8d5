//! The JSON inside a token: numbers are doubles, as Gson reads them, and no name occurs twice.

use std::fmt;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use bson::{Bson, Document};
use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};

/// The members of a token's header or payload, in their order.
#[derive(Debug)]
pub(super) struct Claims(Document);

impl Claims {
    /// Decodes base64url and JSON; none where it is not an object, or one with a name twice.
    pub(super) fn decode(encoded: &str) -> Option<Self> {
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(encoded).ok()?;
        match serde_json::from_slice::<Json>(&bytes).ok()?.0 {
            Bson::Document(members) => Some(Self(members)),
            _ => None,
        }
    }

    pub(super) fn find(&self, name: &str) -> Option<&Bson> {
        self.0.get(name)
    }

    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.find(name)?.as_str()
    }

    /// The members in the order in which a Java `HashMap`, filled in their order, yields them.
    ///
    /// Source: golden `variables`, var-user-jwt.
    pub(super) fn in_hash_order(&self) -> impl Iterator<Item = (&str, &Bson)> {
        // It grows when it is three quarters full.
        let mut buckets = 16_usize;
        while self.0.len() * 4 > buckets * 3 {
            buckets *= 2;
        }
        let mut members: Vec<(&str, &Bson)> = self
            .0
            .iter()
            .map(|(name, value)| (name.as_str(), value))
            .collect();
        // Stable: members of one bucket stay in the order in which they came.
        members.sort_by_key(|(name, _)| java_hash(name) as usize & (buckets - 1));
        members.into_iter()
    }
}

/// `String.hashCode`, spread as `HashMap` does.
fn java_hash(text: &str) -> u32 {
    let hash = text.encode_utf16().fold(0_u32, |hash, unit| {
        hash.wrapping_mul(31).wrapping_add(u32::from(unit))
    });
    hash ^ (hash >> 16)
}

/// A JSON value, read into BSON.
struct Json(Bson);

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(JsonVisitor).map(Self)
    }
}

struct JsonVisitor;

impl<'de> Visitor<'de> for JsonVisitor {
    type Value = Bson;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Bson, E> {
        Ok(Bson::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Bson, E> {
        Ok(Bson::Boolean(value))
    }

    #[allow(
        clippy::cast_precision_loss,
        reason = "a double is what Gson makes of it"
    )]
    fn visit_i64<E>(self, value: i64) -> Result<Bson, E> {
        Ok(Bson::Double(value as f64))
    }

    #[allow(
        clippy::cast_precision_loss,
        reason = "a double is what Gson makes of it"
    )]
    fn visit_u64<E>(self, value: u64) -> Result<Bson, E> {
        Ok(Bson::Double(value as f64))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Bson, E> {
        Ok(Bson::Double(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Bson, E> {
        Ok(Bson::String(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Bson, A::Error> {
        let mut array = Vec::new();
        while let Some(Json(element)) = elements.next_element()? {
            array.push(element);
        }
        Ok(Bson::Array(array))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Bson, A::Error> {
        let mut document = Document::new();
        while let Some((name, Json(value))) = members.next_entry::<String, Json>()? {
            if document.insert(name.clone(), value).is_some() {
                return Err(A::Error::custom(format_args!("{name} occurs twice")));
            }
        }
        Ok(Bson::Document(document))
    }
}
