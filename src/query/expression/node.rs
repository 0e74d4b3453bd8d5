//! The tree of an expression, and what it makes of an event.

use crate::query::expression::{Builder, Computed, Outcome, Scope};
use crate::query::value::Value;

/// A part of an expression.
#[derive(Debug)]
pub(super) enum Node {
    Constant(Constant),
    /// `$$REMOVE`.
    Missing,
    /// An argument that was not given.
    Absent,
    Path(FieldPath),
    Object(Box<[(Box<[u8]>, Node)]>),
    Array(Box<[Node]>),
    Call {
        function: Function,
        arguments: Box<[Node]>,
        operator: &'static str,
    },
}

/// What an operator does; it evaluates its arguments itself, in the server's order.
pub(super) type Function = for<'d> fn(&'d [Node], &mut Scope<'d>) -> Outcome<'d>;

/// A value that stands in the expression.
#[derive(Debug)]
pub(super) struct Constant {
    kind: bson::spec::ElementType,
    bytes: Box<[u8]>,
}

/// A variable, and names to follow from it.
#[derive(Debug)]
pub(super) struct FieldPath {
    pub(super) variable: Variable,
    pub(super) names: Box<[Box<[u8]>]>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Variable {
    Root,
    Current,
    /// The place of a variable in [`Scope`].
    Place(usize),
}

impl Node {
    pub(super) fn evaluate<'d>(&'d self, scope: &mut Scope<'d>) -> Outcome<'d> {
        scope.step()?;
        match self {
            Self::Constant(constant) => Ok(Some(Computed::borrowed(constant.value()))),
            Self::Missing | Self::Absent => Ok(None),
            Self::Path(path) => path.evaluate(scope),
            Self::Object(fields) => {
                let mut object = Builder::new();
                for (name, node) in fields {
                    if let Some(value) = node.evaluate(scope)? {
                        object.field(name, value.value());
                    }
                }
                object.document().map(Some)
            }
            Self::Array(nodes) => {
                let mut array = Builder::new();
                for node in nodes {
                    let value = node.evaluate(scope)?.unwrap_or_else(Computed::null);
                    array.element(value.value());
                }
                array.array().map(Some)
            }
            Self::Call {
                function,
                arguments,
                ..
            } => function(arguments, scope),
        }
    }

    /// Returns the value that it is, if it is one; `Some(None)` is missing.
    pub(super) fn constant(&self) -> Option<Option<Value<'_>>> {
        match self {
            Self::Constant(constant) => Some(Some(constant.value())),
            Self::Missing => Some(None),
            Self::Absent | Self::Path(_) | Self::Object(_) | Self::Array(_) | Self::Call { .. } => {
                None
            }
        }
    }
}

impl Constant {
    pub(super) fn new(value: Value<'_>) -> Self {
        Self {
            kind: value.kind,
            bytes: value.bytes().into(),
        }
    }

    pub(super) fn value(&self) -> Value<'_> {
        Value::new(self.kind, &self.bytes)
    }
}

impl FieldPath {
    fn evaluate<'d>(&'d self, scope: &Scope<'d>) -> Outcome<'d> {
        let start = match self.variable {
            Variable::Root => Some(&scope.root),
            Variable::Current => Some(&scope.current),
            Variable::Place(place) => scope.variables.get(place).and_then(Option::as_ref),
        };
        match start {
            Some(start) => follow(start, &self.names),
            None => Ok(None),
        }
    }
}

/// Follows the names through documents; an array gives the array of what its documents give.
fn follow<'d>(start: &Computed<'d>, names: &[Box<[u8]>]) -> Outcome<'d> {
    let mut at = start.clone();
    let mut names = names;
    while let Some((name, rest)) = names.split_first() {
        if at.is_array() {
            let mut found = Builder::new();
            for element in at.elements().filter(Computed::is_document) {
                if let Some(value) = follow(&element, names)? {
                    found.element(value.value());
                }
            }
            return found.array().map(Some);
        }
        if !at.is_document() {
            return Ok(None);
        }
        match at.get(name) {
            Some(value) => at = value,
            None => return Ok(None),
        }
        names = rest;
    }
    Ok(Some(at))
}
