//! Tokens: signed claims, verified as java-jwt does for RESTHeart, and read with Gson's eyes.
//!
//! The signature is jsonwebtoken's business, the claims are ours: no leeway, `iat` must not lie ahead, a missing `exp` is for
//! ever, the roles claim must be there. A name that occurs twice in the claims refuses the token.
//!
//! Source: compat 8.5; golden `authentication` jwt-*, `config-variants` cv-jwt-*.

mod claims;
mod keys;

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use bson::{Bson, Document};
use jsonwebtoken::Algorithm;
use jsonwebtoken::errors::ErrorKind;

use crate::access::principal::{Mechanism, Principal};
use claims::Claims;
pub use keys::KeySet;
use keys::{Found, Keys};

/// What tokens are accepted.
#[derive(Clone)]
pub struct JwtSettings {
    /// What they are signed with.
    pub key: JwtKey,
    /// The only algorithm that is accepted.
    pub algorithm: JwtAlgorithm,
    /// What `iss` must be; none accepts any.
    pub issuer: Option<String>,
    /// What `aud` must contain, all of it.
    pub audience: Vec<String>,
    /// The claim that is the user's name.
    pub name_claim: String,
    /// The claim that is the roles.
    pub roles_claim: String,
    /// Roles that every token has besides.
    pub fixed_roles: Vec<String>,
    /// The token is base64url-encoded once more.
    pub base64_encoded: bool,
    /// How far the clock of whoever issues tokens may be from ours.
    pub leeway: Duration,
}

/// What tokens are signed with.
#[derive(Clone)]
pub enum JwtKey {
    /// The secret of the HS algorithms; for the others the public key or the certificate as PEM, or the base64 of a DER
    /// certificate with an RSA key.
    Text(String),
    /// Public keys that are fetched and change; a token names the one that it is signed with.
    Set(Arc<KeySet>),
}

impl JwtSettings {
    /// RESTHeart's defaults for a key.
    pub fn new(key: impl Into<String>, algorithm: JwtAlgorithm) -> Self {
        Self {
            key: JwtKey::Text(key.into()),
            algorithm,
            issuer: Some("restheart.org".to_owned()),
            audience: Vec::new(),
            name_claim: "sub".to_owned(),
            roles_claim: "roles".to_owned(),
            fixed_roles: Vec::new(),
            base64_encoded: false,
            leeway: Duration::ZERO,
        }
    }
}

impl std::fmt::Debug for JwtSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("JwtSettings")
            .field("algorithm", &self.algorithm)
            .field("issuer", &self.issuer)
            .finish_non_exhaustive()
    }
}

/// How tokens are signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are the RFC's")]
pub enum JwtAlgorithm {
    Hs256,
    Hs384,
    Hs512,
    Rs256,
    Rs384,
    Rs512,
    Ps256,
    Ps384,
    Ps512,
    Es256,
    Es384,
    EdDsa,
}

impl JwtAlgorithm {
    fn name_and_kind(self) -> (&'static str, Algorithm) {
        match self {
            Self::Hs256 => ("HS256", Algorithm::HS256),
            Self::Hs384 => ("HS384", Algorithm::HS384),
            Self::Hs512 => ("HS512", Algorithm::HS512),
            Self::Rs256 => ("RS256", Algorithm::RS256),
            Self::Rs384 => ("RS384", Algorithm::RS384),
            Self::Rs512 => ("RS512", Algorithm::RS512),
            Self::Ps256 => ("PS256", Algorithm::PS256),
            Self::Ps384 => ("PS384", Algorithm::PS384),
            Self::Ps512 => ("PS512", Algorithm::PS512),
            Self::Es256 => ("ES256", Algorithm::ES256),
            Self::Es384 => ("ES384", Algorithm::ES384),
            Self::EdDsa => ("EdDSA", Algorithm::EdDSA),
        }
    }

    /// Whether who verifies could sign as well.
    pub fn is_symmetric(self) -> bool {
        matches!(self, Self::Hs256 | Self::Hs384 | Self::Hs512)
    }
}

/// The settings cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct JwtError(String);

/// Why a token is refused; for our own log only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TokenRefused {
    #[error("it is not a token")]
    Malformed,
    #[error("it is not signed as configured")]
    Algorithm,
    #[error("it asks for what is not understood (crit)")]
    Critical,
    #[error("it is signed with a key that is not known")]
    Key,
    #[error("the keys are too old to be trusted, and cannot be fetched")]
    KeysStale,
    #[error("its signature is wrong")]
    Signature,
    #[error("its time is over, or not yet come")]
    Time,
    #[error("it is by another issuer")]
    Issuer,
    #[error("it is for another audience")]
    Audience,
    #[error("it does not name a user")]
    Name,
    #[error("it has no list of roles")]
    Roles,
}

/// Verifies tokens.
pub struct JwtVerifier {
    settings: JwtSettings,
    keys: Keys,
}

impl std::fmt::Debug for JwtVerifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.settings.fmt(f)
    }
}

impl JwtVerifier {
    /// Takes the settings in use.
    ///
    /// # Errors
    /// The key is empty, or is not of the algorithm's kind.
    pub fn new(settings: JwtSettings) -> Result<Self, JwtError> {
        let keys = Keys::new(&settings.key, settings.algorithm)?;
        Ok(Self { settings, keys })
    }

    /// The keys, where they are fetched.
    pub(crate) fn key_set(&self) -> Option<&Arc<KeySet>> {
        match &self.settings.key {
            JwtKey::Set(set) => Some(set),
            JwtKey::Text(_) => None,
        }
    }

