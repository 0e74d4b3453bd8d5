//! Arrays: their elements, parts of them, and what is made of each element.

use crate::query::expression::node::{Node, given, is_true};
use crate::query::expression::numeric::{Numeric, wrong_type};
use crate::query::expression::{Builder, Computed, Failure, Outcome, Scope, logic};
use crate::query::value::Value;

fn null<'d>() -> Outcome<'d> {
    Ok(Some(Computed::null()))
}

/// Evaluates an array; `None` where it is null or missing.
pub(super) fn array<'d>(
    node: &'d Node,
    scope: &mut Scope<'d>,
    code: i32,
    operator: &str,
) -> Outcome<'d> {
    match given(node, scope)? {
        Some(value) if !value.is_array() => Err(wrong_type(code, operator, Some(&value))),
        value => Ok(value),
    }
}

/// Evaluates an array, which must not be null either.
pub(super) fn strict_array<'d>(
    node: &'d Node,
    scope: &mut Scope<'d>,
    code: i32,
    operator: &str,
) -> Result<Computed<'d>, Failure> {
    let value = node.evaluate(scope)?;
    match value {
        Some(value) if value.is_array() => Ok(value),
        value => Err(wrong_type(code, operator, value.as_ref())),
    }
}

/// Returns a number that 32 bits hold.
fn int(value: &Computed<'_>, code: i32, operator: &str) -> Result<i32, Failure> {
    let whole = Numeric::of(value.value()).and_then(Numeric::whole_int);
    whole.ok_or_else(|| wrong_type(code, operator, Some(value)))
}

fn count(array: &Computed<'_>) -> usize {
    array.elements().count()
}

/// Returns the place that `index` means: from behind, if it is negative.
fn place(index: i32, count: usize) -> Option<usize> {
    match usize::try_from(index) {
        Ok(place) => Some(place),
        Err(_) => count.checked_sub(index.unsigned_abs() as usize),
    }
}

pub(super) fn size<'d>(arguments: &'d [Node], scope: &mut Scope<'d>) -> Outcome<'d> {
    let [array] = arguments else {
        return Ok(None);
    };
    let array = strict_array(array, scope, 17124, "$size")?;
    Ok(Some(Computed::int(count(&array) as i32)))
}

pub(super) fn element_at<'d>(arguments: &'d [Node], scope: &mut Scope<'d>) -> Outcome<'d> {
    let [array, index] = arguments else {
        return Ok(None);
    };
    let (array, index) = (given(array, scope)?, given(index, scope)?);
    let (Some(array), Some(index)) = (array, index) else {
        return null();
    };
    if !array.is_array() {
        return Err(wrong_type(28689, "$arrayElemAt", Some(&array)));
    }
    if Numeric::of(index.value()).is_none() {
        return Err(wrong_type(28690, "$arrayElemAt by", Some(&index)));
    }
    let index = int(&index, 28691, "$arrayElemAt by")?;
    let count = if index < 0 { count(&array) } else { 0 };
    Ok(place(index, count).and_then(|place| array.elements().nth(place)))
}

pub(super) fn first<'d>(arguments: &'d [Node], scope: &mut Scope<'d>) -> Outcome<'d> {
    let [node] = arguments else {
        return Ok(None);
    };
    match array(node, scope, 28689, "$first")? {
        Some(array) => Ok(array.elements().next()),
        None => null(),
    }
}

pub(super) fn last<'d>(arguments: &'d [Node], scope: &mut Scope<'d>) -> Outcome<'d> {
    let [node] = arguments else {
        return Ok(None);
    };
    match array(node, scope, 28689, "$last")? {
        Some(array) => Ok(array.elements().last()),
        None => null(),
    }
}

