//! Operators whose arguments are written in a way of their own, and what the server makes of constants among arguments.
//!
//! - `dates`: units, timezones and formats, which are constants.
//! - `regexes`: patterns, likewise.

use bson::spec::ElementType;

use crate::query::expression::Computed;
use crate::query::expression::node::{Constant, Node, is_true};
use crate::query::expression::numeric::{Numeric, type_name};
use crate::query::expression::operators::Operator;
use crate::query::expression::parse::{
    Parsed, Parser, evaluated, fold, named_arguments, refuse, refuse_name,
};
use crate::query::value::{Doc, Value};

mod dates;
mod regexes;

impl Parser<'_> {
    /// Makes the node of a call, as the server simplifies it.
    ///
    /// It folds constants before it looks at an event: what fails then, refuses the pipeline. Of `$and` and `$or` it
    /// folds a constant out of any place, so that what stands before is not evaluated; where that could be seen, since
    /// something fails, they are refused.
    pub(super) fn call(
        &mut self,
        operator: &'static Operator,
        arguments: Vec<Node>,
    ) -> Parsed<Node> {
        let is_constant = |node: &Node| matches!(node, Node::Constant(_) | Node::Missing);
        let name = operator.name;
        if matches!(name, "$and" | "$or") {
            let is_seen =
                arguments.iter().any(Node::is_closed) && arguments.iter().any(Node::fails);
            if is_seen && arguments.len() > 1 {
                return Err(refuse(&format!(
                    "{name} of a constant and of what may fail"
                )));
            }
            let decides = name == "$or";
            let decided = arguments.iter().any(|node| match node.constant() {
                Some(value) => is_true(value.map(Computed::borrowed).as_ref()) == decides,
                None => false,
            });
            if decided {
                let value = Computed::boolean(decides);
                return Ok(Node::Constant(Constant::new(value.value())));
            }
        }
        let arguments = match COMMUTES.contains(&name) && arguments.len() > 1 {
            true if self.is_verbatim() && !is_in_order(operator, &arguments) => {
                return Err(refuse(&format!("{name} in another order inside a field")));
            }
            true => commuted(operator, arguments)?,
            false => arguments,
        };
        let is_no_array = |node: &Node| match node.constant() {
            Some(value) => value.is_none_or(|value| !value.is_array()),
            None => false,
        };
        if matches!(name, "$setEquals" | "$setIsSubset") && arguments.iter().any(is_no_array) {
            // The server makes sets of constants before it sees an event.
            return Err(refuse(&format!("{name} of a constant that is no array")));
        }
        let arguments = match reduced(name, arguments) {
            Reduced::To(node) => return Ok(node),
            Reduced::Arguments(arguments) => arguments,
        };
        let constants = arguments.iter().filter(|node| is_constant(node)).count();
        if FOLDS_RUNS.contains(&name) && constants > 0 && constants < arguments.len() {
            // Which of the others is evaluated, and in which order numbers are added, depends on the version. Where the
            // constants alone fail, or decide, that could be seen.
            let alone: Vec<Node> = arguments
                .iter()
                .filter_map(|node| match node.constant()? {
                    Some(value) => Some(Node::Constant(Constant::new(value))),
                    None => Some(Node::Missing),
                })
                .collect();
            let alone = evaluated(&Node::Call {
                operator,
                arguments: alone.into(),
            })?;
            let is_null = alone.is_none_or(|value| value.value().kind == ElementType::Null);
            if is_null {
                return Err(refuse(&format!("{name} of a constant null")));
            }
        }
        let call = Node::Call {
            operator,
            arguments: arguments.into(),
        };
        match name {
            // The server does not fold these, so that they fail on an event; and they have variables.
            "$let" | "$map" | "$filter" | "$reduce" => {
                if call.is_closed() && self.variables_len() == 0 {
                    evaluated(&call)?;
                }
                Ok(call)
            }
            _ => fold(call),
        }
    }

    /// Parses the arguments of an operator that is special.
    pub(super) fn special(
        &mut self,
        operator: &'static Operator,
        operand: Value<'_>,
    ) -> Parsed<Vec<Node>> {
        match operator.name {
            "$cond" => self.condition(operator, operand),
            "$switch" => self.switch(operator, operand),
            "$let" => self.bind(operator, operand),
            "$map" => self.over_elements(operator, operand, "in", &[]),
            "$filter" => self.over_elements(operator, operand, "cond", &["limit"]),
            "$zip" => self.zip(operator, operand),
            "$getField" => self.get_field(operator, operand),
            "$setField" => self.set_field(operator, operand, &["field", "input", "value"]),
            "$unsetField" => self.set_field(operator, operand, &["field", "input"]),
            "$convert" => self.convert(operator, operand),
            "$dateToString" => self.date_to_string(operator, operand),
            "$dateToParts" => self.date_to_parts(operator, operand),
            "$dateFromParts" => self.date_from_parts(operator, operand),
            "$dateAdd" | "$dateSubtract" => self.date_arithmetic(operator, operand),
            "$dateDiff" => self.date_difference(operator, operand),
            "$dateTrunc" => self.date_truncation(operator, operand),
            other => match SHORT_CONVERSIONS.iter().find(|(name, _)| *name == other) {
                Some((_, kind)) => {
                    let [input] = <[Node; 1]>::try_from(self.list(operand)?)
                        .map_err(|_| refuse(&format!("{other} of so many arguments")))?;
                    let kind = Node::Constant(Constant::int(*kind as i32));
                    Ok(vec![input, kind, Node::Absent, Node::Absent])
                }
                None => self.date_part(operator, operand),
            },
        }
    }

    fn convert(&mut self, operator: &Operator, operand: Value<'_>) -> Parsed<Vec<Node>> {
        let refused = || refuse("$convert to that type");
        let optional = ["onError", "onNull"];
        let object = named_arguments(operator, operand, &["input", "to"], &optional)?;
        let input = self.operand(object.get(b"input").ok_or_else(refused)?)?;
        let target = object.get(b"to").ok_or_else(refused)?;
        let kind = SHORT_CONVERSIONS
            .iter()
            .map(|(_, kind)| *kind)
            .find(|kind| {
                let code = Numeric::of(target).and_then(Numeric::whole_int);
                let name = type_name(Some(*kind)).as_bytes();
                (target.kind == ElementType::String && target.text() == name)
                    || code == Some(*kind as i32)
            });
        let kind = Constant::int(kind.ok_or_else(refused)? as i32);
        let mut arguments = vec![input, Node::Constant(kind)];
        for name in optional {
            arguments.push(match object.get(name.as_bytes()) {
                Some(value) => self.operand(value)?,
                None => Node::Absent,
            });
        }
        Ok(arguments)
    }

    fn condition(&mut self, operator: &Operator, operand: Value<'_>) -> Parsed<Vec<Node>> {
        let names = ["if", "then", "else"];
        if operand.kind == ElementType::EmbeddedDocument {
            let object = named_arguments(operator, operand, &names, &[])?;
            let values = names.iter().filter_map(|name| object.get(name.as_bytes()));
            return values.map(|value| self.operand(value)).collect();
        }
        let list = operand.container().filter(|_| operand.is_array());
        let list = list.filter(|list| list.elements().count() == names.len());
        let list = list.ok_or_else(|| refuse_name(b"$cond"))?;
        list.elements()
            .map(|(_, value)| self.operand(value))
            .collect()
    }

    fn switch(&mut self, operator: &Operator, operand: Value<'_>) -> Parsed<Vec<Node>> {
        let refused = || refuse_name(b"$switch");
        let object = named_arguments(operator, operand, &["branches"], &["default"])?;
        let mut arguments = vec![match object.get(b"default") {
            Some(default) => self.operand(default)?,
            None => Node::Absent,
        }];
        let branches = object
            .get(b"branches")
            .filter(|branches| branches.is_array());
        let branches = branches.and_then(Value::container).ok_or_else(refused)?;
        for (_, branch) in branches.elements() {
            let branch = named_arguments(operator, branch, &["case", "then"], &[])?;
            for name in [&b"case"[..], b"then"] {
                arguments.push(self.operand(branch.get(name).ok_or_else(refused)?)?);
            }
        }
        // A branch that is known never to fit is dropped by the server, and a switch of none is refused.
        let mut cases = arguments.iter().skip(1).step_by(2);
        if cases.all(|case| case.constant().is_some()) {
            return Err(refuse("$switch of constants"));
        }
        Ok(arguments)
    }

    fn bind(&mut self, operator: &Operator, operand: Value<'_>) -> Parsed<Vec<Node>> {
        let refused = || refuse_name(b"$let");
        let object = named_arguments(operator, operand, &["vars", "in"], &[])?;
        let variables = object.get(b"vars").ok_or_else(refused)?;
        let is_document = variables.kind == ElementType::EmbeddedDocument;
        let variables = variables
            .container()
            .filter(|_| is_document)
            .ok_or_else(refused)?;
        let (mut names, mut values) = (Vec::new(), Vec::new());
        for (name, value) in variables.elements() {
            if !(is_variable_name(name) || name == b"CURRENT") || names.contains(&name) {
                return Err(refuse_name(name));
            }
            names.push(name);
            values.push(self.operand(value)?);
        }
        let inner = self.with_variables(&names, object.get(b"in").ok_or_else(refused)?)?;
        Ok(std::iter::once(inner).chain(values).collect())
    }

    /// Parses `{input, as, …}`.
    fn over_elements(
        &mut self,
        operator: &Operator,
        operand: Value<'_>,
        each: &'static str,
        optional: &[&'static str],
    ) -> Parsed<Vec<Node>> {
        let optional: Vec<&str> = std::iter::once("as")
            .chain(optional.iter().copied())
            .collect();
        let object = named_arguments(operator, operand, &["input", each], &optional)?;
        let refused = || refuse_name(operator.name.as_bytes());
        let name = match object.get(b"as") {
            None => b"this",
            Some(name) if name.kind == ElementType::String => name.text(),
            Some(_) => return Err(refused()),
        };
        if !is_variable_name(name) {
            return Err(refused());
        }
        let input = self.operand(object.get(b"input").ok_or_else(refused)?)?;
        let each = object.get(each.as_bytes()).ok_or_else(refused)?;
        let mut arguments = vec![input, self.with_variables(&[name], each)?];
        if optional.contains(&"limit") {
            arguments.push(match object.get(b"limit") {
                Some(limit) => self.operand(limit)?,
                None => Node::Absent,
            });
        }
        Ok(arguments)
    }

    fn zip(&mut self, operator: &Operator, operand: Value<'_>) -> Parsed<Vec<Node>> {
        let refused = || refuse_name(b"$zip");
        let optional = ["useLongestLength", "defaults"];
        let object = named_arguments(operator, operand, &["inputs"], &optional)?;
        let longest = object.get(b"useLongestLength");
        let is_longest = match longest {
            None => false,
            Some(flag) if flag.kind == ElementType::Boolean => flag.bytes() != [0],
            Some(_) => return Err(refused()),
        };
        let list = |value: Value<'_>| -> Parsed<usize> {
            let list = value.container().filter(|_| value.is_array());
            Ok(list.ok_or_else(refused)?.elements().count())
        };
        let inputs = object.get(b"inputs").ok_or_else(refused)?;
        let count = list(inputs)?;
        let flag = Computed::boolean(is_longest);
        let mut arguments = vec![Node::Constant(Constant::new(flag.value()))];
        arguments.push(match object.get(b"defaults") {
            None => Node::Absent,
            // The server lets a missing value into an array there, which then has two lengths: so only constants.
            Some(defaults) if is_longest && list(defaults)? == count => {
                match self.operand(defaults)? {
                    constant @ Node::Constant(_) => constant,
                    _ => return Err(refuse("$zip with defaults that are no constants")),
                }
            }
            Some(_) => return Err(refused()),
        });
        if count == 0 {
            return Err(refused());
        }
        for (_, input) in inputs.container().into_iter().flat_map(Doc::elements) {
            arguments.push(self.operand(input)?);
        }
        Ok(arguments)
    }

    fn get_field(&mut self, operator: &Operator, operand: Value<'_>) -> Parsed<Vec<Node>> {
        let refused = || refuse_name(b"$getField");
        let object = operand.container().filter(|object| {
            let first = object.elements().next().map(|(name, _)| name);
            !operand.is_array() && !first.is_some_and(|name| name.starts_with(b"$"))
        });
        let (field, input) = match object {
            None => (operand, None),
            Some(_) => {
                let object = named_arguments(operator, operand, &["field", "input"], &[])?;
                (
                    object.get(b"field").ok_or_else(refused)?,
                    object.get(b"input"),
                )
            }
        };
        let input = match input {
            Some(input) => self.verbatim(input)?,
            None => self.current_document(),
        };
        Ok(vec![self.field_name(field)?, input])
    }

    fn set_field(
        &mut self,
        operator: &Operator,
        operand: Value<'_>,
        names: &[&str],
    ) -> Parsed<Vec<Node>> {
        // A field that was removed comes back at its old place on the server, not behind the others (measured on 6.0.5).
        if std::mem::replace(&mut self.sets_field, true) || self.is_repeated() {
            return Err(refuse("a second $setField or $unsetField"));
        }
        let refused = || refuse_name(operator.name.as_bytes());
        let object = named_arguments(operator, operand, names, &[])?;
        let field = self.field_name(object.get(b"field").ok_or_else(refused)?)?;
        let input = self.verbatim(object.get(b"input").ok_or_else(refused)?)?;
        let value = match object.get(b"value") {
            Some(value) => self.verbatim(value)?,
            None => Node::Missing,
        };
        Ok(vec![field, input, value])
    }

    /// Parses the name of a field: a constant text.
    fn field_name(&mut self, value: Value<'_>) -> Parsed<Node> {
        let refused = || refuse("the name of a field that is no constant text");
        let node = self.operand(value)?;
        match node.constant() {
            Some(Some(name)) if name.kind == ElementType::String && !name.text().contains(&0) => {
                Ok(node)
            }
            _ => Err(refused()),
        }
    }
}

