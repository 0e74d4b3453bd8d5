//! The body of a request, as whoever answers it reads it.

use std::{
    fmt,
    sync::{Arc, Mutex},
    task::{Context, Poll},
};

use bytes::Bytes;
use hyper::body::{Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite};

use super::{lock, reading::Reader};
use crate::proxy::BodyError;

/// The body of a request that came by HTTP/1.
///
/// What is not read of it ends the connection behind the answer.
pub struct Http1Body {
    source: Arc<dyn Source>,
    size: SizeHint,
    has_ended: bool,
}

/// A part of a body, and whether it is the last one.
type Part = (Option<Result<Frame<Bytes>, BodyError>>, bool);

impl Http1Body {
    pub(super) fn new(source: Arc<dyn Source>) -> Self {
        Self {
            size: source.size_hint(),
            has_ended: false,
            source,
        }
    }

    pub(in crate::proxy) fn poll(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if self.has_ended {
            return Poll::Ready(None);
        }
        self.source.poll_body(cx).map(|(frame, is_last)| {
            self.has_ended = is_last;
            self.size = self.source.size_hint();
            frame
        })
    }

    pub(in crate::proxy) fn is_end_stream(&self) -> bool {
        self.has_ended
    }

    pub(in crate::proxy) fn size_hint(&self) -> SizeHint {
        self.size
    }
}

impl fmt::Debug for Http1Body {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Http1Body({:?})", self.size)
    }
}

/// A connection whose request has a body.
pub(super) trait Source: Send + Sync {
    /// Reads the next part.
    fn poll_body(&self, cx: &mut Context<'_>) -> Poll<Part>;

    /// Returns how much is to come.
    fn size_hint(&self) -> SizeHint;
}

impl<S> Source for Mutex<Reader<S>>
where
    S: AsyncRead + AsyncWrite + Send + Unpin,
{
    fn poll_body(&self, cx: &mut Context<'_>) -> Poll<Part> {
        let mut reader = lock(self);
        let polled = reader.poll_body(cx);
        polled.map(|frame| (frame, !reader.is_in_body()))
    }

    fn size_hint(&self) -> SizeHint {
        lock(self).body_size()
    }
}
