//! MongoDB's order of values, as far as priorities and ids need it.

use std::cmp::Ordering;

use bson::Bson;

/// Compares as MongoDB sorts: by type first, numbers among each other by value.
///
/// NOTE: decimals and int64 beyond 2^53 compare as doubles, types that nobody uses for an id or a priority all alike.
pub(super) fn compare(one: &Bson, two: &Bson) -> Ordering {
    rank(one).cmp(&rank(two)).then_with(|| within(one, two))
}

fn within(one: &Bson, two: &Bson) -> Ordering {
    match (one, two) {
        (Bson::Int32(_) | Bson::Int64(_), Bson::Int32(_) | Bson::Int64(_)) => {
            integer(one).cmp(&integer(two))
        }
        (Bson::String(one), Bson::String(two)) => one.as_bytes().cmp(two.as_bytes()),
        (Bson::ObjectId(one), Bson::ObjectId(two)) => one.bytes().cmp(&two.bytes()),
        (Bson::Boolean(one), Bson::Boolean(two)) => one.cmp(two),
        (Bson::DateTime(one), Bson::DateTime(two)) => {
            one.timestamp_millis().cmp(&two.timestamp_millis())
        }
        (Bson::Document(one), Bson::Document(two)) => {
            let pairs = one
                .iter()
                .zip(two.iter())
                .map(|((name, value), (other_name, other))| {
                    rank(value)
                        .cmp(&rank(other))
                        .then_with(|| name.cmp(other_name))
                        .then_with(|| within(value, other))
                });
            pairs
                .fold(Ordering::Equal, Ordering::then)
                .then_with(|| one.len().cmp(&two.len()))
        }
        (Bson::Array(one), Bson::Array(two)) => {
            let pairs = one
                .iter()
                .zip(two.iter())
                .map(|(one, two)| compare(one, two));
            pairs
                .fold(Ordering::Equal, Ordering::then)
                .then_with(|| one.len().cmp(&two.len()))
        }
        _ if rank(one) == NUMBERS => number(one).total_cmp(&number(two)),
        _ => Ordering::Equal,
    }
}

fn integer(value: &Bson) -> i64 {
    match value {
        Bson::Int32(value) => i64::from(*value),
        Bson::Int64(value) => *value,
        _ => 0,
    }
}

#[allow(clippy::cast_precision_loss, reason = "said in the NOTE above")]
fn number(value: &Bson) -> f64 {
    match value {
        Bson::Double(value) => *value,
        Bson::Decimal128(value) => value.to_string().parse().unwrap_or(f64::NAN),
        other => integer(other) as f64,
    }
}

fn rank(value: &Bson) -> u8 {
    match value {
        Bson::MinKey => 0,
        Bson::Undefined | Bson::Null => 1,
        Bson::Int32(_) | Bson::Int64(_) | Bson::Double(_) | Bson::Decimal128(_) => NUMBERS,
        Bson::String(_) | Bson::Symbol(_) => 3,
        Bson::Document(_) => 4,
        Bson::Array(_) => 5,
        Bson::Binary(_) => 6,
        Bson::ObjectId(_) => 7,
        Bson::Boolean(_) => 8,
        Bson::DateTime(_) => 9,
        Bson::Timestamp(_) => 10,
        Bson::RegularExpression(_) => 11,
        Bson::DbPointer(_) | Bson::JavaScriptCode(_) | Bson::JavaScriptCodeWithScope(_) => 12,
        Bson::MaxKey => 13,
    }
}

const NUMBERS: u8 = 2;
