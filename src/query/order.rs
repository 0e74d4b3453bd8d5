//! How the server orders BSON values.
//!
//! Values fall into brackets by *canonical type* (all numbers are one, strings and symbols are one); inside a bracket
//! they compare by value. [`compare`] is the order used inside documents and arrays and for `$in`; what a filter's
//! operators make of it at the top (null and missing, MinKey, NaN) is in `matcher::leaf`.
//!
//! Source: MongoDB 6.0, measured by the differential test `tests/it/query.rs`.

use std::cmp::Ordering;

use bson::spec::ElementType;

use crate::query::order::number::Number;
use crate::query::value::{Doc, Value};

pub(crate) mod decimal;
pub(crate) mod key;
pub(crate) mod number;

/// The bracket of a type; their order is the order of values across types.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Bracket {
    MinKey,
    Undefined,
    Null,
    Number,
    String,
    Object,
    Array,
    Binary,
    ObjectId,
    Boolean,
    Date,
    Timestamp,
    Regex,
    DbPointer,
    Code,
    ScopedCode,
    MaxKey,
}

impl Bracket {
    pub(crate) fn of(kind: ElementType) -> Self {
        use ElementType as T;
        match kind {
            T::MinKey => Self::MinKey,
            T::Undefined => Self::Undefined,
            T::Null => Self::Null,
            T::Double | T::Int32 | T::Int64 | T::Decimal128 => Self::Number,
            T::String | T::Symbol => Self::String,
            T::EmbeddedDocument => Self::Object,
            T::Array => Self::Array,
            T::Binary => Self::Binary,
            T::ObjectId => Self::ObjectId,
            T::Boolean => Self::Boolean,
            T::DateTime => Self::Date,
            T::Timestamp => Self::Timestamp,
            T::RegularExpression => Self::Regex,
            T::DbPointer => Self::DbPointer,
            T::JavaScriptCode => Self::Code,
            T::JavaScriptCodeWithScope => Self::ScopedCode,
            T::MaxKey => Self::MaxKey,
        }
    }
}

/// Compares two values across all types, as inside documents.
///
/// The depth of the recursion is that of the shallower value, which for a filter's operand is bounded.
pub(crate) fn compare(left: Value<'_>, right: Value<'_>) -> Ordering {
    ordered::<false>(left, right)
}

/// As [`compare`], but as aggregation expressions do, which look at the length of a DBPointer's name only.
pub(crate) fn compare_in_expression(left: Value<'_>, right: Value<'_>) -> Ordering {
    ordered::<true>(left, right)
}

fn ordered<'a, const EXPRESSION: bool>(left: Value<'a>, right: Value<'a>) -> Ordering {
    let bracket = Bracket::of(left.kind);
    bracket
        .cmp(&Bracket::of(right.kind))
        .then_with(|| compare_within::<EXPRESSION>(bracket, left, right))
}

fn compare_within<'a, const EXPRESSION: bool>(
    bracket: Bracket,
    left: Value<'a>,
    right: Value<'a>,
) -> Ordering {
    match bracket {
        Bracket::MinKey | Bracket::Undefined | Bracket::Null | Bracket::MaxKey => Ordering::Equal,
        Bracket::Number => match (Number::of(left), Number::of(right)) {
            (Some(left), Some(right)) => left.compare(right),
            _ => Ordering::Equal,
        },
        Bracket::String | Bracket::Code => left.text().cmp(right.text()),
        Bracket::Object | Bracket::Array => {
            ordered_documents::<EXPRESSION>(Doc::new(left.bytes()), Doc::new(right.bytes()))
        }
        Bracket::Binary => compare_binary(left, right),
        Bracket::ObjectId | Bracket::Boolean => left.bytes().cmp(right.bytes()),
        Bracket::Date => (left.word() as i64).cmp(&(right.word() as i64)),
        Bracket::Timestamp => left.word().cmp(&right.word()),
        Bracket::Regex => left.regex().cmp(&right.regex()),
        Bracket::DbPointer => {
            let by_len = left.bytes().len().cmp(&right.bytes().len());
            let compared = |value: Value<'a>| match EXPRESSION {
                true => value
                    .bytes()
                    .last_chunk::<12>()
                    .map_or(value.bytes(), |id| &id[..]),
                false => value.bytes(),
            };
            by_len.then_with(|| compared(left).cmp(compared(right)))
        }
        Bracket::ScopedCode => {
            let (left_code, left_scope) = left.scoped_code();
            let (right_code, right_scope) = right.scoped_code();
            left_code
                .cmp(right_code)
                .then_with(|| ordered_documents::<EXPRESSION>(left_scope, right_scope))
        }
    }
}

/// Length first, then subtype, then content.
fn compare_binary(left: Value<'_>, right: Value<'_>) -> Ordering {
    let by_len = left.bytes().len().cmp(&right.bytes().len());
    by_len.then_with(|| left.binary().cmp(&right.binary()))
}

/// Field by field in stored order: bracket, then name, then value; the one that ends first is less.
fn ordered_documents<const EXPRESSION: bool>(left: Doc<'_>, right: Doc<'_>) -> Ordering {
    let mut right = right.elements();
    for (left_name, left_value) in left.elements() {
        let Some((right_name, right_value)) = right.next() else {
            return Ordering::Greater;
        };
        let order = Bracket::of(left_value.kind)
            .cmp(&Bracket::of(right_value.kind))
            .then_with(|| left_name.cmp(right_name))
            .then_with(|| ordered::<EXPRESSION>(left_value, right_value));
        if order != Ordering::Equal {
            return order;
        }
    }
    match right.next() {
        Some(_) => Ordering::Less,
        None => Ordering::Equal,
    }
}
