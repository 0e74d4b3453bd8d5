//! Comparing passwords: slowly on purpose, off the reactor, bounded, and once.
//!
//! bcrypt runs on tokio's blocking threads, a few at a time; the others wait in a bounded queue, and not for long. A password
//! found right is remembered as a digest under a key of this process, bound to the name and the stored hash: a changed hash
//! is another digest. A wrong one is never remembered, so it costs what it costs, and an unknown user costs the same.

use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hmac::{Hmac, Mac};
use lru::LruCache;
use sha2::Sha256;
use subtle::ConstantTimeEq;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tracing::warn;
use zeroize::Zeroizing;

use super::users::{PasswordKind, Unavailable};

/// How much work logins may be.
#[derive(Clone, Debug)]
pub struct PasswordSettings {
    /// How many hashes are computed at once.
    pub concurrent: usize,
    /// How many logins may wait for that; one more is told to come back.
    pub waiting_max: usize,
    /// How long a login waits.
    pub wait: Duration,
    /// How many right passwords are remembered.
    pub remembered_max: usize,
    /// How long a right password is remembered.
    pub remembered_for: Duration,
}

impl Default for PasswordSettings {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        Self {
            concurrent: cores.div_ceil(2),
            waiting_max: 1024,
            wait: Duration::from_secs(5),
            remembered_max: 10_000,
            remembered_for: Duration::from_secs(20 * 60),
        }
    }
}

pub(super) struct Passwords {
    /// Dies with the process, so that a digest is worth nothing outside it.
    key: Zeroizing<[u8; 32]>,
    remembered: Mutex<LruCache<Digest, Instant>>,
    remembered_for: Duration,
    permits: Arc<Semaphore>,
    waiting: AtomicUsize,
    waiting_max: usize,
    wait: Duration,
    /// The cost of the last real hash: what an unknown user costs.
    cost: AtomicU32,
}

type Digest = [u8; 32];

impl Passwords {
    pub(super) fn new(settings: &PasswordSettings) -> Self {
        let remembered_max =
            NonZeroUsize::new(settings.remembered_max).unwrap_or(NonZeroUsize::MIN);
        Self {
            key: Zeroizing::new(rand::random()),
            remembered: Mutex::new(LruCache::new(remembered_max)),
            remembered_for: settings.remembered_for,
            permits: Arc::new(Semaphore::new(settings.concurrent.max(1))),
            waiting: AtomicUsize::new(0),
            waiting_max: settings.waiting_max,
            wait: settings.wait,
            cost: AtomicU32::new(COST_USUAL),
        }
    }

    /// Whether the password is the stored one. Without a usable stored one it is not, after the same work.
    ///
    /// # Errors
    /// Too many logins wait, or this one waited too long.
    pub(super) async fn verify(
        &self,
        name: &str,
        stored: Option<&str>,
        password: &Zeroizing<String>,
        kind: PasswordKind,
    ) -> Result<bool, Unavailable> {
        match kind {
            PasswordKind::Plain => Ok(self.equals(stored, password)),
            PasswordKind::Bcrypt => self.matches_hash(name, stored, password).await,
        }
    }

    /// Compares in constant time; digests hide the lengths.
    fn equals(&self, stored: Option<&str>, password: &str) -> bool {
        let usable = stored.is_some_and(|stored| !stored.is_empty());
        let wanted = self.digest(&[stored.unwrap_or_default()]);
        let given = self.digest(&[password]);
        usable & bool::from(wanted.ct_eq(&given))
    }

    async fn matches_hash(
        &self,
        name: &str,
        stored: Option<&str>,
        password: &Zeroizing<String>,
    ) -> Result<bool, Unavailable> {
        let hash = stored.and_then(|stored| usable_hash(name, stored));
        let digest = self.digest(&[name, hash.unwrap_or_default(), password]);
        if hash.is_some() && self.remembers(&digest) {
            return Ok(true);
        }
        let permit = self.permit().await?;
        // Whoever waited beside the same login has been proved right by it.
        if hash.is_some() && self.remembers(&digest) {
            return Ok(true);
        }
        let cost = hash
            .and_then(cost_of)
            .unwrap_or_else(|| self.cost.load(Ordering::Relaxed));
        self.cost.store(cost, Ordering::Relaxed);
        let work = Work {
            hash: hash.map(str::to_owned),
            cost,
            password: password.clone(),
            _permit: permit,
        };
        let right = tokio::task::spawn_blocking(move || work.run())
            .await
            .map_err(|error| Unavailable(format!("comparing a password failed: {error}")))?;
        if right {
            self.remember(digest);
        }
        Ok(right)
    }

