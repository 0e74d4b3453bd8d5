//! What operators see, on a listener of its own: health, readiness, metrics, and who is connected to what.
//!
//! Nothing here is ever served on the public listener, and nothing here knows how the rest works: [`AdminState`] holds
//! the questions that `app` answers.

mod metrics;
mod server;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;

pub use self::metrics::{Metrics, MetricsError};
pub use self::server::serve;

/// What the admin listener tells.
#[derive(Clone)]
pub struct AdminState {
    /// The recorder, for `GET /metrics`.
    pub metrics: Metrics,
    /// What is not usable at present, for people (`mongodb: …`); empty: ready. Must not wait for anything.
    pub not_ready: Arc<dyn Fn() -> Vec<String> + Send + Sync>,
    /// What is not usable either, but done without; named where all is ready. Must not wait for anything.
    pub spared: Arc<dyn Fn() -> Vec<String> + Send + Sync>,
    /// The upstreams and how they are, for `GET /upstreams`. Must not wait for anything.
    pub upstreams: Arc<dyn Fn() -> serde_json::Value + Send + Sync>,
    /// Definitions with plan kind and sessions, feeds with lag, cursors, for `GET /streams`. Must not wait for anything.
    pub streams: Arc<dyn Fn() -> serde_json::Value + Send + Sync>,
}

impl fmt::Debug for AdminState {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("AdminState").finish_non_exhaustive()
    }
}
