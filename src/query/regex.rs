//! Regular expressions, where the `regex` crate means what the server's PCRE means.
//!
//! The server's regular expressions are PCRE's: they backtrack, and give up (which is "no match") when they recurse or
//! backtrack too much. Ours run in linear time. So `translate` lets through only what can neither mean another thing
//! nor make PCRE give up; a flag or a construct that it does not know is refused.

use bson::spec::ElementType;

use crate::query::regex::translate::translate;
use crate::query::value::Value;

mod translate;

/// A regular expression of a filter.
#[derive(Debug)]
pub(crate) struct Regex {
    pattern: Box<[u8]>,
    options: Box<[u8]>,
    compiled: regex::bytes::Regex,
}

impl Regex {
    /// Compiles the pattern, or says what of it is not certain.
    pub(crate) fn new(pattern: &[u8], options: &[u8]) -> Result<Self, String> {
        let translated = translate(pattern, options)?;
        let compiled = regex::bytes::RegexBuilder::new(&translated)
            .size_limit(COMPILED_BYTES_MAX)
            .build()
            .map_err(|_| "a pattern of that kind".to_owned())?;
        Ok(Self {
            pattern: pattern.into(),
            options: options.into(),
            compiled,
        })
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
