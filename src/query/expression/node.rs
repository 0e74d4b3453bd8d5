//! The tree of an expression, and what it makes of an event.

use bson::spec::ElementType;

use crate::query::expression::numeric::Numeric;
use crate::query::expression::operators::{Fails, Operator};
use crate::query::expression::regexes::Match;
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
        operator: &'static Operator,
        arguments: Box<[Node]>,
    },
    Match(Match),
}

/// What an operator does; it evaluates its arguments itself, in the server's order.
pub(super) type Function = for<'d> fn(&'d [Node], &mut Scope<'d>) -> Outcome<'d>;

/// A value that stands in the expression.
#[derive(Debug)]
pub(super) struct Constant {
    kind: ElementType,
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
                operator,
                arguments,
            } => (operator.function)(arguments, scope),
            Self::Match(regex) => regex.evaluate(scope),
        }
    }

    /// Returns the value that it is, if it is one; `Some(None)` is missing.
    pub(super) fn constant(&self) -> Option<Option<Value<'_>>> {
        match self {
            Self::Constant(constant) => Some(Some(constant.value())),
            Self::Missing => Some(None),
            Self::Absent
            | Self::Path(_)
            | Self::Object(_)
            | Self::Array(_)
            | Self::Call { .. }
            | Self::Match(_) => None,
        }
    }

    /// Says whether there are events on which it fails. *Necessary only*: it may say so of what never does.
    pub(super) fn fails(&self) -> bool {
        match self {
            Self::Constant(_) | Self::Missing | Self::Absent | Self::Path(_) => false,
            Self::Object(fields) => fields.iter().any(|(_, node)| node.fails()),
            Self::Array(nodes) => nodes.iter().any(Node::fails),
            Self::Call {
                operator,
                arguments,
            } => operator.fails == Fails::Sometimes || arguments.iter().any(Node::fails),
            Self::Match(_) => true,
        }
    }

    /// Says whether it reads one of these fields of the root, or the root as a whole.
    pub(super) fn reads(&self, fields: &[&str]) -> bool {
        match self {
            Self::Constant(_) | Self::Missing | Self::Absent => false,
            Self::Path(path) => match (path.variable, path.names.first()) {
                (Variable::Place(_), _) => false,
                (Variable::Root | Variable::Current, None) => true,
                (Variable::Root | Variable::Current, Some(first)) => {
                    fields.iter().any(|field| field.as_bytes() == &**first)
                }
            },
            Self::Object(inner) => inner.iter().any(|(_, node)| node.reads(fields)),
            Self::Array(nodes) => nodes.iter().any(|node| node.reads(fields)),
            Self::Call { arguments, .. } => arguments.iter().any(|node| node.reads(fields)),
            Self::Match(regex) => regex.input.reads(fields),
        }
    }

    /// Says whether it is the same for all events: no path leads from it to one.
    pub(super) fn is_closed(&self) -> bool {
        match self {
            Self::Constant(_) | Self::Missing | Self::Absent => true,
            Self::Path(path) => matches!(path.variable, Variable::Place(_)),
            Self::Object(fields) => fields.iter().all(|(_, node)| node.is_closed()),
            Self::Array(nodes) => nodes.iter().all(Node::is_closed),
            Self::Call { arguments, .. } => arguments.iter().all(Node::is_closed),
            Self::Match(regex) => regex.input.is_closed(),
        }
    }
}

/// Evaluates; `None` where the value is missing, null or undefined.
pub(super) fn given<'d>(node: &'d Node, scope: &mut Scope<'d>) -> Outcome<'d> {
    let value = node.evaluate(scope)?;
    Ok(value.filter(|value| !value.is_nullish()))
}

/// Says whether the server takes a value for true: all but false, zero, null, undefined and missing.
pub(super) fn is_true(value: Option<&Computed<'_>>) -> bool {
    match value {
        None => false,
        Some(value) if value.is_nullish() => false,
        Some(value) if value.kind() == ElementType::Boolean => value.value().bytes() != [0],
        Some(value) => Numeric::of(value.value()).is_none_or(|number| !number.is_zero()),
    }
}

impl Constant {
    pub(super) fn new(value: Value<'_>) -> Self {
        Self {
            kind: value.kind,
            bytes: value.bytes().into(),
        }
    }

    pub(super) fn int(integer: i32) -> Self {
        Self::new(Computed::int(integer).value())
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
