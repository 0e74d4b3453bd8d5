//! From a filter document to a tree of conditions; what is not certain is refused.

use bson::spec::ElementType;

use crate::query::Unsupported;
use crate::query::expression::{self, Budget};
use crate::query::matcher::Node;
use crate::query::matcher::aliases::types;
use crate::query::matcher::leaf::{Bits, Comparison, Expects, Membership, Operand, Test};
use crate::query::order;
use crate::query::order::number::Number;
use crate::query::path::Path;
use crate::query::regex::Regex;
use crate::query::value::{Doc, Value};

/// Where a condition stands, for messages, and how deep.
#[derive(Clone, Copy)]
struct Place<'p> {
    path: Option<&'p Path>,
    depth: usize,
    /// Whether single elements of an array are asked.
    is_element: bool,
}

/// Counts what a filter is made of.
pub(crate) struct Parser {
    conditions_left: usize,
    items_left: usize,
    regexes_left: usize,
    /// What `$expr` may be here.
    expressions: Expressions,
}

/// Which `$expr` may stand in a filter.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Expressions {
    /// Any: all conditions must hold.
    All,
    /// Those that never fail: the server may or may not evaluate it, in an order of its own.
    Safe,
    /// None, inside `$elemMatch`.
    None,
}

type Parsed<T> = Result<T, Unsupported>;

/// Parses a whole filter.
pub(crate) fn parse(filter: &[u8]) -> Parsed<Node> {
    if filter.len() > FILTER_BYTES_MAX {
        return Err(refuse("a filter of this size", ""));
    }
    let mut parser = Parser {
        conditions_left: CONDITIONS_MAX,
        items_left: ITEMS_MAX,
        regexes_left: REGEXES_MAX,
        expressions: Expressions::All,
    };
    parser.filter(Doc::new(filter), DEPTH_MAX)
}

impl Parser {
    /// Parses `{path: condition, $and: […], …}`: all of it must hold.
    fn filter(&mut self, filter: Doc<'_>, depth: usize) -> Parsed<Node> {
        let depth = deeper(depth)?;
        let mut nodes = Vec::new();
        for (name, value) in filter.elements() {
            self.count(name)?;
            match name {
                b"$and" => nodes.push(Node::And(self.filters(name, value, depth)?)),
                b"$or" => {
                    let clauses = self.with(Expressions::Safe, |parser| {
                        parser.filters(name, value, depth)
                    })?;
                    nodes.push(Node::Or(clauses));
                }
                b"$expr" => nodes.push(self.expression(value)?),
                b"$nor" => {
                    let clauses = self.with(Expressions::Safe, |parser| {
                        parser.filters(name, value, depth)
                    })?;
                    // With two and more the server refuses the change stream, whatever they ask for but `clusterTime`
                    // (measured on 6.0.5): what is no stream there is none here.
                    if clauses.len() > 1 {
                        return Err(refuse("$nor with more than one clause", ""));
                    }
                    nodes.push(Node::Not(Box::new(Node::Or(clauses))));
                }
                b"$comment" => (),
                _ if name.starts_with(b"$") => return Err(refuse_name(name, None)),
                _ => {
                    let path = Path::parse(name).ok_or_else(|| refuse_name(name, None))?;
                    if HIDDEN.iter().any(|name| path.begins_with(name)) {
                        return Err(refuse_name(name, None));
                    }
                    let place = Place {
                        path: Some(&path),
                        depth,
                        is_element: false,
                    };
                    self.condition(place, value, &mut nodes)?;
                }
            }
        }
        Ok(all_of(nodes))
    }

    /// Parses `$expr`.
    fn expression(&mut self, value: Value<'_>) -> Parsed<Node> {
        let expression = expression::compile(value, &mut Budget::new())?;
        if self.expressions == Expressions::None {
            return Err(refuse("$expr in $elemMatch", ""));
        }
        if self.expressions == Expressions::Safe && expression.fails() {
            return Err(refuse("an $expr that can fail, under $or or $nor", ""));
        }
        if expression.reads(&REWRITTEN) {
            return Err(refuse(
                "$expr on what the server rewrites for the oplog",
                "",
            ));
        }
        Ok(Node::Expression(Box::new(expression)))
    }

