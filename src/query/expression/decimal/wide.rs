//! Numbers of up to 68 digits, and how they are rounded to 34.

use crate::query::order::decimal::Decimal;

/// A number below `10^68`, in base `10^34`, times `10^exponent`.
#[derive(Clone, Copy)]
pub(super) struct Wide {
    pub(super) high: u128,
    pub(super) low: u128,
}

/// What was cut off below the last digit.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Rest {
    Nothing,
    Something,
}

/// Rounds half to even to what decimal128 can hold.
pub(super) fn round(negative: bool, wide: Wide, exponent: i32, cut: Rest) -> Decimal {
    let too_many = wide.digits().saturating_sub(DIGITS_MAX) as i32;
    let too_low = EXPONENT_MIN - exponent;
    let drop = too_many.max(too_low).max(0);
    let (mut coefficient, mut exponent) = (wide.low, exponent);
    if drop > 0 {
        coefficient = wide.shifted(drop as u32, cut);
        exponent += drop;
        if coefficient == COEFFICIENT_END {
            coefficient /= 10;
            exponent += 1;
        }
    }
    if exponent > EXPONENT_MAX {
        if coefficient == 0 {
            exponent = EXPONENT_MAX;
        } else {
            let above = exponent - EXPONENT_MAX;
            if digits(coefficient) as i32 + above > DIGITS_MAX as i32 {
                return Decimal::Infinite { negative };
            }
            coefficient *= POWERS[above as usize];
            exponent = EXPONENT_MAX;
        }
    }
    Decimal::Finite {
        negative,
        coefficient,
        exponent,
    }
}

impl Wide {
    /// Takes a number below `10^68`.
    pub(super) fn of(number: u128) -> Self {
        Self {
            high: number / COEFFICIENT_END,
            low: number % COEFFICIENT_END,
        }
    }

    /// Multiplies two numbers below `10^34`.
    pub(super) fn product(left: u128, right: u128) -> Self {
        let (left_high, left_low) = (left / POWER_17, left % POWER_17);
        let (right_high, right_low) = (right / POWER_17, right % POWER_17);
        let middle = left_high * right_low + left_low * right_high;
        let low = left_low * right_low + middle % POWER_17 * POWER_17;
        Self {
            high: left_high * right_high + middle / POWER_17 + low / COEFFICIENT_END,
            low: low % COEFFICIENT_END,
        }
    }

    pub(super) fn plus(self, small: u128) -> Self {
        let low = self.low + small;
        Self {
            high: self.high + low / COEFFICIENT_END,
            low: low % COEFFICIENT_END,
        }
    }

    /// Subtracts; says whether the result changed its sign. With a rest, that is taken away too: one less, and a rest
    /// of what is missing.
    pub(super) fn minus(self, small: u128, rest: Rest) -> (Self, bool) {
        if self.high == 0 && self.low < small {
            let low = small - self.low;
            return (Self { high: 0, low }, true);
        }
        let small = small + u128::from(rest == Rest::Something);
        let borrowed = self.low < small;
        let low = match borrowed {
            true => self.low + COEFFICIENT_END - small,
            false => self.low - small,
        };
        let high = self.high - u128::from(borrowed);
        (Self { high, low }, false)
    }

    fn digits(self) -> u32 {
        match self.high {
            0 => digits(self.low),
            high => digits(high) + DIGITS_MAX,
        }
    }

    /// Drops that many digits, half to even. The rest has at most 34 digits.
    fn shifted(self, drop: u32, cut: Rest) -> u128 {
        let (whole, tail, half) = if drop > 2 * DIGITS_MAX {
            return 0;
        } else if drop > DIGITS_MAX {
            let power = POWERS[(drop - DIGITS_MAX) as usize];
            let (whole, rest) = (self.high / power, self.high % power);
            let half = rest.cmp(&(power / 2)).then(self.low.cmp(&0));
            (whole, rest != 0 || self.low != 0, half)
        } else if drop == DIGITS_MAX {
            let half = self.low.cmp(&(COEFFICIENT_END / 2));
            (self.high, self.low != 0, half)
        } else {
            let power = POWERS[drop as usize];
            let (whole, rest) = (self.low / power, self.low % power);
            let whole = self.high * (COEFFICIENT_END / power) + whole;
            (whole, rest != 0, rest.cmp(&(power / 2)))
        };
        let half = match cut {
            Rest::Something => half.then(std::cmp::Ordering::Greater),
            Rest::Nothing => half,
        };
        // A half of one is no whole number: nothing dropped is no half.
        let is_half = half.is_eq() && (tail || cut == Rest::Something);
        let up = (half.is_gt() && (tail || cut == Rest::Something)) || (is_half && whole % 2 == 1);
        whole + u128::from(up)
    }
}

pub(super) fn digits(coefficient: u128) -> u32 {
    coefficient.checked_ilog10().map_or(0, |log| log + 1)
}

const fn powers() -> [u128; 39] {
    let mut powers = [1; 39];
    let mut place = 1;
    while place < powers.len() {
        powers[place] = powers[place - 1] * 10;
        place += 1;
    }
    powers
}

pub(super) const POWERS: [u128; 39] = powers();
pub(super) const DIGITS_MAX: u32 = 34;
const COEFFICIENT_END: u128 = POWERS[DIGITS_MAX as usize];
const POWER_17: u128 = POWERS[17];
pub(super) const EXPONENT_BIAS: i32 = 6176;
pub(super) const EXPONENT_MIN: i32 = -EXPONENT_BIAS;
const EXPONENT_MAX: i32 = 6111;
