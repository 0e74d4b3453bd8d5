//! Regular expressions, where the `regex` crate means what the server's PCRE means.
//!
//! The server's regular expressions are PCRE's: they backtrack, and give up (which is "no match") when they recurse or
//! backtrack too much. Ours run in linear time. So `translate` lets through only what can neither mean another thing
//! nor make PCRE give up; a flag or a construct that it does not know is refused.

use std::ops::Range;

use bson::spec::ElementType;

use crate::query::regex::translate::{Group, translate};
use crate::query::value::Value;

mod translate;

/// A regular expression of a filter.
#[derive(Debug)]
pub(crate) struct Regex {
    pattern: Box<[u8]>,
    options: Box<[u8]>,
    compiled: regex::bytes::Regex,
    groups: Box<[Group]>,
    is_open: bool,
}

/// A place in a text that was found.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) place: Range<usize>,
    /// What the groups took; `None` of those that took no part.
    pub(crate) captures: Vec<Option<Range<usize>>>,
}

impl Regex {
    /// Compiles the pattern, or says what of it is not certain.
    pub(crate) fn new(pattern: &[u8], options: &[u8]) -> Result<Self, String> {
        let translated = translate(pattern, options)?;
        let compiled = regex::bytes::RegexBuilder::new(&translated.pattern)
            .size_limit(COMPILED_BYTES_MAX)
            .build()
            .map_err(|_| "a pattern of that kind".to_owned())?;
        Ok(Self {
            pattern: pattern.into(),
            options: options.into(),
            compiled,
            groups: translated.groups.into(),
            is_open: translated.is_open,
        })
    }

    /// Returns the first place from `start` on; what stands before is seen by assertions.
    pub(crate) fn find(&self, text: &[u8], start: usize) -> Option<Found> {
        let found = self.compiled.captures_at(text, start)?;
        let mut place = found.get(0)?.range();
        let mut captures = Vec::new();
        for (index, group) in self.groups.iter().enumerate() {
            let taken = found.get(index + 1).map(|taken| taken.range());
            match group {
                Group::Captured => captures.push(taken),
                Group::End => place.end = taken.map_or(place.end, |taken| taken.start),
            }
        }
        Some(Found { place, captures })
    }

    /// Says whether looking for a match may go far beyond it.
    pub(crate) fn is_open(&self) -> bool {
        self.is_open
    }

    /// Says whether it finds something in a text.
    pub(crate) fn finds(&self, text: &[u8]) -> bool {
        self.compiled.is_match(text)
    }

    /// Strings and symbols are searched; a regular expression matches itself.
    pub(crate) fn matches(&self, value: Value<'_>) -> bool {
        match value.kind {
            ElementType::String | ElementType::Symbol => {
                // PCRE refuses a subject that is no UTF-8.
                std::str::from_utf8(value.text()).is_ok() && self.compiled.is_match(value.text())
            }
            ElementType::RegularExpression => value.regex() == (&self.pattern, &self.options),
            _ => false,
        }
    }
}

const COMPILED_BYTES_MAX: usize = 1 << 20;