    fn with<T>(
        &mut self,
        expressions: Expressions,
        parse: impl FnOnce(&mut Self) -> Parsed<T>,
    ) -> Parsed<T> {
        let before = self.expressions;
        if before != Expressions::None {
            self.expressions = expressions;
        }
        let parsed = parse(self);
        self.expressions = before;
        parsed
    }

    fn filters(&mut self, name: &[u8], value: Value<'_>, depth: usize) -> Parsed<Box<[Node]>> {
        let array = array(value).ok_or_else(|| refuse_name(name, None))?;
        let mut nodes = Vec::new();
        for (_, clause) in array.elements() {
            self.count(name)?;
            if clause.kind != ElementType::EmbeddedDocument {
                return Err(refuse_name(name, None));
            }
            nodes.push(self.filter(Doc::new(clause.bytes()), depth)?);
        }
        if nodes.is_empty() {
            return Err(refuse_name(name, None));
        }
        Ok(nodes.into())
    }

    /// Parses what stands behind a path: a value, a regular expression or a document of operators.
    fn condition(
        &mut self,
        place: Place<'_>,
        value: Value<'_>,
        nodes: &mut Vec<Node>,
    ) -> Parsed<()> {
        match operators(value) {
            Some(operators) => self.operators(place, operators, nodes),
            None if value.kind == ElementType::RegularExpression => {
                nodes.push(place.leaf(Test::Regex(self.regex(place.regex(value)?)?)));
                Ok(())
            }
            None => {
                nodes.push(place.leaf(place.comparison(Comparison::Equal, value)?));
                Ok(())
            }
        }
    }

    fn operators(
        &mut self,
        place: Place<'_>,
        operators: Doc<'_>,
        nodes: &mut Vec<Node>,
    ) -> Parsed<()> {
        for (name, operand) in operators.elements() {
            self.count(name)?;
            nodes.push(self.operator(place, name, operand, operators)?);
        }
        Ok(())
    }

    fn operator(
        &mut self,
        place: Place<'_>,
        name: &[u8],
        operand: Value<'_>,
        siblings: Doc<'_>,
    ) -> Parsed<Node> {
        let refused = || refuse_name(name, place.path);
        let test = match name {
            b"$eq" => place.comparison(Comparison::Equal, operand)?,
            b"$ne" => {
                reject_regex(operand).ok_or_else(refused)?;
                let equal = place.comparison(Comparison::Equal, operand)?;
                return Ok(not(place.leaf(equal)));
            }
            b"$lt" => place.ranged(Comparison::Less, operand)?,
            b"$lte" => place.ranged(Comparison::LessOrEqual, operand)?,
            b"$gt" => place.ranged(Comparison::Greater, operand)?,
            b"$gte" => place.ranged(Comparison::GreaterOrEqual, operand)?,
            b"$in" => self.membership(place, name, operand)?,
            b"$nin" => {
                let test = self.membership(place, name, operand)?;
                return Ok(not(place.leaf(test)));
            }
            b"$exists" => {
                let leaf = place.leaf(Test::Exists);
                return Ok(match truth(operand).ok_or_else(refused)? {
                    true => leaf,
                    false => not(leaf),
                });
            }
            b"$type" => Test::Type(types(operand).ok_or_else(refused)?),
            b"$mod" => modulo(operand).ok_or_else(refused)?,
            b"$size" => Test::Size(size(operand).ok_or_else(refused)?),
            b"$bitsAllSet" => bits(Expects::AllSet, operand).ok_or_else(refused)?,
            b"$bitsAllClear" => bits(Expects::AllClear, operand).ok_or_else(refused)?,
            b"$bitsAnySet" => bits(Expects::AnySet, operand).ok_or_else(refused)?,
            b"$bitsAnyClear" => bits(Expects::AnyClear, operand).ok_or_else(refused)?,
            b"$regex" => {
                let regex = place.regex_operator(operand, siblings.get(b"$options"))?;
                Test::Regex(self.regex(regex)?)
            }
            b"$options" if siblings.get(b"$regex").is_some() => return Ok(Node::Constant(true)),
            b"$not" => return self.negation(place, operand),
            b"$all" => return self.all(place, operand),
            b"$elemMatch" => self.element_match(place, operand)?,
            _ => return Err(refused()),
        };
        Ok(place.leaf(test))
    }

