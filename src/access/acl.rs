//! Permissions: parsed once, kept in the order in which they are tried, and asked.

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

/// All permissions, as they were at one moment.
#[derive(Debug, Default)]
pub(crate) struct Permissions {
    by_role: HashMap<String, Vec<Arc<Entry>>>,
    problems: Vec<Problem>,
}

impl Permissions {
    /// Parses the documents of the collection; each that is broken is left out and reported alone.
    pub(crate) fn parse(documents: impl IntoIterator<Item = Document>) -> Self {
        let mut permissions = Self::default();
        let mut entries = Vec::new();
        for document in documents {
            let parsed = Entry::parse(&document);
            let reason = parsed
                .as_ref()
                .map_or_else(|reason| Some(reason.clone()), |entry| entry.broken.clone());
            if let Some(reason) = reason {
                permissions.problems.push(Problem {
                    id: permission::id_of(&document),
                    reason,
                });
            }
            entries.extend(parsed.ok().map(Arc::new));
        }
        entries.sort_by(|one, two| tried_before(one, two));
        for entry in entries {
            for role in &entry.roles {
                permissions
                    .by_role
                    .entry(role.clone())
                    .or_default()
                    .push(Arc::clone(&entry));
            }
        }
        permissions
    }

    /// What could not be parsed.
    pub(crate) fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// The permission that lets this request in: the first that holds, of the first role that has one.
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
        roles.iter().filter_map(|role| self.by_role.get(role)).flatten().find_map(|entry| {
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

/// Highest priority first, a missing one last; of equal ones the greater `_id`.
fn tried_before(one: &Entry, two: &Entry) -> Ordering {
    let priority = |entry: &Entry| entry.priority.clone().unwrap_or(Bson::Null);
    order::compare(&priority(two), &priority(one))
        .then_with(|| order::compare(&two.permission.id, &one.permission.id))
}

/// The role of those who have not proved who they are.
const UNAUTHENTICATED: &str = "$unauthenticated";
