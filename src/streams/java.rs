//! BSON as it stands in RESTHeart's messages, which quote values as Java prints them.

use bson::{Bson, spec::ElementType};

use crate::wire::json::{JsonMode, document_text};

/// Returns `value` as the Java driver's `toString` prints it.
pub(super) fn text(value: &Bson) -> String {
    let plain = |name: &str, value: &dyn std::fmt::Display| format!("Bson{name}{{value={value}}}");
    match value {
        Bson::Document(document) => document_text(document, JsonMode::Relaxed),
        Bson::Array(values) => {
            let values: Vec<String> = values.iter().map(text).collect();
            format!("BsonArray{{values=[{}]}}", values.join(", "))
        }
        Bson::String(text) => format!("BsonString{{value='{text}'}}"),
        Bson::Symbol(text) => format!("BsonSymbol{{symbol='{text}'}}"),
        Bson::Int32(int) => plain("Int32", int),
        Bson::Int64(int) => plain("Int64", int),
        Bson::Double(double) => {
            // The shell's mode prints the bare number, as Java does.
            let json = document_text(&bson::doc! { "v": *double }, JsonMode::Shell);
            plain("Double", &json[6..json.len() - 1].replace("E+", "E"))
        }
        Bson::Boolean(boolean) => plain("Boolean", boolean),
        Bson::ObjectId(id) => plain("ObjectId", &id.to_hex()),
        Bson::DateTime(date) => plain("DateTime", &date.timestamp_millis()),
        Bson::Decimal128(decimal) => plain("Decimal128", decimal),
        Bson::Null => "BsonNull".to_owned(),
        Bson::MinKey => "BsonMinKey".to_owned(),
        Bson::MaxKey => "BsonMaxKey".to_owned(),
        Bson::Undefined => "BsonUndefined{}".to_owned(),
        Bson::RegularExpression(regex) => {
            format!(
                "BsonRegularExpression{{pattern='{}', options='{}'}}",
                regex.pattern, regex.options
            )
        }
        Bson::Timestamp(timestamp) => format!(
            "Timestamp{{value={}, seconds={}, inc={}}}",
            (u64::from(timestamp.time) << 32 | u64::from(timestamp.increment)).cast_signed(),
            timestamp.time.cast_signed(),
            timestamp.increment.cast_signed()
        ),
        Bson::Binary(binary) => format!(
            "BsonBinary{{type={}, data={:?}}}",
            u8::from(binary.subtype),
            binary.bytes
        ),
        Bson::JavaScriptCode(code) => format!("BsonJavaScript{{code='{code}'}}"),
        Bson::JavaScriptCodeWithScope(code) => format!(
            "BsonJavaScriptWithScope{{code={}, scope={}}}",
            code.code,
            document_text(&code.scope, JsonMode::Relaxed)
        ),
        Bson::DbPointer(_) => document_text(&bson::doc! { "v": value.clone() }, JsonMode::Relaxed),
    }
}

/// Returns the name of the type of `value` in the Java driver.
pub(super) fn type_name(value: &Bson) -> &'static str {
    match value.element_type() {
        ElementType::Double => "DOUBLE",
        ElementType::String => "STRING",
        ElementType::EmbeddedDocument => "DOCUMENT",
        ElementType::Array => "ARRAY",
        ElementType::Binary => "BINARY",
        ElementType::Undefined => "UNDEFINED",
        ElementType::ObjectId => "OBJECT_ID",
        ElementType::Boolean => "BOOLEAN",
        ElementType::DateTime => "DATE_TIME",
        ElementType::Null => "NULL",
        ElementType::RegularExpression => "REGULAR_EXPRESSION",
        ElementType::DbPointer => "DB_POINTER",
        ElementType::JavaScriptCode => "JAVASCRIPT",
        ElementType::Symbol => "SYMBOL",
        ElementType::JavaScriptCodeWithScope => "JAVASCRIPT_WITH_SCOPE",
        ElementType::Int32 => "INT32",
        ElementType::Timestamp => "TIMESTAMP",
        ElementType::Int64 => "INT64",
        ElementType::Decimal128 => "DECIMAL128",
        ElementType::MinKey => "MIN_KEY",
        ElementType::MaxKey => "MAX_KEY",
    }
}

/// Returns what the driver says where it wants another type than that of `value`.
pub(super) fn unexpected_type(wanted: &str, value: &Bson) -> String {
    format!(
        "Value expected to be of type {wanted} is of unexpected type {}",
        type_name(value)
    )
}
