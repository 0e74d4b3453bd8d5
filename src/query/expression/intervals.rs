//! Dates and spans of time: `$dateAdd`, `$dateSubtract`, `$dateDiff` and `$dateTrunc`.
//!
//! Unit, timezone and the day on which weeks begin are constants, so what the server decides for them is decided once.

use crate::query::expression::calendar::{self, Moment};
use crate::query::expression::dates::{millis, offset};
use crate::query::expression::node::{Node, given};
use crate::query::expression::numeric::{Numeric, wrong_type};
use crate::query::expression::{Computed, Failure, Outcome, Scope};

/// A unit of time. Its number stands in the expression.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    Millisecond,
    Second,
    Minute,
    Hour,
    Day,
    Week,
    Month,
    Quarter,
    Year,
}

impl Unit {
    pub(super) fn named(name: &[u8]) -> Option<Self> {
        let named = UNITS.iter().find(|(known, _)| known.as_bytes() == name);
        named.map(|(_, unit)| *unit)
    }

    fn of(node: &Node) -> Self {
        let number = node.constant().flatten().map(|value| value.half_word());
        let unit = UNITS.iter().find(|(_, unit)| Some(*unit as i32) == number);
        unit.map_or(Self::Millisecond, |(_, unit)| *unit)
    }

    /// How long it is, if it is always as long.
    fn millis(self) -> Option<i64> {
        match self {
            Self::Millisecond => Some(1),
            Self::Second => Some(1000),
            Self::Minute => Some(60 * 1000),
            Self::Hour => Some(60 * 60 * 1000),
            Self::Day => Some(DAY_MILLIS),
            Self::Week => Some(7 * DAY_MILLIS),
            Self::Month | Self::Quarter | Self::Year => None,
        }
    }

    /// How many months it is; none of a shorter one.
    fn months(self) -> i64 {
        match self {
            Self::Month => 1,
            Self::Quarter => 3,
            Self::Year => 12,
            Self::Millisecond
            | Self::Second
            | Self::Minute
            | Self::Hour
            | Self::Day
            | Self::Week => 0,
        }
    }

    /// Up to below how many of it the server adds, whatever the date.
    fn amount_max(self) -> i64 {
        match self {
            Self::Millisecond => i64::MAX,
            Self::Second => DAYS_MAX * 24 * 60 * 60,
            Self::Minute => DAYS_MAX * 24 * 60,
            Self::Hour => DAYS_MAX * 24,
            Self::Day => DAYS_MAX,
            Self::Week => DAYS_MAX / 7,
            Self::Month | Self::Quarter | Self::Year => YEARS_MAX * 12 / self.months(),
        }
    }
}

/// Returns the day of a week, from 1, Monday, of its name in English.
pub(super) fn weekday(name: &[u8]) -> Option<i32> {
    let place = WEEKDAYS.iter().position(|known| {
        name.eq_ignore_ascii_case(known.as_bytes())
            || name.eq_ignore_ascii_case(&known.as_bytes()[..3])
    });
    place.and_then(|place| i32::try_from(place + 1).ok())
}

pub(super) fn add<'d>(arguments: &'d [Node], scope: &mut Scope<'d>) -> Outcome<'d> {
    moved(arguments, scope, Some)
}

pub(super) fn subtract<'d>(arguments: &'d [Node], scope: &mut Scope<'d>) -> Outcome<'d> {
    moved(arguments, scope, i64::checked_neg)
}

/// `[date, amount, unit, minutes of the timezone]`.
fn moved<'d>(
    arguments: &'d [Node],
    scope: &mut Scope<'d>,
    sign: fn(i64) -> Option<i64>,
) -> Outcome<'d> {
    let [date, amount, unit, zone] = arguments else {
        return Ok(None);
    };
    let Some(date) = given(date, scope)? else {
        return Ok(Some(Computed::null()));
    };
    let Some(amount) = given(amount, scope)? else {
        return Ok(Some(Computed::null()));
    };
    let date = millis(&date)?;
    let whole = Numeric::of(amount.value()).and_then(Numeric::whole);
    let whole =
        whole.ok_or_else(|| wrong_type(5_166_405, "$dateAdd of an amount", Some(&amount)))?;
    let whole =
        sign(whole).ok_or_else(|| Failure::new(6_045_000, "$dateSubtract of that amount"))?;
    Ok(Some(Computed::date(sum(
        date,
        whole,
        Unit::of(unit),
        offset(zone),
    )?)))
}

