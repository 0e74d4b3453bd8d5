//! The log on stderr: for people on a terminal, JSON otherwise.

use std::io::{self, IsTerminal};
use std::sync::OnceLock;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;
use tracing_subscriber::fmt;
use tracing_subscriber::util::TryInitError;
use tracing_subscriber::{prelude::*, reload};

use crate::config::{Log, LogFormat};

/// Why the log could not be started or changed.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The level is no level.
    #[error("log.level")]
    Level(#[from] ParseError),
    /// Something else in this process writes the log already.
    #[error("cannot start the log")]
    Start(#[from] TryInitError),
}

/// Starts the log of this process. A panic is logged too, so that every line on stderr has one form.
///
/// # Errors
/// [`LogError::Start`] if it was started before.
pub fn start(log: &Log) -> Result<(), LogError> {
    let (filter, handle) = reload::Layer::new(EnvFilter::try_new(&log.level)?);
    let is_terminal = io::stderr().is_terminal();
    // A line that cannot be written, as to a disk that is full, is lost. To say so on stderr too would panic, in whatever task it
    // was, and again for the panic's own line.
    let is_json = match log.format {
        LogFormat::Json => true,
        LogFormat::Text => false,
        LogFormat::Auto => !is_terminal,
    };
    let (json, text) = match is_json {
        true => {
            let layer = fmt::layer()
                .json()
                .flatten_event(true)
                .with_current_span(false)
                .log_internal_errors(false);
            (Some(layer.with_writer(io::stderr)), None)
        }
        false => {
            let layer = fmt::layer()
                .with_ansi(is_terminal)
                .log_internal_errors(false);
            (None, Some(layer.with_writer(io::stderr)))
        }
    };
    tracing_subscriber::registry()
        .with(filter)
        .with(json)
        .with(text)
        .try_init()?;
    // Only the one successful start gets here, so there is nothing to overwrite.
    LEVEL.get_or_init(|| handle);
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string);
        let payload = panic.payload();
        let literal = payload.downcast_ref::<&str>().copied();
        let formatted = payload.downcast_ref::<String>().map(String::as_str);
        let message = literal.or(formatted).unwrap_or("(no message)");
        tracing::error!(place, "panicked: {message}");
    }));
    Ok(())
}

/// Changes the level of a running log, on a reload. Does nothing before [`start`].
///
/// # Errors
/// [`LogError::Level`] if it is none.
pub fn set_level(level: &str) -> Result<(), LogError> {
    let filter = EnvFilter::try_new(level)?;
    if let Some(handle) = LEVEL.get()
        && handle.reload(filter).is_err()
    {
        // Only possible where the subscriber is gone: then there is no log whose level could matter.
        tracing::debug!("the log is gone");
    }
    Ok(())
}

static LEVEL: OnceLock<reload::Handle<EnvFilter, tracing_subscriber::Registry>> = OnceLock::new();
