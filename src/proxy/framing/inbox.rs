//! What was read from a socket and not looked at yet.

use std::{
    io,
    mem::MaybeUninit,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::BytesMut;
use tokio::io::{AsyncRead, ReadBuf};

/// A buffer that takes no memory while there is nothing in it.
#[derive(Debug)]
pub(crate) struct Inbox {
    pub(crate) bytes: BytesMut,
    /// How much is read at once: more, the more there was the last time.
    read_size: usize,
}

impl Default for Inbox {
    fn default() -> Self {
        Self {
            bytes: BytesMut::new(),
            read_size: READ_BYTES_MIN,
        }
    }
}

impl Inbox {
    /// Reads more; 0 bytes are the end.
    ///
    /// # Errors
    /// The socket's.
    pub(crate) fn poll_read<S>(
        &mut self,
        io: &mut S,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>>
    where
        S: AsyncRead + Unpin,
    {
        let len = if self.read_size == READ_BYTES_MIN {
            // Not into a buffer of its own: most messages are small, and many connections wait.
            let mut room = [MaybeUninit::uninit(); READ_BYTES_MIN];
            let mut room = ReadBuf::uninit(&mut room);
            ready!(Pin::new(io).poll_read(cx, &mut room))?;
            self.bytes.extend_from_slice(room.filled());
            room.filled().len()
        } else {
            self.bytes.reserve(self.read_size);
            ready!(tokio_util::io::poll_read_buf(
                Pin::new(io),
                cx,
                &mut self.bytes
            ))?
        };
        if len >= self.read_size {
            self.read_size = (self.read_size * 2).min(READ_BYTES_MAX);
        } else if len < self.read_size / 4 {
            self.read_size = (self.read_size / 2).max(READ_BYTES_MIN);
        }
        Poll::Ready(Ok(len))
    }

    /// Gives up memory that nothing is in, for a while.
    pub(crate) fn rest(&mut self) {
        if self.bytes.is_empty() {
            self.bytes = BytesMut::new();
        }
    }
}

/// How much is read at once, in bytes.
const READ_BYTES_MIN: usize = 8 << 10;
const READ_BYTES_MAX: usize = 256 << 10;
