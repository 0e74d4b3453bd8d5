//! The replacement of this process by a new one, on the same sockets.

use std::error::Error as _;

use crate::lifecycle::{Handover, Shutdown, Wish, supervisor};

/// Starts the process that replaces this one whenever that is asked for, until one has taken over; then this one drains.
/// Draining for another reason ends the task, and with it the hold on the sockets.
pub(super) async fn on_request(handover: Handover, wish: Wish, shutdown: Shutdown) {
    loop {
        let started = async {
            wish.requested().await;
            match std::process::id() {
                FIRST_OF_A_CONTAINER => None,
                _ => Some(handover.start().await),
            }
        };
        let started = tokio::select! {
            biased;
            () = shutdown.draining() => return,
            started = started => started,
        };
        match started {
            None => tracing::error!(
                "not upgraded: this is process 1, with which its container ends; replace the container"
            ),
            Some(Ok(process)) => {
                tracing::info!(process, "process {process} has taken over, draining");
                supervisor::tell_main(process);
                return shutdown.hand_over();
            }
            Some(Err(error)) => {
                let cause = error.source().map(|cause| format!(": {cause}"));
                let cause = cause.unwrap_or_default();
                tracing::error!("not upgraded, this process goes on: {error}{cause}");
            }
        }
    }
}

/// Whoever is process 1 takes every other process of its container with it.
const FIRST_OF_A_CONTAINER: u32 = 1;
