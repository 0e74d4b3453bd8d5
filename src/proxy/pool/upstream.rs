//! One connection to the upstream, driven by whoever waits for its answer.

use std::{
    future::poll_fn,
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use tokio::io::AsyncWrite as _;

use super::{Keeping, RequestBody, Upload, UpstreamStream};
use crate::proxy::{
    BodyError,
    answer::{AnswerHead, Unreadable},
    framing::{Encoder, Framing, Inbox, Outbox},
    timer::Deadline,
    upstreams::Lent,
};

/// A request as it goes to an upstream, but for its body.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked<'a> {
    pub(crate) head: &'a Bytes,
    pub(crate) is_head: bool,
    /// It asks for another protocol, and may get it.
    pub(crate) may_switch: bool,
    /// Another request may not be sent in its place: so the connection is asked whether it has ended, before.
    pub(crate) only_once: bool,
}

/// Why an exchange has no answer.
#[derive(Debug)]
pub(crate) enum ExchangeError {
    /// The connection had ended before a byte was written; the body was not touched.
    Unsent,
    /// The connection broke before the answer's head was whole.
    Broken(io::Error),
    /// What came is no answer.
    Unreadable,
    /// The request's body broke off, or came too slowly.
    Body(BodyError),
    /// The answer's head did not come in time.
    Timeout,
}

impl From<Unreadable> for ExchangeError {
    fn from(_: Unreadable) -> Self {
        Self::Unreadable
    }
}

/// A connection to the upstream.
#[derive(Debug)]
pub(crate) struct Upstream {
    io: UpstreamStream,
    /// What was read and not looked at.
    pub(super) read: Inbox,
    /// What is left of a request.
    sending: Option<Sending>,
    /// A request was not sent whole.
    has_failed: bool,
    /// That was how the connection's end was heard of, which is told only once.
    pub(super) was_reset: bool,
    deadline: Deadline,
    /// Where it goes when the answer has ended.
    pub(super) keeping: Option<Keeping>,
    /// It has carried an exchange before.
    pub(crate) is_kept: bool,
    /// Counts the exchange among those of its upstream, where there are several.
    pub(crate) lent: Option<Lent>,
}

/// A request under way.
#[derive(Debug)]
struct Sending {
    outbox: Outbox,
    body: RequestBody,
    encoder: Encoder,
}

impl Upstream {
    /// Takes a new connection.
    pub(crate) fn new(io: UpstreamStream) -> Self {
        Self {
            io,
            read: Inbox::default(),
            sending: None,
            has_failed: false,
            was_reset: false,
            deadline: Deadline::default(),
            keeping: None,
            is_kept: false,
            lent: None,
        }
    }