    /// A place to work in. It goes with the work: a client that leaves does not make room for more than there is.
    async fn permit(&self) -> Result<OwnedSemaphorePermit, Unavailable> {
        let place = Waiting::enter(&self.waiting, self.waiting_max)?;
        let permit =
            tokio::time::timeout(self.wait, Arc::clone(&self.permits).acquire_owned()).await;
        drop(place);
        match permit {
            Ok(Ok(permit)) => Ok(permit),
            Ok(Err(_)) | Err(_) => Err(Unavailable("too many logins at once".to_owned())),
        }
    }

    fn digest(&self, parts: &[&str]) -> Digest {
        let mut mac = Hmac::<Sha256>::new_from_slice(self.key.as_slice())
            .expect("invariant: HMAC takes a key of any length");
        for part in parts {
            mac.update(&(part.len() as u64).to_le_bytes());
            mac.update(part.as_bytes());
        }
        mac.finalize().into_bytes().into()
    }

    fn remembers(&self, digest: &Digest) -> bool {
        let mut remembered = self
            .remembered
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        match remembered.get(digest) {
            Some(since) if since.elapsed() < self.remembered_for => true,
            Some(_) => {
                remembered.pop(digest);
                false
            }
            None => false,
        }
    }

    fn remember(&self, digest: Digest) {
        let mut remembered = self
            .remembered
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        remembered.put(digest, Instant::now());
    }
}

/// A place in the queue.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn enter(waiting: &'a AtomicUsize, waiting_max: usize) -> Result<Self, Unavailable> {
        let place = Self(waiting);
        if waiting.fetch_add(1, Ordering::Relaxed) >= waiting_max {
            return Err(Unavailable("too many logins wait".to_owned()));
        }
        Ok(place)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// One hash to compute.
struct Work {
    hash: Option<String>,
    cost: u32,
    password: Zeroizing<String>,
    _permit: OwnedSemaphorePermit,
}

impl Work {
    fn run(self) -> bool {
        match &self.hash {
            Some(hash) => bcrypt::verify(self.password.as_bytes(), hash).unwrap_or(false),
            None => {
                let bytes = self.password.as_bytes();
                let seen = &bytes[..bytes.len().min(BCRYPT_BYTES_MAX)];
                let hash = bcrypt::bcrypt(self.cost, rand::random(), seen);
                // The result is used, so that the work is not optimised away, and never right.
                hash.iter().all(|_| false)
            }
        }
    }
}

/// The stored text, if it is a bcrypt hash that may be computed.
fn usable_hash<'a>(name: &str, stored: &'a str) -> Option<&'a str> {
    let known = ["$2a$", "$2b$", "$2y$"]
        .iter()
        .any(|version| stored.starts_with(version));
    match cost_of(stored).filter(|_| known)? {
        COST_MIN..=COST_MAX => Some(stored),
        cost => {
            warn!(
                user.name = name,
                cost,
                "the stored hash of user {name} has a cost that is not computed: the login is refused"
            );
            None
        }
    }
}

fn cost_of(hash: &str) -> Option<u32> {
    hash.split('$').nth(2)?.parse().ok()
}

/// What bcrypt sees of a password.
const BCRYPT_BYTES_MAX: usize = 72;
/// The cost of an unknown user as long as no hash has been seen; RESTHeart's own.
const COST_USUAL: u32 = 12;
const COST_MIN: u32 = 4;
/// Some four seconds of work; a stored hash of more would hold a thread for hours.
const COST_MAX: u32 = 16;
