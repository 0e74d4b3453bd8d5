//! A client, a listener and an upstream, all on loopback.

use std::{future::Future, net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::Request;
use sidestream::{
    front::listener::{Answer, ConnectionInfo, Listener, ListenerSettings, Service, TakenSocket},
    lifecycle::{Shutdown, Tasks},
    proxy::{ClientBody, Forwarder, ProxySettings, UpstreamAddress},
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

    /// Its address as a `Host` has it.
    pub(crate) fn authority(&self) -> String {
        self.socket.local_addr().expect("address").to_string()
    }

    /// A client without Sidestream between.
    pub(crate) async fn client(&self) -> Peer {
        Peer::connect(self.socket.local_addr().expect("address")).await
    }

    /// Accepts, however long that takes.
    pub(crate) async fn accept_whenever(&self) -> Peer {
        Peer::new(self.socket.accept().await.expect("accept").0)
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
    /// What was read and not taken.
    pub(crate) read: Vec<u8>,
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
            let found = self.try_until(&end).await;
            found.unwrap_or_else(|| panic!("ended before {end:?}: {:?}", text(self.read.clone())))
        })
    }

    /// Reads up to and including `end`; `None` if the stream ends before.
    pub(crate) async fn try_until(&mut self, end: &str) -> Option<String> {
        loop {
            if let Some(at) = memchr::memmem::find(&self.read, end.as_bytes()) {
                let rest = self.read.split_off(at + end.len());
                return Some(text(std::mem::replace(&mut self.read, rest)));
            }
            if !self.more().await {
                return None;
            }
        }
    }

    /// Reads so many bytes; `None` if the stream ends before.
    pub(crate) async fn try_exactly(&mut self, len: usize) -> Option<String> {
        while self.read.len() < len {
            if !self.more().await {
                return None;
            }
        }
        let rest = self.read.split_off(len);
        Some(text(std::mem::replace(&mut self.read, rest)))
    }

    pub(crate) async fn head(&mut self) -> String {
        self.until("\r\n\r\n").await
    }

    /// Reads a head whose lines may end in LF alone.
    #[track_caller]
    pub(crate) fn lenient_head(&mut self) -> impl Future<Output = String> {
        within(async move {
            loop {
                let ends = ["\r\n\r\n", "\n\n", "\n\r\n"]
                    .into_iter()
                    .filter_map(|end| {
                        let at = memchr::memmem::find(&self.read, end.as_bytes())?;
                        Some(at + end.len())
                    });
                if let Some(end) = ends.min() {
                    let rest = self.read.split_off(end);
                    return text(std::mem::replace(&mut self.read, rest));
                }
                assert!(self.more().await, "no head: {:?}", text(self.read.clone()));
            }
        })
    }

    #[track_caller]
    pub(crate) fn exactly(&mut self, len: usize) -> impl Future<Output = String> {
        within(async move {
            let found = self.try_exactly(len).await;
            found.unwrap_or_else(|| panic!("ended early: {:?}", text(self.read.clone())))
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

/// The bytes of a text in Latin-1.
pub(crate) fn latin_1(text: &str) -> Vec<u8> {
    text.chars()
        .map(|char| u8::try_from(char).expect("Latin-1"))
        .collect()
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
        request: Request<ClientBody>,
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
        request: Request<ClientBody>,
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

/// A short answer.
pub(crate) const ONE_BYTE: &str = "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na";

/// Asserts that an answer is ours, with this status and message.
#[track_caller]
pub(crate) fn check_error(got: &str, status: &str, message: &str) {
    let (code, reason) = status.split_once(' ').expect("code and reason");
    let body = format!(
        r#"{{"http status code": {code}, "http status description": "{reason}", "message": "{message}"}}"#
    );
    assert!(
        got.starts_with(&format!(
            "HTTP/1.1 {status}\r\ncontent-type: application/json\r\n"
        )),
        "{got}"
    );
    assert!(got.ends_with(&format!("\r\n\r\n{body}")), "{got}");
}
