//! Permissions: parsed once, kept in the order in which they are tried, and asked.

mod configured;
mod order;
mod permission;
mod recheck;
#[cfg(test)]
mod tests;
mod veto;

use std::cmp::Ordering;
use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use bson::{Bson, Document};

pub(crate) use permission::Entry;
pub use permission::{MongoPermissions, Permission, Problem};
pub(crate) use recheck::Classes;
pub(crate) use veto::is_vetoed;

use crate::access::predicate::{AtLarge, Circumstances};
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
        // Asked for once, and only if somebody wants to know.
        let mut required = None;
        self.asked(roles_of(principal)).find_map(|entry| {
            let asks =
                principal.is_some() && entry.predicate.asks_whether_authentication_is_required();
            let authentication_is_required =
                asks && *required.get_or_insert_with(|| self.find(head, None, mounts).is_none());
            let circumstances = Circumstances {
                head,
                principal,
                authentication_is_required,
                mounts,
            };
            entry.holds(&circumstances).then(|| Arc::clone(entry))
        })
    }

    /// Which permissions may let in those with these roles who ask for the target of `head`, in the order in which they
    /// are tried; the last one may be known to hold for all of them.
    fn candidates(&self, roles: &[String], head: &RequestHead, mounts: &Mounts) -> Candidates {
        let mut candidates = Candidates::default();
        for entry in self.asked(roles) {
            let circumstances = Circumstances {
                head,
                principal: None,
                authentication_is_required: false,
                mounts,
            };
            match entry.predicate.at_large(&circumstances) {
                AtLarge::Fails => (),
                AtLarge::Depends => candidates.depending.push(Arc::clone(entry)),
                AtLarge::Holds => {
                    candidates.holding = Some(Arc::clone(entry));
                    break;
                }
            }
        }
        candidates
    }

    /// The permissions of these roles, in the order in which they are tried.
    fn asked<'a>(&'a self, roles: &'a [String]) -> impl Iterator<Item = &'a Arc<Entry>> {
        let lists = [&self.stored, &*self.configured].into_iter();
        let of_roles = lists.flat_map(move |list| {
            let of_role = |role| list.by_role.get(role);
            roles.iter().filter_map(of_role)
        });
        of_roles.flatten()
    }
}

/// What may let somebody in.
#[derive(Debug, Default)]
struct Candidates {
    /// Those that depend on who asks.
    depending: Vec<Arc<Entry>>,
    /// The first that holds for everybody: it comes behind those.
    holding: Option<Arc<Entry>>,
}

/// The roles that somebody is let in by.
fn roles_of(principal: Option<&Principal>) -> &[String] {
    static ANONYMOUS: LazyLock<[String; 1]> = LazyLock::new(|| [UNAUTHENTICATED.to_owned()]);
    principal.map_or(ANONYMOUS.as_slice(), |principal| principal.roles.as_slice())
}

/// Permissions of one origin, in the order in which they are tried.
#[derive(Debug, Default)]
struct List {
    by_role: HashMap<String, Vec<Arc<Entry>>>,
    problems: Vec<Problem>,
    /// The documents that the entries were parsed from, where they are kept, by their address.
    parsed: HashMap<usize, (Arc<Document>, Parsed)>,
}

/// What came of a document.
type Parsed = (Option<Arc<Entry>>, Option<Problem>);

impl List {
    /// Those of a collection; `before`: as it was.
    fn stored(documents: impl IntoIterator<Item = Arc<Document>>, before: &Self) -> Self {
        let mut list = Self::default();
        let mut entries = Vec::new();
        for document in documents {
            let address = Arc::as_ptr(&document).addr();
            // The list before holds its documents, so an address can only be that of the same one.
            let parsed = match before.parsed.get(&address) {
                Some((_, parsed)) => parsed.clone(),
                None => parse(&document),
            };
            entries.extend(parsed.0.clone());
            list.problems.extend(parsed.1.clone());
            list.parsed.insert(address, (document, parsed));
        }
        entries.sort_by(|one, two| tried_before(one, two));
        list.file(entries);
        list
    }

    /// Those of a configuration: the lowest number first, of equal ones the later.
    ///
    /// Source: compat 9.3; golden `file-acl`.
    fn configured(documents: impl IntoIterator<Item = Document>) -> Self {
        let mut list = Self::default();
        let mut entries = Vec::new();
        for (index, document) in documents.into_iter().enumerate() {
            let (entry, problem) = match configured::stored_form(document, index) {
                Ok(document) => parse(&document),
                Err(problem) => (None, Some(*problem)),
            };
            entries.extend(entry);
            list.problems.extend(problem);
        }
        entries.reverse();
        let priority = |entry: &Entry| entry.priority.clone().unwrap_or(Bson::Int32(i32::MAX));
        entries.sort_by(|one, two| order::compare(&priority(one), &priority(two)));
        list.file(entries);
        list
    }

    /// Puts each entry where it is looked for; they come in the order in which they are tried.
    fn file(&mut self, entries: Vec<Arc<Entry>>) {
        for entry in entries {
            for role in &entry.roles {
                let of_role = self.by_role.entry(role.clone()).or_default();
                of_role.push(Arc::clone(&entry));
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
