//! What every matching event must have, for an index to look up: clauses of conditions, one clause of which holds.

use std::cmp::Ordering;

use crate::query::matcher::Node;
use crate::query::matcher::condition::{Bound, Condition, Key, Kinds, OperationTypes, Range};
use crate::query::matcher::leaf::{Comparison, Operand, Test};
use crate::query::order::number::Number;
use crate::query::order::{self, Bracket};
use crate::query::path::Path;

/// What every event that a predicate matches must meet: one of the clauses. *Necessary only*: the predicate still
/// decides. Without a clause no event matches.
#[derive(Clone, Debug)]
pub struct Necessary {
    clauses: Vec<Clause>,
}

/// Conditions that must all hold, and the operation types of the events that they hold for.
#[derive(Clone, Debug)]
pub struct Clause {
    /// An event that tells its operation type must be of one of these.
    pub operations: OperationTypes,
    /// What else must hold. Empty: nothing that can be looked up.
    pub conditions: Vec<Condition>,
}

impl Necessary {
    /// Says of every event that it may match.
    pub fn anything() -> Self {
        Self::only(Clause::anything())
    }

    fn nothing() -> Self {
        Self {
            clauses: Vec::new(),
        }
    }

    fn only(clause: Clause) -> Self {
        Self {
            clauses: vec![clause],
        }
    }

    fn condition(condition: Condition) -> Self {
        Self::only(Clause {
            operations: OperationTypes::ALL,
            conditions: vec![condition],
        })
    }

    fn operations(operations: OperationTypes) -> Self {
        Self::only(Clause {
            operations,
            conditions: Vec::new(),
        })
    }

    /// Returns the clauses. Where one of them has no conditions it is the only one.
    pub fn clauses(&self) -> &[Clause] {
        &self.clauses
    }

    /// Returns what must hold where both must.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        if self.clauses.len() * other.clauses.len() > CLAUSES_MAX {
            // Either alone is necessary too; the one with fewer clauses needs fewer lookups.
            let self_is_less = (!self.is_unconditional() && other.is_unconditional())
                || self.clauses.len() < other.clauses.len();
            return if self_is_less { self } else { other };
        }
        let pairs = self.clauses.iter().flat_map(|left| {
            other
                .clauses
                .iter()
                .map(move |right| left.clone().and(right.clone()))
        });
        let both = Self {
            clauses: pairs.collect(),
        };
        both.reduced()
    }

    /// Returns what must hold where either holds.
    fn or(mut self, other: Self) -> Self {
        for clause in other.clauses {
            let mut kept = self.clauses.iter_mut();
            match kept.find(|kept| kept.takes_in(&clause)) {
                Some(kept) => kept.take_in(clause),
                None => self.clauses.push(clause),
            }
        }
        match self.clauses.len() <= CLAUSES_MAX {
            true => self.reduced(),
            false => Self::anything(),
        }
    }

    fn is_unconditional(&self) -> bool {
        self.clauses
            .iter()
            .any(|clause| clause.conditions.is_empty())
    }

    /// Beside a clause without conditions the others have nothing to say but their operation types.
    fn reduced(self) -> Self {
        if self.clauses.len() < 2 || !self.is_unconditional() {
            return self;
        }
        let types = self.clauses.iter().map(|clause| clause.operations);
        Self::operations(types.fold(OperationTypes::NONE, OperationTypes::union))
    }
}

impl Clause {
    fn anything() -> Self {
        Self {
            operations: OperationTypes::ALL,
            conditions: Vec::new(),
        }
    }

    fn and(mut self, other: Self) -> Self {
        let common = self.operations.intersection(other.operations);
        // An array of operation types could be of both; no server sends one, but either alone is necessary too.
        if !common.is_empty() {
            self.operations = common;
        }
        for condition in other.conditions {
            if self.conditions.contains(&condition) {
                continue;
            }
            let mut kept = self.conditions.iter_mut();
            match kept.find_map(|kept| intersection(kept, &condition).map(|both| (kept, both))) {
                Some((kept, both)) => *kept = both,
                None => self.conditions.push(condition),
            }
        }
        self
    }

    /// Says whether a clause differs only by the values asked for at one path.
    fn takes_in(&self, other: &Self) -> bool {
        match (&*self.conditions, &*other.conditions) {
            (
                [Condition::Equality { path, keys }],
                [
                    Condition::Equality {
                        path: other_path,
                        keys: other_keys,
                    },
                ],
            ) => {
                self.operations == other.operations
                    && path == other_path
                    && keys.len() + other_keys.len() <= KEYS_MAX
            }
            _ => false,
        }
    }

    fn take_in(&mut self, other: Self) {
        for condition in other.conditions {
            if let (
                Some(Condition::Equality { keys, .. }),
                Condition::Equality {
                    keys: other_keys, ..
                },
            ) = (self.conditions.first_mut(), condition)
            {
                keys.extend(other_keys);
                keys.sort_unstable();
                keys.dedup();
            }
        }
    }
}

