//! From credentials to a principal: one room per mechanism.
//!
//! Mechanisms are tried in RESTHeart's order: a token as Basic password, Basic, a bearer token. Credentials that are wrong
//! are as none: the request goes on without a principal, and how it was wrong is not told. An `Authorization` header, even
//! an empty one, makes the cookie count for nothing.
//!
//! Source: compat 8.1, 8.2, 8.5 to 8.7; golden `authentication`.

mod basic;
mod configured;
mod cookie;
mod digest;
mod forward;
mod guard;
mod jwt;
mod origin;
mod password;
#[cfg(test)]
mod tests;
mod turns;
mod users;

use std::sync::Arc;
use std::time::SystemTime;

use bson::Document;
use http::header;
use tracing::debug;

pub use forward::{ForwardSettings, Identity};
pub use guard::{GuardSettings, household};
pub use jwt::{JwtAlgorithm, JwtError, JwtKey, JwtSettings, JwtVerifier, KeySet};
pub use origin::{OriginCheck, OriginSettings};
pub use password::PasswordSettings;
pub use users::{PasswordKind, Unavailable, UserSettings, Users};

use crate::access::acl::Problem;
use crate::access::principal::{Mechanism, Principal};
use crate::access::request::{RequestHead, subprotocols};
use basic::BasicCredentials;
use configured::ConfiguredUsers;
use forward::ForwardAuth;
pub(crate) use guard::Guard;
use jwt::TokenRefused;
use users::UserRealm;

/// A principal, and the stored record it was compared with.
pub(crate) struct Authenticated {
    pub(crate) principal: Principal,
    pub(crate) record: Option<Arc<Document>>,
}

/// What came of a request's credentials.
pub(crate) enum Attempt {
    /// They are right.
    Right(Authenticated),
    /// There are none, or wrong ones: then with the name that was tried, if any was.
    Wrong(Option<String>),
    /// This name was tried in vain too often of late.
    TooMany,
}

/// All mechanisms that are on.
pub(crate) struct Authenticator {
    realm: Option<UserRealm>,
    configured: ConfiguredUsers,
    jwt: Option<JwtVerifier>,
    forward: Option<ForwardAuth>,
    cookie_name: Option<String>,
    token_parameter: Option<String>,
    token_protocol: Option<String>,
    origins: OriginSettings,
}

/// What the mechanisms are told by the configuration.
pub(crate) struct Mechanisms {
    pub(crate) users: Option<(UserSettings, Arc<dyn Users>)>,
    pub(crate) passwords: PasswordSettings,
    pub(crate) configured: Vec<Document>,
    pub(crate) jwt: Option<JwtVerifier>,
    pub(crate) forward: Option<(ForwardSettings, Arc<dyn Identity>)>,
    pub(crate) cookie_name: Option<String>,
    pub(crate) token_parameter: Option<String>,
    pub(crate) token_protocol: Option<String>,
    pub(crate) origins: OriginSettings,
}

impl Attempt {
    fn by_token(principal: Principal) -> Self {
        Self::Right(Authenticated {
            principal,
            record: None,
        })
    }
}

impl Authenticator {
    /// Starts them; also returns what in the configured users is not understood.
    pub(crate) fn new(mechanisms: Mechanisms) -> (Self, Vec<Problem>) {
        let passwords = &mechanisms.passwords;
        let realm = mechanisms.users;
        let realm = realm.map(|(settings, users)| UserRealm::new(settings, users, passwords));
        let forward = mechanisms.forward;
        let forward = forward.map(|(settings, identity)| ForwardAuth::new(settings, identity));
        let (configured, problems) = ConfiguredUsers::read(mechanisms.configured);
        let authenticator = Self {
            realm,
            configured,
            jwt: mechanisms.jwt,
            forward,
            cookie_name: mechanisms.cookie_name,
            token_parameter: mechanisms.token_parameter,
            token_protocol: mechanisms.token_protocol,
            origins: mechanisms.origins,
        };
        (authenticator, problems)
    }

    /// The set of keys for tokens, where it is fetched.
    pub(crate) fn key_set(&self) -> Option<&Arc<KeySet>> {
        self.jwt.as_ref()?.key_set()
    }

    /// Whether a request is refused for the page that it comes from.
    pub(crate) fn refuses_origin(&self, head: &RequestHead) -> bool {
        self.origins.refuses(head)
    }

