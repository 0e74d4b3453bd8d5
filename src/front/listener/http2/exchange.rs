//! One request of HTTP/2 and its answer.

use std::{
    future::poll_fn,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use h2::{Reason, RecvStream, SendStream, server::SendResponse};
use http::{Method, Request, Response, StatusCode};
use hyper::body::Body as _;

use super::StreamIo;
use crate::{
    front::listener::{Answer, Service, Session, TakenSocket},
    proxy::{
        BodyError, ClientInfo, Link, ProxyBody, Refusal,
        http2::{self, Http2Request},
    },
};

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// With an answer, or ours to break off.
    Done,
    /// The client has taken it back.
    Cancelled,
}

/// Answers one request. Dropped where it stands when the connection ends.
pub(super) async fn exchange<S: Service>(
    service: &S,
    client: &ClientInfo,
    bytes_max: usize,
    request: Request<RecvStream>,
    reply: SendResponse<Bytes>,
) -> Outcome {
    let mut reply = Reply(reply);
    let link = Arc::new(Link::default());
    let method = request.method().clone();
    let asked = match Http2Request::new(request, &link, bytes_max) {
        Ok(asked) => asked,
        Err(refusal) => {
            tracing::debug!(client = %client.peer, %refusal, "request refused: {refusal}");
            return reply.refuse(refusal);
        }
    };
    let mut answering = service.call(asked.request, client);
    let answered = poll_fn(|cx| {
        let polled = answering.as_mut().poll(cx);
        reply.pass_interim(&link);
        match polled {
            Poll::Ready(answer) => Poll::Ready(Some(answer)),
            Poll::Pending => reply.0.poll_reset(cx).map(|_| None),
        }
    });
    let answered = answered.await;
    drop(answering);
    match answered {
        None => Outcome::Cancelled,
        // To 2xx the client would speak WebSocket, with whoever has not understood that it wants to.
        Some(Answer::Http(answer)) if asked.behind.is_some() && answer.status().is_success() => {
            reply.fail()
        }
        Some(Answer::Http(answer)) => reply.answer(answer, &method).await,
        Some(Answer::TakeOver { head, session }) => {
            reply.hand_over(head, session, asked.behind).await
        }
    }
}

/// The answer's side of a stream.
struct Reply(SendResponse<Bytes>);

impl Reply {
    fn refuse(mut self, refusal: Refusal) -> Outcome {
        let mut head = Response::new(());
        *head.status_mut() = refusal.status();
        // The one whose head we do not read may still send: it is told that nobody will listen when this is dropped.
        self.begin(head, true);
        Outcome::Done
    }

    fn begin(&mut self, head: Response<()>, is_whole: bool) -> Option<SendStream<Bytes>> {
        match self.0.send_response(head, is_whole) {
            Ok(sending) => Some(sending),
            Err(error) => {
                tracing::debug!(%error, "no answer can be sent: {error}");
                self.0.send_reset(Reason::INTERNAL_ERROR);
                None
            }
        }
    }

    /// Sends what there is of interim answers.
    fn pass_interim(&mut self, link: &Link) {
        let Some(heads) = link.take_interim() else {
            return;
        };
        for head in http2::interim_heads(heads) {
            // Any client may miss them; what is wrong with the stream is heard soon enough.
            drop(self.0.send_informational(head));
        }
    }

    /// Answers in the place of an upstream whose answer cannot be passed on.
    fn fail(mut self) -> Outcome {
        let mut head = Response::new(());
        *head.status_mut() = StatusCode::BAD_GATEWAY;
        self.begin(head, true);
        Outcome::Done
    }

    async fn answer(mut self, mut answer: Response<ProxyBody>, method: &Method) -> Outcome {
        let Some(head) = http2::answer_head(&mut answer, method) else {
            return self.fail();
        };
        let body = answer.into_body();
        let is_whole = !http2::has_body(head.status(), method) || body.is_end_stream();
        match self.begin(head, is_whole) {
            Some(sending) if !is_whole => send(body, sending).await,
            _ => Outcome::Done,
        }
    }

    /// Begins an answer and has `session` go on with it.
    async fn hand_over(
        mut self,
        head: Bytes,
        session: Session,
        received: Option<RecvStream>,
    ) -> Outcome {
        let Some(head) = http2::raw_answer_head(head) else {
            self.0.send_reset(Reason::INTERNAL_ERROR);
            return Outcome::Done;
        };
        if let Some(sending) = self.begin(head, false) {
            let socket = TakenSocket {
                stream: Box::new(StreamIo::new(sending, received)),
                early: Bytes::new(),
            };
            session(socket).await;
        }
        Outcome::Done
    }
}

/// Sends a body, as fast as the client takes it.
async fn send(mut body: ProxyBody, mut sending: SendStream<Bytes>) -> Outcome {
    loop {
        let next =
            poll_fn(|cx| poll_or_reset(&mut sending, cx, |cx| Pin::new(&mut body).poll_frame(cx)));
        let Some(next) = next.await else {
            return Outcome::Cancelled;
        };
        let sent = match next {
            None => sending.send_data(Bytes::new(), true),
            Some(Err(error)) => return broken_off(sending, &error),
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) => {
                    let is_last = body.is_end_stream();
                    if !data.is_empty() {
                        match has_room(&mut sending, &mut body).await {
                            Ok(true) => (),
                            Ok(false) => return Outcome::Cancelled,
                            Err(error) => return broken_off(sending, &error),
                        }
                    }
                    match sending.send_data(data, is_last) {
                        Ok(()) if !is_last => continue,
                        sent => sent,
                    }
                }
                Err(frame) => {
                    let trailers = frame.into_trailers().unwrap_or_default();
                    sending.send_trailers(http2::trailers(trailers))
                }
            },
        };
        if let Err(error) = sent {
            tracing::debug!(%error, "an answer cannot be sent: {error}");
        }
        return Outcome::Done;
    }
}

/// Ends an answer of which the client must not take what there is for the whole.
fn broken_off(mut sending: SendStream<Bytes>, error: &BodyError) -> Outcome {
    tracing::debug!(%error, "an answer has broken off: {error}");
    sending.send_reset(Reason::INTERNAL_ERROR);
    Outcome::Done
}

/// Waits until the client takes at least a byte; says whether it will take any more at all. The request goes on meanwhile: there
/// are clients that take no answer before they have sent all.
///
/// # Errors
/// The request broke off.
///
/// The window is claimed only once there is something for it: what one stream keeps in reserve, others on the connection
/// cannot have.
async fn has_room(
    sending: &mut SendStream<Bytes>,
    body: &mut ProxyBody,
) -> Result<bool, BodyError> {
    if sending.capacity() > 0 {
        return Ok(true);
    }
    sending.reserve_capacity(1);
    poll_fn(|cx| {
        loop {
            if let Poll::Ready(Err(error)) = body.poll_upload(cx) {
                return Poll::Ready(Err(error));
            }
            match ready!(sending.poll_capacity(cx)) {
                Some(Ok(0)) => (),
                Some(Ok(_)) => return Poll::Ready(Ok(true)),
                Some(Err(_)) | None => return Poll::Ready(Ok(false)),
            }
        }
    })
    .await
}

/// Polls, unless the client has taken its request back: then it is ready with `None`.
fn poll_or_reset<T>(
    sending: &mut SendStream<Bytes>,
    cx: &mut Context<'_>,
    poll: impl FnOnce(&mut Context<'_>) -> Poll<T>,
) -> Poll<Option<T>> {
    if sending.poll_reset(cx).is_ready() {
        return Poll::Ready(None);
    }
    poll(cx).map(Some)
}
