//! Whether a client sends a body fast enough to be worth a connection to the upstream.

use std::{
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::time::Instant;

use crate::proxy::timer::Deadline;

/// The client was waited for, and sent too little.
#[derive(Debug, thiserror::Error)]
#[error("the client sends too slowly")]
pub(crate) struct TooSlow;

/// Counts what comes in windows of time, each of which begins when the client is waited for.
#[derive(Debug)]
pub(crate) struct Pace {
    /// In a window; 0: any.
    bytes_min: u64,
    bytes: u64,
    began: Option<Instant>,
    alarm: Deadline,
}

impl Pace {
    pub(super) fn new(rate: u64) -> Self {
        Self {
            bytes_min: rate.saturating_mul(WINDOW.as_secs()),
            bytes: 0,
            began: None,
            alarm: Deadline::default(),
        }
    }

    /// So much has come.
    pub(super) fn note(&mut self, bytes: usize) {
        if self.is_overdue() {
            self.restart();
        }
        self.bytes = self.bytes.saturating_add(bytes as u64);
    }

    /// Is asked when nothing is there. Pending as long as the client may take its time.
    pub(super) fn poll_too_slow(&mut self, cx: &mut Context<'_>) -> Poll<TooSlow> {
        if self.bytes_min == 0 {
            return Poll::Pending;
        }
        loop {
            if self.began.is_none() {
                self.began = Some(Instant::now());
                self.alarm.set(WINDOW);
            }
            ready!(self.alarm.poll(cx));
            if self.bytes < self.bytes_min && !self.is_overdue() {
                return Poll::Ready(TooSlow);
            }
            self.restart();
        }
    }

    fn restart(&mut self) {
        self.began = None;
        self.bytes = 0;
    }

    /// Nobody asked when the window was over: it was the upstream that was slow, to which nothing could be sent.
    fn is_overdue(&self) -> bool {
        self.began
            .is_some_and(|began| began.elapsed() > WINDOW + SLACK)
    }
}

const WINDOW: Duration = Duration::from_secs(5);

/// How late an alarm may be heard on a machine that has much to do.
const SLACK: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use std::{future::poll_fn, task::Waker};

    use tokio::time::advance;

    use super::*;

    fn is_too_slow(pace: &mut Pace) -> bool {
        let mut cx = Context::from_waker(Waker::noop());
        pace.poll_too_slow(&mut cx).is_ready()
    }

    #[tokio::test(start_paused = true)]
    async fn who_sends_enough_in_each_window_goes_on() {
        let mut pace = Pace::new(100);
        for _ in 0..20 {
            assert!(!is_too_slow(&mut pace));
            advance(WINDOW / 4).await;
            pace.note(125);
        }
        // One that sends a little less does not.
        for n in 0.. {
            if is_too_slow(&mut pace) {
                break;
            }
            assert!(n < 10, "nobody noticed");
            advance(WINDOW / 4).await;
            pace.note(100);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_there_before_anybody_waited_counts() {
        let mut pace = Pace::new(100);
        pace.note(500);
        assert!(!is_too_slow(&mut pace));
        advance(WINDOW + SLACK / 2).await;
        assert!(!is_too_slow(&mut pace));
        advance(WINDOW + SLACK / 2).await;
        assert!(is_too_slow(&mut pace));
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_silent_is_noticed_when_the_window_ends() {
        let begun = Instant::now();
        let mut pace = Pace::new(1);
        poll_fn(|cx| pace.poll_too_slow(cx)).await;
        assert_eq!(begun.elapsed(), WINDOW);
    }

    #[tokio::test(start_paused = true)]
    async fn time_in_which_the_upstream_took_nothing_does_not_count() {
        let mut pace = Pace::new(1000);
        assert!(!is_too_slow(&mut pace));
        advance(WINDOW * 10).await;
        assert!(!is_too_slow(&mut pace));
        advance(WINDOW * 10).await;
        pace.note(1);
        assert!(!is_too_slow(&mut pace));
        advance(WINDOW + SLACK / 2).await;
        pace.note(1);
        assert!(is_too_slow(&mut pace));
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_rate_everybody_may_take_his_time() {
        let mut pace = Pace::new(0);
        assert!(!is_too_slow(&mut pace));
        advance(WINDOW + SLACK / 2).await;
        assert!(!is_too_slow(&mut pace));
    }
}
