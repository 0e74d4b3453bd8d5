//! What a changed file means for a running process.

use std::path::PathBuf;

use crate::app::log;
use crate::config::{Config, ProcessEnvironment};
use crate::lifecycle::Wish;

/// Reads the file again whenever that is asked for: applies what can change, and says what cannot.
pub(super) async fn on_request(mut running: Config, file: PathBuf, wish: Wish) {
    loop {
        wish.requested().await;
        let read = match Config::load(&file, &ProcessEnvironment) {
            Ok(read) => read,
            Err(errors) => {
                for error in errors {
                    tracing::error!(%error, "configuration not reloaded: {error}");
                }
                continue;
            }
        };
        if read.log.level != running.log.level {
            match log::set_level(&read.log.level) {
                Ok(()) => {
                    tracing::info!(
                        level = read.log.level,
                        "log.level is now {}",
                        read.log.level
                    );
                    running.log.level.clone_from(&read.log.level);
                }
                Err(error) => tracing::error!(%error, "log.level not changed"),
            }
        }
        let waiting = running.differing_sections(&read);
        match waiting.as_slice() {
            [] => tracing::info!("configuration reloaded"),
            sections => tracing::warn!(
                sections = sections.join(", "),
                "configuration read; what changed in {} takes effect at the next start",
                sections.join(", ")
            ),
        }
    }
}
