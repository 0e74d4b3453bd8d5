//! Arithmetic of decimal128 as IEEE 754 has it: 34 digits, half to even, the exponent as near as can be to the one preferred.

use crate::query::expression::decimal::wide::{
    DIGITS_MAX, EXPONENT_BIAS, EXPONENT_MIN, POWERS, Rest, Wide, digits, round,
};
use crate::query::order::decimal::Decimal;

mod wide;

#[derive(Clone, Copy)]
struct Finite {
    negative: bool,
    coefficient: u128,
    exponent: i32,
}

impl Finite {
    fn decimal(self) -> Decimal {
        Decimal::Finite {
            negative: self.negative,
            coefficient: self.coefficient,
            exponent: self.exponent,
        }
    }
}

fn finite(decimal: Decimal) -> Option<Finite> {
    match decimal {
        Decimal::Finite {
            negative,
            coefficient,
            exponent,
        } => Some(Finite {
            negative,
            coefficient,
            exponent,
        }),
        Decimal::Nan | Decimal::Infinite { .. } => None,
    }
}

fn is_negative(decimal: Decimal) -> bool {
    match decimal {
        Decimal::Nan => false,
        Decimal::Infinite { negative } | Decimal::Finite { negative, .. } => negative,
    }
}

pub(super) fn is_zero(decimal: Decimal) -> bool {
    matches!(decimal, Decimal::Finite { coefficient: 0, .. })
}

pub(super) fn negate(decimal: Decimal) -> Decimal {
    match decimal {
        Decimal::Nan => Decimal::Nan,
        Decimal::Infinite { negative } => Decimal::Infinite {
            negative: !negative,
        },
        Decimal::Finite {
            negative,
            coefficient,
            exponent,
        } => Decimal::Finite {
            negative: !negative,
            coefficient,
            exponent,
        },
    }
}

pub(super) fn absolute(decimal: Decimal) -> Decimal {
    match is_negative(decimal) {
        true => negate(decimal),
        false => decimal,
    }
}

pub(super) fn add(left: Decimal, right: Decimal) -> Decimal {
    match (finite(left), finite(right)) {
        (Some(left), Some(right)) => add_finite(left, right),
        (None, None) if is_negative(left) != is_negative(right) => Decimal::Nan,
        (None, _) => match right {
            Decimal::Nan => Decimal::Nan,
            _ => left,
        },
        (Some(_), None) => right,
    }
}

pub(super) fn subtract(left: Decimal, right: Decimal) -> Decimal {
    add(left, negate(right))
}

fn add_finite(left: Finite, right: Finite) -> Decimal {
    let (mut upper, lower) = match left.exponent >= right.exponent {
        true => (left, right),
        false => (right, left),
    };
    if upper.coefficient == 0 || lower.coefficient == 0 {
        return add_zero(upper, lower);
    }
    let room = (DIGITS_MAX - digits(upper.coefficient)) as i32;
    let raised = room.min(upper.exponent - lower.exponent);
    upper.coefficient *= POWERS[raised as usize];
    upper.exponent -= raised;
    let apart = upper.exponent - lower.exponent;
    let (wide, exponent, small, rest) = if apart <= DIGITS_MAX as i32 {
        let wide = match apart {
            APART_MAX => Wide {
                high: upper.coefficient,
                low: 0,
            },
            _ => Wide::product(upper.coefficient, POWERS[apart as usize]),
        };
        (wide, lower.exponent, lower.coefficient, Rest::Nothing)
    } else {
        // `upper` has 34 digits now and 34 more behind them: what `lower` has there only decides the rounding.
        let wide = Wide {
            high: upper.coefficient,
            low: 0,
        };
        (wide, upper.exponent - APART_MAX, 0, Rest::Something)
    };
    if upper.negative == lower.negative {
        let sum = wide.plus(small);
        return round(upper.negative, sum, exponent, rest);
    }
    let (difference, swapped) = wide.minus(small, rest);
    let is_zero = difference.high == 0 && difference.low == 0 && rest == Rest::Nothing;
    let negative = !is_zero && (upper.negative != swapped);
    round(negative, difference, exponent, rest)
}

