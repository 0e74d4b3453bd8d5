//! Forward auth: for APIs that know their users themselves. The credentials of a handshake are shown to the API, and who
//! it says they are is who it is.
//!
//! What the API said is remembered for a while, by a digest of what it was shown. It cannot be told when that changes, so
//! what was let in this way ends by itself ([`ForwardSettings::session`]).

use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use bson::{Bson, Document};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use lru::LruCache;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};

use super::digest::{Digest, Digester};
use super::users::{Unavailable, lookup};
use crate::access::principal::{Mechanism, Principal};
use crate::access::request::RequestHead;

/// Shows credentials to the API.
pub trait Identity: Send + Sync {
    /// A GET with these headers; the answer's status, headers and (bounded) body.
    fn ask(
        &self,
        headers: HeaderMap,
    ) -> BoxFuture<'_, Result<(StatusCode, HeaderMap, Bytes), Unavailable>>;
}

/// How the API is asked, and how its answer is read.
#[derive(Clone, Debug)]
pub struct ForwardSettings {
    /// Which headers of the handshake are credentials: they are shown, nothing else is. Without any, nobody is asked.
    pub shown: Vec<HeaderName>,
    /// Where the name is in a JSON answer; dots lead inside.
    pub name_property: String,
    /// Where the roles are in a JSON answer; dots lead inside.
    pub roles_property: String,
    /// The header of the answer that is the name, where that is not in JSON.
    pub name_header: Option<HeaderName>,
    /// The header of the answer that is the roles, with commas between.
    pub roles_header: Option<HeaderName>,
    /// How long an answer is believed.
    pub remembered_for: Duration,
    /// How long a session may last that was let in so.
    pub session: Duration,
    /// How long an answer is waited for, the wait for one's turn included.
    pub timeout: Duration,
    /// How many questions are under way at once.
    pub concurrent: usize,
}

pub(super) struct ForwardAuth {
    settings: ForwardSettings,
    identity: Arc<dyn Identity>,
    digester: Digester,
    remembered: Mutex<LruCache<Digest, Remembered>>,
    turns: Semaphore,
}

#[derive(Clone)]
struct Remembered {
    /// None: these credentials are nobody's.
    principal: Option<Principal>,
    until: Instant,
}

impl ForwardAuth {
    pub(super) fn new(settings: ForwardSettings, identity: Arc<dyn Identity>) -> Self {
        Self {
            turns: Semaphore::new(settings.concurrent.max(1)),
            settings,
            identity,
            digester: Digester::new(),
            remembered: Mutex::new(LruCache::new(REMEMBERED_MAX)),
        }
    }

    /// Who the API says it is. `cookies_count`: whether the request's cookies may be shown.
    ///
    /// # Errors
    /// The API does not answer in time, or says neither yes nor no.
    pub(super) async fn authenticate(
        &self,
        head: &RequestHead,
        cookies_count: bool,
    ) -> Result<Option<Principal>, Unavailable> {
        let shown = self.shown(head, cookies_count);
        if shown.is_empty() {
            return Ok(None);
        }
        let digest = self.digest(&shown);
        if let Some(principal) = self.recall(&digest) {
            return Ok(principal);
        }
        let asking = async {
            let _turn = self.turns.acquire().await;
            self.identity.ask(question(head, shown)).await
        };
        let answer = timeout(self.settings.timeout, asking).await;
        let late = |_| Unavailable("the API does not say in time who this is".to_owned());
        let (status, headers, body) = answer.map_err(late)??;
        let principal = match status.as_u16() {
            200..=299 => Some(self.read(&headers, &body)?),
            401 | 403 | 404 => None,
            other => {
                let reason = format!("the API answers {other} when asked who this is");
                return Err(Unavailable(reason));
            }
        };
        let remembered = Remembered {
            principal: principal.clone(),
            until: Instant::now() + self.settings.remembered_for,
        };
        self.lock().put(digest, remembered);
        Ok(principal)
    }

