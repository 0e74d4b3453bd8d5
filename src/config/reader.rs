//! Reads a parsed TOML tree key by key: knows for each value its dotted key and its line, and goes on after a fault.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fmt;
use std::ops::RangeInclusive;
use std::path::Path;
use std::time::Duration;

use toml::de::{DeTable, DeValue};

use super::environment::Environment;
use super::error::Faults;
use super::value;

/// What all sections of one file share.
pub(super) struct Source<'a> {
    pub(super) faults: &'a Faults,
    pub(super) environment: &'a dyn Environment,
    /// Every dotted key that was asked for: the keys there are.
    pub(super) asked: RefCell<BTreeSet<String>>,
}

/// One table of the file, or its absence.
pub(super) struct Section<'a> {
    source: &'a Source<'a>,
    path: String,
    line: usize,
    table: Option<&'a DeTable<'a>>,
    /// False where the section itself was faulty: its required keys are then not reported as missing too.
    is_sound: bool,
    known: RefCell<Vec<&'static str>>,
}

/// One value of the file with its place.
#[derive(Clone)]
pub(super) struct Value<'a> {
    source: &'a Source<'a>,
    pub(super) key: String,
    pub(super) line: usize,
    pub(super) value: &'a DeValue<'a>,
}

/// A string with indirections followed.
pub(super) struct Text {
    pub(super) text: String,
    /// Whether it stood in the file itself, and so may be quoted in a message.
    is_literal: bool,
}

impl<'a> Section<'a> {
    pub(super) fn root(source: &'a Source<'a>, table: &'a DeTable<'a>) -> Self {
        Self {
            source,
            path: String::new(),
            line: 1,
            table: Some(table),
            is_sound: true,
            known: RefCell::default(),
        }
    }

