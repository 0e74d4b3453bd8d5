//! Who may want an event: a lookup, not a scan.
//!
//! A group is held under the [`Necessary`] conditions of its predicate: in a tree of the values that it asks for, a range or
//! a kind of value last; where it asks for nothing that can be looked up, in the list of an operation type, or of those that
//! every event concerns. For an event each indexed path is read at most once, and what it leads to is looked up. What comes
//! out are *candidates*: whoever is not among them does not match, the others still have to be asked (`index` and residual
//! together are what asking everybody is).
//!
//! All equalities of a group count, so a permission's owner and a client's room find one group among many of either. Of
//! several ranges only one does. Keys are canonical bytes, cut at a few hundred, so a group may be a candidate without need.
//! Hashing is seeded, since subscribers choose the values that they ask for.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

use bson::RawDocument;
use indexmap::IndexSet;

use self::paths::Paths;
use self::tree::{Last, Level, Lookup, Node, Route, Routes};
use crate::query::{Clause, Condition, Necessary, OperationTypes};

mod intervals;
mod members;
mod paths;
#[cfg(test)]
mod tests;
mod tree;

/// Groups by what an event must have to concern them. `Id` names a group.
#[derive(Debug)]
pub struct Index<Id> {
    /// Where each group is, to take it out again.
    places: Places<Id>,
    paths: Paths,
    tree: Node<Id>,
    by_operation: [IndexSet<Id>; OperationTypes::PLACES],
    everyone: IndexSet<Id>,
    /// How many groups an event may find in more than one place.
    repeated: usize,
}

#[derive(Debug)]
struct Places<Id>(HashMap<Id, Place>);

#[derive(Debug)]
enum Place {
    Nowhere,
    Tree(Box<[Route]>),
    Operations(OperationTypes),
    Everyone,
}

impl<Id: Copy + Eq + Hash> Routes<Id> for Places<Id> {
    fn route(&self, id: Id, number: u16) -> &Route {
        match self.0.get(&id) {
            Some(Place::Tree(routes)) => &routes[usize::from(number)],
            _ => unreachable!("invariant: who is in the tree has its routes here"),
        }
    }
}

impl<Id: Copy + Ord + Hash> Index<Id> {
    /// Returns an index without groups.
    pub fn new() -> Self {
        Self {
            places: Places(HashMap::new()),
            paths: Paths::default(),
            tree: Node::new(),
            by_operation: std::array::from_fn(|_| IndexSet::new()),
            everyone: IndexSet::new(),
            repeated: 0,
        }
    }

    /// Puts a group in under its conditions; one that is in already is moved.
    pub fn insert(&mut self, id: Id, necessary: &Necessary) {
        self.remove(id);
        let place = match necessary.clauses() {
            [] => Place::Nowhere,
            [only] if only.conditions.is_empty() => self.list(id, only.operations),
            clauses => Place::Tree(clauses.iter().map(|clause| self.route(clause)).collect()),
        };
        let routes = place.routes().len();
        self.repeated += usize::from(place.is_repeated());
        self.places.0.insert(id, place);
        for number in 0..routes {
            self.tree.insert(id, number as u16, 0, &self.places);
        }
    }

    fn list(&mut self, id: Id, operations: OperationTypes) -> Place {
        if operations == OperationTypes::ALL {
            self.everyone.insert(id);
            return Place::Everyone;
        }
        for place in operations.places() {
            self.by_operation[place].insert(id);
        }
        Place::Operations(operations)
    }

