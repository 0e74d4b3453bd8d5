//! The recorder behind the `metrics` macros, and what each metric means.

use std::sync::{Arc, OnceLock};

use metrics::{Unit, counter, describe_counter, describe_gauge, gauge};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};

/// The process's recorder. It exists once, however many hold it.
#[derive(Clone)]
pub struct Metrics(Arc<PrometheusHandle>);

/// Why the recorder could not be installed.
#[derive(Debug, thiserror::Error)]
pub enum MetricsError {
    /// Something else in this process has installed one.
    #[error("cannot install the metrics recorder")]
    Install(#[source] Arc<BuildError>),
}

impl Metrics {
    /// Installs the recorder for this process and describes every metric. A second call gives the same one: the
    /// recorder of the `metrics` crate is one for the process, and so are the counts.
    ///
    /// # Errors
    /// [`MetricsError::Install`] if another recorder was installed by somebody else.
    pub fn install() -> Result<Self, MetricsError> {
        static INSTALLED: OnceLock<Result<Metrics, Arc<BuildError>>> = OnceLock::new();
        let installed = INSTALLED.get_or_init(|| {
            let handle = PrometheusBuilder::new()
                .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &SECONDS_BUCKETS)
                .and_then(PrometheusBuilder::install_recorder)
                .map_err(Arc::new)?;
            describe();
            Ok(Metrics(Arc::new(handle)))
        });
        installed.clone().map_err(MetricsError::Install)
    }

    /// All metrics in Prometheus's text format.
    pub fn render(&self) -> String {
        self.0.render()
    }

    /// Moves what histograms have gathered into their buckets; without it they grow until somebody scrapes.
    pub(super) fn upkeep(&self) {
        self.0.run_upkeep();
    }
}

fn describe() {
    describe_gauge!("sidestream_sessions", "Open streams, by transport.");
    describe_counter!(
        "sidestream_events_total",
        "Change events received from MongoDB."
    );
    describe_counter!(
        "sidestream_frames_total",
        "Frames put into the outboxes of sessions."
    );
    describe_counter!(
        "sidestream_closes_total",
        "Sessions that have ended, by reason."
    );
    describe_gauge!(
        "sidestream_cursors",
        "Change streams open in MongoDB, by kind: feed, dedicated, catch_up, probe."
    );
    describe_counter!(
        "sidestream_cursor_opens_total",
        "Change streams opened in MongoDB, by kind."
    );
    describe_counter!(
        "sidestream_resumes_total",
        "Sessions that went on behind an id, by where what they had missed came from: ring, cursor."
    );
    describe_gauge!(
        "sidestream_ring_bytes",
        Unit::Bytes,
        "Recent events kept for clients that come back (limits.ring), of all feeds, as it was within the last second."
    );
    describe_gauge!(
        "sidestream_ring_reach_seconds",
        Unit::Seconds,
        "How long a client may have been away and needs no cursor, on the feed where that is shortest."
    );
    describe_counter!(
        "sidestream_upstream_requests_total",
        "Forwarded requests, by class of the answer's status."
    );
    describe_gauge!(
        "sidestream_upstream_up",
        "Whether an upstream is used (1) or set aside (0), where upstream.url names several."
    );
    describe_counter!(
        "sidestream_upstream_exchanges_total",
        "Requests by upstream, where there are several, and what came of them: a class of statuses, unreachable, broken, late."
    );
    describe_counter!(
        "sidestream_greetings_failed_total",
        "Connections given up before their first request: no TLS, or no PROXY header where one must be."
    );
    describe_counter!(
        "sidestream_http2_floods_total",
        "HTTP/2 connections closed because their client took back requests again and again."
    );
    describe_counter!(
        "sidestream_refusals_total",
        "Requests for a stream that were refused, by HTTP status."
    );
    describe_counter!(
        "sidestream_events_skipped_total",
        "Events that a stream could not show or evaluate, skipped for that stream."
    );
    describe_counter!(
        "sidestream_candidates_total",
        "Groups of sessions asked whether they want an event."
    );
    describe_counter!(
        "sidestream_renderings_total",
        "Frames rendered; each may go to any number of sessions."
    );
    describe_counter!(
        "sidestream_feed_opens_total",
        "Change streams opened for feeds: more than now and then means that definitions change, or MongoDB fails."
    );
    describe_counter!(
        "sidestream_limits_reached_total",
        "How often a limit was reached, by its key in [limits]: what was refused, or whom it ended."
    );
    describe_counter!(
        "sidestream_unwatched_readings_total",
        "Readings of permissions or users of another database, whose change stream was away or behind."
    );
    describe_counter!(
        "sidestream_jwks_failures_total",
        "How often the set of keys for tokens (auth.jwt.jwks) could not be fetched."
    );
    describe_gauge!(
        "sidestream_outboxes_bytes",
        Unit::Bytes,
        "What all outboxes hold (limits.outboxes), as it was within the last second."
    );
    describe_gauge!(
        "sidestream_build_info",
        Unit::Count,
        "Always 1; the version is its label."
    );
    gauge!("sidestream_build_info", "version" => env!("CARGO_PKG_VERSION")).set(1.0);
    // A rate needs the zero before the first increment.
    counter!("sidestream_events_total").increment(0);
    counter!("sidestream_frames_total").increment(0);
}

/// From below one round trip on loopback to longer than any client waits.
const SECONDS_BUCKETS: [f64; 13] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0,
];
