//! Numbers of four types on one line.
//!
//! Every pair compares by exact value, without rounding either: no decimal equals the double `0.1`, and
//! `9007199254740993` is more than the double next to it.

use std::cmp::Ordering;

use bson::spec::ElementType;

use crate::query::order::decimal::Decimal;
use crate::query::value::Value;

/// A BSON number.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Number {
    Integer(i64),
    Double(f64),
    Decimal(Decimal),
}

impl Number {
    pub(crate) fn of(value: Value<'_>) -> Option<Self> {
        Some(match value.kind {
            ElementType::Int32 => Self::Integer(i64::from(value.half_word())),
            ElementType::Int64 => Self::Integer(value.word() as i64),
            ElementType::Double => Self::Double(f64::from_bits(value.word())),
            ElementType::Decimal128 => Self::Decimal(Decimal::from_bytes(value.bytes())),
            _ => return None,
        })
    }

    pub(crate) fn is_nan(self) -> bool {
        match self {
            Self::Integer(_) => false,
            Self::Double(double) => double.is_nan(),
            Self::Decimal(decimal) => matches!(decimal, Decimal::Nan),
        }
    }

    /// Compares as the server orders numbers: NaN equals NaN and is below all others, `-0` equals `0`.
    pub(crate) fn compare(self, other: Self) -> Ordering {
        match (self, other) {
            (Self::Integer(left), Self::Integer(right)) => left.cmp(&right),
            (Self::Double(left), Self::Double(right)) => compare_doubles(left, right),
            (Self::Integer(left), Self::Double(right)) => compare_mixed(left, right),
            (Self::Double(left), Self::Integer(right)) => compare_mixed(right, left).reverse(),
            (Self::Decimal(left), Self::Decimal(right)) => left.compare(right),
            (Self::Decimal(left), Self::Double(right)) => left.compare_double(right),
            (Self::Double(left), Self::Decimal(right)) => right.compare_double(left).reverse(),
            (Self::Decimal(left), Self::Integer(right)) => {
                left.compare(Decimal::from_integer(right))
            }
            (Self::Integer(left), Self::Decimal(right)) => {
                Decimal::from_integer(left).compare(right)
            }
        }
    }

    /// Returns the value cut towards zero, where it is finite and an `i64` can hold it.
    pub(crate) fn truncated(self) -> Option<i64> {
        match self {
            Self::Integer(integer) => Some(integer),
            Self::Double(double) => {
                let in_range = (-TWO_POW_63..TWO_POW_63).contains(&double);
                in_range.then_some(double.trunc() as i64)
            }
            Self::Decimal(decimal) => decimal.truncated(),
        }
    }

    /// Returns a double that is the same for all numbers which compare equal, whatever their types.
    ///
    /// Necessary only: different numbers may share it. Sound because the nearest double is a function of the
    /// exact value.
    pub(crate) fn nearest_double(self) -> f64 {
        let double = match self {
            Self::Integer(integer) => integer as f64,
            Self::Double(double) => double,
            Self::Decimal(decimal) => decimal.nearest_double(),
        };
        match double {
            double if double.is_nan() => f64::NAN,
            0.0 => 0.0,
            double => double,
        }
    }
}

fn compare_doubles(left: f64, right: f64) -> Ordering {
    left.partial_cmp(&right)
        .unwrap_or_else(|| right.is_nan().cmp(&left.is_nan()))
}

fn compare_mixed(integer: i64, double: f64) -> Ordering {
    if double.is_nan() {
        return Ordering::Greater;
    }
    if double >= TWO_POW_63 {
        return Ordering::Less;
    }
    if double < -TWO_POW_63 {
        return Ordering::Greater;
    }
    // In range, so the whole part is exact as an integer; an equal whole part leaves the fraction to decide.
    let whole = double.trunc();
    integer
        .cmp(&(whole as i64))
        .then_with(|| compare_doubles(whole, double))
}

/// One more than `i64::MAX`, exactly.
const TWO_POW_63: f64 = 9_223_372_036_854_775_808.0;
