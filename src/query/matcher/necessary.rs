//! The cheapest condition that every matching event must meet, for an index to look up.

use crate::query::matcher::Node;
use crate::query::matcher::leaf::{Comparison, Test};
use crate::query::order::key;
use crate::query::path::{Leaf, Path};
use crate::query::value::{Doc, Value};

/// What every event that a predicate matches must meet. *Necessary only*: the predicate still decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Necessary {
    /// No event matches.
    Nothing,
    /// The path leads to a value with one of these keys. Not empty, without repetitions.
    ///
    /// Sound for arrays (each element, and the array, is visited as the predicate visits it), for numbers of all
    /// types, and for null, whose key undefined and missing have too.
    Equality {
        /// Where the value stands.
        path: Path,
        /// The keys of the values asked for.
        keys: Vec<Key>,
    },
    /// The operation type is one of these.
    OperationTypes(OperationTypes),
    /// Nothing that can be looked up.
    Scan,
}

/// Canonical bytes of a value: values that are equal to the server have equal keys.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(Box<[u8]>);

/// A set of a change event's operation types.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OperationTypes(u32);

impl Key {
    /// Returns the bytes that [`Path::keys`] shows for such a value.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    fn of(value: Value<'_>) -> Self {
        let mut bytes = Vec::new();
        key::write_key(Some(value), &mut bytes);
        Self(bytes.into())
    }
}

impl OperationTypes {
    /// Returns the set of places (below [`OperationTypes::PLACES`]) in it.
    pub fn places(self) -> impl Iterator<Item = usize> {
        (0..Self::PLACES).filter(move |place| self.0 >> place & 1 == 1)
    }

    /// Returns the place of an event's operation type; `None` where it is no string, so that all are possible.
    pub fn place_of(event: &bson::RawDocument) -> Option<usize> {
        let value = Doc::new(event.as_bytes()).get(OPERATION_TYPE.as_bytes())?;
        value.as_str().map(Self::place)
    }

    fn of(name: &str) -> Self {
        Self(1 << Self::place(name))
    }

    /// Unknown names share the last place.
    fn place(name: &str) -> usize {
        let known = OPERATION_TYPES.iter().position(|known| *known == name);
        known.unwrap_or(OPERATION_TYPES.len())
    }

    /// How many places there are.
    pub const PLACES: usize = OPERATION_TYPES.len() + 1;
}

impl Path {
    /// Shows the key of every value that the path leads to in the event, those that `wanted` lets through.
    ///
    /// `wanted` sees the first byte of a key, so that a large value nobody asks for is not written. `buffer` is
    /// scratch.
    pub fn keys(
        &self,
        event: &bson::RawDocument,
        buffer: &mut Vec<u8>,
        wanted: impl Fn(u8) -> bool,
        mut show: impl FnMut(&[u8]),
    ) {
        self.visit(Doc::new(event.as_bytes()), Leaf::Entered, &mut |value| {
            if wanted(key::key_tag(value)) {
                buffer.clear();
                key::write_key(value, buffer);
                show(buffer);
            }
            false
        });
    }
}

/// Finds the best necessary condition of a node.
pub(crate) fn necessary(node: &Node) -> Necessary {
    match node {
        Node::And(nodes) => nodes
            .iter()
            .map(necessary)
            .min_by_key(Necessary::cost)
            .unwrap_or(Necessary::Scan),
        Node::Or(nodes) => nodes
            .iter()
            .map(necessary)
            .reduce(either)
            .unwrap_or(Necessary::Nothing),
        Node::Constant(true)
        | Node::Not(_)
        | Node::Expression(_)
        | Node::Leaf { path: None, .. } => Necessary::Scan,
        Node::Constant(false) => Necessary::Nothing,
        Node::Leaf {
            path: Some(path),
            test,
        } => necessary_leaf(path, test),
    }
}

fn necessary_leaf(path: &Path, test: &Test) -> Necessary {
    let values: Vec<Value<'_>> = match test {
        Test::Compare {
            comparison: Comparison::Equal,
            operand,
        } => vec![operand.value()],
        Test::In(membership) if membership.regexes.is_empty() => membership
            .values
            .iter()
            .map(|operand| operand.value())
            .collect(),
        Test::Compare { .. }
        | Test::In(_)
        | Test::Exists
        | Test::Type(_)
        | Test::Modulo { .. }
        | Test::Bits { .. }
        | Test::Regex(_)
        | Test::Size(_)
        | Test::ElementDocument(_)
        | Test::ElementValue(_) => return Necessary::Scan,
    };
    if path.is(OPERATION_TYPE) && values.iter().all(|value| value.as_str().is_some()) {
        let names = values.iter().filter_map(|value| value.as_str());
        let types = names.map(OperationTypes::of).reduce(union);
        return types.map_or(Necessary::Nothing, Necessary::OperationTypes);
    }
    match values.len() {
        0 => Necessary::Nothing,
        1..=KEYS_MAX => {
            Necessary::equality(path.clone(), values.into_iter().map(Key::of).collect())
        }
        _ => Necessary::Scan,
    }
}

fn union(left: OperationTypes, right: OperationTypes) -> OperationTypes {
    OperationTypes(left.0 | right.0)
}

/// What holds if either holds.
fn either(left: Necessary, right: Necessary) -> Necessary {
    match (left, right) {
        (Necessary::Nothing, other) | (other, Necessary::Nothing) => other,
        (Necessary::OperationTypes(left), Necessary::OperationTypes(right)) => {
            Necessary::OperationTypes(union(left, right))
        }
        (
            Necessary::Equality { path, mut keys },
            Necessary::Equality {
                path: other_path,
                keys: other_keys,
            },
        ) if path == other_path && keys.len() + other_keys.len() <= KEYS_MAX => {
            keys.extend(other_keys);
            Necessary::equality(path, keys)
        }
        _ => Necessary::Scan,
    }
}

impl Necessary {
    fn equality(path: Path, mut keys: Vec<Key>) -> Self {
        keys.sort_unstable();
        keys.dedup();
        Self::Equality { path, keys }
    }

    /// The less, the fewer events pass it, as far as can be known beforehand.
    pub fn cost(&self) -> usize {
        match self {
            Self::Nothing => 0,
            Self::Equality { keys, .. } => keys.len(),
            Self::OperationTypes(_) => usize::MAX - 1,
            Self::Scan => usize::MAX,
        }
    }
}

const OPERATION_TYPE: &str = "operationType";
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
/// A list longer than this is not worth its entries in an index.
const KEYS_MAX: usize = 1_000;
const _: () = assert!(OperationTypes::PLACES <= u32::BITS as usize);
