//! Builds every room and hands each its keys.

pub mod check;
pub mod log;
mod reload;
mod rooms;
mod sockets;
mod upgrade;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::admin::{self, AdminState, Metrics, MetricsError};
use crate::config::Config;
use crate::delivery::Ending;
use crate::front::Front;
use crate::front::describe;
use crate::front::listener::{ListenError, TlsError};
use crate::front::pressure;
use crate::front::streaming::Streaming;
use crate::lifecycle::{Cores, Inherited, Shutdown, Signals, Tasks, Wishes, supervisor};
use crate::proxy::{Forwarder, ProxyError, Standing};

use self::sockets::Sockets;

pub use check::{CheckReport, check};

/// How long who replaces another process leaves the clients to that one while its feeds open. MongoDB being away must not keep
/// a new binary from being used.
const FEEDS_TIME_MAX: Duration = Duration::from_secs(10);

/// Why Sidestream did not start, or did not end well.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An address of the public listener cannot be listened on.
    #[error(transparent)]
    Public(#[from] ListenError),
    /// The admin address cannot be listened on.
    #[error("cannot listen on {address}")]
    Admin {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// What was handed to this process cannot be listened on.
    #[error("the sockets that were handed over cannot be used")]
    Inherited(#[source] io::Error),
    /// A socket was handed to this process of which the configuration knows nothing.
    #[error(
        "listening on {address} was handed over, but no listener of the configuration has this address"
    )]
    Unclaimed {
        /// Where it listens.
        address: SocketAddr,
    },
    /// A socket cannot be kept for the next process.
    #[error("a listening socket cannot be kept for a process that replaces this one")]
    Handover(#[source] io::Error),
    /// TLS cannot be spoken with clients.
    #[error("server.tls")]
    Tls(#[from] TlsError),
    /// The signals cannot be listened for.
    #[error("cannot listen for signals")]
    Signals(#[source] io::Error),
    /// The threads for connections cannot be started.
    #[error("cannot start threads")]
    Threads(#[source] io::Error),
    /// There are no metrics to be had.
    #[error(transparent)]
    Metrics(#[from] MetricsError),
    /// The way to the upstream cannot be set up.
    #[error("upstream.url")]
    Upstream(#[from] ProxyError),
    /// A feed cannot be started.
    #[error("a feed cannot be started")]
    Feed(#[from] crate::mongo::MongoError),
    /// The connection string cannot be used.
    #[error("mongodb.uri")]
    Mongodb(#[from] mongodb::error::Error),
    /// The key for tokens cannot be used.
    #[error("auth.jwt.key")]
    Jwt(#[from] crate::access::JwtError),
    /// It had started, and a task without which it is of no use has panicked.
    #[error("task {task} panicked")]
    Panicked {
        /// Its name.
        task: &'static str,
    },
}

/// Runs until a signal has asked for the end and everything has ended. `file` is read again on SIGHUP; `inherited` are the
/// sockets that were there before.
///
/// # Errors
/// [`StartError`] if it could not start; once started, it ends well, but for [`StartError::Panicked`].
pub async fn run(
    config: Config,
    file: PathBuf,
    mut inherited: Inherited,
) -> Result<(), StartError> {
    let (tasks, shutdown, wishes) = (Tasks::new().at_home(), Shutdown::new(), Wishes::default());
    let signals = Signals::listen().map_err(StartError::Signals)?;
    let metrics = Metrics::install()?;
    // Bound before anything is begun that would have to be undone: a port that is taken is found out at once.
    let tls = rooms::tls(&config)?;
    let sockets = Sockets::bind(&config, &mut inherited).await?;
    let forwarder = Forwarder::new(rooms::proxy(&config.upstream, &config.server))?;
    let streams = match &config.streams {
        Some(streams) => Some(rooms::streams(&config, streams, &tasks, shutdown.clone()).await?),
        None => None,
    };
    let front = Arc::new(Front {
        forwarder: forwarder.clone(),
        streams: streams.clone(),
        trust: rooms::trust(&config.server),
        access_log: config.log.access,
    });

    // What is background to all: it ends with the process, nobody waits for it.
    let background = Tasks::new();
    background.spawn_vital(
        "app.signals",
        &shutdown,
        signals.pass_on(shutdown.clone(), wishes.clone()),
    );
    background.spawn_vital(
        "app.reload",
        &shutdown,
        reload::on_request(config.clone(), file, wishes.reload),
    );
    background.spawn_vital(
        "app.upgrade",
        &shutdown,
        upgrade::on_request(sockets.handover, wishes.upgrade, shutdown.clone()),
    );
    let tended = forwarder.clone();
    background.spawn_kept("proxy.tend", move || {
        let tended = tended.clone();
        async move { tended.tend().await }
    });
    let watched = forwarder.clone();
    background.spawn_kept("proxy.watch", move || {
        let watched = watched.clone();
        async move { watched.watch().await }
    });
    if let (Some(tls), Some(settings)) = (&tls, &config.server.tls) {
        let (kept, every) = (tls.clone(), settings.reload);
        background.spawn_kept("front.tls", move || kept.clone().keep(every));
    }
    if let Some(streams) = &streams {
        let (feeds, live) = (streams.feeds(), streams.metadata().live());
        let (swept, used) = (Arc::clone(feeds), Arc::clone(live));
        background.spawn_kept("front.feeds", move || {
            Arc::clone(&swept).sweep(Arc::clone(&used))
        });
        let settings = config.streams.as_ref();
        if let Some(settings) = settings
            && let Some(keeping) = rooms::keys(settings, streams.metadata())?
        {
            background.spawn_vital("front.keys", &shutdown, keeping);
        }
        let noted = Arc::clone(feeds);
        background.spawn_kept("front.rings", move || {
            describe::note_rings(Arc::clone(&noted))
        });
        let budget = Arc::clone(&streams.admission.settings.budget);
        let holding = Arc::clone(live);
        background.spawn_kept("front.pressure", move || {
            let holding = Arc::clone(&holding);
            let outboxes = move || {
                let sessions = holding.all();
                sessions
                    .iter()
                    .map(|session| session.outbox.clone())
                    .collect()
            };
            pressure::relieve(Arc::clone(&budget), outboxes)
        });
    }
    if inherited.is_replacing()
        && let Some(streams) = &streams
    {
        tokio::select! {
            biased;
            () = shutdown.draining() => (),
            () = streams.feeds().settled(FEEDS_TIME_MAX) => (),
        }
    }
    let admin_ended = Shutdown::new();
    if let Some(listener) = sockets.admin {
        let state = admin_state(metrics, streams.clone(), shutdown.clone(), forwarder);
        let (tasks, ended, process) = (background.clone(), admin_ended.clone(), shutdown.clone());
        background.spawn_vital("admin", &shutdown, async move {
            let replaced = async {
                process.draining().await;
                if !process.has_successor() {
                    std::future::pending().await
                }
            };
            admin::serve(listener, state, &tasks, replaced, ended.draining()).await;
        });
    }
    let cores = Cores::one_each().map_err(StartError::Threads)?;
    let serving = tasks.child();
    for (listener, is_secure) in sockets.public {
        let tls = tls.clone().filter(|_| is_secure);
        let settings = rooms::listener(&config, cores.clone(), tls);
        let run = listener.run(
            Arc::clone(&front),
            settings,
            serving.clone(),
            shutdown.clone(),
        );
        serving.spawn_vital("front.listener", &shutdown, run);
    }
    match inherited.is_replacing() {
        // The service is ready already; which process it is from now on, the one that it was says.
        true => inherited.tell_serving(),
        false => supervisor::tell_ready(),
    }
    shutdown.draining().await;
    if !shutdown.has_successor() {
        supervisor::tell_stopping();
    }
    drain(&config, streams.as_deref(), &serving, &shutdown).await;
    admin_ended.begin();
    match shutdown.fault() {
        None => Ok(()),
        Some(task) => Err(StartError::Panicked { task }),
    }
}

/// Sessions are told and given time to say goodbye; requests finish; then the end, whoever is left.
async fn drain(config: &Config, streams: Option<&Streaming>, serving: &Tasks, shutdown: &Shutdown) {
    let telling = async {
        if let Some(streams) = streams {
            let spread = config.server.drain_spread;
            streams.end_all(Ending::Draining, spread).await;
        }
        std::future::pending().await
    };
    let drained = tokio::select! {
        biased;
        () = shutdown.hurried() => false,
        drained = serving.drained(config.server.drain) => drained,
        never = telling => never,
    };
    match drained {
        true => tracing::info!("drained, everything has ended"),
        false => tracing::warn!(
            connections = serving.count(),
            "the drain time is over, ending what is left"
        ),
    }
}

fn admin_state(
    metrics: Metrics,
    streams: Option<Arc<Streaming>>,
    shutdown: Shutdown,
    forwarder: Forwarder,
) -> AdminState {
    let described = streams.clone();
    let (told, listed) = (forwarder.clone(), forwarder.clone());
    AdminState {
        metrics,
        not_ready: Arc::new(move || {
            let mut reasons = streams
                .as_ref()
                .map(|streams| streams.not_ready())
                .unwrap_or_default();
            let standings = forwarder.standings();
            if standings.iter().all(|standing| standing.reason.is_some()) {
                reasons.extend(aside(&standings));
            }
            // Who asks about the service hears of the process that serves.
            if shutdown.is_draining() && !shutdown.has_successor() {
                reasons.push("draining".to_owned());
            }
            reasons
        }),
        spared: Arc::new(move || aside(&told.standings())),
        upstreams: Arc::new(move || listed.standings().iter().map(describe_upstream).collect()),
        streams: Arc::new(move || match &described {
            Some(streams) => streams.describe(),
            None => serde_json::json!({ "enabled": false }),
        }),
    }
}

/// Names the upstreams that are set aside, for people.
fn aside(standings: &[Standing]) -> Vec<String> {
    if let [
        Standing {
            reason: Some(_), ..
        },
    ] = standings
    {
        return vec!["upstream: cannot be connected to".to_owned()];
    }
    let named = standings.iter().filter_map(|standing| {
        let reason = standing.reason.as_ref()?;
        Some(format!("upstream {}: {reason}", standing.address))
    });
    named.collect()
}

fn describe_upstream(standing: &Standing) -> serde_json::Value {
    serde_json::json!({
        "url": standing.address.to_string(),
        "state": if standing.reason.is_none() { "well" } else { "aside" },
        "reason": standing.reason,
        "state_seconds": standing.lasting.as_secs(),
        "requests": standing.requests,
    })
}

#[cfg(test)]
mod tests;
