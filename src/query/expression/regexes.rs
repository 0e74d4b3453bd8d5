//! `$regexMatch`, `$regexFind` and `$regexFindAll` of a pattern that stands in the expression.

use std::ops::Range;

use bson::spec::ElementType;

use crate::query::expression::node::{Node, given};
use crate::query::expression::numeric::wrong_type;
use crate::query::expression::strings::{is_start, points};
use crate::query::expression::{Builder, Computed, Failure, Outcome, Scope};
use crate::query::regex::{Found, Regex};

/// A pattern that is looked for.
#[derive(Debug)]
pub(super) struct Match {
    pub(super) input: Box<Node>,
    pub(super) regex: Regex,
    pub(super) wanted: Wanted,
}

/// What is asked of a pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// Whether it is there.
    Whether,
    First,
    All,
}

impl Wanted {
    pub(super) fn by(operator: &[u8]) -> Option<Self> {
        match operator {
            b"$regexMatch" => Some(Self::Whether),
            b"$regexFind" => Some(Self::First),
            b"$regexFindAll" => Some(Self::All),
            _ => None,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Whether => "$regexMatch",
            Self::First => "$regexFind",
            Self::All => "$regexFindAll",
        }
    }
}

impl Match {
    pub(super) fn evaluate<'d>(&'d self, scope: &mut Scope<'d>) -> Outcome<'d> {
        let name = self.wanted.name();
        let value = given(&self.input, scope)?;
        let Some(value) = &value else {
            return match self.wanted {
                Wanted::Whether => Ok(Some(Computed::boolean(false))),
                Wanted::First => Ok(Some(Computed::null())),
                Wanted::All => Builder::new().array().map(Some),
            };
        };
        if value.kind() != ElementType::String {
            return Err(wrong_type(51104, name, Some(value)));
        }
        let value = value.value();
        let text = value.text();
        if std::str::from_utf8(text).is_err() {
            return Err(Failure::new(51156, format!("{name} in what is no UTF-8")));
        }
        match self.wanted {
            Wanted::Whether => Ok(Some(Computed::boolean(self.regex.finds(text)))),
            Wanted::First => match self.regex.find(text, 0) {
                None => Ok(Some(Computed::null())),
                Some(found) => told(text, &found, points(&text[..found.place.start])).map(Some),
            },
            Wanted::All => self.all(text, scope).map(Some),
        }
    }

    /// Finds each match from the end of the one before it; behind an empty one, from the next character on.
    fn all<'d>(&self, text: &[u8], scope: &mut Scope<'d>) -> Result<Computed<'d>, Failure> {
        let mut result = Builder::new();
        // Up to where code points are counted, and how many they are.
        let (mut start, mut counted, mut count) = (0, 0, 0);
        loop {
            scope.steps(self.effort(text.len() - start))?;
            let Some(found) = self.regex.find(text, start) else {
                break;
            };
            count += points(&text[counted..found.place.start]);
            counted = found.place.start;
            result.element(told(text, &found, count)?.value());
            result.check()?;
            start = found.place.end;
            if found.place.is_empty() {
                let behind = text[start..].iter().skip(1);
                start += 1 + behind.take_while(|byte| !is_start(byte)).count();
            }
            // As on the server, nothing is looked for at the very end, unless the text is empty.
            if start >= text.len() {
                break;
            }
        }
        result.array()
    }

    /// Steps that a search costs. With an open quantifier each may go to the end of the text, however near its match is.
    fn effort(&self, left: usize) -> u64 {
        match self.regex.is_open() {
            true => 1 + left as u64 / OPEN_BYTES_PER_STEP,
            false => 1,
        }
    }
}

/// Makes `{match, idx, captures}`.
fn told<'d>(text: &[u8], found: &Found, index: usize) -> Result<Computed<'d>, Failure> {
    let part = |place: &Range<usize>| Computed::string(&text[place.clone()]);
    let mut captures = Builder::new();
    for capture in &found.captures {
        let capture = capture.as_ref().map_or_else(Computed::null, part);
        captures.element(capture.value());
    }
    let mut document = Builder::new();
    document.field(b"match", part(&found.place).value());
    document.field(b"idx", Computed::int(index as i32).value());
    document.field(b"captures", captures.array()?.value());
    document.document()
}

/// Bytes that are looked at in about the time of a step.
const OPEN_BYTES_PER_STEP: u64 = 1 << 10;
