//! JSON in and out: Extended JSON on both ways, with the blanks that RESTHeart's answers have.

use std::io;

use bson::{Bson, Document};
use serde::ser::{Serialize, SerializeMap, SerializeSeq, Serializer};

/// Reads any value in Extended JSON, canonical or relaxed.
pub(crate) fn value(text: &[u8]) -> Result<Bson, serde_json::Error> {
    serde_json::from_slice(text)
}

/// Reads an object in Extended JSON.
pub(crate) fn document(text: &[u8]) -> Result<Document, serde_json::Error> {
    serde_json::from_slice(text)
}

/// Writes a value in relaxed Extended JSON.
pub(crate) fn text(value: &Bson) -> String {
    let mut out = Vec::new();
    let mut serializer = serde_json::Serializer::with_formatter(&mut out, Spaced);
    Relaxed(value)
        .serialize(&mut serializer)
        .expect("a value of BSON always has a text, and memory takes it");
    String::from_utf8(out).expect("serde_json writes UTF-8")
}

/// A value whose dates and odd numbers are written as relaxed Extended JSON has them.
struct Relaxed<'a>(&'a Bson);

impl Serialize for Relaxed<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Bson::Document(fields) => {
                let mut map = serializer.serialize_map(Some(fields.len()))?;
                for (key, field) in fields {
                    map.serialize_entry(key, &Relaxed(field))?;
                }
                map.end()
            }
            Bson::Array(elements) => {
                let mut sequence = serializer.serialize_seq(Some(elements.len()))?;
                for element in elements {
                    sequence.serialize_element(&Relaxed(element))?;
                }
                sequence.end()
            }
            Bson::DateTime(date) if (0..YEAR_10000_MS).contains(&date.timestamp_millis()) => {
                let text = date.try_to_rfc3339_string().unwrap_or_default();
                one_entry(serializer, "$date", &text)
            }
            Bson::Double(number) if !number.is_finite() => {
                let text = match number {
                    _ if number.is_nan() => "NaN",
                    _ if *number > 0.0 => "Infinity",
                    _ => "-Infinity",
                };
                one_entry(serializer, "$numberDouble", text)
            }
            other => other.serialize(serializer),
        }
    }
}

fn one_entry<S: Serializer>(serializer: S, key: &str, text: &str) -> Result<S::Ok, S::Error> {
    let mut map = serializer.serialize_map(Some(1))?;
    map.serialize_entry(key, text)?;
    map.end()
}

/// One line, a blank after each comma and colon.
struct Spaced;

impl serde_json::ser::Formatter for Spaced {
    fn begin_array_value<W: ?Sized + io::Write>(
        &mut self,
        out: &mut W,
        first: bool,
    ) -> io::Result<()> {
        if first { Ok(()) } else { out.write_all(b", ") }
    }

    fn begin_object_key<W: ?Sized + io::Write>(
        &mut self,
        out: &mut W,
        first: bool,
    ) -> io::Result<()> {
        if first { Ok(()) } else { out.write_all(b", ") }
    }

    fn begin_object_value<W: ?Sized + io::Write>(&mut self, out: &mut W) -> io::Result<()> {
        out.write_all(b": ")
    }
}

/// The first millisecond that has no four-digit year.
const YEAR_10000_MS: i64 = 253_402_300_800_000;
