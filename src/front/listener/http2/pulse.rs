//! Whether a client is still there: it is pinged, and must answer.
//!
//! TCP tells of a client that vanished only once it has tried to send for a quarter of an hour; a stream of events may be
//! quiet for long, and its comments are small.

use std::{
    future::Future as _,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use h2::{Ping, PingPong};
use tokio::time::{Instant, Sleep, sleep};

use super::Http2Settings;

/// The pings of one connection.
pub(super) struct Pulse {
    pings: PingPong,
    interval: Duration,
    timeout: Duration,
    /// When the next ping is due, or the answer to the last one.
    alarm: Pin<Box<Sleep>>,
    is_waiting: bool,
}

impl Pulse {
    pub(super) fn new(pings: PingPong, settings: &Http2Settings) -> Self {
        Self {
            pings,
            interval: settings.ping_interval,
            timeout: settings.ping_timeout,
            alarm: Box::pin(sleep(settings.ping_interval)),
            is_waiting: false,
        }
    }

    /// Is ready when a ping was not answered in time.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            if self.is_waiting && self.pings.poll_pong(cx).is_ready() {
                // Or the connection has ended, which it tells itself.
                self.is_waiting = false;
                self.alarm.as_mut().reset(Instant::now() + self.interval);
            }
            ready!(self.alarm.as_mut().poll(cx));
            if self.is_waiting {
                return Poll::Ready(());
            }
            self.is_waiting = self.pings.send_ping(Ping::opaque()).is_ok();
            let next = if self.is_waiting {
                self.timeout
            } else {
                self.interval
            };
            self.alarm.as_mut().reset(Instant::now() + next);
        }
    }
}
