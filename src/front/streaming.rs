//! The streams half: from a request for a stream to a session on its socket.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{HeaderMap, HeaderValue, Request, Response, header};
use tokio::time::Instant;

use crate::access::{RequestHead, subprotocols};
use crate::delivery::Ending;
use crate::engine::plan::Framing;
use crate::front::admission::{Admission, Admitted};
use crate::front::feeds::Feeds;
use crate::front::freshness::Freshness;
use crate::front::listener::{Answer, ConnectionInfo, Session, TakenSocket};
use crate::front::metadata::Metadata;
use crate::front::parameters::value;
use crate::front::refusal::Refusal;
use crate::front::route::{Address, Asks, Mounts, accepted_coding};
use crate::lifecycle::Shutdown;
use crate::mongo::Namespace;
use crate::mongo::feed::State;
use crate::proxy::ProxyBody;
use crate::session::websocket::{self, Deflate};
use crate::session::{self, Closed, ContentCoding, SessionSettings, sse};
use crate::wire::JsonMode;

/// Everything that serves streams.
#[derive(Debug)]
pub struct Streaming {
    /// What is mounted where.
    pub mounts: Mounts,
    /// From a head to a subscribed session.
    pub admission: Admission,
    /// Read your own writes.
    pub freshness: Freshness,
    /// Intervals of WebSocket sessions.
    pub websocket: SessionSettings,
    /// Intervals of SSE sessions.
    pub sse: SessionSettings,
    /// The subprotocol that announces a token: taken up where it is offered, since browsers end a connection otherwise.
    pub token_protocol: Option<String>,
    /// Whether the process drains: then nobody is admitted any more.
    pub shutdown: Shutdown,
    /// One line a session.
    pub access_log: bool,
}

impl Streaming {
    /// Where a request leads, if it leads below a mount.
    pub fn address<B>(&self, request: &Request<B>) -> Option<Address> {
        let host = request
            .headers()
            .get(header::HOST)
            .and_then(|host| host.to_str().ok())
            .unwrap_or_default();
        let host = host.split(':').next().unwrap_or_default();
        self.mounts
            .resolve(&RequestHead::decode_path(request.uri().path()), host)
    }

    /// The head, as access and admission see it. `client`: whose request it is.
    pub fn head<B>(
        &self,
        request: &Request<B>,
        connection: &ConnectionInfo,
        client: SocketAddr,
    ) -> RequestHead {
        let query = request.uri().query().unwrap_or_default();
        let path = request.uri().path();
        RequestHead {
            method: request.method().clone(),
            path: RequestHead::decode_path(path),
            raw_path: path.to_owned(),
            query: RequestHead::decode_query(query),
            query_string: query.to_owned(),
            headers: copied(request.headers()),
            peer: client,
            local: connection.local,
            scheme: connection.scheme,
        }
    }

    /// Whether the collection at this address has definitions, as far as is known without asking.
    pub fn is_defined(&self, address: &Address) -> bool {
        let found = self
            .metadata()
            .catalog()
            .find(address.database(), address.collection());
        found.is_some_and(|entry| entry.definitions.entries().next().is_some())
    }

    /// Whether the collection at this address has definitions; MongoDB is asked once where nothing is known.
    pub async fn is_known(&self, address: &Address) -> bool {
        if self.is_defined(address) {
            return true;
        }
        let namespace = Namespace::new(address.database(), address.collection());
        let is_open = self.feeds().of(address.database()).await.is_ok();
        is_open && self.metadata().ask(&namespace).await.is_ok() && self.is_defined(address)
    }