/// Returns the range that both ranges of one path are. In an array each bound may be met by another value, so it is not
/// what one value must be in; [`Range`] means just that.
fn intersection(left: &Condition, right: &Condition) -> Option<Condition> {
    match (left, right) {
        (
            Condition::Range { path, range },
            Condition::Range {
                path: other_path,
                range: other,
            },
        ) if path == other_path => Some(Condition::Range {
            path: path.clone(),
            range: range.intersection(other)?,
        }),
        _ => None,
    }
}

/// Finds what is necessary for a node.
pub(crate) fn necessary(node: &Node) -> Necessary {
    below(node, None)
}

/// `array` is the path of the array whose elements the node is asked of.
fn below(node: &Node, array: Option<&Path>) -> Necessary {
    match node {
        Node::And(nodes) => nodes
            .iter()
            .map(|node| below(node, array))
            .reduce(Necessary::and)
            .unwrap_or_else(Necessary::anything),
        Node::Or(nodes) => nodes
            .iter()
            .map(|node| below(node, array))
            .reduce(Necessary::or)
            .unwrap_or_else(Necessary::nothing),
        Node::Not(node) => negated(node, array),
        Node::Constant(true) | Node::Expression(_) => Necessary::anything(),
        Node::Constant(false) => Necessary::nothing(),
        Node::Leaf { path, test } => match (path, array) {
            (Some(path), None) => leaf(path, test),
            (Some(path), Some(array)) => match array.of_elements(path) {
                Some(path) => leaf_of_element(&path, test),
                None => Necessary::anything(),
            },
            (None, _) => Necessary::anything(),
        },
    }
}

/// Finds what is necessary where a node must not hold.
fn negated(node: &Node, array: Option<&Path>) -> Necessary {
    match node {
        Node::Not(node) => below(node, array),
        Node::Or(nodes) => nodes
            .iter()
            .map(|node| negated(node, array))
            .reduce(Necessary::and)
            .unwrap_or_else(Necessary::anything),
        Node::Leaf {
            path: Some(path),
            test,
        } if array.is_none() => match operations(path, test) {
            Some(types) => Necessary::operations(types.complement()),
            None => Necessary::anything(),
        },
        Node::And(_) | Node::Constant(_) | Node::Expression(_) | Node::Leaf { .. } => {
            Necessary::anything()
        }
    }
}

/// The operation types that a test asks for by name, and nothing else.
fn operations(path: &Path, test: &Test) -> Option<OperationTypes> {
    if !path.is(OperationTypes::FIELD) {
        return None;
    }
    let operands = equality(test)?;
    let names = operands.iter().map(|operand| operand.value().as_str());
    names
        .map(|name| name.map(OperationTypes::of))
        .try_fold(OperationTypes::NONE, |all, one| Some(all.union(one?)))
}

/// The values one of which must be there.
fn equality(test: &Test) -> Option<&[Operand]> {
    match test {
        Test::Compare {
            comparison: Comparison::Equal,
            operand,
        } => Some(std::slice::from_ref(operand)),
        Test::In(membership) if membership.regexes.is_empty() => Some(&membership.values),
        _ => None,
    }
}

fn leaf(path: &Path, test: &Test) -> Necessary {
    if let Some(types) = operations(path, test) {
        return match types.is_empty() {
            true => Necessary::nothing(),
            false => Necessary::operations(types),
        };
    }
    match test {
        Test::ElementValue(node) => match path.has_numbers() {
            true => present(path, Kinds::of([Bracket::Array])),
            false => of_each_element(path, node),
        },
        Test::ElementDocument(node) => {
            let inside = below(node, Some(path));
            match inside.is_unconditional() {
                true => inside.and(present(path, Kinds::of([Bracket::Array]))),
                false => inside,
            }
        }
        Test::Compare { .. }
        | Test::In(_)
        | Test::Exists
        | Test::Type(_)
        | Test::Modulo { .. }
        | Test::Bits { .. }
        | Test::Regex(_)
        | Test::Size(_) => plain(path, test),
    }
}

/// What is asked of a field of an array's elements, all of which are taken for documents or unnamed. What a missing value would meet too is no condition there: an element
/// that is no document is not visited by the path from outside.
fn leaf_of_element(path: &Path, test: &Test) -> Necessary {
    match test {
        Test::ElementValue(_) | Test::ElementDocument(_) => Necessary::anything(),
        test if test.matches(None) => Necessary::anything(),
        test => plain(path, test),
    }
}

/// What is asked of the elements themselves: the path visits each of them.
fn of_each_element(path: &Path, node: &Node) -> Necessary {
    match node {
        Node::And(nodes) => nodes
            .iter()
            .map(|node| of_each_element(path, node))
            .reduce(Necessary::and)
            .unwrap_or_else(Necessary::anything),
        Node::Leaf { test, .. } if !test.takes_whole_arrays() => plain(path, test),
        Node::Leaf { .. }
        | Node::Or(_)
        | Node::Not(_)
        | Node::Constant(_)
        | Node::Expression(_) => present(path, Kinds::of([Bracket::Array])),
    }
}

