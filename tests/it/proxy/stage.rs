//! A client, a listener and an upstream, all on loopback.

use std::{future::Future, net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::Request;
use hyper::body::Incoming;
use sidestream::{
    front::listener::{Answer, ConnectionInfo, Listener, ListenerSettings, Service, TakenSocket},
    lifecycle::{Shutdown, Tasks},
    proxy::{Forwarder, ProxySettings, UpstreamAddress},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::mpsc,
};

/// Nothing here takes long; what does not happen in this time does not happen.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

#[track_caller]
pub(crate) fn within<T>(future: impl Future<Output = T>) -> impl Future<Output = T> {
    let caller = std::panic::Location::caller();
    async move {
        tokio::time::timeout(PATIENCE, future)
            .await
            .unwrap_or_else(|_| panic!("nothing happened, waited for at {caller}"))
    }
}

/// An upstream whose connections the test accepts and scripts by hand.
pub(crate) struct Upstream {
    socket: TcpListener,
}

impl Upstream {
    pub(crate) async fn bind() -> Self {
        let socket = TcpListener::bind("127.0.0.1:0").await.expect("bind");
        Self { socket }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.socket.local_addr().expect("address")
    }

    pub(crate) fn settings(&self) -> ProxySettings {
        let address = self.address();
        ProxySettings::new(
            format!("http://{address}")
                .parse()
                .expect("upstream address"),
        )
    }

    pub(crate) async fn accept(&self) -> Peer {
        let (stream, _) = within(self.socket.accept()).await.expect("accept");
        Peer::new(stream)
    }

    /// Whether a connection waits to be accepted. Sound only after an answer that came later than it would have.
    pub(crate) fn has_no_other(&mut self) -> bool {
        let waiting = std::pin::pin!(self.socket.accept());
        futures_util::FutureExt::now_or_never(waiting).is_none()
    }
}

/// Either side of a raw connection.
pub(crate) struct Peer {
    pub(crate) stream: TcpStream,
    read: Vec<u8>,
}

impl Peer {
    pub(crate) fn new(stream: TcpStream) -> Self {
        stream.set_nodelay(true).expect("nodelay");
        Self {
            stream,
            read: Vec::new(),
        }
    }

    pub(crate) async fn connect(address: SocketAddr) -> Self {
        Self::new(TcpStream::connect(address).await.expect("connect"))
    }

    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        self.stream.write_all(bytes.as_ref()).await.expect("send");
        self
    }

    /// Sends FIN.
    pub(crate) async fn finish(&mut self) {
        self.stream.shutdown().await.expect("shutdown");
    }

    /// Closes with RST.
    pub(crate) fn reset(self) {
        socket2::SockRef::from(&self.stream)
            .set_linger(Some(Duration::ZERO))
            .expect("linger");
    }

    /// Reads up to and including `end`.
    #[track_caller]
    pub(crate) fn until(&mut self, end: &str) -> impl Future<Output = String> {
        let end = end.to_owned();
        within(async move {
            loop {
                let found = memchr::memmem::find(&self.read, end.as_bytes());
                if let Some(at) = found {
                    let rest = self.read.split_off(at + end.len());
                    let taken = std::mem::replace(&mut self.read, rest);
                    return text(taken);
                }
                if !self.more().await {
                    panic!("ended before {end:?}: {:?}", text(self.read.clone()));
                }
            }
        })
    }

    pub(crate) async fn head(&mut self) -> String {
        self.until("\r\n\r\n").await
    }

    #[track_caller]
    pub(crate) fn exactly(&mut self, len: usize) -> impl Future<Output = String> {
        within(async move {
            while self.read.len() < len {
                assert!(
                    self.more().await,
                    "ended early: {:?}",
                    text(self.read.clone())
                );
            }
            let rest = self.read.split_off(len);
            text(std::mem::replace(&mut self.read, rest))
        })
    }

    /// Reads to the end of the stream. A reset counts as an end.
    #[track_caller]
    pub(crate) fn rest(&mut self) -> impl Future<Output = String> {
        within(async move {
            while self.more().await {}
            text(std::mem::take(&mut self.read))
        })
    }

    async fn more(&mut self) -> bool {
        self.stream.read_buf(&mut self.read).await.unwrap_or(0) > 0
    }
}

fn text(bytes: Vec<u8>) -> String {
    // Latin-1, so that every byte can be compared.
    bytes.into_iter().map(char::from).collect()
}

/// A running listener.
pub(crate) struct Front {
    pub(crate) address: SocketAddr,
    pub(crate) shutdown: Shutdown,
    running: tokio::task::JoinHandle<()>,
}

impl Front {
    pub(crate) fn start<S: Service>(service: S, settings: ListenerSettings) -> Self {
        let listener =
            Listener::bind("public", "127.0.0.1:0".parse().expect("address")).expect("bind");
        let shutdown = Shutdown::new();
        Self {
            address: listener.local_addr(),
            running: tokio::spawn(listener.run(
                Arc::new(service),
                settings,
                Tasks::new(),
                shutdown.clone(),
            )),
            shutdown,
        }
    }

    /// A listener before `upstream`.
    pub(crate) fn before(upstream: &Upstream) -> Self {
        Self::forwarding(upstream.settings())
    }

    pub(crate) fn forwarding(settings: ProxySettings) -> Self {
        Self::start(Forwarding::new(settings), ListenerSettings::default())
    }

    pub(crate) async fn client(&self) -> Peer {
        Peer::connect(self.address).await
    }

    pub(crate) async fn ended(self) {
        within(self.running).await.expect("the listener ends");
    }
}

pub(crate) struct Forwarding(pub(crate) Forwarder);

impl Forwarding {
    pub(crate) fn new(settings: ProxySettings) -> Self {
        Self(Forwarder::new(settings).expect("forwarder"))
    }
}

impl Service for Forwarding {
    fn call<'a>(
        &'a self,
        request: Request<Incoming>,
        connection: &'a ConnectionInfo,
    ) -> BoxFuture<'a, Answer> {
        Box::pin(async move { self.0.forward(request, connection).await.into() })
    }
}

/// Takes every request for `/take` over and hands the socket to the test; the rest is forwarded.
pub(crate) struct Taking {
    pub(crate) head: &'static str,
    pub(crate) taken: mpsc::Sender<(TakenSocket, tokio::sync::oneshot::Sender<()>)>,
    pub(crate) others: Forwarding,
}

impl Service for Taking {
    fn call<'a>(
        &'a self,
        request: Request<Incoming>,
        connection: &'a ConnectionInfo,
    ) -> BoxFuture<'a, Answer> {
        if request.uri().path() != "/take" {
            return self.others.call(request, connection);
        }
        let taken = self.taken.clone();
        Box::pin(async move {
            Answer::TakeOver {
                head: Bytes::from_static(self.head.as_bytes()),
                session: Box::new(move |socket| {
                    Box::pin(async move {
                        let (done, is_done) = tokio::sync::oneshot::channel();
                        taken.send((socket, done)).await.expect("the test listens");
                        // The test ends the session by dropping its end.
                        let _ = is_done.await;
                    })
                }),
            }
        })
    }
}

/// An address on which nobody listens.
pub(crate) async fn nobody() -> UpstreamAddress {
    let socket = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let address = socket.local_addr().expect("address");
    format!("http://{address}").parse().expect("address")
}