    /// Whether what this principal's token was signed with is still a key of ours.
    pub(crate) fn still_trusts(&self, principal: &Principal) -> bool {
        match (&self.settings.key, &principal.signed_by) {
            (JwtKey::Set(set), Some(key)) => set.has(key),
            (JwtKey::Set(_), None) | (JwtKey::Text(_), _) => true,
        }
    }

    /// Verifies a token, at a time.
    pub(crate) fn verify(
        &self,
        token: &str,
        mechanism: Mechanism,
        now: SystemTime,
    ) -> Result<Principal, TokenRefused> {
        let unpacked;
        let token = if self.settings.base64_encoded {
            let bytes = BASE64_URL_SAFE_NO_PAD
                .decode(token.trim_end_matches('='))
                .map_err(|_| TokenRefused::Malformed)?;
            unpacked = String::from_utf8(bytes).map_err(|_| TokenRefused::Malformed)?;
            unpacked.as_str()
        } else {
            token
        };
        let (claims, signed_by) = self.signed_claims(token, now)?;
        let expires_at = self.check_times(&claims, now)?;
        self.check_issuer_and_audience(&claims)?;
        let name = claims
            .text(&self.settings.name_claim)
            .ok_or(TokenRefused::Name)?
            .to_owned();
        let mut roles = self.roles(&claims)?;
        roles.extend(self.settings.fixed_roles.iter().cloned());
        Ok(Principal {
            name,
            roles,
            properties: Some(properties(&claims)),
            mechanism,
            expires_at,
            signed_by,
        })
    }

    /// The claims, and which of the fetched keys the token is signed with.
    fn signed_claims(
        &self,
        token: &str,
        now: SystemTime,
    ) -> Result<(Claims, Option<Arc<str>>), TokenRefused> {
        let (message, signature) = token.rsplit_once('.').ok_or(TokenRefused::Malformed)?;
        let (header, payload) = message.split_once('.').ok_or(TokenRefused::Malformed)?;
        let header = Claims::decode(header).ok_or(TokenRefused::Malformed)?;
        let (name, kind) = self.settings.algorithm.name_and_kind();
        if header.text("alg") != Some(name) {
            return Err(TokenRefused::Algorithm);
        }
        // Source: RFC 7515 section 4.1.11: whoever does not understand what is critical must refuse.
        if header.find("crit").is_some() {
            return Err(TokenRefused::Critical);
        }
        let Found { key, id } = self.keys.find(header.text("kid"), now)?;
        match jsonwebtoken::crypto::verify(signature, message.as_bytes(), &key, kind) {
            Ok(true) => {
                let claims = Claims::decode(payload).ok_or(TokenRefused::Malformed)?;
                Ok((claims, id))
            }
            Ok(false) => Err(TokenRefused::Signature),
            Err(error) => match error.kind() {
                // A set may hold keys of other kinds.
                ErrorKind::InvalidAlgorithm => Err(TokenRefused::Algorithm),
                _ => Err(TokenRefused::Signature),
            },
        }
    }

    /// When the token ends; none is never.
    fn check_times(
        &self,
        claims: &Claims,
        now: SystemTime,
    ) -> Result<Option<SystemTime>, TokenRefused> {
        let at = |name: &str| match claims.find(name) {
            None | Some(Bson::Null) => Ok(None),
            Some(Bson::Double(seconds)) => time_at(*seconds).map(Some).ok_or(TokenRefused::Time),
            Some(_) => Err(TokenRefused::Malformed),
        };
        let expires_at = at("exp")?;
        let leeway = self.settings.leeway;
        let expires_at = expires_at.map(|time| time.checked_add(leeway).unwrap_or(time));
        let lies_ahead = |time: Option<SystemTime>| time.is_some_and(|time| time > now + leeway);
        let is_over = expires_at.is_some_and(|time| time <= now);
        if is_over || lies_ahead(at("nbf")?) || lies_ahead(at("iat")?) {
            return Err(TokenRefused::Time);
        }
        Ok(expires_at)
    }

    fn check_issuer_and_audience(&self, claims: &Claims) -> Result<(), TokenRefused> {
        if self
            .settings
            .issuer
            .as_deref()
            .is_some_and(|issuer| claims.text("iss") != Some(issuer))
        {
            return Err(TokenRefused::Issuer);
        }
        let given: Vec<&str> = match claims.find("aud") {
            Some(Bson::String(one)) => vec![one],
            Some(Bson::Array(several)) => several.iter().filter_map(Bson::as_str).collect(),
            Some(_) | None => Vec::new(),
        };
        if self
            .settings
            .audience
            .iter()
            .all(|wanted| given.contains(&wanted.as_str()))
        {
            return Ok(());
        }
        Err(TokenRefused::Audience)
    }

    /// The roles: the claim must be there, null is none, numbers are taken as text.
    fn roles(&self, claims: &Claims) -> Result<Vec<String>, TokenRefused> {
        match claims.find(&self.settings.roles_claim) {
            Some(Bson::Null) => Ok(Vec::new()),
            Some(Bson::Array(roles)) => Ok(roles.iter().filter_map(role).collect()),
            Some(_) | None => Err(TokenRefused::Roles),
        }
    }
}

fn role(value: &Bson) -> Option<String> {
    match value {
        Bson::String(name) => Some(name.clone()),
        Bson::Double(number) => Some(number.to_string()),
        _ => None,
    }
}

fn time_at(seconds: f64) -> Option<SystemTime> {
    let since = Duration::try_from_secs_f64(seconds.max(0.0)).ok()?;
    UNIX_EPOCH.checked_add(since)
}

/// What `@user` is: all claims, in the order of a Java hash map.
fn properties(claims: &Claims) -> Document {
    claims
        .in_hash_order()
        .map(|(name, value)| (name.to_owned(), value.clone()))
        .collect()
}
