//! Strings: their parts, their lengths, and what is found in them. Letters are ASCII's only, as on the server.

use bson::spec::ElementType;
use memchr::memmem;

use crate::query::expression::arrays::bound;
use crate::query::expression::computed::check_size;
use crate::query::expression::node::{Node, given};
use crate::query::expression::numeric::{Numeric, wrong_type};
use crate::query::expression::{Builder, Computed, Failure, Outcome, Scope, text};

fn null<'d>() -> Outcome<'d> {
    Ok(Some(Computed::null()))
}

fn string<'d>(text: &[u8]) -> Outcome<'d> {
    check_size(text.len())?;
    Ok(Some(Computed::string(text)))
}

/// Refuses what is no string.
fn check(value: &Computed<'_>, code: i32, operator: &str) -> Result<(), Failure> {
    match value.kind() {
        ElementType::String => Ok(()),
        _ => Err(wrong_type(code, operator, Some(value))),
    }
}

/// Says whether a byte is the first of a code point.
pub(super) fn is_start(byte: &u8) -> bool {
    byte & 0xc0 != 0x80
}

/// Counts code points.
pub(super) fn points(text: &[u8]) -> usize {
    text.iter().filter(|byte| is_start(byte)).count()
}

pub(super) fn concat<'d>(arguments: &'d [Node], scope: &mut Scope<'d>) -> Outcome<'d> {
    let mut result = Vec::new();
    for argument in arguments {
        let Some(value) = given(argument, scope)? else {
            return null();
        };
        check(&value, 16702, "$concat")?;
        result.extend(value.value().text());
        check_size(result.len())?;
    }
    string(&result)
}

pub(super) fn substring_bytes<'d>(arguments: &'d [Node], scope: &mut Scope<'d>) -> Outcome<'d> {
    let [value, start, len] = arguments else {
        return Ok(None);
    };
    let value = value.evaluate(scope)?;
    let (start, len) = (start.evaluate(scope)?, len.evaluate(scope)?);
    let text = text::coerce(value.as_ref())?;
    let number = |value: &Option<Computed<'d>>| {
        let number = value.as_ref().and_then(|value| Numeric::of(value.value()));
        let long = number.and_then(Numeric::to_long);
        long.ok_or_else(|| wrong_type(16034, "$substrBytes by", value.as_ref()))
    };
    let (start, len) = (number(&start)?, number(&len)?);
    let start = usize::try_from(start)
        .map_err(|_| Failure::new(50752, "$substrBytes from a negative place"))?;
    if start >= text.len() {
        return string(b"");
    }
    let end =
        usize::try_from(len).map_or(text.len(), |len| start.saturating_add(len).min(text.len()));
    if !is_start(&text[start]) || text.get(end).is_some_and(|byte| !is_start(byte)) {
        return Err(Failure::new(28656, "$substrBytes inside a character"));
    }
    string(&text[start..end])
}

pub(super) fn substring_points<'d>(arguments: &'d [Node], scope: &mut Scope<'d>) -> Outcome<'d> {
    let [value, start, len] = arguments else {
        return Ok(None);
    };
    let value = value.evaluate(scope)?;
    let (start, len) = (start.evaluate(scope)?, len.evaluate(scope)?);
    let text = text::coerce(value.as_ref())?;
    let number = |value: &Option<Computed<'d>>| {
        let number = value.as_ref().and_then(|value| Numeric::of(value.value()));
        let whole = number.and_then(Numeric::whole_int);
        let whole = whole.and_then(|whole| usize::try_from(whole).ok());
        whole.ok_or_else(|| wrong_type(34450, "$substrCP by", value.as_ref()))
    };
    let (start, len) = (number(&start)?, number(&len)?);
    let mut places = text
        .iter()
        .enumerate()
        .filter(|(_, byte)| is_start(byte))
        .map(|(place, _)| place);
    let from = places.nth(start).unwrap_or(text.len());
    let to = match len.checked_sub(1) {
        None => from,
        Some(behind) => places.nth(behind).unwrap_or(text.len()),
    };
    string(&text[from..to.max(from)])
}

pub(super) fn length_bytes<'d>(arguments: &'d [Node], scope: &mut Scope<'d>) -> Outcome<'d> {
    length(arguments, scope, "$strLenBytes", <[u8]>::len)
}

pub(super) fn length_points<'d>(arguments: &'d [Node], scope: &mut Scope<'d>) -> Outcome<'d> {
    length(arguments, scope, "$strLenCP", points)
}

