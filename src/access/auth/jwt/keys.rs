//! What tokens are signed with: one key for ever, or a set that is fetched (RFC 7517) and changes.
//!
//! A set is trusted for a while after it was fetched; when it cannot be fetched for longer, no token counts. A token that
//! names a key which is not in the set makes it be fetched again, at most every few seconds.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwapOption;
use jsonwebtoken::DecodingKey;
use jsonwebtoken::jwk::{AlgorithmParameters, Jwk, KeyOperations, PublicKeyUse};
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::{Notify, watch};
use tokio::time::timeout;

use super::{JwtAlgorithm, JwtError, JwtKey, TokenRefused};

/// Where keys are looked for.
pub(super) enum Keys {
    One(Arc<DecodingKey>),
    Set(Arc<KeySet>),
}

/// The key of a token.
pub(super) struct Found {
    pub(super) key: Arc<DecodingKey>,
    /// How the set names it; none where there is no set.
    pub(super) id: Option<Arc<str>>,
}

impl Keys {
    pub(super) fn new(key: &JwtKey, algorithm: JwtAlgorithm) -> Result<Self, JwtError> {
        match key {
            JwtKey::Text(text) => one(text, algorithm).map(Arc::new).map(Self::One),
            JwtKey::Set(_) if algorithm.is_symmetric() => Err(JwtError(
                "a set of public keys verifies no HS algorithm".to_owned(),
            )),
            JwtKey::Set(set) => Ok(Self::Set(Arc::clone(set))),
        }
    }

    pub(super) fn find(&self, id: Option<&str>, now: SystemTime) -> Result<Found, TokenRefused> {
        match self {
            Self::One(key) => Ok(Found {
                key: Arc::clone(key),
                id: None,
            }),
            Self::Set(set) => set.find(id, now),
        }
    }
}

fn one(text: &str, algorithm: JwtAlgorithm) -> Result<DecodingKey, JwtError> {
    if text.is_empty() {
        return Err(JwtError("the key is empty".to_owned()));
    }
    let wrong = |what: &str, error| JwtError(format!("the key is no {what}: {error}"));
    match algorithm {
        JwtAlgorithm::Hs256 | JwtAlgorithm::Hs384 | JwtAlgorithm::Hs512 => {
            Ok(DecodingKey::from_secret(text.as_bytes()))
        }
        JwtAlgorithm::Es256 | JwtAlgorithm::Es384 => DecodingKey::from_ec_pem(text.as_bytes())
            .map_err(|error| wrong("public key of an elliptic curve, as PEM", error)),
        JwtAlgorithm::EdDsa => DecodingKey::from_ed_pem(text.as_bytes())
            .map_err(|error| wrong("public Ed25519 key, as PEM", error)),
        JwtAlgorithm::Rs256
        | JwtAlgorithm::Rs384
        | JwtAlgorithm::Rs512
        | JwtAlgorithm::Ps256
        | JwtAlgorithm::Ps384
        | JwtAlgorithm::Ps512 => {
            let pem = if text.contains("-----BEGIN") {
                text.to_owned()
            } else {
                let packed: String = text.split_whitespace().collect();
                format!("-----BEGIN CERTIFICATE-----\n{packed}\n-----END CERTIFICATE-----\n")
            };
            DecodingKey::from_rsa_pem(pem.as_bytes())
                .map_err(|error| wrong("RSA certificate or public key", error))
        }
    }
}

/// Public keys that are fetched, by their names. Whoever fetches calls [`KeySet::replace`]; [`KeySet::wanted`] says when.
#[derive(Debug)]
pub struct KeySet {
    trusted_for: Duration,
    keys: ArcSwapOption<Fetched>,
    wanted: Notify,
    replaced: watch::Sender<u64>,
}

/// As it is published.
#[derive(Deserialize)]
struct Set {
    keys: Vec<Value>,
}

struct Fetched {
    by_id: HashMap<Arc<str>, Arc<DecodingKey>>,
    at: SystemTime,
}

impl std::fmt::Debug for Fetched {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.by_id.keys()).finish()
    }
}

