//! `$convert` and its short forms. A conversion to a date is not here: the server reads dates in more ways than can be told.

use bson::spec::ElementType;

use crate::query::expression::decimal::{self, Rounding};
use crate::query::expression::node::{Node, is_true};
use crate::query::expression::number_text;
use crate::query::expression::numeric::{Numeric, type_name};
use crate::query::expression::{Computed, Failure, Outcome, Scope, text};
use crate::query::order::decimal::Decimal;
use crate::query::order::number::Number;

/// `[input, type, on error, on null]`; the type is a constant.
pub(super) fn convert<'d>(arguments: &'d [Node], scope: &mut Scope<'d>) -> Outcome<'d> {
    let [input, target, on_error, on_null] = arguments else {
        return Ok(None);
    };
    let input = input.evaluate(scope)?;
    let Some(input) = input.filter(|input| !input.is_nullish()) else {
        return match on_null {
            Node::Absent => Ok(Some(Computed::null())),
            on_null => on_null.evaluate(scope),
        };
    };
    let code = target
        .constant()
        .flatten()
        .map_or(0, |value| value.half_word());
    let target = u8::try_from(code).ok().and_then(ElementType::from);
    match (
        target.and_then(|target| converted(&input, target)),
        on_error,
    ) {
        (Some(value), _) => Ok(Some(value)),
        (None, Node::Absent) => {
            let (from, to) = (type_name(Some(input.kind())), type_name(target));
            Err(Failure::new(241, format!("conversion from {from} to {to}")))
        }
        (None, on_error) => on_error.evaluate(scope),
    }
}

/// Converts, if the server does.
fn converted<'d>(input: &Computed<'d>, target: ElementType) -> Option<Computed<'d>> {
    use ElementType as T;
    if input.kind() == target {
        return Some(input.clone());
    }
    if target == T::Boolean {
        let is_true = is_true(Some(input)) || Numeric::of(input.value()).is_some_and(is_nan);
        return Some(Computed::boolean(is_true));
    }
    if let Some(number) = Numeric::of(input.value()) {
        return from_number(number, target);
    }
    match (input.kind(), target) {
        (T::Boolean, T::String) => {
            let text: &[u8] = if is_true(Some(input)) {
                b"true"
            } else {
                b"false"
            };
            Some(Computed::string(text))
        }
        (T::Boolean, _) => from_number(Numeric::Int(i32::from(is_true(Some(input)))), target),
        (T::DateTime, T::String) => {
            let text = text::iso(input.value().word() as i64).ok()?;
            Some(Computed::string(text.as_bytes()))
        }
        (T::DateTime, T::Double | T::Int64 | T::Decimal128) => {
            from_number(Numeric::Long(input.value().word() as i64), target)
        }
        (T::ObjectId, T::String) => {
            let text: String = input
                .value()
                .bytes()
                .iter()
                .map(|b| format!("{b:02x}"))
                .collect();
            Some(Computed::string(text.as_bytes()))
        }
        (T::String, _) => from_string(input.value().text(), target),
        _ => None,
    }
}

fn is_nan(number: Numeric) -> bool {
    number.number().is_nan()
}

fn from_number<'d>(number: Numeric, target: ElementType) -> Option<Computed<'d>> {
    Some(match target {
        ElementType::Double => Computed::double(to_double(number)?),
        ElementType::Decimal128 => Numeric::Decimal(number.to_decimal()).computed(),
        ElementType::String => Computed::string(text::number(number).as_bytes()),
        ElementType::Int32 => Computed::int(to_int(number)?),
        ElementType::Int64 => Computed::long(to_long(number)?),
        _ => return None,
    })
}

/// Refuses a decimal beyond what doubles are.
fn to_double(number: Numeric) -> Option<f64> {
    let double = number.to_double();
    let Numeric::Decimal(decimal) = number else {
        return Some(double);
    };
    let fits = match decimal {
        Decimal::Finite { coefficient, .. } => {
            coefficient == 0 || (double.is_finite() && double.abs() >= f64::MIN_POSITIVE)
        }
        Decimal::Nan | Decimal::Infinite { .. } => true,
    };
    fits.then_some(double)
}

fn to_long(number: Numeric) -> Option<i64> {
    match number {
        Numeric::Int(integer) => Some(i64::from(integer)),
        Numeric::Long(integer) => Some(integer),
        Numeric::Double(double) => Number::Double(double).truncated(),
        Numeric::Decimal(decimal) => decimal::to_whole(decimal, Rounding::TowardsZero).truncated(),
    }
}

/// A double must lie between the bounds before it is cut, a decimal only then.
fn to_int(number: Numeric) -> Option<i32> {
    match number {
        Numeric::Double(double) => {
            let range = f64::from(i32::MIN)..=f64::from(i32::MAX);
            range.contains(&double).then_some(double as i32)
        }
        other => i32::try_from(to_long(other)?).ok(),
    }
}

fn from_string<'d>(text: &[u8], target: ElementType) -> Option<Computed<'d>> {
    Some(match target {
        ElementType::Int32 => Computed::int(number_text::integer(text)?),
        ElementType::Int64 => Computed::long(number_text::integer(text)?),
        ElementType::Double => Computed::double(number_text::double(text)?),
        ElementType::Decimal128 => Numeric::Decimal(number_text::decimal(text)?).computed(),
        ElementType::ObjectId => Computed::made(ElementType::ObjectId, &object_id(text)?),
        _ => return None,
    })
}

fn object_id(text: &[u8]) -> Option<[u8; 12]> {
    let digits = std::str::from_utf8(text)
        .ok()
        .filter(|text| text.len() == 24)?;
    let mut bytes = [0; 12];
    for (byte, pair) in bytes.iter_mut().zip(digits.as_bytes().chunks_exact(2)) {
        let digit = |digit: u8| char::from(digit).to_digit(16);
        *byte = (digit(pair[0])? * 16 + digit(pair[1])?) as u8;
    }
    Some(bytes)
}
