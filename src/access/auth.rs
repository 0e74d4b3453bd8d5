//! From credentials to a principal: one room per mechanism.
//!
//! Mechanisms are tried in RESTHeart's order: a token as Basic password, Basic, a bearer token. Credentials that are wrong
//! are as none: the request goes on without a principal, and how it was wrong is not told. An `Authorization` header, even
//! an empty one, makes the cookie count for nothing.
//!
//! Source: compat 8.1, 8.2, 8.5 to 8.7; golden `authentication`.

mod basic;
mod cookie;
mod jwt;
mod password;
mod users;

use std::sync::Arc;
use std::time::SystemTime;

use bson::Document;
use http::header;
use tracing::debug;

pub use jwt::{JwtAlgorithm, JwtError, JwtSettings, JwtVerifier};
pub use password::PasswordSettings;
pub use users::{PasswordKind, Unavailable, UserSettings, Users};

use crate::access::principal::{Mechanism, Principal};
use crate::access::request::RequestHead;
use basic::BasicCredentials;
use users::UserRealm;

/// A principal, and the stored record it was compared with.
#[derive(Debug)]
pub(crate) struct Authenticated {
    pub(crate) principal: Principal,
    pub(crate) record: Option<Arc<Document>>,
}

/// All mechanisms that are on.
pub(crate) struct Authenticator {
    realm: Option<UserRealm>,
    jwt: Option<JwtVerifier>,
    cookie_name: Option<String>,
}

impl Authenticator {
    pub(crate) fn new(
        users: Option<(UserSettings, Arc<dyn Users>)>,
        passwords: &PasswordSettings,
        jwt: Option<JwtVerifier>,
        cookie_name: Option<String>,
    ) -> Self {
        let realm = users.map(|(settings, users)| UserRealm::new(settings, users, passwords));
        Self {
            realm,
            jwt,
            cookie_name,
        }
    }

    /// Who the request comes from; none for missing and for wrong credentials.
    ///
    /// # Errors
    /// Nobody can tell: users cannot be read, or too many logins wait.
    pub(crate) async fn authenticate(
        &self,
        head: &RequestHead,
    ) -> Result<Option<Authenticated>, Unavailable> {
        let authorizations = self.authorizations(head);
        // The first Basic value counts, even one that cannot be read.
        let basic = authorizations
            .iter()
            .find_map(|value| BasicCredentials::parse(value));
        if let Some((Ok(credentials), scheme)) = basic {
            let by_token = scheme == basic::Scheme::Exact;
            let principal = self.by_basic_token(&credentials).filter(|_| by_token);
            if let Some(principal) = principal {
                return Ok(Some(Authenticated {
                    principal,
                    record: None,
                }));
            }
            if let Some(realm) = &self.realm
                && let Some(found) = realm.authenticate(&credentials).await?
            {
                return Ok(Some(found));
            }
        }
        Ok(self
            .by_bearer(authorizations.first())
            .map(|principal| Authenticated {
                principal,
                record: None,
            }))
    }

    /// The values of `Authorization`, or the one that the cookie stands for.
    fn authorizations(&self, head: &RequestHead) -> Vec<String> {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let given: Vec<String> = head
            .headers
            .get_all(header::AUTHORIZATION)
            .into_iter()
            .map(|value| text(value.as_bytes()))
            .collect();
        let from_cookie = || {
            self.cookie_name
                .as_deref()
                .and_then(|name| cookie::authorization(head, name))
        };
        if given.is_empty() {
            from_cookie().into_iter().collect()
        } else {
            given
        }
    }

    fn by_basic_token(&self, credentials: &BasicCredentials) -> Option<Principal> {
        let verifier = self.jwt.as_ref()?;
        let principal = verifier
            .verify(
                &credentials.password,
                Mechanism::BasicToken,
                SystemTime::now(),
            )
            .ok()?;
        (principal.name == credentials.name).then_some(principal)
    }

    fn by_bearer(&self, authorization: Option<&String>) -> Option<Principal> {
        let token = authorization?.strip_prefix("Bearer ")?.trim();
        let verified = self
            .jwt
            .as_ref()?
            .verify(token, Mechanism::Jwt, SystemTime::now());
        verified
            .inspect_err(|refused| debug!(%refused, "a bearer token is refused"))
            .ok()
    }
}