    /// The value of a key, if it is there.
    pub(super) fn value(&self, key: &'static str) -> Option<Value<'a>> {
        self.known.borrow_mut().push(key);
        let dotted = self.dotted(key);
        self.source.asked.borrow_mut().insert(dotted.clone());
        let (written, value) = self.table?.get_key_value(key)?;
        Some(Value {
            source: self.source,
            key: dotted,
            line: self.source.faults.line_of(&written.span()),
            value: value.get_ref(),
        })
    }

    /// The section below this one; an empty one where it is not written.
    pub(super) fn section(&self, key: &'static str) -> Self {
        let found = self.value(key);
        let line = found.as_ref().map_or(self.line, |value| value.line);
        let is_written = found.is_some();
        let table = found.and_then(|value| value.table());
        Self {
            source: self.source,
            path: self.dotted(key),
            line,
            table,
            is_sound: self.is_sound && (table.is_some() || !is_written),
            known: RefCell::default(),
        }
    }

    /// The parsed text of a key, or its default. `parse` says what is wrong, without quoting the text.
    pub(super) fn parsed<T>(
        &self,
        key: &'static str,
        default: T,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> T {
        self.value(key)
            .and_then(|value| value.parsed(parse))
            .unwrap_or(default)
    }

    /// A text that must not be empty, or its default.
    pub(super) fn text(&self, key: &'static str, default: &str) -> String {
        self.parsed(key, default.to_owned(), not_empty)
    }

    /// One of a few words.
    pub(super) fn choice<T: Copy>(
        &self,
        key: &'static str,
        default: T,
        choices: &[(&str, T)],
    ) -> T {
        self.parsed(key, default, |text| {
            let found = choices.iter().find(|(name, _)| *name == text);
            found.map(|(_, choice)| *choice).ok_or_else(|| {
                let names: Vec<String> = choices
                    .iter()
                    .map(|(name, _)| format!("{name:?}"))
                    .collect();
                format!("must be one of {}", names.join(", "))
            })
        })
    }

    pub(super) fn duration(
        &self,
        key: &'static str,
        default: Duration,
        within: RangeInclusive<Duration>,
    ) -> Duration {
        self.parsed(key, default, |text| {
            let duration = value::duration(text)?;
            inside(duration, &within, value::duration_text)
        })
    }

    /// A size in bytes.
    pub(super) fn size(
        &self,
        key: &'static str,
        default: usize,
        within: RangeInclusive<usize>,
    ) -> usize {
        self.parsed(key, default, |text| {
            let size = value::size(text)?;
            inside(size, &within, value::size_text)
        })
    }

    pub(super) fn count(
        &self,
        key: &'static str,
        default: usize,
        within: RangeInclusive<usize>,
    ) -> usize {
        let Some(value) = self.value(key) else {
            return default;
        };
        let DeValue::Integer(integer) = value.value else {
            value.wrong_type("a whole number");
            return default;
        };
        let number = i128::from_str_radix(integer.as_str(), integer.radix());
        let found = number
            .ok()
            .and_then(|number| usize::try_from(number).ok())
            .filter(|count| within.contains(count));
        found.unwrap_or_else(|| {
            value.fault(format!(
                "{integer}: must be a whole number from {} to {}",
                within.start(),
                within.end()
            ));
            default
        })
    }

    pub(super) fn flag(&self, key: &'static str, default: bool) -> bool {
        let Some(value) = self.value(key) else {
            return default;
        };
        let DeValue::Boolean(flag) = value.value else {
            value.wrong_type("true or false");
            return default;
        };
        *flag
    }

    /// The elements of an array; `None` where the key is not written or is no array.
    pub(super) fn list(&self, key: &'static str) -> Option<Vec<Value<'a>>> {
        self.value(key).and_then(|value| value.list())
    }

    /// Says that a required key is not there.
    pub(super) fn missing(&self, key: &'static str, hint: &str) {
        if self.is_sound {
            let text = format!("is missing: {hint}");
            self.source.faults.add(self.line, self.dotted(key), text);
        }
    }

    /// Adds a fault about a key of this section: at its line where it is written, else at the section's.
    pub(super) fn fault(&self, key: &'static str, text: impl Into<String>) {
        let written = self.table.and_then(|table| table.get_key_value(key));
        let line = written.map_or(self.line, |(written, _)| {
            self.source.faults.line_of(&written.span())
        });
        self.source.faults.add(line, self.dotted(key), text);
    }

    /// Reports every key that nobody asked for.
    pub(super) fn finish(self) {
        let Some(table) = self.table else { return };
        let known = self.known.borrow();
        for written in table.keys() {
            let name: &str = written.get_ref();
            if known.contains(&name) {
                continue;
            }
            let line = self.source.faults.line_of(&written.span());
            let text = match nearest(name, &known) {
                Some(near) => format!("is unknown; did you mean {near}?"),
                None => "is unknown".to_owned(),
            };
            self.source.faults.add(line, self.dotted(name), text);
        }
    }

    fn dotted(&self, key: &str) -> String {
        match self.path.as_str() {
            "" => key.to_owned(),
            path => format!("{path}.{key}"),
        }
    }
}

impl<'a> Value<'a> {
    pub(super) fn fault(&self, text: impl Into<String>) {
        self.source.faults.add(self.line, self.key.clone(), text);
    }

    pub(super) fn wrong_type(&self, wanted: &str) {
        self.fault(format!("must be {wanted}, not {}", type_name(self.value)));
    }

    /// The table that this value is; a fault where it is none.
    pub(super) fn table(&self) -> Option<&'a DeTable<'a>> {
        let table = self.value.as_table();
        if table.is_none() {
            self.wrong_type("a table");
        }
        table
    }

    /// This value as a section of its own, for the elements of arrays.
    pub(super) fn section(&self) -> Option<Section<'a>> {
        let table = self.table()?;
        Some(Section {
            source: self.source,
            path: self.key.clone(),
            line: self.line,
            table: Some(table),
            is_sound: true,
            known: RefCell::default(),
        })
    }

    /// The elements of this array, each with its index in its key; a fault where it is no array.
    pub(super) fn list(&self) -> Option<Vec<Value<'a>>> {
        let Some(array) = self.value.as_array() else {
            self.wrong_type("an array");
            return None;
        };
        let elements = array.iter().enumerate().map(|(index, element)| Value {
            source: self.source,
            key: format!("{}[{index}]", self.key),
            line: self.source.faults.line_of(&element.span()),
            value: element.get_ref(),
        });
        Some(elements.collect())
    }

    /// The elements of this array, or this value alone.
    pub(super) fn one_or_more(&self) -> Option<Vec<Self>> {
        match self.value {
            DeValue::Array(_) => self.list(),
            _ => Some(vec![self.clone()]),
        }
    }

    /// The text of this value; a fault where there is none. Follows `{ env = … }` and `{ file = … }`.
    pub(super) fn text(&self) -> Option<Text> {
        match self.value {
            DeValue::String(text) => Some(Text {
                text: text.to_string(),
                is_literal: true,
            }),
            DeValue::Table(table) => {
                let text = self.indirect(table)?;
                Some(Text {
                    text,
                    is_literal: false,
                })
            }
            DeValue::Integer(_)
            | DeValue::Float(_)
            | DeValue::Boolean(_)
            | DeValue::Datetime(_)
            | DeValue::Array(_) => {
                self.wrong_type("a string");
                None
            }
        }
    }

    /// Parses this value's text and quotes it in the fault, unless it came from elsewhere and may be a secret.
    pub(super) fn parsed<T>(&self, parse: impl FnOnce(&str) -> Result<T, String>) -> Option<T> {
        let text = self.text()?;
        match parse(&text.text) {
            Ok(parsed) => Some(parsed),
            Err(fault) if text.is_literal => {
                self.fault(format!("{:?}: {fault}", text.text));
                None
            }
            Err(fault) => {
                self.fault(fault);
                None
            }
        }
    }

    /// Parses this value's text and never quotes it.
    pub(super) fn parsed_secret<T>(
        &self,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        let text = zeroize::Zeroizing::new(self.text()?.text);
        parse(&text).map_err(|fault| self.fault(fault)).ok()
    }

    fn indirect(&self, table: &DeTable<'_>) -> Option<String> {
        let mut entries = table.iter();
        let only = (entries.next(), entries.next());
        let (Some((name, target)), None) = only else {
            self.wrong_type("a string, { env = \"NAME\" } or { file = \"/path\" }");
            return None;
        };
        let name: &str = name.get_ref();
        let (true, Some(target)) = (matches!(name, "env" | "file"), target.get_ref().as_str())
        else {
            self.wrong_type("a string, { env = \"NAME\" } or { file = \"/path\" }");
            return None;
        };
        let environment = self.source.environment;
        if name == "env" {
            let found = environment.variable(target);
            if found.is_none() {
                self.fault(format!("environment variable {target} is not set"));
            }
            return found;
        }
        match environment.file(Path::new(target)) {
            Ok(mut content) => {
                // Editors and `echo` end a file with a newline that nobody means to be part of the secret.
                content.truncate(content.trim_end_matches(['\n', '\r']).len());
                Some(content)
            }
            Err(error) => {
                self.fault(format!("cannot read {target}: {error}"));
                None
            }
        }
    }
}

pub(super) fn not_empty(text: &str) -> Result<String, String> {
    match text {
        "" => Err("must not be empty".to_owned()),
        text => Ok(text.to_owned()),
    }
}

fn inside<T: PartialOrd + Copy>(
    amount: T,
    within: &RangeInclusive<T>,
    show: fn(T) -> String,
) -> Result<T, String> {
    if within.contains(&amount) {
        return Ok(amount);
    }
    let (least, most) = (show(*within.start()), show(*within.end()));
    Err(format!("must be from {least} to {most}"))
}

fn type_name(value: &DeValue<'_>) -> impl fmt::Display {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a number with a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "an array",
        DeValue::Table(_) => "a table",
    }
}

/// The known key that a misspelt one most likely means: at most two letters off, and not all of them.
fn nearest<'k>(name: &str, known: &[&'k str]) -> Option<&'k str> {
    const LETTERS_OFF_MAX: usize = 2;
    let distances = known.iter().map(|key| (letters_off(name, key), *key));
    let (distance, key) = distances.min()?;
    (distance <= LETTERS_OFF_MAX && distance < key.len()).then_some(key)
}

/// Levenshtein's distance in bytes. Keys are short, so the plain table is good enough.
fn letters_off(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, left) in a.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, right) in b.bytes().enumerate() {
            let replaced = diagonal + usize::from(left != right);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}
