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

use crate::access::grant::Grant;
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

    /// The same with the collection's being `documents`; each that is broken is left out and reported alone. Documents
    /// that are the very same as before are not parsed again.
    pub(crate) fn with_stored(&self, documents: impl IntoIterator<Item = Arc<Document>>) -> Self {
        Self {
            stored: List::stored(documents, &self.stored),
            configured: Arc::clone(&self.configured),
        }
    }

    /// What a change of the collection's permission with this `_id` may mean to those who were let in before.
    pub(crate) fn change(&self, id: &Bson) -> Change {
        let lists = [&self.stored, &*self.configured];
        Change {
            id: id.clone(),
            now: self.stored.by_id(id).cloned(),
            concerns_all: lists.iter().any(|list| list.asks),
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

/// A permission was written or removed.
#[derive(Debug)]
pub struct Change {
    id: Bson,
    /// What it is now; none where it is gone or broken.
    now: Option<Arc<Entry>>,
    /// A predicate asks whether authentication is required, which each permission for `$unauthenticated` answers.
    concerns_all: bool,
}

impl Change {
    /// Whether what a grant rests on may be another now: the permission itself, or one that was not asked or did not
    /// hold. All others decide as they did.
    pub(crate) fn may_concern(&self, grant: &Grant, mounts: &Mounts) -> bool {
        let Some(rests_on) = &grant.permission else {
            // The root role needs none.
            return false;
        };
        if self.concerns_all || rests_on.id == self.id {
            return true;
        }
        let Some(now) = &self.now else {
            return false;
        };
        let principal = grant.principal.as_deref();
        let is_asked = match principal {
            Some(principal) => now.roles.iter().any(|role| principal.roles.contains(role)),
            None => now.roles.iter().any(|role| role == UNAUTHENTICATED),
        };
        if !is_asked {
            return false;
        }
        let head = match now.predicate.reads_headers() {
            true => grant.head().unpacked(),
            false => grant.head().without_headers(),
        };
        now.predicate
            .holds(&Circumstances {
                head: &head,
                principal,
                authentication_is_required: false,
                mounts,
            })
            .unwrap_or(false)
    }
}

/// Permissions of one origin, in the order in which they are tried.
#[derive(Debug, Default)]
struct List {
    by_role: HashMap<String, Vec<Arc<Entry>>>,
    /// In the order in which they are tried.
    entries: Vec<Arc<Entry>>,
    problems: Vec<Problem>,
    /// The documents that the entries were parsed from, where they are kept, by their address.
    parsed: HashMap<usize, (Arc<Document>, Parsed)>,
    /// A predicate asks whether authentication is required.
    asks: bool,
}

/// What came of a document.
type Parsed = (Option<Arc<Entry>>, Option<Problem>);

impl List {
    /// Those of a collection; `before`: as it was.
    fn stored(documents: impl IntoIterator<Item = Arc<Document>>, before: &Self) -> Self {
        let mut list = Self::default();
        for document in documents {
            let address = Arc::as_ptr(&document).addr();
            // The list before holds its documents, so an address can only be that of the same one.
            let parsed = match before.parsed.get(&address) {
                Some((_, parsed)) => parsed.clone(),
                None => parse(&document),
            };
            list.entries.extend(parsed.0.clone());
            list.problems.extend(parsed.1.clone());
            list.parsed.insert(address, (document, parsed));
        }
        list.entries.sort_by(|one, two| tried_before(one, two));
        list.file();
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
        for (entry, problem) in sound.iter().map(parse) {
            list.entries.extend(entry);
            list.problems.extend(problem);
        }
        list.entries.reverse();
        let priority = |entry: &Entry| entry.priority.clone().unwrap_or(Bson::Int32(i32::MAX));
        list.entries
            .sort_by(|one, two| order::compare(&priority(one), &priority(two)));
        list.file();
        list
    }

    fn by_id(&self, id: &Bson) -> Option<&Arc<Entry>> {
        self.entries.iter().find(|entry| entry.permission.id == *id)
    }

    /// Puts each entry where it is looked for.
    fn file(&mut self) {
        for entry in &self.entries {
            self.asks |= entry.predicate.asks_whether_authentication_is_required();
            for role in &entry.roles {
                let of_role = self.by_role.entry(role.clone()).or_default();
                of_role.push(Arc::clone(entry));
            }
        }
    }
}

fn parse(document: &Document) -> Parsed {
    let parsed = Entry::parse(document);
    let reason = match &parsed {
        Ok(entry) => entry.broken.clone(),
        Err(reason) => Some(reason.clone()),
    };
    let problem = reason.map(|reason| Problem {
        id: permission::id_of(document),
        reason,
    });
    (parsed.ok().map(Arc::new), problem)
}

/// Highest priority first, a missing one last; of equal ones the greater `_id`.
fn tried_before(one: &Entry, two: &Entry) -> Ordering {
    let priority = |entry: &Entry| entry.priority.clone().unwrap_or(Bson::Null);
    order::compare(&priority(two), &priority(one))
        .then_with(|| order::compare(&two.permission.id, &one.permission.id))
}

/// The role of those who have not proved who they are.
const UNAUTHENTICATED: &str = "$unauthenticated";
