//! The body of an answer from the upstream.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};

use super::{Pool, Upstream};
use crate::proxy::{
    BodyError,
    framing::{Decoder, Framing},
};

/// The body of an answer from the upstream. At its end the connection goes back to the pool.
#[derive(Debug)]
pub(crate) struct UpstreamBody {
    decoder: Decoder,
    upstream: Option<Box<Upstream>>,
}

/// How a connection is kept behind an answer.
#[derive(Debug)]
pub(crate) struct Keeping {
    pub(crate) pool: Arc<Pool>,
    /// How long the upstream keeps it, by its own word.
    pub(crate) advised: Option<Duration>,
}

impl UpstreamBody {
    /// `keeping`: where the connection may be used again.
    pub(crate) fn new(
        framing: Framing,
        mut upstream: Box<Upstream>,
        keeping: Option<Keeping>,
    ) -> Self {
        upstream.keeping = keeping.filter(|_| framing != Framing::Close);
        let mut body = Self {
            decoder: Decoder::new(framing),
            upstream: Some(upstream),
        };
        body.keep_if_ended();
        body
    }

    /// Goes on with the request, while nobody takes the answer: there are clients that read no answer before they have sent all.
    pub(in crate::proxy) fn poll_upload(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), BodyError>> {
        match &mut self.upstream {
            Some(upstream) => upstream.poll_send(cx),
            None => Poll::Ready(Ok(())),
        }
    }

    fn keep_if_ended(&mut self) {
        if !self.decoder.is_end() {
            return;
        }
        if let Some(mut upstream) = self.upstream.take()
            && let Some(Keeping { pool, advised }) = upstream.keeping.take()
            && upstream.is_ready()
        {
            upstream.read.rest();
            upstream.is_kept = true;
            upstream.lent = None;
            pool.keep(upstream, advised);
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
        let Some(upstream) = &mut this.upstream else {
            return Poll::Ready(None);
        };
        let outcome = poll_part(upstream, &mut this.decoder, cx);
        match ready!(outcome) {
            Ok(frame) => {
                this.keep_if_ended();
                if frame.is_none() {
                    this.upstream = None;
                }
                Poll::Ready(frame.map(Ok))
            }
            Err(error) => {
                this.upstream = None;
                Poll::Ready(Some(Err(error)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.decoder.is_end() || self.upstream.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        self.decoder.size_hint()
    }
}

/// Waits for the next part of an answer's body. `None`: it has ended.
fn poll_part(
    upstream: &mut Upstream,
    decoder: &mut Decoder,
    cx: &mut Context<'_>,
) -> Poll<Result<Option<Frame<Bytes>>, BodyError>> {
    if let Poll::Ready(Err(error)) = upstream.poll_send(cx) {
        return Poll::Ready(Err(error));
    }
    loop {
        if let Some(frame) = decoder.decode(&mut upstream.read.bytes)? {
            return Poll::Ready(Ok(Some(frame)));
        }
        if decoder.is_end() {
            return Poll::Ready(Ok(None));
        }
        if ready!(upstream.poll_read(cx))? == 0 {
            return Poll::Ready(match decoder.may_end() {
                true if !upstream.was_reset => Ok(None),
                _ => Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
            });
        }
    }
}
