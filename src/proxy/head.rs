//! What stands between a client's socket and hyper: each raw request head is read here before hyper sees it.
//!
//! hyper refuses targets that people type and RESTHeart takes (`?filter={"from":"Bob"}`), cuts at a raw `#`, and reads
//! some heads in one of two possible ways. [`HeadIo`] percent-encodes the first, and refuses the last, on every request
//! of a connection: it follows the framing of the bodies between the heads, whose bytes it never touches.
//!
//! It hands out one request at a time: what comes behind a request stays here until its answer is complete ([`Link`]).
//! So a connection that is taken over (a WebSocket, a stream) gets every byte behind the head, unread by hyper, in
//! [`HeadIo::into_parts`]; and a refusal is never written into the middle of the answer before it.
//!
//! A client that sends FIN while it waits may have gone or only have closed its half. TCP does not say which, so such a
//! request goes on for [`HeadSettings::half_close_grace`] and longer only while its answer is being written: a client
//! that has gone resets the connection then.

pub(super) mod http2;
mod link;
mod parse;
mod raw;
mod target;

use std::{
    io,
    mem::MaybeUninit,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{fields::Head, framing::Follow, swap::Swap, timer::Deadline};

pub use self::{
    link::{Link, Refusal},
    raw::{RawHead, set_header},
};

/// Limits on request heads and on the time between them.
#[derive(Clone, Debug)]
pub struct HeadSettings {
    /// The longest head, in bytes, the empty line included. At most [`HEAD_BYTES_MAX`], which is what hyper buffers.
    pub bytes_max: usize,
    /// How long a head may take from its first byte (on a new connection: from the accept) to its last.
    pub time_max: Duration,
    /// How long a kept connection may be silent between two requests.
    pub idle_max: Duration,
    /// How long a request goes on for a client that has closed its sending half and gets nothing written.
    pub half_close_grace: Duration,
}

impl Default for HeadSettings {
    fn default() -> Self {
        Self {
            bytes_max: 128 << 10,
            time_max: Duration::from_secs(30),
            idle_max: Duration::from_secs(75),
            half_close_grace: Duration::from_secs(5),
        }
    }
}

/// An IO object on which hyper reads treated heads, and on which the heads of forwarded answers are the upstream's own.
#[derive(Debug)]
pub struct HeadIo<S> {
    io: S,
    settings: Arc<HeadSettings>,
    link: Arc<Link>,
    place: Place,
    /// Read from `io`, not yet looked at (but for the head's first `scanned` bytes).
    raw: BytesMut,
    /// Looked at and ready for hyper.
    treated: Bytes,
    /// What is waited for: a head, the next request, or a sign of life after the client's FIN.
    deadline: Deadline,
    /// The client has closed its sending half.
    is_ended: bool,
    is_first: bool,
    /// The first byte of the head that is waited for has come.
    has_begun: bool,
    /// Something was written since the grace began.
    has_written: bool,
    swap: Swap,
    /// What is left of interim heads that began to be written.
    interim: Bytes,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Head { scanned: usize },
    Body(Follow),
    Refused,
}

impl<S> HeadIo<S> {
    /// Wraps a fresh connection; `link` is told of refusals and tells when an answer is complete.
    pub fn new(io: S, settings: Arc<HeadSettings>, link: Arc<Link>) -> Self {
        debug_assert!(settings.bytes_max <= HEAD_BYTES_MAX);
        Self {
            io,
            settings,
            link,
            place: Place::Head { scanned: 0 },
            raw: BytesMut::new(),
            treated: Bytes::new(),
            deadline: Deadline::default(),
            is_ended: false,
            is_first: true,
            has_begun: false,
            has_written: false,
            swap: Swap::default(),
            interim: Bytes::new(),
        }
    }

    /// Returns the socket, and what was read behind the last head that hyper got.
    pub fn into_parts(self) -> (S, Bytes) {
        if self.treated.is_empty() {
            return (self.io, self.raw.freeze());
        }
        let mut behind = BytesMut::from(self.treated);
        behind.extend_from_slice(&self.raw);
        (self.io, behind.freeze())
    }

    /// Returns whether closing now could destroy the answer: the client may still be sending what nobody will read.
    pub fn has_unread(&self) -> bool {
        let is_between_requests = matches!(self.place, Place::Head { .. }) && self.raw.is_empty();
        !(self.is_ended || is_between_requests)
    }

    /// Returns whether the connection began with HTTP/2, whose first bytes are untouched then ([`HeadIo::into_parts`]).
    pub fn has_begun_http2(&self) -> bool {
        self.is_first && self.link.refusal() == Some(Refusal::Preface)
    }

    fn refuse(&mut self, refusal: Refusal) -> io::Error {
        self.place = Place::Refused;
        self.link.refuse(refusal);
        io::Error::new(io::ErrorKind::InvalidData, refusal)
    }

    /// Looks for a head at the start of `raw` and treats it. `Ok(false)`: more bytes are needed.
    fn take_head(&mut self, scanned: usize) -> Result<bool, Refusal> {
        // An empty line or two before a request are forgiven (RFC 9112 §2.2); they count for the limits.
        let mut scanned = scanned;
        while scanned == 0 && self.raw.starts_with(b"\r\n") {
            self.raw.advance(2);
        }
        if self.raw.is_empty() || self.raw[..] == b"\r"[..] {
            return Ok(false);
        }
        if !is_method_byte(self.raw[0]) {
            return Err(Refusal::Bad);
        }
        let end = parse::end(&self.raw, scanned)?;
        if end.unwrap_or(self.raw.len()) > self.settings.bytes_max {
            let first_line = &self.raw[..self.settings.bytes_max.min(self.raw.len())];
            return Err(match memchr::memchr(b'\n', first_line) {
                Some(_) => Refusal::HeadTooLong,
                None => Refusal::TargetTooLong,
            });
        }
        let Some(end) = end else {
            scanned = self.raw.len();
            self.place = Place::Head { scanned };
            return Ok(false);
        };
        let treated = parse::treat(&self.raw[..end], FIELDS_MAX)?;
        let head = self.raw.split_to(end).freeze();
        let raw = RawHead::new(Head::new(head.clone(), treated.lines));
        self.begin_request(Follow::new(treated.framing), raw);
        self.treated = treated.rewritten.map_or(head, Bytes::from);
        Ok(true)
    }

    fn begin_request(&mut self, follow: Follow, head: RawHead) {
        self.place = match follow {
            Follow::End => Place::Head { scanned: 0 },
            follow => Place::Body(follow),
        };
        self.is_first = false;
        self.has_begun = false;
        self.deadline.clear();
        self.link.asked(head);
        if self.raw.is_empty() {
            // An idle connection keeps no buffer.
            self.raw = BytesMut::new();
        }
    }

    /// Copies from `treated` to hyper.
    fn hand_out(&mut self, buf: &mut ReadBuf<'_>) {
        let len = self.treated.len().min(buf.remaining());
        buf.put_slice(&self.treated[..len]);
        self.treated.advance(len);
        if self.treated.is_empty() {
            self.treated = Bytes::new();
        }
    }

    /// What to do when there is nothing to read while a head is waited for.
    fn poll_head_time(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.deadline.is_set() {
            self.deadline.set(if self.is_first {
                self.settings.time_max
            } else {
                self.settings.idle_max
            });
        }
        ready!(self.deadline.poll(cx));
        if !self.has_begun {
            // Silence is no request; end of file makes hyper close without a word.
            self.is_ended = true;
            return Poll::Ready(Ok(()));
        }
        Poll::Ready(Err(self.refuse(Refusal::TooSlow)))
    }
}

impl<S: AsyncRead + Unpin> HeadIo<S> {
    /// Reads into hyper's own buffer, and leaves a whole head that needs no change there.
    fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<Progress>> {
        let before = buf.filled().len();
        if !self.is_ended && ready!(self.poll_more(cx, buf))?.is_end() {
            self.is_ended = true;
        }
        if self.is_ended {
            return Poll::Ready(Ok(Progress::HandedOut));
        }
        if self.raw.is_empty() && is_method_byte(buf.filled()[before]) {
            let new = &buf.filled()[before..];
            let end = parse::end(new, 0).map_err(|refusal| self.refuse(refusal))?;
            if end == Some(new.len()) && new.len() <= self.settings.bytes_max {
                let treated = match parse::treat(new, FIELDS_MAX) {
                    Ok(treated) => treated,
                    Err(refusal) => {
                        self.raw.extend_from_slice(new);
                        return Poll::Ready(Err(self.refuse(refusal)));
                    }
                };
                let head = Bytes::copy_from_slice(new);
                let head = RawHead::new(Head::new(head, treated.lines));
                if let Some(rewritten) = treated.rewritten {
                    buf.set_filled(before);
                    self.treated = Bytes::from(rewritten);
                }
                self.begin_request(Follow::new(treated.framing), head);
                return Poll::Ready(Ok(Progress::of(self.treated.is_empty())));
            }
        }
        if !self.has_begun {
            self.has_begun = true;
            self.deadline.set(self.settings.time_max);
        }
        self.raw.extend_from_slice(&buf.filled()[before..]);
        buf.set_filled(before);
        Poll::Ready(Ok(Progress::Again))
    }

    fn poll_more(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<Amount>> {
        let before = buf.filled().len();
        match Pin::new(&mut self.io).poll_read(cx, buf) {
            Poll::Ready(Ok(())) => Poll::Ready(Ok(Amount(buf.filled().len() - before))),
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => match self.poll_head_time(cx) {
                Poll::Ready(Ok(())) => Poll::Ready(Ok(Amount(0))),
                Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
                Poll::Pending => Poll::Pending,
            },
        }
    }

    fn poll_body(
        &mut self,
        mut follow: Follow,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        if self.raw.is_empty() {
            ready!(Pin::new(&mut self.io).poll_read(cx, buf))?;
        } else {
            let len = self.raw.len().min(buf.remaining());
            buf.put_slice(&self.raw[..len]);
            self.raw.advance(len);
        }
        let new = &buf.filled()[before..];
        if new.is_empty() {
            self.is_ended = true;
            return Poll::Ready(Ok(()));
        }
        // Not `refuse`: an answer may be on its way, and hyper reports the body as broken to whoever reads it.
        let body_len = follow.advance(new).map_err(|malformed| {
            self.place = Place::Refused;
            io::Error::new(io::ErrorKind::InvalidData, malformed)
        })?;
        if body_len < new.len() {
            let mut behind = BytesMut::from(&new[body_len..]);
            behind.extend_from_slice(&self.raw);
            self.raw = behind;
            buf.set_filled(before + body_len);
        }
        self.place = match follow {
            Follow::End => Place::Head { scanned: 0 },
            follow => Place::Body(follow),
        };
        Poll::Ready(Ok(()))
    }

    /// Watches a client that waits for its answer: what it sends is kept back, that it has gone is reported.
    fn poll_waiting(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let waiting = self.poll_sign_of_life(cx);
        if waiting.is_pending() && (self.is_ended || !self.raw.is_empty()) {
            self.link.wake_when_answered(cx.waker());
        }
        waiting
    }

    fn poll_sign_of_life(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.is_ended && self.raw.len() < BEHIND_BYTES_MAX {
            let mut room = [MaybeUninit::uninit(); 1024];
            let mut buf = ReadBuf::uninit(&mut room);
            ready!(Pin::new(&mut self.io).poll_read(cx, &mut buf))?;
            if buf.filled().is_empty() {
                self.is_ended = true;
                self.has_written = false;
                self.deadline.set(self.settings.half_close_grace);
            } else {
                self.raw.extend_from_slice(buf.filled());
            }
        }
        if !self.is_ended {
            // Full: hyper asks again when the answer is complete.
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
                return Poll::Ready(Ok(()));
            }
            self.deadline.set(self.settings.half_close_grace);
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for HeadIo<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        loop {
            if !this.treated.is_empty() {
                this.hand_out(buf);
                return Poll::Ready(Ok(()));
            }
            match this.place {
                Place::Refused => return Poll::Ready(Err(io::ErrorKind::InvalidData.into())),
                Place::Body(follow) => return this.poll_body(follow, cx, buf),
                Place::Head { .. } if this.link.is_answering() => return this.poll_waiting(cx),
                Place::Head { scanned } => {
                    if this.raw.len() > scanned {
                        match this.take_head(scanned) {
                            Ok(true) => continue,
                            Ok(false) => (),
                            Err(refusal) => return Poll::Ready(Err(this.refuse(refusal))),
                        }
                    }
                    match ready!(this.poll_head(cx, buf))? {
                        Progress::HandedOut => return Poll::Ready(Ok(())),
                        Progress::Again => (),
                    }
                }
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> HeadIo<S> {
    /// Writes what is left of interim heads that were taken to be written.
    fn poll_write_interim(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.interim.is_empty() {
            let written = ready!(Pin::new(&mut self.io).poll_write(cx, &self.interim))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.has_written = true;
            self.interim.advance(written);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for HeadIo<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[io::IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        this.has_written = true;
        if !this.swap.is_under_way() {
            ready!(this.poll_write_interim(cx))?;
            let first = bufs.first().map_or(&[][..], |buf| buf);
            match this.link.take_answer(first) {
                // What is left of what was written before goes first.
                Some((hypers, _)) if hypers.start > 0 => {
                    return Pin::new(&mut this.io).poll_write(cx, &first[..hypers.start]);
                }
                Some((hypers, ours)) => this.swap.begin(ours, hypers.end),
                None => (),
            }
        }
        this.swap.poll_write(&mut this.io, cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    /// hyper flushes when it has nothing to write, and so between messages as long as the answer has not begun: it is
    /// then that interim heads go out.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        ready!(this.poll_write_interim(cx))?;
        if let Some(interim) = this.link.take_interim() {
            this.interim = interim;
            ready!(this.poll_write_interim(cx))?;
        }
        Pin::new(&mut this.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

enum Progress {
    HandedOut,
    Again,
}

impl Progress {
    fn of(is_handed_out: bool) -> Self {
        if is_handed_out {
            Self::HandedOut
        } else {
            Self::Again
        }
    }
}

/// Bytes read; none is the end.
struct Amount(usize);

impl Amount {
    fn is_end(&self) -> bool {
        self.0 == 0
    }
}

/// Whether a request may begin with this byte: a TLS hello on a plain port need not be waited for.
fn is_method_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// The most that [`HeadSettings::bytes_max`] may be: what hyper buffers at most, with room for encoded targets.
pub const HEAD_BYTES_MAX: usize = 256 << 10;

/// The most fields in a head; hyper's own default, beyond which each request would cost it an allocation.
const FIELDS_MAX: usize = 100;

/// How much is kept of what a client sends while it waits for its answer.
const BEHIND_BYTES_MAX: usize = 64 << 10;

#[cfg(test)]
mod tests;