/// What is left of a call when its constant conditions are decided.
enum Reduced {
    To(Node),
    Arguments(Vec<Node>),
}

/// Decides conditions that are constant, so that what they lead to stands in their place, as on the server.
fn reduced(name: &str, mut arguments: Vec<Node>) -> Reduced {
    let truth = |node: &Node| {
        let value = node.constant()?;
        Some(is_true(value.map(Computed::borrowed).as_ref()))
    };
    match name {
        "$cond" => match arguments.first().and_then(truth) {
            Some(true) if arguments.len() == 3 => Reduced::To(arguments.swap_remove(1)),
            Some(false) if arguments.len() == 3 => Reduced::To(arguments.swap_remove(2)),
            _ => Reduced::Arguments(arguments),
        },
        "$ifNull" => {
            let last = arguments.pop();
            let (mut left, mut is_decided) = (Vec::new(), false);
            for node in arguments {
                let null = node.constant().map(|value| {
                    value
                        .map(Computed::borrowed)
                        .is_none_or(|value| value.is_nullish())
                });
                if !is_decided && null != Some(true) {
                    is_decided = null == Some(false);
                    left.push(node);
                }
            }
            left.extend(last.filter(|_| !is_decided));
            match left.len() {
                1 => Reduced::To(left.swap_remove(0)),
                _ => Reduced::Arguments(left),
            }
        }
        "$switch" => {
            let mut nodes = arguments.into_iter();
            let (mut default, mut branches) = (nodes.next().unwrap_or(Node::Absent), Vec::new());
            while let (Some(case), Some(then)) = (nodes.next(), nodes.next()) {
                match truth(&case) {
                    Some(true) => {
                        default = then;
                        break;
                    }
                    Some(false) => (),
                    None => branches.extend([case, then]),
                }
            }
            match branches.is_empty() {
                true => Reduced::To(default),
                false => {
                    branches.insert(0, default);
                    Reduced::Arguments(branches)
                }
            }
        }
        "$let" if arguments.len() == 1 => Reduced::To(arguments.swap_remove(0)),
        _ => Reduced::Arguments(arguments),
    }
}

