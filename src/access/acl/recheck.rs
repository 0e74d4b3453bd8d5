//! Deciding anew for many sessions at once.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;

use super::{Candidates, Entry, Permissions, roles_of};
use crate::access::grant::Grant;
use crate::access::predicate::Circumstances;
use crate::notation::mounts::Mounts;

/// One snapshot of the permissions, and what was worked out for each class of grants: those with the same method, path and
/// roles. A thousand permissions are looked through once for a class, not for each of its sessions.
pub(crate) struct Classes {
    permissions: Arc<Permissions>,
    known: RefCell<HashMap<Vec<u8>, Arc<Candidates>>>,
    /// Room for a key, so that looking one up allocates nothing.
    key: RefCell<Vec<u8>>,
}

impl Classes {
    pub(crate) fn new(permissions: Arc<Permissions>) -> Self {
        Self {
            permissions,
            known: RefCell::default(),
            key: RefCell::default(),
        }
    }

    /// As [`Permissions::find`] for what the grant was given for.
    pub(crate) fn find(&self, grant: &Grant, mounts: &Mounts) -> Option<Arc<Entry>> {
        let candidates = self.candidates(grant, mounts);
        if !candidates.depending.is_empty() {
            let principal = grant.principal.as_deref();
            let depending = &candidates.depending;
            let head = match depending
                .iter()
                .any(|entry| entry.predicate.reads_headers())
            {
                true => grant.head().unpacked(),
                false => grant.head().without_headers(),
            };
            let asks = |entry: &Entry| entry.predicate.asks_whether_authentication_is_required();
            let authentication_is_required =
                principal.is_some() && depending.iter().any(|entry| asks(entry)) && {
                    // Any header may have a say in that.
                    let head = grant.head().unpacked();
                    self.permissions.find(&head, None, mounts).is_none()
                };
            let circumstances = Circumstances {
                head: &head,
                principal,
                authentication_is_required,
                mounts,
            };
            if let Some(entry) = depending.iter().find(|entry| entry.holds(&circumstances)) {
                return Some(Arc::clone(entry));
            }
        }
        candidates.holding.clone()
    }

    fn candidates(&self, grant: &Grant, mounts: &Mounts) -> Arc<Candidates> {
        let roles = roles_of(grant.principal.as_deref());
        let mut key = self.key.borrow_mut();
        key.clear();
        for part in [
            grant.head().method().as_str().as_bytes(),
            grant.head().raw_path(),
        ] {
            key.extend_from_slice(part);
            key.push(b'\n');
        }
        for role in roles {
            key.extend_from_slice(&(role.len() as u64).to_le_bytes());
            key.extend_from_slice(role.as_bytes());
        }
        if let Some(known) = self.known.borrow().get(&*key) {
            return Arc::clone(known);
        }
        let head = grant.head().without_headers();
        let candidates = Arc::new(self.permissions.candidates(roles, &head, mounts));
        self.known
            .borrow_mut()
            .insert(key.clone(), Arc::clone(&candidates));
        candidates
    }
}
