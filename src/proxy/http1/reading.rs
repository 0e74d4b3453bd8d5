//! What a client sends: heads, bodies, and signs of life.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::{Buf as _, Bytes};
use http::request;
use hyper::body::{Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite};

use super::Over;
use crate::proxy::{
    BodyError, HeadSettings, RawHead, Refusal,
    fields::{FIELDS_MAX, Head},
    framing::{Decoder, Inbox, Outbox},
    head::{self, Link},
    timer::Deadline,
};

/// A connection, as the one who reads from it sees it.
#[derive(Debug)]
pub(super) struct Reader<S> {
    io: S,
    settings: Arc<HeadSettings>,
    place: Place,
    read: Inbox,
    /// What goes to the client before its answer.
    pub(super) outbox: Outbox,
    /// What is waited for: a head, the next request, or a sign of life after the client's FIN.
    deadline: Deadline,
    /// The client has closed its sending half.
    is_ended: bool,
    is_first: bool,
    /// The first byte of the head that is waited for has come.
    has_begun: bool,
    /// There was something to write since the grace began.
    has_written: bool,
    /// What was written may lie between us and the socket.
    must_flush: bool,
    /// The client waits for leave to send its body.
    waits_for_leave: bool,
}

#[derive(Debug)]
enum Place {
    Head {
        scanned: usize,
    },
    Body(Decoder),
    /// Behind a request whose answer is not complete.
    Behind,
    /// Nothing more is read.
    Broken,
}

/// A request without its body.
#[derive(Debug)]
pub(super) struct Asking {
    pub(super) parts: request::Parts,
    pub(super) raw: RawHead,
}

impl From<Refusal> for Over {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl<S> Reader<S> {
    pub(super) fn new(io: S, settings: Arc<HeadSettings>) -> Self {
        debug_assert!(settings.bytes_max <= head::HEAD_BYTES_MAX);
        Self {
            io,
            settings,
            place: Place::Head { scanned: 0 },
            read: Inbox::default(),
            outbox: Outbox::default(),
            deadline: Deadline::default(),
            is_ended: false,
            is_first: true,
            has_begun: false,
            has_written: false,
            must_flush: false,
            waits_for_leave: false,
        }
    }

    pub(super) fn has_unread(&self) -> bool {
        let is_between = matches!(self.place, Place::Head { .. } | Place::Behind);
        !(self.is_ended || is_between && self.read.bytes.is_empty())
    }

    pub(super) fn is_fresh(&self) -> bool {
        self.is_first
    }

    pub(super) fn is_in_body(&self) -> bool {
        matches!(self.place, Place::Body(_))
    }

    /// Returns whether the request was read whole, so that another may follow it.
    pub(super) fn is_behind(&self) -> bool {
        matches!(self.place, Place::Behind)
    }

    pub(super) fn body_size(&self) -> SizeHint {
        match &self.place {
            Place::Body(decoder) => decoder.size_hint(),
            _ => SizeHint::with_exact(0),
        }
    }

    /// Notes that the answer is complete.
    pub(super) fn finish(&mut self) {
        self.deadline.clear();
        if self.is_behind() {
            self.place = Place::Head { scanned: 0 };
        }
    }

    /// Who waits keeps no buffer.
    fn rest(&mut self) {
        if self.read.bytes.is_empty() {
            self.read = Inbox::default();
        }
    }

    pub(super) fn into_parts(self) -> (S, Bytes) {
        (self.io, self.read.bytes.freeze())
    }