/// Says whether [`commuted`] changes nothing: one constant at most, which is the last, and no call of the same operator.
fn is_in_order(operator: &Operator, arguments: &[Node]) -> bool {
    let is_other = |node: &Node| match node {
        Node::Constant(_) | Node::Missing => false,
        Node::Call {
            operator: inner, ..
        } => inner.name != operator.name,
        Node::Absent | Node::Path(_) | Node::Object(_) | Node::Array(_) | Node::Match(_) => true,
    };
    let is_call = |node: &Node| matches!(node, Node::Call { .. }) && !is_other(node);
    match arguments.split_last() {
        Some((last, others)) => others.iter().all(is_other) && !is_call(last),
        None => true,
    }
}

/// Puts constants last, and makes one of them; takes the arguments of the same operator as its own.
///
/// So does the server up to 6.0, and it shows: in how doubles are rounded, and in which of equal values is first.
fn commuted(operator: &'static Operator, arguments: Vec<Node>) -> Parsed<Vec<Node>> {
    let (mut others, mut constants) = (Vec::new(), Vec::new());
    let mut waiting: Vec<Node> = arguments.into_iter().rev().collect();
    while let Some(node) = waiting.pop() {
        match node {
            Node::Constant(_) | Node::Missing => constants.push(node),
            Node::Call {
                operator: inner,
                arguments,
            } if inner.name == operator.name && arguments.len() > 1 => {
                waiting.extend(arguments.into_vec().into_iter().rev());
            }
            other => others.push(other),
        }
    }
    if constants.len() > 1 && !others.is_empty() {
        constants = vec![fold(Node::Call {
            operator,
            arguments: constants.into(),
        })?];
    }
    others.extend(constants);
    Ok(others)
}

