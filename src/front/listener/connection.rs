//! One connection, from accept to close.

use std::{
    future::poll_fn,
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use futures_util::future::BoxFuture;
use http::{HeaderValue, Request, Response, header};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{io::AsyncWriteExt, task::yield_now, time::timeout};

use super::{Answer, Http2Settings, Io, Service, Session, TakenSocket, alarm::Alarm, http2};
use crate::{
    lifecycle::Shutdown,
    proxy::{
        ClientBody, ClientInfo, HeadIo, HeadSettings, LINGER_TIME_MAX, Linger, Link, ProxyBody,
    },
};

/// How connections are served.
#[derive(Clone, Debug)]
pub struct Manner<'a> {
    /// Limits on request heads.
    pub head: Arc<HeadSettings>,
    /// How HTTP/2 is spoken, where it is.
    pub http2: &'a Http2Settings,
    /// When it drains, an idle connection ends at once and a busy one after its answer, or after `drain`; one whose request
    /// has come and was not read yet is busy. Where another
    /// process has taken over, idle ones end after half of that: a request that is on its way when its connection is closed is
    /// lost, and there is no hurry, since new connections do not come here.
    pub shutdown: &'a Shutdown,
    /// How long a busy one may take then.
    pub drain: Duration,
}

/// Serves one client that begins with HTTP/1, until the connection ends: requests, and then perhaps a session.
pub async fn serve<IO, S>(stream: IO, client: ClientInfo, service: &S, manner: &Manner<'_>)
where
    IO: Io + 'static,
    S: Service,
{
    // Boxed, so that a session's task has no room for what HTTP needed before it.
    let http = serve_http(stream, &client, service, manner);
    match Box::pin(http).await {
        End::Http2 { stream, read } => {
            Box::pin(http2::serve(stream, read, &client, service, manner)).await;
        }
        End::Gone => (),
        // Where nothing lies between us and the socket, dropping it says goodbye as well.
        End::Closed { stream, has_unread } if !has_unread && client.scheme == "http" => {
            drop(stream)
        }
        End::Closed { stream, has_unread } => Box::pin(close(stream, &[], has_unread)).await,
        End::Refused { stream, answer } => Box::pin(close(stream, answer, true)).await,
        End::Taken {
            mut stream,
            early,
            head,
            session,
        } => {
            let written = async {
                stream.write_all(&head).await?;
                // TLS may keep what the socket did not take at once.
                stream.flush().await
            };
            if let Err(error) = written.await {
                tracing::debug!(%error, client = %client.peer, "client gone before its session: {error}");
                return;
            }
            drop(head);
            let session = session(TakenSocket {
                stream: Box::new(stream),
                early,
            });
            within_drain(session, manner.shutdown, manner.drain).await;
        }
    }
}

/// How the HTTP part of a connection ends.
enum End<IO> {
    /// It broke, or was given up.
    Gone,
    Closed {
        stream: IO,
        has_unread: bool,
    },
    Refused {
        stream: IO,
        answer: &'static [u8],
    },
    /// It has not begun with HTTP/1, and may do so.
    Http2 {
        stream: IO,
        read: Bytes,
    },
    Taken {
        stream: IO,
        early: Bytes,
        head: Bytes,
        session: Session,
    },
}

/// What the hyper service fails with when a session takes the connection.
#[derive(Debug, thiserror::Error)]
#[error("the connection was taken over")]
struct TakenOver;

async fn serve_http<IO, S>(
    stream: IO,
    client: &ClientInfo,
    service: &S,
    manner: &Manner<'_>,
) -> End<IO>
where
    IO: Io,
    S: Service,
{
    let link = Arc::new(Link::default());
    let taken: Mutex<Option<(Bytes, Session)>> = Mutex::new(None);
    let is_ending = AtomicBool::new(false);
    let answers = service_fn(|request: Request<Incoming>| {
        let mut request = request.map(ClientBody::Http1);
        if let Some(head) = link.take_head() {
            request.extensions_mut().insert(head);
        }
        Answering {
            answer: service.call(request, client),
            link: &link,
            taken: &taken,
            is_ending: &is_ending,
        }
    });
    let io = TokioIo::new(HeadIo::new(
        stream,
        Arc::clone(&manner.head),
        Arc::clone(&link),
    ));
    let mut connection = http1::Builder::new()
        .auto_date_header(false)
        // `HeadIo` itself tells a client that closed its half from one that has gone.
        .half_close(false)
        .serve_connection(io, answers);

    let mut draining = Alarm::new(manner.shutdown.draining());
    let ended = poll_fn(|cx| {
        if draining.poll(cx).is_ready() {
            return Poll::Ready(None);
        }
        connection.poll_without_shutdown(cx).map(Some)
    })
    .await;
    let ended = match ended {
        Some(ended) => ended,
        None => {
            is_ending.store(true, Ordering::Relaxed);
            let finishing = async {
                if manner.shutdown.has_successor() {
                    // The next answer closes it.
                    let one_more = poll_fn(|cx| connection.poll_without_shutdown(cx));
                    if let Ok(ended) = timeout(manner.drain / 2, one_more).await {
                        return ended;
                    }
                } else {
                    // What came before the word to drain is served: the socket tells of it once the reactor has had its turn.
                    yield_now().await;
                    let there = poll_fn(|cx| Poll::Ready(connection.poll_without_shutdown(cx)));
                    if let Poll::Ready(ended) = there.await {
                        return ended;
                    }
                }
                Pin::new(&mut connection).graceful_shutdown();
                poll_fn(|cx| connection.poll_without_shutdown(cx)).await
            };
            match timeout(manner.drain, finishing).await {
                Ok(ended) => ended,
                Err(_elapsed) => return End::Gone,
            }
        }
    };
    let parts = connection.into_parts();
    let taken = taken.lock().unwrap_or_else(PoisonError::into_inner).take();
    let io = parts.io.into_inner();
    if let Some((head, session)) = taken {
        let (stream, behind) = io.into_parts();
        return End::Taken {
            stream,
            early: join(parts.read_buf, behind),
            head,
            session,
        };
    }
    let may_be_http2 = manner.http2.prior_knowledge && client.scheme == "http";
    if may_be_http2 && io.has_begun_http2() {
        let (stream, read) = io.into_parts();
        return End::Http2 {
            stream,
            read: join(parts.read_buf, read),
        };
    }
    if let Some(refusal) = link.refusal() {
        tracing::debug!(client = %client.peer, %refusal, "request refused: {refusal}");
        let (stream, _) = io.into_parts();
        return End::Refused {
            stream,
            answer: refusal.answer(),
        };
    }
    if let Err(error) = ended {
        tracing::debug!(client = %client.peer, %error, "connection ended: {error}");
        if !error.is_parse() {
            return End::Gone;
        }
    }
    let has_unread = io.has_unread() || !parts.read_buf.is_empty();
    let (stream, _) = io.into_parts();
    End::Closed { stream, has_unread }
}

/// The service's answer to one request, as hyper takes it.
struct Answering<'a> {
    answer: BoxFuture<'a, Answer>,
    link: &'a Arc<Link>,
    taken: &'a Mutex<Option<(Bytes, Session)>>,
    /// The connection is closed behind this answer.
    is_ending: &'a AtomicBool,
}

