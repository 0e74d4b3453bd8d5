//! Dates taken apart, made of parts, and written. A timezone is a constant: UTC, or an offset; a place's rules change with time.

use bson::spec::ElementType;

use crate::query::expression::calendar::{self, Moment};
use crate::query::expression::node::{Node, given};
use crate::query::expression::numeric::{Numeric, wrong_type};
use crate::query::expression::{Builder, Computed, Failure, Outcome, Scope};
use crate::query::value::Value;

/// Returns a date's milliseconds: of a timestamp and an ObjectId, their seconds.
pub(super) fn millis(value: &Computed<'_>) -> Result<i64, Failure> {
    match value.kind() {
        ElementType::DateTime => Ok(value.value().word() as i64),
        ElementType::Timestamp => Ok((value.value().word() >> 32) as i64 * 1000),
        ElementType::ObjectId => {
            let seconds = value.value().bytes().first_chunk::<4>();
            let seconds = seconds.map_or(0, |bytes| i32::from_be_bytes(*bytes));
            Ok(i64::from(seconds) * 1000)
        }
        _ => Err(wrong_type(16006, "a date made", Some(value))),
    }
}

/// Returns the minutes that stand in the expression.
pub(super) fn offset(node: &Node) -> i64 {
    let minutes = node.constant().flatten().map(|value| value.half_word());
    i64::from(minutes.unwrap_or(0))
}

/// `[date, minutes of the timezone]`.
fn part<'d>(
    arguments: &'d [Node],
    scope: &mut Scope<'d>,
    part: fn(&Moment) -> Computed<'d>,
) -> Outcome<'d> {
    let [date, zone] = arguments else {
        return Ok(None);
    };
    let Some(date) = given(date, scope)? else {
        return Ok(Some(Computed::null()));
    };
    let moment = Moment::local(millis(&date)?, offset(zone));
    Ok(Some(part(&moment)))
}

macro_rules! parts {
    ($($name:ident: $value:expr;)*) => {
        $(pub(super) fn $name<'d>(arguments: &'d [Node], scope: &mut Scope<'d>) -> Outcome<'d> {
            part(arguments, scope, |moment| Computed::int(($value)(moment) as i32))
        })*
    };
}

parts! {
    year: |moment: &Moment| moment.year;
    month: |moment: &Moment| moment.month;
    day_of_month: |moment: &Moment| moment.day;
    hour: |moment: &Moment| moment.hour;
    minute: |moment: &Moment| moment.minute;
    second: |moment: &Moment| moment.second;
    millisecond: |moment: &Moment| moment.millisecond;
    day_of_week: Moment::day_of_week;
    day_of_year: Moment::day_of_year;
    week: Moment::week;
    iso_day_of_week: Moment::iso_day_of_week;
    iso_week: |moment: &Moment| moment.iso_week().1;
}

pub(super) fn iso_week_year<'d>(arguments: &'d [Node], scope: &mut Scope<'d>) -> Outcome<'d> {
    part(arguments, scope, |moment| {
        Computed::long(moment.iso_week().0)
    })
}

/// `[date, minutes of the timezone, whether in weeks]`.
pub(super) fn to_parts<'d>(arguments: &'d [Node], scope: &mut Scope<'d>) -> Outcome<'d> {
    let [date, zone, of_weeks] = arguments else {
        return Ok(None);
    };
    let date = given(date, scope)?;
    let of_weeks = match of_weeks {
        Node::Absent => false,
        of_weeks => match given(of_weeks, scope)? {
            None => return Ok(Some(Computed::null())),
            Some(flag) if flag.kind() == ElementType::Boolean => flag.value().bytes() != [0],
            Some(other) => {
                return Err(wrong_type(40521, "$dateToParts with iso8601", Some(&other)));
            }
        },
    };
    let Some(date) = date else {
        return Ok(Some(Computed::null()));
    };
    let moment = Moment::local(millis(&date)?, offset(zone));
    let (week_year, week) = moment.iso_week();
    let day: [(&str, i64); 3] = match of_weeks {
        true => [
            ("isoWeekYear", week_year),
            ("isoWeek", week),
            ("isoDayOfWeek", moment.iso_day_of_week()),
        ],
        false => [
            ("year", moment.year),
            ("month", moment.month),
            ("day", moment.day),
        ],
    };
    let time: [(&str, i64); 4] = [
        ("hour", moment.hour),
        ("minute", moment.minute),
        ("second", moment.second),
        ("millisecond", moment.millisecond),
    ];
    let mut parts = Builder::new();
    for (name, part) in day.into_iter().chain(time) {
        parts.field(name.as_bytes(), Computed::int(part as i32).value());
    }
    parts.document().map(Some)
}

