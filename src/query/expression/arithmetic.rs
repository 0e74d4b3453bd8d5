//! `$add`, `$subtract` and their like, with the server's rules for types.
//!
//! Two numbers meet in the wider of their types. Integers that overflow become wider: int32 an int64, int64 a double.

use bson::spec::ElementType;

use crate::query::expression::compensated::Compensated;
use crate::query::expression::decimal::{self, Rounding};
use crate::query::expression::node::{Node, given};
use crate::query::expression::numeric::{Numeric, Width, int_or_long, wrong_type};
use crate::query::expression::{Computed, Failure, Outcome, Scope};
use crate::query::order::decimal::Decimal;
use crate::query::order::number::Number;

fn date_overflow() -> Failure {
    Failure::new(15, "a sum beyond what a date can be")
}

pub(super) fn add<'d>(arguments: &'d [Node], scope: &mut Scope<'d>) -> Outcome<'d> {
    let (mut width, mut is_date) = (Width::Int, false);
    let (mut doubles, mut decimals) = (Compensated::default(), Decimal::from_integer(0));
    for argument in arguments {
        let Some(value) = given(argument, scope)? else {
            return Ok(Some(Computed::null()));
        };
        if value.kind() == ElementType::DateTime {
            if is_date {
                return Err(Failure::new(16612, "$add of two dates"));
            }
            is_date = true;
            doubles.add_long(value.value().word() as i64);
            continue;
        }
        let number =
            Numeric::of(value.value()).ok_or_else(|| wrong_type(16554, "$add", Some(&value)))?;
        width = width.max(number.width());
        match number {
            Numeric::Int(integer) => doubles.add(f64::from(integer)),
            Numeric::Long(integer) => doubles.add_long(integer),
            Numeric::Double(double) => doubles.add(double),
            Numeric::Decimal(decimal) => decimals = decimal::add(decimals, decimal),
        }
    }
    let decimal = || decimal::add(decimals, doubles.decimal());
    Ok(Some(match (width, doubles.long()) {
        (Width::Decimal, _) if is_date => Computed::date(decimal().rounded().unwrap_or(i64::MIN)),
        (_, long) if is_date => Computed::date(long.ok_or_else(date_overflow)?),
        (Width::Decimal, _) => Numeric::Decimal(decimal()).computed(),
        (Width::Int, Some(integer)) => int_or_long(integer),
        (Width::Long, Some(integer)) => Computed::long(integer),
        (Width::Int | Width::Long | Width::Double, _) => Computed::double(doubles.double()),
    }))
}

/// The product is kept as a double from the beginning, and as an integer as long as it is one.
pub(super) fn multiply<'d>(arguments: &'d [Node], scope: &mut Scope<'d>) -> Outcome<'d> {
    let (mut width, mut double, mut long) = (Width::Int, 1.0, 1_i64);
    let mut decimal = Decimal::from_integer(1);
    for argument in arguments {
        let Some(value) = given(argument, scope)? else {
            return Ok(Some(Computed::null()));
        };
        let number =
            Numeric::of(value.value()).ok_or_else(|| wrong_type(14, "$multiply", Some(&value)))?;
        let before = width;
        width = width.max(number.width());
        if width == Width::Decimal {
            decimal = match before {
                Width::Decimal => decimal,
                Width::Double => decimal::from_double(double),
                Width::Int | Width::Long => Decimal::from_integer(long),
            };
            decimal = decimal::multiply(decimal, number.to_decimal());
            continue;
        }
        double *= number.to_double();
        if width != Width::Double {
            match long.checked_mul(number.to_long().unwrap_or(0)) {
                Some(product) => long = product,
                None => width = Width::Double,
            }
        }
    }
    Ok(Some(match width {
        Width::Int => int_or_long(long),
        Width::Long => Computed::long(long),
        Width::Double => Computed::double(double),
        Width::Decimal => Numeric::Decimal(decimal).computed(),
    }))
}