    fn negation(&mut self, place: Place<'_>, operand: Value<'_>) -> Parsed<Node> {
        if operand.kind == ElementType::RegularExpression {
            let regex = self.regex(place.regex(operand)?)?;
            return Ok(not(place.leaf(Test::Regex(regex))));
        }
        let operators = operators(operand).ok_or_else(|| refuse_name(b"$not", place.path))?;
        let mut nodes = Vec::new();
        let place = place.deeper()?;
        self.operators(place, operators, &mut nodes)?;
        Ok(not(all_of(nodes)))
    }

    fn membership(&mut self, place: Place<'_>, name: &[u8], operand: Value<'_>) -> Parsed<Test> {
        let refused = || refuse_name(name, place.path);
        let (mut values, mut regexes, mut has_null) = (Vec::new(), Vec::new(), false);
        for (_, value) in array(operand).ok_or_else(refused)?.elements() {
            count(&mut self.items_left, "so many values", name)?;
            if value.kind == ElementType::RegularExpression {
                regexes.push(self.regex(place.regex(value)?)?);
            } else {
                has_null |= value.kind == ElementType::Null;
                values.push(place.operand(value)?);
            }
        }
        values.sort_by(|left, right| order::compare(left.value(), right.value()));
        Ok(Test::In(Membership {
            values: values.into(),
            regexes: regexes.into(),
            has_null,
        }))
    }

    fn all(&mut self, place: Place<'_>, operand: Value<'_>) -> Parsed<Node> {
        let refused = || refuse_name(b"$all", place.path);
        if place.is_element {
            // In a change stream the server refuses what it made of it itself (measured on 6.0.5).
            return Err(refused());
        }
        let mut nodes = Vec::new();
        for (_, value) in array(operand).ok_or_else(refused)?.elements() {
            self.count(b"$all")?;
            let element_match =
                operators(value).map(|doc| (doc.elements().count(), doc.get(b"$elemMatch")));
            nodes.push(match (value.kind, element_match) {
                (ElementType::RegularExpression, _) => {
                    place.leaf(Test::Regex(self.regex(place.regex(value)?)?))
                }
                (_, None) => place.leaf(place.comparison(Comparison::Equal, value)?),
                (_, Some((1, Some(operand)))) => place.leaf(self.element_match(place, operand)?),
                (_, Some(_)) => return Err(refused()),
            });
        }
        let element_matches = nodes.iter().filter(|node| match node {
            Node::Leaf { test, .. } => test.takes_whole_arrays(),
            _ => false,
        });
        match element_matches.count() {
            _ if nodes.is_empty() => Ok(Node::Constant(false)),
            count if count == 0 || count == nodes.len() => Ok(all_of(nodes)),
            _ => Err(refused()),
        }
    }

    fn element_match(&mut self, place: Place<'_>, operand: Value<'_>) -> Parsed<Test> {
        let refused = || refuse_name(b"$elemMatch", place.path);
        if operand.kind != ElementType::EmbeddedDocument {
            return Err(refused());
        }
        let document = Doc::new(operand.bytes());
        let on_values = operators(operand).is_some_and(|document| {
            let first = document.elements().next().map(|(name, _)| name);
            !matches!(first, Some(b"$and" | b"$or" | b"$nor" | b"$comment"))
        });
        if !on_values {
            let node = self.with(Expressions::None, |parser| {
                parser.filter(document, place.depth)
            })?;
            return Ok(Test::ElementDocument(Box::new(node)));
        }
        let place = Place {
            is_element: true,
            ..place.deeper()?
        };
        let mut nodes = Vec::new();
        self.operators(place, document, &mut nodes)?;
        Ok(Test::ElementValue(Box::new(all_of(nodes))))
    }

    fn count(&mut self, name: &[u8]) -> Parsed<()> {
        count(&mut self.conditions_left, "so many conditions", name)
    }

    /// Counts a regular expression of a place.
    fn regex(&mut self, regex: Regex) -> Parsed<Regex> {
        count(&mut self.regexes_left, "so many regular expressions", b"")?;
        Ok(regex)
    }
}

fn count(left: &mut usize, what: &str, name: &[u8]) -> Parsed<()> {
    let less = left.checked_sub(1);
    *left = less.ok_or_else(|| refuse(what, String::from_utf8_lossy(name)))?;
    Ok(())
}

