use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A client that sends pieces of a size and is then done; it takes pieces of that size, too.
#[derive(Debug)]
pub struct Pieces {
    bytes: Vec<u8>,
    /// How many of them have been read.
    read: usize,
    piece: usize,
    written: Vec<u8>,
}

impl Pieces {
    /// A client that sends these bytes.
    pub fn new(bytes: &[u8], piece: usize) -> Self {
        Self {
            bytes: bytes.to_vec(),
            read: 0,
            piece,
            written: Vec::new(),
        }
    }

    /// What has not been read yet.
    pub fn rest(&self) -> &[u8] {
        &self.bytes[self.read..]
    }

    /// What the client was sent.
    pub fn written(&self) -> &[u8] {
        &self.written
    }
}

impl AsyncRead for Pieces {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let len = self.rest().len().min(self.piece).min(buf.remaining());
        buf.put_slice(&self.rest()[..len]);
        self.read += len;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Pieces {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let len = bytes.len().min(self.piece);
        self.written.extend_from_slice(&bytes[..len]);
        Poll::Ready(Ok(len))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
