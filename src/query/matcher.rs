//! The compiled filter: a tree of conditions, each at a path or on what is below it.

use crate::query::matcher::leaf::Test;
use crate::query::path::{Leaf, Path};
use crate::query::value::{Doc, Value};

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
}

impl Node {
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
        }
    }
}