impl Place<'_> {
    fn leaf(self, test: Test) -> Node {
        Node::Leaf {
            path: self.path.cloned(),
            test,
        }
    }

    fn deeper(self) -> Parsed<Self> {
        Ok(Self {
            depth: deeper(self.depth)?,
            ..self
        })
    }

    /// Says whether the server rewrites conditions here for the oplog, in a change stream.
    ///
    /// Measured on 6.0.5: it then refuses texts with NUL, loses updates where `updateDescription` is compared with MinKey or
    /// MaxKey, and drops where a regular expression that the empty text matches is negated.
    fn is_rewritten(self) -> bool {
        let begins = |path: &Path| REWRITTEN.iter().any(|name| path.begins_with(name));
        self.path.is_some_and(begins)
    }

    fn operand(self, value: Value<'_>) -> Parsed<Operand> {
        let refused = |what| Err(refuse_in(what, self.path));
        if value.kind == ElementType::Undefined {
            return refused("undefined");
        }
        if operators(value).is_some() {
            return refused("a document that begins with an operator, as a value");
        }
        if self.is_rewritten() && has_nul(value, OPERAND_DEPTH_MAX) {
            return refused("a text with NUL");
        }
        match fits(value, OPERAND_DEPTH_MAX) {
            true => Ok(Operand::new(value)),
            false => refused("a value nested so deeply"),
        }
    }

    fn comparison(self, comparison: Comparison, value: Value<'_>) -> Parsed<Test> {
        Ok(Test::Compare {
            comparison,
            operand: self.operand(value)?,
        })
    }

    fn ranged(self, comparison: Comparison, value: Value<'_>) -> Parsed<Test> {
        reject_regex(value)
            .ok_or_else(|| refuse_in("an order of regular expressions", self.path))?;
        let is_end = matches!(value.kind, ElementType::MinKey | ElementType::MaxKey);
        if is_end && self.is_rewritten() {
            return Err(refuse_in("an order against MinKey or MaxKey", self.path));
        }
        self.comparison(comparison, value)
    }

    fn regex(self, value: Value<'_>) -> Parsed<Regex> {
        let (pattern, options) = value.regex();
        self.pattern(pattern, options)
    }

    fn regex_operator(self, operand: Value<'_>, options: Option<Value<'_>>) -> Parsed<Regex> {
        let (pattern, own_options) = match operand.kind {
            ElementType::RegularExpression => operand.regex(),
            ElementType::String => (operand.text(), &b""[..]),
            _ => return Err(refuse_in("$regex", self.path)),
        };
        match options {
            None => self.pattern(pattern, own_options),
            Some(options) if own_options.is_empty() && options.kind == ElementType::String => {
                self.pattern(pattern, options.text())
            }
            Some(_) => Err(refuse_in("$options", self.path)),
        }
    }

    fn pattern(self, pattern: &[u8], options: &[u8]) -> Parsed<Regex> {
        let regex = Regex::new(pattern, options).map_err(|what| refuse_in(&what, self.path))?;
        if self.is_rewritten() && pattern.contains(&0) {
            return Err(refuse_in("a text with NUL", self.path));
        }
        if self.is_rewritten() && regex.finds(b"") {
            let what = "a regular expression that the empty text matches";
            return Err(refuse_in(what, self.path));
        }
        Ok(regex)
    }
}

fn all_of(mut nodes: Vec<Node>) -> Node {
    match nodes.len() {
        1 => nodes.swap_remove(0),
        _ => Node::And(nodes.into()),
    }
}

fn not(node: Node) -> Node {
    Node::Not(Box::new(node))
}

