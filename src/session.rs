//! One client's connection, from the moment its head is answered until its socket is closed.
//!
//! Two transports, [`websocket`] and [`sse`], over one manner of writing: a [`Client`](client) takes all frames that are
//! ready from its outlet, hands them to the socket in one vectored call, and takes no more before these are gone. So
//! memory is bounded by the outbox, and one write carries a whole burst. Each transport is one task that is polled as a
//! small state machine, rather than a reader and a writer with channels between them: an idle session is a future of a
//! few hundred bytes, one timer, and no buffer (bytes that the client sends are read into the stack and thrown away).
//!
//! A session ends from below ([`Ending`], told through the outlet), by its client, or because the client is silent or
//! stuck. Whichever it is, [`close`] knows the code and the label.

mod client;
pub mod close;
mod coding;
mod socket;
pub mod sse;
pub mod websocket;
mod writer;

use std::{io, sync::Arc, time::Duration};

use tokio::io::{AsyncRead, AsyncWrite};

pub use crate::session::{coding::ContentCoding, socket::Socket};

use crate::{
    delivery::{Direct, Ending},
    session::websocket::Violation,
};

/// What a session reads from and writes to.
pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send {
    /// Returns the socket, where bytes may be written to it from any thread as they are.
    fn direct(&self) -> Option<Arc<dyn Direct>>;
}

impl<S: Stream + ?Sized> Stream for Box<S> {
    fn direct(&self) -> Option<Arc<dyn Direct>> {
        (**self).direct()
    }
}

#[cfg(test)]
impl Stream for tokio::io::DuplexStream {
    fn direct(&self) -> Option<Arc<dyn Direct>> {
        None
    }
}

/// The intervals of a session. None of them may be zero.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionSettings {
    /// After this long without a sign of life a WebSocket is pinged; an SSE client gets a comment after this long without
    /// an event.
    pub ping_interval: Duration,
    /// A client that gave no sign of life for this long after a ping is taken for dead.
    pub pong_timeout: Duration,
    /// How long queued frames may still be flushed at an ending, and after that, how long saying goodbye may take: our close,
    /// the client's, and the end of its side. So a session is gone after twice this at most.
    pub close_timeout: Duration,
    /// A write that makes no progress for this long ends the session.
    pub write_timeout: Duration,
}

impl Default for SessionSettings {
    /// Proxies on the way cut idle connections after 60 s as a rule, some after 30 s.
    fn default() -> Self {
        Self {
            ping_interval: Duration::from_secs(25),
            pong_timeout: Duration::from_secs(20),
            close_timeout: Duration::from_secs(5),
            write_timeout: Duration::from_secs(30),
        }
    }
}

/// How a session ended, and what it carried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct Closed {
    /// Who or what ended it.
    pub by: ClosedBy,
    /// Frames (events) that were written whole.
    pub frames: u64,
    /// Bytes that were written in all, control frames, comments and compression included.
    pub bytes: u64,
}

/// Who or what ended a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClosedBy {
    /// It was ended from below.
    Ending(Ending),
    /// The client said goodbye: a CLOSE frame, with this code if it bore one.
    Client(Option<u16>),
    /// The client's side of the connection ended without a word.
    ClientLeft,
    /// The client broke the WebSocket protocol.
    Violation(Violation),
    /// The client did not answer a ping.
    Silent,
    /// A write made no progress for too long.
    Stuck,
    /// The connection broke.
    Broken(io::ErrorKind),
}

impl ClosedBy {
    /// Returns the name that metrics and logs use.
    pub fn label(self) -> &'static str {
        close::label(self)
    }
}

/// How a client is connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Transport {
    /// WebSocket, RFC 6455.
    WebSocket,
    /// Server-Sent Events.
    Sse,
}

impl Transport {
    /// Returns the name that metrics and logs use.
    pub fn label(self) -> &'static str {
        match self {
            Self::WebSocket => "websocket",
            Self::Sse => "sse",
        }
    }
}
