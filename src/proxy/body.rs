//! The body of an answer, wherever it comes from.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};

use super::{answer::ClientHead, pool::UpstreamBody};

/// What breaks a body off.
pub type BodyError = Box<dyn std::error::Error + Send + Sync>;

/// The body of an answer to a client.
///
/// An enum rather than a box: the forwarded body, which is nearly all of them, needs no allocation.
pub struct ProxyBody {
    kind: Kind,
    /// The head of the answer, where that is the upstream's.
    head: Option<ClientHead>,
}

enum Kind {
    Empty,
    Full(Option<Bytes>),
    Upstream(UpstreamBody),
    Boxed(Pin<Box<dyn Body<Data = Bytes, Error = BodyError> + Send>>),
}

impl ProxyBody {
    /// Returns a body without a byte.
    pub fn empty() -> Self {
        Self::of(Kind::Empty)
    }

    /// Returns a body of known bytes.
    pub fn full(bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        if bytes.is_empty() {
            return Self::empty();
        }
        Self::of(Kind::Full(Some(bytes)))
    }

    /// Returns a body that is some other body.
    pub fn boxed<B>(body: B) -> Self
    where
        B: Body<Data = Bytes, Error = BodyError> + Send + 'static,
    {
        Self::of(Kind::Boxed(Box::pin(body)))
    }

    pub(crate) fn upstream(body: UpstreamBody) -> Self {
        Self::of(Kind::Upstream(body))
    }

    /// Returns this body with the head that goes before it.
    pub(crate) fn with_head(self, head: ClientHead) -> Self {
        Self {
            head: Some(head),
            ..self
        }
    }

    /// Goes on with the request that is answered, where its body is still on its way.
    ///
    /// # Errors
    /// The request's body broke off: so does this one.
    pub(crate) fn poll_upload(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BodyError>> {
        match &mut self.kind {
            Kind::Upstream(body) => body.poll_upload(cx),
            Kind::Empty | Kind::Full(_) | Kind::Boxed(_) => Poll::Ready(Ok(())),
        }
    }

    /// Takes the head that goes before it, if that is the upstream's.
    pub(super) fn take_head(&mut self) -> Option<ClientHead> {
        self.head.take()
    }

    fn of(kind: Kind) -> Self {
        Self { kind, head: None }
    }
}

impl Body for ProxyBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match &mut self.kind {
            Kind::Empty => Poll::Ready(None),
            Kind::Full(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Kind::Upstream(body) => Pin::new(body).poll_frame(cx),
            Kind::Boxed(body) => body.as_mut().poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Empty => true,
            Kind::Full(bytes) => bytes.is_none(),
            Kind::Upstream(body) => body.is_end_stream(),
            Kind::Boxed(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Empty => SizeHint::with_exact(0),
            Kind::Full(bytes) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
            Kind::Upstream(body) => body.size_hint(),
            Kind::Boxed(body) => body.size_hint(),
        }
    }
}

impl fmt::Debug for ProxyBody {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match &self.kind {
            Kind::Empty => "empty",
            Kind::Full(_) => "full",
            Kind::Upstream(_) => "upstream",
            Kind::Boxed(_) => "boxed",
        };
        write!(formatter, "ProxyBody({kind})")
    }
}
