//! What stands between a client's socket and h2: the target of each request is looked at here first.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::block;
use crate::proxy::linger::Linger;

/// An IO object on which h2 reads requests with targets that it takes. All else passes as it comes; at the end the client is
/// heard out.
#[derive(Debug)]
pub struct Http2Io<IO> {
    io: IO,
    place: Place,
    /// Read and not looked at: less than a frame's head, or than a frame with fields.
    raw: BytesMut,
    /// Looked at, for h2.
    treated: BytesMut,
    /// Our side is closed.
    lingering: Option<Linger>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Within what passes; so much of it is left.
    Passing { left: usize },
    /// At a frame's head.
    Head,
    /// `raw` holds what is left of a stream that has ended.
    Ended,
}

impl<IO> Http2Io<IO> {
    /// Wraps a connection of which nothing but `read` was read: its client's preface is still to come, or begins there.
    pub fn new(io: IO, read: Bytes) -> Self {
        Self {
            io,
            place: Place::Passing { left: PREFACE_LEN },
            raw: read.into(),
            treated: BytesMut::new(),
            lingering: None,
        }
    }

    /// Looks at the frame at the start of `raw`. `false`: more bytes are needed.
    fn take_frame(&mut self) -> bool {
        let Some(head) = self.raw.first_chunk::<HEAD_LEN>() else {
            return false;
        };
        let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
        let (kind, flags) = (head[3], head[4]);
        let is_whole_block = kind == HEADERS && flags & END_HEADERS != 0 && length <= FRAME_LEN_MAX;
        if !is_whole_block {
            self.treated.extend_from_slice(&self.raw[..HEAD_LEN]);
            self.raw.advance(HEAD_LEN);
            self.place = Place::Passing { left: length };
            return true;
        }
        if self.raw.len() < HEAD_LEN + length {
            return false;
        }
        let frame = self.raw.split_to(HEAD_LEN + length);
        match treat(&frame) {
            Some(treated) => self.treated.extend_from_slice(&treated),
            None => self.treated.unsplit(frame),
        }
        true
    }

    /// Gives h2 what it may have. `false`: there is nothing.
    fn hand_out(&mut self, buf: &mut ReadBuf<'_>) -> bool {
        if !self.treated.is_empty() {
            give(&mut self.treated, usize::MAX, buf);
            return true;
        }
        match &mut self.place {
            Place::Passing { left } if !self.raw.is_empty() => {
                *left -= give(&mut self.raw, *left, buf);
                true
            }
            Place::Ended if !self.raw.is_empty() => {
                give(&mut self.raw, usize::MAX, buf);
                true
            }
            _ => false,
        }
    }
}

/// Copies at most `max` bytes; returns how many.
fn give(from: &mut BytesMut, max: usize, buf: &mut ReadBuf<'_>) -> usize {
    let len = from.len().min(buf.remaining()).min(max);
    buf.put_slice(&from[..len]);
    from.advance(len);
    if from.is_empty() {
        // An idle connection keeps no buffer.
        *from = BytesMut::new();
    }
    len
}

/// Returns a frame of fields with its target treated; `None` where it stays as it is.
fn treat(frame: &[u8]) -> Option<Vec<u8>> {
    let (head, payload) = frame.split_at(HEAD_LEN);
    let flags = head[4];
    let mut block = payload;
    if flags & PADDED != 0 {
        let (&padding, rest) = block.split_first()?;
        block = rest.get(..rest.len().checked_sub(usize::from(padding))?)?;
    }
    let mut priority = &block[..0];
    if flags & PRIORITY != 0 {
        (priority, block) = block.split_at_checked(PRIORITY_LEN)?;
    }
    let block = block::treat(block)?;
    let length = priority.len() + block.len();
    if length > FRAME_LEN_MAX {
        return None;
    }
    let mut treated = Vec::with_capacity(HEAD_LEN + length);
    treated.extend_from_slice(&(length as u32).to_be_bytes()[1..]);
    treated.extend_from_slice(&[HEADERS, flags & !PADDED]);
    treated.extend_from_slice(&head[5..]);
    treated.extend_from_slice(priority);
    treated.extend_from_slice(&block);
    Some(treated)
}

impl<IO: AsyncRead + Unpin> AsyncRead for Http2Io<IO> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        loop {
            if this.place == (Place::Passing { left: 0 }) {
                this.place = Place::Head;
            }
            if this.hand_out(buf) {
                return Poll::Ready(Ok(()));
            }
            let before = buf.filled().len();
            match this.place {
                Place::Ended => return Poll::Ready(Ok(())),
                // Bodies go straight to where h2 wants them.
                Place::Passing { left } => {
                    ready!(Pin::new(&mut this.io).poll_read(cx, buf))?;
                    let len = buf.filled().len() - before;
                    if len > left {
                        this.raw.extend_from_slice(&buf.filled()[before + left..]);
                        buf.set_filled(before + left);
                    }
                    this.place = match len {
                        0 => Place::Ended,
                        len => Place::Passing {
                            left: left.saturating_sub(len),
                        },
                    };
                    return Poll::Ready(Ok(()));
                }
                Place::Head => {
                    if this.take_frame() {
                        continue;
                    }
                    ready!(Pin::new(&mut this.io).poll_read(cx, buf))?;
                    let new = &buf.filled()[before..];
                    if new.is_empty() {
                        this.place = Place::Ended;
                    }
                    this.raw.extend_from_slice(new);
                    buf.set_filled(before);
                }
            }
        }
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Http2Io<IO> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    /// Closes our side, and hears the client out.
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.lingering.is_none() {
            ready!(Pin::new(&mut this.io).poll_shutdown(cx))?;
        }
        let lingering = this.lingering.get_or_insert_with(Linger::new);
        // A client that breaks off has gone, which is all that is waited for.
        let _ = ready!(lingering.poll(&mut this.io, cx));
        Poll::Ready(Ok(()))
    }
}

/// Source: RFC 9113 §3.4, §4.1, §6.2.
const PREFACE_LEN: usize = 24;
const HEAD_LEN: usize = 9;
const HEADERS: u8 = 1;
const END_HEADERS: u8 = 0x4;
const PADDED: u8 = 0x8;
const PRIORITY: u8 = 0x20;
const PRIORITY_LEN: usize = 5;

/// The longest frame that h2 takes here. A head that needs several is not looked at.
const FRAME_LEN_MAX: usize = 16 << 10;

#[cfg(test)]
mod tests;