    /// Chooses what of a clause is looked up.
    fn route(&mut self, clause: &Clause) -> Route {
        let mut levels = Vec::new();
        let mut last = Last::Nothing;
        for condition in &clause.conditions {
            match condition {
                Condition::Equality { path, keys } => {
                    levels.push((self.paths.enter(path), keys));
                }
                Condition::Range { path, range } => {
                    let is_better = match &last {
                        Last::Range(_, known) => range.is_closed() && !known.is_closed(),
                        Last::Nothing | Last::Present(..) => true,
                    };
                    if is_better {
                        self.leave_last(&last);
                        let path = self.paths.enter(path);
                        self.paths.want_extremes(path, range.bracket());
                        last = Last::Range(path, Arc::new(range.clone()));
                    }
                }
                Condition::Present { path, kinds } => {
                    if matches!(last, Last::Nothing) {
                        last = Last::Present(self.paths.enter(path), *kinds);
                    }
                }
            }
        }
        // The same order for all, so that they share levels; those with few keys first, so that few ways lead to the others.
        levels.sort_by_key(|(path, keys)| (keys.len(), *path));
        let mut entries = 1_usize;
        let mut chosen = Vec::new();
        for (path, keys) in levels {
            entries = entries.saturating_mul(keys.len());
            if chosen.len() == LEVELS_MAX || entries > ENTRIES_MAX {
                self.paths.leave(path);
                continue;
            }
            let keys = keys.iter().map(|key| {
                self.paths.want_key(path, key.as_bytes());
                Arc::from(key.as_bytes())
            });
            chosen.push(Level {
                path,
                keys: keys.collect(),
            });
        }
        Route {
            levels: chosen.into(),
            last,
            operations: clause.operations,
        }
    }

    fn leave_last(&mut self, last: &Last) {
        match last {
            Last::Nothing => (),
            Last::Range(path, range) => {
                self.paths.forgo_extremes(*path, range.bracket());
                self.paths.leave(*path);
            }
            Last::Present(path, _) => self.paths.leave(*path),
        }
    }

    /// Takes a group out; says whether it was in.
    pub fn remove(&mut self, id: Id) -> bool {
        let Some(place) = self.places.0.get(&id) else {
            return false;
        };
        for number in 0..place.routes().len() {
            self.tree.remove(id, number as u16, 0, &self.places);
        }
        let Some(place) = self.places.0.remove(&id) else {
            return false;
        };
        self.repeated -= usize::from(place.is_repeated());
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
            Place::Tree(routes) => {
                for route in routes {
                    for level in &route.levels {
                        for key in &level.keys {
                            self.paths.forgo_key(level.path, key);
                        }
                        self.paths.leave(level.path);
                    }
                    self.leave_last(&route.last);
                }
            }
        }
        true
    }

    /// Returns how many groups are in.
    pub fn len(&self) -> usize {
        self.places.0.len()
    }

    /// Says whether no group is in.
    pub fn is_empty(&self) -> bool {
        self.places.0.is_empty()
    }

    /// Appends every group that the event may concern to `into`, each once, in no order.
    ///
    /// *Necessary only*: who is not among them is not concerned.
    pub fn candidates(&mut self, event: &RawDocument, into: &mut Vec<Id>) {
        into.extend(&self.everyone);
        let types = OperationTypes::of_event(event);
        let first = into.len();
        types
            .places()
            .for_each(|place| into.extend(&self.by_operation[place]));
        if types == OperationTypes::ALL {
            deduplicate(into, first);
        }
        let first = into.len();
        self.paths.next_event();
        let mut lookup = Lookup {
            event,
            types,
            paths: &mut self.paths,
            routes: &self.places,
            into,
        };
        lookup.find(&self.tree, 0);
        if self.repeated > 0 {
            deduplicate(into, first);
        }
    }
}

impl<Id: Copy + Ord + Hash> Default for Index<Id> {
    fn default() -> Self {
        Self::new()
    }
}

impl Place {
    fn routes(&self) -> &[Route] {
        match self {
            Self::Tree(routes) => routes,
            Self::Nowhere | Self::Operations(_) | Self::Everyone => &[],
        }
    }

    /// Says whether an event may find the group in more than one place: by two routes, or by two elements of an array.
    fn is_repeated(&self) -> bool {
        let routes = self.routes();
        let levels = routes.iter().flat_map(|route| &route.levels);
        routes.len() > 1 || levels.into_iter().any(|level| level.keys.len() > 1)
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

/// Values at more paths are left to the predicate.
const LEVELS_MAX: usize = 8;
/// In how many places of the tree a clause may be.
const ENTRIES_MAX: usize = 1_000;
