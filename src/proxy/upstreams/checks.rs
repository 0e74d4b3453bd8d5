//! Checks: whether an upstream is well, found out on the very way that requests go.

use std::time::Duration;

use futures_util::future::join_all;
use http::{HeaderValue, Request, StatusCode, header};
use http_body_util::Empty;
use rand::Rng as _;
use tokio::time::{sleep, timeout};

use super::{Member, Upstreams};
use crate::proxy::{ProxyError, UpstreamAddress, fetch};

/// Why an upstream is not well.
#[derive(Debug, thiserror::Error)]
pub enum Unwell {
    /// No connection.
    #[error(transparent)]
    Unreachable(#[from] ProxyError),
    /// The exchange broke off, or was no HTTP.
    #[error("the check broke off: {0}")]
    Broken(#[source] hyper::Error),
    /// There was no answer in time.
    #[error("the check was not answered in time")]
    Late,
    /// It says so itself.
    #[error("the check was answered {0}")]
    Status(StatusCode),
}

impl Upstreams {
    /// Checks each again and again, for ever.
    pub(crate) async fn watch(&self) {
        join_all(self.members.iter().map(|member| self.watch_one(member))).await;
    }

    /// Checks each once; nothing follows from it.
    pub(crate) async fn probe(&self) -> Vec<(UpstreamAddress, Result<(), Unwell>)> {
        let checking = self.members.iter().map(|member| self.check(member));
        let checked = join_all(checking).await;
        let addresses = self.members.iter().map(|member| member.address().clone());
        addresses.zip(checked).collect()
    }

    async fn watch_one(&self, member: &Member) {
        loop {
            let checked = self.check(member).await;
            let after = self.thresholds();
            let change = match checked {
                Ok(()) => member.marks.check_passed(after),
                Err(error) => member.marks.check_failed(after, &error),
            };
            self.note(member, change);
            sleep(self.pause()).await;
        }
    }

    async fn check(&self, member: &Member) -> Result<(), Unwell> {
        let connect_timeout = member.pool.settings().connect_timeout;
        if !self.are_several() {
            member.pool.connect(connect_timeout).await?;
            return Ok(());
        }
        let checking = async {
            let stream = member.pool.connect(connect_timeout).await?;
            let Some(path) = &self.health.path else {
                return Ok(());
            };
            let mut request = Request::new(Empty::new());
            *request.uri_mut() = path.clone();
            let headers = request.headers_mut();
            headers.insert(header::HOST, member.address().host_header());
            headers.insert(header::USER_AGENT, HeaderValue::from_static(USER_AGENT));
            let answered = fetch::exchange(stream, request, BODY_BYTES_MAX).await;
            let (answer, _body) = answered.map_err(Unwell::Broken)?;
            match answer.status {
                status if status.is_success() || status.is_redirection() => Ok(()),
                status => Err(Unwell::Status(status)),
            }
        };
        timeout(self.health.timeout, checking)
            .await
            .unwrap_or(Err(Unwell::Late))
    }

    /// How long until the next check: not for all upstreams, nor of all Sidestreams, at the same time.
    pub(super) fn pause(&self) -> Duration {
        match self.are_several() {
            true => self
                .health
                .interval
                .mul_f64(rand::rng().random_range(JITTER)),
            false => ONLY_ONE_INTERVAL,
        }
    }
}

const JITTER: std::ops::Range<f64> = 0.8..1.2;

/// How often it is tried whether the only upstream takes connections.
const ONLY_ONE_INTERVAL: Duration = Duration::from_secs(2);

/// A page that says how one is; what is longer is not read to its end.
const BODY_BYTES_MAX: usize = 64 << 10;

const USER_AGENT: &str = concat!("sidestream/", env!("CARGO_PKG_VERSION"), " (health check)");
