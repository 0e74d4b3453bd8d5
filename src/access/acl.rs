//! Permissions: parsed once, kept in the order in which they are tried, and asked.

mod configured;
mod order;
mod permission;
#[cfg(test)]
mod tests;
mod veto;

use std::cmp::Ordering;
use std::collections::HashMap;
use std::sync::Arc;

use bson::{Bson, Document};
use tracing::debug;

pub(crate) use permission::Entry;
pub use permission::{MongoPermissions, Permission, Problem};
pub(crate) use veto::is_vetoed;

use crate::access::predicate::Circumstances;
use crate::access::principal::Principal;
use crate::access::request::RequestHead;
use crate::notation::mounts::Mounts;

/// All permissions, as they were at one moment: those of the collection, and behind them those of the configuration.
#[derive(Debug, Default)]
pub(crate) struct Permissions {
    stored: List,
    configured: Arc<List>,
}

impl Permissions {
    /// Those of the configuration alone.
    pub(crate) fn configured(documents: impl IntoIterator<Item = Document>) -> Self {
        Self {
            stored: List::default(),
            configured: Arc::new(List::configured(documents)),
        }
    }

    /// The same with the collection's being `documents`; each that is broken is left out and reported alone.
    pub(crate) fn with_stored(&self, documents: impl IntoIterator<Item = Document>) -> Self {
        Self {
            stored: List::stored(documents),
            configured: Arc::clone(&self.configured),
        }
    }

    /// What could not be parsed.
    pub(crate) fn problems(&self) -> impl Iterator<Item = &Problem> {
        [&self.stored, &*self.configured]
            .into_iter()
            .flat_map(|list| &list.problems)
    }

    /// The permission that lets this request in: the first that holds, of the first role that has one; the
    /// configuration is asked where the collection has none.
    pub(crate) fn find(
        &self,
        head: &RequestHead,
        principal: Option<&Principal>,
        mounts: &Mounts,
    ) -> Option<Arc<Entry>> {
        let anonymous = [UNAUTHENTICATED.to_owned()];
        let roles = principal.map_or(anonymous.as_slice(), |principal| principal.roles.as_slice());
        // Asked for once, and only if somebody wants to know.
        let mut required = None;
        let lists = [&self.stored, &*self.configured].into_iter();
        let asked = lists.flat_map(|list| roles.iter().filter_map(|role| list.by_role.get(role)));
        asked.flatten().find_map(|entry| {
            let asks = principal.is_some() && entry.predicate.asks_whether_authentication_is_required();
            let authentication_is_required =
                asks && *required.get_or_insert_with(|| self.find(head, None, mounts).is_none());
            let circumstances = Circumstances { head, principal, authentication_is_required, mounts };
            let holds = entry.predicate.holds(&circumstances).unwrap_or_else(|failure| {
                debug!(permission.id = %entry.permission.id, %failure, "a permission cannot be evaluated and is passed over");
                false
            });
            holds.then(|| Arc::clone(entry))
        })
    }
}

/// Permissions of one origin, in the order in which they are tried.
#[derive(Debug, Default)]
struct List {
    by_role: HashMap<String, Vec<Arc<Entry>>>,
    problems: Vec<Problem>,
}

impl List {
    /// Those of a collection.
    fn stored(documents: impl IntoIterator<Item = Document>) -> Self {
        let mut list = Self::default();
        let mut entries = list.parse(documents);
        entries.sort_by(|one, two| tried_before(one, two));
        list.file(entries);
        list
    }

    /// Those of a configuration: the lowest number first, of equal ones the later.
    ///
    /// Source: compat 9.3; golden `file-acl`.
    fn configured(documents: impl IntoIterator<Item = Document>) -> Self {
        let mut list = Self::default();
        let mut sound = Vec::new();
        for (index, document) in documents.into_iter().enumerate() {
            match configured::stored_form(document, index) {
                Ok(document) => sound.push(document),
                Err(problem) => list.problems.push(problem),
            }
        }
        let mut entries = list.parse(sound);
        entries.reverse();
        let priority = |entry: &Entry| entry.priority.clone().unwrap_or(Bson::Int32(i32::MAX));
        entries.sort_by(|one, two| order::compare(&priority(one), &priority(two)));
        list.file(entries);
        list
    }

    fn parse(&mut self, documents: impl IntoIterator<Item = Document>) -> Vec<Arc<Entry>> {
        let mut entries = Vec::new();
        for document in documents {
            let parsed = Entry::parse(&document);
            let reason = parsed
                .as_ref()
                .map_or_else(|reason| Some(reason.clone()), |entry| entry.broken.clone());
            if let Some(reason) = reason {
                self.problems.push(Problem {
                    id: permission::id_of(&document),
                    reason,
                });
            }
            entries.extend(parsed.ok().map(Arc::new));
        }
        entries
    }

    fn file(&mut self, entries: Vec<Arc<Entry>>) {
        for entry in entries {
            for role in &entry.roles {
                let of_role = self.by_role.entry(role.clone()).or_default();
                of_role.push(Arc::clone(&entry));
            }
        }
    }
}

/// Highest priority first, a missing one last; of equal ones the greater `_id`.
fn tried_before(one: &Entry, two: &Entry) -> Ordering {
    let priority = |entry: &Entry| entry.priority.clone().unwrap_or(Bson::Null);
    order::compare(&priority(two), &priority(one))
        .then_with(|| order::compare(&two.permission.id, &one.permission.id))
}

/// The role of those who have not proved who they are.
const UNAUTHENTICATED: &str = "$unauthenticated";