pub(super) fn subtract<'d>(arguments: &'d [Node], scope: &mut Scope<'d>) -> Outcome<'d> {
    let [left, right] = arguments else {
        return Ok(None);
    };
    let (left, right) = (given(left, scope)?, given(right, scope)?);
    let (Some(left), Some(right)) = (left, right) else {
        return Ok(Some(Computed::null()));
    };
    let numbers = (Numeric::of(left.value()), Numeric::of(right.value()));
    let width = match numbers {
        (Some(a), Some(b)) => a.width().max(b.width()),
        _ => Width::Int,
    };
    let result = match numbers {
        (Some(a), Some(b)) => match width {
            Width::Int | Width::Long => {
                let (a, b) = (a.to_long().unwrap_or(0), b.to_long().unwrap_or(0));
                match (a.checked_sub(b), width) {
                    (Some(difference), Width::Int) => int_or_long(difference),
                    (Some(difference), _) => Computed::long(difference),
                    (None, _) => Computed::double(a as f64 - b as f64),
                }
            }
            Width::Double => Computed::double(a.to_double() - b.to_double()),
            Width::Decimal => {
                Numeric::Decimal(decimal::subtract(a.to_decimal(), b.to_decimal())).computed()
            }
        },
        (None, by) if left.kind() == ElementType::DateTime => {
            let millis = left.value().word() as i64;
            let is_date = right.kind() == ElementType::DateTime;
            match by {
                Some(number) => {
                    let by = match number {
                        // The least integer stands for what does not fit, and cannot be taken away.
                        Numeric::Decimal(decimal) => decimal.rounded(),
                        number => number.to_long(),
                    };
                    let negative = by.and_then(i64::checked_neg);
                    let sum = negative.and_then(|negative| millis.checked_add(negative));
                    Computed::date(sum.ok_or_else(date_overflow)?)
                }
                None if is_date => Computed::long(millis.wrapping_sub(right.value().word() as i64)),
                None => return Err(wrong_type(14, "$subtract from a date", Some(&right))),
            }
        }
        _ => return Err(wrong_type(14, "$subtract", Some(&left))),
    };
    Ok(Some(result))
}

/// Evaluates two numbers; `None` where one of them is null or missing.
fn two_numbers<'d>(
    arguments: &'d [Node],
    scope: &mut Scope<'d>,
    code: i32,
    operator: &str,
) -> Result<Option<(Numeric, Numeric)>, Failure> {
    let [left, right] = arguments else {
        return Ok(None);
    };
    let (left, right) = (given(left, scope)?, given(right, scope)?);
    let (Some(left), Some(right)) = (left, right) else {
        return Ok(None);
    };
    match (Numeric::of(left.value()), Numeric::of(right.value())) {
        (Some(left), Some(right)) => Ok(Some((left, right))),
        (None, _) => Err(wrong_type(code, operator, Some(&left))),
        (_, None) => Err(wrong_type(code, operator, Some(&right))),
    }
}

pub(super) fn divide<'d>(arguments: &'d [Node], scope: &mut Scope<'d>) -> Outcome<'d> {
    let Some((left, right)) = two_numbers(arguments, scope, 14, "$divide")? else {
        return Ok(Some(Computed::null()));
    };
    if right.is_zero() {
        return Err(Failure::new(2, "$divide by zero"));
    }
    let result = match left.width().max(right.width()) {
        Width::Decimal => Numeric::Decimal(decimal::divide(left.to_decimal(), right.to_decimal())),
        Width::Int | Width::Long | Width::Double => {
            Numeric::Double(left.to_double() / right.to_double())
        }
    };
    Ok(Some(result.computed()))
}

pub(super) fn modulo<'d>(arguments: &'d [Node], scope: &mut Scope<'d>) -> Outcome<'d> {
    let Some((left, right)) = two_numbers(arguments, scope, 16611, "$mod")? else {
        return Ok(Some(Computed::null()));
    };
    if right.is_zero() {
        return Err(Failure::new(16610, "$mod by zero"));
    }
    let is_fraction = matches!(right, Numeric::Double(_)) && right.whole_int().is_none();
    let result = match (left.width(), right.width()) {
        (Width::Decimal, _) | (_, Width::Decimal) => {
            Numeric::Decimal(decimal::remainder(left.to_decimal(), right.to_decimal()))
        }
        (Width::Double, _) => Numeric::Double(left.to_double() % right.to_double()),
        _ if is_fraction => Numeric::Double(left.to_double() % right.to_double()),
        (Width::Long, _) | (_, Width::Long) => {
            let (left, right) = (left.to_long().unwrap_or(0), right.to_long().unwrap_or(1));
            Numeric::Long(left.wrapping_rem(right))
        }
        (Width::Int, _) => {
            let (left, right) = (left.to_long().unwrap_or(0), right.to_long().unwrap_or(1));
            Numeric::Int((left as i32).wrapping_rem(right as i32))
        }
    };
    Ok(Some(result.computed()))
}

/// Evaluates one number; `None` where it is null or missing.
fn one_number<'d>(
    arguments: &'d [Node],
    scope: &mut Scope<'d>,
    operator: &str,
) -> Result<Option<Numeric>, Failure> {
    let Some(value) = arguments
        .first()
        .map(|node| given(node, scope))
        .transpose()?
        .flatten()
    else {
        return Ok(None);
    };
    match Numeric::of(value.value()) {
        Some(number) => Ok(Some(number)),
        None => Err(wrong_type(28765, operator, Some(&value))),
    }
}

