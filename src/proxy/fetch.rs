//! A GET of our own, for a small answer: key sets, and who the API says somebody is.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, StatusCode, Uri, header, response};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::{BodyError, ProxyError, UpstreamAddress, pool};

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// No connection.
    #[error("cannot be reached: {0}")]
    Connect(#[source] std::io::Error),
    /// The exchange broke off, or was no HTTP.
    #[error("broke off: {0}")]
    Broken(#[source] hyper::Error),
    /// The body broke off, or is longer than it may be.
    #[error("the answer cannot be read: {0}")]
    Body(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// It took too long.
    #[error("no answer in time")]
    Late,
}

/// GETs one URL, on a connection of its own each time. Redirections are not followed.
#[derive(Clone)]
pub struct Fetcher {
    address: UpstreamAddress,
    tls: Option<TlsConnector>,
    names: Arc<pool::Names>,
    target: Uri,
    host: HeaderValue,
    within: Duration,
    body_max: usize,
}

impl std::fmt::Debug for Fetcher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Fetcher({:?})", self.address)
    }
}

impl Fetcher {
    /// `target`: path and query. `within`: how long all of it may take. `body_max`: in bytes.
    ///
    /// # Errors
    /// [`ProxyError::Roots`] and [`ProxyError::Tls`], for https.
    pub fn new(
        address: UpstreamAddress,
        target: Uri,
        within: Duration,
        body_max: usize,
    ) -> Result<Self, ProxyError> {
        Ok(Self {
            tls: pool::tls_connector(&address, None)?,
            names: Arc::default(),
            host: address.host_header(),
            address,
            target,
            within,
            body_max,
        })
    }

    /// Asks, with these headers besides `Host`.
    ///
    /// # Errors
    /// As [`FetchError`]; any status is an answer.
    /// # Cancel safety
    /// Dropping it closes the connection.
    pub async fn get(
        &self,
        headers: HeaderMap,
    ) -> Result<(StatusCode, HeaderMap, Bytes), FetchError> {
        timeout(self.within, self.exchange(headers))
            .await
            .unwrap_or(Err(FetchError::Late))
    }

    async fn exchange(
        &self,
        headers: HeaderMap,
    ) -> Result<(StatusCode, HeaderMap, Bytes), FetchError> {
        let stream = pool::UpstreamStream::connect(&self.address, self.tls.as_ref(), &self.names)
            .await
            .map_err(FetchError::Connect)?;
        let mut request = Request::new(Empty::new());
        *request.uri_mut() = self.target.clone();
        *request.headers_mut() = headers;
        let own = request.headers_mut();
        own.insert(header::HOST, self.host.clone());
        let (parts, body) = exchange(stream, request, self.body_max)
            .await
            .map_err(FetchError::Broken)?;
        let body = body.map_err(FetchError::Body)?;
        Ok((parts.status, parts.headers, body))
    }
}

/// Sends a request on a connection that ends with the answer. The head of that counts, even where its body cannot be read.
pub(super) async fn exchange(
    stream: pool::UpstreamStream,
    mut request: Request<Empty<Bytes>>,
    body_max: usize,
) -> Result<(response::Parts, Result<Bytes, BodyError>), hyper::Error> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let close = HeaderValue::from_static("close");
    request.headers_mut().insert(header::CONNECTION, close);
    let answer = async {
        let (parts, body) = sender.send_request(request).await?.into_parts();
        let body = Limited::new(body, body_max).collect().await;
        Ok((parts, body.map(|body| body.to_bytes())))
    };
    // The connection is driven here, and ends with the answer.
    let mut answer = std::pin::pin!(answer);
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        biased;
        answer = &mut answer => return answer,
        _ended = &mut connection => (),
    }
    answer.await
}
