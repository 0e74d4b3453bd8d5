//! What forwarding counts.

use http::StatusCode;
use metrics_exporter_prometheus::PrometheusBuilder;

use super::counters;

#[test]
fn answers_are_counted_by_class() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let counters = metrics::with_local_recorder(&recorder, counters);
    for status in [101, 200, 204, 302, 404, 502, 599] {
        counters
            .of(StatusCode::from_u16(status).expect("a status"))
            .increment(1);
    }
    let text = recorder.handle().render();
    for (class, count) in [("1xx", 1), ("2xx", 2), ("3xx", 1), ("4xx", 1), ("5xx", 2)] {
        let line = format!("sidestream_upstream_requests_total{{class=\"{class}\"}} {count}\n");
        assert!(text.contains(&line), "{line} not in {text}");
    }
}
