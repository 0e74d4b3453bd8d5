//! Numbers with their types, since the type of a result is that of its operands.

use bson::spec::ElementType;

use crate::query::expression::decimal;
use crate::query::expression::{Computed, Failure};
use crate::query::order::decimal::Decimal;
use crate::query::order::number::Number;
use crate::query::value::Value;

/// A number of one of the four types.
#[derive(Clone, Copy, Debug)]
pub(super) enum Numeric {
    Int(i32),
    Long(i64),
    Double(f64),
    Decimal(Decimal),
}

/// The types from narrow to wide: two operands meet in the wider.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Width {
    Int,
    Long,
    Double,
    Decimal,
}

impl Numeric {
    pub(super) fn of(value: Value<'_>) -> Option<Self> {
        Some(match value.kind {
            ElementType::Int32 => Self::Int(value.half_word()),
            ElementType::Int64 => Self::Long(value.word() as i64),
            ElementType::Double => Self::Double(f64::from_bits(value.word())),
            ElementType::Decimal128 => Self::Decimal(Decimal::from_bytes(value.bytes())),
            _ => return None,
        })
    }

    pub(super) fn width(self) -> Width {
        match self {
            Self::Int(_) => Width::Int,
            Self::Long(_) => Width::Long,
            Self::Double(_) => Width::Double,
            Self::Decimal(_) => Width::Decimal,
        }
    }

    pub(super) fn computed<'d>(self) -> Computed<'d> {
        match self {
            Self::Int(integer) => Computed::int(integer),
            Self::Long(integer) => Computed::long(integer),
            Self::Double(double) => Computed::double(double),
            Self::Decimal(decimal) => {
                Computed::made(ElementType::Decimal128, &decimal::to_bytes(decimal))
            }
        }
    }

    pub(super) fn number(self) -> Number {
        match self {
            Self::Int(integer) => Number::Integer(i64::from(integer)),
            Self::Long(integer) => Number::Integer(integer),
            Self::Double(double) => Number::Double(double),
            Self::Decimal(decimal) => Number::Decimal(decimal),
        }
    }

    /// Returns the nearest double.
    pub(super) fn to_double(self) -> f64 {
        match self {
            Self::Int(integer) => f64::from(integer),
            Self::Long(integer) => integer as f64,
            Self::Double(double) => double,
            Self::Decimal(decimal) => decimal.nearest_double(),
        }
    }

    /// Returns it as a decimal; of a double, its first 15 digits.
    pub(super) fn to_decimal(self) -> Decimal {
        match self {
            Self::Int(integer) => Decimal::from_integer(i64::from(integer)),
            Self::Long(integer) => Decimal::from_integer(integer),
            Self::Double(double) => decimal::from_double(double),
            Self::Decimal(decimal) => decimal,
        }
    }

    /// Returns it as an integer, if one can hold it: a double cut, a decimal rounded.
    pub(super) fn to_long(self) -> Option<i64> {
        match self {
            Self::Int(integer) => Some(i64::from(integer)),
            Self::Long(integer) => Some(integer),
            Self::Double(double) => Number::Double(double).truncated(),
            Self::Decimal(decimal) => Some(decimal.rounded().unwrap_or(i64::MIN)),
        }
    }

    /// Returns it as a whole number, if it is one that 64 bits hold.
    pub(super) fn whole(self) -> Option<i64> {
        let number = self.number();
        let whole = number.truncated()?;
        number
            .compare(Number::Integer(whole))
            .is_eq()
            .then_some(whole)
    }

    /// Returns it as a whole number, if it is one that 32 bits hold.
    pub(super) fn whole_int(self) -> Option<i32> {
        i32::try_from(self.whole()?).ok()
    }

    pub(super) fn is_zero(self) -> bool {
        match self {
            Self::Int(integer) => integer == 0,
            Self::Long(integer) => integer == 0,
            Self::Double(double) => double == 0.0,
            Self::Decimal(decimal) => decimal::is_zero(decimal),
        }
    }
}

/// Makes the narrowest integer, as results of int32 are.
pub(super) fn int_or_long<'d>(integer: i64) -> Computed<'d> {
    match i32::try_from(integer) {
        Ok(int) => Computed::int(int),
        Err(_) => Computed::long(integer),
    }
}

/// Returns the name of a type as `$type` and messages have it; `None` is a missing value.
pub(super) fn type_name(kind: Option<ElementType>) -> &'static str {
    use ElementType as T;
    match kind {
        None => "missing",
        Some(T::MinKey) => "minKey",
        Some(T::Double) => "double",
        Some(T::String) => "string",
        Some(T::EmbeddedDocument) => "object",
        Some(T::Array) => "array",
        Some(T::Binary) => "binData",
        Some(T::Undefined) => "undefined",
        Some(T::ObjectId) => "objectId",
        Some(T::Boolean) => "bool",
        Some(T::DateTime) => "date",
        Some(T::Null) => "null",
        Some(T::RegularExpression) => "regex",
        Some(T::DbPointer) => "dbPointer",
        Some(T::JavaScriptCode) => "javascript",
        Some(T::Symbol) => "symbol",
        Some(T::JavaScriptCodeWithScope) => "javascriptWithScope",
        Some(T::Int32) => "int",
        Some(T::Timestamp) => "timestamp",
        Some(T::Int64) => "long",
        Some(T::Decimal128) => "decimal",
        Some(T::MaxKey) => "maxKey",
    }
}

/// Makes the failure of an operator that got a value of the wrong type.
pub(super) fn wrong_type(code: i32, operator: &str, value: Option<&Computed<'_>>) -> Failure {
    let name = type_name(value.map(Computed::kind));
    Failure::new(code, format!("{operator} of a value of type {name}"))
}
