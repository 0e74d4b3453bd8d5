//! Durations and sizes as people write them. Units are mandatory: `30` says nothing.

use std::time::Duration;

/// Units of a duration, in milliseconds.
const DURATION_UNITS: [(&str, u64); 5] = [
    ("ms", 1),
    ("s", 1_000),
    ("m", 60 * 1_000),
    ("h", 60 * 60 * 1_000),
    ("d", 24 * 60 * 60 * 1_000),
];

/// Units of a size, in bytes.
const SIZE_UNITS: [(&str, u64); 4] = [
    ("B", 1),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
];

/// Reads `"250ms"`, `"30s"`, `"5m"`, `"1h"`, `"7d"`.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let hint = "a duration is a whole number with a unit: ms, s, m, h or d, such as \"30s\"";
    scaled(text, &DURATION_UNITS, hint).map(Duration::from_millis)
}

/// Reads `"512B"`, `"64KiB"`, `"1MiB"`, `"2GiB"`.
pub(super) fn size(text: &str) -> Result<usize, String> {
    let hint = "a size is a whole number with a unit: B, KiB, MiB or GiB, such as \"64KiB\"";
    let bytes = scaled(text, &SIZE_UNITS, hint)?;
    usize::try_from(bytes).map_err(|_| "is too large".to_owned())
}

fn scaled(text: &str, units: &[(&str, u64)], hint: &str) -> Result<u64, String> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let unit = unit.trim_start_matches(' ');
    let Some((_, factor)) = units.iter().find(|(name, _)| *name == unit) else {
        return Err(hint.to_owned());
    };
    if number.is_empty() {
        return Err(hint.to_owned());
    }
    number
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(*factor))
        .ok_or_else(|| "is too large".to_owned())
}

/// A duration in the form in which it would be written: the largest unit that leaves a whole number.
pub(super) fn duration_text(duration: Duration) -> String {
    let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    scaled_text(millis, &DURATION_UNITS)
}

/// A size in the form in which it would be written.
pub(super) fn size_text(bytes: usize) -> String {
    scaled_text(bytes as u64, &SIZE_UNITS)
}

fn scaled_text(amount: u64, units: &[(&str, u64)]) -> String {
    let largest = units
        .iter()
        .rev()
        .find(|(_, factor)| amount != 0 && amount.is_multiple_of(*factor));
    let (unit, factor) = largest.unwrap_or(&units[0]);
    format!("{}{unit}", amount / factor)
}
