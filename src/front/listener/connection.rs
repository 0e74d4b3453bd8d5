//! One connection, from accept to close.

use std::{
    future::poll_fn,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::Poll,
    time::Duration,
};

use bytes::Bytes;
use tokio::{io::AsyncWriteExt, task::yield_now, time::timeout};

use super::{Answer, Http2Settings, Io, Service, Session, TakenSocket, alarm::Alarm, http2};
use crate::{
    lifecycle::Shutdown,
    proxy::{
        BrokenOff, ClientInfo, HeadSettings, Http1, LINGER_TIME_MAX, Left, Linger, Over, Refusal,
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

/// Serves requests, and sees to it that this ends when the process drains.
async fn serve_http<IO, S>(
    stream: IO,
    client: &ClientInfo,
    service: &S,
    manner: &Manner<'_>,
) -> End<IO>
where
    IO: Io + 'static,
    S: Service,
{
    let leaving = Leaving::default();
    let connection = Http1::new(stream, Arc::clone(&manner.head));
    let mut serving = pin!(serve_requests(
        connection, client, service, manner, &leaving
    ));
    let mut draining = Alarm::new(manner.shutdown.draining());
    let ended = poll_fn(|cx| {
        if draining.poll(cx).is_ready() {
            return Poll::Ready(None);
        }
        serving.as_mut().poll(cx).map(Some)
    });
    if let Some(end) = ended.await {
        return end;
    }
    leaving.begin();
    let finishing = async {
        if manner.shutdown.has_successor() {
            // The next answer closes it.
            if let Ok(end) = timeout(manner.drain / 2, serving.as_mut()).await {
                return end;
            }
        } else {
            // What came before the word to drain is served: the socket tells of it once the reactor has had its turn.
            yield_now().await;
            let there = poll_fn(|cx| Poll::Ready(serving.as_mut().poll(cx)));
            if let Poll::Ready(end) = there.await {
                return end;
            }
        }
        leaving.wait_for_no_more();
        serving.await
    };
    timeout(manner.drain, finishing).await.unwrap_or(End::Gone)
}

/// How far a connection is on its way out.
#[derive(Debug, Default)]
struct Leaving {
    /// The next answer is the last one.
    has_begun: AtomicBool,
    /// No request is waited for any more.
    is_patient_no_more: AtomicBool,
}

impl Leaving {
    fn begin(&self) {
        self.has_begun.store(true, Ordering::Relaxed);
    }

    fn wait_for_no_more(&self) {
        self.is_patient_no_more.store(true, Ordering::Relaxed);
    }
}

/// Serves one request behind the other.
async fn serve_requests<IO, S>(
    mut connection: Http1<IO>,
    client: &ClientInfo,
    service: &S,
    manner: &Manner<'_>,
    leaving: &Leaving,
) -> End<IO>
where
    IO: Io + 'static,
    S: Service,
{
    loop {
        let heard = poll_fn(|cx| match connection.poll_request(cx) {
            Poll::Pending if leaving.is_patient_no_more.load(Ordering::Relaxed) => {
                Poll::Ready(Err(Over::End))
            }
            polled => polled,
        });
        let (request, asked) = match heard.await {
            Ok(heard) => heard,
            Err(Over::End) => return closed(connection).await,
            Err(Over::Refused(refusal)) => return refused(connection, refusal, client, manner),
            Err(Over::Broken(error)) => return gone(client, &error),
        };
        let mut answering = service.call(request, client);
        let answer = poll_fn(|cx| match answering.as_mut().poll(cx) {
            Poll::Ready(answer) => Poll::Ready(Some(answer)),
            Poll::Pending => connection.poll_gone(cx).map(|()| None),
        });
        let answer = answer.await;
        // With what it holds of the request.
        drop(answering);
        match answer {
            None => return End::Gone,
            Some(Answer::Http(response)) => {
                let may_stay = !leaving.has_begun.load(Ordering::Relaxed);
                match connection.answer(response, asked, may_stay).await {
                    Ok(Left::Open) => (),
                    Ok(Left::Closing) => return closed(connection).await,
                    Err(error) if error.looks_whole => {
                        return truncated(connection, client, &error);
                    }
                    Err(error) => return gone(client, &error),
                }
            }
            Some(Answer::TakeOver { head, session }) => {
                return match connection.into_parts() {
                    Some((stream, early)) => End::Taken {
                        stream,
                        early,
                        head,
                        session,
                    },
                    None => End::Gone,
                };
            }
        }
    }
}

async fn closed<IO: Io + 'static>(mut connection: Http1<IO>) -> End<IO> {
    connection.look().await;
    let has_unread = connection.has_unread();
    match connection.into_parts() {
        Some((stream, _)) => End::Closed { stream, has_unread },
        None => End::Gone,
    }
}

fn refused<IO: Io + 'static>(
    connection: Http1<IO>,
    refusal: Refusal,
    client: &ClientInfo,
    manner: &Manner<'_>,
) -> End<IO> {
    let may_be_http2 = manner.http2.prior_knowledge && client.scheme == "http";
    let has_begun_http2 = refusal == Refusal::Preface && connection.is_fresh();
    let Some((stream, read)) = connection.into_parts() else {
        return End::Gone;
    };
    if may_be_http2 && has_begun_http2 {
        return End::Http2 { stream, read };
    }
    tracing::debug!(client = %client.peer, %refusal, "request refused: {refusal}");
    End::Refused {
        stream,
        answer: refusal.answer(),
    }
}

/// Ends a connection whose client would take its end for that of the answer.
fn truncated<IO: Io + 'static>(
    connection: Http1<IO>,
    client: &ClientInfo,
    error: &BrokenOff,
) -> End<IO> {
    if let Some((stream, _)) = connection.into_parts() {
        stream.reset_when_dropped();
    }
    gone(client, error)
}

fn gone<IO>(client: &ClientInfo, error: &dyn std::error::Error) -> End<IO> {
    tracing::debug!(client = %client.peer, %error, "connection ended: {error}");
    End::Gone
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
