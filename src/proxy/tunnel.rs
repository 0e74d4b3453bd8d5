//! Connections that the upstream switches to another protocol: WebSockets that are not ours.
//!
//! Nothing behind the head goes upstream before the upstream's 101, and that 101 reaches the client as the bytes it came
//! in.

use std::{
    future::poll_fn,
    io,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use hyper::{
    body::{Body, Frame, Incoming, SizeHint},
    client::conn::http1::Connection,
};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt, copy_bidirectional},
    time::timeout,
};

use super::{
    BodyError, ProxyBody, ProxyError,
    answer::AnswerHead,
    pool::{HeadSwap, Heads, RequestBody, UpstreamStream},
    upstreams::{Lent, Route},
};

/// A connection to the upstream that has switched protocols, waiting for the client's socket.
#[derive(Debug)]
pub struct Tunnel {
    /// The upstream's answer, byte for byte: what the client must get first.
    pub head: Bytes,
    upstream: UpstreamStream,
    /// What the upstream sent behind its answer.
    upstream_early: Bytes,
    _lent: Option<Lent>,
}

impl Tunnel {
    /// Copies bytes in both directions until both sides have ended, or one has broken. [`Tunnel::head`] must be written.
    ///
    /// `early`: what the client sent behind its request.
    ///
    /// # Cancel safety
    /// Dropping it closes the upstream's side.
    pub async fn run<S>(mut self, mut client: S, early: Bytes)
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let copied: io::Result<()> = async {
            client.write_all(&self.upstream_early).await?;
            client.flush().await?;
            self.upstream.write_all(&early).await?;
            self.upstream.flush().await?;
            copy_bidirectional(&mut client, &mut self.upstream).await?;
            Ok(())
        }
        .await;
        if let Err(error) = copied {
            tracing::debug!(%error, "tunnel ended: {error}");
        }
    }
}

/// What the upstream says to a request to switch.
#[derive(Debug)]
pub(super) enum Opened {
    Switched(Tunnel),
    /// With its head as it came; what hyper has read of that is in the answer.
    Refused(AnswerHead, Response<ProxyBody>),
}

/// Asks the upstream to switch, by `head`, on a connection of its own, which was made along `route`.
///
/// # Errors
/// As for any exchange on a fresh connection.
pub(super) async fn open(
    route: &mut Route<'_>,
    stream: UpstreamStream,
    head: Bytes,
    request: Request<RequestBody>,
) -> Result<Opened, ProxyError> {
    let heads = Arc::new(Heads::default());
    heads.put_request(head);
    let io = TokioIo::new(HeadSwap::new(stream, Arc::clone(&heads)));
    let lent = route.lend();
    let (mut sender, mut driver) = route
        .pool()
        .client()
        .handshake(io)
        .await
        .map_err(ProxyError::Broken)?;
    let mut answer = pin!(sender.send_request(request));
    let exchange = poll_fn(|cx| {
        let is_over = driver.poll_without_shutdown(cx).is_ready();
        match answer
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()))
        {
            Poll::Ready(answer) => Poll::Ready(Some((answer, is_over))),
            Poll::Pending if is_over => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    });
    let (answer, is_over) = match timeout(route.pool().settings().response_timeout, exchange).await
    {
        Ok(Some((Ok(answer), is_over))) => (answer, is_over),
        Ok(Some((Err(error), _))) if error.is_parse() => return Err(ProxyError::Answer(error)),
        Ok(Some((Err(error), _))) => return Err(ProxyError::Broken(error)),
        Ok(None) => return Err(ProxyError::Connect(io::ErrorKind::ConnectionReset.into())),
        Err(_elapsed) => return Err(ProxyError::ResponseTimeout),
    };
    let head = heads.take_answer().ok_or(ProxyError::AnswerHead)?;
    if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
        let driver = (!is_over).then_some(driver);
        let answer = answer.map(|incoming| {
            ProxyBody::boxed(RefusedBody {
                incoming,
                driver,
                _lent: lent,
            })
        });
        return Ok(Opened::Refused(head, answer));
    }
    let parts = driver.into_parts();
    let (upstream, unread) = parts.io.into_inner().into_parts();
    Ok(Opened::Switched(Tunnel {
        head: head.bytes().clone(),
        upstream,
        upstream_early: [parts.read_buf, unread].concat().into(),
        _lent: lent,
    }))
}

/// The body of a refusal, which drives its own connection.
struct RefusedBody {
    incoming: Incoming,
    driver: Option<Connection<TokioIo<HeadSwap<UpstreamStream>>, RequestBody>>,
    _lent: Option<Lent>,
}

impl Body for RefusedBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        if let Some(driver) = &mut this.driver
            && driver.poll_without_shutdown(cx).is_ready()
        {
            this.driver = None;
        }
        Pin::new(&mut this.incoming)
            .poll_frame(&mut Context::from_waker(Waker::noop()))
            .map_err(BodyError::from)
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}
