//! IEEE 754 decimal128 as BSON stores it (binary integer significand), compared exactly.

use std::cmp::Ordering;
use std::fmt::Write;

/// A decimal128: `(-1)^negative × coefficient × 10^exponent`, coefficient below `10^34`.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Decimal {
    Nan,
    Infinite {
        negative: bool,
    },
    Finite {
        negative: bool,
        coefficient: u128,
        exponent: i32,
    },
}

impl Decimal {
    /// Reads the 16 bytes of a BSON decimal128. A significand that is too large is zero, as IEEE 754 says.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Self {
        let bits = bytes
            .first_chunk::<16>()
            .map_or(0, |bytes| u128::from_le_bytes(*bytes));
        let negative = bits >> 127 == 1;
        let combination = (bits >> 122) as u32 & 0x1f;
        match combination {
            0x1f => Self::Nan,
            0x1e => Self::Infinite { negative },
            // The long form stands for significands of 2^113 and more: none of them is below 10^34.
            0x18..=0x1d => Self::Finite {
                negative,
                coefficient: 0,
                exponent: ((bits >> 111) as i32 & 0x3fff) - EXPONENT_BIAS,
            },
            _ => {
                let coefficient = bits & ((1 << 113) - 1);
                Self::Finite {
                    negative,
                    coefficient: if coefficient < COEFFICIENT_END {
                        coefficient
                    } else {
                        0
                    },
                    exponent: ((bits >> 113) as i32 & 0x3fff) - EXPONENT_BIAS,
                }
            }
        }
    }

    pub(crate) fn from_integer(integer: i64) -> Self {
        Self::Finite {
            negative: integer < 0,
            coefficient: u128::from(integer.unsigned_abs()),
            exponent: 0,
        }
    }

    /// Compares with a double by exact value.
    pub(crate) fn compare_double(self, double: f64) -> Ordering {
        let class = self.class().cmp(&Class::of_double(double));
        if !matches!(self.class(), Class::Negative | Class::Positive) || class.is_ne() {
            return class;
        }
        // Rounding keeps the order, so doubles that differ decide.
        let nearest = self.nearest_double();
        nearest
            .partial_cmp(&double)
            .filter(|order| order.is_ne())
            .unwrap_or_else(|| self.compare_digits(double))
    }

    /// Compares with a double of the same sign, by all its decimal digits.
    fn compare_digits(self, double: f64) -> Ordering {
        let mut text = Text::<{ DOUBLE_DIGITS_MAX + 16 }>::new();
        let written = write!(text, "{:.*e}", DOUBLE_DIGITS_MAX - 1, double.abs());
        debug_assert!(written.is_ok(), "the digits and an exponent fit");
        let (digits, power) = text.as_str().split_once('e').unwrap_or_default();
        let mut digits = digits.bytes().filter(u8::is_ascii_digit);
        let coefficient = digits
            .by_ref()
            .take(DIGITS_MAX as usize)
            .fold(0, |sum, digit| sum * 10 + u128::from(digit - b'0'));
        let cut = Self::Finite {
            negative: double < 0.0,
            coefficient,
            exponent: power.parse::<i32>().unwrap_or(0) - (DIGITS_MAX as i32 - 1),
        };
        // A decimal has no more digits than the cut double, so only an equal one lets the rest decide.
        let is_exact = digits.all(|digit| digit == b'0');
        self.compare(cut).then(match (is_exact, double < 0.0) {
            (true, _) => Ordering::Equal,
            (false, true) => Ordering::Greater,
            (false, false) => Ordering::Less,
        })
    }

    /// Compares by value: NaN equals NaN and is below all others, zeros of either sign are equal.
    pub(crate) fn compare(self, other: Self) -> Ordering {
        let class = self.class().cmp(&other.class());
        let (
            Self::Finite {
                coefficient: left,
                exponent: left_exponent,
                ..
            },
            Self::Finite {
                coefficient: right,
                exponent: right_exponent,
                ..
            },
        ) = (self, other)
        else {
            return class;
        };
        let magnitudes = || compare_magnitudes((left, left_exponent), (right, right_exponent));
        match (class, self.class()) {
            (Ordering::Equal, Class::Positive) => magnitudes(),
            (Ordering::Equal, Class::Negative) => magnitudes().reverse(),
            _ => class,
        }
    }

    /// Returns the value cut towards zero, where it is finite and an `i64` can hold it.
    pub(crate) fn truncated(self) -> Option<i64> {
        self.to_integer(|_, _| false)
    }

    /// Returns the value rounded half to even, where it is finite and an `i64` can hold it.
    pub(crate) fn rounded(self) -> Option<i64> {
        self.to_integer(|is_odd, rest| rest.is_gt() || (rest.is_eq() && is_odd))
    }

    /// `round_up` is told whether the whole part is odd and how the rest compares with a half.
    fn to_integer(self, round_up: impl Fn(bool, Ordering) -> bool) -> Option<i64> {
        let Self::Finite {
            negative,
            coefficient,
            exponent,
        } = self
        else {
            return None;
        };
        let power = 10_u128.checked_pow(exponent.unsigned_abs());
        let whole = match power {
            _ if coefficient == 0 => 0,
            Some(power) if exponent >= 0 => coefficient.checked_mul(power)?,
            Some(power) => {
                let (whole, rest) = (coefficient / power, coefficient % power);
                let up = round_up(whole % 2 == 1, rest.cmp(&(power - rest)));
                whole + u128::from(up)
            }
            // Too large for an integer, or far below a half.
            None if exponent >= 0 => return None,
            None => 0,
        };
        let whole = i128::try_from(whole).ok()?;
        i64::try_from(if negative { -whole } else { whole }).ok()
    }

    pub(crate) fn nearest_double(self) -> f64 {
        match self {
            Self::Nan => f64::NAN,
            Self::Infinite { negative: true } => f64::NEG_INFINITY,
            Self::Infinite { negative: false } => f64::INFINITY,
            Self::Finite {
                negative,
                coefficient,
                exponent,
            } => {
                let mut text = Text::<64>::new();
                let written = write!(text, "{coefficient}e{exponent}");
                debug_assert!(written.is_ok(), "34 digits and an exponent fit");
                let double = text.as_str().parse::<f64>().unwrap_or(0.0);
                if negative { -double } else { double }
            }
        }
    }

    fn class(self) -> Class {
        match self {
            Self::Nan => Class::Nan,
            Self::Infinite { negative: true } => Class::NegativeInfinity,
            Self::Infinite { negative: false } => Class::Infinity,
            Self::Finite { coefficient: 0, .. } => Class::Zero,
            Self::Finite { negative: true, .. } => Class::Negative,
            Self::Finite {
                negative: false, ..
            } => Class::Positive,
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Class {
    Nan,
    NegativeInfinity,
    Negative,
    Zero,
    Positive,
    Infinity,
}

impl Class {
    fn of_double(double: f64) -> Self {
        match double {
            double if double.is_nan() => Self::Nan,
            f64::NEG_INFINITY => Self::NegativeInfinity,
            f64::INFINITY => Self::Infinity,
            0.0 => Self::Zero,
            double if double < 0.0 => Self::Negative,
            _ => Self::Positive,
        }
    }
}

/// Compares two positive `(coefficient, exponent)`.
fn compare_magnitudes(left: (u128, i32), right: (u128, i32)) -> Ordering {
    let top =
        |(coefficient, exponent): (u128, i32)| i64::from(digits(coefficient)) + i64::from(exponent);
    top(left).cmp(&top(right)).then_with(|| {
        // Equal highest places, so the exponents differ by as much as the digits do: at most 33, and what is scaled
        // up gets at most 34 digits, which 128 bits hold.
        let scale =
            |coefficient: u128, by: i32| coefficient * 10_u128.pow(by.max(0).unsigned_abs());
        scale(left.0, left.1 - right.1).cmp(&scale(right.0, right.1 - left.1))
    })
}

fn digits(coefficient: u128) -> u32 {
    coefficient.checked_ilog10().map_or(0, |log| log + 1)
}

/// A short text on the stack.
struct Text<const BYTES: usize> {
    bytes: [u8; BYTES],
    len: usize,
}

impl<const BYTES: usize> Text<BYTES> {
    fn new() -> Self {
        Self {
            bytes: [0; BYTES],
            len: 0,
        }
    }

    fn as_str(&self) -> &str {
        std::str::from_utf8(&self.bytes[..self.len]).unwrap_or_default()
    }
}

impl<const BYTES: usize> Write for Text<BYTES> {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        let end = self.len + text.len();
        let room = self.bytes.get_mut(self.len..end).ok_or(std::fmt::Error)?;
        room.copy_from_slice(text.as_bytes());
        self.len = end;
        Ok(())
    }
}

const DIGITS_MAX: u32 = 34;
/// No double needs more significant digits to be written exactly.
const DOUBLE_DIGITS_MAX: usize = 767;
const COEFFICIENT_END: u128 = 10_u128.pow(DIGITS_MAX);
const EXPONENT_BIAS: i32 = 6176;
