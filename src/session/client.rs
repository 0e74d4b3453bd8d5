//! What both transports share: one socket, its outlet, what is in hand between them, and the clock.

use std::{
    io,
    mem::MaybeUninit,
    pin::Pin,
    task::{Context, Poll, ready},
};

use metrics::{Counter, Gauge, counter, gauge};
use tokio::{
    io::ReadBuf,
    time::{Instant, Sleep, sleep_until, timeout_at},
};

use crate::{
    delivery::{DirectTotals, Ending, Outcome, Outlet},
    session::{
        Closed, ClosedBy, SessionSettings, Stream, Transport, close, coding::Coding, writer::Writer,
    },
};

/// One client's connection.
pub(super) struct Client<'a, S> {
    stream: S,
    outlet: Outlet,
    pub(super) writer: Writer,
    pub(super) settings: &'a SessionSettings,
    /// When the credentials expire, until that is told to the outlet.
    expires: Option<Instant>,
    /// Since when a write has made no progress.
    blocked_since: Option<Instant>,
    alarm: Pin<Box<Sleep>>,
    frames_total: Counter,
    _present: Present,
}

/// Why nothing can be written any more.
#[derive(Debug)]
pub(super) enum WriteFault {
    /// No progress for [`SessionSettings::write_timeout`].
    Stuck,
    /// The stream said so.
    Broken(io::ErrorKind),
}

/// What a round of writing came to, besides waiting.
#[derive(Debug)]
pub(super) enum Written {
    /// The client took bytes that it had refused before: it lives.
    Progress,
    /// It cannot go on.
    Fault(WriteFault),
}

impl From<WriteFault> for ClosedBy {
    fn from(fault: WriteFault) -> Self {
        match fault {
            WriteFault::Stuck => Self::Stuck,
            WriteFault::Broken(kind) => Self::Broken(kind),
        }
    }
}

