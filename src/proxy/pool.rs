//! Connections to the upstream: made, lent to one request at a time, kept for the next.
//!
//! Nothing is ever pipelined, and no connection is used whose end may have come: one that was idle for too long is
//! dropped, one whose peer has closed gives the request back unsent (see [`Upstream::exchange`]).

mod address;
mod names;
mod pace;
mod stream;
mod upload;
mod upstream;
mod upstream_body;

use std::{
    fmt, io,
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::time::{Instant, timeout};
use tokio_rustls::TlsConnector;

use super::{BodyError, upstreams::HealthSettings};
use crate::lifecycle::Cores;

pub use self::address::{AddressError, UpstreamAddress};
pub(super) use self::{names::Names, stream::tls_connector};
pub(crate) use self::{
    pace::TooSlow,
    stream::UpstreamStream,
    upload::{RequestBody, Upload},
    upstream::{Asked, ExchangeError, Upstream},
    upstream_body::{Keeping, UpstreamBody},
};

/// How the upstream is reached, and how long we wait for it.
#[derive(Clone, Debug)]
pub struct ProxySettings {
    /// Where it is.
    pub upstream: UpstreamAddress,
    /// Where the same API is to be had as well; at most [`OTHERS_MAX`].
    pub others: Vec<UpstreamAddress>,
    /// How it is found out which of several can be used.
    pub health: HealthSettings,
    /// A kept connection is not used after this; less if the upstream says so (`Keep-Alive: timeout`, less 1 s).
    pub idle: Duration,
    /// The authorities that may have signed the certificate of an https upstream, PEM; `None`: the machine's own.
    pub authorities: Option<PathBuf>,
    /// How many idle connections are kept, to all upstreams together.
    pub idle_connections_max: usize,
    /// How long connecting may take, name lookup and TLS included, and however many upstreams are tried.
    pub connect_timeout: Duration,
    /// How long the head of an answer may take, from when the request was sent, or the last part of its body.
    pub response_timeout: Duration,
    /// How many bytes a second a client must send of a request's body, on the average of five seconds in which it is waited for; 0: as
    /// few as it likes.
    pub body_rate: u64,
    /// Whether `Expect: 100-continue` is the upstream's to answer, rather than ours.
    pub forward_expect: bool,
}

impl ProxySettings {
    /// Returns the default settings for an upstream.
    pub fn new(upstream: UpstreamAddress) -> Self {
        Self {
            upstream,
            others: Vec::new(),
            health: HealthSettings::default(),
            authorities: None,
            idle: Duration::from_secs(4),
            idle_connections_max: 1024,
            connect_timeout: Duration::from_secs(5),
            response_timeout: Duration::from_secs(60),
            body_rate: 0,
            forward_expect: false,
        }
    }
}

/// Why a request has no answer from the upstream.
#[derive(Debug, thiserror::Error)]
pub enum ProxyError {
    /// No usable root certificate for an https upstream.
    #[error("no usable root certificate on this machine")]
    Roots,
    /// TLS cannot be set up.
    #[error("TLS cannot be set up: {0}")]
    Tls(String),
    /// No connection was made.
    #[error("the upstream cannot be reached: {0}")]
    Connect(#[source] io::Error),
    /// No connection was made in time.
    #[error("the upstream did not accept a connection in time")]
    ConnectTimeout,
    /// The head of the answer did not come in time.
    #[error("the upstream did not answer in time")]
    ResponseTimeout,
    /// The connection ended before the answer's head.
    #[error("the upstream broke off: {0}")]
    Broken(#[source] io::Error),
    /// The answer is not HTTP/1.
    #[error("the upstream's answer cannot be read")]
    Answer,
    /// The client's request body broke off or is malformed.
    #[error("the request's body broke off: {0}")]
    RequestBody(#[source] BodyError),
    /// The client sends its request's body more slowly than it must.
    #[error("the request's body comes too slowly")]
    SlowBody,
}

/// The connections to one upstream.
pub(crate) struct Pool {
    settings: ProxySettings,
    tls: Option<TlsConnector>,
    names: Names,
    /// What is kept, by the thread it was used on: a connection lent to another thread would wake the first one for each
    /// byte. In each the last one used is the first one lent, so that few stay warm. Held for a push or a pop only.
    idle: Vec<Mutex<Vec<Idle>>>,
    /// How many are kept in all, by every pool that shares this.
    idle_count: Arc<AtomicUsize>,
}

#[derive(Debug)]
struct Idle {
    upstream: Box<Upstream>,
    until: Instant,
}

impl Pool {
    /// The pool for `settings.upstream`. `tls`: needed for an https one. `idle_count`: what it and others keep.
    pub(super) fn new(
        settings: ProxySettings,
        tls: Option<TlsConnector>,
        idle_count: Arc<AtomicUsize>,
    ) -> Self {
        Self {
            tls,
            settings,
            names: Names::default(),
            idle: (0..IDLE_SHARES).map(|_| Mutex::default()).collect(),
            idle_count,
        }
    }

    pub(crate) fn settings(&self) -> &ProxySettings {
        &self.settings
    }

    /// Lends a kept connection, if there is one that may still be good.
    pub(crate) fn kept(&self) -> Option<Box<Upstream>> {
        let mut idle = lock(self.share());
        let newest = idle.pop()?;
        self.idle_count.fetch_sub(1, Ordering::Relaxed);
        if newest.until > Instant::now() {
            return Some(newest.upstream);
        }
        // Older ones mostly ended earlier; what is left is swept. Closing sockets needs no lock.
        let ended = std::mem::take(&mut *idle);
        self.idle_count.fetch_sub(ended.len(), Ordering::Relaxed);
        drop(idle);
        drop(ended);
        None
    }

    /// Makes a connection, in this time.
    ///
    /// # Errors
    /// [`ProxyError::Connect`], [`ProxyError::ConnectTimeout`].
    pub(crate) async fn connect(&self, within: Duration) -> Result<UpstreamStream, ProxyError> {
        let (upstream, tls) = (&self.settings.upstream, self.tls.as_ref());
        let connecting = UpstreamStream::connect(upstream, tls, &self.names);
        match timeout(within, connecting).await {
            Ok(Ok(stream)) => Ok(stream),
            Ok(Err(error)) => Err(ProxyError::Connect(error)),
            Err(_elapsed) => Err(ProxyError::ConnectTimeout),
        }
    }

    /// Keeps a connection whose answer has ended. `advised`: what the upstream's `Keep-Alive` allows.
    pub(crate) fn keep(&self, upstream: Box<Upstream>, advised: Option<Duration>) {
        let idle_max = advised.map_or(self.settings.idle, |advised| {
            advised.min(self.settings.idle)
        });
        if idle_max.is_zero() {
            return;
        }
        let until = Instant::now() + idle_max;
        // Two threads that count at once may keep one each too many, which harms nobody.
        if self.idle_count.load(Ordering::Relaxed) < self.settings.idle_connections_max {
            self.idle_count.fetch_add(1, Ordering::Relaxed);
            lock(self.share()).push(Idle { upstream, until });
        }
    }

    /// Closes the connections that have been idle for too long.
    pub(crate) fn sweep(&self) {
        let now = Instant::now();
        for share in &self.idle {
            let mut ended = Vec::new();
            let mut idle = lock(share);
            let mut at = 0;
            while at < idle.len() {
                if idle[at].until > now {
                    at += 1;
                } else {
                    ended.push(idle.swap_remove(at));
                }
            }
            self.idle_count.fetch_sub(ended.len(), Ordering::Relaxed);
            drop(idle);
            drop(ended);
        }
    }

    /// Closes all idle connections.
    pub(crate) fn clear(&self) {
        for share in &self.idle {
            let ended = std::mem::take(&mut *lock(share));
            self.idle_count.fetch_sub(ended.len(), Ordering::Relaxed);
        }
    }

    /// What the caller's thread keeps; all threads that are no cores share one.
    fn share(&self) -> &Mutex<Vec<Idle>> {
        let place = Cores::here().map_or(0, |core| core + 1);
        &self.idle[place % IDLE_SHARES]
    }
}

fn lock(idle: &Mutex<Vec<Idle>>) -> std::sync::MutexGuard<'_, Vec<Idle>> {
    // Nothing panics while it is held, and a half-done push or pop cannot be seen.
    idle.lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// More upstreams than these and the first have no place in the set of those that a request has tried.
pub const OTHERS_MAX: usize = 63;

/// More than this many threads share what they keep.
const IDLE_SHARES: usize = 65;

impl fmt::Debug for Pool {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Pool({:?})", self.settings.upstream)
    }
}
