//! A condition that an index can look up: a value, a range or a kind of value at a path; the operation type.

use std::fmt;

use bson::RawDocument;

use crate::query::matcher::leaf::Operand;
use crate::query::order::{Bracket, key};
use crate::query::path::Path;
use crate::query::value::{Doc, Value};

/// What must be at a path. Sound for arrays: each element, and the array, counts as the predicate visits it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// A value with one of these keys. Not empty, without repetitions, sorted.
    ///
    /// Sound for numbers of all types, and for null, whose key undefined and missing have too.
    Equality {
        /// Where the value stands.
        path: Path,
        /// The keys of the values asked for.
        keys: Vec<Key>,
    },
    /// A value above the lower bound and a value below the upper bound.
    Range {
        /// Where the values stand.
        path: Path,
        /// The bounds.
        range: Range,
    },
    /// A value of one of these kinds.
    Present {
        /// Where the value stands.
        path: Path,
        /// The kinds.
        kinds: Kinds,
    },
}

/// Canonical bytes of a value: values that are equal to the server have equal keys.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(Box<[u8]>);

/// Bounds within one bracket of types. In an array each may be met by another value.
#[derive(Clone)]
pub struct Range {
    pub(crate) bracket: Bracket,
    pub(crate) lower: Option<Bound>,
    pub(crate) upper: Option<Bound>,
}

/// One end of a range.
#[derive(Clone, Debug)]
pub(crate) struct Bound {
    pub(crate) operand: Operand,
    pub(crate) is_inclusive: bool,
}

/// A set of brackets of types.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Kinds(u32);

/// A set of a change event's operation types.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OperationTypes(u32);

impl Key {
    /// Returns its bytes, as [`Reading`](crate::query::Reading) shows them for such a value.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    pub(crate) fn of(value: Value<'_>) -> Self {
        let mut bytes = Vec::new();
        key::write_key(Some(value), &mut bytes);
        Self(bytes.into())
    }
}

impl Range {
    /// Returns a number that tells the brackets of types apart: ranges of different ones have no value in common.
    pub fn bracket(&self) -> u8 {
        self.bracket as u8
    }

    /// Says whether both ends are bounded.
    pub fn is_closed(&self) -> bool {
        self.lower.is_some() && self.upper.is_some()
    }

    /// Returns the order in which lower bounds lie; where they are equal, that of the upper ones.
    pub fn compare(&self, other: &Self) -> std::cmp::Ordering {
        self.lower_order(other)
            .then_with(|| self.upper_order(other))
    }

    /// Returns the order of the upper bounds.
    pub fn compare_upper(&self, other: &Self) -> std::cmp::Ordering {
        self.upper_order(other)
    }
}

impl PartialEq for Range {
    fn eq(&self, other: &Self) -> bool {
        self.bracket == other.bracket && self.compare(other).is_eq()
    }
}

impl Eq for Range {}

impl fmt::Debug for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} to {:?}", self.lower, self.upper)
    }
}

impl Kinds {
    /// All kinds.
    pub const ALL: Self = Self(u32::MAX);
    /// No kind.
    pub const NONE: Self = Self(0);

    pub(crate) fn of(brackets: impl IntoIterator<Item = Bracket>) -> Self {
        let bits = brackets.into_iter().map(|bracket| 1 << bracket as u32);
        Self(bits.fold(0, |all: u32, bit: u32| all | bit))
    }

    /// Says whether the two have a kind in common.
    pub fn overlap(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    pub(crate) fn insert(&mut self, bracket: Bracket) {
        self.0 |= 1 << bracket as u32;
    }
}

impl fmt::Debug for Kinds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#b}", self.0)
    }
}

impl OperationTypes {
    /// All of them.
    pub const ALL: Self = Self((1 << Self::PLACES) - 1);
    pub(crate) const NONE: Self = Self(0);
    /// The field that tells them.
    pub(crate) const FIELD: &str = "operationType";
    /// How many places there are.
    pub const PLACES: usize = OPERATION_TYPES.len() + 1;

    /// Returns the set of places (below [`OperationTypes::PLACES`]) in it.
    pub fn places(self) -> impl Iterator<Item = usize> {
        (0..Self::PLACES).filter(move |place| self.0 >> place & 1 == 1)
    }

    /// Returns what an event is; all of them where it does not tell by a string.
    pub fn of_event(event: &RawDocument) -> Self {
        let value = Doc::new(event.as_bytes()).get(Self::FIELD.as_bytes());
        let name = value.and_then(Value::as_str);
        name.map_or(Self::ALL, Self::of)
    }

    /// Says whether the two have a type in common.
    pub fn overlap(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// Returns what either has.
    #[must_use]
    pub fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub(crate) fn intersection(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    pub(crate) fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Returns what may be none of these. Unknown names share a place, so that it always is.
    pub(crate) fn complement(self) -> Self {
        let unknown = 1 << OPERATION_TYPES.len();
        Self(!self.0 & Self::ALL.0 | unknown)
    }

    pub(crate) fn of(name: &str) -> Self {
        let known = OPERATION_TYPES.iter().position(|known| *known == name);
        Self(1 << known.unwrap_or(OPERATION_TYPES.len()))
    }
}

/// Source: MongoDB manual, "Change Events"; all up to 8.0.
const OPERATION_TYPES: [&str; 16] = [
    "insert",
    "update",
    "replace",
    "delete",
    "drop",
    "rename",
    "dropDatabase",
    "invalidate",
    "create",
    "createIndexes",
    "dropIndexes",
    "modify",
    "shardCollection",
    "reshardCollection",
    "refineCollectionShardKey",
    "endOfTransaction",
];
const _: () = assert!(OperationTypes::PLACES < u32::BITS as usize);
