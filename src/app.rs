//! Builds every room and hands each its keys.

pub mod check;
pub mod log;
mod reload;
mod rooms;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::net::TcpListener;

use crate::admin::{self, AdminState, Metrics, MetricsError};
use crate::config::Config;
use crate::delivery::Ending;
use crate::front::Front;
use crate::front::describe;
use crate::front::listener::{ListenError, Listener, TlsError};
use crate::front::pressure;
use crate::front::streaming::Streaming;
use crate::lifecycle::{Cores, Reload, Shutdown, Signals, Tasks, supervisor};
use crate::proxy::{Forwarder, ProxyError};

pub use check::{CheckReport, check};

/// How often it is tried whether the upstream takes connections, for `/ready`.
const PROBE_INTERVAL: Duration = Duration::from_secs(2);

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

/// Runs until a signal has asked for the end and everything has ended. `file` is read again on SIGHUP.
///
/// # Errors
/// [`StartError`] if it could not start; once started, it ends well, but for [`StartError::Panicked`].
pub async fn run(config: Config, file: PathBuf) -> Result<(), StartError> {
    let (tasks, shutdown, wishes) = (Tasks::new().at_home(), Shutdown::new(), Reload::new());
    let signals = Signals::listen().map_err(StartError::Signals)?;
    let metrics = Metrics::install()?;
    // Bound before anything is begun that would have to be undone: a port that is taken is found out at once.
    let tls = rooms::tls(&config)?;
    let listeners = listeners(&config)?;
    let admin = admin_listener(&config).await?;
    let forwarder = Forwarder::new(rooms::proxy(&config.upstream))?;
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
        reload::on_request(config.clone(), file, wishes),
    );
    let tended = forwarder.clone();
    background.spawn_kept("proxy.tend", move || {
        let tended = tended.clone();
        async move { tended.tend().await }
    });
    let upstream_is_up = Arc::new(AtomicBool::new(true));
    let is_up = Arc::clone(&upstream_is_up);
    background.spawn_kept("app.probe", move || {
        probe(forwarder.clone(), Arc::clone(&is_up))
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
    let admin_ended = Shutdown::new();
    if let Some(listener) = admin {
        let state = admin_state(metrics, streams.clone(), shutdown.clone(), upstream_is_up);
        let (tasks, ended) = (background.clone(), admin_ended.clone());
        background.spawn_vital("admin", &shutdown, async move {
            admin::serve(listener, state, &tasks, ended.draining()).await;
        });
    }
    let cores = Cores::one_each().map_err(StartError::Threads)?;
    let serving = tasks.child();
    for (listener, is_secure) in listeners {
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
    supervisor::tell_ready();
    shutdown.draining().await;
    supervisor::tell_stopping();
    drain(&config, streams.as_deref(), &serving, &shutdown).await;
    admin_ended.begin();
    match shutdown.fault() {
        None => Ok(()),
        Some(task) => Err(StartError::Panicked { task }),
    }
}

/// Sessions are told and given time to say goodbye; requests finish; then the end, whoever is left.
async fn drain(config: &Config, streams: Option<&Streaming>, serving: &Tasks, shutdown: &Shutdown) {
    if let Some(streams) = streams {
        streams.end_all(Ending::Draining);
    }
    let drained = tokio::select! {
        biased;
        () = shutdown.hurried() => false,
        drained = serving.drained(config.server.drain) => drained,
    };
    match drained {
        true => tracing::info!("drained, everything has ended"),
        false => tracing::warn!(
            connections = serving.count(),
            "the drain time is over, ending what is left"
        ),
    }
}

/// Binds all addresses for clients; says which of them speak TLS.
fn listeners(config: &Config) -> Result<Vec<(Listener, bool)>, ListenError> {
    let secure = config.server.tls.iter().flat_map(|tls| &tls.listen);
    let plain = config.server.listen.iter().map(|address| (address, false));
    let bind = |(address, is_secure): (&SocketAddr, bool)| {
        let name = if is_secure { "tls" } else { "public" };
        Ok((Listener::bind(name, *address)?, is_secure))
    };
    plain
        .chain(secure.map(|address| (address, true)))
        .map(bind)
        .collect()
}

async fn admin_listener(config: &Config) -> Result<Option<TcpListener>, StartError> {
    let Some(address) = config.admin else {
        return Ok(None);
    };
    let refused = |source| StartError::Admin { address, source };
    let listener = TcpListener::bind(address).await.map_err(refused)?;
    let address = listener.local_addr().map_err(refused)?;
    tracing::info!(listener = "admin", %address, "listening");
    Ok(Some(listener))
}

fn admin_state(
    metrics: Metrics,
    streams: Option<Arc<Streaming>>,
    shutdown: Shutdown,
    upstream_is_up: Arc<AtomicBool>,
) -> AdminState {
    let described = streams.clone();
    AdminState {
        metrics,
        not_ready: Arc::new(move || {
            let mut reasons = streams
                .as_ref()
                .map(|streams| streams.not_ready())
                .unwrap_or_default();
            if !upstream_is_up.load(Ordering::Relaxed) {
                reasons.push("upstream: cannot be connected to".to_owned());
            }
            if shutdown.is_draining() {
                reasons.push("draining".to_owned());
            }
            reasons
        }),
        streams: Arc::new(move || match &described {
            Some(streams) => streams.describe(),
            None => serde_json::json!({ "enabled": false }),
        }),
    }
}

/// Notes whether the upstream takes connections.
async fn probe(forwarder: Forwarder, is_up: Arc<AtomicBool>) {
    let mut interval = tokio::time::interval(PROBE_INTERVAL);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        interval.tick().await;
        let up = forwarder.probe().await.is_ok();
        if is_up.swap(up, Ordering::Relaxed) != up {
            match up {
                true => tracing::info!("the upstream takes connections again"),
                false => tracing::warn!("the upstream takes no connections"),
            }
        }
    }
}

#[cfg(test)]
mod tests;
