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
use bson::{Bson, Document};
use http::Method;

pub use acl::{MongoPermissions, Permission, Problem};
pub use auth::{
    ForwardSettings, GuardSettings, Identity, JwtAlgorithm, JwtError, JwtKey, JwtSettings,
    JwtVerifier, KeySet, OriginCheck, OriginSettings, PasswordKind, PasswordSettings, Unavailable,
    UserSettings, Users, household,
};
pub use grant::{Denied, Grant};
pub use predicate::ParseError;
pub use principal::{Mechanism, Principal};
pub use request::{KeptHead, RequestHead, subprotocols};

use crate::delivery::Ending;
use crate::notation::mounts::{Mount, Mounts};
use acl::{Classes, Permissions};
use auth::{Attempt, Authenticator, Guard, Mechanisms};

/// What access is told by the configuration. Not printed: it holds passwords.
pub struct AccessSettings {
    /// Users kept in MongoDB; none turns Basic off.
    pub users: Option<UserSettings>,
    /// How much work logins may be.
    pub passwords: PasswordSettings,
    /// Tokens; none turns them off.
    pub jwt: Option<JwtVerifier>,
    /// How the API itself is asked who somebody is; none does not ask it.
    pub forward: Option<(ForwardSettings, Arc<dyn Identity>)>,
    /// Users of the configuration, as RESTHeart's file has them.
    pub configured_users: Vec<Document>,
    /// Permissions of the configuration, as RESTHeart's file has them; they come behind those of MongoDB.
    pub configured_permissions: Vec<Document>,
    /// The cookie that may carry credentials; none looks at no cookie.
    pub cookie_name: Option<String>,
    /// The query parameter that may carry a token, since browsers cannot set headers on a WebSocket; none looks at none.
    pub token_parameter: Option<String>,
    /// The WebSocket subprotocol behind whose name a token may stand; none looks at none.
    pub token_protocol: Option<String>,
    /// Which pages may connect.
    pub origins: OriginSettings,
    /// How many failed logins are borne.
    pub guard: GuardSettings,
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
            forward: None,
            configured_users: Vec::new(),
            configured_permissions: Vec::new(),
            cookie_name: Some("rh_auth".to_owned()),
            token_parameter: None,
            token_protocol: None,
            origins: OriginSettings::default(),
            guard: GuardSettings::default(),
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
    guard: Guard,
    permissions: ArcSwap<Permissions>,
    /// What in the configured users is not understood.
    user_problems: Vec<Problem>,
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
        let (authenticator, user_problems) = Authenticator::new(Mechanisms {
            users: settings.users.map(|settings| (settings, users)),
            passwords: settings.passwords,
            configured: settings.configured_users,
            jwt: settings.jwt,
            forward: settings.forward,
            cookie_name: settings.cookie_name,
            token_parameter: settings.token_parameter,
            token_protocol: settings.token_protocol,
            origins: settings.origins,
        });
        let permissions = Permissions::configured(settings.configured_permissions);
        Self {
            authenticator,
            guard: Guard::new(&settings.guard),
            permissions: ArcSwap::from_pointee(permissions),
            user_problems,
            root_role: settings.root_role,
            mounts: Mounts::new(settings.mounts),
        }
    }

    /// Takes the whole collection of permissions; returns what is not understood, in the configuration too. What is the
    /// very same document as before costs next to nothing.
    pub fn replace_permissions<D: Into<Arc<Document>>>(
        &self,
        documents: impl IntoIterator<Item = D>,
    ) -> Vec<Problem> {
        let documents = documents.into_iter().map(Into::into);
        let permissions = self.permissions.load().with_stored(documents);
        self.permissions.store(Arc::new(permissions));
        self.problems()
    }

    /// What in the present permissions and in the configured users is not understood.
    pub fn problems(&self) -> Vec<Problem> {
        let permissions = self.permissions.load();
        let all = permissions.problems().chain(&self.user_problems);
        all.cloned().collect()
    }

    /// The set of keys for tokens, where it is fetched.
    pub fn key_set(&self) -> Option<&Arc<KeySet>> {
        self.authenticator.key_set()
    }

    /// Decides on a request. The caller asks only for what streams are asked for with: nothing here allows a write.
    ///
    /// # Errors
    /// [`Denied`]; wrong credentials are as none.
    pub async fn decide(&self, head: RequestHead) -> Result<Grant, Denied> {
        let address = head.peer.ip();
        // What is allowed to everybody costs nobody a login.
        let attempt = match head.method {
            Method::OPTIONS => Attempt::Wrong(None),
            _ if self.guard.refuses_address(address) => return Err(Denied::TooMany),
            _ => self
                .authenticator
                .authenticate(&head, &self.guard)
                .await
                .map_err(|unavailable| Denied::Unavailable(unavailable.0))?,
        };
        let (principal, record, tried) = match attempt {
            Attempt::Right(found) => (Some(Arc::new(found.principal)), found.record, None),
            Attempt::Wrong(tried) => (None, None, tried),
            Attempt::TooMany => return Err(Denied::TooMany),
        };
        let judged = self.judge(&head, principal.as_deref());
        // On a public stream, too: what is served there may not be a way to try passwords.
        if let Some(name) = &tried {
            self.guard.user_failed(name);
        }
        if let Err(Denied::Unauthenticated) = judged {
            self.guard.address_failed(address);
        }
        let permission = judged?;
        Ok(Grant {
            principal,
            permission,
            head: KeptHead::of(&head),
            record,
        })
    }

    /// Decides anew on the same head and principal, against the present permissions: what a live session has to hear.
    /// For many sessions [`Access::rechecking`] is quicker.
    pub fn recheck(&self, grant: &Grant) -> Option<Ending> {
        self.rechecking().recheck(grant)
    }

    /// Decides anew for many, against the permissions as they are now.
    pub fn rechecking(&self) -> Rechecking<'_> {
        Rechecking {
            access: self,
            classes: Classes::new(self.permissions.load_full()),
        }
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
            if self.authenticator.refuses_origin(head) {
                return Err(Denied::Forbidden);
            }
            // Allowed to everybody, with the rights of nobody.
            let nothing = Permission {
                id: Bson::Null,
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
        if acl::is_vetoed(head) || self.authenticator.refuses_origin(head) {
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

/// Decides anew for many sessions.
pub struct Rechecking<'a> {
    access: &'a Access,
    classes: Classes,
}

impl Rechecking<'_> {
    /// What a live session has to hear. Its head is the one that it was let in with, so what refuses a head whatever the
    /// permissions are is not asked again.
    pub fn recheck(&self, grant: &Grant) -> Option<Ending> {
        let principal = grant.principal.as_deref();
        if principal.is_some_and(|principal| !self.access.authenticator.still_trusts(principal)) {
            return Some(Ending::CredentialsChanged);
        }
        if *grant.head.method() == Method::OPTIONS {
            return None;
        }
        let is_root = principal.is_some_and(|principal| self.access.has_root_role(principal));
        let found = match is_root {
            true => None,
            false => match self.classes.find(grant, &self.access.mounts) {
                Some(entry) if entry.broken.is_none() => Some(Arc::clone(&entry.permission)),
                Some(_) | None => return Some(Ending::PermissionGone),
            },
        };
        // A session rests on what its permission says of the data, not on which one said it.
        let is_same = match (&found, &grant.permission) {
            (None, None) => true,
            (Some(one), Some(other)) => one.mongo == other.mongo,
            (Some(_), None) | (None, Some(_)) => false,
        };
        (!is_same).then_some(Ending::PermissionChanged)
    }
}

impl std::fmt::Debug for Rechecking<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rechecking").finish_non_exhaustive()
    }
}