pub(super) fn slice<'d>(arguments: &'d [Node], scope: &mut Scope<'d>) -> Outcome<'d> {
    let [array, second, third @ ..] = arguments else {
        return Ok(None);
    };
    let (array, second) = (given(array, scope)?, given(second, scope)?);
    let (Some(array), Some(second)) = (array, second) else {
        return null();
    };
    if !array.is_array() {
        return Err(wrong_type(28724, "$slice", Some(&array)));
    }
    let second = int(&second, 28725, "$slice by")?;
    let all = count(&array);
    let (start, len) = match third.first() {
        None if second >= 0 => (0, second as usize),
        None => (place(second, all).unwrap_or(0), usize::MAX),
        Some(third) => {
            let Some(third) = given(third, scope)? else {
                return null();
            };
            let len = int(&third, 28727, "$slice by")?;
            if len <= 0 {
                return Err(Failure::new(28729, "$slice of no elements"));
            }
            (place(second, all).unwrap_or(0), len as usize)
        }
    };
    let mut result = Builder::new();
    for element in array.elements().skip(start).take(len) {
        result.element(element.value());
    }
    result.array().map(Some)
}

pub(super) fn contains<'d>(arguments: &'d [Node], scope: &mut Scope<'d>) -> Outcome<'d> {
    let [value, array] = arguments else {
        return Ok(None);
    };
    let value = value.evaluate(scope)?;
    let array = strict_array(array, scope, 40081, "$in")?;
    let found = array
        .elements()
        .any(|element| logic::compare(Some(&element), value.as_ref()).is_eq());
    Ok(Some(Computed::boolean(found)))
}

pub(super) fn concat<'d>(arguments: &'d [Node], scope: &mut Scope<'d>) -> Outcome<'d> {
    let mut result = Builder::new();
    for argument in arguments {
        let Some(array) = array(argument, scope, 28664, "$concatArrays")? else {
            return null();
        };
        for element in array.elements() {
            result.element(element.value());
        }
        result.check()?;
    }
    result.array().map(Some)
}

pub(super) fn reverse<'d>(arguments: &'d [Node], scope: &mut Scope<'d>) -> Outcome<'d> {
    let [node] = arguments else {
        return Ok(None);
    };
    let Some(array) = array(node, scope, 34435, "$reverseArray")? else {
        return null();
    };
    let elements: Vec<Computed<'d>> = array.elements().collect();
    let mut result = Builder::new();
    for element in elements.iter().rev() {
        result.element(element.value());
    }
    result.array().map(Some)
}

pub(super) fn range<'d>(arguments: &'d [Node], scope: &mut Scope<'d>) -> Outcome<'d> {
    let mut numbers = [0, 0, 1];
    for (number, argument) in numbers.iter_mut().zip(arguments) {
        let value = argument.evaluate(scope)?;
        let whole = value.as_ref().and_then(|value| Numeric::of(value.value()));
        *number = whole
            .and_then(Numeric::whole_int)
            .ok_or_else(|| wrong_type(34443, "$range", value.as_ref()))?;
    }
    let [start, end, step] = numbers.map(i64::from);
    if step == 0 {
        return Err(Failure::new(34449, "$range by steps of nothing"));
    }
    let mut result = Builder::new();
    let mut at = start;
    while (step > 0 && at < end) || (step < 0 && at > end) {
        scope.step()?;
        result.element(Value::new(
            bson::spec::ElementType::Int32,
            &(at as i32).to_le_bytes(),
        ));
        result.check()?;
        at += step;
    }
    result.array().map(Some)
}

pub(super) fn index_of<'d>(arguments: &'d [Node], scope: &mut Scope<'d>) -> Outcome<'d> {
    let [node, wanted, bounds @ ..] = arguments else {
        return Ok(None);
    };
    let Some(array) = array(node, scope, 40090, "$indexOfArray")? else {
        return null();
    };
    let wanted = wanted.evaluate(scope)?;
    let all = count(&array);
    let start = bound(bounds.first(), scope, 0, "$indexOfArray")?;
    let end = bound(bounds.get(1), scope, all, "$indexOfArray")?;
    let found = array
        .elements()
        .enumerate()
        .take(end.min(all))
        .skip(start)
        .find(|(_, element)| logic::compare(Some(element), wanted.as_ref()).is_eq());
    let index = found.map_or(-1, |(place, _)| place as i32);
    Ok(Some(Computed::int(index)))
}

/// Evaluates the start or the end of a search, which is no null and not negative.
pub(super) fn bound<'d>(
    node: Option<&'d Node>,
    scope: &mut Scope<'d>,
    otherwise: usize,
    operator: &str,
) -> Result<usize, Failure> {
    let Some(node) = node else {
        return Ok(otherwise);
    };
    let value = node.evaluate(scope)?;
    let whole = value
        .as_ref()
        .and_then(|value| Numeric::of(value.value()))
        .and_then(Numeric::whole_int)
        .ok_or_else(|| wrong_type(40096, operator, value.as_ref()))?;
    usize::try_from(whole).map_err(|_| Failure::new(40097, "a search from a negative place"))
}

