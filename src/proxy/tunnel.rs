//! Connections that the upstream switches to another protocol: WebSockets that are not ours.
//!
//! Nothing behind the head goes upstream before the upstream's 101, and that 101 reaches the client as the bytes it came
//! in.

use std::{io, time::Duration};

use bytes::Bytes;
use http::StatusCode;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, copy_bidirectional};

use super::{
    answer::AnswerHead,
    framing::Encoder,
    pool::{Asked, ExchangeError, RequestBody, Upstream, UpstreamBody, UpstreamStream},
    upstreams::Lent,
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
    /// With its body, which ends the connection.
    Refused(AnswerHead, UpstreamBody),
}

/// Asks the upstream to switch, on a connection of its own.
///
/// # Errors
/// As for any exchange on a fresh connection.
pub(super) async fn open(
    mut upstream: Box<Upstream>,
    asked: Asked<'_>,
    within: Duration,
) -> Result<Opened, ExchangeError> {
    let mut body = Some((RequestBody::Empty, Encoder::nothing()));
    let exchange = upstream.exchange(asked, &mut body, within, |_| ());
    let (head, framing) = exchange.await?;
    if head.status() != StatusCode::SWITCHING_PROTOCOLS {
        let body = UpstreamBody::new(framing, upstream, None);
        return Ok(Opened::Refused(head, body));
    }
    let lent = upstream.lent.take();
    let (upstream, upstream_early) = upstream.into_parts();
    Ok(Opened::Switched(Tunnel {
        head: head.bytes().clone(),
        upstream,
        upstream_early,
        _lent: lent,
    }))
}
