//! From BSON to the nodes of an expression; what is not certain, and what the server refuses, is refused.

use bson::spec::ElementType;

use crate::query::Unsupported;
use crate::query::expression::node::{Constant, FieldPath, Node, Variable};
use crate::query::expression::operators::{self, Arity, Operator};
use crate::query::expression::regexes::Wanted;
use crate::query::expression::{Budget, Scope};
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
    /// Whether a `$setField` or `$unsetField` was met.
    pub(super) sets_field: bool,
    /// Whether it is parsed what the server leaves in its order.
    is_verbatim: bool,
}

pub(super) type Parsed<T> = Result<T, Unsupported>;

pub(super) fn parse(value: Value<'_>, budget: &mut Budget, stage: Stage) -> Parsed<Node> {
    let mut parser = Parser {
        budget,
        stage,
        variables: Vec::new(),
        sets_field: false,
        is_verbatim: false,
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
            _ => constant(value),
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
        if matches!(name, b"$literal" | b"$const") {
            return constant(operand);
        }
        if let Some(wanted) = Wanted::by(name) {
            return self.regex(wanted, operand);
        }
        let operator = operators::find(name).ok_or_else(|| refuse_name(name))?;
        let arguments = match operator.arity {
            Arity::Between(least, most) => {
                let arguments = self.list(operand)?;
                if !(least..=most).contains(&arguments.len()) {
                    return Err(refuse(&format!("{} of so many arguments", operator.name)));
                }
                arguments
            }
            Arity::Named(required, optional) => {
                self.named(operator, operand, required, optional)?
            }
            Arity::Special => self.special(operator, operand)?,
        };
        self.call(operator, arguments)
    }

    /// Parses a list of arguments, or one alone.
    pub(super) fn list(&mut self, operand: Value<'_>) -> Parsed<Vec<Node>> {
        match operand.container().filter(|_| operand.is_array()) {
            Some(list) => list
                .elements()
                .map(|(_, value)| self.operand(value))
                .collect(),
            None => Ok(vec![self.operand(operand)?]),
        }
    }

    /// Parses an object of arguments; those not given are absent.
    fn named(
        &mut self,
        operator: &Operator,
        operand: Value<'_>,
        required: &[&str],
        optional: &[&str],
    ) -> Parsed<Vec<Node>> {
        let object = named_arguments(operator, operand, required, optional)?;
        let is_reduce = operator.name == "$reduce";
        let mut arguments = Vec::new();
        for name in required.iter().chain(optional) {
            let Some(value) = object.get(name.as_bytes()) else {
                arguments.push(Node::Absent);
                continue;
            };
            arguments.push(match is_reduce && *name == "in" {
                true => self.with_variables(&[b"this", b"value"], value)?,
                false => self.operand(value)?,
            });
        }
        Ok(arguments)
    }

    /// Parses where more variables are known.
    pub(super) fn with_variables(&mut self, names: &[&[u8]], value: Value<'_>) -> Parsed<Node> {
        let before = self.variables.len();
        self.variables
            .extend(names.iter().map(|name| Box::from(*name)));
        let node = self.operand(value);
        self.variables.truncate(before);
        node
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

    /// Parses an argument of `$getField`, `$setField` or `$unsetField`, of which the server simplifies nothing (measured on 6.0.5).
    pub(super) fn verbatim(&mut self, value: Value<'_>) -> Parsed<Node> {
        let before = std::mem::replace(&mut self.is_verbatim, true);
        let node = self.operand(value);
        self.is_verbatim = before;
        node
    }

    pub(super) fn is_verbatim(&self) -> bool {
        self.is_verbatim
    }

    /// Says whether it is parsed what `$reduce` does again and again.
    pub(super) fn is_repeated(&self) -> bool {
        self.variables.iter().any(|name| **name == *b"value")
    }

    pub(super) fn variables_len(&self) -> usize {
        self.variables.len()
    }

    /// Makes the node of `$$CURRENT`.
    pub(super) fn current_document(&self) -> Node {
        Node::Path(FieldPath {
            variable: self.current(),
            names: Box::default(),
        })
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

/// A DBPointer is refused: two of them are equal or not as the server compares them, as a condition of its own or here.
fn constant(value: Value<'_>) -> Parsed<Node> {
    match has_pointer(value) {
        true => Err(refuse("a DBPointer in an expression")),
        false => Ok(Node::Constant(Constant::new(value))),
    }
}

fn has_pointer(value: Value<'_>) -> bool {
    let inner = value.container().map(Doc::elements);
    let mut inner = inner.into_iter().flatten();
    value.kind == ElementType::DbPointer || inner.any(|(_, value)| has_pointer(value))
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
    let is_constant =
        |node: &Node| matches!(node, Node::Constant(_) | Node::Missing | Node::Absent);
    let folds = match &node {
        Node::Array(nodes) => nodes.iter().all(is_constant),
        Node::Object(fields) => fields.iter().all(|(_, node)| is_constant(node)),
        Node::Call { arguments, .. } => arguments.iter().all(is_constant),
        Node::Match(regex) => is_constant(&regex.input),
        Node::Constant(_) | Node::Missing | Node::Absent | Node::Path(_) => false,
    };
    if !folds {
        return Ok(node);
    }
    let constant = evaluated(&node)?;
    Ok(constant.map_or(Node::Missing, Node::Constant))
}

/// Evaluates what is the same for all events.
pub(super) fn evaluated(node: &Node) -> Parsed<Option<Constant>> {
    let mut scope = Scope::new(Doc::new(EMPTY));
    let value = node
        .evaluate(&mut scope)
        .map_err(|failure| refuse(&format!("a constant that fails ({failure})")))?;
    Ok(value.map(|value| Constant::new(value.value())))
}

/// Returns the object of arguments if it has all that it must and nothing else.
pub(super) fn named_arguments<'v>(
    operator: &Operator,
    operand: Value<'v>,
    required: &[&str],
    optional: &[&str],
) -> Parsed<Doc<'v>> {
    let object = operand.container().filter(|_| !operand.is_array());
    let object = object.ok_or_else(|| refuse(&format!("{} of no object", operator.name)))?;
    let mut seen: Vec<&[u8]> = Vec::new();
    for (name, _) in object.elements() {
        let mut known = required.iter().chain(optional);
        if seen.contains(&name) || !known.any(|known| known.as_bytes() == name) {
            let name = String::from_utf8_lossy(name);
            return Err(refuse(&format!("{name} in {}", operator.name)));
        }
        seen.push(name);
    }
    match required
        .iter()
        .find(|name| !seen.contains(&name.as_bytes()))
    {
        Some(name) => Err(refuse(&format!("{} without {name}", operator.name))),
        None => Ok(object),
    }
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

const EMPTY: &[u8] = &[5, 0, 0, 0, 0];
/// Names of a path; as in a filter.
const SEGMENTS_MAX: usize = 100;
