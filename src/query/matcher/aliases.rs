//! What `$type` names: types by number, by name, and all numbers at once.
//!
//! Source: MongoDB manual, "BSON Types".

use bson::spec::ElementType;

use crate::query::matcher::leaf::Types;
use crate::query::matcher::parse::{array, integer};
use crate::query::value::Value;

/// Reads the operand of `$type`: one type, or a list of them.
pub(super) fn types(operand: Value<'_>) -> Option<Types> {
    let mut types = Types::default();
    match array(operand) {
        None => add_type(operand, &mut types)?,
        Some(array) => {
            for (_, value) in array.elements() {
                add_type(value, &mut types)?;
            }
            array.elements().next()?;
        }
    }
    Some(types)
}

fn add_type(operand: Value<'_>, types: &mut Types) -> Option<()> {
    use ElementType as T;
    let kind = match (operand.as_str(), integer(operand)) {
        (Some("number"), _) => {
            for kind in [T::Int32, T::Int64, T::Double, T::Decimal128] {
                types.insert(kind);
            }
            return Some(());
        }
        (Some(alias), _) => TYPE_ALIASES.iter().find(|(_, name)| *name == alias)?.0,
        (None, Some(-1)) => T::MinKey,
        (None, Some(code @ 1..=127)) => T::from(u8::try_from(code).ok()?)?,
        (None, _) => return None,
    };
    types.insert(kind);
    Some(())
}

const TYPE_ALIASES: [(ElementType, &str); 21] = [
    (ElementType::Double, "double"),
    (ElementType::String, "string"),
    (ElementType::EmbeddedDocument, "object"),
    (ElementType::Array, "array"),
    (ElementType::Binary, "binData"),
    (ElementType::Undefined, "undefined"),
    (ElementType::ObjectId, "objectId"),
    (ElementType::Boolean, "bool"),
    (ElementType::DateTime, "date"),
    (ElementType::Null, "null"),
    (ElementType::RegularExpression, "regex"),
    (ElementType::DbPointer, "dbPointer"),
    (ElementType::JavaScriptCode, "javascript"),
    (ElementType::Symbol, "symbol"),
    (ElementType::JavaScriptCodeWithScope, "javascriptWithScope"),
    (ElementType::Int32, "int"),
    (ElementType::Timestamp, "timestamp"),
    (ElementType::Int64, "long"),
    (ElementType::Decimal128, "decimal"),
    (ElementType::MinKey, "minKey"),
    (ElementType::MaxKey, "maxKey"),
];