impl KeySet {
    /// An empty set, by which no token counts. What is put in counts for `trusted_for`.
    pub fn new(trusted_for: Duration) -> Self {
        Self {
            trusted_for,
            keys: ArcSwapOption::empty(),
            wanted: Notify::new(),
            replaced: watch::Sender::new(0),
        }
    }

    /// Takes a fetched set. Keys for encryption, secrets, and kinds that are not known are left out.
    ///
    /// # Errors
    /// It is no set, or none of its keys can be used; the one before stays.
    pub fn replace(&self, json: &[u8], now: SystemTime) -> Result<usize, JwtError> {
        let set: Set = serde_json::from_slice(json)
            .map_err(|error| JwtError(format!("it is no set of keys: {error}")))?;
        let mut by_id = HashMap::new();
        for (index, key) in set.keys.into_iter().take(KEYS_MAX).enumerate() {
            // What is not known is left out (RFC 7517 section 5).
            let Ok(key) = serde_json::from_value::<Jwk>(key) else {
                continue;
            };
            let Some(decoding) = usable(&key) else {
                continue;
            };
            let id = key.common.key_id.clone();
            let id = id.unwrap_or_else(|| format!("{UNNAMED}{index}"));
            by_id.insert(Arc::from(id), Arc::new(decoding));
        }
        if by_id.is_empty() {
            return Err(JwtError("none of its keys can be used".to_owned()));
        }
        let count = by_id.len();
        self.keys.store(Some(Arc::new(Fetched { by_id, at: now })));
        self.replaced.send_modify(|version| *version += 1);
        Ok(count)
    }

    /// Waits until a token was signed with a key that is not in the set.
    ///
    /// # Cancel safety
    /// Safe.
    pub async fn wanted(&self) {
        self.wanted.notified().await;
    }

    /// Asks for the set to be fetched, and waits for that, but not for long.
    pub(in crate::access::auth) async fn ask(&self) {
        let mut replaced = self.replaced.subscribe();
        self.wanted.notify_one();
        // Over time: the token is judged by the set that there is.
        let _ = timeout(ASK_WAIT, replaced.changed()).await;
    }

    /// Whether it holds a key of that name.
    pub(super) fn has(&self, id: &str) -> bool {
        let keys = self.keys.load();
        keys.as_ref()
            .is_some_and(|keys| keys.by_id.contains_key(id))
    }

    fn find(&self, id: Option<&str>, now: SystemTime) -> Result<Found, TokenRefused> {
        let keys = self.keys.load();
        let keys = keys.as_ref().ok_or(TokenRefused::KeysStale)?;
        let age = now.duration_since(keys.at).unwrap_or_default();
        if age > self.trusted_for {
            return Err(TokenRefused::KeysStale);
        }
        let found = match id {
            Some(id) => keys.by_id.get_key_value(id),
            // Without a name it can only be the one that there is.
            None if keys.by_id.len() == 1 => keys.by_id.iter().next(),
            None => None,
        };
        let (id, key) = found.ok_or(TokenRefused::Key)?;
        Ok(Found {
            key: Arc::clone(key),
            id: Some(Arc::clone(id)),
        })
    }
}

fn usable(key: &Jwk) -> Option<DecodingKey> {
    let common = &key.common;
    let is_for_signatures = matches!(common.public_key_use, None | Some(PublicKeyUse::Signature));
    let verifies = common
        .key_operations
        .as_ref()
        .is_none_or(|operations| operations.contains(&KeyOperations::Verify));
    // A secret in a public place is none.
    let is_public = !matches!(key.algorithm, AlgorithmParameters::OctetKey(_));
    if !(is_for_signatures && verifies && is_public) {
        return None;
    }
    DecodingKey::from_jwk(key).ok()
}

/// No real set has more.
const KEYS_MAX: usize = 100;

/// How long a token waits for its key: fetching one set takes a round trip.
const ASK_WAIT: Duration = Duration::from_secs(2);

/// The name of a key that has none, which no token can say: a token that names none may mean it.
const UNNAMED: &str = "\0";