/// `[whether in weeks, year, month, day, hour, minute, second, millisecond, minutes of the timezone]`; what is beyond its
/// larger part is carried on.
pub(super) fn from_parts<'d>(arguments: &'d [Node], scope: &mut Scope<'d>) -> Outcome<'d> {
    let [
        of_weeks,
        year,
        month,
        day,
        hour,
        minute,
        second,
        millisecond,
        zone,
    ] = arguments
    else {
        return Ok(None);
    };
    let mut parts = [0; 7];
    // In the server's order: which one fails, or is null, is decided by the first.
    let all = [
        (hour, 3, 0, true),
        (minute, 4, 0, true),
        (second, 5, 0, false),
        (millisecond, 6, 0, false),
        (year, 0, 1970, false),
        (month, 1, 1, true),
        (day, 2, 1, true),
    ];
    for (node, place, default, is_bounded) in all {
        let part = match node {
            Node::Absent => Some(default),
            node => whole_part(node, scope, is_bounded)?,
        };
        let Some(part) = part else {
            return Ok(Some(Computed::null()));
        };
        parts[place] = part;
    }
    let [year, month, day, hour, minute, second, millisecond] = parts;
    if !(1..=9999).contains(&year) {
        return Err(Failure::new(40523, format!("a date in the year {year}")));
    }
    let of_weeks = of_weeks
        .constant()
        .flatten()
        .is_some_and(|flag| flag.half_word() != 0);
    let days = match of_weeks {
        true => calendar::days_of_week(year, month, day),
        false => calendar::days_of(year, month, day),
    };
    let minutes = (days * 24 + hour) * 60 + minute - offset(zone);
    let too_large = || Failure::new(159, "a date beyond what a date can be");
    // The server counts in microseconds here.
    let is_countable = millisecond.checked_mul(1000).is_some();
    let millis = second
        .checked_add(minutes * 60)
        .and_then(|seconds| seconds.checked_mul(1000)?.checked_add(millisecond))
        .filter(|_| is_countable);
    Ok(Some(Computed::date(millis.ok_or_else(too_large)?)))
}

/// A part of a date; `None` where it is missing, null or undefined.
fn whole_part<'d>(
    node: &'d Node,
    scope: &mut Scope<'d>,
    is_bounded: bool,
) -> Result<Option<i64>, Failure> {
    let Some(value) = given(node, scope)? else {
        return Ok(None);
    };
    let part = Numeric::of(value.value()).and_then(Numeric::whole);
    let part = part.ok_or_else(|| wrong_type(40515, "$dateFromParts", Some(&value)))?;
    match is_bounded && i16::try_from(part).is_err() {
        true => Err(Failure::new(
            31034,
            format!("$dateFromParts of a part of {part}"),
        )),
        false => Ok(Some(part)),
    }
}

/// Says whether a constant is a bin's size.
pub(super) fn is_bin_size(value: Option<Value<'_>>) -> bool {
    let number = value.and_then(Numeric::of);
    number.and_then(Numeric::whole).is_some_and(|size| size > 0)
}

