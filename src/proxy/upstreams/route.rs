//! The way of one request to an upstream that takes it.

use std::{sync::Arc, time::Duration};

use http::StatusCode;
use tokio::time::Instant;

use super::{Lent, Upstreams, bit};
use crate::proxy::{
    ProxyError,
    pool::{Pool, Upstream},
};

/// Which upstream a request is at, and which it has been to.
///
/// Moving on is for what has not been sent yet, whatever it is: as often as there are upstreams, and no longer than
/// `connect_timeout` in all. What has been sent is repeated at most once, elsewhere if somebody else is well.
#[derive(Debug)]
pub(crate) struct Route<'a> {
    upstreams: &'a Upstreams,
    index: usize,
    lent: Option<Lent>,
    /// Those that took no connection, a bit for each.
    tried: u64,
    /// By when there must be a connection.
    until: Option<Instant>,
    /// What is repeated goes out on a connection that was never used: a second kept one may have died as well.
    only_fresh: bool,
}

impl Upstreams {
    /// Begins the way of a request.
    pub(crate) fn route(&self) -> Route<'_> {
        let mut route = Route {
            upstreams: self,
            index: 0,
            lent: None,
            tried: 0,
            until: None,
            only_fresh: false,
        };
        if self.are_several() {
            route.go_to(self.choose(0));
        }
        route
    }
}

impl Route<'_> {
    /// Which upstream it is at.
    pub(crate) fn index(&self) -> usize {
        self.index
    }

    pub(crate) fn pool(&self) -> &Arc<Pool> {
        &self.upstreams.members[self.index].pool
    }

    /// Counts the request among those under way, where there are several upstreams.
    pub(super) fn lend(&mut self) -> Option<Lent> {
        match self.lent.take() {
            // An earlier connection took it with it.
            None if self.upstreams.are_several() => {
                Some(Lent::new(&self.upstreams.members[self.index].load))
            }
            lent => lent,
        }
    }

    /// Lends a kept connection, if there is one that may still be good.
    pub(crate) fn kept(&mut self) -> Option<Box<Upstream>> {
        if self.only_fresh {
            return None;
        }
        let mut kept = self.pool().kept()?;
        kept.lent = self.lend();
        Some(kept)
    }

    /// Makes a connection, or lends a kept one of another upstream where this one takes none.
    ///
    /// # Errors
    /// [`ProxyError::Connect`], [`ProxyError::ConnectTimeout`]: nobody takes one.
    pub(crate) async fn fresh(&mut self) -> Result<Box<Upstream>, ProxyError> {
        loop {
            match self.connect().await {
                Ok(fresh) => return Ok(fresh),
                Err(error) => self.move_on(error)?,
            }
            if let Some(kept) = self.kept() {
                return Ok(kept);
            }
        }
    }

    /// Makes a connection.
    ///
    /// # Errors
    /// As [`Self::fresh`].
    pub(crate) async fn fresh_only(&mut self) -> Result<Box<Upstream>, ProxyError> {
        loop {
            match self.connect().await {
                Ok(fresh) => return Ok(fresh),
                Err(error) => self.move_on(error)?,
            }
        }
    }

    async fn connect(&mut self) -> Result<Box<Upstream>, ProxyError> {
        let patience = self.patience();
        let stream = self.pool().connect(patience).await?;
        let mut fresh = Box::new(Upstream::new(stream));
        fresh.lent = self.lend();
        Ok(fresh)
    }

    /// Goes to another upstream with what could not be sent to this one.
    ///
    /// # Errors
    /// What it was given, if there is none left, or no time.
    pub(crate) fn move_on(&mut self, error: ProxyError) -> Result<(), ProxyError> {
        self.failed(&error);
        if !self.upstreams.are_several() {
            return Err(error);
        }
        self.tried |= bit(self.index);
        if self.until.is_some_and(|until| until <= Instant::now()) {
            return Err(error);
        }
        let Some(other) = self.upstreams.choose(self.tried) else {
            return Err(error);
        };
        tracing::debug!(%error, "nothing was sent yet, so another upstream is tried");
        self.go_to(Some(other));
        Ok(())
    }

    /// Whether what may be sent twice is sent again: to the only upstream there is, if that may just have closed what was idle.
    pub(crate) fn may_repeat(&self, was_kept: bool) -> bool {
        was_kept || self.upstreams.are_several()
    }

    /// Goes elsewhere with what was sent and had no answer, if somebody else is well. `failure`: if that is one.
    pub(crate) fn repeat(&mut self, failure: Option<&ProxyError>) {
        self.only_fresh = true;
        self.until = None;
        if let Some(error) = failure {
            self.failed(error);
        }
        if self.upstreams.are_several() {
            let members = &self.upstreams.members;
            let other = self.upstreams.choose(self.tried | bit(self.index));
            self.go_to(other.filter(|other| !members[*other].marks.is_aside()));
        }
    }

    /// Notes that the request was answered.
    pub(crate) fn answered(&self, status: StatusCode) {
        self.upstreams.answered(self.index, status);
    }

    /// Notes that it was not.
    pub(crate) fn failed(&self, error: &ProxyError) {
        self.upstreams.failed(self.index, error);
    }

    /// How many took no connection.
    #[cfg(test)]
    pub(super) fn tried_count(&self) -> u32 {
        self.tried.count_ones()
    }

    /// Stays where nobody is named.
    fn go_to(&mut self, index: Option<usize>) {
        if let Some(index) = index {
            self.index = index;
            self.lent = Some(Lent::new(&self.upstreams.members[index].load));
        }
    }

    /// How long this upstream may take to accept a connection: all the time there is, if nobody else could be tried behind
    /// it with better hope.
    pub(super) fn patience(&mut self) -> Duration {
        let all = self.pool().settings().connect_timeout;
        if !self.upstreams.are_several() {
            return all;
        }
        let now = Instant::now();
        let left = *self.until.get_or_insert(now + all) - now;
        let members = &self.upstreams.members;
        let is_aside = members[self.index].marks.is_aside();
        let others = members.iter().enumerate().filter(|(index, other)| {
            let is_left = (self.tried | bit(self.index)) & bit(*index) == 0;
            is_left && (is_aside || !other.marks.is_aside())
        });
        let sharing = others.count().min(SHARING_MAX - 1) + 1;
        left / u32::try_from(sharing).unwrap_or(1)
    }
}

/// Among so many tries the time to connect is shared; those behind them share what is left. Refusals take no time, and that
/// more than one upstream says nothing at all is rare.
const SHARING_MAX: usize = 3;