impl<'a, S> Client<'a, S>
where
    S: Stream,
{
    pub(super) fn new(
        stream: S,
        mut outlet: Outlet,
        settings: &'a SessionSettings,
        coding: Coding,
        expires: Option<Instant>,
        transport: Transport,
    ) -> Self {
        // An encoder is the session's own: nobody else can write what the client expects.
        if let (Coding::Identity, Some(direct)) = (&coding, stream.direct()) {
            outlet.lend(direct);
        }
        Self {
            stream,
            outlet,
            writer: Writer::new(coding),
            settings,
            expires,
            blocked_since: None,
            alarm: Box::pin(sleep_until(Instant::now() + settings.ping_interval)),
            frames_total: counter!("sidestream_frames_total"),
            _present: Present::enter(transport),
        }
    }

    /// Reads what the client sent and shows it to `hear`, with the writer to answer into; an empty slice is the end of the
    /// client's side.
    ///
    /// The bytes lie on the stack: an idle session keeps no buffer.
    pub(super) fn poll_read<T>(
        &mut self,
        context: &mut Context<'_>,
        hear: impl FnOnce(&[u8], &mut Writer) -> T,
    ) -> Poll<io::Result<T>> {
        let mut space = [const { MaybeUninit::uninit() }; READ_BYTES];
        let mut buffer = ReadBuf::uninit(&mut space);
        match ready!(Pin::new(&mut self.stream).poll_read(context, &mut buffer)) {
            // TLS says so of a client that leaves without its goodbye. Nothing is cut by that here: a frame has a length.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => (),
            read => read?,
        }
        Poll::Ready(Ok(hear(buffer.filled(), &mut self.writer)))
    }

    /// Polls for the ending, be it from below or because the credentials expired by now.
    pub(super) fn poll_ended(&mut self, context: &mut Context<'_>) -> Poll<Ending> {
        self.outlet.poll_ended(context)
    }

    /// Returns why the session ends, if that came from below.
    pub(super) fn ended(&self) -> Option<Ending> {
        self.outlet.ended()
    }

    /// Writes what is in hand, then takes what is ready and writes that, until there is nothing.
    pub(super) fn poll_write(&mut self, context: &mut Context<'_>) -> Poll<Written> {
        loop {
            if self.writer.has_urgent() {
                self.writer.hold(&mut self.outlet);
            }
            let before = (self.writer.bytes_written(), self.writer.frames_written());
            let result = self.writer.poll_write(context, &mut self.stream);
            self.frames_total
                .increment(self.writer.frames_written() - before.1);
            let was_blocked = self.blocked_since.is_some();
            let progressed = self.writer.bytes_written() > before.0;
            match result {
                Poll::Ready(Ok(())) => self.blocked_since = None,
                Poll::Ready(Err(error)) => {
                    return Poll::Ready(Written::Fault(WriteFault::Broken(error.kind())));
                }
                Poll::Pending if progressed || !was_blocked => {
                    self.blocked_since = Some(Instant::now());
                }
                Poll::Pending => (),
            }
            if was_blocked && progressed {
                return Poll::Ready(Written::Progress);
            }
            if result.is_pending() {
                return Poll::Pending;
            }
            match ready!(self.writer.poll_fill(context, &mut self.outlet)) {
                Outcome::Frames | Outcome::Rest => (),
                // Told by `poll_ended`, which is asked first, and wakes us for this one too.
                Outcome::Ended(_) => return Poll::Pending,
            }
        }
    }

    /// Rings at `other`, when the credentials expire, or when a blocked write has waited for too long.
    ///
    /// An expiry is told to the outlet, so that it is an ending as others are.
    pub(super) fn poll_alarm(
        &mut self,
        context: &mut Context<'_>,
        other: Option<Instant>,
    ) -> Poll<Result<(), WriteFault>> {
        loop {
            let stuck_at = self
                .blocked_since
                .map(|since| since + self.settings.write_timeout);
            let Some(next) = [other, self.expires, stuck_at].into_iter().flatten().min() else {
                return Poll::Pending;
            };
            // A ring that has become too early is let ring, and put off then: most never matter, and putting off at every
            // write would cost a lock in the timer each time.
            if next < self.alarm.deadline() {
                self.alarm.as_mut().reset(next);
            }
            ready!(self.alarm.as_mut().poll(context));
            let now = Instant::now();
            if stuck_at.is_some_and(|at| at <= now) {
                return Poll::Ready(Err(WriteFault::Stuck));
            }
            if self.expires.is_some_and(|at| at <= now) {
                self.expires = None;
                self.outlet.end(Ending::CredentialsExpired);
                return Poll::Ready(Ok(()));
            }
            if other.is_some_and(|at| at <= now) {
                return Poll::Ready(Ok(()));
            }
            self.alarm.as_mut().reset(next);
        }
    }

    /// Writes what an ending still flushes; returns the ending, which a revocation may have changed meanwhile.
    pub(super) fn poll_flush(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Result<Ending, WriteFault>> {
        self.writer.hold(&mut self.outlet);
        loop {
            if self.outlet.ended().is_some_and(|ending| !ending.flushes()) {
                self.writer.drop_unbegun();
            }
            let frames_before = self.writer.frames_written();
            let result = self.writer.poll_write(context, &mut self.stream);
            self.frames_total
                .increment(self.writer.frames_written() - frames_before);
            if let Err(error) = ready!(result) {
                return Poll::Ready(Err(WriteFault::Broken(error.kind())));
            }
            match ready!(self.writer.poll_fill(context, &mut self.outlet)) {
                Outcome::Frames | Outcome::Rest => (),
                Outcome::Ended(ending) => return Poll::Ready(Ok(ending)),
            }
        }
    }

    /// Refuses further frames and puts `last` behind what has been begun: nothing else will be written.
    pub(super) fn finish(&mut self, last: &[u8]) {
        self.writer.hold(&mut self.outlet);
        self.outlet.abandon();
        self.writer.push_last(last);
    }

    /// Writes what is in hand and nothing more; says whether all of it was written in time.
    pub(super) async fn write_rest(&mut self, until: Instant) -> bool {
        let (writer, stream) = (&mut self.writer, &mut self.stream);
        let written = std::future::poll_fn(|context| writer.poll_write(context, stream));
        matches!(timeout_at(until, written).await, Ok(Ok(())))
    }

    /// Ends our side, and then hears the client out until it has ended its own.
    ///
    /// A socket that is closed with unread bytes in it is reset, and a reset may overtake what we wrote last.
    pub(super) async fn hang_up(&mut self, until: Instant) {
        let shut = timeout_at(until, async {
            std::future::poll_fn(|context| Pin::new(&mut self.stream).poll_shutdown(context))
                .await?;
            while std::future::poll_fn(|context| {
                self.poll_read(context, |bytes, _| !bytes.is_empty())
            })
            .await?
            {
                // A client that has always more to say must not outlast its deadline.
                tokio::task::yield_now().await;
            }
            io::Result::Ok(())
        });
        // Whether the client answered in time makes no difference any more: the socket is dropped.
        drop(shut.await);
    }

    /// Returns what was written to the socket by those who push.
    pub(super) fn direct_totals(&self) -> DirectTotals {
        self.outlet.direct_totals()
    }

    /// Closes the books.
    pub(super) fn closed(self, by: ClosedBy) -> Closed {
        counter!("sidestream_closes_total", "reason" => close::label(by)).increment(1);
        let direct = self.outlet.direct_totals();
        Closed {
            by,
            frames: self.writer.frames_written() + direct.frames,
            bytes: self.writer.bytes_written() + direct.bytes,
        }
    }
}

/// Counts a session in the metrics for as long as it lives, however its task ends.
struct Present(Gauge);

impl Present {
    fn enter(transport: Transport) -> Self {
        let gauge = gauge!("sidestream_sessions", "transport" => transport.label());
        gauge.increment(1);
        Self(gauge)
    }
}

impl Drop for Present {
    fn drop(&mut self) {
        self.0.decrement(1);
    }
}

/// How much is read at once, on the stack.
const READ_BYTES: usize = 4096;

/// How often is read in one turn. A client that floods us must not keep its own frames and deadlines waiting.
pub(super) const READS_MAX: usize = 16;
