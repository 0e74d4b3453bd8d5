//! The body of a request, whichever protocol it comes by.

use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use h2::RecvStream;
use hyper::body::{Body, Frame, SizeHint};

use super::{BodyError, head::Link, http1::Http1Body};

/// The body of a client's request.
pub enum ClientBody {
    /// None.
    Empty,
    /// Behind a head of HTTP/1.
    Http1(Http1Body),
    /// A stream of HTTP/2. Boxed: the other kind is the usual one, and is moved about.
    Http2(Box<Http2Body>),
}

/// The body of a request that came by HTTP/2.
pub struct Http2Body {
    received: RecvStream,
    /// How many bytes are still to come, by the request's own word, which is held against what comes.
    left: Option<u64>,
    is_at_trailers: bool,
    /// Where a client that waits for leave to send its body is told to go on.
    waiting: Option<Arc<Link>>,
}

impl Http2Body {
    /// `length`: what `Content-Length` says. `waiting`: the client's side, if it asked for a 100.
    pub(super) fn new(
        received: RecvStream,
        length: Option<u64>,
        waiting: Option<Arc<Link>>,
    ) -> Self {
        Self {
            received,
            left: length,
            is_at_trailers: false,
            waiting,
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, h2::Error>>> {
        if let Some(link) = self.waiting.take() {
            link.put_interim(CONTINUE);
        }
        if !self.is_at_trailers {
            match ready!(self.received.poll_data(cx)) {
                Some(Ok(data)) => {
                    // Who asks for a part has a use for it: so only what nobody has asked for yet fills the window.
                    let window = self.received.flow_control();
                    window.release_capacity(data.len())?;
                    if let Some(left) = &mut self.left {
                        *left = left.saturating_sub(data.len() as u64);
                    }
                    return Poll::Ready(Some(Ok(Frame::data(data))));
                }
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => self.is_at_trailers = true,
            }
        }
        let trailers = ready!(self.received.poll_trailers(cx))?;
        Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))))
    }
}

impl Body for ClientBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match &mut *self {
            Self::Empty => Poll::Ready(None),
            Self::Http1(body) => body.poll(cx),
            Self::Http2(body) => body.poll(cx).map_err(BodyError::from),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Http1(body) => body.is_end_stream(),
            Self::Http2(body) => body.received.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Http1(body) => body.size_hint(),
            Self::Http2(body) => body.left.map(SizeHint::with_exact).unwrap_or_default(),
        }
    }
}

impl fmt::Debug for ClientBody {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Empty => "ClientBody(empty)",
            Self::Http1(_) => "ClientBody(HTTP/1)",
            Self::Http2(_) => "ClientBody(HTTP/2)",
        })
    }
}

const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";
