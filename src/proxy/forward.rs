//! One request to the upstream, and its answer back.

mod headers;

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header, request};
use hyper::body::Body;

use self::headers::{Intent, Manner};
use super::{
    ClientBody, ClientInfo, Link, ProxyBody, ProxyError, ProxySettings, RawHead, Standing, Tunnel,
    Unwell, UpstreamAddress,
    answer::{AnswerHead, ClientHead},
    classes::Classes,
    framing::Encoder,
    pool::{
        Asked, ExchangeError, Keeping, Pool, RequestBody, TooSlow, Upload, Upstream, UpstreamBody,
    },
    tunnel::{self, Opened},
    upstreams::Upstreams,
};

/// Forwards requests to the upstream, or to one of several. Clones share the connections.
#[derive(Clone, Debug)]
pub struct Forwarder {
    upstreams: Arc<Upstreams>,
    /// For each upstream.
    manners: Arc<[Manner]>,
    counters: Arc<OnceLock<Classes>>,
}

/// What came of a request.
#[derive(Debug)]
pub enum Forwarded {
    /// An answer: the upstream's, or 502 or 504 of our own.
    Response(Response<ProxyBody>),
    /// The upstream switched protocols; the client's socket is needed.
    Tunnel(Tunnel),
}

impl Forwarder {
    /// Makes a forwarder. Nothing is connected before the first request.
    ///
    /// # Errors
    /// [`ProxyError::Roots`] and [`ProxyError::Tls`], for an https upstream.
    pub fn new(settings: ProxySettings) -> Result<Self, ProxyError> {
        let addresses = std::iter::once(&settings.upstream).chain(&settings.others);
        let manner = |address: &UpstreamAddress| Manner {
            default_host: address.host_header(),
            forward_expect: settings.forward_expect,
        };
        Ok(Self {
            manners: addresses.map(manner).collect(),
            upstreams: Arc::new(Upstreams::new(settings)?),
            counters: Arc::default(),
        })
    }

    /// Sends a request on and returns the answer as soon as its head is there; bodies stream in both directions.
    ///
    /// # Cancel safety
    /// Dropping it drops the request to the upstream with its connection; so does dropping the answer's body.
    pub async fn forward(&self, request: Request<ClientBody>, client: &ClientInfo) -> Forwarded {
        let (parts, body) = request.into_parts();
        let written;
        let head = match parts.extensions.get::<RawHead>() {
            Some(head) => head,
            None => {
                written = RawHead::written(&parts);
                &written
            }
        };
        let intent = if body.is_end_stream() {
            headers::intent(&parts.method, head.head())
        } else {
            // The upstream would have to read the body before it switches: an ordinary request then, as RFC 9110 allows.
            Intent::Exchange
        };
        let outcome = match intent {
            Intent::Exchange => self.exchange(&parts, head, body, client).await,
            Intent::Switch => self.switch(&parts, head, client).await,
        };
        let forwarded = outcome.unwrap_or_else(|error| {
            self.report(&error);
            Forwarded::Response(error_answer(&error))
        });
        self.count(&forwarded);
        forwarded
    }

