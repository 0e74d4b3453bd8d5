//! Comparison, `$and` and its like, conditionals, variables, and what asks for a value's type.

use std::cmp::Ordering;

use bson::spec::ElementType;

use crate::query::expression::node::{Node, given, is_true};
use crate::query::expression::numeric::{Numeric, type_name};
use crate::query::expression::{Computed, Failure, Outcome, Scope};
use crate::query::order::{self, Bracket};
use crate::query::value::Value;

/// Compares as aggregation does: a missing value is as undefined.
pub(super) fn compare(left: Option<&Computed<'_>>, right: Option<&Computed<'_>>) -> Ordering {
    let missing = Value::new(ElementType::Undefined, &[]);
    let (left, right) = (
        left.map_or(missing, Computed::value),
        right.map_or(missing, Computed::value),
    );
    let brackets = Bracket::of(left.kind).cmp(&Bracket::of(right.kind));
    brackets.then_with(|| order::compare_in_expression(left, right))
}

fn compared<'d>(arguments: &'d [Node], scope: &mut Scope<'d>) -> Result<Ordering, Failure> {
    let [left, right] = arguments else {
        return Ok(Ordering::Equal);
    };
    let (left, right) = (left.evaluate(scope)?, right.evaluate(scope)?);
    Ok(compare(left.as_ref(), right.as_ref()))
}

fn boolean<'d>(boolean: bool) -> Outcome<'d> {
    Ok(Some(Computed::boolean(boolean)))
}

pub(super) fn equal<'d>(arguments: &'d [Node], scope: &mut Scope<'d>) -> Outcome<'d> {
    boolean(compared(arguments, scope)?.is_eq())
}

pub(super) fn not_equal<'d>(arguments: &'d [Node], scope: &mut Scope<'d>) -> Outcome<'d> {
    boolean(compared(arguments, scope)?.is_ne())
}

pub(super) fn less<'d>(arguments: &'d [Node], scope: &mut Scope<'d>) -> Outcome<'d> {
    boolean(compared(arguments, scope)?.is_lt())
}

pub(super) fn less_or_equal<'d>(arguments: &'d [Node], scope: &mut Scope<'d>) -> Outcome<'d> {
    boolean(compared(arguments, scope)?.is_le())
}

pub(super) fn greater<'d>(arguments: &'d [Node], scope: &mut Scope<'d>) -> Outcome<'d> {
    boolean(compared(arguments, scope)?.is_gt())
}

pub(super) fn greater_or_equal<'d>(arguments: &'d [Node], scope: &mut Scope<'d>) -> Outcome<'d> {
    boolean(compared(arguments, scope)?.is_ge())
}

pub(super) fn order<'d>(arguments: &'d [Node], scope: &mut Scope<'d>) -> Outcome<'d> {
    Ok(Some(Computed::int(compared(arguments, scope)? as i32)))
}

pub(super) fn and<'d>(arguments: &'d [Node], scope: &mut Scope<'d>) -> Outcome<'d> {
    for argument in arguments {
        if !is_true(argument.evaluate(scope)?.as_ref()) {
            return boolean(false);
        }
    }
    boolean(true)
}

pub(super) fn or<'d>(arguments: &'d [Node], scope: &mut Scope<'d>) -> Outcome<'d> {
    for argument in arguments {
        if is_true(argument.evaluate(scope)?.as_ref()) {
            return boolean(true);
        }
    }
    boolean(false)
}

pub(super) fn not<'d>(arguments: &'d [Node], scope: &mut Scope<'d>) -> Outcome<'d> {
    let [argument] = arguments else {
        return Ok(None);
    };
    boolean(!is_true(argument.evaluate(scope)?.as_ref()))
}

/// `[if, then, else]`.
pub(super) fn condition<'d>(arguments: &'d [Node], scope: &mut Scope<'d>) -> Outcome<'d> {
    let [condition, then, otherwise] = arguments else {
        return Ok(None);
    };
    match is_true(condition.evaluate(scope)?.as_ref()) {
        true => then.evaluate(scope),
        false => otherwise.evaluate(scope),
    }
}

pub(super) fn if_null<'d>(arguments: &'d [Node], scope: &mut Scope<'d>) -> Outcome<'d> {
    let Some((last, others)) = arguments.split_last() else {
        return Ok(None);
    };
    for argument in others {
        if let Some(value) = given(argument, scope)? {
            return Ok(Some(value));
        }
    }
    last.evaluate(scope)
}

/// `[default, case, then, case, then, …]`.
pub(super) fn switch<'d>(arguments: &'d [Node], scope: &mut Scope<'d>) -> Outcome<'d> {
    let Some((default, branches)) = arguments.split_first() else {
        return Ok(None);
    };
    for branch in branches.chunks_exact(2) {
        if is_true(branch[0].evaluate(scope)?.as_ref()) {
            return branch[1].evaluate(scope);
        }
    }
    match default {
        Node::Absent => Err(Failure::new(40066, "$switch without a branch that fits")),
        default => default.evaluate(scope),
    }
}

/// `[in, value, value, …]`: the values are the variables.
pub(super) fn bind<'d>(arguments: &'d [Node], scope: &mut Scope<'d>) -> Outcome<'d> {
    let Some((inner, values)) = arguments.split_first() else {
        return Ok(None);
    };
    let mut bound = Vec::with_capacity(values.len());
    for value in values {
        bound.push(value.evaluate(scope)?);
    }
    let before = scope.variables.len();
    scope.variables.extend(bound);
    let result = inner.evaluate(scope);
    scope.variables.truncate(before);
    result
}

pub(super) fn kind<'d>(arguments: &'d [Node], scope: &mut Scope<'d>) -> Outcome<'d> {
    let [argument] = arguments else {
        return Ok(None);
    };
    let name = type_name(argument.evaluate(scope)?.map(|value| value.kind()));
    Ok(Some(Computed::string(name.as_bytes())))
}

pub(super) fn is_number<'d>(arguments: &'d [Node], scope: &mut Scope<'d>) -> Outcome<'d> {
    let [argument] = arguments else {
        return Ok(None);
    };
    let value = argument.evaluate(scope)?;
    boolean(value.is_some_and(|value| Numeric::of(value.value()).is_some()))
}

pub(super) fn is_array<'d>(arguments: &'d [Node], scope: &mut Scope<'d>) -> Outcome<'d> {
    let [argument] = arguments else {
        return Ok(None);
    };
    boolean(
        argument
            .evaluate(scope)?
            .is_some_and(|value| value.is_array()),
    )
}
