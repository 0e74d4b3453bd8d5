//! How many sessions there may be: in all, of one user, from one address, of one feed.

use std::net::IpAddr;
use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::access::{Grant, household};
use crate::front::quota::{Quota, Share};
use crate::front::refusal::Refusal;
use crate::mongo::feed::Scope;

/// The bounds of sessions.
#[derive(Clone, Copy, Debug)]
pub struct PlacesSettings {
    /// In all.
    pub sessions_max: usize,
    /// Of one user. Who has not proved who they are counts under the address only.
    pub per_user_max: usize,
    /// From one address, or one IPv6 network.
    pub per_address_max: usize,
    /// Of one feed.
    pub per_feed_max: usize,
}

/// The places of all sessions.
#[derive(Debug)]
pub struct Places {
    all: Arc<Semaphore>,
    all_max: usize,
    users: Arc<Quota<Arc<str>>>,
    addresses: Arc<Quota<IpAddr>>,
    feeds: Arc<Quota<Scope>>,
}

/// One session's place, given back when it is dropped.
#[derive(Debug)]
pub struct Seat {
    _of_all: OwnedSemaphorePermit,
    _of_user: Option<Share<Arc<str>>>,
    _of_address: Share<IpAddr>,
    _of_feed: Option<Share<Scope>>,
}

/// A limit of sessions, and how much of it is used: of several that each may have so many, by the one who has most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// Its key in `[limits]`.
    pub limit: &'static str,
    /// How many there are.
    pub used: usize,
    /// How many there may be.
    pub max: usize,
}

impl Places {
    /// Makes the places.
    pub fn new(settings: PlacesSettings) -> Self {
        let all_max = settings.sessions_max.min(Semaphore::MAX_PERMITS);
        Self {
            all: Arc::new(Semaphore::new(all_max)),
            all_max,
            users: Quota::new(settings.per_user_max),
            addresses: Quota::new(settings.per_address_max),
            feeds: Quota::new(settings.per_feed_max),
        }
    }

    /// Takes a place for a session of whom this was granted to.
    ///
    /// # Errors
    /// 503 if there is none, 429 if this user or this address has as many as it may.
    pub fn take(&self, grant: &Grant) -> Result<Seat, Refusal> {
        let name = grant.principal.as_ref();
        let name = name.map(|principal| Arc::from(principal.name.as_str()));
        self.take_for(name, grant.head().peer().ip())
    }

    fn take_for(&self, user: Option<Arc<str>>, address: IpAddr) -> Result<Seat, Refusal> {
        let of_all = Arc::clone(&self.all).try_acquire_owned();
        let of_all = of_all.map_err(|_| Refusal::limit("sessions", "no more streams"))?;
        let of_address = self.addresses.take(&household(address)).ok_or_else(|| {
            Refusal::own_limit(
                "sessions_per_address",
                "too many open streams from this address",
            )
        })?;
        let of_user = user
            .map(|user| self.users.take(&user).ok_or(()))
            .transpose();
        let of_user = of_user.map_err(|()| {
            Refusal::own_limit("sessions_per_user", "too many open streams of this user")
        })?;
        Ok(Seat {
            _of_all: of_all,
            _of_user: of_user,
            _of_address: of_address,
            _of_feed: None,
        })
    }

    /// Counts the session to the feed that serves it.
    ///
    /// # Errors
    /// 503 if that has as many as it may.
    pub fn on(&self, feed: &Scope, seat: Seat) -> Result<Seat, Refusal> {
        let of_feed = self.feeds.take(feed).ok_or_else(|| {
            Refusal::limit("subscriptions_per_feed", "no more streams of this database")
        })?;
        Ok(Seat {
            _of_feed: Some(of_feed),
            ..seat
        })
    }

    /// How much of each limit is used.
    pub fn usage(&self) -> [Usage; 4] {
        let usage = |limit, used, max| Usage { limit, used, max };
        let (users, addresses, feeds) = (&self.users, &self.addresses, &self.feeds);
        [
            usage(
                "sessions",
                self.all_max - self.all.available_permits(),
                self.all_max,
            ),
            usage("sessions_per_user", users.most_taken(), users.each_max()),
            usage(
                "sessions_per_address",
                addresses.most_taken(),
                addresses.each_max(),
            ),
            usage(
                "subscriptions_per_feed",
                feeds.most_taken(),
                feeds.each_max(),
            ),
        ]
    }
}

#[cfg(test)]
mod tests;
