//! A client of HTTP/2.

use std::net::SocketAddr;

use bytes::Bytes;
use h2::client::{self, ResponseFuture, SendRequest};
use h2::{RecvStream, SendStream};
use http::{HeaderMap, Request, Response, StatusCode};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use super::secure::{self, Identity, ONLY_13};

/// A connection. Dropping it ends TCP.
pub(crate) struct Http2 {
    requests: SendRequest<Bytes>,
    driving: JoinHandle<Result<(), h2::Error>>,
}

/// A whole answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    pub(crate) trailers: Option<HeaderMap>,
}

impl Http2 {
    /// Connects in clear, and begins with HTTP/2.
    pub(crate) async fn clear(address: SocketAddr) -> Self {
        Self::over(tcp(address).await, &settings()).await
    }

    /// Connects with TLS, and agrees on HTTP/2.
    pub(crate) async fn secure(address: SocketAddr, trusted: &Identity) -> Self {
        let connector = secure::client(&[trusted], ONLY_13, &["h2", "http/1.1"]);
        let stream = secure::connect(&connector, tcp(address).await).await;
        let stream = stream.expect("a handshake");
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
        Self::over(stream, &settings()).await
    }

    async fn over<IO>(stream: IO, settings: &client::Builder) -> Self
    where
        IO: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let (requests, connection) = settings.handshake(stream).await.expect("a handshake");
        Self {
            requests,
            driving: tokio::spawn(connection),
        }
    }

    /// Sends a request's head. `is_whole`: there is no body.
    pub(crate) async fn begin(
        &self,
        request: Request<()>,
        is_whole: bool,
    ) -> (ResponseFuture, SendStream<Bytes>) {
        let begun = self.try_begin(request, is_whole).await;
        begun.expect("the connection lives")
    }

    /// Sends a request's head, unless the connection has ended for new ones; then it was not sent.
    pub(crate) async fn try_begin(
        &self,
        request: Request<()>,
        is_whole: bool,
    ) -> Result<(ResponseFuture, SendStream<Bytes>), h2::Error> {
        let mut requests = self.requests.clone().ready().await?;
        requests.send_request(request, is_whole)
    }

    /// Sends a request and waits for the whole answer.
    pub(crate) async fn ask(&self, request: Request<()>) -> Answer {
        let (answer, _) = self.begin(request, true).await;
        Answer::read(answer.await.expect("an answer"))
            .await
            .expect("a whole one")
    }

    /// Waits until the connection has ended; returns how.
    pub(crate) async fn ended(&mut self) -> Result<(), h2::Error> {
        (&mut self.driving).await.expect("it does not panic")
    }

    /// Whether the server has said that it takes extended CONNECT.
    pub(crate) fn takes_connect(&self) -> bool {
        self.requests.is_extended_connect_protocol_enabled()
    }
}

impl Drop for Http2 {
    fn drop(&mut self) {
        self.driving.abort();
    }
}

impl Answer {
    pub(crate) async fn read(answer: Response<RecvStream>) -> Result<Self, h2::Error> {
        let (head, mut received) = answer.into_parts();
        let mut body = Vec::new();
        while let Some(part) = next(&mut received).await {
            body.extend_from_slice(&part?);
        }
        Ok(Self {
            status: head.status,
            headers: head.headers,
            body: body.into(),
            trailers: received.trailers().await?,
        })
    }

    /// Returns all values of a field, joined by ` | `.
    pub(crate) fn header(&self, name: &str) -> String {
        joined(&self.headers, name)
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("text")
    }
}

/// Reads the next part of a body, and makes room for more. An empty one is none.
pub(crate) async fn next(received: &mut RecvStream) -> Option<Result<Bytes, h2::Error>> {
    loop {
        let part = match received.data().await? {
            Ok(part) if part.is_empty() => continue,
            Ok(part) => part,
            Err(error) => return Some(Err(error)),
        };
        let room = received.flow_control().release_capacity(part.len());
        room.expect("it was received");
        return Some(Ok(part));
    }
}

/// Sends a part of a body as fast as the server takes it.
pub(crate) async fn send(
    sending: &mut SendStream<Bytes>,
    mut part: Bytes,
    is_last: bool,
) -> Result<(), h2::Error> {
    while !part.is_empty() {
        sending.reserve_capacity(part.len());
        while sending.capacity() == 0 {
            let more = std::future::poll_fn(|cx| sending.poll_capacity(cx)).await;
            more.ok_or(h2::Error::from(h2::Reason::STREAM_CLOSED))??;
        }
        let now = part.split_to(sending.capacity().min(part.len()));
        sending.send_data(now, is_last && part.is_empty())?;
    }
    Ok(())
}

/// Returns all values of a field, joined by ` | `.
pub(crate) fn joined(headers: &HeaderMap, name: &str) -> String {
    let values = headers.get_all(name).iter();
    let values: Vec<_> = values
        .map(|value| String::from_utf8_lossy(value.as_bytes()))
        .collect();
    values.join(" | ")
}

/// As browsers have it: a stream that nobody reads leaves room for the others.
fn settings() -> client::Builder {
    let mut settings = client::Builder::new();
    settings.initial_connection_window_size(CONNECTION_WINDOW);
    settings
}

const CONNECTION_WINDOW: u32 = 15 << 20;

async fn tcp(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).await.expect("it listens");
    stream.set_nodelay(true).expect("nodelay");
    stream
}
