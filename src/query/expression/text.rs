//! Values as text, as the server writes them.

use bson::spec::ElementType;

use crate::query::expression::calendar::{self, Moment};
use crate::query::expression::decimal;
use crate::query::expression::numeric::{Numeric, wrong_type};
use crate::query::expression::{Computed, Failure};

/// Writes whatever the operators on strings take for one; null and missing are empty.
///
/// NOTE: a timestamp is written in the server's local time; here it is UTC, which is what servers have set.
pub(super) fn coerce(value: Option<&Computed<'_>>) -> Result<Vec<u8>, Failure> {
    use ElementType as T;
    let Some(value) = value.filter(|value| !value.is_nullish()) else {
        return Ok(Vec::new());
    };
    match value.kind() {
        T::String | T::Symbol | T::JavaScriptCode => Ok(value.value().text().to_vec()),
        T::DateTime => iso(value.value().word() as i64).map(String::into_bytes),
        T::Timestamp => Ok(timestamp(value.value().word()).into_bytes()),
        _ => match Numeric::of(value.value()) {
            // Here the sign of a NaN shows, in `$toString` it does not.
            Some(Numeric::Double(nan)) if nan.is_nan() => {
                let text: &[u8] = if nan.is_sign_negative() {
                    b"-nan"
                } else {
                    b"nan"
                };
                Ok(text.to_vec())
            }
            Some(Numeric::Double(infinite)) if infinite.is_infinite() => {
                let text: &[u8] = if infinite < 0.0 { b"-inf" } else { b"inf" };
                Ok(text.to_vec())
            }
            Some(number) => Ok(self::number(number).into_bytes()),
            None => Err(wrong_type(16007, "a text made", Some(value))),
        },
    }
}

/// Writes a number as `$toString` does: of a double, six digits.
pub(super) fn number(number: Numeric) -> String {
    match number {
        Numeric::Int(integer) => integer.to_string(),
        Numeric::Long(integer) => integer.to_string(),
        Numeric::Double(double) => self::double(double),
        Numeric::Decimal(decimal) => decimal::to_text(decimal),
    }
}

/// C's `%g`.
fn double(double: f64) -> String {
    if double.is_nan() {
        return "NaN".to_owned();
    }
    if double.is_infinite() {
        let text = if double < 0.0 {
            "-Infinity"
        } else {
            "Infinity"
        };
        return text.to_owned();
    }
    let scientific = format!("{double:.5e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or_default();
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let trimmed = |text: &str| match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text.to_owned(),
    };
    if !(-4..6).contains(&exponent) {
        let sign = if exponent < 0 { '-' } else { '+' };
        let size = exponent.abs();
        return format!("{}e{sign}{size:02}", trimmed(digits));
    }
    let places = (5 - exponent).max(0) as usize;
    trimmed(&format!("{double:.places$}"))
}

/// Writes a date as `2020-01-31T12:00:00.000Z`.
///
/// # Errors
/// For a year that has not four digits.
pub(super) fn iso(millis: i64) -> Result<String, Failure> {
    let moment = Moment::of(millis);
    if !(0..=9999).contains(&moment.year) {
        return Err(Failure::new(18537, "a date of the year as a text"));
    }
    Ok(format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z",
        moment.year,
        moment.month,
        moment.day,
        moment.hour,
        moment.minute,
        moment.second,
        moment.millisecond
    ))
}

fn timestamp(word: u64) -> String {
    let (seconds, increment) = (word >> 32, word as u32);
    let moment = Moment::of(seconds as i64 * 1000);
    let month = calendar::MONTHS[moment.month as usize - 1];
    format!(
        "{month} {:2} {:02}:{:02}:{:02}:{increment}",
        moment.day, moment.hour, moment.minute, moment.second
    )
}
