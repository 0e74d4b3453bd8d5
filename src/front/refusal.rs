//! The one table from refusals to HTTP answers.
//!
//! Each refusal of a stream is an ordinary answer on a connection that stays HTTP, with RESTHeart's status, headers and
//! JSON body. Source: compat section 6, golden `handshake` and `definitions`.

use std::io::Write as _;

use flate2::Compression;
use flate2::write::{DeflateEncoder, GzEncoder};
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};

use crate::front::route::accepted_coding;
use crate::proxy::ProxyBody;
use crate::session::ContentCoding;
use crate::wire::{JsonMode, json};

/// Why a request for a stream is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// No credentials, or wrong ones. `challenge`: whether the client wants to be asked for them.
    Unauthenticated {
        /// Whether `WWW-Authenticate` is sent.
        challenge: bool,
    },
    /// No permission.
    Forbidden,
    /// An error with a message for people.
    Said {
        /// The HTTP status.
        status: StatusCode,
        /// The text in the body.
        message: String,
        /// The class and the text of an exception, where RESTHeart tells them.
        exception: Option<(String, String)>,
    },
    /// What RESTHeart answers where it fails before it knows the service: no CORS headers.
    Failed {
        /// The class and the text of the exception.
        exception: (String, String),
    },
    /// The handshake is none that WebSocket knows: 404 without a body.
    Handshake,
    /// The path cannot be decoded: 400 without a body, and the connection is closed.
    Target,
    /// This client has as much as it may have (RFC 6585, section 4).
    TooMany {
        /// Of what, for people.
        reason: String,
    },
    /// MongoDB or the engine cannot serve it now.
    Unavailable {
        /// Why, for people.
        reason: String,
    },
}

impl Refusal {
    /// A refusal with a message.
    pub fn said(status: StatusCode, message: impl Into<String>) -> Self {
        Self::Said {
            status,
            message: message.into(),
            exception: None,
        }
    }

    /// Refused because a limit of the configuration is reached, which is counted.
    pub fn limit(limit: &'static str, what: &str) -> Self {
        Self::Unavailable {
            reason: reached(limit, what),
        }
    }

    /// As [`Refusal::limit`], for a limit that concerns this client alone.
    pub fn own_limit(limit: &'static str, what: &str) -> Self {
        Self::TooMany {
            reason: reached(limit, what),
        }
    }

    /// The HTTP status.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Unauthenticated { .. } => StatusCode::UNAUTHORIZED,
            Self::Forbidden => StatusCode::FORBIDDEN,
            Self::Said { status, .. } => *status,
            Self::Failed { .. } => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Handshake => StatusCode::NOT_FOUND,
            Self::Target => StatusCode::BAD_REQUEST,
            Self::TooMany { .. } => StatusCode::TOO_MANY_REQUESTS,
            Self::Unavailable { .. } => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// The whole answer to a request with these headers.
    pub fn answer(&self, request: &HeaderMap, mode: JsonMode) -> Response<ProxyBody> {
        let status = self.status();
        let mut answer = Response::new(ProxyBody::empty());
        *answer.status_mut() = status;
        let headers = answer.headers_mut();
        if matches!(self, Self::Target) {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
            return answer;
        }
        headers.insert(header::CONNECTION, HeaderValue::from_static("keep-alive"));
        if !matches!(self, Self::Failed { .. }) {
            cors(headers, request);
        }
        headers.insert(header::CONTENT_TYPE, JSON);
        let body = match self {
            Self::Unauthenticated { challenge } => {
                if *challenge {
                    headers.insert(header::WWW_AUTHENTICATE, CHALLENGE);
                }
                None
            }
            Self::Forbidden | Self::Handshake | Self::Target => None,
            Self::Said {
                message, exception, ..
            } => Some((message.as_str(), exception.as_ref())),
            Self::Failed { exception } => Some((FAILED, Some(exception))),
            Self::TooMany { reason } => {
                headers.insert(header::RETRY_AFTER, LATER);
                Some((reason.as_str(), None))
            }
            Self::Unavailable { reason } => {
                headers.insert(header::RETRY_AFTER, SOON);
                Some((reason.as_str(), None))
            }
        };
        if let Some((message, exception)) = body {
            let exception = exception.map(|(class, text)| (class.as_str(), text.as_str()));
            let description = status.canonical_reason();
            let text =
                json::error_body(status.as_u16(), description, Some(message), exception, mode);
            let (bytes, coding) = encode(text, accepted_coding(request));
            if let Some(coding) = coding {
                headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static(coding));
            }
            *answer.body_mut() = ProxyBody::full(bytes);
        }
        answer
    }
}

/// Counts that a limit of the configuration was reached.
pub fn noted(limit: &'static str) {
    metrics::counter!("sidestream_limits_reached_total", "limit" => limit).increment(1);
}

/// As [`noted`], and says so.
pub fn reached(limit: &'static str, what: &str) -> String {
    noted(limit);
    format!("{what}: limits.{limit} is reached")
}

/// The answer to a preflight request for a stream.
pub fn preflight(request: &HeaderMap) -> Response<ProxyBody> {
    let mut answer = Response::new(ProxyBody::empty());
    let headers = answer.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("keep-alive"));
    cors(headers, request);
    headers.insert(
        header::ACCESS_CONTROL_ALLOW_METHODS,
        HeaderValue::from_static("GET"),
    );
    headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, ALLOWED_HEADERS);
    headers.insert(header::CONTENT_TYPE, JSON);
    answer
}

/// The headers by which a browser lets a page read the answer. RESTHeart sends them on everything.
pub fn cors(headers: &mut HeaderMap, request: &HeaderMap) {
    let origin = request
        .get(header::ORIGIN)
        .cloned()
        .unwrap_or(HeaderValue::from_static("*"));
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    headers.insert(
        header::ACCESS_CONTROL_ALLOW_CREDENTIALS,
        HeaderValue::from_static("true"),
    );
    headers.insert(
        header::ACCESS_CONTROL_EXPOSE_HEADERS,
        HeaderValue::from_static("ETag"),
    );
}

fn encode(text: String, coding: ContentCoding) -> (Vec<u8>, Option<&'static str>) {
    let bytes = text.into_bytes();
    let written = "invariant: a vector takes all bytes";
    match coding {
        ContentCoding::Identity => (bytes, None),
        ContentCoding::Gzip => {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
            encoder.write_all(&bytes).expect(written);
            (encoder.finish().expect(written), Some("gzip"))
        }
        ContentCoding::Deflate => {
            let mut encoder = DeflateEncoder::new(Vec::new(), Compression::fast());
            encoder.write_all(&bytes).expect(written);
            (encoder.finish().expect(written), Some("deflate"))
        }
    }
}

const JSON: HeaderValue = HeaderValue::from_static("application/json; charset=UTF-8");
const CHALLENGE: HeaderValue = HeaderValue::from_static("Basic realm=\"RESTHeart Realm\"");
const ALLOWED_HEADERS: HeaderValue =
    HeaderValue::from_static("Authorization, Content-Type, X-Requested-With, No-Auth-Challenge");
const FAILED: &str = "Error handling the request, see log for more information";
/// In seconds. MongoDB is usually back before that.
const SOON: HeaderValue = HeaderValue::from_static("2");
/// In seconds. The client has to close a session first; one that vanished is noticed after some more.
const LATER: HeaderValue = HeaderValue::from_static("10");

#[cfg(test)]
mod tests;
