//! One stream of HTTP/2 as the socket that a session or a tunnel runs on.
//!
//! Nothing is taken that could not go out now: what the client's window has no room for is refused like what a full socket
//! refuses. So a slow client is noticed by its session as any other, and costs no more memory.

use std::{
    fmt, io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes, BytesMut};
use h2::{Reason, RecvStream, SendStream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::{delivery::Direct, front::listener::Io, session};

/// A stream whose answer has begun.
pub struct StreamIo {
    sending: SendStream<Bytes>,
    /// What the client sends, where it is listened to. Who asked for Server-Sent Events has said all that it has to say.
    received: Option<RecvStream>,
    /// Received and not read.
    unread: Bytes,
    has_ended: bool,
}

impl StreamIo {
    pub(super) fn new(sending: SendStream<Bytes>, received: Option<RecvStream>) -> Self {
        Self {
            sending,
            received,
            unread: Bytes::new(),
            has_ended: false,
        }
    }

    /// Waits until the client has gone: this stream's, or all of it.
    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.has_ended {
            return Poll::Ready(Ok(()));
        }
        match ready!(self.sending.poll_reset(cx)) {
            Ok(Reason::NO_ERROR | Reason::CANCEL) => Poll::Ready(Ok(())),
            Ok(_) => Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
            Err(error) => Poll::Ready(Err(io_error(error))),
        }
    }

    /// Waits until the client takes something; returns how much of `wanted`.
    fn poll_room(&mut self, wanted: usize, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        loop {
            let room = self.sending.capacity();
            if room > 0 {
                return Poll::Ready(Ok(room.min(wanted)));
            }
            self.sending.reserve_capacity(wanted);
            match ready!(self.sending.poll_capacity(cx)) {
                Some(Ok(_)) => (),
                Some(Err(error)) => return Poll::Ready(Err(io_error(error))),
                None => return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
            }
        }
    }
}

impl AsyncRead for StreamIo {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        while this.unread.is_empty() {
            let Some(received) = &mut this.received else {
                return this.poll_gone(cx);
            };
            match ready!(received.poll_data(cx)) {
                Some(Ok(data)) => this.unread = data,
                Some(Err(error)) => return Poll::Ready(Err(io_error(error))),
                None => return Poll::Ready(Ok(())),
            }
        }
        let len = this.unread.len().min(buf.remaining());
        buf.put_slice(&this.unread[..len]);
        this.unread.advance(len);
        if let Some(received) = &mut this.received {
            let window = received.flow_control();
            window.release_capacity(len).map_err(io_error)?;
        }
        if this.unread.is_empty() {
            // An empty rest would keep its allocation.
            this.unread = Bytes::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for StreamIo {
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
        let wanted = bufs.iter().map(|buf| buf.len()).sum::<usize>();
        let wanted = wanted.min(WRITE_BYTES_MAX);
        if wanted == 0 {
            return Poll::Ready(Ok(0));
        }
        let room = ready!(self.poll_room(wanted, cx))?;
        let mut data = BytesMut::with_capacity(room);
        for buf in bufs {
            let len = buf.len().min(room - data.len());
            data.extend_from_slice(&buf[..len]);
        }
        let sent = self.sending.send_data(data.freeze(), false);
        sent.map_err(io_error)?;
        // What was asked for and not used is the other streams' again.
        self.sending.reserve_capacity(0);
        Poll::Ready(Ok(room))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// The connection writes by itself.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.has_ended {
            self.has_ended = true;
            self.sending
                .send_data(Bytes::new(), true)
                .map_err(io_error)?;
        }
        Poll::Ready(Ok(()))
    }
}

impl Io for StreamIo {
    fn for_session(self: Box<Self>) -> Box<dyn session::Stream> {
        self
    }
}

/// Bytes go through the state of the connection, which all its streams share.
impl session::Stream for StreamIo {
    fn direct(&self) -> Option<Arc<dyn Direct>> {
        None
    }
}

impl fmt::Debug for StreamIo {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut formatter = formatter.debug_struct("StreamIo");
        formatter.field("id", &self.sending.stream_id());
        formatter.finish_non_exhaustive()
    }
}

fn io_error(error: h2::Error) -> io::Error {
    match error.into_io() {
        Some(error) => error,
        None => io::ErrorKind::ConnectionReset.into(),
    }
}

/// How much is taken at once: the length of a frame that every client takes.
const WRITE_BYTES_MAX: usize = 16 << 10;
