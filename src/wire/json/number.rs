//! Numbers as Java prints them.

use std::fmt::Write as _;

use bson::Decimal128;

use super::JsonMode;

/// Appends an int32 in `mode`.
pub(super) fn write_int32(value: i32, mode: JsonMode, out: &mut String) {
    match mode {
        JsonMode::Extended => write!(out, r#"{{"$numberInt": "{value}"}}"#),
        JsonMode::Default | JsonMode::Relaxed | JsonMode::Strict | JsonMode::Shell => {
            write!(out, "{value}")
        }
    }
    .expect("invariant: a String takes all text");
}

/// Appends an int64 in `mode`.
pub(super) fn write_int64(value: i64, mode: JsonMode, out: &mut String) {
    match mode {
        JsonMode::Default | JsonMode::Relaxed => write!(out, "{value}"),
        JsonMode::Extended | JsonMode::Strict => write!(out, r#"{{"$numberLong": "{value}"}}"#),
        JsonMode::Shell if i32::try_from(value).is_ok() => write!(out, "NumberLong({value})"),
        JsonMode::Shell => write!(out, r#"NumberLong("{value}")"#),
    }
    .expect("invariant: a String takes all text");
}

/// Appends a double in `mode`.
pub(super) fn write_double(value: f64, mode: JsonMode, out: &mut String) {
    let named = match mode {
        JsonMode::Extended => true,
        JsonMode::Default | JsonMode::Relaxed => !value.is_finite(),
        JsonMode::Strict | JsonMode::Shell => false,
    };
    if named {
        out.push_str(r#"{"$numberDouble": ""#);
    }
    write_double_digits(value, out);
    if named {
        out.push_str(r#""}"#);
    }
}

/// Appends `Double.toString(value)` with a `+` before positive exponents.
///
/// Since JDK 19 these are the digits of the shortest decimal that reads back as the same double, of all such the
/// closest; but where one digit would do, the closest of two digits: hence `4.9E-324`, where others print `5e-324`.
fn write_double_digits(value: f64, out: &mut String) {
    if !value.is_finite() {
        out.push_str(match value {
            v if v.is_nan() => "NaN",
            v if v > 0.0 => "Infinity",
            _ => "-Infinity",
        });
        return;
    }
    if value == 0.0 {
        out.push_str(if value.is_sign_negative() {
            "-0.0"
        } else {
            "0.0"
        });
        return;
    }
    let mut scientific = format!("{value:e}");
    if !scientific.contains('.') {
        let two_digits = format!("{value:.1e}");
        // One digit is the shortest; the closest of two digits is another number only among the smallest doubles.
        if two_digits.parse() == Ok(value) {
            scientific = two_digits;
        }
    }
    let (mantissa, exponent) = scientific
        .split_once('e')
        .expect("invariant: {:e} writes an e");
    let exponent: i32 = exponent
        .parse()
        .expect("invariant: {:e} writes a decimal exponent");
    let (sign, mantissa) = match mantissa.strip_prefix('-') {
        Some(mantissa) => ("-", mantissa),
        None => ("", mantissa),
    };
    out.push_str(sign);
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, "0"));
    if (-3..7).contains(&exponent) {
        write_plain(whole, fraction, exponent, out);
    } else {
        let plus = if exponent > 0 { "+" } else { "" };
        write!(out, "{whole}.{fraction}E{plus}{exponent}")
            .expect("invariant: a String takes all text");
    }
}

/// Appends `whole.fraction` times ten to the `exponent` without an exponent; `whole` is one digit.
fn write_plain(whole: &str, fraction: &str, exponent: i32, out: &mut String) {
    let digits = format!("{whole}{}", fraction.trim_end_matches('0'));
    match usize::try_from(exponent) {
        Ok(exponent) => {
            let point = exponent + 1;
            let padded = format!("{digits:0<width$}", width = point + 1);
            out.push_str(&padded[..point]);
            out.push('.');
            out.push_str(&padded[point..]);
        }
        Err(_) => {
            out.push_str("0.");
            for _ in 1..exponent.unsigned_abs() {
                out.push('0');
            }
            out.push_str(&digits);
        }
    }
}

/// Appends the text of a decimal128.
///
/// Source: Java driver, `Decimal128.toString`; IEEE 754-2008 binary integer decimal encoding.
pub(super) fn write_decimal(value: Decimal128, out: &mut String) {
    const EXPONENT_BIAS: i32 = 6176;
    const COMBINATION_NAN: u128 = 0b11111 << 122;
    const COMBINATION_INFINITY: u128 = 0b11110 << 122;
    const COMBINATION_LARGE: u128 = 0b11 << 125;

    let bits = u128::from_le_bytes(value.bytes());
    if bits & COMBINATION_NAN == COMBINATION_NAN {
        out.push_str("NaN");
        return;
    }
    if bits >> 127 == 1 {
        out.push('-');
    }
    if bits & COMBINATION_NAN == COMBINATION_INFINITY {
        out.push_str("Infinity");
        return;
    }
    let is_large = bits & COMBINATION_LARGE == COMBINATION_LARGE;
    let (shift, coefficient) = match is_large {
        // A coefficient that would not fit the 34 digits counts as zero.
        true => (111, 0),
        false => (113, bits & ((1 << 113) - 1)),
    };
    let biased = i32::try_from((bits >> shift) & 0x3fff).expect("invariant: fourteen bits");
    let exponent = biased - EXPONENT_BIAS;
    let digits = coefficient.to_string();
    let length = i32::try_from(digits.len()).expect("invariant: at most 35 digits");
    let adjusted = exponent + length - 1;
    if exponent <= 0 && adjusted >= -6 {
        write_decimal_plain(&digits, exponent, out);
        return;
    }
    out.push_str(&digits[..1]);
    if digits.len() > 1 {
        out.push('.');
        out.push_str(&digits[1..]);
    }
    let plus = if adjusted > 0 { "+" } else { "" };
    write!(out, "E{plus}{adjusted}").expect("invariant: a String takes all text");
}

/// Appends `digits` with `-exponent` of them behind the point.
fn write_decimal_plain(digits: &str, exponent: i32, out: &mut String) {
    let behind = usize::try_from(-exponent).expect("invariant: the exponent is not positive");
    if behind == 0 {
        out.push_str(digits);
    } else if behind < digits.len() {
        let (before, after) = digits.split_at(digits.len() - behind);
        out.push_str(before);
        out.push('.');
        out.push_str(after);
    } else {
        write!(out, "0.{digits:0>behind$}").expect("invariant: a String takes all text");
    }
}
