//! Comparing passwords: slowly on purpose, off the reactor, bounded, and once.
//!
//! bcrypt runs on tokio's blocking threads, a few at a time; the others wait in a bounded and fair queue
//! ([`super::turns`]), and not for long. The same login at the same time, a thousand clients of one user after a restart,
//! is one computation and one place in the queue: the others wait for its result. A password found right is remembered as a
//! digest under a key of this process, bound to the name and the stored hash: a changed hash is another digest. A wrong one
//! is never remembered, so it costs what it costs, and an unknown user costs the same.

use std::collections::HashMap;
use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use lru::LruCache;
use subtle::ConstantTimeEq;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};
use tracing::warn;
use zeroize::Zeroizing;

use super::digest::{Digest, Digester};
use super::turns::{TooMany, Turn, Turns};
use super::users::{PasswordKind, Unavailable};

/// How much work logins may be.
#[derive(Clone, Debug)]
pub struct PasswordSettings {
    /// How many hashes are computed at once.
    pub concurrent: usize,
    /// How many logins may wait for that, half of them from one address; one more is told to come back.
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

/// Who says he is whom, from where.
#[derive(Clone, Copy)]
pub(super) struct Login<'a> {
    pub(super) name: &'a str,
    pub(super) password: &'a Zeroizing<String>,
    pub(super) peer: IpAddr,
}

pub(super) struct Passwords {
    digester: Digester,
    remembered: Mutex<LruCache<Digest, Instant>>,
    remembered_for: Duration,
    /// What is being computed, with where its result will be told.
    flights: Mutex<HashMap<Digest, watch::Receiver<Option<bool>>>>,
    turns: Arc<Turns>,
    wait: Duration,
    /// The cost of the last real hash: what an unknown user costs.
    cost: AtomicU32,
}

impl Passwords {
    pub(super) fn new(settings: &PasswordSettings) -> Self {
        let remembered_max =
            NonZeroUsize::new(settings.remembered_max).unwrap_or(NonZeroUsize::MIN);
        Self {
            digester: Digester::new(),
            remembered: Mutex::new(LruCache::new(remembered_max)),
            remembered_for: settings.remembered_for,
            flights: Mutex::default(),
            turns: Turns::new(settings.concurrent, settings.waiting_max),
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
        login: &Login<'_>,
        stored: Option<&str>,
        kind: PasswordKind,
    ) -> Result<bool, Unavailable> {
        match kind {
            PasswordKind::Plain => Ok(self.equals(stored, login.password)),
            PasswordKind::Bcrypt => self.matches_hash(login, stored).await,
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
        login: &Login<'_>,
        stored: Option<&str>,
    ) -> Result<bool, Unavailable> {
        let Login { name, password, .. } = *login;
        let hash = stored.and_then(|stored| usable_hash(name, stored));
        let digest = self.digest(&[name, hash.unwrap_or_default(), password]);
        let until = Instant::now() + self.wait;
        loop {
            if hash.is_some() && self.remembers(&digest) {
                return Ok(true);
            }
            let mut result = match self.board(digest) {
                Boarding::First(flight) => {
                    let right = self.compute(hash, login).await?;
                    if right {
                        self.remember(digest);
                    }
                    flight.land(right);
                    return Ok(right);
                }
                Boarding::Beside(result) => result,
            };
            match timeout_at(until, result.wait_for(Option::is_some)).await {
                Ok(Ok(right)) => return Ok(*right == Some(true)),
                // Its client left, or it was told to come back: somebody else is the first.
                Ok(Err(_)) => (),
                Err(_) => return Err(too_many()),
            }
        }
    }

    /// Computes the hash, or for want of one does the same work.
    async fn compute(&self, hash: Option<&str>, login: &Login<'_>) -> Result<bool, Unavailable> {
        let turn = self.turns.take(login.peer, login.name, self.wait).await;
        let turn = turn.map_err(|TooMany| too_many())?;
        let cost = hash
            .and_then(cost_of)
            .unwrap_or_else(|| self.cost.load(Ordering::Relaxed));
        self.cost.store(cost, Ordering::Relaxed);
        let work = Work {
            hash: hash.map(str::to_owned),
            cost,
            password: login.password.clone(),
            _turn: turn,
        };
        tokio::task::spawn_blocking(move || work.run())
            .await
            .map_err(|error| Unavailable(format!("comparing a password failed: {error}")))
    }

    /// Joins the same login that is being computed now, or begins.
    fn board(&self, digest: Digest) -> Boarding<'_> {
        let mut flights = self.flights.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(result) = flights.get(&digest) {
            return Boarding::Beside(result.clone());
        }
        let (result, told) = watch::channel(None);
        flights.insert(digest, told);
        Boarding::First(Flight {
            passwords: self,
            digest,
            result,
        })
    }

    /// Takes the only turn, as a test needs it.
    #[cfg(test)]
    pub(super) async fn occupy(&self) -> Turn {
        let here = IpAddr::from([127, 0, 0, 1]);
        let turn = self.turns.take(here, "", self.wait).await;
        turn.expect("nobody is before a test")
    }

    fn digest(&self, parts: &[&str]) -> Digest {
        self.digester.of(parts.iter().map(|part| part.as_bytes()))
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

/// A login among those of the same user and password.
enum Boarding<'a> {
    First(Flight<'a>),
    /// Beside the first, whose result it waits for.
    Beside(watch::Receiver<Option<bool>>),
}

/// A login that is being computed. Dropped before it has landed, it leaves that to the next.
struct Flight<'a> {
    passwords: &'a Passwords,
    digest: Digest,
    result: watch::Sender<Option<bool>>,
}

impl Flight<'_> {
    fn land(self, right: bool) {
        self.result.send_replace(Some(right));
    }
}

impl Drop for Flight<'_> {
    fn drop(&mut self) {
        let flights = &self.passwords.flights;
        let mut flights = flights.lock().unwrap_or_else(PoisonError::into_inner);
        flights.remove(&self.digest);
    }
}

fn too_many() -> Unavailable {
    Unavailable("too many logins at once".to_owned())
}

/// One hash to compute.
struct Work {
    hash: Option<String>,
    cost: u32,
    password: Zeroizing<String>,
    _turn: Turn,
}

impl Work {
    fn run(self) -> bool {
        match &self.hash {
            Some(hash) => bcrypt::verify(self.password.as_bytes(), hash).unwrap_or(false),
            None => {
                let hash =
                    bcrypt::hash_with_salt(self.password.as_bytes(), self.cost, rand::random());
                // The result is looked at, so that the work is not optimised away, and is never right.
                hash.is_ok_and(|hash| hash.get_cost() != self.cost)
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

/// The cost of an unknown user as long as no hash has been seen; RESTHeart's own.
const COST_USUAL: u32 = 12;
const COST_MIN: u32 = 4;
/// Some four seconds of work; a stored hash of more would hold a thread for hours.
const COST_MAX: u32 = 16;