fn plain(path: &Path, test: &Test) -> Necessary {
    match test {
        Test::Compare {
            comparison,
            operand,
        } => compared(path, *comparison, operand),
        Test::In(_) => match equality(test) {
            Some([]) => Necessary::nothing(),
            Some(values) if values.len() <= KEYS_MAX => equal(path, values),
            Some(_) | None => Necessary::anything(),
        },
        Test::Exists => present(path, Kinds::ALL),
        Test::Type(types) => {
            let kinds = types.iter().map(Bracket::of);
            present(path, Kinds::of(kinds))
        }
        Test::Modulo { .. } => present(path, Kinds::of([Bracket::Number])),
        Test::Bits { .. } => present(path, Kinds::of([Bracket::Number, Bracket::Binary])),
        Test::Regex(_) => present(path, Kinds::of([Bracket::String, Bracket::Regex])),
        Test::Size(_) | Test::ElementValue(_) | Test::ElementDocument(_) => {
            present(path, Kinds::of([Bracket::Array]))
        }
    }
}

fn compared(path: &Path, comparison: Comparison, operand: &Operand) -> Necessary {
    let value = operand.value();
    let is_nan = Number::of(value).is_some_and(Number::is_nan);
    match (comparison, Bracket::of(value.kind)) {
        (Comparison::Equal, _) => equal(path, std::slice::from_ref(operand)),
        // MinKey and MaxKey bound everything, missing values too.
        (_, Bracket::MinKey | Bracket::MaxKey) => Necessary::anything(),
        // What is neither less nor more than it can only be equal.
        (_, Bracket::Null) => equal(path, std::slice::from_ref(operand)),
        (_, Bracket::Number) if is_nan => equal(path, std::slice::from_ref(operand)),
        // Two values of an event are never compared with each other where that could lead deep.
        (_, bracket @ (Bracket::Object | Bracket::Array | Bracket::ScopedCode)) => {
            present(path, Kinds::of([bracket]))
        }
        (_, _) => Necessary::condition(Condition::Range {
            path: path.clone(),
            range: Range::of(comparison, operand),
        }),
    }
}

fn equal(path: &Path, operands: &[Operand]) -> Necessary {
    let mut keys: Vec<Key> = operands
        .iter()
        .map(|operand| Key::of(operand.value()))
        .collect();
    keys.sort_unstable();
    keys.dedup();
    Necessary::condition(Condition::Equality {
        path: path.clone(),
        keys,
    })
}

fn present(path: &Path, kinds: Kinds) -> Necessary {
    Necessary::condition(Condition::Present {
        path: path.clone(),
        kinds,
    })
}

impl Range {
    fn of(comparison: Comparison, operand: &Operand) -> Self {
        let bracket = Bracket::of(operand.value().kind);
        let bound = |is_inclusive| {
            Some(Bound {
                operand: operand.clone(),
                is_inclusive,
            })
        };
        let (lower, upper) = match comparison {
            Comparison::Greater => (bound(false), None),
            Comparison::GreaterOrEqual => (bound(true), None),
            Comparison::Less => (None, bound(false)),
            Comparison::LessOrEqual => (None, bound(true)),
            Comparison::Equal => (bound(true), bound(true)),
        };
        Self {
            bracket,
            lower,
            upper,
        }
    }

    /// `None` where the two are of different brackets.
    fn intersection(&self, other: &Self) -> Option<Self> {
        let lower = self.lower_order(other);
        let upper = self.upper_order(other);
        (self.bracket == other.bracket).then(|| Self {
            bracket: self.bracket,
            lower: match lower {
                Ordering::Less => other.lower.clone(),
                Ordering::Equal | Ordering::Greater => self.lower.clone(),
            },
            upper: match upper {
                Ordering::Greater => other.upper.clone(),
                Ordering::Equal | Ordering::Less => self.upper.clone(),
            },
        })
    }

    /// Orders lower bounds: the more, the fewer values pass.
    pub(crate) fn lower_order(&self, other: &Self) -> Ordering {
        match (&self.lower, &other.lower) {
            (None, None) => Ordering::Equal,
            (None, Some(_)) => Ordering::Less,
            (Some(_), None) => Ordering::Greater,
            (Some(left), Some(right)) => {
                order::compare(left.operand.value(), right.operand.value())
                    .then(right.is_inclusive.cmp(&left.is_inclusive))
            }
        }
    }

    /// Orders upper bounds: the less, the fewer values pass.
    pub(crate) fn upper_order(&self, other: &Self) -> Ordering {
        match (&self.upper, &other.upper) {
            (None, None) => Ordering::Equal,
            (None, Some(_)) => Ordering::Greater,
            (Some(_), None) => Ordering::Less,
            (Some(left), Some(right)) => {
                order::compare(left.operand.value(), right.operand.value())
                    .then(left.is_inclusive.cmp(&right.is_inclusive))
            }
        }
    }
}

/// A list longer than this is not worth its entries in an index.
const KEYS_MAX: usize = 1_000;
/// More ways to match are not looked up one by one.
const CLAUSES_MAX: usize = 32;