    /// Who the request comes from.
    ///
    /// # Errors
    /// Nobody can tell: users cannot be read, or too many logins wait.
    pub(crate) async fn authenticate(
        &self,
        head: &RequestHead,
        guard: &Guard,
    ) -> Result<Attempt, Unavailable> {
        let authorizations = self.authorizations(head);
        // The first Basic value counts, even one that cannot be read.
        let basic = authorizations
            .iter()
            .find_map(|value| BasicCredentials::parse(value));
        let mut tried = None;
        if let Some((Ok(credentials), scheme)) = basic {
            if guard.refuses_user(&credentials.name) {
                return Ok(Attempt::TooMany);
            }
            if scheme == basic::Scheme::Exact
                && let Some(principal) = self.by_basic_token(&credentials).await
            {
                return Ok(Attempt::by_token(principal));
            }
            if let Some(found) = self.configured.authenticate(&credentials) {
                return Ok(Attempt::Right(found));
            }
            if let Some(realm) = &self.realm
                && let Some(found) = realm.authenticate(&credentials, head.peer.ip()).await?
            {
                return Ok(Attempt::Right(found));
            }
            tried = Some(credentials.name);
        }
        if let Some(principal) = self.by_bearer(authorizations.first()).await {
            return Ok(Attempt::by_token(principal));
        }
        if let Some(forward) = &self.forward {
            let cookies_count = self.origins.lets_cookies_count(head);
            if let Some(principal) = forward.authenticate(head, cookies_count).await? {
                return Ok(Attempt::by_token(principal));
            }
        }
        Ok(Attempt::Wrong(tried))
    }

    /// The values of `Authorization`, or the one that the cookie, the query parameter or the subprotocol stands for.
    fn authorizations(&self, head: &RequestHead) -> Vec<String> {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let given: Vec<String> = head
            .headers
            .get_all(header::AUTHORIZATION)
            .into_iter()
            .map(|value| text(value.as_bytes()))
            .collect();
        let from_cookie = || {
            let name = self.cookie_name.as_deref()?;
            let authorization = cookie::authorization(head, name)?;
            if !self.origins.lets_cookies_count(head) {
                debug!("a cookie does not count for a page of another origin (auth.origins)");
                return None;
            }
            Some(authorization)
        };
        let from_parameter = || {
            let token = head.parameters(self.token_parameter.as_deref()?).next()?;
            Some(format!("Bearer {token}"))
        };
        let from_protocol = || {
            let announced = self.token_protocol.as_deref()?;
            let mut offered = subprotocols(&head.headers);
            offered.find(|protocol| *protocol == announced)?;
            Some(format!("Bearer {}", offered.next()?))
        };
        if given.is_empty() {
            let carried = from_cookie().or_else(from_parameter);
            let carried = carried.or_else(from_protocol);
            carried.into_iter().collect()
        } else {
            given
        }
    }

    async fn by_basic_token(&self, credentials: &BasicCredentials) -> Option<Principal> {
        let principal = self
            .verify(&credentials.password, Mechanism::BasicToken)
            .await?;
        (principal.name == credentials.name).then_some(principal)
    }

    async fn by_bearer(&self, authorization: Option<&String>) -> Option<Principal> {
        let token = authorization?.strip_prefix("Bearer ")?.trim();
        self.verify(token, Mechanism::Jwt).await
    }

    /// Verifies a token; where its key is not known, once more when the keys were fetched anew.
    async fn verify(&self, token: &str, mechanism: Mechanism) -> Option<Principal> {
        let verifier = self.jwt.as_ref()?;
        let mut verified = verifier.verify(token, mechanism, SystemTime::now());
        if let (Err(TokenRefused::Key | TokenRefused::KeysStale), Some(keys)) =
            (&verified, verifier.key_set())
        {
            keys.ask().await;
            verified = verifier.verify(token, mechanism, SystemTime::now());
        }
        verified
            .inspect_err(|refused| debug!(%refused, "a token is refused"))
            .ok()
    }

    /// Whether what a principal's token was signed with is still a key of ours.
    pub(crate) fn still_trusts(&self, principal: &Principal) -> bool {
        let verifier = self.jwt.as_ref();
        verifier.is_none_or(|verifier| verifier.still_trusts(principal))
    }
}
