//! Arrays as sets, `$max` and `$min`.
//!
//! The manual leaves open in which order a made set stands. The server's are sorted, in every version so far; of equal values
//! (`1` and `1.0`) `$setUnion` keeps the first, `$setIntersection` that of the smaller set.

use crate::query::expression::arrays::{array, strict_array};
use crate::query::expression::node::{Node, given, is_true};
use crate::query::expression::{Builder, Computed, Failure, Outcome, Scope, logic};

/// The elements, sorted and without repetitions.
struct Set<'d>(Vec<Computed<'d>>);

impl<'d> Set<'d> {
    fn of(array: &Computed<'d>) -> Self {
        Self::of_elements(array.elements().collect())
    }

    /// Keeps the first of equal ones, since sorting is stable.
    fn of_elements(mut elements: Vec<Computed<'d>>) -> Self {
        elements.sort_by(|left, right| logic::compare(Some(left), Some(right)));
        elements.dedup_by(|left, right| logic::compare(Some(left), Some(right)).is_eq());
        Self(elements)
    }

    fn contains(&self, value: &Computed<'d>) -> bool {
        self.0
            .binary_search_by(|element| logic::compare(Some(element), Some(value)))
            .is_ok()
    }

    /// Keeps what is in another set too.
    fn within(mut self, other: &Self) -> Self {
        self.0.retain(|element| other.contains(element));
        self
    }

    fn array(self) -> Outcome<'d> {
        let mut array = Builder::new();
        for element in &self.0 {
            array.element(element.value());
        }
        array.array().map(Some)
    }

    fn is_subset(&self, other: &Self) -> bool {
        self.0.iter().all(|element| other.contains(element))
    }
}

pub(super) fn difference<'d>(arguments: &'d [Node], scope: &mut Scope<'d>) -> Outcome<'d> {
    let [left, right] = arguments else {
        return Ok(None);
    };
    let (left, right) = (given(left, scope)?, given(right, scope)?);
    let (Some(left), Some(right)) = (left, right) else {
        return Ok(Some(Computed::null()));
    };
    for side in [&left, &right] {
        if !side.is_array() {
            let what = "$setDifference of what is no array";
            return Err(Failure::new(17048, what));
        }
    }
    let without = Set::of(&right);
    let all = Set::of(&left);
    let mut is_taken = vec![false; all.0.len()];
    let mut result = Builder::new();
    for element in left.elements().filter(|element| !without.contains(element)) {
        let place = all
            .0
            .binary_search_by(|known| logic::compare(Some(known), Some(&element)));
        let seen = place.ok().and_then(|place| is_taken.get_mut(place));
        if seen.is_some_and(|seen| !std::mem::replace(seen, true)) {
            result.element(element.value());
        }
    }
    result.array().map(Some)
}

pub(super) fn union<'d>(arguments: &'d [Node], scope: &mut Scope<'d>) -> Outcome<'d> {
    let mut all = Vec::new();
    for argument in arguments {
        let Some(array) = array(argument, scope, 17043, "$setUnion")? else {
            return Ok(Some(Computed::null()));
        };
        all.extend(array.elements());
    }
    Set::of_elements(all).array()
}

pub(super) fn intersection<'d>(arguments: &'d [Node], scope: &mut Scope<'d>) -> Outcome<'d> {
    let mut common: Option<Set<'d>> = None;
    for argument in arguments {
        let Some(array) = array(argument, scope, 17047, "$setIntersection")? else {
            return Ok(Some(Computed::null()));
        };
        let next = Set::of(&array);
        common = Some(match common {
            None => next,
            Some(common) if common.0.len() > next.0.len() => next.within(&common),
            Some(common) => common.within(&next),
        });
    }
    common.unwrap_or(Set(Vec::new())).array()
}

pub(super) fn equals<'d>(arguments: &'d [Node], scope: &mut Scope<'d>) -> Outcome<'d> {
    let mut first: Option<Set<'d>> = None;
    let mut equal = true;
    for argument in arguments {
        let set = Set::of(&strict_array(argument, scope, 17044, "$setEquals")?);
        match &first {
            None => first = Some(set),
            Some(first) => {
                equal = first.0.len() == set.0.len() && first.is_subset(&set);
                if !equal {
                    break;
                }
            }
        }
    }
    Ok(Some(Computed::boolean(equal)))
}

pub(super) fn is_subset<'d>(arguments: &'d [Node], scope: &mut Scope<'d>) -> Outcome<'d> {
    let [left, right] = arguments else {
        return Ok(None);
    };
    let left = strict_array(left, scope, 17046, "$setIsSubset")?;
    let right = strict_array(right, scope, 17042, "$setIsSubset")?;
    let is_subset = Set::of(&left).is_subset(&Set::of(&right));
    Ok(Some(Computed::boolean(is_subset)))
}

pub(super) fn any_true<'d>(arguments: &'d [Node], scope: &mut Scope<'d>) -> Outcome<'d> {
    let [node] = arguments else {
        return Ok(None);
    };
    let array = strict_array(node, scope, 17041, "$anyElementTrue")?;
    let any = array.elements().any(|element| is_true(Some(&element)));
    Ok(Some(Computed::boolean(any)))
}

pub(super) fn all_true<'d>(arguments: &'d [Node], scope: &mut Scope<'d>) -> Outcome<'d> {
    let [node] = arguments else {
        return Ok(None);
    };
    let array = strict_array(node, scope, 17040, "$allElementsTrue")?;
    let all = array.elements().all(|element| is_true(Some(&element)));
    Ok(Some(Computed::boolean(all)))
}

pub(super) fn max<'d>(arguments: &'d [Node], scope: &mut Scope<'d>) -> Outcome<'d> {
    extreme(arguments, scope, std::cmp::Ordering::Greater)
}

pub(super) fn min<'d>(arguments: &'d [Node], scope: &mut Scope<'d>) -> Outcome<'d> {
    extreme(arguments, scope, std::cmp::Ordering::Less)
}

/// The first of the most extreme values; of one argument that is an array, among its elements.
fn extreme<'d>(
    arguments: &'d [Node],
    scope: &mut Scope<'d>,
    wanted: std::cmp::Ordering,
) -> Outcome<'d> {
    let mut best: Option<Computed<'d>> = None;
    let mut take = |value: Computed<'d>| {
        let is_better = |best: &Computed<'d>| logic::compare(Some(&value), Some(best)) == wanted;
        if !value.is_nullish() && best.as_ref().is_none_or(is_better) {
            best = Some(value);
        }
    };
    for argument in arguments {
        match argument.evaluate(scope)? {
            Some(array) if array.is_array() && arguments.len() == 1 => {
                array.elements().for_each(&mut take);
            }
            Some(value) => take(value),
            None => (),
        }
    }
    Ok(Some(best.unwrap_or_else(Computed::null)))
}
