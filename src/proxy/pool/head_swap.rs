//! A socket to the upstream on which heads are ours in both directions: what hyper writes as a request's head is
//! replaced ([`Swap`]), and of an answer's head hyper reads only what delimits the body ([`AnswerHead`]).

use std::{
    io::{self, IoSlice},
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::proxy::{
    answer::{self, AnswerHead},
    swap::{Swap, mark},
};

/// What is laid down by one side of a connection for the other: by whoever asks, and by its [`HeadSwap`].
#[derive(Debug, Default)]
pub(crate) struct Heads {
    laid: Mutex<Laid>,
    /// The next request goes out only if the socket has nothing to say.
    looks: AtomicBool,
}

#[derive(Debug, Default)]
struct Laid {
    request: Option<Bytes>,
    interim: Vec<AnswerHead>,
    answer: Option<AnswerHead>,
}

impl Heads {
    /// Lays down the head of the next request that hyper is given, with the mark for its target.
    pub(crate) fn put_request(&self, head: Bytes) {
        let mut laid = self.laid();
        laid.request = Some(head);
        laid.answer = None;
        laid.interim.clear();
    }

    /// Has the socket itself asked whether it has ended, before the next request is written: the reactor knows of an end only
    /// from its last turn on, which under load was a while ago.
    pub(crate) fn look_first(&self) {
        self.looks.store(true, Ordering::Relaxed);
    }

    /// Takes the head of the answer that hyper has read.
    pub(crate) fn take_answer(&self) -> Option<AnswerHead> {
        self.laid().answer.take()
    }

    /// Takes the interim heads (but for 100) that have come before the answer's.
    pub(crate) fn take_interim(&self) -> Vec<AnswerHead> {
        std::mem::take(&mut self.laid().interim)
    }

    fn laid(&self) -> MutexGuard<'_, Laid> {
        self.laid.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A socket that can be asked.
pub(crate) trait Look {
    /// Whether it has anything to say now, be it only that it has ended. Nothing is read.
    fn is_readable_now(&self) -> bool;
}

/// A socket on which hyper's heads become those in [`Heads`], and the other way round; all else passes through.
#[derive(Debug)]
pub(crate) struct HeadSwap<S> {
    io: S,
    heads: Arc<Heads>,
    swap: Swap,
    /// A request's head went out, and its answer's has not come whole.
    is_awaiting: bool,
    /// The beginning of an answer's head.
    partial: BytesMut,
    /// What hyper has to read before it gets more from `io`.
    handing: BytesMut,
}

impl<S> HeadSwap<S> {
    pub(crate) fn new(io: S, heads: Arc<Heads>) -> Self {
        Self {
            io,
            heads,
            swap: Swap::default(),
            is_awaiting: false,
            partial: BytesMut::new(),
            handing: BytesMut::new(),
        }
    }

    /// Returns the socket, and what was read from it and not handed to hyper.
    pub(crate) fn into_parts(self) -> (S, Bytes) {
        (self.io, self.handing.freeze())
    }

    /// Where a whole answer head is all of what was read, or stands before the body: the usual case, without a buffer
    /// between. Returns whether it is done.
    fn take_in_place(&mut self, buf: &mut ReadBuf<'_>, before: usize) -> bool {
        let new = &mut buf.filled_mut()[before..];
        let Some(end) = answer::end(new, 0) else {
            return false;
        };
        let Some(head) = AnswerHead::read(&new[..end]).filter(|head| !head.is_interim()) else {
            return false;
        };
        let len = head.reduce(&mut new[..end]);
        let all = new.len();
        new.copy_within(end.., len);
        buf.set_filled(before + len + all - end);
        self.answered(head);
        true
    }

    /// Takes what whole heads there are in `partial`. What hyper shall read is in `handing` then.
    fn take_partial(&mut self, scanned: usize) {
        let mut scanned = scanned;
        while let Some(end) = answer::end(&self.partial, scanned) {
            scanned = 0;
            let mut raw = self.partial.split_to(end);
            let head = AnswerHead::read(&raw).or_else(|| AnswerHead::read_bare(&raw));
            match head {
                // hyper knows who waits for leave to go on.
                Some(head) if head.status() == CONTINUE => self.handing.unsplit(raw),
                Some(head) if head.is_interim() => {
                    let interim = &mut self.heads.laid().interim;
                    if interim.len() < INTERIM_MAX {
                        interim.push(head);
                    }
                }
                Some(head) => {
                    raw.resize(head.bytes().len(), 0);
                    let len = head.reduce(&mut raw);
                    self.handing.extend_from_slice(&raw[..len]);
                    self.handing.unsplit(self.partial.split());
                    self.answered(head);
                    return;
                }
                None => {
                    self.handing.unsplit(raw);
                    self.give_up();
                    return;
                }
            }
        }
        if self.partial.len() > answer::HEAD_BYTES_MAX {
            self.give_up();
        }
    }

    /// hyper has the answer; what else comes is its body.
    fn answered(&mut self, head: AnswerHead) {
        self.is_awaiting = false;
        self.partial = BytesMut::new();
        self.heads.laid().answer = Some(head);
    }

    /// Leaves it to hyper to say what is wrong.
    fn give_up(&mut self) {
        self.is_awaiting = false;
        self.handing.unsplit(self.partial.split());
    }

    fn hand_out(&mut self, buf: &mut ReadBuf<'_>) {
        let len = self.handing.len().min(buf.remaining());
        buf.put_slice(&self.handing[..len]);
        self.handing.advance(len);
        if self.handing.is_empty() {
            self.handing = BytesMut::new();
        }
    }
}

impl<S: AsyncRead + Look + Unpin> AsyncRead for HeadSwap<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.heads.looks.load(Ordering::Relaxed) && !this.is_awaiting {
            this.heads.looks.store(false, Ordering::Relaxed);
            if this.io.is_readable_now() {
                // hyper takes it for its end. What is said without being asked is a goodbye at best.
                return Poll::Ready(Ok(()));
            }
        }
        loop {
            if !this.handing.is_empty() {
                this.hand_out(buf);
                return Poll::Ready(Ok(()));
            }
            let before = buf.filled().len();
            ready!(Pin::new(&mut this.io).poll_read(cx, buf))?;
            if !this.is_awaiting {
                return Poll::Ready(Ok(()));
            }
            if this.partial.is_empty() && this.take_in_place(buf, before) {
                return Poll::Ready(Ok(()));
            }
            if buf.filled().len() == before {
                // It ends within a head, or before one: hyper says which.
                this.give_up();
                if this.handing.is_empty() {
                    return Poll::Ready(Ok(()));
                }
                continue;
            }
            let scanned = this.partial.len();
            this.partial.extend_from_slice(&buf.filled()[before..]);
            buf.set_filled(before);
            this.take_partial(scanned);
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for HeadSwap<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        if !this.swap.is_under_way() {
            let first = bufs.first().map_or(&[][..], |buf| buf);
            let mut laid = this.heads.laid();
            let found = laid.request.as_ref().and_then(|ours| {
                let method_len = memchr::memchr(b' ', ours)?;
                mark().find_request(first, method_len)
            });
            match found {
                // What is left of the request before goes first.
                Some(hypers) if hypers.start > 0 => {
                    drop(laid);
                    return Pin::new(&mut this.io).poll_write(cx, &first[..hypers.start]);
                }
                Some(hypers) => {
                    let ours = laid.request.take().unwrap_or_default();
                    this.swap.begin(ours, hypers.end);
                    this.heads.looks.store(false, Ordering::Relaxed);
                    this.is_awaiting = true;
                }
                None => (),
            }
        }
        this.swap.poll_write(&mut this.io, cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

const CONTINUE: u16 = 100;

/// How many interim heads are kept until somebody takes them; more are dropped, as any client may drop them.
const INTERIM_MAX: usize = 16;

#[cfg(test)]
mod tests;
