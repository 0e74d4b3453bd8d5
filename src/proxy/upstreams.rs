//! The upstreams that one API is to be had at: which of them a request goes to, and which are set aside.
//!
//! A request goes to the one with the fewest requests under way, among equals to the one whose turn was longest ago: who
//! is slow gets less, and where all are quick it is plain round robin. Each has its own connections ([`super::pool`]). There is no
//! stickiness: an API behind several addresses keeps no state in one of them.
//!
//! One that fails so often in a row is *set aside*, be it in checks (`checks`) or in requests, and only checks bring it
//! back. Where all are set aside, all are used: the checks may be wrong, and a try costs no more than a refusal does. An
//! answer is an answer, whatever its status.
//!
//! Where there is but one, nothing is counted, measured or locked, and its requests go to it as they always did; that it
//! takes connections is looked at, for those who ask.

mod checks;
mod route;
mod standing;

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use http::{StatusCode, Uri};
use metrics::{Counter, Gauge};
use tokio_rustls::TlsConnector;

use super::{
    ProxyError, ProxySettings, UpstreamAddress,
    classes::Classes,
    pool::{self, OTHERS_MAX, Pool},
};

use self::standing::{Change, Marks, Thresholds};
pub use self::{checks::Unwell, standing::Standing};

/// How it is found out which of several upstreams can be used.
#[derive(Clone, Debug)]
pub struct HealthSettings {
    /// What is asked for with GET and must be answered 2xx or 3xx; `None`: a connection will do.
    pub path: Option<Uri>,
    /// How often each is checked, a fifth more or less.
    pub interval: Duration,
    /// How long a check may take.
    pub timeout: Duration,
    /// So many checks in a row must be passed before one that was set aside is used again.
    pub rise: u32,
    /// So many failed checks in a row, or failed requests, set one aside.
    pub fall: u32,
}

impl Default for HealthSettings {
    fn default() -> Self {
        Self {
            path: None,
            interval: Duration::from_secs(2),
            timeout: Duration::from_secs(1),
            rise: 2,
            fall: 3,
        }
    }
}

/// All of them.
pub(crate) struct Upstreams {
    /// At least one.
    members: Box<[Member]>,
    health: HealthSettings,
    /// Counts the choices.
    turns: AtomicU64,
}

struct Member {
    pool: Arc<Pool>,
    marks: Marks,
    /// Requests under way, tunnels included.
    load: Arc<AtomicUsize>,
    /// Which choice it was last.
    turn: AtomicU64,
    /// Where there are several.
    measures: Option<Measures>,
}

/// A place among the requests under way at one of several upstreams. Dropping it gives it back.
#[derive(Debug)]
pub(crate) struct Lent(Arc<AtomicUsize>);