pub(super) fn array(value: Value<'_>) -> Option<Doc<'_>> {
    value.container().filter(|_| value.is_array())
}

/// Returns the document if its first field is an operator (or a reference's `$ref`, which nobody takes).
fn operators(value: Value<'_>) -> Option<Doc<'_>> {
    let document = value.container().filter(|_| !value.is_array())?;
    let (first, _) = document.elements().next()?;
    first.starts_with(b"$").then_some(document)
}

fn reject_regex(value: Value<'_>) -> Option<()> {
    (value.kind != ElementType::RegularExpression).then_some(())
}

fn deeper(depth: usize) -> Parsed<usize> {
    depth
        .checked_sub(1)
        .ok_or_else(|| refuse("a filter nested so deeply", ""))
}

fn fits(value: Value<'_>, depth: usize) -> bool {
    let Some(document) = value.container() else {
        return true;
    };
    depth > 0 && document.elements().all(|(_, inner)| fits(inner, depth - 1))
}

/// Says whether a text in the value has a NUL; where the value is too deep to tell, that it has.
fn has_nul(value: Value<'_>, depth: usize) -> bool {
    let Some(document) = value.container() else {
        return value.text().contains(&0);
    };
    let mut values = document.elements().map(|(_, inner)| inner);
    depth == 0 || values.any(|inner| has_nul(inner, depth - 1))
}

fn truth(operand: Value<'_>) -> Option<bool> {
    match operand.kind {
        ElementType::Boolean => Some(operand.bytes() != [0]),
        _ => integer(operand).map(|integer| integer != 0),
    }
}

/// Returns what is a whole number in every type that the server takes here.
pub(super) fn integer(operand: Value<'_>) -> Option<i64> {
    match Number::of(operand)? {
        Number::Integer(integer) => Some(integer),
        number @ Number::Double(double) => number
            .truncated()
            .filter(|integer| *integer as f64 == double),
        Number::Decimal(_) => None,
    }
}

fn modulo(operand: Value<'_>) -> Option<Test> {
    let mut numbers = array(operand)?.elements().map(|(_, value)| integer(value));
    let (divisor, remainder) = (numbers.next()??, numbers.next()??);
    (divisor != 0 && numbers.next().is_none()).then_some(Test::Modulo { divisor, remainder })
}

fn size(operand: Value<'_>) -> Option<usize> {
    usize::try_from(i32::try_from(integer(operand)?).ok()?).ok()
}

fn bits(expects: Expects, operand: Value<'_>) -> Option<Test> {
    let mut bits: Vec<u32> = Vec::new();
    if let Some(array) = array(operand) {
        for (_, value) in array.elements() {
            let bit = u32::try_from(integer(value)?).ok()?;
            bits.push(bit);
        }
    } else if let Some((_, content)) = operand.binary() {
        let end = u32::try_from(content.len()).ok()?.checked_mul(8)?;
        bits.extend((0..end).filter(|bit| content[*bit as usize / 8] >> (bit % 8) & 1 == 1));
    } else {
        let mask = integer(operand).filter(|mask| *mask >= 0)?;
        bits.extend((0..63).filter(|bit| mask >> bit & 1 == 1));
    }
    bits.sort_unstable();
    bits.dedup();
    let bits = Bits(bits.into());
    Some(Test::Bits { bits, expects })
}

fn refuse(what: &str, place: impl Into<String>) -> Unsupported {
    Unsupported {
        what: what.to_owned(),
        place: place.into(),
    }
}

fn refuse_in(what: &str, path: Option<&Path>) -> Unsupported {
    refuse(what, path.map(Path::to_string).unwrap_or_default())
}

fn refuse_name(name: &[u8], path: Option<&Path>) -> Unsupported {
    refuse_in(&String::from_utf8_lossy(name), path)
}

/// What a change event has outside its documents.
const REWRITTEN: [&str; 6] = [
    "clusterTime",
    "documentKey",
    "ns",
    "operationType",
    "to",
    "updateDescription",
];

/// What an oplog entry has and an event has not. A change stream asks the entry, so that events are hidden that have no such
/// field (measured on 6.0.5).
const HIDDEN: [&str; 2] = ["lsid", "txnNumber"];

/// The server allows 100 levels of a filter.
const DEPTH_MAX: usize = 50;
/// The server allows 180 or so levels of a document.
const OPERAND_DEPTH_MAX: usize = 100;
const FILTER_BYTES_MAX: usize = 4 << 20;
/// Each is asked of an event of up to 16 MB.
const CONDITIONS_MAX: usize = 2_000;
/// Values in lists, which are searched by halves.
const ITEMS_MAX: usize = 200_000;
/// Each may take `COMPILED_BYTES_MAX`, and is asked one after the other.
const REGEXES_MAX: usize = 100;
