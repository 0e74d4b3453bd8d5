//! Who is let in.
//!
//! [`Access::decide`] takes the head of a request for a stream, proves its credentials ([`auth`]), and asks the permissions
//! ([`acl`]), whose language is [`predicate`]. What comes out is a [`Grant`]: who it is, which permission matched, and what
//! that rests on. A grant is alive: when permissions or users change, [`Access::recheck`] and [`Access::recheck_user`] say
//! what a session that rests on it has to hear.
//!
//! Everything unknown is refused. A permission that cannot be parsed is left out and listed by [`Access::problems`]; one that
//! cannot be evaluated for a request does not hold; one whose `mongo` section is not understood refuses the request.
//!
//! It knows nothing of streams and sockets, and reads MongoDB only through [`Users`].

mod acl;
mod auth;
mod grant;
mod predicate;
mod principal;
mod request;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use arc_swap::ArcSwap;
use bson::Document;
use http::Method;

pub use acl::{MongoPermissions, Permission, Problem};
pub use auth::{
    JwtAlgorithm, JwtError, JwtSettings, JwtVerifier, PasswordKind, PasswordSettings, Unavailable,
    UserSettings, Users,
};
pub use grant::{Denied, Grant};
pub use predicate::ParseError;
pub use principal::{Mechanism, Principal};
pub use request::{KeptHead, RequestHead};

use crate::delivery::Ending;
use crate::notation::mounts::{Mount, Mounts};
use acl::Permissions;
use auth::Authenticator;

/// What access is told by the configuration.
#[derive(Debug)]
pub struct AccessSettings {
    /// Users kept in MongoDB; none turns Basic off.
    pub users: Option<UserSettings>,
    /// How much work logins may be.
    pub passwords: PasswordSettings,
    /// Tokens; none turns them off.
    pub jwt: Option<JwtVerifier>,
    /// The cookie that may carry credentials; none looks at no cookie.
    pub cookie_name: Option<String>,
    /// The role that needs no permission.
    pub root_role: Option<String>,
    /// Where databases are mounted, for `@request.db` and its like.
    pub mounts: Vec<Mount>,
}

impl Default for AccessSettings {
    fn default() -> Self {
        Self {
            users: Some(UserSettings::default()),
            passwords: PasswordSettings::default(),
            jwt: None,
            cookie_name: Some("rh_auth".to_owned()),
            root_role: Some("admin".to_owned()),
            mounts: vec![Mount {
                at: "/".to_owned(),
                what: "/restheart".to_owned(),
            }],
        }
    }
}

/// Decides who is let in, and whether they still are.
pub struct Access {
    authenticator: Authenticator,
    permissions: ArcSwap<Permissions>,
    root_role: Option<String>,
    mounts: Mounts,
}

impl std::fmt::Debug for Access {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Access").finish_non_exhaustive()
    }
}

impl Access {
    /// Starts without permissions: only the root role is let in until [`Access::replace_permissions`] is called.
    pub fn new(settings: AccessSettings, users: Arc<dyn Users>) -> Self {
        let realm = settings.users.map(|settings| (settings, users));
        Self {
            authenticator: Authenticator::new(
                realm,
                &settings.passwords,
                settings.jwt,
                settings.cookie_name,
            ),
            permissions: ArcSwap::default(),
            root_role: settings.root_role,
            mounts: Mounts::new(settings.mounts),
        }
    }

    /// Takes the whole collection of permissions; returns what in it is not understood.
    pub fn replace_permissions(
        &self,
        documents: impl IntoIterator<Item = Document>,
    ) -> Vec<Problem> {
        let permissions = Permissions::parse(documents);
        let problems = permissions.problems().to_vec();
        self.permissions.store(Arc::new(permissions));
        problems
    }

    /// What in the present permissions is not understood.
    pub fn problems(&self) -> Vec<Problem> {
        self.permissions.load().problems().to_vec()
    }

    /// Decides on a request. The caller asks only for what streams are asked for with: nothing here allows a write.
    ///
    /// # Errors
    /// [`Denied`]; wrong credentials are as none.
    pub async fn decide(&self, head: RequestHead) -> Result<Grant, Denied> {
        // What is allowed to everybody costs nobody a login.
        let authenticated = match head.method {
            Method::OPTIONS => None,
            _ => self
                .authenticator
                .authenticate(&head)
                .await
                .map_err(|unavailable| Denied::Unavailable(unavailable.0))?,
        };
        let (principal, record) = match authenticated {
            Some(found) => (Some(Arc::new(found.principal)), found.record),
            None => (None, None),
        };
        let permission = self.judge(&head, principal.as_deref())?;
        Ok(Grant {
            principal,
            permission,
            head: KeptHead::of(&head),
            record,
        })
    }

    /// Decides anew on the same head and principal, against the present permissions: what a live session has to hear.
    pub fn recheck(&self, grant: &Grant) -> Option<Ending> {
        let Ok(permission) = self.judge(&grant.head.unpacked(), grant.principal.as_deref()) else {
            return Some(Ending::PermissionGone);
        };
        // A session rests on what its permission says of the data, not on which one said it.
        let is_same = match (&permission, &grant.permission) {
            (None, None) => true,
            (Some(one), Some(other)) => one.mongo == other.mongo,
            (Some(_), None) | (None, Some(_)) => false,
        };
        (!is_same).then_some(Ending::PermissionChanged)
    }

    /// The stored record of that user is now this (none: removed): what a live session has to hear.
    pub fn recheck_user(
        &self,
        grant: &Grant,
        name: &str,
        record: Option<&Document>,
    ) -> Option<Ending> {
        grant
            .rests_on_another(name, record)
            .then_some(Ending::CredentialsChanged)
    }

    /// The permission that lets this request in; none for the root role.
    fn judge(
        &self,
        head: &RequestHead,
        principal: Option<&Principal>,
    ) -> Result<Option<Arc<Permission>>, Denied> {
        if head.method == Method::OPTIONS {
            // Allowed to everybody, with the rights of nobody.
            let nothing = Permission {
                id: bson::Bson::Null,
                mongo: MongoPermissions::default(),
            };
            return Ok(Some(Arc::new(nothing)));
        }
        let is_root = principal.is_some_and(|principal| self.has_root_role(principal));
        let found = if is_root {
            None
        } else {
            self.permissions.load().find(head, principal, &self.mounts)
        };
        if principal.is_none() && found.is_none() {
            return Err(Denied::Unauthenticated);
        }
        if acl::is_vetoed(head) {
            return Err(Denied::Forbidden);
        }
        match found {
            None if is_root => Ok(None),
            None => Err(Denied::Forbidden),
            Some(entry) => match &entry.broken {
                Some(reason) => Err(Denied::Broken(reason.clone())),
                None => Ok(Some(Arc::clone(&entry.permission))),
            },
        }
    }

    fn has_root_role(&self, principal: &Principal) -> bool {
        self.root_role
            .as_ref()
            .is_some_and(|root| principal.roles.contains(root))
    }
}
