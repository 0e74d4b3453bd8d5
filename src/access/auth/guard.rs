//! Too many failed logins, from one address or for one user.
//!
//! RESTHeart's `bruteForceAttackGuard` answers wrong credentials as before and right ones with 429, which tells them apart.
//! Here all that is asked gets the same answer until the window has passed.
//!
//! Source: compat 8.8; golden `bruteforce`.

use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroUsize;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use lru::LruCache;
use tokio::time::Instant;

/// How many failed logins are borne.
#[derive(Clone, Debug)]
pub struct GuardSettings {
    /// From one address in a window; 0: any number. An address of IPv6 is its /64.
    pub per_address: usize,
    /// Of one user's name in a window, wherever they come from; 0: any number.
    pub per_user: usize,
    /// How long a failure counts.
    pub window: Duration,
}

impl Default for GuardSettings {
    fn default() -> Self {
        Self {
            per_address: 0,
            per_user: 0,
            window: Duration::from_secs(10),
        }
    }
}

/// Counts failed logins.
pub(crate) struct Guard {
    addresses: Failures<IpAddr>,
    users: Failures<String>,
}

impl Guard {
    pub(crate) fn new(settings: &GuardSettings) -> Self {
        Self {
            addresses: Failures::new(settings.per_address, settings.window),
            users: Failures::new(settings.per_user, settings.window),
        }
    }

    /// Whether nobody from this address is heard now.
    pub(crate) fn refuses_address(&self, address: IpAddr) -> bool {
        self.addresses.are_too_many(&household(address))
    }

    /// Whether nobody of this name is heard now.
    pub(crate) fn refuses_user(&self, name: &str) -> bool {
        self.users.are_too_many(&name.to_owned())
    }

    /// Notes that a request from this address ended without credentials, or with wrong ones.
    pub(crate) fn address_failed(&self, address: IpAddr) {
        self.addresses.add(household(address));
    }

    /// Notes that a password of this name was wrong.
    pub(crate) fn user_failed(&self, name: &str) {
        self.users.add(name.to_owned());
    }
}

/// When the last failures of each were, the oldest first.
struct Failures<K> {
    max: usize,
    window: Duration,
    of: Mutex<LruCache<K, Vec<Instant>>>,
}

impl<K: Hash + Eq> Failures<K> {
    fn new(max: usize, window: Duration) -> Self {
        Self {
            max,
            window,
            of: Mutex::new(LruCache::new(REMEMBERED_MAX)),
        }
    }

    fn are_too_many(&self, key: &K) -> bool {
        if self.max == 0 {
            return false;
        }
        let mut all = self.of.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(failures) = all.get_mut(key) else {
            return false;
        };
        failures.retain(|at| at.elapsed() < self.window);
        failures.len() >= self.max
    }

    fn add(&self, key: K) {
        if self.max == 0 {
            return;
        }
        let mut all = self.of.lock().unwrap_or_else(PoisonError::into_inner);
        let failures = all.get_or_insert_mut(key, Vec::new);
        if failures.len() >= self.max {
            failures.remove(0);
        }
        failures.push(Instant::now());
    }
}

/// Whom an address stands for: of IPv6 whoever has a /64, which is what one customer gets at least.
pub fn household(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
        address => address,
    }
}

/// Whose failures are remembered; beyond it those that failed longest ago are forgotten.
const REMEMBERED_MAX: NonZeroUsize = NonZeroUsize::new(100_000).expect("not zero");

#[cfg(test)]
mod tests;
