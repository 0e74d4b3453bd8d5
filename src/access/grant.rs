//! What access decided for one request, and what that rests on.

use std::sync::Arc;

use bson::Document;

use crate::access::acl::Permission;
use crate::access::principal::{Mechanism, Principal};
use crate::access::request::KeptHead;

/// A request was let in. The grant is alive: [`super::Access::recheck`] and [`super::Access::recheck_user`] say whether it
/// still holds.
#[derive(Clone)]
pub struct Grant {
    /// Who it was; none for those who have not proved who they are.
    pub principal: Option<Arc<Principal>>,
    /// The permission that matched; none for the root role.
    pub permission: Option<Arc<Permission>>,
    pub(super) head: KeptHead,
    /// The user's stored record that the credentials were compared with; none where no record was read.
    pub(super) record: Option<Arc<Document>>,
}

/// Without the head and the record, which hold credentials.
impl std::fmt::Debug for Grant {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let name = self.principal.as_ref().map(|principal| &principal.name);
        let permission = self.permission.as_ref().map(|permission| &permission.id);
        f.debug_struct("Grant")
            .field("principal", &name)
            .field("permission", &permission)
            .finish_non_exhaustive()
    }
}

impl Grant {
    /// Whether the principal has the root role: everything is allowed, nothing is filtered.
    pub fn is_root(&self) -> bool {
        self.permission.is_none()
    }

    /// The head it was given for.
    pub fn head(&self) -> &KeptHead {
        &self.head
    }

    /// Whether it rests on the stored record of that user, now being `record`, otherwise than it was. The user may be named
    /// as he logs in, or by the record's `_id`.
    pub(super) fn rests_on_another(&self, name: &str, record: Option<&Document>) -> bool {
        let Some(principal) = &self.principal else {
            return false;
        };
        let rested_on = self.record.as_deref();
        let is_named =
            rested_on.is_some_and(|rested_on| rested_on.get_str("_id").is_ok_and(|id| id == name));
        if principal.name != name && !is_named {
            return false;
        }
        match principal.mechanism {
            Mechanism::Basic => rested_on != record,
            // A token does not say how the record was: whatever changed in it ends what the token opened.
            Mechanism::BasicToken | Mechanism::Jwt => true,
            // A user of MongoDB with the same name is somebody else's business.
            Mechanism::Configured | Mechanism::Forward => false,
        }
    }
}

/// A request was not let in.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// No credentials, or wrong ones, where some are needed: which it was is not told.
    #[error("credentials are missing or wrong")]
    Unauthenticated,
    /// Too many logins have failed, from there or by that name: nobody is heard for a while.
    #[error("too many failed authentication attempts")]
    TooMany,
    /// Known, and not allowed; or nobody is.
    #[error("not permitted")]
    Forbidden,
    /// The matching permission has a `mongo` section that is not understood. Fail closed.
    #[error("the permission cannot be applied: {0}")]
    Broken(String),
    /// Nobody can tell now: MongoDB is away, or too many logins wait.
    #[error("access cannot be decided now: {0}")]
    Unavailable(String),
}
