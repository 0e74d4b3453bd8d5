//! A tree of what groups ask for: one level for each value at a path, then perhaps a range or a kind of value.
//!
//! Groups that ask for the same values share the way to them. A group that is alone behind a key is not led further down
//! until a second one comes; whoever looks asks it for the rest of its route.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

use bson::RawDocument;
use indexmap::IndexMap;

use super::intervals::Intervals;
use super::members::Members;
use super::paths::{PathId, Paths};
use crate::query::{Kinds, OperationTypes, Range, Reading};

/// One way to match: values at paths, then the last condition.
#[derive(Debug)]
pub(super) struct Route {
    pub(super) levels: Box<[Level]>,
    pub(super) last: Last,
    pub(super) operations: OperationTypes,
}

/// A value at a path, one of some.
#[derive(Debug)]
pub(super) struct Level {
    pub(super) path: PathId,
    pub(super) keys: Box<[Arc<[u8]>]>,
}

/// What is asked at the end of a route.
#[derive(Debug)]
pub(super) enum Last {
    Nothing,
    Range(PathId, Arc<Range>),
    Present(PathId, Kinds),
}

/// Where the routes of a group are kept.
pub(super) trait Routes<Id> {
    /// Returns a group's route of that number.
    fn route(&self, id: Id, number: u16) -> &Route;
}

/// What is asked for behind the same values.
#[derive(Debug)]
pub(super) struct Node<Id> {
    here: IndexMap<Id, OperationTypes>,
    values: Vec<(PathId, Branches<Id>)>,
    ranges: Vec<(PathId, u8, Intervals<Id>)>,
    kinds: Vec<(PathId, Kinds, Members<Id>)>,
}

/// By the key of a value.
type Branches<Id> = HashMap<Arc<[u8]>, Branch<Id>>;

#[derive(Debug)]
enum Branch<Id> {
    /// A group that is alone here, and the number of its route.
    One(Id, u16),
    Many(Box<Node<Id>>),
}

/// One event, looked up.
pub(super) struct Lookup<'l, Id, R> {
    pub(super) event: &'l RawDocument,
    pub(super) types: OperationTypes,
    pub(super) paths: &'l mut Paths,
    pub(super) routes: &'l R,
    pub(super) into: &'l mut Vec<Id>,
}