    /// Sends a request and waits for the head of its answer. The body of the request may still be on its way then
    /// ([`Self::poll_send`]).
    ///
    /// `body`: taken when the request begins to be sent. `encoder`: as `asked`'s head says. `within`: how long neither the answer
    /// may come nor a part of the request's body be sent. `interim`: hears each head before the answer's, but for a 100, as soon
    /// as it is there.
    ///
    /// Returns the head, and how the body behind it is delimited.
    ///
    /// # Cancel safety
    /// Dropping it breaks the exchange off; the connection cannot be used again and must be dropped, too.
    pub(crate) async fn exchange(
        &mut self,
        asked: Asked<'_>,
        body: &mut Option<(RequestBody, Encoder)>,
        within: Duration,
        mut interim: impl FnMut(AnswerHead),
    ) -> Result<(AnswerHead, Framing), ExchangeError> {
        debug_assert!(self.read.bytes.is_empty() && self.sending.is_none());
        if asked.only_once && self.is_kept && self.io.is_readable_now() {
            // What is said without being asked is a goodbye at best.
            return Err(ExchangeError::Unsent);
        }
        let upload = body.as_ref().and_then(|(body, _)| body.upload());
        self.deadline.set(within);
        let mut scanned = 0;
        let outcome = poll_fn(|cx| {
            if body.is_some() {
                // Costs nothing where the reactor knows of nothing to read.
                if self.poll_read(cx).is_ready() {
                    return Poll::Ready(Err(ExchangeError::Unsent));
                }
                self.sending = body
                    .take()
                    .map(|(body, encoder)| Sending::new(asked.head, body, encoder));
            }
            // Goes on beside the reading, as long as there is no answer.
            if let Poll::Ready(Err(error)) = self.poll_send(cx) {
                return Poll::Ready(Err(ExchangeError::Body(error)));
            }
            loop {
                while let Some(head) = AnswerHead::take(&mut self.read.bytes, &mut scanned)? {
                    if !head.is_interim() {
                        let framing = head.framing(asked.is_head, asked.may_switch)?;
                        return Poll::Ready(Ok((head, framing)));
                    }
                    match &upload {
                        Some(upload) if head.status() == CONTINUE => upload.go_on(),
                        _ if head.status() == CONTINUE => (),
                        _ => interim(head),
                    }
                }
                match self.poll_read(cx) {
                    Poll::Ready(Ok(0)) => {
                        let error = io::ErrorKind::UnexpectedEof.into();
                        return Poll::Ready(Err(ExchangeError::Broken(error)));
                    }
                    Poll::Ready(Ok(_)) => (),
                    Poll::Ready(Err(error)) => {
                        return Poll::Ready(Err(ExchangeError::Broken(error)));
                    }
                    Poll::Pending => break,
                }
            }
            loop {
                ready!(self.deadline.poll(cx));
                if !upload.as_deref().is_some_and(Upload::has_moved) {
                    return Poll::Ready(Err(ExchangeError::Timeout));
                }
                self.deadline.set(within);
            }
        })
        .await;
        self.deadline.clear();
        outcome
    }

    /// Sends what is left of the request. An upstream that takes no more of it may have answered all the same: so that it
    /// does not is no error.
    ///
    /// # Errors
    /// The body's own.
    pub(super) fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BodyError>> {
        let Some(sending) = &mut self.sending else {
            return Poll::Ready(Ok(()));
        };
        let sent = ready!(sending.poll(&mut self.io, cx));
        self.sending = None;
        match sent {
            Ok(()) => Poll::Ready(Ok(())),
            Err(SendError::Io(error)) => {
                tracing::debug!(%error, "the upstream takes no more of a request: {error}");
                self.has_failed = true;
                self.was_reset = error.kind() == io::ErrorKind::ConnectionReset;
                Poll::Ready(Ok(()))
            }
            Err(SendError::Body(error)) => {
                self.has_failed = true;
                Poll::Ready(Err(error))
            }
        }
    }

    /// Reads more; 0 bytes are the end.
    pub(super) fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        self.read.poll_read(&mut self.io, cx)
    }

    /// Returns whether the next request may be sent, now that the answer was read whole: nothing is left of either.
    pub(super) fn is_ready(&self) -> bool {
        self.sending.is_none() && !self.has_failed && self.read.bytes.is_empty()
    }

    /// Returns the socket, and what was read from it behind the answer's head.
    pub(crate) fn into_parts(self) -> (UpstreamStream, Bytes) {
        (self.io, self.read.bytes.freeze())
    }
}

enum SendError {
    Io(io::Error),
    Body(BodyError),
}

impl Sending {
    fn new(head: &Bytes, body: RequestBody, encoder: Encoder) -> Self {
        let mut outbox = Outbox::default();
        match body {
            RequestBody::Empty => outbox.put_head(head.clone()),
            RequestBody::Client { .. } => outbox.put_slice(head),
        }
        Self {
            outbox,
            body,
            encoder,
        }
    }

    fn poll(
        &mut self,
        io: &mut UpstreamStream,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), SendError>> {
        loop {
            let filled = self.encoder.poll_fill(&mut self.body, &mut self.outbox, cx);
            let filled = filled.map_err(SendError::Body)?;
            ready!(self.outbox.poll_write(io, cx)).map_err(SendError::Io)?;
            if filled.is_ready() && !self.encoder.has_ended() {
                continue;
            }
            // TLS may keep what the socket did not take at once.
            ready!(Pin::new(&mut *io).poll_flush(cx)).map_err(SendError::Io)?;
            return filled.map(Ok);
        }
    }
}

const CONTINUE: u16 = 100;

#[cfg(test)]
mod tests;
