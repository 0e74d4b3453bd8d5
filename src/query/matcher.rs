//! The compiled filter: a tree of conditions, each at a path or on what is below it.

use crate::query::expression::{Expression, Failure};
use crate::query::matcher::leaf::Test;
use crate::query::path::{Leaf, Path};
use crate::query::value::{Doc, Value};

mod aliases;
pub(crate) mod condition;
pub(crate) mod leaf;
pub(crate) mod necessary;
pub(crate) mod parse;

/// A condition on a document, or on one array element inside `$elemMatch`.
#[derive(Debug)]
pub(crate) enum Node {
    And(Box<[Node]>),
    Or(Box<[Node]>),
    Not(Box<Node>),
    Constant(bool),
    /// Some value that the path leads to passes the test.
    Leaf {
        path: Option<Path>,
        test: Test,
    },
    /// `$expr`: what the expression makes of the document is true.
    Expression(Box<Expression>),
}

impl Node {
    /// Judges a document on which `$expr` may fail.
    ///
    /// The server evaluates conditions in an order of its own. So one that is false decides wherever it stands, and the
    /// parser lets an expression that fails stand only where all must hold.
    pub(crate) fn evaluate(&self, document: Doc<'_>) -> Result<bool, Failure> {
        match self {
            Self::And(nodes) => decide(nodes, document, false),
            Self::Or(nodes) => decide(nodes, document, true),
            Self::Not(node) => node.evaluate(document).map(|matches| !matches),
            Self::Expression(expression) => expression.is_true(document),
            Self::Constant(_) | Self::Leaf { .. } => Ok(self.matches_document(document)),
        }
    }

    pub(crate) fn matches_document(&self, document: Doc<'_>) -> bool {
        match self {
            Self::And(nodes) => nodes.iter().all(|node| node.matches_document(document)),
            Self::Or(nodes) => nodes.iter().any(|node| node.matches_document(document)),
            Self::Not(node) => !node.matches_document(document),
            Self::Constant(constant) => *constant,
            Self::Leaf { path, test } => {
                let leaf = match test.takes_whole_arrays() {
                    true => Leaf::Whole,
                    false => Leaf::Entered,
                };
                path.as_ref().is_some_and(|path| {
                    path.visit(document, leaf, &mut |value| test.matches(value))
                })
            }
            Self::Expression(expression) => expression.is_true(document).unwrap_or(false),
        }
    }

    /// Judges one element of an array: nothing below it is visited.
    pub(crate) fn matches_element(&self, element: Value<'_>) -> bool {
        match self {
            Self::And(nodes) => nodes.iter().all(|node| node.matches_element(element)),
            Self::Or(nodes) => nodes.iter().any(|node| node.matches_element(element)),
            Self::Not(node) => !node.matches_element(element),
            Self::Constant(constant) => *constant,
            Self::Leaf { test, .. } => test.matches(Some(element)),
            // The parser lets none stand there, as the server does.
            Self::Expression(_) => false,
        }
    }
}

/// Says whether one of them is as `decides`; one that fails counts only if none is.
fn decide(nodes: &[Node], document: Doc<'_>, decides: bool) -> Result<bool, Failure> {
    let mut failure = None;
    for node in nodes {
        match node.evaluate(document) {
            Ok(matches) if matches == decides => return Ok(decides),
            Ok(_) => (),
            Err(first) => failure = failure.or(Some(first)),
        }
    }
    failure.map_or(Ok(!decides), Err)
}
