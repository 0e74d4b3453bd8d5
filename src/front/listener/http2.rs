//! A connection of HTTP/2: many requests at a time, each with a stream of its own.
//!
//! All of them run in the connection's own task, so that none outlives it and an answer costs no hand-over. Behind this
//! room nobody knows that it is HTTP/2: a [`Service`] gets the request that HTTP/1.1 would have brought, and what takes
//! over a connection there takes over a stream here ([`StreamIo`]): Server-Sent Events, and WebSockets (RFC 8441).
//!
//! What a client can have us hold is bounded: streams, bytes of a head, bytes that wait to be read or written, and how many
//! requests it may take back.

mod exchange;
mod pulse;
mod stream;

use std::{
    future::{Future as _, poll_fn},
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use futures_util::{
    future::BoxFuture,
    stream::{FuturesUnordered, StreamExt as _},
};
use h2::{Reason, server};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::{Instant, Sleep, sleep, timeout},
};

use self::{
    exchange::{Outcome, exchange},
    pulse::Pulse,
};
use super::{Manner, Service, alarm::Alarm, greeting};
use crate::proxy::{ClientInfo, Deadline, http2::Http2Io};

pub use self::stream::StreamIo;

/// How HTTP/2 is spoken, where it is.
#[derive(Clone, Debug)]
pub struct Http2Settings {
    /// Whether a client in clear may begin with it, knowing that we speak it. (Over TLS it is agreed on:
    /// [`TlsSettings::http2`](super::TlsSettings::http2).)
    pub prior_knowledge: bool,
    /// How many requests of one connection are under way at once; a client that begins more is refused them, and may
    /// send them again.
    pub streams_max: u32,
    /// How often a connection with requests under way is pinged.
    pub ping_interval: Duration,
    /// A client that does not answer a ping for this long has gone.
    pub ping_timeout: Duration,
}

impl Default for Http2Settings {
    fn default() -> Self {
        Self {
            prior_knowledge: false,
            streams_max: 128,
            ping_interval: Duration::from_secs(25),
            ping_timeout: Duration::from_secs(20),
        }
    }
}

/// Serves one client, from its preface on, until the connection ends. `read`: what of that was read already.
///
/// When draining begins, the client is told to begin nothing more here (GOAWAY), and what is under way is finished.
pub(super) async fn serve<IO, S>(
    io: IO,
    read: Bytes,
    client: &ClientInfo,
    service: &S,
    manner: &Manner<'_>,
) where
    IO: AsyncRead + AsyncWrite + Send + Unpin,
    S: Service,
{
    let handshake = builder(manner).handshake::<_, Bytes>(Http2Io::new(io, read));
    let opened = tokio::select! {
        // Who has said the whole preface may have asked as well, and is told what becomes of that.
        biased;
        opened = timeout(manner.head.time_max, handshake) => opened,
        () = greeting::over(manner.shutdown, manner.drain) => return,
    };
    let mut connection = match opened {
        Ok(Ok(connection)) => connection,
        Ok(Err(error)) => {
            tracing::debug!(client = %client.peer, %error, "no HTTP/2: {error}");
            return;
        }
        Err(_elapsed) => return,
    };
    let pings = connection.ping_pong();
    let pings = pings.expect("invariant: they are taken once for each connection");
    let mut serving = Serving {
        connection,
        streams: FuturesUnordered::new(),
        client,
        service,
        manner,
        pulse: Pulse::new(pings, manner.http2),
        idle: Deadline::default(),
        goodbye: Deadline::default(),
        end_at: None,
        cancels: Cancels::default(),
    };
    let mut draining = Alarm::new(manner.shutdown.draining());
    let mut is_draining = false;
    poll_fn(|cx| {
        if !is_draining && draining.poll(cx).is_ready() {
            is_draining = true;
            serving.connection.graceful_shutdown();
            serving.end_at = Some(Box::pin(sleep(manner.drain)));
        }
        serving.poll(cx)
    })
    .await;
    let Serving {
        connection,
        streams,
        ..
    } = serving;
    // Whoever is still at work hears of the end by this, and may say so.
    drop(connection);
    let farewell = streams.for_each(|_| std::future::ready(()));
    if timeout(FAREWELL_TIME_MAX, farewell).await.is_err() {
        tracing::debug!(client = %client.peer, "streams have outlived their connection");
    }
}

fn builder(manner: &Manner<'_>) -> server::Builder {
    let mut builder = server::Builder::new();
    builder
        .max_concurrent_streams(manner.http2.streams_max)
        .max_header_list_size(u32::try_from(manner.head.bytes_max).unwrap_or(u32::MAX))
        .initial_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_send_buffer_size(SEND_BUFFER_BYTES_MAX)
        .max_pending_accept_reset_streams(PENDING_RESETS_MAX)
        .max_local_error_reset_streams(Some(ERROR_RESETS_MAX))
        .enable_connect_protocol();
    builder
}