/// Names that the server lets people give: they begin with a small letter or beyond ASCII.
fn is_variable_name(name: &[u8]) -> bool {
    let begins = |byte: &u8| byte.is_ascii_lowercase() || !byte.is_ascii();
    let goes_on = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_' || !byte.is_ascii();
    name.first().is_some_and(begins) && name.iter().all(goes_on)
}

/// Conversions by their types. Not to a date.
const SHORT_CONVERSIONS: [(&str, ElementType); 7] = [
    ("$toString", ElementType::String),
    ("$toInt", ElementType::Int32),
    ("$toLong", ElementType::Int64),
    ("$toDouble", ElementType::Double),
    ("$toDecimal", ElementType::Decimal128),
    ("$toBool", ElementType::Boolean),
    ("$toObjectId", ElementType::ObjectId),
];
/// Operators whose arguments the server puts in another order.
const COMMUTES: [&str; 7] = [
    "$add",
    "$multiply",
    "$sum",
    "$max",
    "$min",
    "$setUnion",
    "$setIntersection",
];
/// Operators of which the server folds neighbouring constants, in some versions constants anywhere.
const FOLDS_RUNS: [&str; 7] = [
    "$add",
    "$multiply",
    "$concat",
    "$concatArrays",
    "$mergeObjects",
    "$setUnion",
    "$setIntersection",
];
