//! MongoDB's aggregation expressions over raw BSON: exactly, or not at all.
//!
//! [`compile`] takes an expression and gives an [`Expression`], which makes of an event what the server would make of
//! it, or fails where the server fails; or it gives [`Unsupported`], and then the server has to be asked. What the
//! server refuses when it parses an expression, and a constant part on which it fails, is unsupported too: it shall
//! say so itself. The judge is a real server (`tests/it/query/expression.rs`).
//!
//! # How to use it
//!
//! ```text
//! let mut budget = Budget::new();
//! let expression = compile(value, &mut budget)?;             // or compile_redact, which knows $$DESCEND, $$PRUNE, $$KEEP
//! let mut scope = Scope::new(document);                      // for each event; one scope serves many expressions
//! let result: Option<Computed> = expression.evaluate(&mut scope)?;
//! ```
//!
//! A result is a [`Computed`]: a value that is borrowed from the event or the expression as far as it was there
//! already. `None` is a *missing* value (an absent field, `$$REMOVE`), which is not null. `$$DESCEND`, `$$PRUNE` and
//! `$$KEEP` are the texts `descend`, `prune` and `keep`, as on the server.
//!
//! # The rooms
//!
//! - `parse`, `special`: from BSON to nodes, argument counts, variables, and the server's folding of constants.
//! - `operators`: the table of all operators; what is not in it is not supported.
//! - `node`: the tree and its evaluation, and how a path fans out over arrays (unlike in a filter, a number is a name).
//! - `computed`: values, borrowed or made.
//! - `logic`, `arithmetic`, `sums`, `strings`, `regexes`, `arrays`, `sets`, `objects`, `convert`, `dates`, `intervals`: what the operators do.
//! - `numeric`, `decimal`, `compensated`, `number_text`, `text`, `calendar`: what they do it with.
//!
//! # Limits
//!
//! An expression has a bounded depth and number of parts; an evaluation a bounded number of steps, and values a bounded size and depth. What
//! reaches a limit of evaluation fails on that event. The server has the last two limits itself, where a result leaves it.
//!
//! # What depends on the server's version
//!
//! `$add` and `$multiply` add and multiply in the order of 6.0 (constants last), and `$toString` writes six digits of a double as it does.

use bson::{RawDocument, RawDocumentBuf};

use crate::query::Unsupported;
use crate::query::expression::node::Node;
use crate::query::value::{Doc, Value};

mod arithmetic;
mod arrays;
mod calendar;
mod compensated;
pub(crate) mod computed;
mod convert;
mod dates;
mod decimal;
mod intervals;
mod logic;
mod node;
mod number_text;
mod numeric;
mod objects;
mod operators;
mod parse;
mod regexes;
mod sets;
mod special;
mod strings;
mod sums;
#[cfg(test)]
mod tests;
mod text;

pub(crate) use crate::query::expression::computed::{Builder, Computed};

/// A compiled expression.
#[derive(Debug)]
pub struct Expression {
    root: Node,
}

/// What an expression and its neighbours may still be made of.
#[derive(Debug)]
pub(crate) struct Budget {
    nodes_left: usize,
    depth_left: usize,
}

/// What an expression sees of an event: the document, the current one, variables; and how much it may still do.
#[derive(Debug)]
pub(crate) struct Scope<'d> {
    root: Computed<'d>,
    current: Computed<'d>,
    /// The variables of `$let`, `$map` and the like, innermost last.
    variables: Vec<Option<Computed<'d>>>,
    steps_left: u64,
}

/// Why an expression fails on an event: MongoDB's number of the error, and what it is about.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} (MongoDB's error {code})")]
pub struct Failure {
    code: i32,
    what: String,
}

/// What comes out of an expression; `None` is a missing value.
pub(crate) type Outcome<'d> = Result<Option<Computed<'d>>, Failure>;

/// Compiles an expression.
///
/// # Errors
/// [`Unsupported`] where it is not known to mean the same here, and where the server would refuse it.
pub(crate) fn compile(value: Value<'_>, budget: &mut Budget) -> Result<Expression, Unsupported> {
    let root = parse::parse(value, budget, parse::Stage::Any)?;
    Ok(Expression { root })
}