/// A connection and what is under way on it.
struct Serving<'a, IO, S> {
    connection: server::Connection<Http2Io<IO>, Bytes>,
    streams: FuturesUnordered<BoxFuture<'a, Outcome>>,
    client: &'a ClientInfo,
    service: &'a S,
    manner: &'a Manner<'a>,
    pulse: Pulse,
    /// When a connection on which nothing is under way is given up.
    idle: Deadline,
    /// When it is given up if the client, told to begin nothing more, does not go.
    goodbye: Deadline,
    /// When it ends, whatever is under way.
    end_at: Option<Pin<Box<Sleep>>>,
    cancels: Cancels,
}

impl<IO, S> Serving<'_, IO, S>
where
    IO: AsyncRead + AsyncWrite + Send + Unpin,
    S: Service,
{
    /// Goes on until the connection has ended.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            if let Some(end_at) = &mut self.end_at
                && end_at.as_mut().poll(cx).is_ready()
            {
                return Poll::Ready(());
            }
            if self.goodbye.poll(cx).is_ready() {
                if !self.is_busy() {
                    return Poll::Ready(());
                }
                // It had begun something before it was told.
                self.goodbye.clear();
            }
            if self.is_busy() && self.pulse.poll(cx).is_ready() {
                tracing::debug!(client = %self.client.peer, "a client answers no ping");
                return Poll::Ready(());
            }
            // Before the connection, which then writes what they have to say.
            self.poll_streams(cx);
            match self.connection.poll_accept(cx) {
                Poll::Ready(Some(Ok((request, reply)))) => {
                    let bytes_max = self.manner.head.bytes_max;
                    let exchange = exchange(self.service, self.client, bytes_max, request, reply);
                    self.streams.push(Box::pin(exchange));
                }
                Poll::Ready(Some(Err(error))) => {
                    tracing::debug!(client = %self.client.peer, %error, "connection ended: {error}");
                    return Poll::Ready(());
                }
                Poll::Ready(None) => return Poll::Ready(()),
                Poll::Pending => {
                    ready!(self.poll_idle(cx));
                    self.connection.graceful_shutdown();
                    self.goodbye.set(GOODBYE_TIME_MAX);
                }
            }
        }
    }

    fn poll_streams(&mut self, cx: &mut Context<'_>) {
        while let Poll::Ready(Some(outcome)) = self.streams.poll_next_unpin(cx) {
            if outcome == Outcome::Cancelled && self.cancels.is_flood() {
                tracing::info!(
                    client = %self.client.peer,
                    "a client takes back its requests again and again, its connection is closed"
                );
                metrics::counter!("sidestream_http2_floods_total").increment(1);
                self.connection.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM);
                self.end_at = Some(Box::pin(sleep(GOODBYE_TIME_MAX)));
            }
        }
    }

    /// Whether something is under way, were it the rest of an answer that the client has not taken yet.
    fn is_busy(&self) -> bool {
        !self.streams.is_empty() || self.connection.has_streams()
    }

    /// Waits until nothing has been under way for too long.
    fn poll_idle(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.is_busy() || self.goodbye.is_set() || self.end_at.is_some() {
            self.idle.clear();
            return Poll::Pending;
        }
        if !self.idle.is_set() {
            self.idle.set(self.manner.head.idle_max);
        }
        self.idle.poll(cx)
    }
}

/// Counts the requests that a client takes back: each may have cost a request to the upstream, and costs the client next
/// to nothing ("rapid reset").
#[derive(Default)]
struct Cancels {
    count: u32,
    since: Option<Instant>,
}

impl Cancels {
    /// Counts one; says, once, that they are too many.
    fn is_flood(&mut self) -> bool {
        let now = Instant::now();
        let is_over = |since: Instant| now.duration_since(since) > CANCELS_SPAN;
        if self.since.is_none_or(is_over) {
            self.since = Some(now);
            self.count = 0;
        }
        self.count += 1;
        self.count == CANCELS_MAX + 1
    }
}

/// How many requests a client may take back within [`CANCELS_SPAN`]. A page that is left, or a list that is scrolled
/// through, takes back dozens.
const CANCELS_MAX: u32 = 500;
const CANCELS_SPAN: Duration = Duration::from_secs(10);

/// How many requests may be taken back before they were even looked at: what comes in one go.
const PENDING_RESETS_MAX: usize = 32;

/// How many streams may be broken off for breaking the protocol.
const ERROR_RESETS_MAX: usize = 256;

/// What a client may send of a body that nobody has asked for yet: of one request, of all on a connection.
const STREAM_WINDOW_BYTES: u32 = 256 << 10;
const CONNECTION_WINDOW_BYTES: u32 = 1 << 20;

const _: () = assert!(STREAM_WINDOW_BYTES < CONNECTION_WINDOW_BYTES);

/// How much of an answer waits for the client, for each stream: part of an upstream's body, or what a session has written.
const SEND_BUFFER_BYTES_MAX: usize = 64 << 10;

/// How long an idle client may take to hear that it shall go.
const GOODBYE_TIME_MAX: Duration = Duration::from_secs(5);

/// How long those at work on streams may take to notice that the connection has ended.
const FAREWELL_TIME_MAX: Duration = Duration::from_millis(500);
