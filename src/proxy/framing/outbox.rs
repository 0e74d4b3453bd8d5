//! What waits to be written to a socket.

use std::{
    io::{self, IoSlice, Write as _},
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use tokio::io::AsyncWrite;

/// A head and parts of a body on their way to a socket, as few writes as possible.
///
/// What is small is copied together: a copy of a few kilobytes costs less than a vector of buffers costs the kernel. What is large
/// goes out from where it lies.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    small: BytesMut,
    /// Behind `small`.
    large: Bytes,
    /// Behind `large`.
    end: &'static [u8],
}

impl Outbox {
    /// Returns whether all of it has been written.
    pub(crate) fn is_empty(&self) -> bool {
        self.small.is_empty() && self.large.is_empty() && self.end.is_empty()
    }

    /// Returns whether more should be put in before it is written.
    pub(crate) fn has_room(&self) -> bool {
        self.large.is_empty() && self.end.is_empty() && self.small.len() < LARGE_BYTES
    }

    /// Puts in a part of a body, with what comes behind it. Only where there is room.
    pub(super) fn put(&mut self, data: Bytes, end: &'static [u8]) {
        debug_assert!(self.large.is_empty() && self.end.is_empty());
        if data.len() < LARGE_BYTES {
            self.put_slice(&data);
            self.put_slice(end);
        } else {
            self.large = data;
            self.end = end;
        }
    }

    /// Puts in bytes that are few. Only where there is room.
    pub(crate) fn put_slice(&mut self, bytes: &[u8]) {
        debug_assert!(self.large.is_empty() && self.end.is_empty());
        self.small.extend_from_slice(bytes);
    }

    /// Puts in a head that goes out as it is. Only where there is nothing else.
    pub(crate) fn put_head(&mut self, head: Bytes) {
        debug_assert!(self.is_empty());
        self.large = head;
    }

    pub(super) fn put_chunk_size(&mut self, size: usize) {
        let written = write!((&mut self.small).writer(), "{size:x}\r\n");
        written.expect("invariant: memory takes what is written");
    }

    /// Writes all of it.
    ///
    /// # Errors
    /// The socket's; [`io::ErrorKind::WriteZero`] where it takes nothing any more.
    pub(crate) fn poll_write<S>(&mut self, io: &mut S, cx: &mut Context<'_>) -> Poll<io::Result<()>>
    where
        S: AsyncWrite + Unpin,
    {
        while !self.is_empty() {
            let parts = [&*self.small, &*self.large, self.end];
            let mut io = Pin::new(&mut *io);
            let written = match parts {
                [one, [], []] | [[], one, []] => ready!(io.as_mut().poll_write(cx, one))?,
                parts => {
                    let parts = parts.map(IoSlice::new);
                    ready!(io.as_mut().poll_write_vectored(cx, &parts))?
                }
            };
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.advance(written);
        }
        Poll::Ready(Ok(()))
    }

    fn advance(&mut self, written: usize) {
        let of_small = written.min(self.small.len());
        self.small.advance(of_small);
        if self.small.is_empty() {
            self.small = BytesMut::new();
        }
        let of_large = (written - of_small).min(self.large.len());
        self.large.advance(of_large);
        if self.large.is_empty() {
            self.large = Bytes::new();
        }
        self.end = &self.end[written - of_small - of_large..];
    }
}

/// From this size on, in bytes, a part of a body is not copied.
const LARGE_BYTES: usize = 8 << 10;