/// `[date, minutes of the timezone, format, on null]`.
pub(super) fn to_string<'d>(arguments: &'d [Node], scope: &mut Scope<'d>) -> Outcome<'d> {
    let [date, zone, format, on_null] = arguments else {
        return Ok(None);
    };
    let Some(date) = given(date, scope)? else {
        return match on_null {
            Node::Absent => Ok(Some(Computed::null())),
            on_null => on_null.evaluate(scope),
        };
    };
    let minutes = offset(zone);
    let moment = Moment::local(millis(&date)?, minutes);
    let format = format.constant().flatten().map(|format| format.text());
    let format = format.unwrap_or(FORMAT);
    check_years(&moment, format)?;
    let mut text = Vec::new();
    let mut rest = format.iter();
    while let Some(byte) = rest.next() {
        match byte {
            b'%' => write(&moment, minutes, rest.next().copied(), &mut text),
            byte => text.push(*byte),
        }
    }
    Ok(Some(Computed::string(&text)))
}

/// Refuses a year that has not four digits, where it would be written.
fn check_years(moment: &Moment, format: &[u8]) -> Result<(), Failure> {
    let mut rest = format.iter();
    while let Some(byte) = rest.next() {
        let specifier = if *byte == b'%' { rest.next() } else { None };
        let year = match specifier {
            Some(b'Y') => moment.year,
            Some(b'G') => moment.iso_week().0,
            _ => continue,
        };
        if !(0..=9999).contains(&year) {
            let what = format!("the year {year} as a text");
            return Err(Failure::new(18537, what));
        }
    }
    Ok(())
}

fn write(moment: &Moment, minutes: i64, specifier: Option<u8>, text: &mut Vec<u8>) {
    let written = match specifier {
        Some(b'Y') => format!("{:04}", moment.year),
        Some(b'm') => format!("{:02}", moment.month),
        Some(b'd') => format!("{:02}", moment.day),
        Some(b'H') => format!("{:02}", moment.hour),
        Some(b'M') => format!("{:02}", moment.minute),
        Some(b'S') => format!("{:02}", moment.second),
        Some(b'L') => format!("{:03}", moment.millisecond),
        Some(b'j') => format!("{:03}", moment.day_of_year()),
        Some(b'w') => moment.day_of_week().to_string(),
        Some(b'u') => moment.iso_day_of_week().to_string(),
        Some(b'U') => format!("{:02}", moment.week()),
        Some(b'V') => format!("{:02}", moment.iso_week().1),
        Some(b'G') => format!("{:04}", moment.iso_week().0),
        Some(b'z') => {
            let sign = if minutes < 0 { '-' } else { '+' };
            format!("{sign}{:02}{:02}", minutes.abs() / 60, minutes.abs() % 60)
        }
        Some(b'Z') => minutes.to_string(),
        _ => "%".to_owned(),
    };
    text.extend(written.as_bytes());
}

/// Says whether every `%` of a format is one that all versions know.
pub(super) fn is_format(format: &[u8]) -> bool {
    let mut rest = format.iter();
    while let Some(byte) = rest.next() {
        if *byte == b'%' && !rest.next().is_some_and(|next| SPECIFIERS.contains(next)) {
            return false;
        }
    }
    !format.contains(&0)
}

/// Returns the minutes of a timezone that has the same everywhere and always.
pub(super) fn zone_minutes(name: &[u8]) -> Option<i32> {
    if matches!(name, b"UTC" | b"GMT") {
        return Some(0);
    }
    let (sign, rest) = match name.split_first()? {
        (b'+', rest) => (1, rest),
        (b'-', rest) => (-1, rest),
        _ => return None,
    };
    let digits: Vec<u8> = match rest {
        [_, _] | [_, _, _, _] => rest.to_vec(),
        [a, b, b':', c, d] => vec![*a, *b, *c, *d],
        _ => return None,
    };
    let number = std::str::from_utf8(&digits).ok()?;
    if !number.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let number: i32 = number.parse().ok()?;
    let (hours, minutes) = match digits.len() {
        2 => (number, 0),
        _ => (number / 100, number % 100),
    };
    (hours < 24 && minutes < 60).then_some(sign * (hours * 60 + minutes))
}

const FORMAT: &[u8] = b"%Y-%m-%dT%H:%M:%S.%LZ";
const SPECIFIERS: &[u8] = b"YmdHMSLjwuUVGzZ%";