/// Compiles the expression of `$redact`, in which `$$DESCEND`, `$$PRUNE` and `$$KEEP` are known.
///
/// # Errors
/// As [`compile`].
pub(crate) fn compile_redact(
    value: Value<'_>,
    budget: &mut Budget,
) -> Result<Expression, Unsupported> {
    let root = parse::parse(value, budget, parse::Stage::Redact)?;
    Ok(Expression { root })
}

impl Expression {
    /// Evaluates the expression on a document; the result stands in the field `value`, which is absent where it is missing.
    ///
    /// # Errors
    /// [`Failure`] where the server fails, and at the limits of this module.
    pub fn compute(&self, document: &RawDocument) -> Result<RawDocumentBuf, Failure> {
        let mut result = Builder::new();
        let mut scope = Scope::new(Doc::new(document.as_bytes()));
        if let Some(value) = self.evaluate(&mut scope)? {
            result.field(b"value", value.value());
        }
        let bytes = result.document()?.value().bytes().to_vec();
        RawDocumentBuf::from_bytes(bytes).map_err(|error| {
            Failure::new(LIMIT_CODE, format!("a result that is no BSON ({error})"))
        })
    }

    /// Evaluates the expression; `None` is a missing value.
    ///
    /// # Errors
    /// [`Failure`] where the server fails, and at the limits of this module.
    pub(crate) fn evaluate<'d>(&'d self, scope: &mut Scope<'d>) -> Outcome<'d> {
        self.root.evaluate(scope)
    }

    /// Evaluates the expression as `$expr` does.
    ///
    /// # Errors
    /// As [`Expression::evaluate`].
    pub(crate) fn is_true(&self, document: Doc<'_>) -> Result<bool, Failure> {
        let value = self.evaluate(&mut Scope::new(document))?;
        Ok(node::is_true(value.as_ref()))
    }

    /// Says whether it reads one of these fields of an event, or the event as a whole.
    pub(crate) fn reads(&self, fields: &[&str]) -> bool {
        self.root.reads(fields)
    }

    /// Says whether there are events on which it fails. *Necessary only*: it may say so of what never does.
    pub(crate) fn fails(&self) -> bool {
        self.root.fails()
    }
}

impl Budget {
    pub(crate) fn new() -> Self {
        Self {
            nodes_left: NODES_MAX,
            depth_left: DEPTH_MAX,
        }
    }
}

impl<'d> Scope<'d> {
    /// Makes the scope of a document, which is also the current one.
    pub(crate) fn new(root: Doc<'d>) -> Self {
        let root = Computed::document(root);
        Self {
            current: root.clone(),
            root,
            variables: Vec::new(),
            steps_left: STEPS_MAX,
        }
    }

    /// Makes another document the current one, as `$redact` does on its way down.
    pub(crate) fn set_current(&mut self, current: Doc<'d>) {
        self.current = Computed::document(current);
    }

    /// Counts a step.
    ///
    /// # Errors
    /// When there were too many.
    fn step(&mut self) -> Result<(), Failure> {
        self.steps(1)
    }

    /// Counts what costs as much as some steps.
    ///
    /// # Errors
    /// As [`Scope::step`].
    fn steps(&mut self, count: u64) -> Result<(), Failure> {
        self.steps_left = self
            .steps_left
            .checked_sub(count)
            .ok_or_else(|| Failure::new(LIMIT_CODE, "an expression that takes so many steps"))?;
        Ok(())
    }
}

impl Failure {
    pub(crate) fn new(code: i32, what: impl Into<String>) -> Self {
        Self {
            code,
            what: what.into(),
        }
    }

    /// MongoDB's number of the error.
    pub fn code(&self) -> i32 {
        self.code
    }
}

/// Parts of all expressions of one stage together.
const NODES_MAX: usize = 100_000;
/// The server allows about 180 levels of a document, so of an expression fewer.
const DEPTH_MAX: usize = 50;
/// Evaluated parts per event: about a second. The server has no such limit; an event that reaches it is skipped.
const STEPS_MAX: u64 = 10_000_000;
/// MongoDB's `ExceededMemoryLimit`, the nearest to our own limits.
const LIMIT_CODE: i32 = 146;
