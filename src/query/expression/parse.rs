//! From BSON to the nodes of an expression; what is not certain, and what the server refuses, is refused.

use bson::spec::ElementType;

use crate::query::Unsupported;
use crate::query::expression::node::{Constant, FieldPath, Node, Variable};
use crate::query::expression::{Budget, Builder};
use crate::query::value::{Doc, Value};

/// Where an expression stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    Any,
    Redact,
}

/// Compiles expressions of one stage.
pub(super) struct Parser<'b> {
    budget: &'b mut Budget,
    stage: Stage,
    /// The names of the variables in scope, innermost last; their places are those in the scope of evaluation.
    variables: Vec<Box<[u8]>>,
}

pub(super) type Parsed<T> = Result<T, Unsupported>;

pub(super) fn parse(value: Value<'_>, budget: &mut Budget, stage: Stage) -> Parsed<Node> {
    let mut parser = Parser {
        budget,
        stage,
        variables: Vec::new(),
    };
    parser.operand(value)
}

impl Parser<'_> {
    /// Parses whatever can stand as an argument.
    pub(super) fn operand(&mut self, value: Value<'_>) -> Parsed<Node> {
        let budget = &mut *self.budget;
        budget.nodes_left = budget
            .nodes_left
            .checked_sub(1)
            .ok_or_else(|| refuse("an expression of so many parts"))?;
        budget.depth_left = budget
            .depth_left
            .checked_sub(1)
            .ok_or_else(|| refuse("an expression nested so deeply"))?;
        let node = match value.kind {
            ElementType::String if value.text().starts_with(b"$") => self.path(value.text()),
            ElementType::EmbeddedDocument => self.document(Doc::new(value.bytes())),
            ElementType::Array => self.array(Doc::new(value.bytes())),
            _ => Ok(Node::Constant(Constant::new(value))),
        };
        self.budget.depth_left += 1;
        node
    }

    fn array(&mut self, array: Doc<'_>) -> Parsed<Node> {
        let nodes = array.elements().map(|(_, value)| self.operand(value));
        let nodes: Vec<Node> = nodes.collect::<Parsed<_>>()?;
        fold(Node::Array(nodes.into()))
    }

    fn document(&mut self, document: Doc<'_>) -> Parsed<Node> {
        let mut fields: Vec<(Box<[u8]>, Node)> = Vec::new();
        for (name, value) in document.elements() {
            if name.starts_with(b"$") {
                if document.elements().count() != 1 {
                    return Err(refuse_name(name));
                }
                return self.operator(name, value);
            }
            let is_known = fields.iter().any(|(known, _)| **known == *name);
            if name.is_empty() || name.contains(&b'.') || is_known {
                return Err(refuse_name(name));
            }
            fields.push((name.into(), self.operand(value)?));
        }
        fold(Node::Object(fields.into()))
    }

    fn operator(&mut self, name: &[u8], operand: Value<'_>) -> Parsed<Node> {
        match name {
            b"$literal" | b"$const" => Ok(Node::Constant(Constant::new(operand))),
            _ => Err(refuse_name(name)),
        }
    }

    /// Parses `$a.b` and `$$variable.a.b`.
    fn path(&mut self, text: &[u8]) -> Parsed<Node> {
        let refused = || refuse_name(text);
        let (variable, names) = match text.strip_prefix(b"$$") {
            None => (self.current(), text.get(1..).ok_or_else(refused)?),
            Some(dotted) => {
                let end = dotted.iter().position(|byte| *byte == b'.');
                let (name, rest) = dotted.split_at(end.unwrap_or(dotted.len()));
                let variable = match self.variable(name) {
                    Some(variable) => variable,
                    None if name == b"REMOVE" => return Ok(Node::Missing),
                    None if self.stage == Stage::Redact && rest.is_empty() => {
                        return redact_constant(name).ok_or_else(refused);
                    }
                    None => return Err(refused()),
                };
                match rest.split_first() {
                    None => {
                        return Ok(Node::Path(FieldPath {
                            variable,
                            names: Box::default(),
                        }));
                    }
                    Some((_, names)) => (variable, names),
                }
            }
        };
        let names: Box<[Box<[u8]>]> = names.split(|byte| *byte == b'.').map(Box::from).collect();
        let is_name =
            |name: &[u8]| !name.is_empty() && !name.starts_with(b"$") && !name.contains(&0);
        if names.len() > SEGMENTS_MAX || !names.iter().all(|name| is_name(name)) {
            return Err(refused());
        }
        Ok(Node::Path(FieldPath { variable, names }))
    }

    fn current(&self) -> Variable {
        self.variable(b"CURRENT").unwrap_or(Variable::Current)
    }

    /// Finds a variable: the innermost of that name, or the system's.
    fn variable(&self, name: &[u8]) -> Option<Variable> {
        let place = self.variables.iter().rposition(|known| **known == *name);
        match (place, name) {
            (Some(place), _) => Some(Variable::Place(place)),
            (None, b"ROOT") => Some(Variable::Root),
            (None, b"CURRENT") => Some(Variable::Current),
            (None, _) => None,
        }
    }
}

/// `$redact` decides by these texts.
fn redact_constant(name: &[u8]) -> Option<Node> {
    let text: &[u8] = match name {
        b"DESCEND" => b"\x08\0\0\0descend\0",
        b"PRUNE" => b"\x06\0\0\0prune\0",
        b"KEEP" => b"\x05\0\0\0keep\0",
        _ => return None,
    };
    let constant = Constant::new(Value::new(ElementType::String, text));
    Some(Node::Constant(constant))
}

/// Evaluates a node of constants now, as the server does.
///
/// # Errors
/// Where that fails: the server then refuses the whole pipeline.
pub(super) fn fold(node: Node) -> Parsed<Node> {
    let is_constant = |node: &Node| matches!(node, Node::Constant(_));
    let folds = match &node {
        Node::Array(nodes) => nodes.iter().all(is_constant),
        Node::Object(fields) => fields.iter().all(|(_, node)| is_constant(node)),
        Node::Constant(_) | Node::Missing | Node::Absent | Node::Path(_) | Node::Call { .. } => {
            false
        }
    };
    if !folds {
        return Ok(node);
    }
    let mut value = Builder::new();
    match &node {
        Node::Array(nodes) => nodes.iter().for_each(|node| {
            if let Some(Some(constant)) = node.constant() {
                value.element(constant);
            }
        }),
        Node::Object(fields) => fields.iter().for_each(|(name, node)| {
            if let Some(Some(constant)) = node.constant() {
                value.field(name, constant);
            }
        }),
        _ => return Ok(node),
    }
    let value = match &node {
        Node::Array(_) => value.array(),
        _ => value.document(),
    };
    let value = value.map_err(|_| refuse("an expression of this size"))?;
    Ok(Node::Constant(Constant::new(value.value())))
}

pub(super) fn refuse(what: &str) -> Unsupported {
    Unsupported {
        what: what.to_owned(),
        place: String::new(),
    }
}

pub(super) fn refuse_name(name: &[u8]) -> Unsupported {
    refuse(&String::from_utf8_lossy(name))
}

/// Names of a path; as in a filter.
const SEGMENTS_MAX: usize = 100;
