//! Dates in each mode, and the calendar they need.

use std::fmt::Write as _;

use super::JsonMode;

/// Appends the date `millis` after 1970 in `mode`.
pub(super) fn write_date(millis: i64, mode: JsonMode, out: &mut String) {
    match mode {
        JsonMode::Default => write!(out, r#"{{"$date": {millis} }}"#),
        JsonMode::Strict => write!(out, r#"{{"$date": {millis}}}"#),
        JsonMode::Relaxed if (0..=RELAXED_MILLIS_MAX).contains(&millis) => {
            let moment = Moment::from_millis(millis);
            let fraction = format!(".{:03}", moment.millisecond);
            let fraction = fraction.trim_end_matches('0').trim_end_matches('.');
            write!(out, r#"{{"$date": "{moment}{fraction}Z"}}"#)
        }
        JsonMode::Relaxed | JsonMode::Extended => {
            write!(out, r#"{{"$date": {{"$numberLong": "{millis}"}}}}"#)
        }
        JsonMode::Shell if (SHELL_MILLIS_MIN..=SHELL_MILLIS_MAX).contains(&millis) => {
            let moment = Moment::from_millis(millis);
            write!(out, r#"ISODate("{moment}.{:03}Z")"#, moment.millisecond)
        }
        JsonMode::Shell => write!(out, "new Date({millis})"),
    }
    .expect("invariant: a String takes all text");
}

/// A date of the calendar in UTC. `Display` writes it without the milliseconds.
struct Moment {
    year: i64,
    month: i64,
    day: i64,
    second_of_day: i64,
    millisecond: i64,
}

impl Moment {
    fn from_millis(millis: i64) -> Self {
        let (year, month, day) = civil(
            millis.div_euclid(DAY_MILLIS),
            millis >= GREGORIAN_FROM_MILLIS,
        );
        let in_day = millis.rem_euclid(DAY_MILLIS);
        Self {
            year,
            month,
            day,
            second_of_day: in_day / 1000,
            millisecond: in_day % 1000,
        }
    }
}

impl std::fmt::Display for Moment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (hour, minute, second) = (
            self.second_of_day / 3600,
            self.second_of_day / 60 % 60,
            self.second_of_day % 60,
        );
        write!(
            f,
            "{:04}-{:02}-{:02}T{hour:02}:{minute:02}:{second:02}",
            self.year, self.month, self.day
        )
    }
}

/// Returns year, month and day of the day `days` after 1970-01-01.
///
/// Source: Richards, "Calendars" (Explanatory Supplement to the Astronomical Almanac, 2013), algorithm 3.
fn civil(days: i64, is_gregorian: bool) -> (i64, i64, i64) {
    let julian_day = days + JULIAN_DAY_OF_1970;
    let mut f = julian_day + 1401;
    if is_gregorian {
        f += (4 * julian_day + 274_277) / 146_097 * 3 / 4 - 38;
    }
    let e = 4 * f + 3;
    let h = 5 * (e % 1461 / 4) + 2;
    let day = h % 153 / 5 + 1;
    let month = (h / 153 + 2) % 12 + 1;
    (e / 1461 - 4716 + (14 - month) / 12, month, day)
}

const DAY_MILLIS: i64 = 86_400_000;
const JULIAN_DAY_OF_1970: i64 = 2_440_588;
/// Java's calendar is Julian before 1582-10-15.
const GREGORIAN_FROM_MILLIS: i64 = -12_219_292_800_000;
/// The last millisecond of the year 9999.
const RELAXED_MILLIS_MAX: i64 = 253_402_300_799_999;
/// The driver's own limits for `ISODate`: from the year 99 to shortly before the end of the year 9999.
const SHELL_MILLIS_MIN: i64 = -59_014_396_800_000;
const SHELL_MILLIS_MAX: i64 = 253_399_536_000_000;