    /// Closes upstream connections that are idle for too long, for ever: to be run in a task of its own.
    pub async fn tend(&self) {
        let mut ticks = tokio::time::interval(self.upstreams.idle().max(SWEEP_INTERVAL_MIN));
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.upstreams.sweep();
        }
    }

    /// Checks again and again how the upstreams are, for ever: to be run in a task of its own.
    pub async fn watch(&self) {
        self.upstreams.watch().await;
    }

    /// Checks each upstream once.
    pub async fn probe(&self) -> Vec<(UpstreamAddress, Result<(), Unwell>)> {
        self.upstreams.probe().await
    }

    /// Tells how each upstream was when that was last found out.
    pub fn standings(&self) -> Vec<Standing> {
        self.upstreams.standings()
    }

    async fn exchange(
        &self,
        parts: &request::Parts,
        head: &RawHead,
        body: ClientBody,
        client: &ClientInfo,
    ) -> Result<Forwarded, ProxyError> {
        let mut route = self.upstreams.route();
        let manner = &self.manners[route.index()];
        let waits = manner.forward_expect && head.head().expects_continue();
        let body = RequestBody::new(body, waits, self.upstreams.body_rate());
        let may_repeat = parts.method.is_idempotent() && matches!(body, RequestBody::Empty);
        let side = ClientSide::new(parts, head, body.upload());
        let mut outgoing = headers::for_upstream(parts, head, Intent::Exchange, client, manner);
        let mut next = Some((body, headers::encoder(head.head())));
        let (mut at, mut repeats) = (route.index(), may_repeat);
        // A dead kept connection leaves the request unsent, mostly. Where it was sent, only what may be sent twice is.
        loop {
            let upstream = match route.kept() {
                Some(kept) => kept,
                None => route.fresh().await?,
            };
            if at != route.index() {
                at = route.index();
                let manner = &self.manners[at];
                outgoing = headers::for_upstream(parts, head, Intent::Exchange, client, manner);
            }
            let is_kept = upstream.is_kept;
            let asked = Asked {
                head: &outgoing,
                is_head: side.is_head,
                may_switch: false,
                only_once: !may_repeat,
            };
            match attempt(route.pool(), upstream, asked, &mut next, &side).await {
                Ok(response) => {
                    route.answered(response.status());
                    return Ok(Forwarded::Response(response));
                }
                Err(ExchangeError::Unsent) if is_kept => (),
                Err(ExchangeError::Unsent) => route.move_on(closed_at_once())?,
                Err(ExchangeError::Broken(error)) if repeats && route.may_repeat(is_kept) => {
                    tracing::debug!("an upstream connection had died, trying once on a fresh one");
                    repeats = false;
                    route.repeat((!is_kept).then_some(&ProxyError::Broken(error)));
                    next = Some((RequestBody::Empty, headers::encoder(head.head())));
                }
                Err(error) => {
                    let error = proxy_error(error);
                    // A kept connection ends when its time is over: that is no failure of its upstream.
                    if !(is_kept && matches!(error, ProxyError::Broken(_))) {
                        route.failed(&error);
                    }
                    return Err(error);
                }
            }
        }
    }

    async fn switch(
        &self,
        parts: &request::Parts,
        head: &RawHead,
        client: &ClientInfo,
    ) -> Result<Forwarded, ProxyError> {
        let mut route = self.upstreams.route();
        let side = ClientSide::new(parts, head, None);
        let mut repeats = parts.method.is_idempotent();
        let opened = loop {
            let upstream = route.fresh_only().await?;
            let manner = &self.manners[route.index()];
            let outgoing = headers::for_upstream(parts, head, Intent::Switch, client, manner);
            let asked = Asked {
                head: &outgoing,
                is_head: side.is_head,
                may_switch: true,
                only_once: true,
            };
            let within = route.pool().settings().response_timeout;
            match tunnel::open(upstream, asked, within).await {
                Ok(opened) => break opened,
                Err(ExchangeError::Unsent) => route.move_on(closed_at_once())?,
                Err(ExchangeError::Broken(error)) if repeats && route.may_repeat(false) => {
                    repeats = false;
                    route.repeat(Some(&ProxyError::Broken(error)));
                }
                Err(error) => {
                    let error = proxy_error(error);
                    route.failed(&error);
                    return Err(error);
                }
            }
        };
        match opened {
            Opened::Switched(tunnel) => {
                route.answered(StatusCode::SWITCHING_PROTOCOLS);
                Ok(Forwarded::Tunnel(tunnel))
            }
            Opened::Refused(head, body) => {
                let mut answer = side.answer(head, body)?;
                route.answered(answer.status());
                // The client may have sent frames already; they are no request.
                answer
                    .headers_mut()
                    .insert(header::CONNECTION, HeaderValue::from_static("close"));
                Ok(Forwarded::Response(answer))
            }
        }
    }

    fn report(&self, error: &ProxyError) {
        match error {
            ProxyError::RequestBody(_) | ProxyError::SlowBody => {
                tracing::debug!(%error, "request not forwarded: {error}");
            }
            // That none of several can be reached is told once, when they are set aside.
            ProxyError::Connect(_) | ProxyError::ConnectTimeout if self.upstreams.are_several() => {
                tracing::debug!(%error, "request not forwarded: {error}");
            }
            _ => tracing::warn!(%error, "request not answered by the upstream: {error}"),
        }
    }

    fn count(&self, forwarded: &Forwarded) {
        let counters = self.counters.get_or_init(counters);
        match forwarded {
            Forwarded::Response(response) => counters.of(response.status()).increment(1),
            Forwarded::Tunnel(_) => counters.of(StatusCode::SWITCHING_PROTOCOLS).increment(1),
        }
    }
}

/// What the client's side of an exchange means for the answer.
#[derive(Debug)]
struct ClientSide {
    /// The client wants its connection to stay open.
    stays: bool,
    upload: Option<Arc<Upload>>,
    is_head: bool,
    /// The client, if it takes interim answers.
    interim: Option<Arc<Link>>,
}

