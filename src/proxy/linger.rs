//! The end of a connection whose client may still send.

use std::{
    io,
    mem::MaybeUninit,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::io::{AsyncRead, ReadBuf};

use super::Deadline;

/// Reads and throws away what a client sends once our side is closed, until it has closed its own, for a while: closing on
/// unread bytes makes the kernel reset the connection, and the last answers be lost.
///
/// Source: RFC 9112 §9.6, RFC 9113 §9.1.
#[derive(Debug)]
pub(crate) struct Linger {
    bytes_left: usize,
    deadline: Deadline,
}

impl Linger {
    /// Begins now.
    pub(crate) fn new() -> Self {
        let mut deadline = Deadline::default();
        deadline.set(LINGER_TIME_MAX);
        Self {
            bytes_left: LINGER_BYTES_MAX,
            deadline,
        }
    }

    /// Is ready once the socket may be closed.
    pub(crate) fn poll<IO>(&mut self, io: &mut IO, cx: &mut Context<'_>) -> Poll<io::Result<()>>
    where
        IO: AsyncRead + Unpin,
    {
        loop {
            let mut room = [MaybeUninit::uninit(); LINGER_READ_BYTES];
            let mut buf = ReadBuf::uninit(&mut room);
            let Poll::Ready(read) = Pin::new(&mut *io).poll_read(cx, &mut buf) else {
                ready!(self.deadline.poll(cx));
                return Poll::Ready(Ok(()));
            };
            read?;
            match buf.filled().len() {
                0 => return Poll::Ready(Ok(())),
                len if len >= self.bytes_left => return Poll::Ready(Ok(())),
                len => self.bytes_left -= len,
            }
        }
    }
}

/// How long, and how much, is read from a client that is being left.
pub(crate) const LINGER_TIME_MAX: Duration = Duration::from_secs(2);
pub(super) const LINGER_BYTES_MAX: usize = 1 << 20;
const LINGER_READ_BYTES: usize = 4 << 10;

const _: () = assert!(LINGER_READ_BYTES < LINGER_BYTES_MAX);