impl Lent {
    fn new(load: &Arc<AtomicUsize>) -> Self {
        load.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(load))
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Upstreams {
    /// # Errors
    /// [`ProxyError::Roots`] and [`ProxyError::Tls`], for an https upstream.
    ///
    /// # Panics
    /// With more than [`OTHERS_MAX`] others.
    pub(crate) fn new(settings: ProxySettings) -> Result<Self, ProxyError> {
        assert!(settings.others.len() <= OTHERS_MAX, "too many upstreams");
        let are_several = !settings.others.is_empty();
        let idle_count = Arc::default();
        let mut tls: Option<TlsConnector> = None;
        let mut members = Vec::with_capacity(1 + settings.others.len());
        for address in std::iter::once(&settings.upstream).chain(&settings.others) {
            if tls.is_none() {
                tls = pool::tls_connector(address, settings.authorities.as_deref())?;
            }
            let own = ProxySettings {
                upstream: address.clone(),
                others: Vec::new(),
                ..settings.clone()
            };
            members.push(Member {
                measures: are_several.then(|| Measures::new(address)),
                pool: Arc::new(Pool::new(own, tls.clone(), Arc::clone(&idle_count))),
                marks: Marks::new(),
                load: Arc::default(),
                turn: AtomicU64::new(0),
            });
        }
        Ok(Self {
            members: members.into(),
            health: settings.health,
            turns: AtomicU64::new(1),
        })
    }

    pub(crate) fn are_several(&self) -> bool {
        self.members.len() > 1
    }

    /// How many bytes a second a client must send of a body.
    pub(crate) fn body_rate(&self) -> u64 {
        self.members[0].pool.settings().body_rate
    }

    /// How long an idle connection is kept.
    pub(crate) fn idle(&self) -> Duration {
        self.members[0].pool.settings().idle
    }

    /// Closes the connections that have been idle for too long.
    pub(crate) fn sweep(&self) {
        for member in &self.members {
            member.pool.sweep();
        }
    }

    /// Tells how each was when that was last found out.
    pub(crate) fn standings(&self) -> Vec<Standing> {
        let standing = |member: &Member| {
            let load = member.load.load(Ordering::Relaxed);
            let address = member.address().clone();
            member
                .marks
                .standing(address, self.are_several().then_some(load))
        };
        self.members.iter().map(standing).collect()
    }

    /// Chooses among those that are not `left_out`, a bit for each: those that are set aside last of all.
    fn choose(&self, left_out: u64) -> Option<usize> {
        let candidates = self.members.iter().enumerate();
        let candidates = candidates.filter(|(index, _)| left_out & bit(*index) == 0);
        let rank = |(_, member): &(usize, &Member)| {
            let load = member.load.load(Ordering::Relaxed);
            let turn = member.turn.load(Ordering::Relaxed);
            (member.marks.is_aside(), load, turn)
        };
        let (index, member) = candidates.min_by_key(rank)?;
        let turn = self.turns.fetch_add(1, Ordering::Relaxed);
        member.turn.store(turn, Ordering::Relaxed);
        Some(index)
    }

    /// Notes a request that was answered.
    fn answered(&self, index: usize, status: StatusCode) {
        let member = &self.members[index];
        if let Some(measures) = &member.measures {
            measures.classes.of(status).increment(1);
            member.marks.answered();
        }
    }

    /// Notes a request that was not, if that is the upstream's doing.
    fn failed(&self, index: usize, error: &ProxyError) {
        let member = &self.members[index];
        let Some(measures) = &member.measures else {
            return;
        };
        let Some(counter) = measures.of_failure(error) else {
            return;
        };
        counter.increment(1);
        let change = member.marks.failed(self.thresholds(), error);
        self.note(member, change);
    }

    fn thresholds(&self) -> Thresholds {
        match self.are_several() {
            true => Thresholds {
                rise: self.health.rise,
                fall: self.health.fall,
            },
            // Nothing rests on it.
            false => Thresholds { rise: 1, fall: 1 },
        }
    }

    /// Says what has changed, and does what follows.
    fn note(&self, member: &Member, change: Option<Change>) {
        let Some(change) = change else { return };
        let upstream = member.address();
        let Some(measures) = &member.measures else {
            match change {
                Change::Back => tracing::info!("the upstream takes connections again"),
                Change::Aside(_) => tracing::warn!("the upstream takes no connections"),
            }
            return;
        };
        match change {
            Change::Back => {
                measures.up.set(1.0);
                tracing::info!(%upstream, "upstream {upstream} is well again");
            }
            Change::Aside(reason) => {
                measures.up.set(0.0);
                // They lead to where nobody may be any more.
                member.pool.clear();
                tracing::warn!(%upstream, reason, "upstream {upstream} is set aside: {reason}");
                if self.members.iter().all(|member| member.marks.is_aside()) {
                    tracing::warn!("no upstream is well, so requests go to all of them");
                }
            }
        }
    }
}

impl Member {
    fn address(&self) -> &UpstreamAddress {
        &self.pool.settings().upstream
    }
}

impl fmt::Debug for Upstreams {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pools = self.members.iter().map(|member| &member.pool);
        formatter.debug_list().entries(pools).finish()
    }
}

fn bit(index: usize) -> u64 {
    1 << index
}

/// `sidestream_upstream_up` and `sidestream_upstream_exchanges_total` of one upstream.
struct Measures {
    up: Gauge,
    classes: Classes,
    unreachable: Counter,
    broken: Counter,
    late: Counter,
}

impl Measures {
    fn new(address: &UpstreamAddress) -> Self {
        let upstream = address.to_string();
        let up = metrics::gauge!("sidestream_upstream_up", "upstream" => upstream.clone());
        up.set(1.0);
        let counter = |outcome: &'static str| {
            let upstream = upstream.clone();
            metrics::counter!("sidestream_upstream_exchanges_total", "upstream" => upstream, "outcome" => outcome)
        };
        Self {
            up,
            classes: Classes::new(counter),
            unreachable: counter("unreachable"),
            broken: counter("broken"),
            late: counter("late"),
        }
    }

    /// `None` where it is not the upstream's failure.
    fn of_failure(&self, error: &ProxyError) -> Option<&Counter> {
        match error {
            ProxyError::Connect(_) | ProxyError::ConnectTimeout => Some(&self.unreachable),
            ProxyError::ResponseTimeout => Some(&self.late),
            ProxyError::Broken(_) | ProxyError::Answer => Some(&self.broken),
            ProxyError::RequestBody(_)
            | ProxyError::SlowBody
            | ProxyError::Roots
            | ProxyError::Tls(_) => None,
        }
    }
}

#[cfg(test)]
mod tests;