    /// Looks for a head at the start of what was read. `None`: more bytes are needed.
    fn take_head(&mut self, scanned: usize) -> Result<Option<Asking>, Refusal> {
        let read = &mut self.read.bytes;
        // An empty line or two before a request are forgiven (RFC 9112 §2.2); they count for the limits.
        while scanned == 0 && read.starts_with(b"\r\n") {
            read.advance(2);
        }
        if read.is_empty() || read[..] == b"\r"[..] {
            return Ok(None);
        }
        if !is_method_byte(read[0]) {
            return Err(Refusal::Bad);
        }
        let end = head::end(read, scanned)?;
        if end.unwrap_or(read.len()) > self.settings.bytes_max {
            let first_line = &read[..self.settings.bytes_max.min(read.len())];
            return Err(match memchr::memchr(b'\n', first_line) {
                Some(_) => Refusal::HeadTooLong,
                None => Refusal::TargetTooLong,
            });
        }
        let Some(end) = end else {
            let scanned = read.len();
            self.place = Place::Head { scanned };
            return Ok(None);
        };
        let treated = head::treat(&read[..end], FIELDS_MAX)?;
        let bytes = read.split_to(end).freeze();
        let parts = treated.parts(&bytes)?;
        let decoder = Decoder::new(treated.framing);
        let raw = RawHead::new(Head::new(bytes, treated.lines));
        self.waits_for_leave =
            !(decoder.is_end() || treated.is_old) && raw.head().expects_continue();
        self.place = match decoder.is_end() {
            true => Place::Behind,
            false => Place::Body(decoder),
        };
        self.is_first = false;
        self.has_begun = false;
        self.deadline.clear();
        self.rest();
        Ok(Some(Asking { parts, raw }))
    }

    /// What to do when there is nothing to read while a head is waited for: ready when the connection ends without a word.
    fn poll_head_time(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Refusal>> {
        if !self.deadline.is_set() {
            self.deadline.set(if self.is_first {
                self.settings.time_max
            } else {
                self.settings.idle_max
            });
        }
        ready!(self.deadline.poll(cx));
        Poll::Ready(match self.has_begun {
            true => Err(Refusal::TooSlow),
            // Silence is no request.
            false => Ok(()),
        })
    }
}

impl<S> Reader<S>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    /// Reads the next head.
    ///
    /// # Errors
    /// [`Over`].
    pub(super) fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<Asking, Over>> {
        let polled = self.poll_next_head(cx);
        if let Poll::Ready(Err(_)) = &polled {
            self.place = Place::Broken;
        }
        polled
    }

    fn poll_next_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<Asking, Over>> {
        let mut has_come = false;
        loop {
            let Place::Head { scanned } = self.place else {
                return Poll::Ready(Err(Over::End));
            };
            if self.read.bytes.len() > scanned
                && let Some(asking) = self.take_head(scanned)?
            {
                return Poll::Ready(Ok(asking));
            }
            if self.is_ended {
                return Poll::Ready(Err(Over::End));
            }
            match self.read.poll_read(&mut self.io, cx) {
                Poll::Ready(Ok(0)) => self.is_ended = true,
                Poll::Ready(Ok(_)) => has_come = true,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(Over::Broken(error))),
                Poll::Pending => {
                    has_come |= !self.read.bytes.is_empty();
                    if has_come && !self.has_begun {
                        self.has_begun = true;
                        self.deadline.set(self.settings.time_max);
                    }
                    ready!(self.poll_head_time(cx))?;
                    self.is_ended = true;
                }
            }
        }
    }

    /// Reads the next part of the request's body.
    pub(super) fn poll_body(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if std::mem::take(&mut self.waits_for_leave) {
            self.outbox.put_slice(CONTINUE);
        }
        if !self.outbox.is_empty() || self.must_flush {
            // What the socket does not take at once goes out later; that it is broken is seen by reading.
            let _ = self.poll_write_early(cx);
        }
        let part = ready!(self.poll_part(cx));
        if let Some(Err(_)) = part {
            self.place = Place::Broken;
        } else if let Place::Body(decoder) = &self.place
            && decoder.is_end()
        {
            self.place = Place::Behind;
            self.rest();
        }
        Poll::Ready(part)
    }

    fn poll_part(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let broken = |kind: io::ErrorKind| Poll::Ready(Some(Err(io::Error::from(kind).into())));
        loop {
            let decoder = match &mut self.place {
                Place::Body(decoder) => decoder,
                Place::Broken => return broken(io::ErrorKind::BrokenPipe),
                Place::Head { .. } | Place::Behind => return Poll::Ready(None),
            };
            match decoder.decode(&mut self.read.bytes) {
                Ok(Some(frame)) => return Poll::Ready(Some(Ok(frame))),
                Ok(None) if decoder.is_end() => return Poll::Ready(None),
                Ok(None) => (),
                Err(malformed) => return Poll::Ready(Some(Err(malformed.into()))),
            }
            if ready!(self.read.poll_read(&mut self.io, cx))? == 0 {
                self.is_ended = true;
                return broken(io::ErrorKind::UnexpectedEof);
            }
        }
    }

