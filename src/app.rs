//! Builds every room and hands each its keys.

pub mod log;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::net::TcpListener;

use crate::admin::{self, AdminState, Metrics, MetricsError};
use crate::config::Config;
use crate::lifecycle::{Reload, Shutdown, Signals, Tasks};

/// Why Sidestream did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An address cannot be listened on.
    #[error("cannot listen on {address}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The signals cannot be listened for.
    #[error("cannot listen for signals")]
    Signals(#[source] io::Error),
    /// There are no metrics to be had.
    #[error(transparent)]
    Metrics(#[from] MetricsError),
}

/// What `sidestream check` found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CheckReport {
    /// For people, in the order in which they should be read.
    pub lines: Vec<String>,
    /// Whether nothing is wrong.
    pub ok: bool,
}

/// Runs until a signal has asked for the end and everything has ended. `file` is read again on SIGHUP.
///
/// # Errors
/// [`StartError`] if it could not start; once started, it ends well.
pub async fn run(config: Config, file: PathBuf) -> Result<(), StartError> {
    let (tasks, shutdown, reload) = (Tasks::new(), Shutdown::new(), Reload::new());
    let signals = Signals::listen().map_err(StartError::Signals)?;
    let metrics = Metrics::install()?;
    let state = AdminState {
        metrics,
        not_ready: {
            let shutdown = shutdown.clone();
            Arc::new(move || match shutdown.is_draining() {
                true => vec!["draining".to_owned()],
                false => Vec::new(),
            })
        },
        streams: Arc::new(|| serde_json::json!({})),
    };
    tracing::info!(file = %file.display(), "starting");
    tokio::select! {
        biased;
        () = signals.pass_on(shutdown.clone(), reload) => (),
        served = serve_admin(&config, state, &tasks, shutdown.clone()) => served?,
    }
    tasks.drained(config.server.drain).await;
    Ok(())
}

async fn serve_admin(
    config: &Config,
    state: AdminState,
    tasks: &Tasks,
    shutdown: Shutdown,
) -> Result<(), StartError> {
    let Some(address) = config.admin else {
        shutdown.draining().await;
        return Ok(());
    };
    let listening = |source| StartError::Listen { address, source };
    let listener = TcpListener::bind(address).await.map_err(listening)?;
    let address = listener.local_addr().map_err(listening)?;
    tracing::info!(listener = "admin", %address, "listening");
    admin::serve(listener, state, tasks, shutdown.draining()).await;
    Ok(())
}

/// Checks what a valid configuration leads to.
pub async fn check(config: &Config) -> CheckReport {
    let streams = match config.streams {
        Some(_) => "streams are on",
        None => "streams are off: a plain proxy",
    };
    CheckReport {
        lines: vec![streams.to_owned()],
        ok: true,
    }
}