/// Adds where one of the two is zero.
fn add_zero(upper: Finite, lower: Finite) -> Decimal {
    if upper.coefficient == 0 && lower.coefficient == 0 {
        return Finite {
            negative: upper.negative && lower.negative,
            coefficient: 0,
            exponent: lower.exponent,
        }
        .decimal();
    }
    if upper.coefficient == 0 {
        return lower.decimal();
    }
    let room = (DIGITS_MAX - digits(upper.coefficient)) as i32;
    let raised = room.min(upper.exponent - lower.exponent);
    Finite {
        negative: upper.negative,
        coefficient: upper.coefficient * POWERS[raised as usize],
        exponent: upper.exponent - raised,
    }
    .decimal()
}

pub(super) fn multiply(left: Decimal, right: Decimal) -> Decimal {
    if matches!(left, Decimal::Nan) || matches!(right, Decimal::Nan) {
        return Decimal::Nan;
    }
    let negative = is_negative(left) != is_negative(right);
    match (finite(left), finite(right)) {
        (Some(left), Some(right)) => round(
            negative,
            Wide::product(left.coefficient, right.coefficient),
            left.exponent + right.exponent,
            Rest::Nothing,
        ),
        _ if is_zero(left) || is_zero(right) => Decimal::Nan,
        _ => Decimal::Infinite { negative },
    }
}

/// Divides; the divisor is not zero.
pub(super) fn divide(left: Decimal, right: Decimal) -> Decimal {
    if matches!(left, Decimal::Nan) || matches!(right, Decimal::Nan) {
        return Decimal::Nan;
    }
    let negative = is_negative(left) != is_negative(right);
    let (left, right) = match (finite(left), finite(right)) {
        (Some(left), Some(right)) if right.coefficient != 0 => (left, right),
        (Some(left), Some(_)) if left.coefficient != 0 => return Decimal::Infinite { negative },
        (None, Some(_)) => return Decimal::Infinite { negative },
        (Some(_), None) => {
            return Finite {
                negative,
                coefficient: 0,
                exponent: EXPONENT_MIN,
            }
            .decimal();
        }
        _ => return Decimal::Nan,
    };
    let mut quotient = left.coefficient / right.coefficient;
    let mut rest = left.coefficient % right.coefficient;
    let mut exponent = left.exponent - right.exponent;
    // One digit more than the result has, so that the rounding sees a half.
    while rest != 0 && digits(quotient) <= DIGITS_MAX {
        rest *= 10;
        quotient = quotient * 10 + rest / right.coefficient;
        rest %= right.coefficient;
        exponent -= 1;
    }
    let cut = match rest {
        0 => Rest::Nothing,
        _ => Rest::Something,
    };
    round(negative, Wide::of(quotient), exponent, cut)
}

/// What is left of a division cut towards zero; the sign is the dividend's.
pub(super) fn remainder(left: Decimal, right: Decimal) -> Decimal {
    let (left, right) = match (finite(left), finite(right)) {
        (Some(left), Some(right)) if right.coefficient != 0 => (left, right),
        (Some(left), None) if !matches!(right, Decimal::Nan) => return left.decimal(),
        _ => return Decimal::Nan,
    };
    let apart = left.exponent.abs_diff(right.exponent);
    if left.exponent >= right.exponent {
        let mut rest = left.coefficient % right.coefficient;
        for _ in 0..apart {
            if rest == 0 {
                break;
            }
            rest = rest * 10 % right.coefficient;
        }
        return Finite {
            negative: left.negative,
            coefficient: rest,
            exponent: right.exponent,
        }
        .decimal();
    }
    let divisor = 10_u128
        .checked_pow(apart)
        .and_then(|power| right.coefficient.checked_mul(power));
    let coefficient = match divisor {
        Some(divisor) => left.coefficient % divisor,
        None => left.coefficient,
    };
    Finite {
        coefficient,
        ..left
    }
    .decimal()
}

