//! A counter for each class of answers.

use http::StatusCode;
use metrics::Counter;

/// The counters of 1xx to 5xx, each looked up once.
#[derive(Debug)]
pub(super) struct Classes([Counter; 5]);

impl Classes {
    /// `counter` makes one for the name of its class.
    pub(super) fn new(counter: impl FnMut(&'static str) -> Counter) -> Self {
        Self(["1xx", "2xx", "3xx", "4xx", "5xx"].map(counter))
    }

    /// Returns that of an answer with this status.
    pub(super) fn of(&self, status: StatusCode) -> &Counter {
        let class = usize::from(status.as_u16() / 100).clamp(1, 5);
        &self.0[class - 1]
    }
}
