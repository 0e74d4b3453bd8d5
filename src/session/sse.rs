//! A session over Server-Sent Events: a response body that ends with the connection.
//!
//! Events come framed from the outlet and go out as they are, or compressed. A comment is sent when nothing was for an
//! interval, so that proxies on the way keep the connection, and so that we learn of a client that vanished. What the
//! client sends is thrown away: it is read to notice at once that it leaves. Somebody who ends only its own side (`nc -N`)
//! leaves, too.
//!
//! Source: WHATWG HTML, section 9.2 (server-sent events).

use std::{
    future::poll_fn,
    task::{Context, Poll, ready},
};

use tokio::time::{Instant, timeout};

use crate::{
    delivery::{Ending, Outlet},
    session::{
        Closed, ClosedBy, ContentCoding, SessionSettings, Stream, Transport,
        client::{Client, READS_MAX, WriteFault, Written},
        close,
        coding::Coding,
    },
};

/// Serves one client until its session ends. The 200 is already written, with the `Content-Encoding` that `coding` is.
///
/// `expires` is when the client's credentials do.
pub async fn serve<S>(
    stream: S,
    outlet: Outlet,
    settings: &SessionSettings,
    coding: ContentCoding,
    expires: Option<Instant>,
) -> Closed
where
    S: Stream,
{
    let coding = Coding::new(coding);
    let mut client = Client::new(stream, outlet, settings, coding, expires, Transport::Sse);
    client.writer.push_head();
    let comment_at = Instant::now() + settings.ping_interval;
    let mut body = Body {
        client,
        comment_at,
        bytes_seen: 0,
    };

    let mut by = poll_fn(|context| body.poll_live(context)).await;
    if let ClosedBy::Ending(_) = by {
        by = body.flush(by).await;
    }
    if let ClosedBy::Ending(ending) = by {
        let until = Instant::now() + settings.close_timeout;
        body.client.finish(close_event(ending).as_bytes());
        if body.client.write_rest(until).await {
            body.client.hang_up(until).await;
        }
    }
    body.client.closed(by)
}

struct Body<'a, S> {
    client: Client<'a, S>,
    /// When a comment is due, if nothing else is written until then.
    comment_at: Instant,
    /// How many bytes had been written when that was set.
    bytes_seen: u64,
}

impl<S> Body<'_, S>
where
    S: Stream,
{
    /// Delivers, until there is a reason to end.
    fn poll_live(&mut self, context: &mut Context<'_>) -> Poll<ClosedBy> {
        loop {
            // First whether anybody is still there; then an ending, before anything more is written.
            if let Poll::Ready(by) = self.poll_leave(context) {
                return Poll::Ready(by);
            }
            if let Poll::Ready(ending) = self.client.poll_ended(context) {
                return Poll::Ready(ClosedBy::Ending(ending));
            }
            match self.client.poll_write(context) {
                Poll::Ready(Written::Fault(fault)) => return Poll::Ready(fault.into()),
                Poll::Ready(Written::Progress) => continue,
                Poll::Pending => (),
            }
            if let Err(fault) = ready!(self.poll_comment(context)) {
                return Poll::Ready(fault.into());
            }
        }
    }

    /// Waits until the client leaves.
    fn poll_leave(&mut self, context: &mut Context<'_>) -> Poll<ClosedBy> {
        for _ in 0..READS_MAX {
            match ready!(self.client.poll_read(context, |bytes, _| bytes.is_empty())) {
                Ok(false) => (),
                Ok(true) => return Poll::Ready(ClosedBy::ClientLeft),
                Err(error) => return Poll::Ready(ClosedBy::Broken(error.kind())),
            }
        }
        // There may be more, in the next turn.
        context.waker().wake_by_ref();
        Poll::Pending
    }

    /// Waits until a comment is due, and puts it into the writer. A body in motion needs none.
    fn poll_comment(&mut self, context: &mut Context<'_>) -> Poll<Result<(), WriteFault>> {
        let written = self.client.writer.bytes_written();
        let interval = self.client.settings.ping_interval;
        if written != self.bytes_seen {
            self.bytes_seen = written;
            self.comment_at = Instant::now() + interval;
        }
        // Nobody woke this task for what was written directly.
        if let Some(last) = self.client.direct_totals().last {
            self.comment_at = self.comment_at.max(last + interval);
        }
        // While something is being written, the write's own time is all that counts.
        let due = self.client.writer.is_idle().then_some(self.comment_at);
        if let Err(fault) = ready!(self.client.poll_alarm(context, due)) {
            return Poll::Ready(Err(fault));
        }
        if due.is_some_and(|due| due <= Instant::now()) {
            self.client.writer.push_comment(COMMENT);
        }
        Poll::Ready(Ok(()))
    }

    /// Writes what the ending leaves to be written. What is not written in time is dropped.
    async fn flush(&mut self, by: ClosedBy) -> ClosedBy {
        let within = self.client.settings.close_timeout;
        let flushed = poll_fn(|context| {
            if let Poll::Ready(by) = self.poll_leave(context) {
                return Poll::Ready(by);
            }
            match ready!(self.client.poll_flush(context)) {
                Ok(ending) => Poll::Ready(ClosedBy::Ending(ending)),
                Err(fault) => Poll::Ready(fault.into()),
            }
        });
        let flushed = timeout(within, flushed).await;
        flushed.unwrap_or_else(|_| self.client.ended().map_or(by, ClosedBy::Ending))
    }
}

fn close_event(ending: Ending) -> String {
    let (code, reason) = close::code(ending);
    // The reasons are ours: none has a character that JSON escapes.
    format!("event: close\ndata: {{\"code\":{code},\"reason\":\"{reason}\"}}\n\n")
}

/// A comment, which clients ignore.
const COMMENT: &[u8] = b":\n\n";

#[cfg(test)]
mod tests;
