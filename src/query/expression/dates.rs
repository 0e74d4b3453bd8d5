//! Dates taken apart and written. A timezone is a constant: UTC, or an offset; a place's rules change with time.

use bson::spec::ElementType;

use crate::query::expression::calendar::Moment;
use crate::query::expression::node::{Node, given};
use crate::query::expression::numeric::wrong_type;
use crate::query::expression::{Computed, Failure, Outcome, Scope};

/// Evaluates a date: of a timestamp and an ObjectId, their seconds.
fn millis(value: &Computed<'_>) -> Result<i64, Failure> {
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
fn offset(node: &Node) -> i64 {
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