/// The square root; of a negative number, NaN.
pub(super) fn square_root(decimal: Decimal) -> Decimal {
    let Some(number) = finite(decimal) else {
        return match decimal {
            Decimal::Infinite { negative: true } => Decimal::Nan,
            other => other,
        };
    };
    if number.coefficient == 0 {
        return Finite {
            exponent: number.exponent.div_euclid(2),
            ..number
        }
        .decimal();
    }
    if number.negative {
        return Decimal::Nan;
    }
    // Two digits at a time, as on paper.
    let mut exponent = number.exponent;
    let mut coefficient = number.coefficient;
    if exponent.rem_euclid(2) == 1 {
        coefficient *= 10;
        exponent -= 1;
    }
    let mut pairs = Vec::new();
    while coefficient != 0 {
        pairs.push(coefficient % 100);
        coefficient /= 100;
    }
    let (mut root, mut rest) = (0_u128, 0_u128);
    let mut half = exponent / 2;
    loop {
        let pair = match pairs.pop() {
            Some(pair) => pair,
            None if rest == 0 || digits(root) > DIGITS_MAX => break,
            None => {
                half -= 1;
                0
            }
        };
        rest = rest * 100 + pair;
        let digit = (1..=9)
            .rev()
            .find(|digit| (root * 20 + digit) * digit <= rest)
            .unwrap_or(0);
        rest -= (root * 20 + digit) * digit;
        root = root * 10 + digit;
    }
    let cut = match rest {
        0 => Rest::Nothing,
        _ => Rest::Something,
    };
    round(false, Wide::of(root), half, cut)
}

/// How to get rid of digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rounding {
    HalfEven,
    TowardsZero,
    Down,
    Up,
}

/// Gives the number that exponent, rounding where it must; with 34 digits the nearest exponent.
pub(super) fn quantize(decimal: Decimal, exponent: i32, rounding: Rounding) -> Decimal {
    let Some(number) = finite(decimal) else {
        return decimal;
    };
    let by = number.exponent - exponent;
    if by >= 0 {
        if number.coefficient == 0 {
            return Finite { exponent, ..number }.decimal();
        }
        let room = (DIGITS_MAX - digits(number.coefficient)) as i32;
        let raised = by.min(room);
        return Finite {
            coefficient: number.coefficient * POWERS[raised as usize],
            exponent: number.exponent - raised,
            ..number
        }
        .decimal();
    }
    let (whole, rest, half) = match POWERS.get(by.unsigned_abs() as usize) {
        Some(power) => {
            let rest = number.coefficient % power;
            (number.coefficient / power, rest, rest.cmp(&(power - rest)))
        }
        None => (0, number.coefficient, std::cmp::Ordering::Less),
    };
    let up = match rounding {
        Rounding::HalfEven => half.is_gt() || (half.is_eq() && whole % 2 == 1),
        Rounding::TowardsZero => false,
        Rounding::Down => number.negative && rest != 0,
        Rounding::Up => !number.negative && rest != 0,
    };
    Finite {
        coefficient: whole + u128::from(up),
        exponent,
        ..number
    }
    .decimal()
}

/// Rounds to a whole number, keeping what is one already.
pub(super) fn to_whole(decimal: Decimal, rounding: Rounding) -> Decimal {
    match finite(decimal) {
        Some(number) if number.exponent < 0 => quantize(decimal, 0, rounding),
        _ => decimal,
    }
}

/// Makes a decimal of a double: its first 15 digits, as the server does.
pub(super) fn from_double(double: f64) -> Decimal {
    let Decimal::Finite {
        negative,
        coefficient,
        exponent,
    } = of_double(double)
    else {
        return of_double(double);
    };
    if coefficient == 0 {
        return of_double(double);
    }
    let all = Decimal::Finite {
        negative,
        coefficient,
        exponent,
    };
    let place = exponent + digits(coefficient) as i32 - DOUBLE_DIGITS;
    match quantize(all, place, Rounding::HalfEven) {
        Decimal::Finite {
            negative,
            coefficient: POWER_15,
            exponent,
        } => Decimal::Finite {
            negative,
            coefficient: POWER_15 / 10,
            exponent: exponent + 1,
        },
        other => other,
    }
}

