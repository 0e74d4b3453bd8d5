use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, ReadBuf};

/// A client that sends pieces of a size and is then done.
#[derive(Debug)]
pub struct Pieces<'a> {
    rest: &'a [u8],
    piece: usize,
}

impl<'a> Pieces<'a> {
    /// A client that sends these bytes.
    pub fn new(bytes: &'a [u8], piece: usize) -> Self {
        Self { rest: bytes, piece }
    }

    /// What has not been read yet.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }
}

impl AsyncRead for Pieces<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let len = self.rest.len().min(self.piece).min(buf.remaining());
        let (sent, rest) = self.rest.split_at(len);
        buf.put_slice(sent);
        self.rest = rest;
        Poll::Ready(Ok(()))
    }
}
