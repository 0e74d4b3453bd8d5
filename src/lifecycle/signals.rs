//! What the operating system says.

use std::{io, sync::Arc};

use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::Notify,
};

use crate::lifecycle::Shutdown;

/// The signals that the process hears, from the moment this exists.
///
/// SIGTERM and SIGINT drain; a second one does not wait for what has not finished. SIGHUP asks for a reload.
#[derive(Debug)]
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
}

impl Signals {
    /// Begins to listen, so that no signal from here on ends the process by itself.
    ///
    /// # Errors
    /// Whatever the operating system says against it.
    pub fn listen() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    /// Passes signals on, until the task is dropped.
    pub async fn pass_on(mut self, shutdown: Shutdown, reload: Reload) {
        loop {
            let name = tokio::select! {
                // Ending goes before reloading: a reload is no use to a process that drains.
                biased;
                _ = self.terminate.recv() => "SIGTERM",
                _ = self.interrupt.recv() => "SIGINT",
                _ = self.hang_up.recv() => {
                    tracing::info!(signal = "SIGHUP", "SIGHUP received, reloading");
                    reload.request();
                    continue;
                }
            };
            if shutdown.is_draining() {
                tracing::info!(
                    signal = name,
                    "{name} received again, not waiting any longer"
                );
                shutdown.hurry();
            } else {
                tracing::info!(signal = name, "{name} received, draining");
                shutdown.begin();
            }
        }
    }
}

/// A wish to read the configuration anew. Clones are the same; wishes not yet heard are one.
#[derive(Clone, Debug, Default)]
pub struct Reload {
    notify: Arc<Notify>,
}

impl Reload {
    /// Makes one that nobody has asked for.
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks for a reload.
    pub fn request(&self) {
        self.notify.notify_one();
    }

    /// Waits until a reload is asked for. One listener only.
    ///
    /// # Cancel safety
    /// Safe: a wish that was not returned is kept.
    pub async fn requested(&self) {
        self.notify.notified().await;
    }
}

#[cfg(test)]
mod tests;
