//! Puts a request head of our own in the place of the one that hyper writes.
//!
//! hyper lowers, regroups and re-encodes: it has no place for a target that `http::Uri` refuses, nor for the order in
//! which repeated fields came. So it is given no more than it needs to send the body and to read the answer, and what it
//! writes as the head is replaced on its way to the socket.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Where the head of a connection's next request is laid down.
#[derive(Debug, Default)]
pub(crate) struct NextHead(Mutex<Option<Bytes>>);

impl NextHead {
    /// Lays down the head of the next request that hyper is given.
    pub(crate) fn put(&self, head: Bytes) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(head);
    }

    fn take(&self) -> Option<Bytes> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// A socket on which hyper's next head becomes the one laid down in [`NextHead`]; all else passes through.
#[derive(Debug)]
pub(crate) struct HeadSwap<S> {
    io: S,
    next: Arc<NextHead>,
    swapping: Option<Swapping>,
}

/// A head that is being written.
#[derive(Debug)]
struct Swapping {
    /// What is left of ours.
    ours: Bytes,
    /// The length of hyper's.
    replaced: usize,
}

impl<S> HeadSwap<S> {
    pub(crate) fn new(io: S, next: Arc<NextHead>) -> Self {
        Self {
            io,
            next,
            swapping: None,
        }
    }

    pub(crate) fn into_inner(self) -> S {
        self.io
    }
}

impl<S: AsyncWrite + Unpin> HeadSwap<S> {
    /// Writes what is left of our head and what hyper has behind its own. Returns what hyper is told.
    fn poll_swap(&mut self, cx: &mut Context<'_>, bufs: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        while let Some(swapping) = &mut self.swapping {
            let mut slices = [IoSlice::new(&[]); SLICES_MAX];
            slices[0] = IoSlice::new(&swapping.ours);
            let mut used = 1;
            // hyper's head is the start of what it writes, whole in the first buffer.
            let behind = bufs
                .first()
                .map_or(&[][..], |buf| &buf[swapping.replaced..]);
            let rest = std::iter::once(behind).chain(bufs.iter().skip(1).map(|buf| &**buf));
            for (slot, buf) in slices[1..]
                .iter_mut()
                .zip(rest.filter(|buf| !buf.is_empty()))
            {
                *slot = IoSlice::new(buf);
                used += 1;
            }
            let io = Pin::new(&mut self.io);
            let written = ready!(poll_write_all_of(io, cx, &slices[..used]))?;
            if written == 0 {
                return Poll::Ready(Ok(0));
            }
            match written.checked_sub(swapping.ours.len()) {
                Some(behind) => {
                    let replaced = swapping.replaced;
                    self.swapping = None;
                    return Poll::Ready(Ok(replaced + behind));
                }
                None => swapping.ours.advance(written),
            }
        }
        poll_write_all_of(Pin::new(&mut self.io), cx, bufs)
    }
}

/// One buffer needs no vector, which costs the kernel more.
fn poll_write_all_of<S: AsyncWrite>(
    io: Pin<&mut S>,
    cx: &mut Context<'_>,
    bufs: &[IoSlice<'_>],
) -> Poll<io::Result<usize>> {
    match bufs {
        [one] => io.poll_write(cx, one),
        several => io.poll_write_vectored(cx, several),
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for HeadSwap<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buf)
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
        if this.swapping.is_none()
            && let Some(ours) = this.next.take()
        {
            let first = bufs.first().map_or(&[][..], |buf| buf);
            let Some(end) = memchr::memmem::find(first, HEAD_END) else {
                return Poll::Ready(Err(io::ErrorKind::InvalidData.into()));
            };
            this.swapping = Some(Swapping {
                ours,
                replaced: end + HEAD_END.len(),
            });
        }
        this.poll_swap(cx, bufs)
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

const HEAD_END: &[u8] = b"\r\n\r\n";

/// How many buffers one write takes at most; what is over waits for the next.
const SLICES_MAX: usize = 16;

#[cfg(test)]
mod tests;