/// Adds an amount of a unit to a date, on the clock of a timezone.
fn sum(date: i64, amount: i64, unit: Unit, minutes: i64) -> Result<i64, Failure> {
    let overflow = || Failure::new(5_166_406, "a date beyond what a date can be");
    if unit == Unit::Millisecond {
        return date.checked_add(amount).ok_or_else(overflow);
    }
    if !(-unit.amount_max() + 1..unit.amount_max()).contains(&amount) {
        return Err(Failure::new(5_976_500, format!("$dateAdd of {amount}")));
    }
    // The server cuts seconds downwards and milliseconds towards 1970: before it, a date with both loses a second.
    let millisecond = date % 1000;
    let span = match unit.millis() {
        Some(length) => amount * (length / 1000),
        None => days_of_months(date, amount * unit.months(), minutes) * (DAY_MILLIS / 1000),
    };
    let seconds = date.div_euclid(1000) + span - i64::from(millisecond < 0);
    let millis = seconds
        .checked_mul(1000)
        .and_then(|millis| millis.checked_add(millisecond.rem_euclid(1000)));
    millis.ok_or_else(overflow)
}

/// Returns how many days so many months are from a date on.
///
/// Days that a month does not have become its last one. But in UTC, where the day is the 28th at most, the server does not look
/// for them: it then adds to the date that has lost its second, which may be the 31st of the month before.
fn days_of_months(date: i64, amount: i64, minutes: i64) -> i64 {
    let shown = Moment::local(date, minutes);
    let is_looked_for = shown.day > 28 || minutes != 0;
    let from = match is_looked_for || date >= 0 || date % 1000 == 0 {
        true => shown,
        false => Moment::of(date.saturating_sub(1000)),
    };
    let months = from.year * 12 + from.month - 1 + amount;
    let (year, month) = (months.div_euclid(12), months.rem_euclid(12) + 1);
    let day = match is_looked_for {
        true => from.day.min(calendar::days_in_month(year, month)),
        false => from.day,
    };
    calendar::days_of(year, month, 1) + day - 1 - from.days
}

/// `[start, end, unit, minutes of the timezone, start of the week]`: the boundaries between them.
pub(super) fn difference<'d>(arguments: &'d [Node], scope: &mut Scope<'d>) -> Outcome<'d> {
    let [start, end, unit, zone, week] = arguments else {
        return Ok(None);
    };
    let Some(start) = given(start, scope)? else {
        return Ok(Some(Computed::null()));
    };
    let Some(end) = given(end, scope)? else {
        return Ok(Some(Computed::null()));
    };
    let (start, end) = (millis(&start)?, millis(&end)?);
    let unit = Unit::of(unit);
    let count = match unit {
        Unit::Millisecond => end.checked_sub(start),
        unit => {
            let at = |date| {
                place(
                    &Moment::local(date, offset(zone)),
                    unit,
                    start_of_week(week),
                )
            };
            Some(at(end) - at(start))
        }
    };
    let count = count.ok_or_else(|| Failure::new(5_166_308, "$dateDiff beyond 64 bits"))?;
    Ok(Some(Computed::long(count)))
}

/// Numbers the units of which the local clock shows the one that a moment lies in.
fn place(moment: &Moment, unit: Unit, start_of_week: i64) -> i64 {
    let hours = moment.days * 24 + moment.hour;
    match unit {
        Unit::Millisecond => {
            ((hours * 60 + moment.minute) * 60 + moment.second) * 1000 + moment.millisecond
        }
        Unit::Second => (hours * 60 + moment.minute) * 60 + moment.second,
        Unit::Minute => hours * 60 + moment.minute,
        Unit::Hour => hours,
        Unit::Day => moment.days,
        // 1970 began on a Thursday, the fourth.
        Unit::Week => (moment.days + 4 - start_of_week).div_euclid(7),
        Unit::Month => moment.year * 12 + moment.month - 1,
        Unit::Quarter => moment.year * 4 + (moment.month - 1) / 3,
        Unit::Year => moment.year,
    }
}

