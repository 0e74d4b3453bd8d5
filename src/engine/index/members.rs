//! The groups at one place of the index: mostly a single one.

use std::hash::Hash;

use indexmap::IndexMap;

use crate::query::OperationTypes;

/// Groups, each with the operation types that it asks for. Never empty.
#[derive(Debug)]
pub(super) enum Members<Id> {
    One(Id, OperationTypes),
    Many(IndexMap<Id, OperationTypes>),
}

impl<Id: Copy + Eq + Hash> Members<Id> {
    pub(super) fn of(id: Id, types: OperationTypes) -> Self {
        Self::One(id, types)
    }

    /// Adds a group; one that is in already gets these operation types too.
    pub(super) fn insert(&mut self, id: Id, types: OperationTypes) {
        match self {
            Self::One(only, known) if *only == id => *known = known.union(types),
            Self::One(only, known) => {
                *self = Self::Many(IndexMap::from([(*only, *known), (id, types)]));
            }
            Self::Many(groups) => {
                let known = groups.entry(id).or_insert(types);
                *known = known.union(types);
            }
        }
    }

    /// Removes a group; says whether none is left, and then the place has to go too.
    pub(super) fn remove(&mut self, id: Id) -> bool {
        match self {
            Self::One(only, _) => *only == id,
            Self::Many(groups) => {
                groups.swap_remove(&id);
                groups.is_empty()
            }
        }
    }

    pub(super) fn append_to(&self, types: OperationTypes, into: &mut Vec<Id>) {
        match self {
            Self::One(id, known) if known.overlap(types) => into.push(*id),
            Self::One(..) => (),
            Self::Many(groups) => {
                let concerned = groups.iter().filter(|(_, known)| known.overlap(types));
                into.extend(concerned.map(|(id, _)| *id));
            }
        }
    }
}