/// `[input, in]`: the element is the next variable.
pub(super) fn map<'d>(arguments: &'d [Node], scope: &mut Scope<'d>) -> Outcome<'d> {
    let [input, each] = arguments else {
        return Ok(None);
    };
    let Some(array) = array(input, scope, 16883, "$map")? else {
        return null();
    };
    let mut result = Builder::new();
    for element in array.elements() {
        let value = with_variables(scope, [Some(element)], each)?;
        let value = value.unwrap_or_else(Computed::null);
        result.element(value.value());
        result.check()?;
    }
    result.array().map(Some)
}

/// `[input, cond, limit]`.
pub(super) fn filter<'d>(arguments: &'d [Node], scope: &mut Scope<'d>) -> Outcome<'d> {
    let [input, condition, limit] = arguments else {
        return Ok(None);
    };
    let Some(array) = array(input, scope, 28651, "$filter")? else {
        return null();
    };
    let mut left = usize::MAX;
    if let Some(limit) = given(limit, scope)? {
        let limit = int(&limit, 327391, "$filter up to")?;
        left = match usize::try_from(limit) {
            Ok(0) | Err(_) => return Err(Failure::new(327392, "$filter up to nothing")),
            Ok(limit) => limit,
        };
    }
    let mut result = Builder::new();
    for element in array.elements() {
        if left == 0 {
            break;
        }
        if is_true(with_variables(scope, [Some(element.clone())], condition)?.as_ref()) {
            result.element(element.value());
            left -= 1;
        }
    }
    result.array().map(Some)
}

/// `[input, initial value, in]`: the variables are `this` and `value`.
pub(super) fn reduce<'d>(arguments: &'d [Node], scope: &mut Scope<'d>) -> Outcome<'d> {
    let [input, initial, each] = arguments else {
        return Ok(None);
    };
    let Some(array) = array(input, scope, 40080, "$reduce")? else {
        return null();
    };
    let mut value = initial.evaluate(scope)?;
    for element in array.elements() {
        value = with_variables(scope, [Some(element), value], each)?;
        if let Some(value) = &value {
            value.check_depth()?;
        }
    }
    Ok(value)
}

fn with_variables<'d, const COUNT: usize>(
    scope: &mut Scope<'d>,
    variables: [Option<Computed<'d>>; COUNT],
    node: &'d Node,
) -> Outcome<'d> {
    let before = scope.variables.len();
    scope.variables.extend(variables);
    let result = node.evaluate(scope);
    scope.variables.truncate(before);
    result
}

/// `[use the longest, defaults or absent, input, input, …]`.
pub(super) fn zip<'d>(arguments: &'d [Node], scope: &mut Scope<'d>) -> Outcome<'d> {
    let [longest, defaults, inputs @ ..] = arguments else {
        return Ok(None);
    };
    let mut arrays = Vec::with_capacity(inputs.len());
    for input in inputs {
        let Some(array) = array(input, scope, 34468, "$zip")? else {
            return null();
        };
        let elements: Vec<Computed<'d>> = array.elements().collect();
        arrays.push(elements);
    }
    let mut fillers = Vec::new();
    if let Some(defaults) = defaults.evaluate(scope)? {
        fillers.extend(defaults.elements());
    }
    let lens = arrays.iter().map(Vec::len);
    let len = match is_true(longest.evaluate(scope)?.as_ref()) {
        true => lens.max(),
        false => lens.min(),
    };
    let mut result = Builder::new();
    for row in 0..len.unwrap_or(0) {
        let mut tuple = Builder::new();
        for (column, array) in arrays.iter().enumerate() {
            scope.step()?;
            let filler = || fillers.get(column).cloned();
            let value = array.get(row).cloned().or_else(filler);
            tuple.element(value.unwrap_or_else(Computed::null).value());
        }
        result.element(tuple.array()?.value());
        result.check()?;
    }
    result.array().map(Some)
}
