//! Sockets: binds, accepts, hears who the client is and speaks TLS where that is configured, has the proxy's [`Http1`] read
//! HTTP/1.1 and h2 HTTP/2, and hands sockets over.
//!
//! A [`Service`] answers each request with an HTTP answer or by taking the connection over. Then the head of the answer is
//! exactly the bytes the service wrote, and the session runs on the bare socket in the same task.
//!
//! [`Http1`]: crate::proxy::Http1

mod accept;
mod alarm;
mod connection;
mod greeting;
mod http2;
mod networks;
mod tls;

use std::{
    fmt, io,
    net::{SocketAddr, TcpListener},
    os::fd::{AsFd, BorrowedFd},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{Request, Response};
use socket2::SockRef;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_rustls::server::TlsStream;

use crate::{
    lifecycle::{Cores, Shutdown, Tasks},
    proxy::{ClientBody, ClientInfo, Forwarded, HeadSettings, ProxyBody},
    session,
};

pub use self::{
    connection::{Manner, serve},
    http2::{Http2Settings, StreamIo},
    networks::{ClientHeader, Networks, Trust},
    tls::{Tls, TlsError, TlsSettings},
};

/// The client's connection, as a service sees it.
pub type ConnectionInfo = ClientInfo;

/// What answers requests.
pub trait Service: Send + Sync + 'static {
    /// Answers one request. Dropped where it stands if the client goes away.
    fn call<'a>(
        &'a self,
        request: Request<ClientBody>,
        connection: &'a ConnectionInfo,
    ) -> BoxFuture<'a, Answer>;
}

/// What a service answers.
pub enum Answer {
    /// An answer; the connection goes on.
    Http(Response<ProxyBody>),
    /// The connection is the session's from here on.
    TakeOver {
        /// The whole head of the answer, raw, the empty line included.
        head: Bytes,
        /// Runs when the head has been written; the connection is closed when it returns.
        session: Session,
    },
}

/// What runs on a socket that was taken over.
pub type Session = Box<dyn FnOnce(TakenSocket) -> BoxFuture<'static, ()> + Send>;

/// A socket that was taken over.
pub struct TakenSocket {
    /// The socket, without any buffer of ours. Vectored writes reach it.
    pub stream: BoxedIo,
    /// What the client sent behind its request, not in `stream` any more.
    pub early: Bytes,
}

/// Any socket.
pub type BoxedIo = Box<dyn Io>;

/// Reads and writes.
pub trait Io: AsyncRead + AsyncWrite + Send + Unpin {
    /// Returns it as a session wants it.
    fn for_session(self: Box<Self>) -> Box<dyn session::Stream>;

    /// Has the other end told, when this is dropped, that something is missing; where it would not be told so anyway.
    fn reset_when_dropped(&self) {}
}

impl Io for TcpStream {
    fn for_session(self: Box<Self>) -> Box<dyn session::Stream> {
        Box::new(session::Socket::new(*self))
    }

    fn reset_when_dropped(&self) {
        // On an error the connection is dead, which says enough.
        let _ = SockRef::from(self).set_linger(Some(Duration::ZERO));
    }
}

/// In a box, since it is large.
impl Io for Box<TlsStream<TcpStream>> {
    fn for_session(self: Box<Self>) -> Box<dyn session::Stream> {
        *self
    }
}

impl From<Forwarded> for Answer {
    fn from(forwarded: Forwarded) -> Self {
        match forwarded {
            Forwarded::Response(response) => Self::Http(response),
            Forwarded::Tunnel(tunnel) => Self::TakeOver {
                head: tunnel.head.clone(),
                session: Box::new(move |socket| Box::pin(tunnel.run(socket.stream, socket.early))),
            },
        }
    }
}

impl fmt::Debug for Answer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Http(response) => formatter.debug_tuple("Http").field(response).finish(),
            Self::TakeOver { head, .. } => formatter
                .debug_struct("TakeOver")
                .field("head", head)
                .finish_non_exhaustive(),
        }
    }
}

/// Limits of a listener and its connections.
#[derive(Clone, Debug)]
pub struct ListenerSettings {
    /// How many connections are open at once, sessions included; more wait in the kernel's queue.
    pub connections_max: usize,
    /// Limits on request heads.
    pub head: HeadSettings,
    /// TLS; `None`: HTTP in clear.
    pub tls: Option<Tls>,
    /// How HTTP/2 is spoken, where it is.
    pub http2: Http2Settings,
    /// Whoever connects from there begins with a PROXY header.
    pub proxy_protocol_from: Networks,
    /// The threads on which connections run; `None`: where the listener does.
    pub cores: Option<Cores>,
    /// How long running requests (and sessions, which end themselves) may go on once draining has begun.
    pub drain: Duration,
}

impl Default for ListenerSettings {
    fn default() -> Self {
        Self {
            connections_max: 110_000,
            head: HeadSettings::default(),
            tls: None,
            http2: Http2Settings::default(),
            proxy_protocol_from: Networks::default(),
            cores: None,
            drain: Duration::from_secs(30),
        }
    }
}

/// A bound listener, not yet accepting.
#[derive(Debug)]
pub struct Listener {
    socket: TcpListener,
    name: &'static str,
    address: SocketAddr,
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Why a listener is not bound.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}")]
pub struct ListenError {
    address: SocketAddr,
    #[source]
    source: io::Error,
}

impl Listener {
    /// Binds. Port 0 takes a free one. `name` is what the log calls it: `public`, `tls`.
    ///
    /// # Errors
    /// [`ListenError`], at once, naming the address: another process has the port, or we may not bind there.
    pub fn bind(name: &'static str, address: SocketAddr) -> Result<Self, ListenError> {
        let refused = |source| ListenError { address, source };
        let socket = accept::bind(address).map_err(refused)?;
        Self::listening(name, socket).map_err(refused)
    }

    /// Takes a socket over that listens already, where `address` was asked for.
    ///
    /// # Errors
    /// [`ListenError`], if it is of no use here.
    pub fn adopt(
        name: &'static str,
        address: SocketAddr,
        socket: TcpListener,
    ) -> Result<Self, ListenError> {
        let refused = |source| ListenError { address, source };
        Self::listening(name, socket).map_err(refused)
    }

    fn listening(name: &'static str, socket: TcpListener) -> io::Result<Self> {
        accept::prepare(&socket)?;
        let address = socket.local_addr()?;
        tracing::info!(listener = name, %address, "listening");
        Ok(Self {
            socket,
            name,
            address,
        })
    }

    /// Returns the address that is really bound.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Accepts and serves until draining begins; returns when every connection has ended, or the drain time has passed
    /// and the rest were dropped.
    pub async fn run<S: Service>(
        self,
        service: Arc<S>,
        settings: ListenerSettings,
        tasks: Tasks,
        shutdown: Shutdown,
    ) {
        accept::run(self, service, settings, tasks, shutdown).await;
    }
}