/// `[date, size of a bin, unit, minutes of the timezone, start of the week]`; bins are counted from 2000 on.
pub(super) fn truncate<'d>(arguments: &'d [Node], scope: &mut Scope<'d>) -> Outcome<'d> {
    let [date, size, unit, zone, week] = arguments else {
        return Ok(None);
    };
    let Some(date) = given(date, scope)? else {
        return Ok(Some(Computed::null()));
    };
    let size = match size {
        Node::Absent => Some(Computed::long(1)),
        size => given(size, scope)?,
    };
    let Some(size) = size else {
        return Ok(Some(Computed::null()));
    };
    let date = millis(&date)?;
    let whole = Numeric::of(size.value()).and_then(Numeric::whole);
    let whole =
        whole.ok_or_else(|| wrong_type(5_439_017, "$dateTrunc by a binSize", Some(&size)))?;
    if whole <= 0 {
        return Err(Failure::new(
            5_439_018,
            format!("$dateTrunc by a binSize of {whole}"),
        ));
    }
    let (minutes, week) = (offset(zone), start_of_week(week));
    Ok(Some(Computed::date(lower_bound(
        date,
        whole,
        Unit::of(unit),
        minutes,
        week,
    )?)))
}

fn lower_bound(
    date: i64,
    size: i64,
    unit: Unit,
    minutes: i64,
    start_of_week: i64,
) -> Result<i64, Failure> {
    let overflow = || Failure::new(5_439_000, "$dateTrunc beyond what a date can be");
    // The 1st of January was a Saturday, the sixth.
    let days = if unit == Unit::Week {
        (start_of_week - 6).rem_euclid(7)
    } else {
        0
    };
    let reference = REFERENCE_MILLIS - minutes * 60 * 1000 + days * DAY_MILLIS;
    if let (Unit::Millisecond | Unit::Second | Unit::Minute | Unit::Hour, Some(length)) =
        (unit, unit.millis())
    {
        let size = size.checked_mul(length).ok_or_else(overflow)?;
        let distance = date.checked_sub(reference).ok_or_else(overflow)?;
        return date
            .checked_sub(distance.rem_euclid(size))
            .ok_or_else(overflow);
    }
    if size > BIN_SIZE_MAX {
        return Err(Failure::new(
            5_439_006,
            format!("$dateTrunc by a binSize of {size}"),
        ));
    }
    let at = |date| place(&Moment::local(date, minutes), unit, start_of_week);
    let distance = at(date) - at(reference);
    sum(
        reference,
        distance - distance.rem_euclid(size),
        unit,
        minutes,
    )
}

/// From 1, Monday; weeks begin on Sunday unless told otherwise.
fn start_of_week(node: &Node) -> i64 {
    let day = node.constant().flatten().map(|value| value.half_word());
    day.map_or(7, i64::from)
}

const UNITS: [(&str, Unit); 9] = [
    ("millisecond", Unit::Millisecond),
    ("second", Unit::Second),
    ("minute", Unit::Minute),
    ("hour", Unit::Hour),
    ("day", Unit::Day),
    ("week", Unit::Week),
    ("month", Unit::Month),
    ("quarter", Unit::Quarter),
    ("year", Unit::Year),
];
const WEEKDAYS: [&str; 7] = [
    "monday",
    "tuesday",
    "wednesday",
    "thursday",
    "friday",
    "saturday",
    "sunday",
];
const DAY_MILLIS: i64 = 24 * 60 * 60 * 1000;
/// The server's limits: about the whole range of dates, from one end to the other.
const DAYS_MAX: i64 = (u64::MAX / DAY_MILLIS as u64) as i64 + 1;
const YEARS_MAX: i64 = DAYS_MAX / 365 + 1;
const BIN_SIZE_MAX: i64 = 100_000_000_000;
/// The beginning of 2000 in UTC.
const REFERENCE_MILLIS: i64 = 946_684_800_000;
