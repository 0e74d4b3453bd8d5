//! The server's sum of doubles: what rounding takes off is kept beside it.

use crate::query::expression::decimal;
use crate::query::order::decimal::Decimal;

/// A sum and what is missing from it.
///
/// Source: 2Sum (Knuth); the order of the steps and the rounding are measured on 6.0.5.
#[derive(Clone, Copy, Default)]
pub(super) struct Compensated {
    sum: f64,
    rest: f64,
    /// The plain sum, for what is infinite or no number.
    plain: f64,
}

impl Compensated {
    pub(super) fn add(&mut self, addend: f64) {
        self.plain += addend;
        let (addend, lost) = two_sum(addend, self.rest);
        let (sum, rest) = two_sum(self.sum, addend);
        self.sum = sum;
        self.rest = rest + lost;
    }

    pub(super) fn add_long(&mut self, integer: i64) {
        // Halves that a double holds exactly.
        let high = integer / HALF * HALF;
        self.add((integer - high) as f64);
        self.add(high as f64);
    }

    pub(super) fn double(self) -> f64 {
        match self.sum.is_nan() {
            true => self.plain,
            false => self.sum,
        }
    }

    /// Returns both parts as one decimal.
    pub(super) fn decimal(self) -> Decimal {
        match self.sum.is_finite() {
            false => decimal::of_double(self.plain),
            true => decimal::add(decimal::of_double(self.sum), decimal::of_double(self.rest)),
        }
    }

    /// Returns it rounded, if 64 bits hold it.
    pub(super) fn long(self) -> Option<i64> {
        let fits = (-END < self.sum && self.sum < END)
            || (self.sum == END && self.rest < -0.5)
            || (self.sum == -END && self.rest >= -0.5);
        if !fits {
            return None;
        }
        if self.sum == END {
            return Some((i128::from(i64::MAX) + 1 + self.rest.round() as i128) as i64);
        }
        let whole = self.sum.round() as i64;
        let rest = ((self.sum - whole as f64) + self.rest).round() as i64;
        Some(whole.wrapping_add(rest))
    }
}

fn two_sum(left: f64, right: f64) -> (f64, f64) {
    let sum = left + right;
    let part = sum - left;
    (sum, (left - (sum - part)) + (right - part))
}

const HALF: i64 = 1 << 32;
/// One more than the greatest integer.
const END: f64 = 9_223_372_036_854_775_808.0;