fn length<'d>(
    arguments: &'d [Node],
    scope: &mut Scope<'d>,
    operator: &str,
    count: fn(&[u8]) -> usize,
) -> Outcome<'d> {
    let [argument] = arguments else {
        return Ok(None);
    };
    match argument.evaluate(scope)? {
        Some(value) if value.kind() == ElementType::String => {
            Ok(Some(Computed::int(count(value.value().text()) as i32)))
        }
        value => Err(wrong_type(34473, operator, value.as_ref())),
    }
}

pub(super) fn lower<'d>(arguments: &'d [Node], scope: &mut Scope<'d>) -> Outcome<'d> {
    let [argument] = arguments else {
        return Ok(None);
    };
    let value = argument.evaluate(scope)?;
    string(&text::coerce(value.as_ref())?.to_ascii_lowercase())
}

pub(super) fn upper<'d>(arguments: &'d [Node], scope: &mut Scope<'d>) -> Outcome<'d> {
    let [argument] = arguments else {
        return Ok(None);
    };
    let value = argument.evaluate(scope)?;
    string(&text::coerce(value.as_ref())?.to_ascii_uppercase())
}

pub(super) fn compare_caseless<'d>(arguments: &'d [Node], scope: &mut Scope<'d>) -> Outcome<'d> {
    let [left, right] = arguments else {
        return Ok(None);
    };
    let (left, right) = (left.evaluate(scope)?, right.evaluate(scope)?);
    let left = text::coerce(left.as_ref())?.to_ascii_uppercase();
    let right = text::coerce(right.as_ref())?.to_ascii_uppercase();
    Ok(Some(Computed::int(left.cmp(&right) as i32)))
}

pub(super) fn split<'d>(arguments: &'d [Node], scope: &mut Scope<'d>) -> Outcome<'d> {
    let [value, separator] = arguments else {
        return Ok(None);
    };
    let (value, separator) = (given(value, scope)?, given(separator, scope)?);
    let (Some(value), Some(separator)) = (value, separator) else {
        return null();
    };
    check(&value, 40085, "$split")?;
    check(&separator, 40086, "$split by")?;
    let (text, separator) = (value.value().text(), separator.value().text());
    if separator.is_empty() {
        return Err(Failure::new(40087, "$split by an empty text"));
    }
    let mut result = Builder::new();
    let mut start = 0;
    for place in memmem::find_iter(text, separator) {
        result.element(Computed::string(&text[start..place]).value());
        start = place + separator.len();
        result.check()?;
    }
    result.element(Computed::string(&text[start..]).value());
    result.array().map(Some)
}

pub(super) fn trim<'d>(arguments: &'d [Node], scope: &mut Scope<'d>) -> Outcome<'d> {
    trimmed(arguments, scope, true, true)
}

pub(super) fn trim_left<'d>(arguments: &'d [Node], scope: &mut Scope<'d>) -> Outcome<'d> {
    trimmed(arguments, scope, true, false)
}

pub(super) fn trim_right<'d>(arguments: &'d [Node], scope: &mut Scope<'d>) -> Outcome<'d> {
    trimmed(arguments, scope, false, true)
}

/// `[input, chars]`.
fn trimmed<'d>(
    arguments: &'d [Node],
    scope: &mut Scope<'d>,
    from_left: bool,
    from_right: bool,
) -> Outcome<'d> {
    let [input, set] = arguments else {
        return Ok(None);
    };
    let Some(value) = given(input, scope)? else {
        return null();
    };
    check(&value, 50699, "$trim")?;
    let given_set = match set {
        Node::Absent => None,
        set => match given(set, scope)? {
            None => return null(),
            Some(set) => {
                check(&set, 50700, "$trim by")?;
                Some(set)
            }
        },
    };
    let mut set: Vec<&[u8]> = WHITESPACE.iter().map(|text| text.as_bytes()).collect();
    if let Some(given) = &given_set {
        set = characters(given.value().text())?;
    }
    let mut rest = value.value().text();
    while from_left && let Some(found) = set.iter().find(|character| rest.starts_with(character)) {
        rest = &rest[found.len()..];
    }
    while from_right && let Some(found) = set.iter().find(|character| rest.ends_with(character)) {
        rest = &rest[..rest.len() - found.len()];
    }
    string(rest)
}

/// Splits the characters to trim by, as the server does: by what each first byte says of its length. A text that another
/// operator has cut inside a character fails where it would.
fn characters(text: &[u8]) -> Result<Vec<&[u8]>, Failure> {
    let mut all = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.first() {
        let length = match first {
            0x80..=0xbf => return Err(Failure::new(50698, "$trim by what is no UTF-8")),
            0xc0..=0xdf => 2,
            0xe0..=0xef => 3,
            0xf0..=0xf7 => 4,
            0x00..=0x7f | 0xf8..=0xff => 1,
        };
        let cut = || Failure::new(50697, "$trim by a character that is cut");
        let (character, behind) = rest.split_at_checked(length).ok_or_else(cut)?;
        all.push(character);
        rest = behind;
    }
    Ok(all)
}