    fn shown(&self, head: &RequestHead, cookies_count: bool) -> HeaderMap {
        let mut shown = HeaderMap::new();
        for name in &self.settings.shown {
            if *name == header::COOKIE && !cookies_count {
                continue;
            }
            for value in head.headers.get_all(name) {
                shown.append(name.clone(), value.clone());
            }
        }
        shown
    }

    fn digest(&self, shown: &HeaderMap) -> Digest {
        let parts = shown
            .iter()
            .flat_map(|(name, value)| [name.as_str().as_bytes(), value.as_bytes()]);
        self.digester.of(parts)
    }

    /// What the API said lately; the outer none: nothing.
    #[allow(
        clippy::option_option,
        reason = "no answer, and an answer that says nobody"
    )]
    fn recall(&self, digest: &Digest) -> Option<Option<Principal>> {
        let mut remembered = self.lock();
        let found = remembered.get(digest)?;
        if found.until <= Instant::now() {
            remembered.pop(digest);
            return None;
        }
        // Not longer than from now on: who keeps coming back is asked about again and again.
        let mut principal = found.principal.clone();
        if let Some(principal) = &mut principal {
            principal.expires_at = self.end_of_session();
        }
        Some(principal)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, LruCache<Digest, Remembered>> {
        self.remembered
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn end_of_session(&self) -> Option<SystemTime> {
        SystemTime::now().checked_add(self.settings.session)
    }

    fn read(&self, headers: &HeaderMap, body: &[u8]) -> Result<Principal, Unavailable> {
        let json: Document = serde_json::from_slice(body).unwrap_or_default();
        let at = |path: &str| lookup(&json, path.split('.'));
        let of_header = |name: &Option<HeaderName>| {
            let value = headers.get(name.as_ref()?)?;
            value.to_str().ok().map(str::to_owned)
        };
        let name = of_header(&self.settings.name_header)
            .or_else(|| at(&self.settings.name_property).and_then(text));
        let name = name.filter(|name| !name.is_empty()).ok_or_else(|| {
            Unavailable("the API's answer does not say the user's name".to_owned())
        })?;
        let roles = match of_header(&self.settings.roles_header) {
            Some(roles) => {
                let roles = roles.split(',').map(str::trim);
                roles
                    .filter(|role| !role.is_empty())
                    .map(str::to_owned)
                    .collect()
            }
            None => match at(&self.settings.roles_property) {
                Some(Bson::Array(roles)) => roles.iter().filter_map(text).collect(),
                Some(_) | None => Vec::new(),
            },
        };
        let properties = match json.is_empty() {
            true => bson::doc! { "name": &name, "roles": &roles },
            false => json,
        };
        Ok(Principal {
            name,
            roles,
            properties: Some(properties),
            mechanism: Mechanism::Forward,
            expires_at: self.end_of_session(),
            signed_by: None,
        })
    }
}

/// Names and roles that are whole numbers count by their digits.
fn text(value: &Bson) -> Option<String> {
    match value {
        Bson::String(text) => Some(text.clone()),
        Bson::Int32(number) => Some(number.to_string()),
        Bson::Int64(number) => Some(number.to_string()),
        _ => None,
    }
}

/// What the API is asked: the credentials, and of what request they are. The query stays here: it holds variables.
fn question(head: &RequestHead, mut shown: HeaderMap) -> HeaderMap {
    let address = head.peer.ip().to_canonical().to_string();
    let told = [
        ("x-forwarded-method", head.method.as_str()),
        ("x-forwarded-uri", head.raw_path.as_str()),
        ("x-forwarded-for", address.as_str()),
        ("x-forwarded-proto", head.scheme),
    ];
    for (name, value) in told {
        if let Ok(value) = HeaderValue::from_str(value) {
            shown.insert(name, value);
        }
    }
    if let Some(host) = head.headers.get(header::HOST) {
        shown.insert("x-forwarded-host", host.clone());
    }
    shown
}

/// What is forgotten beyond this is asked again.
const REMEMBERED_MAX: NonZeroUsize = NonZeroUsize::new(10_000).expect("not zero");

#[cfg(test)]
mod tests;
