//! One connection to the upstream, driven by whoever waits for its answer.

use std::{
    future::poll_fn,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, Waker, ready},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response};
use hyper::{
    body::{Body, Frame, Incoming, SizeHint},
    client::conn::http1::{Connection, SendRequest},
};
use hyper_util::rt::TokioIo;

use super::{HeadSwap, Heads, Pool, RequestBody, Upload, UpstreamStream};
use crate::proxy::{BodyError, answer::AnswerHead, timer::Deadline, upstreams::Lent};

/// Why an exchange has no answer.
#[derive(Debug)]
pub(crate) enum ExchangeError {
    /// The connection had ended before a byte was written; here is the request back.
    Unsent(Box<Request<RequestBody>>),
    /// The connection broke, or brought something that is no answer.
    Hyper(hyper::Error),
    /// It brought something that hyper takes for an answer's head, and we do not.
    Unreadable,
    /// The answer's head did not come in time.
    Timeout,
}

/// A connection to the upstream.
///
/// hyper splits a connection in a sender and a driver. Both are polled in the same task here, the driver first, and what
/// the driver brings is then found without a wake-up: hence the no-op wakers.
#[derive(Debug)]
pub(crate) struct Upstream {
    sender: SendRequest<RequestBody>,
    heads: Arc<Heads>,
    /// `None` once it has ended.
    driver: Option<Connection<TokioIo<HeadSwap<UpstreamStream>>, RequestBody>>,
    deadline: Deadline,
    /// It has carried an exchange before.
    pub(crate) is_kept: bool,
    /// Counts the exchange among those of its upstream, where there are several.
    pub(crate) lent: Option<Lent>,
}

impl Upstream {
    pub(super) fn new(
        sender: SendRequest<RequestBody>,
        heads: Arc<Heads>,
        driver: Connection<TokioIo<HeadSwap<UpstreamStream>>, RequestBody>,
    ) -> Self {
        Self {
            sender,
            heads,
            driver: Some(driver),
            deadline: Deadline::default(),
            is_kept: false,
            lent: None,
        }
    }

    /// Sends a request and waits for the head of its answer. The body of the request may still be on its way then.
    ///
    /// `head`: what is sent in place of the head that hyper makes of `request`, whose own method and framing must be the
    /// same. `upload`: what `request`'s body tells. `within`: how long neither the answer may come nor a part of the
    /// request's body be sent. `interim`: hears each head before the answer's, but for a 100, as soon as it is there.
    ///
    /// Returns the head as it came, and what hyper made of what it was shown of it.
    ///
    /// # Cancel safety
    /// Dropping it breaks the exchange off; the connection cannot be used again and must be dropped, too.
    pub(crate) async fn exchange(
        &mut self,
        head: Bytes,
        request: Request<RequestBody>,
        upload: Option<&Upload>,
        within: Duration,
        mut interim: impl FnMut(AnswerHead),
    ) -> Result<(AnswerHead, Response<Incoming>), ExchangeError> {
        self.deadline.set(within);
        self.heads.put_request(head);
        let mut answer = pin!(self.sender.try_send_request(request));
        let (driver, deadline, heads) = (&mut self.driver, &mut self.deadline, &self.heads);
        let outcome = poll_fn(|cx| {
            drive(driver, cx);
            heads.take_interim().into_iter().for_each(&mut interim);
            match answer
                .as_mut()
                .poll(&mut Context::from_waker(Waker::noop()))
            {
                Poll::Ready(Ok(response)) => Poll::Ready(match heads.take_answer() {
                    Some(head) => Ok((head, response)),
                    None => Err(ExchangeError::Unreadable),
                }),
                Poll::Ready(Err(mut error)) => Poll::Ready(Err(match error.take_message() {
                    Some(request) => ExchangeError::Unsent(Box::new(request)),
                    None => ExchangeError::Hyper(error.into_error()),
                })),
                Poll::Pending => loop {
                    ready!(deadline.poll(cx));
                    if !upload.is_some_and(Upload::has_moved) {
                        return Poll::Ready(Err(ExchangeError::Timeout));
                    }
                    deadline.set(within);
                },
            }
        })
        .await;
        self.deadline.clear();
        outcome
    }

    /// Makes sure that the connection has not ended before the next request is written, for one that may not be sent twice.
    pub(crate) fn look_first(&self) {
        self.heads.look_first();
    }

    /// Returns whether the next request may be sent: the answer was read whole, the request was sent whole.
    fn is_ready(&mut self) -> bool {
        if !self.sender.is_ready() {
            drive(&mut self.driver, &mut Context::from_waker(Waker::noop()));
        }
        self.driver.is_some() && self.sender.is_ready()
    }
}

/// Lets the connection read and write what it can.
fn drive(
    driver: &mut Option<Connection<TokioIo<HeadSwap<UpstreamStream>>, RequestBody>>,
    cx: &mut Context<'_>,
) {
    if let Some(connection) = driver {
        // Its error, if any, also reaches the one who waits for the answer or its body.
        if Pin::new(connection).poll(cx).is_ready() {
            *driver = None;
        }
    }
}

/// The body of an answer from the upstream. At its end the connection goes back to the pool.
#[derive(Debug)]
pub(crate) struct UpstreamBody {
    incoming: Incoming,
    upstream: Option<Box<Upstream>>,
    pool: Arc<Pool>,
    /// How long the upstream keeps the connection, by its own word.
    advised: Option<Duration>,
}

impl UpstreamBody {
    pub(crate) fn new(
        incoming: Incoming,
        upstream: Box<Upstream>,
        pool: &Arc<Pool>,
        advised: Option<Duration>,
    ) -> Self {
        let mut body = Self {
            incoming,
            upstream: Some(upstream),
            pool: Arc::clone(pool),
            advised,
        };
        body.keep_if_ended();
        body
    }

    fn keep_if_ended(&mut self) {
        if self.incoming.is_end_stream() {
            self.keep();
        }
    }

    fn keep(&mut self) {
        if let Some(mut upstream) = self.upstream.take()
            && upstream.is_ready()
        {
            upstream.is_kept = true;
            upstream.lent = None;
            self.pool.keep(upstream, self.advised);
        }
    }
}

impl Body for UpstreamBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        if let Some(upstream) = &mut this.upstream {
            drive(&mut upstream.driver, cx);
        }
        let frame =
            Pin::new(&mut this.incoming).poll_frame(&mut Context::from_waker(Waker::noop()));
        match frame {
            Poll::Ready(None) => {
                // A chunked body is at its end only now.
                this.keep();
                Poll::Ready(None)
            }
            Poll::Ready(Some(Ok(frame))) => {
                this.keep_if_ended();
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => {
                this.upstream = None;
                Poll::Ready(Some(Err(error.into())))
            }
            Poll::Pending => Poll::Pending,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}