/// Makes a decimal of a double: its first 34 digits.
pub(super) fn of_double(double: f64) -> Decimal {
    if double.is_nan() {
        return Decimal::Nan;
    }
    let negative = double.is_sign_negative();
    if double.is_infinite() {
        return Decimal::Infinite { negative };
    }
    if double == 0.0 {
        let zero = Finite {
            negative,
            coefficient: 0,
            exponent: 0,
        };
        return zero.decimal();
    }
    let text = format!("{:.33e}", double.abs());
    let (digits, power) = text.split_once('e').unwrap_or_default();
    let coefficient = digits
        .bytes()
        .filter(u8::is_ascii_digit)
        .fold(0, |sum, digit| sum * 10 + u128::from(digit - b'0'));
    let power: i32 = power.parse().unwrap_or(0);
    let mut number = Finite {
        negative,
        coefficient,
        exponent: power - (DIGITS_MAX as i32 - 1),
    };
    // The exponent that is preferred is 0, but of what is cut off all 34 digits stay.
    let is_exact = number.decimal().compare_double(double).is_eq();
    while is_exact && number.exponent < 0 && number.coefficient.is_multiple_of(10) {
        number.coefficient /= 10;
        number.exponent += 1;
    }
    number.decimal()
}

/// Makes a decimal of digits that may be too many.
pub(super) fn from_digits(negative: bool, all: &[u8], exponent: i64) -> Decimal {
    let first = all.iter().position(|digit| *digit != b'0');
    let significant = &all[first.unwrap_or(all.len())..];
    let kept = significant.len().min(DIGITS_MAX as usize + 1);
    let coefficient = significant[..kept]
        .iter()
        .fold(0, |sum, digit| sum * 10 + u128::from(digit - b'0'));
    let cut = match significant[kept..].iter().all(|digit| *digit == b'0') {
        true => Rest::Nothing,
        false => Rest::Something,
    };
    let exponent = exponent.saturating_add((significant.len() - kept) as i64);
    let exponent = exponent.clamp(-EXPONENT_FAR, EXPONENT_FAR) as i32;
    round(negative, Wide::of(coefficient), exponent, cut)
}

/// Returns the 16 bytes of BSON.
pub(super) fn to_bytes(decimal: Decimal) -> [u8; 16] {
    let sign = u128::from(is_negative(decimal)) << 127;
    let bits = match decimal {
        Decimal::Nan => 0x1f << 122,
        Decimal::Infinite { .. } => 0x1e << 122,
        Decimal::Finite {
            coefficient,
            exponent,
            ..
        } => (((exponent + EXPONENT_BIAS) as u128) << 113) | coefficient,
    };
    (sign | bits).to_le_bytes()
}

/// Writes the number as the server does.
pub(super) fn to_text(decimal: Decimal) -> String {
    let (negative, coefficient, exponent) = match decimal {
        Decimal::Nan => return "NaN".to_owned(),
        Decimal::Infinite { negative: true } => return "-Infinity".to_owned(),
        Decimal::Infinite { negative: false } => return "Infinity".to_owned(),
        Decimal::Finite {
            negative,
            coefficient,
            exponent,
        } => (negative, coefficient, exponent),
    };
    let digits = coefficient.to_string();
    let sign = if negative { "-" } else { "" };
    let scientific = exponent + digits.len() as i32 - 1;
    if exponent > 0 || scientific < SCIENTIFIC_BELOW {
        let (first, rest) = digits.split_at(1);
        let dot = if rest.is_empty() { "" } else { "." };
        return format!("{sign}{first}{dot}{rest}E{scientific:+}");
    }
    if exponent == 0 {
        return format!("{sign}{digits}");
    }
    let behind = exponent.unsigned_abs() as usize;
    let padded = format!("{digits:0>width$}", width = behind + 1);
    let (whole, fraction) = padded.split_at(padded.len() - behind);
    format!("{sign}{whole}.{fraction}")
}

const APART_MAX: i32 = DIGITS_MAX as i32;
const POWER_15: u128 = POWERS[15];
/// Beyond every exponent, with room to calculate.
const EXPONENT_FAR: i64 = 100_000;
const DOUBLE_DIGITS: i32 = 15;
/// Below this exponent of the first digit the server writes an exponent.
const SCIENTIFIC_BELOW: i32 = -6;
