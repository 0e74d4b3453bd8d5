//! MongoDB's query language over raw BSON, as far as a change stream can have it: exactly, or not at all.
//!
//! [`compile`] takes a filter and gives a [`Predicate`], which says of an event what the server would say of it; or it
//! gives [`Unsupported`], and then the server has to be asked. [`compile_pipeline`] does so with all stages of a
//! pipeline. There is no third way: what the server would refuse, or treats in a way not known for certain, is
//! unsupported. The judge is a real server, to which `tests/it/query.rs` compares millions of pairs of filter, or
//! pipeline, and document. (A document that has a field twice is none: there the server's own stages disagree.)
//!
//! # The rooms
//!
//! - `matcher`: the tree of conditions, its parser, and [`Necessary`] conditions for an index.
//! - `expression`: what an aggregation expression makes of a document.
//! - `stages`: what the stages of a pipeline make of an event.
//! - `path`: where a dotted path leads, through documents and arrays; `reading`: what it leads to in one event.
//! - `order`: how values compare, and canonical keys of equal values.
//! - `regex`: the part of PCRE that means the same in linear time.
//! - `value`: raw BSON read in place.
//!
//! # What is supported
//!
//! Implicit equality, `$eq $ne $gt $gte $lt $lte $in $nin $exists $type $size $all $elemMatch $mod $regex $not`, the four
//! bit tests, `$and $or`, `$nor` of one clause (the server refuses a change stream with more), `$comment`, and `$expr` (under `$or`
//! and `$nor` only what never fails, and not on what the server rewrites for the oplog). Not: `$where`, `$text`, geometry; nor
//! `$jsonSchema`, for which one would have to be MongoDB's own dialect of draft 4 (`bsonType`, `required` of missing against null,
//! `uniqueItems` by BSON order, `patternProperties` by PCRE) keyword by keyword, while what people check with it in a stream,
//! types and presence, `$type` and `$exists` say.
//!
//! Of aggregation expressions, what `expression::operators` lists. Not, since it is not exact for every value: `$exp $ln $log $log10 $pow` and the
//! trigonometry, whose last bit is that of the C library under the server (C leaves it open, and decimals have a library of their own); conversions
//! of strings to dates, which have a parser of their own; names of timezones, whose rules change; nor what is not the same twice (`$rand`, `$$NOW`,
//! `$function`).

use bson::{Bson, Document, RawDocument};

use crate::query::matcher::Node;
use crate::query::value::Doc;

mod expression;
mod matcher;
mod order;
mod path;
mod reading;
mod regex;
mod stages;
#[cfg(test)]
mod tests;
mod value;

pub use crate::query::expression::{Expression, Failure};
pub use crate::query::matcher::condition::{Condition, Key, Kinds, OperationTypes, Range};
pub use crate::query::matcher::necessary::{Clause, Necessary};
pub use crate::query::path::Path;
pub use crate::query::reading::{Extent, Reading, Wanted};
pub use crate::query::stages::{Pipeline, UnsupportedStage, compile_pipeline};

/// A compiled filter.
#[derive(Debug)]
pub struct Predicate {
    root: Node,
}

/// A filter, or a part of it, that only the server can judge.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} is not evaluated here{}{place}", if place.is_empty() { "" } else { " at " })]
pub struct Unsupported {
    what: String,
    place: String,
}

/// Compiles a `$match` filter.
///
/// # Errors
/// [`Unsupported`] names the operator and the path where the filter is not known to mean the same here as in MongoDB.
pub fn compile(filter: &Document) -> Result<Predicate, Unsupported> {
    if !fits(filter.values(), FILTER_DEPTH_MAX) {
        return Err(Unsupported {
            what: "a filter nested so deeply".to_owned(),
            place: String::new(),
        });
    }
    let bytes = filter.to_vec().map_err(|error| Unsupported {
        what: format!("a filter that is no BSON ({error})"),
        place: String::new(),
    })?;
    let root = matcher::parse::parse(&bytes)?;
    Ok(Predicate { root })
}

/// Says whether no value lies deeper, so that writing it as BSON does not use up the stack.
fn fits<'v>(mut values: impl Iterator<Item = &'v Bson>, depth: usize) -> bool {
    values.all(|value| match value {
        Bson::Document(_) | Bson::Array(_) | Bson::JavaScriptCodeWithScope(_) if depth == 0 => {
            false
        }
        Bson::Document(inner) => fits(inner.values(), depth - 1),
        Bson::Array(inner) => fits(inner.iter(), depth - 1),
        Bson::JavaScriptCodeWithScope(code) => fits(code.scope.values(), depth - 1),
        _ => true,
    })
}

/// The server takes 200 levels of a document.
const FILTER_DEPTH_MAX: usize = 200;

/// Compiles an aggregation expression: the field `value` of a document.
///
/// # Errors
/// [`Unsupported`] where the expression is not known to mean the same here as in MongoDB, or is none.
pub fn compile_expression(holder: &RawDocument) -> Result<Expression, Unsupported> {
    let holder = Doc::new(holder.as_bytes());
    let value = holder.get(b"value").ok_or_else(|| Unsupported {
        what: "no expression".to_owned(),
        place: String::new(),
    })?;
    expression::compile(value, &mut expression::Budget::new())
}

impl Predicate {
    /// Says whether MongoDB's `$match` would let the event pass.
    ///
    /// # Errors
    /// [`Failure`] where an `$expr` fails on the event and no other condition is false.
    pub fn evaluate(&self, event: &RawDocument) -> Result<bool, Failure> {
        self.root.evaluate(Doc::new(event.as_bytes()))
    }

    /// As [`Predicate::evaluate`], for whoever skips an event on which it fails.
    pub fn matches(&self, event: &RawDocument) -> bool {
        self.evaluate(event).unwrap_or(false)
    }

    /// Returns what every matching event must meet.
    pub fn necessary(&self) -> Necessary {
        matcher::necessary::necessary(&self.root)
    }
}