pub(super) fn index_bytes<'d>(arguments: &'d [Node], scope: &mut Scope<'d>) -> Outcome<'d> {
    let Some((text, wanted, bounds)) = search(arguments, scope, "$indexOfBytes")? else {
        return null();
    };
    let (text, wanted) = (text.value(), wanted.value());
    let (text, wanted) = (text.text(), wanted.text());
    let start = bound(bounds.first(), scope, 0, "$indexOfBytes")?;
    let end = bound(bounds.get(1), scope, text.len(), "$indexOfBytes")?.min(text.len());
    let part = text.get(start..end);
    let found = part.and_then(|part| memmem::find(part, wanted));
    let index = found.map_or(-1, |place| (place + start) as i32);
    Ok(Some(Computed::int(index)))
}

pub(super) fn index_points<'d>(arguments: &'d [Node], scope: &mut Scope<'d>) -> Outcome<'d> {
    let Some((text, wanted, bounds)) = search(arguments, scope, "$indexOfCP")? else {
        return null();
    };
    let (text, wanted) = (text.value(), wanted.value());
    let (text, wanted) = (text.text(), wanted.text());
    let start = bound(bounds.first(), scope, 0, "$indexOfCP")?;
    let end = bound(bounds.get(1), scope, usize::MAX, "$indexOfCP")?;
    let places = text
        .iter()
        .enumerate()
        .filter(|(_, byte)| is_start(byte))
        .map(|(place, _)| place);
    let mut found = places
        .enumerate()
        .skip(start)
        .take_while(|(point, _)| *point < end);
    let index = match (wanted.is_empty(), text.is_empty()) {
        (true, true) if start == 0 => 0,
        _ => found
            .find(|(_, place)| text[*place..].starts_with(wanted))
            .map_or(-1, |(point, _)| point as i32),
    };
    Ok(Some(Computed::int(index)))
}

/// A text, what is searched in it, and the nodes of the bounds.
type Search<'d> = (Computed<'d>, Computed<'d>, &'d [Node]);

fn search<'d>(
    arguments: &'d [Node],
    scope: &mut Scope<'d>,
    operator: &str,
) -> Result<Option<Search<'d>>, Failure> {
    let [text, wanted, bounds @ ..] = arguments else {
        return Ok(None);
    };
    let Some(text) = given(text, scope)? else {
        return Ok(None);
    };
    check(&text, 40091, operator)?;
    let wanted = wanted.evaluate(scope)?;
    match wanted {
        Some(wanted) if wanted.kind() == ElementType::String => Ok(Some((text, wanted, bounds))),
        wanted => Err(wrong_type(40092, operator, wanted.as_ref())),
    }
}

pub(super) fn replace_one<'d>(arguments: &'d [Node], scope: &mut Scope<'d>) -> Outcome<'d> {
    replaced(arguments, scope, 1)
}

pub(super) fn replace_all<'d>(arguments: &'d [Node], scope: &mut Scope<'d>) -> Outcome<'d> {
    replaced(arguments, scope, usize::MAX)
}

/// `[input, find, replacement]`.
fn replaced<'d>(arguments: &'d [Node], scope: &mut Scope<'d>, most: usize) -> Outcome<'d> {
    let mut values = Vec::with_capacity(3);
    for argument in arguments {
        let value = given(argument, scope)?;
        if let Some(value) = &value {
            check(value, 51745, "$replaceOne")?;
        }
        values.push(value);
    }
    let [Some(text), Some(wanted), Some(replacement)] = values.as_slice() else {
        return null();
    };
    let (text, wanted) = (text.value(), wanted.value());
    let (text, wanted) = (text.text(), wanted.text());
    let replacement = replacement.value();
    let mut result = Vec::new();
    let mut start = 0;
    for place in memmem::find_iter(text, wanted).take(most) {
        result.extend(&text[start..place]);
        result.extend(replacement.text());
        check_size(result.len())?;
        start = place + wanted.len();
    }
    result.extend(&text[start..]);
    string(&result)
}

/// What is trimmed unless told otherwise. Source: MongoDB manual, `$trim`.
const WHITESPACE: [&str; 20] = [
    "\0", " ", "\t", "\n", "\x0b", "\x0c", "\r", "\u{a0}", "\u{1680}", "\u{2000}", "\u{2001}",
    "\u{2002}", "\u{2003}", "\u{2004}", "\u{2005}", "\u{2006}", "\u{2007}", "\u{2008}", "\u{2009}",
    "\u{200a}",
];