impl ClientSide {
    fn new(request: &request::Parts, head: &RawHead, upload: Option<Arc<Upload>>) -> Self {
        Self {
            stays: headers::stays(request.version, head.head()),
            upload,
            is_head: request.method == Method::HEAD,
            interim: head.takes_interim().cloned(),
        }
    }

    /// Returns the upstream's answer with its own head.
    ///
    /// # Errors
    /// [`ProxyError::Answer`].
    fn answer(
        &self,
        head: AnswerHead,
        body: UpstreamBody,
    ) -> Result<Response<ProxyBody>, ProxyError> {
        let status = StatusCode::from_u16(head.status()).map_err(|_| ProxyError::Answer)?;
        let head = ClientHead {
            says_it_stays: self.stays() && head.keeps_alive(),
            is_to_head: self.is_head,
            head,
        };
        let mut answer = Response::new(ProxyBody::upstream(body).with_head(head));
        *answer.status_mut() = status;
        Ok(answer)
    }

    /// Whether the client's connection stays open behind an answer that begins now: not while it is still sending.
    fn stays(&self) -> bool {
        self.stays && self.upload.as_ref().is_none_or(|upload| upload.has_ended())
    }
}

async fn attempt(
    pool: &Arc<Pool>,
    mut upstream: Box<Upstream>,
    asked: Asked<'_>,
    body: &mut Option<(RequestBody, Encoder)>,
    side: &ClientSide,
) -> Result<Response<ProxyBody>, ExchangeError> {
    let within = pool.settings().response_timeout;
    let interim = |head: AnswerHead| {
        if let Some(link) = &side.interim {
            link.put_interim(&head.interim());
        }
    };
    let (head, framing) = upstream.exchange(asked, body, within, interim).await?;
    let keeping = head.stays().then(|| Keeping {
        pool: Arc::clone(pool),
        advised: head.keep_alive_timeout(),
    });
    let body = UpstreamBody::new(framing, upstream, keeping);
    side.answer(head, body)
        .map_err(|_| ExchangeError::Unreadable)
}

fn proxy_error(error: ExchangeError) -> ProxyError {
    match error {
        ExchangeError::Unsent => closed_at_once(),
        ExchangeError::Broken(error) => ProxyError::Broken(error),
        ExchangeError::Unreadable => ProxyError::Answer,
        ExchangeError::Body(error) if error.is::<TooSlow>() => ProxyError::SlowBody,
        ExchangeError::Body(error) => ProxyError::RequestBody(error),
        ExchangeError::Timeout => ProxyError::ResponseTimeout,
    }
}

/// Why nothing was sent on a fresh connection.
fn closed_at_once() -> ProxyError {
    ProxyError::Connect(std::io::ErrorKind::ConnectionReset.into())
}

/// Returns our own answer in place of the upstream's. The public text names no address and no inner error.
fn error_answer(error: &ProxyError) -> Response<ProxyBody> {
    let (status, message) = match error {
        ProxyError::RequestBody(_) => (StatusCode::BAD_REQUEST, "the request's body broke off"),
        ProxyError::SlowBody => (
            StatusCode::REQUEST_TIMEOUT,
            "the request's body comes too slowly",
        ),
        ProxyError::ResponseTimeout => (
            StatusCode::GATEWAY_TIMEOUT,
            "the upstream did not answer in time",
        ),
        ProxyError::ConnectTimeout => (
            StatusCode::GATEWAY_TIMEOUT,
            "the upstream did not accept a connection in time",
        ),
        ProxyError::Connect(_) | ProxyError::Roots | ProxyError::Tls(_) => {
            (StatusCode::BAD_GATEWAY, "the upstream cannot be reached")
        }
        ProxyError::Broken(_) => (
            StatusCode::BAD_GATEWAY,
            "the upstream broke off before it answered",
        ),
        ProxyError::Answer => (
            StatusCode::BAD_GATEWAY,
            "the upstream's answer cannot be read",
        ),
    };
    let body = format!(
        r#"{{"http status code": {}, "http status description": "{}", "message": "{message}"}}"#,
        status.as_u16(),
        status.canonical_reason().unwrap_or_default(),
    );
    let mut response = Response::new(ProxyBody::full(Bytes::from(body)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    if let ProxyError::RequestBody(_) | ProxyError::SlowBody = error {
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// `sidestream_upstream_requests_total` by class of the answer.
fn counters() -> Classes {
    Classes::new(|class| metrics::counter!("sidestream_upstream_requests_total", "class" => class))
}

/// Sweeping more often than this is not worth it.
const SWEEP_INTERVAL_MIN: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests;
