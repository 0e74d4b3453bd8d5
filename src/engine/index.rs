//! Who may want an event: a lookup, not a scan.
//!
//! A group is held under the [`Necessary`] condition of its predicate, in one of three places: the hash table of a
//! path, the list of an operation type, or the list of those that every event concerns. For an event each indexed path
//! is followed once, and what it leads to is looked up. What comes out are *candidates*: whoever is not among them
//! does not match, the others still have to be asked (`index` and residual together are what asking everybody is).
//!
//! Keys are canonical bytes, cut at a few hundred, so a group may be a candidate without need. Hashing is seeded, since
//! subscribers choose the values that they ask for.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

use bson::RawDocument;
use indexmap::{IndexMap, IndexSet};

use crate::query::{Necessary, OperationTypes, Path};

#[cfg(test)]
mod tests;

/// Groups by what an event must have to concern them. `Id` names a group.
#[derive(Debug)]
pub struct Index<Id> {
    /// Where each group is, to take it out again.
    places: HashMap<Id, Place>,
    tables: IndexMap<Path, Table<Id>>,
    by_operation: [IndexSet<Id>; OperationTypes::PLACES],
    everyone: IndexSet<Id>,
    /// Scratch for keys.
    buffer: Vec<u8>,
}

#[derive(Debug)]
enum Place {
    Nowhere,
    Table { path: Path, keys: Vec<Arc<[u8]>> },
    Operations(OperationTypes),
    Everyone,
}

/// The groups that ask for a value at one path.
#[derive(Debug)]
struct Table<Id> {
    groups: HashMap<Arc<[u8]>, Groups<Id>>,
    /// How many keys begin with each byte, so that a value of a kind nobody asks for is not even read.
    tags: Box<[usize; 256]>,
}

/// The groups that ask for one value: mostly a single one.
#[derive(Debug)]
enum Groups<Id> {
    One(Id),
    Many(IndexSet<Id>),
}

impl<Id: Copy + Ord + Hash> Index<Id> {
    /// Returns an index without groups.
    pub fn new() -> Self {
        Self {
            places: HashMap::new(),
            tables: IndexMap::new(),
            by_operation: std::array::from_fn(|_| IndexSet::new()),
            everyone: IndexSet::new(),
            buffer: Vec::new(),
        }
    }

    /// Puts a group in under its condition; one that is in already is moved.
    pub fn insert(&mut self, id: Id, necessary: Necessary) {
        self.remove(id);
        let place = match necessary {
            Necessary::Nothing => Place::Nowhere,
            Necessary::Scan => {
                self.everyone.insert(id);
                Place::Everyone
            }
            Necessary::OperationTypes(types) => {
                for place in types.places() {
                    self.by_operation[place].insert(id);
                }
                Place::Operations(types)
            }
            Necessary::Equality { path, keys } => {
                let table = self.tables.entry(path.clone()).or_default();
                let keys = keys.iter().map(|key| table.insert(key.as_bytes(), id));
                let keys = keys.collect();
                Place::Table { path, keys }
            }
        };
        self.places.insert(id, place);
    }

    /// Takes a group out; says whether it was in.
    pub fn remove(&mut self, id: Id) -> bool {
        let Some(place) = self.places.remove(&id) else {
            return false;
        };
        match place {
            Place::Nowhere => (),
            Place::Everyone => {
                self.everyone.swap_remove(&id);
            }
            Place::Operations(types) => {
                for place in types.places() {
                    self.by_operation[place].swap_remove(&id);
                }
            }
            Place::Table { path, keys } => {
                if let Some(table) = self.tables.get_mut(&path) {
                    keys.iter().for_each(|key| table.remove(key, id));
                    if table.groups.is_empty() {
                        self.tables.swap_remove(&path);
                    }
                }
            }
        }
        true
    }

    /// Returns how many groups are in.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Says whether no group is in.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// Appends every group that the event may concern to `into`, each once, in no order.
    ///
    /// *Necessary only*: who is not among them is not concerned.
    pub fn candidates(&mut self, event: &RawDocument, into: &mut Vec<Id>) {
        into.extend(&self.everyone);
        match OperationTypes::place_of(event) {
            Some(place) => into.extend(&self.by_operation[place]),
            None => {
                let first = into.len();
                self.by_operation
                    .iter()
                    .for_each(|groups| into.extend(groups));
                deduplicate(into, first);
            }
        }
        for (path, table) in &self.tables {
            let first = into.len();
            let mut found = 0;
            let wanted = |tag: u8| table.tags[usize::from(tag)] > 0;
            path.keys(event, &mut self.buffer, wanted, |key| {
                if let Some(groups) = table.groups.get(key) {
                    found += 1;
                    groups.append_to(into);
                }
            });
            // Two elements of an array may ask for one group.
            if found > 1 {
                deduplicate(into, first);
            }
        }
    }
}

impl<Id: Copy + Ord + Hash> Default for Index<Id> {
    fn default() -> Self {
        Self::new()
    }
}

/// Leaves each id once behind the first `first`.
fn deduplicate<Id: Copy + Ord>(ids: &mut Vec<Id>, first: usize) {
    ids[first..].sort_unstable();
    let mut kept = first;
    for place in first..ids.len() {
        if kept == first || ids[kept - 1] != ids[place] {
            ids[kept] = ids[place];
            kept += 1;
        }
    }
    ids.truncate(kept);
}

impl<Id: Copy + Ord + Hash> Table<Id> {
    /// Returns the key as it is kept.
    fn insert(&mut self, key: &[u8], id: Id) -> Arc<[u8]> {
        if let Some((kept, _)) = self.groups.get_key_value(key) {
            let kept = Arc::clone(kept);
            if let Some(groups) = self.groups.get_mut(key) {
                groups.insert(id);
            }
            return kept;
        }
        let kept: Arc<[u8]> = key.into();
        self.groups.insert(Arc::clone(&kept), Groups::One(id));
        self.tags[tag(key)] += 1;
        kept
    }

    fn remove(&mut self, key: &[u8], id: Id) {
        let is_last = match self.groups.get_mut(key) {
            None => false,
            Some(Groups::One(only)) => *only == id,
            Some(Groups::Many(groups)) => {
                groups.swap_remove(&id);
                groups.is_empty()
            }
        };
        if is_last {
            self.groups.remove(key);
            self.tags[tag(key)] -= 1;
        }
    }
}

impl<Id> Default for Table<Id> {
    fn default() -> Self {
        Self {
            groups: HashMap::new(),
            tags: Box::new([0; 256]),
        }
    }
}

fn tag(key: &[u8]) -> usize {
    key.first().map_or(0, |tag| usize::from(*tag))
}

impl<Id: Copy + Ord + Hash> Groups<Id> {
    fn insert(&mut self, id: Id) {
        match self {
            Self::One(only) => *self = Self::Many(IndexSet::from([*only, id])),
            Self::Many(groups) => {
                groups.insert(id);
            }
        }
    }

    fn append_to(&self, into: &mut Vec<Id>) {
        match self {
            Self::One(only) => into.push(*only),
            Self::Many(groups) => into.extend(groups),
        }
    }
}
