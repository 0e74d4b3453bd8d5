//! Documents that stand for other values: Extended JSON, version 1 and 2.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use bson::{
    Binary, Bson, DateTime, Document, JavaScriptCodeWithScope, Regex, Timestamp, oid::ObjectId,
    spec::BinarySubtype,
};

use super::date;

/// Returns the value that `document` stands for, or the document itself. Its own values have been through this already.
///
/// # Errors
/// The reason, where the first key names a type but what follows is none of it.
pub(super) fn value(document: Document) -> Result<Bson, String> {
    let mut entries = document.iter();
    let (Some((name, first)), second, None) = (entries.next(), entries.next(), entries.next())
    else {
        return Ok(Bson::Document(document));
    };
    if !name.starts_with('$') {
        return Ok(Bson::Document(document));
    }
    let found = match second {
        None => alone(name, first),
        Some((other, second)) => Found::or_document(pair((name, first), (other, second))),
    };
    match found {
        Found::Value(value) => Ok(value),
        Found::Document => Ok(Bson::Document(document)),
        Found::Illegal => Err(format!("illegal value of {name}")),
    }
}

enum Found {
    Value(Bson),
    Document,
    Illegal,
}

impl Found {
    fn or_document(value: Option<Bson>) -> Self {
        value.map_or(Self::Document, Self::Value)
    }

    fn or_illegal(value: Option<Bson>) -> Self {
        value.map_or(Self::Illegal, Self::Value)
    }
}

/// A document of one entry.
fn alone(name: &str, value: &Bson) -> Found {
    let text = match value {
        Bson::String(text) => Some(text.as_str()),
        _ => None,
    };
    match name {
        "$oid" => Found::or_illegal(
            text.and_then(|hex| ObjectId::parse_str(hex).ok())
                .map(Bson::ObjectId),
        ),
        "$numberInt" => Found::or_illegal(text.and_then(|text| text.parse().ok()).map(Bson::Int32)),
        "$numberLong" => {
            Found::or_illegal(text.and_then(|text| text.parse().ok()).map(Bson::Int64))
        }
        "$numberDouble" => Found::or_illegal(text.and_then(double).map(Bson::Double)),
        "$numberDecimal" => Found::or_illegal(
            text.and_then(|text| text.parse().ok())
                .map(Bson::Decimal128),
        ),
        "$date" => Found::or_illegal(date_of(value).map(Bson::DateTime)),
        "$symbol" => Found::or_illegal(text.map(|text| Bson::Symbol(text.to_owned()))),
        "$code" => Found::or_illegal(text.map(|text| Bson::JavaScriptCode(text.to_owned()))),
        "$undefined" => {
            Found::or_illegal((*value == Bson::Boolean(true)).then_some(Bson::Undefined))
        }
        "$minKey" => Found::or_illegal((*value == Bson::Int32(1)).then_some(Bson::MinKey)),
        "$maxKey" => Found::or_illegal((*value == Bson::Int32(1)).then_some(Bson::MaxKey)),
        "$timestamp" => Found::or_illegal(timestamp(value)),
        "$uuid" => Found::or_illegal(text.and_then(|text| super::uuid("UUID", text))),
        "$binary" => Found::or_document(match value {
            Bson::Document(parts) => canonical_binary(parts),
            _ => None,
        }),
        "$regularExpression" => Found::or_document(match value {
            Bson::Document(parts) => match (parts.get_str("pattern"), parts.get_str("options")) {
                (Ok(pattern), Ok(options)) => regex(pattern, options),
                _ => None,
            },
            _ => None,
        }),
        "$regex" => Found::or_document(text.and_then(|pattern| regex(pattern, ""))),
        _ => Found::Document,
    }
}

/// A document of two entries.
fn pair(first: (&String, &Bson), second: (&String, &Bson)) -> Option<Bson> {
    match ((first.0.as_str(), first.1), (second.0.as_str(), second.1)) {
        (("$binary", Bson::String(bytes)), ("$type", subtype))
        | (("$type", subtype), ("$binary", Bson::String(bytes))) => {
            let subtype = match subtype {
                Bson::String(hex) => i32::from_str_radix(hex, 16).ok()?,
                Bson::Int32(subtype) => *subtype,
                _ => return None,
            };
            binary(subtype, bytes)
        }
        (("$regex", Bson::String(pattern)), ("$options", Bson::String(options)))
        | (("$options", Bson::String(options)), ("$regex", Bson::String(pattern))) => {
            regex(pattern, options)
        }
        (("$code", Bson::String(code)), ("$scope", Bson::Document(scope))) => {
            Some(Bson::JavaScriptCodeWithScope(JavaScriptCodeWithScope {
                code: code.clone(),
                scope: scope.clone(),
            }))
        }
        _ => None,
    }
}

pub(super) fn binary(subtype: i32, base64: &str) -> Option<Bson> {
    let subtype = BinarySubtype::from(u8::try_from(subtype).ok()?);
    let bytes = BASE64_STANDARD.decode(base64).ok()?;
    Some(Bson::Binary(Binary { subtype, bytes }))
}

fn canonical_binary(parts: &Document) -> Option<Bson> {
    let subtype = i32::from_str_radix(parts.get_str("subType").ok()?, 16).ok()?;
    binary(subtype, parts.get_str("base64").ok()?)
}

fn regex(pattern: &str, options: &str) -> Option<Bson> {
    Some(Bson::RegularExpression(Regex {
        pattern: pattern.try_into().ok()?,
        options: options.try_into().ok()?,
    }))
}

fn double(text: &str) -> Option<f64> {
    match text {
        "NaN" => Some(f64::NAN),
        "Infinity" => Some(f64::INFINITY),
        "-Infinity" => Some(f64::NEG_INFINITY),
        _ => text
            .parse()
            .ok()
            .filter(|_| text.bytes().any(|byte| byte.is_ascii_digit())),
    }
}

fn date_of(value: &Bson) -> Option<DateTime> {
    match value {
        Bson::Int32(millis) => Some(DateTime::from_millis(i64::from(*millis))),
        Bson::Int64(millis) => Some(DateTime::from_millis(*millis)),
        Bson::String(text) => date::iso(text),
        _ => None,
    }
}

fn timestamp(value: &Bson) -> Option<Bson> {
    let Bson::Document(parts) = value else {
        return None;
    };
    let part = |name| match parts.get(name)? {
        Bson::Int32(part) => u32::try_from(*part).ok(),
        Bson::Int64(part) => u32::try_from(*part).ok(),
        _ => None,
    };
    Some(Bson::Timestamp(Timestamp {
        time: part("t")?,
        increment: part("i")?,
    }))
}
