//! What the operating system says.

use std::{io, sync::Arc};

use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::Notify,
};

use crate::lifecycle::Shutdown;

/// The signals that the process hears, from the moment this exists.
///
/// SIGTERM and SIGINT drain; a second one does not wait for what has not finished. SIGHUP asks for a reload, SIGUSR2 for an
/// upgrade (nginx's signal for it).
#[derive(Debug)]
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
    user_2: Signal,
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
            user_2: signal(SignalKind::user_defined2())?,
        })
    }

    /// Passes signals on, until the task is dropped.
    pub async fn pass_on(mut self, shutdown: Shutdown, wishes: Wishes) {
        // One that drains for its successor's sake has not been told to hurry by the first signal: a service manager that stops
        // the service sends it to both.
        let mut is_first = true;
        loop {
            let name = tokio::select! {
                // Ending goes before reloading: a reload is no use to a process that drains.
                biased;
                _ = self.terminate.recv() => "SIGTERM",
                _ = self.interrupt.recv() => "SIGINT",
                _ = self.hang_up.recv() => {
                    tracing::info!(signal = "SIGHUP", "SIGHUP received, reloading");
                    wishes.reload.request();
                    continue;
                }
                _ = self.user_2.recv() => {
                    tracing::info!(signal = "SIGUSR2", "SIGUSR2 received, starting the process that replaces this one");
                    wishes.upgrade.request();
                    continue;
                }
            };
            let is_patient = std::mem::take(&mut is_first) && shutdown.has_successor();
            if is_patient {
                tracing::info!(signal = name, "{name} received, already draining");
            } else if shutdown.is_draining() {
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

/// What signals ask for, besides an end.
#[derive(Clone, Debug, Default)]
pub struct Wishes {
    /// To read the configuration anew.
    pub reload: Wish,
    /// To be replaced by a new process, on the same sockets.
    pub upgrade: Wish,
}

/// A wish. Clones are the same; wishes not yet heard are one.
#[derive(Clone, Debug, Default)]
pub struct Wish {
    notify: Arc<Notify>,
}

impl Wish {
    /// Makes one that nobody has.
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks for it.
    pub fn request(&self) {
        self.notify.notify_one();
    }

    /// Waits until it is asked for. One listener only.
    ///
    /// # Cancel safety
    /// Safe: a wish that was not returned is kept.
    pub async fn requested(&self) {
        self.notify.notified().await;
    }
}

#[cfg(test)]
mod tests;
