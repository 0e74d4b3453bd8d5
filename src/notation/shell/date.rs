//! Dates as text.

use bson::DateTime;

/// Reads `2023-11-14`, `2023-11-14T22:13Z`, `…:20Z`, `….123Z`, with `Z` or an offset such as `+01:00` or `+0100`.
pub(super) fn iso(text: &str) -> Option<DateTime> {
    let Some((date, time)) = text.split_once('T') else {
        return Some(DateTime::from_millis(day(text)? * DAY_MILLIS));
    };
    let zone_at = time.find(['Z', '+', '-'])?;
    let (clock, zone) = time.split_at(zone_at);
    let millis = day(date)? * DAY_MILLIS + clock_millis(clock)? - offset_millis(zone)?;
    Some(DateTime::from_millis(millis))
}

/// Returns the date of year, month from 0, day, and hour, minute, second, millisecond if given.
pub(super) fn from_parts(parts: &[i64]) -> Option<DateTime> {
    let part = |index: usize| parts.get(index).copied().unwrap_or(0);
    let (year, month, day) = (part(0), part(1), part(2));
    if year.abs() > YEAR_MAX || !(0..12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let in_day = [
        (3, 24, 3_600_000),
        (4, 60, 60_000),
        (5, 60, 1000),
        (6, 1000, 1),
    ];
    let mut millis = days(year, month + 1, day) * DAY_MILLIS;
    for (index, limit, unit) in in_day {
        let value = part(index);
        if !(0..limit).contains(&value) {
            return None;
        }
        millis += value * unit;
    }
    Some(DateTime::from_millis(millis))
}

fn day(text: &str) -> Option<i64> {
    let mut parts = text.splitn(3, '-');
    let (year, month, day) = (
        digits(parts.next()?, 4)?,
        digits(parts.next()?, 2)?,
        digits(parts.next()?, 2)?,
    );
    let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let last = match month {
        4 | 6 | 9 | 11 => 30,
        2 if is_leap => 29,
        2 => 28,
        1..=12 => 31,
        _ => return None,
    };
    (1..=last).contains(&day).then(|| days(year, month, day))
}

fn clock_millis(text: &str) -> Option<i64> {
    let (clock, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let mut parts = clock.splitn(3, ':');
    let (hour, minute) = (digits(parts.next()?, 2)?, digits(parts.next()?, 2)?);
    let second = parts.next().map_or(Some(0), |second| digits(second, 2))?;
    if hour > 23 || minute > 59 || second > 59 || fraction.is_empty() || fraction.len() > 9 {
        return None;
    }
    let padded = format!("{fraction:0<3}");
    digits(fraction, fraction.len())?;
    Some(((hour * 60 + minute) * 60 + second) * 1000 + digits(&padded[..3], 3)?)
}

fn offset_millis(zone: &str) -> Option<i64> {
    if zone == "Z" {
        return Some(0);
    }
    let sign = if zone.starts_with('-') { -1 } else { 1 };
    let digits_only = zone[1..].replacen(':', "", 1);
    if digits_only.len() != 4 {
        return None;
    }
    let number = digits(&digits_only, 4)?;
    Some(sign * (number / 100 * 60 + number % 100) * 60_000)
}

fn digits(text: &str, length: usize) -> Option<i64> {
    let is_number = text.len() == length && text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.parse().ok())?
}

/// Returns the days from 1970-01-01 to a day of the Gregorian calendar.
///
/// Source: Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms", `days_from_civil`.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

const DAY_MILLIS: i64 = 86_400_000;
const YEAR_MAX: i64 = 9999;
