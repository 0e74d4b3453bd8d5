//! Numbers in strings, as C reads them: what `$toInt` and its like take.

use std::cmp::Ordering;

use crate::query::expression::decimal;
use crate::query::order::decimal::Decimal;

/// A decimal number as written.
struct Written {
    negative: bool,
    digits: Vec<u8>,
    exponent: i64,
}

/// Takes a sign and digits, and nothing else.
pub(super) fn integer<T: TryFrom<i64>>(text: &[u8]) -> Option<T> {
    let (negative, digits) = sign(text);
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let mut number = 0_i128;
    for digit in digits {
        number = number * 10 + i128::from(digit - b'0');
        if number > i128::from(u64::MAX) {
            return None;
        }
    }
    let number = if negative { -number } else { number };
    T::try_from(i64::try_from(number).ok()?).ok()
}

/// Reads what C's `strtod` reads, but for white space in front and `0x` at the very beginning.
pub(super) fn double(text: &[u8]) -> Option<f64> {
    if text.starts_with(b"0x") {
        return None;
    }
    let (negative, rest) = sign(text);
    let lower = rest.to_ascii_lowercase();
    let signed = |double: f64| if negative { -double } else { double };
    if let Some(hexadecimal) = lower.strip_prefix(b"0x") {
        return hexadecimal_double(hexadecimal).map(signed);
    }
    match lower.as_slice() {
        b"inf" | b"infinity" => return Some(signed(f64::INFINITY)),
        b"nan" => return Some(f64::NAN),
        _ => (),
    }
    if let Some(payload) = lower.strip_prefix(b"nan(") {
        let payload = payload.strip_suffix(b")")?;
        let is_payload = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
        return payload.iter().all(is_payload).then_some(f64::NAN);
    }
    let written = written(text)?;
    let double: f64 = std::str::from_utf8(rest).ok()?.parse().ok()?;
    if written.digits.iter().all(|digit| *digit == b'0') {
        return Some(signed(0.0));
    }
    let exact = decimal::from_digits(false, &written.digits, written.exponent);
    // What is rounded to the least normal number from below is out of range as well.
    let is_tiny = double < f64::MIN_POSITIVE
        || (double == f64::MIN_POSITIVE && exact.compare_double(double) == Ordering::Less);
    (double.is_finite() && !is_tiny).then(|| signed(double))
}

/// Reads what stands behind `0x`.
fn hexadecimal_double(text: &[u8]) -> Option<f64> {
    let end = text.iter().position(|byte| *byte == b'p');
    let (mantissa, exponent) = text.split_at(end.unwrap_or(text.len()));
    let (mut number, mut power, mut digits, mut is_behind) = (0_u128, 0_i64, 0, false);
    for byte in mantissa {
        if *byte == b'.' && !is_behind {
            is_behind = true;
            continue;
        }
        let digit = u128::from(char::from(*byte).to_digit(16)?);
        digits += 1;
        if number >> 120 == 0 {
            number = number << 4 | digit;
            power -= if is_behind { 4 } else { 0 };
        } else {
            // Only whether something is there matters.
            number |= u128::from(digit != 0);
            power += if is_behind { 0 } else { 4 };
        }
    }
    if let Some((_, exponent)) = exponent.split_first() {
        let (negative, digits) = sign(exponent);
        let written = exponent_of(digits)?;
        power = power.saturating_add(if negative { -written } else { written });
    }
    if digits == 0 {
        return None;
    }
    let mut double = number as f64;
    let mut power = power.clamp(-EXPONENT_FAR, EXPONENT_FAR);
    while power != 0 && double != 0.0 && double.is_finite() {
        let step = power.clamp(-60, 60);
        double *= 2_f64.powi(step as i32);
        power -= step;
    }
    (double.is_finite() && (number == 0 || double >= f64::MIN_POSITIVE)).then_some(double)
}

/// Reads a decimal128: what is beyond 34 digits is cut off.
pub(super) fn decimal(text: &[u8]) -> Option<Decimal> {
    let (negative, rest) = sign(text);
    match rest.to_ascii_lowercase().as_slice() {
        b"inf" | b"infinity" => return Some(Decimal::Infinite { negative }),
        b"nan" => return Some(Decimal::Nan),
        _ => (),
    }
    let written = written(text)?;
    let first = written.digits.iter().position(|digit| *digit != b'0');
    let significant = written
        .digits
        .get(first.unwrap_or(written.digits.len())..)?;
    let kept = &significant[..significant.len().min(DIGITS_MAX)];
    let dropped = (significant.len() - kept.len()) as i64;
    let exponent = written.exponent.saturating_add(dropped);
    let read = decimal::from_digits(written.negative, kept, exponent);
    let Decimal::Finite {
        coefficient,
        exponent: read_exponent,
        ..
    } = read
    else {
        return None;
    };
    // What does not fit without rounding below the least number, the server refuses.
    let is_cut = !kept.is_empty() && exponent < i64::from(read_exponent) && {
        let by = i64::from(read_exponent) - exponent;
        let lost = &kept[kept.len().saturating_sub(by as usize)..];
        lost.iter().any(|digit| *digit != b'0') || coefficient == 0
    };
    (!is_cut).then_some(read)
}

/// Reads `12.5e-3`.
fn written(text: &[u8]) -> Option<Written> {
    let (negative, rest) = sign(text);
    let end = rest.iter().position(|byte| matches!(byte, b'e' | b'E'));
    let (mantissa, exponent) = rest.split_at(end.unwrap_or(rest.len()));
    let point = mantissa.iter().position(|byte| *byte == b'.');
    let behind = point.map_or(0, |point| mantissa.len() - point - 1);
    let digits: Vec<u8> = match point {
        Some(point) => [&mantissa[..point], &mantissa[point + 1..]].concat(),
        None => mantissa.to_vec(),
    };
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let mut power = 0;
    if let Some((_, exponent)) = exponent.split_first() {
        let (negative, digits) = sign(exponent);
        let written = exponent_of(digits)?;
        power = if negative { -written } else { written };
    }
    Some(Written {
        negative,
        digits,
        exponent: power - behind as i64,
    })
}

fn exponent_of(digits: &[u8]) -> Option<i64> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number = digits.iter().fold(0_i64, |number, digit| {
        number
            .saturating_mul(10)
            .saturating_add(i64::from(digit - b'0'))
    });
    Some(number.min(EXPONENT_WRITTEN_MAX))
}

fn sign(text: &[u8]) -> (bool, &[u8]) {
    match text.split_first() {
        Some((b'-', rest)) => (true, rest),
        Some((b'+', rest)) => (false, rest),
        _ => (false, text),
    }
}

const DIGITS_MAX: usize = 34;
const EXPONENT_FAR: i64 = 10_000;
/// Larger ones are beyond everything, however many digits stand before them.
const EXPONENT_WRITTEN_MAX: i64 = 1 << 40;