pub(super) fn absolute<'d>(arguments: &'d [Node], scope: &mut Scope<'d>) -> Outcome<'d> {
    let result = match one_number(arguments, scope, "$abs")? {
        None => Computed::null(),
        Some(Numeric::Int(int)) => int_or_long(i64::from(int).abs()),
        Some(Numeric::Long(long)) => {
            let absolute = long.checked_abs();
            Computed::long(
                absolute.ok_or_else(|| Failure::new(28680, "$abs of the least integer"))?,
            )
        }
        Some(Numeric::Double(double)) => Computed::double(double.abs()),
        Some(Numeric::Decimal(decimal)) => Numeric::Decimal(decimal::absolute(decimal)).computed(),
    };
    Ok(Some(result))
}

pub(super) fn ceil<'d>(arguments: &'d [Node], scope: &mut Scope<'d>) -> Outcome<'d> {
    whole(arguments, scope, "$ceil", Rounding::Up, f64::ceil)
}

pub(super) fn floor<'d>(arguments: &'d [Node], scope: &mut Scope<'d>) -> Outcome<'d> {
    whole(arguments, scope, "$floor", Rounding::Down, f64::floor)
}

fn whole<'d>(
    arguments: &'d [Node],
    scope: &mut Scope<'d>,
    operator: &str,
    rounding: Rounding,
    round: fn(f64) -> f64,
) -> Outcome<'d> {
    Ok(Some(match one_number(arguments, scope, operator)? {
        None => Computed::null(),
        Some(Numeric::Double(double)) => Computed::double(round(double)),
        Some(Numeric::Decimal(decimal)) => {
            Numeric::Decimal(quantized(decimal, 0, rounding)).computed()
        }
        Some(integer) => integer.computed(),
    }))
}

/// As `quantize`, but NaN for what is infinite or has too many digits before the point.
fn quantized(decimal: Decimal, exponent: i32, rounding: Rounding) -> Decimal {
    match (decimal, decimal::quantize(decimal, exponent, rounding)) {
        (Decimal::Infinite { .. }, _) => Decimal::Nan,
        (_, Decimal::Finite { exponent: got, .. }) if got != exponent => Decimal::Nan,
        (_, quantized) => quantized,
    }
}

pub(super) fn square_root<'d>(arguments: &'d [Node], scope: &mut Scope<'d>) -> Outcome<'d> {
    let Some(number) = one_number(arguments, scope, "$sqrt")? else {
        return Ok(Some(Computed::null()));
    };
    if number.number().compare(Number::Integer(0)).is_lt() && !number.number().is_nan() {
        return Err(Failure::new(28714, "$sqrt of a negative number"));
    }
    let root = match number {
        Numeric::Decimal(decimal) => Numeric::Decimal(decimal::square_root(decimal)),
        other => Numeric::Double(other.to_double().sqrt()),
    };
    Ok(Some(root.computed()))
}

pub(super) fn round<'d>(arguments: &'d [Node], scope: &mut Scope<'d>) -> Outcome<'d> {
    to_place(arguments, scope, Rounding::HalfEven)
}

pub(super) fn trunc<'d>(arguments: &'d [Node], scope: &mut Scope<'d>) -> Outcome<'d> {
    to_place(arguments, scope, Rounding::TowardsZero)
}

fn to_place<'d>(arguments: &'d [Node], scope: &mut Scope<'d>, rounding: Rounding) -> Outcome<'d> {
    let null = || Ok(Some(Computed::null()));
    let [number, place @ ..] = arguments else {
        return null();
    };
    let Some(value) = given(number, scope)? else {
        return null();
    };
    let number =
        Numeric::of(value.value()).ok_or_else(|| wrong_type(51081, "$round", Some(&value)))?;
    let mut digits = 0;
    if let Some(place) = place.first() {
        let Some(place) = given(place, scope)? else {
            return null();
        };
        let place = Numeric::of(place.value())
            .ok_or_else(|| wrong_type(16004, "$round to a place", Some(&place)))?;
        digits = place
            .whole()
            .ok_or_else(|| Failure::new(51082, "$round to a place that is no whole number"))?;
    }
    if !(-20..=100).contains(&digits) {
        return Err(Failure::new(51083, "$round to a place beyond -20 and 100"));
    }
    let exponent = -(digits as i32);
    let result = match number {
        Numeric::Decimal(decimal) => {
            Numeric::Decimal(decimal::quantize(decimal, exponent, rounding)).computed()
        }
        Numeric::Double(double) => {
            let decimal = decimal::quantize(decimal::of_double(double), exponent, rounding);
            Computed::double(decimal.nearest_double())
        }
        Numeric::Int(_) | Numeric::Long(_) if digits >= 0 => number.computed(),
        Numeric::Int(_) | Numeric::Long(_) => {
            let rounded = decimal::quantize(number.to_decimal(), exponent, rounding).truncated();
            let rounded =
                rounded.ok_or_else(|| Failure::new(51080, "$round beyond 64-bit integers"))?;
            match number.width() {
                Width::Int if rounded <= i64::from(i32::MAX) => Computed::int(rounded as i32),
                _ => Computed::long(rounded),
            }
        }
    };
    Ok(Some(result))
}