    /// Serves a request for a stream.
    pub async fn serve(
        self: &Arc<Self>,
        head: RequestHead,
        address: &Address,
        asks: Asks,
        id: &HeaderValue,
    ) -> Answer {
        let headers = head.headers.clone();
        let mode = JsonMode::from_parameter(value(&head.query, "jsonMode"));
        let is_legible = is_encoded(&head.raw_path)
            && is_encoded(&head.query_string)
            && head.query.len() <= PARAMETERS_MAX;
        if !is_legible {
            return Answer::Http(Refusal::Target.answer(&headers, mode));
        }
        let admitted = self.admission.admit(head, address, asks).await;
        // Looked at after the session is registered: whoever drains ends what is registered, we refuse the rest. Where
        // another process has taken over the rest is sent to it: an `EventSource` gives up for good when it is refused.
        let admitted = admitted.and_then(|mut admitted| match self.shutdown.is_draining() {
            false => Ok(admitted),
            true if self.shutdown.has_successor() => {
                admitted.outlet.end(Ending::Draining);
                Ok(admitted)
            }
            true => Err(Refusal::Unavailable {
                reason: "shutting down".to_owned(),
            }),
        });
        match admitted {
            Ok(admitted) => self.open(admitted, &headers, id),
            Err(refusal) => {
                let status = refusal.status().as_u16().to_string();
                metrics::counter!("sidestream_refusals_total", "status" => status).increment(1);
                Answer::Http(refusal.answer(&headers, mode))
            }
        }
    }

    /// Tells what is wrong with a request that asked for neither transport.
    pub async fn explain(&self, head: RequestHead, address: &Address) -> Response<ProxyBody> {
        let headers = head.headers.clone();
        let mode = JsonMode::from_parameter(value(&head.query, "jsonMode"));
        let refusal = match self.admission.admit(head, address, Asks::Neither).await {
            Err(refusal) => refusal,
            Ok(_) => unreachable!("admission refuses what asks for neither transport"),
        };
        refusal.answer(&headers, mode)
    }

    /// What keeps streams from being served now.
    pub fn not_ready(&self) -> Vec<String> {
        let down = |feed: &Arc<crate::mongo::feed::Feed>| match feed.state() {
            State::Live => None,
            State::Opening => Some(format!("feed {}: opening", feed.scope())),
            State::Down(error) => Some(format!("feed {}: {error}", feed.scope())),
        };
        self.feeds().all().iter().filter_map(down).collect()
    }

    /// Ends every session, over this time.
    pub async fn end_all(&self, ending: Ending, spread: Duration) {
        self.metadata().live().end_all(ending, spread).await;
    }

    /// Definitions, permissions, users.
    pub fn metadata(&self) -> &Arc<Metadata> {
        &self.admission.metadata
    }

    /// The feeds.
    pub fn feeds(&self) -> &Arc<Feeds> {
        &self.admission.feeds
    }

    fn open(self: &Arc<Self>, admitted: Admitted, request: &HeaderMap, id: &HeaderValue) -> Answer {
        let coding = accepted_coding(request);
        let head = match admitted.framing {
            Framing::WebSocket { .. } => {
                let protocol = self.token_protocol.as_deref();
                websocket_head(request, id, protocol, admitted.deflate)
            }
            Framing::Sse => sse_head(request, coding, id),
        };
        let (half, id) = (Arc::clone(self), copied_value(id));
        let session: Session = Box::new(move |socket| half.run(admitted, socket, coding, id));
        Answer::TakeOver { head, session }
    }

    /// Runs a session. Not an `async fn`: that keeps its arguments beside what it makes of them, and there is one of these
    /// futures for each session.
    fn run(
        self: Arc<Self>,
        admitted: Admitted,
        socket: TakenSocket,
        coding: ContentCoding,
        id: HeaderValue,
    ) -> BoxFuture<'static, ()> {
        let Admitted {
            stream,
            outlet,
            expires,
            framing,
            deflate,
            holds,
        } = admitted;
        let begun = Instant::now();
        let client = socket.stream.for_session();
        let early = socket.early;
        let expires =
            expires.map(|at| begun + at.duration_since(SystemTime::now()).unwrap_or_default());
        match framing {
            Framing::WebSocket { .. } => Box::pin(async move {
                let settings = &self.websocket;
                let serving = websocket::serve(client, early, deflate, outlet, settings, expires);
                let closed = serving.await;
                drop(holds);
                self.note(&stream, &id, begun, closed);
            }),
            Framing::Sse => Box::pin(async move {
                let closed = sse::serve(client, outlet, &self.sse, coding, expires).await;
                drop(holds);
                self.note(&stream, &id, begun, closed);
            }),
        }
    }

    fn note(&self, stream: &str, id: &HeaderValue, begun: Instant, closed: Closed) {
        if self.access_log {
            tracing::info!(
                target: "access",
                request_id = id.to_str().unwrap_or_default(),
                stream = stream,
                closed = session::close::label(closed.by),
                frames = closed.frames,
                bytes = closed.bytes,
                lasted_ms = begun.elapsed().as_secs_f64() * 1e3,
                "session of {stream} ended: {}", session::close::label(closed.by)
            );
        }
    }
}