impl Future for Answering<'_> {
    type Output = Result<Response<ProxyBody>, TakenOver>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match ready!(self.answer.as_mut().poll(cx)) {
            Answer::Http(mut response) => {
                if self.is_ending.load(Ordering::Relaxed) {
                    // Instead of `keep-alive`, to which hyper would add its own `close`.
                    let close = HeaderValue::from_static("close");
                    response.headers_mut().insert(header::CONNECTION, close);
                }
                ProxyBody::answer_on(&mut response, self.link);
                Poll::Ready(Ok(response))
            }
            Answer::TakeOver { head, session } => {
                *self.taken.lock().unwrap_or_else(PoisonError::into_inner) = Some((head, session));
                Poll::Ready(Err(TakenOver))
            }
        }
    }
}

/// Runs what ends itself when draining begins, and drops it if it has not in time.
async fn within_drain(session: impl Future<Output = ()>, shutdown: &Shutdown, drain: Duration) {
    let mut session = std::pin::pin!(session);
    tokio::select! {
        // The session first: its end makes the drain pointless.
        biased;
        () = &mut session => return,
        () = shutdown.draining() => (),
    }
    // Boxed, since every session has room for it all its life.
    let _ = Box::pin(timeout(drain, session)).await;
}

/// Ends a connection so that the client can read the answer: whatever it still sends is read and thrown away for a
/// while ([`Linger`]).
pub(super) async fn close<IO: Io>(mut stream: IO, answer: &[u8], has_unread: bool) {
    let closing = async {
        stream.write_all(answer).await?;
        stream.shutdown().await?;
        if !has_unread {
            return Ok(());
        }
        let mut linger = Linger::new();
        poll_fn(|cx| linger.poll(&mut stream, cx)).await
    };
    // A client that does not take its last bytes may not keep us; one that has gone is no fault.
    if let Ok(Err(error)) = timeout(LINGER_TIME_MAX * 2, closing).await {
        tracing::debug!(%error, "connection broke while closing: {error}");
    }
}

fn join(first: Bytes, second: Bytes) -> Bytes {
    match (first.is_empty(), second.is_empty()) {
        (_, true) => first,
        (true, _) => second,
        (false, false) => {
            let mut joined = BytesMut::from(first);
            joined.extend_from_slice(&second);
            joined.freeze()
        }
    }
}
