//! The language in which permissions say which requests they are for.
//!
//! A predicate is parsed once, when the permission is loaded, into a tree; a request is judged by walking that tree. What a
//! user's record or a request brings in (`@user.x`, `%{q,x}`, `${x}`) is a node of the tree and yields a value: it is never
//! put into the text and parsed again, so no value can change what a predicate says.
//!
//! What cannot be parsed is an error that names what and where. What cannot be evaluated (a value of the wrong shape, a
//! regular expression that takes too many steps) refuses the whole predicate, also under `not`.
//!
//! Source: compat 9.5; golden `predicates`.

mod attribute;
mod build;
mod evaluate;
mod parser;
mod pattern;
mod template;
#[cfg(test)]
mod tests;
mod tokens;
mod value;

pub(crate) use evaluate::{AtLarge, Circumstances, Failure};

/// A parsed predicate.
#[derive(Debug)]
pub(crate) struct Predicate {
    root: evaluate::Node,
    asks_whether_authentication_is_required: bool,
    reads_headers: bool,
}

impl Predicate {
    /// Parses a predicate.
    ///
    /// # Errors
    /// What was found where, for people.
    pub(crate) fn parse(text: &str) -> Result<Self, ParseError> {
        let root = parser::parse(text)?;
        let asks = root
            .tests()
            .any(|test| matches!(test, evaluate::Test::AuthRequired));
        let reads_headers = root.tests().any(evaluate::Test::may_read_headers);
        Ok(Self {
            root,
            asks_whether_authentication_is_required: asks,
            reads_headers,
        })
    }

    /// Whether the predicate holds.
    ///
    /// # Errors
    /// It cannot be evaluated here; it counts as false as a whole.
    pub(crate) fn holds(&self, circumstances: &Circumstances<'_>) -> Result<bool, Failure> {
        evaluate::holds(&self.root, circumstances)
    }

    /// What it comes to for everybody with the same method and target.
    pub(crate) fn at_large(&self, circumstances: &Circumstances<'_>) -> AtLarge {
        evaluate::at_large(&self.root, circumstances)
    }

    /// Whether the request's headers may have a say.
    pub(crate) fn reads_headers(&self) -> bool {
        self.reads_headers
    }

    /// Whether `auth-required` occurs in it.
    pub(crate) fn asks_whether_authentication_is_required(&self) -> bool {
        self.asks_whether_authentication_is_required
    }
}

/// Why a text is no predicate.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}, at byte {at}")]
pub struct ParseError {
    /// What is wrong.
    pub what: String,
    /// Where, in bytes from the beginning.
    pub at: usize,
}

impl ParseError {
    fn new(at: usize, what: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            at,
        }
    }
}

/// The longest predicate that is parsed.
const PREDICATE_BYTES_MAX: usize = 64 << 10;

/// How deeply parentheses may be nested; parser and evaluation recurse this deep at most.
const NESTING_MAX: usize = 64;

/// How many steps a regular expression may backtrack.
const REGEX_STEPS_MAX: usize = 100_000;