/// Query parameters of a request for a stream; more are refused, as by RESTHeart.
const PARAMETERS_MAX: usize = 1000;

/// Copies headers that are kept while a session lives: those of a request are slices of what was read, and one of them keeps
/// all of that.
fn copied(headers: &HeaderMap) -> HeaderMap {
    let mut copy = HeaderMap::with_capacity(headers.keys_len());
    for (name, value) in headers {
        copy.append(name, copied_value(value));
    }
    copy
}

fn copied_value(value: &HeaderValue) -> HeaderValue {
    HeaderValue::from_bytes(value.as_bytes())
        .expect("invariant: these bytes were taken out of a header value")
}

/// Whether every `%` in a path or a query stands before two hexadecimal digits.
fn is_encoded(raw: &str) -> bool {
    raw.split('%').skip(1).all(|rest| {
        let digits = rest.as_bytes();
        digits.len() >= 2 && digits[..2].iter().all(u8::is_ascii_hexdigit)
    })
}

/// The head of the 101. The key may be anything, as in RESTHeart; no subprotocol is taken up but `protocol`.
fn websocket_head(
    request: &HeaderMap,
    id: &HeaderValue,
    protocol: Option<&str>,
    deflate: Option<Deflate>,
) -> Bytes {
    let key = request
        .get("sec-websocket-key")
        .map(HeaderValue::as_bytes)
        .unwrap_or_default();
    let accept = tungstenite::handshake::derive_accept_key(key);
    let mut fields = vec![
        ("Upgrade", "WebSocket"),
        ("Connection", "Upgrade"),
        ("Sec-WebSocket-Accept", &accept),
        ("Content-Type", "application/json; charset=UTF-8"),
    ];
    let taken = protocol.filter(|name| subprotocols(request).any(|offered| offered == *name));
    fields.extend(taken.map(|name| ("Sec-WebSocket-Protocol", name)));
    fields.extend(deflate.map(|agreed| ("Sec-WebSocket-Extensions", agreed.answer())));
    head("101 Switching Protocols", request, id, &fields)
}

/// The head of the 200: the body ends with the connection, as RESTHeart's does.
fn sse_head(request: &HeaderMap, coding: ContentCoding, id: &HeaderValue) -> Bytes {
    let mut fields = vec![
        ("Connection", "close"),
        ("Content-Type", "text/event-stream; charset=UTF-8"),
    ];
    match coding {
        ContentCoding::Identity => (),
        ContentCoding::Gzip => fields.push(("Content-Encoding", "gzip")),
        ContentCoding::Deflate => fields.push(("Content-Encoding", "deflate")),
    }
    head("200 OK", request, id, &fields)
}

fn head(status: &str, request: &HeaderMap, id: &HeaderValue, fields: &[(&str, &str)]) -> Bytes {
    let mut head = format!("HTTP/1.1 {status}\r\n").into_bytes();
    let mut field = |name: &str, value: &[u8]| {
        head.extend_from_slice(name.as_bytes());
        head.extend_from_slice(b": ");
        head.extend_from_slice(value);
        head.extend_from_slice(b"\r\n");
    };
    fields
        .iter()
        .for_each(|(name, value)| field(name, value.as_bytes()));
    let origin = request
        .get(header::ORIGIN)
        .map_or(b"*".as_slice(), HeaderValue::as_bytes);
    field("Access-Control-Allow-Origin", origin);
    field("Access-Control-Allow-Credentials", b"true");
    field("Access-Control-Expose-Headers", b"ETag");
    field("X-Request-Id", id.as_bytes());
    head.extend_from_slice(b"\r\n");
    Bytes::from(head)
}

#[cfg(test)]
mod tests;
