//! What access decided for one request, and what that rests on.

use std::sync::Arc;

use bson::Document;

use crate::access::acl::Permission;
use crate::access::principal::{Mechanism, Principal};
use crate::access::request::RequestHead;

/// A request was let in. The grant is alive: [`super::Access::recheck`] and [`super::Access::recheck_user`] say whether it
/// still holds.
#[derive(Clone, Debug)]
pub struct Grant {
    /// Who it was; none for those who have not proved who they are.
    pub principal: Option<Arc<Principal>>,
    /// The permission that matched; none for the root role.
    pub permission: Option<Arc<Permission>>,
    pub(super) head: Arc<RequestHead>,
    /// The user's stored record that the credentials were compared with; none where no record was read.
    pub(super) record: Option<Arc<Document>>,
}

impl Grant {
    /// Whether the principal has the root role: everything is allowed, nothing is filtered.
    pub fn is_root(&self) -> bool {
        self.permission.is_none()
    }

    /// The head it was given for.
    pub fn head(&self) -> &RequestHead {
        &self.head
    }

    /// Whether it rests on the stored record of that user, now being `record`, otherwise than it was.
    pub(super) fn rests_on_another(&self, name: &str, record: Option<&Document>) -> bool {
        let Some(principal) = self
            .principal
            .as_ref()
            .filter(|principal| principal.name == name)
        else {
            return false;
        };
        match principal.mechanism {
            Mechanism::Basic => self.record.as_deref() != record,
            // A token does not say how the record was: whatever changed in it ends what the token opened.
            Mechanism::BasicToken | Mechanism::Jwt => true,
        }
    }
}

/// A request was not let in.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// No credentials, or wrong ones, where some are needed: which it was is not told.
    #[error("credentials are missing or wrong")]
    Unauthenticated,
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
