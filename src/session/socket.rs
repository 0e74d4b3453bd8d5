//! A TCP socket that its session shares with whoever writes to it directly.

use std::{
    io::{self, IoSlice, Read},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use socket2::SockRef;
use tokio::{
    io::{AsyncRead, AsyncWrite, Interest, ReadBuf},
    net::TcpStream,
};
use tokio_rustls::server::TlsStream;

use crate::{delivery::Direct, session::Stream};

/// A TCP socket. The session reads and writes it as any other; [`Stream::direct`] is the way past it.
#[derive(Debug)]
pub struct Socket {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared(TcpStream);

impl Socket {
    /// Wraps a connected socket.
    pub fn new(stream: TcpStream) -> Self {
        Self {
            shared: Arc::new(Shared(stream)),
        }
    }

    fn stream(&self) -> &TcpStream {
        &self.shared.0
    }
}

impl Stream for Socket {
    fn direct(&self) -> Option<Arc<dyn Direct>> {
        Some(Arc::clone(&self.shared) as Arc<dyn Direct>)
    }
}

/// Bytes go through the session's own state of encryption, so nobody else can write them.
impl Stream for TlsStream<TcpStream> {
    fn direct(&self) -> Option<Arc<dyn Direct>> {
        None
    }
}

impl Direct for Shared {
    fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        self.0.try_write(bytes)
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let stream = self.stream();
        loop {
            ready!(stream.poll_read_ready(context))?;
            let room = buffer.initialize_unfilled();
            let mut read = None;
            let tried = stream.try_io(Interest::READABLE, || {
                let count = (&*SockRef::from(stream)).read(room)?;
                read = Some(count);
                // A read that does not fill the room has emptied the socket: it need not be asked again.
                match count > 0 && count < room.len() {
                    true => Err(io::ErrorKind::WouldBlock.into()),
                    false => Ok(()),
                }
            });
            match (read, tried) {
                (Some(count), _) => {
                    buffer.advance(count);
                    return Poll::Ready(Ok(()));
                }
                (None, Err(error)) if error.kind() == io::ErrorKind::WouldBlock => (),
                (None, other) => return Poll::Ready(other),
            }
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(context, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let stream = self.stream();
        loop {
            ready!(stream.poll_write_ready(context))?;
            match stream.try_write_vectored(slices) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => (),
                written => return Poll::Ready(written),
            }
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(SockRef::from(self.stream()).shutdown(std::net::Shutdown::Write))
    }
}