impl<Id: Copy + Eq + Hash> Node<Id> {
    pub(super) fn new() -> Self {
        Self {
            here: IndexMap::new(),
            values: Vec::new(),
            ranges: Vec::new(),
            kinds: Vec::new(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.here.is_empty()
            && self.values.is_empty()
            && self.ranges.is_empty()
            && self.kinds.is_empty()
    }

    /// Puts a group in, by the rest of its route from `depth` on.
    pub(super) fn insert(&mut self, id: Id, number: u16, depth: usize, routes: &impl Routes<Id>) {
        let route = routes.route(id, number);
        let Some(level) = route.levels.get(depth) else {
            return self.insert_last(id, route);
        };
        let at = self.values.iter().position(|(path, _)| *path == level.path);
        let at = at.unwrap_or_else(|| {
            self.values.push((level.path, HashMap::new()));
            self.values.len() - 1
        });
        let branches = &mut self.values[at].1;
        for key in &level.keys {
            match branches.get_mut(&**key) {
                None => {
                    branches.insert(Arc::clone(key), Branch::One(id, number));
                }
                Some(Branch::Many(node)) => node.insert(id, number, depth + 1, routes),
                Some(branch @ &mut Branch::One(other, other_number)) => {
                    let mut node = Self::new();
                    node.insert(other, other_number, depth + 1, routes);
                    node.insert(id, number, depth + 1, routes);
                    *branch = Branch::Many(Box::new(node));
                }
            }
        }
    }

    fn insert_last(&mut self, id: Id, route: &Route) {
        let types = route.operations;
        match &route.last {
            Last::Nothing => {
                let known = self.here.entry(id).or_insert(types);
                *known = known.union(types);
            }
            Last::Range(path, range) => {
                let bracket = range.bracket();
                let mut known = self.ranges.iter_mut();
                match known.find(|(at, kind, _)| at == path && *kind == bracket) {
                    Some((_, _, intervals)) => intervals.insert(range, id, types),
                    None => {
                        let mut intervals = Intervals::new();
                        intervals.insert(range, id, types);
                        self.ranges.push((*path, bracket, intervals));
                    }
                }
            }
            Last::Present(path, kinds) => {
                let mut known = self.kinds.iter_mut();
                match known.find(|(at, asked, _)| at == path && asked == kinds) {
                    Some((_, _, members)) => members.insert(id, types),
                    None => self.kinds.push((*path, *kinds, Members::of(id, types))),
                }
            }
        }
    }

    /// Takes a group out where [`Node::insert`] has put it.
    pub(super) fn remove(&mut self, id: Id, number: u16, depth: usize, routes: &impl Routes<Id>) {
        let route = routes.route(id, number);
        let Some(level) = route.levels.get(depth) else {
            return self.remove_last(id, route);
        };
        let Some(at) = self.values.iter().position(|(path, _)| *path == level.path) else {
            return;
        };
        let branches = &mut self.values[at].1;
        for key in &level.keys {
            let is_empty = match branches.get_mut(&**key) {
                Some(Branch::One(only, own)) => *only == id && *own == number,
                Some(Branch::Many(node)) => {
                    node.remove(id, number, depth + 1, routes);
                    node.is_empty()
                }
                None => false,
            };
            if is_empty {
                branches.remove(&**key);
            }
        }
        if branches.is_empty() {
            self.values.swap_remove(at);
        } else if branches.capacity() > SPARSE * branches.len() {
            branches.shrink_to(2 * branches.len());
        }
    }

    fn remove_last(&mut self, id: Id, route: &Route) {
        match &route.last {
            Last::Nothing => {
                self.here.swap_remove(&id);
            }
            Last::Range(path, range) => self.ranges.retain_mut(|(at, bracket, intervals)| {
                if at == path && *bracket == range.bracket() {
                    intervals.remove(range, id);
                }
                !intervals.is_empty()
            }),
            Last::Present(path, kinds) => self.kinds.retain_mut(|(at, asked, members)| {
                let is_it = at == path && asked == kinds;
                !(is_it && members.remove(id))
            }),
        }
    }
}

impl<Id: Copy + Eq + Hash, R: Routes<Id>> Lookup<'_, Id, R> {
    /// Appends every group below the node that the event may concern, some perhaps repeatedly.
    pub(super) fn find(&mut self, node: &Node<Id>, depth: usize) {
        let types = self.types;
        let concerned = node.here.iter().filter(|(_, known)| known.overlap(types));
        self.into.extend(concerned.map(|(id, _)| *id));
        for (path, branches) in &node.values {
            let count = self.read(*path).keys().len();
            // Whichever is less: what is asked for, or what there is (an array of a hundred thousand elements).
            if branches.len() < count {
                for (key, branch) in branches {
                    if self.read(*path).has_key(key) {
                        self.follow(branch, depth + 1);
                    }
                }
            } else {
                for place in 0..count {
                    if let Some(branch) = branches.get(self.read(*path).key_at(place)) {
                        self.follow(branch, depth + 1);
                    }
                }
            }
        }
        for (path, bracket, intervals) in &node.ranges {
            let event = self.event;
            if let Some(extent) = self.read(*path).extent(*bracket, event) {
                intervals.find(&extent, types, self.into);
            }
        }
        for (path, kinds, members) in &node.kinds {
            if self.read(*path).kinds().overlap(*kinds) {
                members.append_to(types, self.into);
            }
        }
    }

    fn follow(&mut self, branch: &Branch<Id>, depth: usize) {
        match branch {
            Branch::Many(node) => self.find(node, depth),
            Branch::One(id, number) => {
                if self.passes(self.routes.route(*id, *number), depth) {
                    self.into.push(*id);
                }
            }
        }
    }

    /// Says whether the event meets the rest of a route.
    fn passes(&mut self, route: &Route, depth: usize) -> bool {
        let event = self.event;
        let levels = route.levels.get(depth..).unwrap_or_default();
        route.operations.overlap(self.types)
            && levels.iter().all(|level| {
                let reading = self.read(level.path);
                level.keys.iter().any(|key| reading.has_key(key))
            })
            && match &route.last {
                Last::Nothing => true,
                Last::Range(path, range) => {
                    let extent = self.read(*path).extent(range.bracket(), event);
                    extent.is_some_and(|extent| {
                        range.begins_below(&extent) && range.ends_above(&extent)
                    })
                }
                Last::Present(path, kinds) => self.read(*path).kinds().overlap(*kinds),
            }
    }

    fn read(&mut self, path: PathId) -> &Reading {
        self.paths.read(path, self.event)
    }
}

/// A table gives room back when it has this many times more than it needs.
const SPARSE: usize = 8;
