//! The public side: sockets, request heads, and the way of each request.
//!
//! ```text
//! accept ─ HTTP head ─ route ─┬─ anything else ─────────► proxy ─► upstream     (freshness after a write)
//!                             └─ a stream, WebSocket or SSE ─► admission ─► session
//! ```
//!
//! This wing knows nothing of BSON beyond what it passes on.

pub mod admission;
pub mod describe;
pub mod feeds;
pub mod freshness;
pub mod listener;
pub mod live;
pub mod metadata;
pub mod outside;
pub mod parameters;
pub mod places;
pub mod pressure;
pub mod quota;
pub mod refusal;
pub mod route;
pub mod streaming;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use http::{HeaderName, HeaderValue, Method, Request, StatusCode};
use tokio::time::Instant;

use crate::front::listener::{Answer, ConnectionInfo, Service, Trust};
use crate::front::refusal::preflight;
use crate::front::route::{Address, Asks, asks};
use crate::front::streaming::Streaming;
use crate::proxy::{ClientBody, Forwarder, set_header};

/// The header that names a request across systems.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Whatever a client sends as an id beyond this is replaced.
const REQUEST_ID_BYTES_MAX: usize = 128;

/// Answers every request of the public listener.
#[derive(Debug)]
pub struct Front {
    /// The way to the upstream.
    pub forwarder: Forwarder,
    /// The streams; `None`: a plain proxy.
    pub streams: Option<Arc<Streaming>>,
    /// The proxies before us that may say who a request's client is.
    pub trust: Trust,
    /// One line a request and a session.
    pub access_log: bool,
}

impl Service for Front {
    fn call<'a>(
        &'a self,
        mut request: Request<ClientBody>,
        connection: &'a ConnectionInfo,
    ) -> BoxFuture<'a, Answer> {
        async move {
            let begun = Instant::now();
            let id = name(&mut request);
            let client = self.trust.client(connection.peer, request.headers());
            let line = self.access_log.then(|| Line {
                method: request.method().clone(),
                path: request.uri().path().to_owned(),
                id: id.clone(),
                client,
            });
            let answer = match &self.streams {
                Some(streams) => {
                    let from = Origin { connection, client };
                    self.route(streams, request, from, &id).await
                }
                None => self.forwarder.forward(request, connection).await.into(),
            };
            if let Some(line) = line {
                line.write(&answer, begun.elapsed());
            }
            answer
        }
        .boxed()
    }
}

impl Front {
    async fn route(
        &self,
        streams: &Arc<Streaming>,
        request: Request<ClientBody>,
        from: Origin<'_>,
        id: &HeaderValue,
    ) -> Answer {
        let connection = from.connection;
        let Some(address) = streams.address(&request) else {
            return self.forwarder.forward(request, connection).await.into();
        };
        let method = request.method().clone();
        if address.is_stream() {
            let asked = asks(&method, request.version(), request.headers());
            if asked != Asks::Neither {
                return streams
                    .serve(
                        streams.head(&request, connection, from.client),
                        &address,
                        asked,
                        id,
                    )
                    .await;
            }
            if method == Method::OPTIONS && streams.is_defined(&address) {
                return Answer::Http(preflight(request.headers()));
            }
            return self
                .forward_stream_address(streams, request, from, &address)
                .await;
        }
        let concerns = streams.freshness.concerns(&method, &address);
        let answer: Answer = self.forwarder.forward(request, connection).await.into();
        // Taken out of the answer: an answer cannot be shared between threads while something is awaited.
        let status = status_of_http(&answer).filter(|_| concerns);
        if let Some(status) = status {
            streams.freshness.after(&method, &address, status).await;
        }
        answer
    }

    /// A request at a stream's address that asks for neither transport is the upstream's. Only where the upstream knows
    /// nothing of it, and we do, is it told what the address wants, in RESTHeart's words.
    async fn forward_stream_address(
        &self,
        streams: &Streaming,
        request: Request<ClientBody>,
        from: Origin<'_>,
        address: &Address,
    ) -> Answer {
        let connection = from.connection;
        let explains = EXPLAINED.contains(request.method());
        let head = explains.then(|| streams.head(&request, connection, from.client));
        let answer: Answer = self.forwarder.forward(request, connection).await.into();
        let is_unknown = matches!(
            status_of_http(&answer),
            Some(StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED)
        );
        match head.filter(|_| is_unknown) {
            Some(head) if streams.is_known(address).await => {
                Answer::Http(streams.explain(head, address).await)
            }
            _ => answer,
        }
    }
}

/// Where a request comes from.
#[derive(Clone, Copy)]
struct Origin<'a> {
    connection: &'a ConnectionInfo,
    /// Whose it is: the connection's other end, or whom a trusted proxy there names.
    client: SocketAddr,
}

/// The methods for which an upstream's "not found" at a stream's address is explained.
const EXPLAINED: [Method; 6] = [
    Method::GET,
    Method::HEAD,
    Method::POST,
    Method::PUT,
    Method::PATCH,
    Method::DELETE,
];

fn status_of_http(answer: &Answer) -> Option<StatusCode> {
    match answer {
        Answer::Http(answer) => Some(answer.status()),
        Answer::TakeOver { .. } => None,
    }
}

/// Takes the request's id from its header, or puts one there.
fn name(request: &mut Request<ClientBody>) -> HeaderValue {
    let given = request
        .headers()
        .get(REQUEST_ID)
        .filter(|id| id.len() <= REQUEST_ID_BYTES_MAX && !id.is_empty());
    match given {
        Some(id) => id.clone(),
        None => {
            let id = format!("{:016x}", rand::random::<u64>());
            let id = HeaderValue::try_from(id)
                .expect("invariant: hexadecimal digits are a header value");
            set_header(request, REQUEST_ID, id.clone());
            id
        }
    }
}

/// One line of the access log: no query, no headers, no credentials.
struct Line {
    method: Method,
    path: String,
    id: HeaderValue,
    client: SocketAddr,
}

impl Line {
    fn write(self, answer: &Answer, took: Duration) {
        let (status, kind) = match answer {
            Answer::Http(answer) => (answer.status().as_u16(), "http"),
            Answer::TakeOver { head, .. } => (status_of(head), "session"),
        };
        let id = self.id.to_str().unwrap_or_default();
        tracing::info!(
            target: "access",
            request_id = id,
            method = %self.method,
            path = self.path,
            status,
            kind,
            client = %self.client,
            took_ms = took.as_secs_f64() * 1e3,
            "{} {} {status}", self.method, self.path
        );
    }
}

/// The status in a raw head.
fn status_of(head: &[u8]) -> u16 {
    let text = head.split(|&byte| byte == b' ').nth(1).unwrap_or_default();
    std::str::from_utf8(text)
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(0)
}