    /// Notes that the answer begins: nobody gets leave to send a body any more.
    pub(super) fn begin_answer(&mut self) {
        self.waits_for_leave = false;
    }

    /// Goes past what is there of a body that nobody wants, without waiting for more: a small one costs no connection.
    pub(super) fn skip_body(&mut self, cx: &mut Context<'_>) {
        let mut left = SKIPPED_BYTES_MAX;
        while self.is_in_body() {
            let Poll::Ready(Some(Ok(frame))) = self.poll_body(cx) else {
                return;
            };
            let len = frame.data_ref().map_or(0, Bytes::len);
            match left.checked_sub(len) {
                Some(less) => left = less,
                None => return,
            }
        }
    }

    /// Watches a client that waits for its answer: what it sends is kept back, that it has gone is reported.
    pub(super) fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.is_behind() {
            // Whoever reads the body sees it.
            return Poll::Pending;
        }
        while !self.is_ended && self.read.bytes.len() < BEHIND_BYTES_MAX {
            match ready!(self.read.poll_read(&mut self.io, cx)) {
                Ok(0) => {
                    self.is_ended = true;
                    self.has_written = false;
                    self.deadline.set(self.settings.half_close_grace);
                }
                Ok(_) => (),
                Err(_) => return Poll::Ready(()),
            }
        }
        if !self.is_ended {
            return Poll::Pending;
        }
        if !self.deadline.is_set() {
            // It had ended before this request began.
            self.has_written = false;
            self.deadline.set(self.settings.half_close_grace);
        }
        loop {
            ready!(self.deadline.poll(cx));
            if !std::mem::take(&mut self.has_written) {
                return Poll::Ready(());
            }
            self.deadline.set(self.settings.half_close_grace);
        }
    }

    /// Reads what is there already, without waiting: whether something is, is to be known before the connection is closed.
    pub(super) fn look(&mut self, cx: &mut Context<'_>) {
        if self.is_ended || self.has_unread() {
            return;
        }
        match self.read.poll_read(&mut self.io, cx) {
            Poll::Ready(Ok(0) | Err(_)) => self.is_ended = true,
            Poll::Ready(Ok(_)) | Poll::Pending => (),
        }
    }

    /// Writes what there is of heads before the answer.
    ///
    /// # Errors
    /// The socket's.
    pub(super) fn write_interim(&mut self, link: &Link, cx: &mut Context<'_>) -> io::Result<()> {
        if self.outbox.is_empty() {
            if let Some(interim) = link.take_interim() {
                self.outbox.put_slice(&interim);
            } else if !self.must_flush {
                return Ok(());
            }
        }
        match self.poll_write_early(cx) {
            Poll::Ready(Err(error)) => Err(error),
            _ => Ok(()),
        }
    }

    fn poll_write_early(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut outbox = std::mem::take(&mut self.outbox);
        let written = self.poll_write(&mut outbox, cx);
        self.outbox = outbox;
        written
    }

    /// Writes what there is to write.
    ///
    /// # Errors
    /// The socket's.
    pub(super) fn poll_write(
        &mut self,
        outbox: &mut Outbox,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        let outbox_was_empty = outbox.is_empty();
        let written = outbox.poll_write(&mut self.io, cx);
        // That there was something to write, and a client to wait for, is enough: the socket is asked again only once it has
        // much room.
        self.has_written |= !outbox_was_empty;
        self.must_flush |= !outbox_was_empty;
        ready!(written)?;
        if self.must_flush {
            // TLS may keep what the socket did not take at once.
            ready!(Pin::new(&mut self.io).poll_flush(cx))?;
            self.must_flush = false;
        }
        Poll::Ready(Ok(()))
    }
}

/// Whether a request may begin with this byte: a TLS hello on a plain port need not be waited for.
fn is_method_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// How much is kept of what a client sends while it waits for its answer.
const BEHIND_BYTES_MAX: usize = 64 << 10;

/// How much is read of a body that nobody wants.
const SKIPPED_BYTES_MAX: usize = 64 << 10;
