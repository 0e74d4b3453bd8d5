//! What goes back to the client: the headers that every answer bears, and the body of an error.

use bson::{Bson, Document, doc};
use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderValue};
use http::{Method, Response, StatusCode, Version};
use http_body_util::Full;
use mongodb::error::{Error, ErrorKind, WriteFailure};

use crate::json;

/// The end of a request, well or badly.
pub(crate) type Outcome = Result<Answer, Failure>;

/// A request that was served.
#[derive(Default)]
pub(crate) struct Answer {
    status: StatusCode,
    body: Option<Bson>,
    etag: Option<Bson>,
    location: Option<String>,
}

impl Answer {
    /// An answer without a body.
    pub(crate) fn empty(status: StatusCode) -> Self {
        Self {
            status,
            ..Self::default()
        }
    }

    /// 200 with this body.
    pub(crate) fn body(body: impl Into<Bson>) -> Self {
        Self {
            body: Some(body.into()),
            ..Self::default()
        }
    }

    /// Bears this ETag, if it is one.
    pub(crate) fn etag(mut self, etag: Option<&Bson>) -> Self {
        self.etag = etag.cloned();
        self
    }

    /// Tells where the new document is.
    pub(crate) fn location(mut self, location: String) -> Self {
        self.location = Some(location);
        self
    }
}

/// A request that was not served.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// Nobody, or somebody with the wrong password.
    #[error("unauthenticated")]
    Unauthenticated,
    /// Somebody who may not.
    #[error("forbidden")]
    Forbidden,
    /// A method of which nothing is known here.
    #[error("unknown method")]
    UnknownMethod,
    /// Anything else that is the client's fault.
    #[error("{1}")]
    Refused(StatusCode, String),
    /// The resource has an ETag, and the request does not bear it.
    #[error("the ETag of the resource must be given in the header If-Match")]
    EtagNeeded(Bson),
    /// What MongoDB says.
    #[error(transparent)]
    Mongo(#[from] Error),
}

impl Failure {
    pub(crate) fn bad_request(message: impl Into<String>) -> Self {
        Self::Refused(StatusCode::BAD_REQUEST, message.into())
    }

    pub(crate) fn not_found(message: impl Into<String>) -> Self {
        Self::Refused(StatusCode::NOT_FOUND, message.into())
    }

    pub(crate) fn precondition_failed() -> Self {
        Self::Refused(
            StatusCode::PRECONDITION_FAILED,
            "the ETag does not match".to_owned(),
        )
    }

    pub(crate) fn method_not_allowed(method: &Method) -> Self {
        Self::Refused(
            StatusCode::METHOD_NOT_ALLOWED,
            format!("method {method} not allowed"),
        )
    }

    fn status(&self) -> StatusCode {
        match self {
            Self::Unauthenticated => StatusCode::UNAUTHORIZED,
            Self::Forbidden => StatusCode::FORBIDDEN,
            Self::UnknownMethod => StatusCode::METHOD_NOT_ALLOWED,
            Self::Refused(status, _) => *status,
            Self::EtagNeeded(_) => StatusCode::CONFLICT,
            Self::Mongo(error) => match (error_code(error), error.kind.as_ref()) {
                (Some(DUPLICATE_KEY), _) => StatusCode::CONFLICT,
                (
                    _,
                    ErrorKind::Command(_) | ErrorKind::Write(_) | ErrorKind::InvalidArgument { .. },
                ) => StatusCode::BAD_REQUEST,
                _ => StatusCode::INTERNAL_SERVER_ERROR,
            },
        }
    }
}

fn error_code(error: &Error) -> Option<i32> {
    match error.kind.as_ref() {
        ErrorKind::Command(command) => Some(command.code),
        ErrorKind::Write(WriteFailure::WriteError(write)) => Some(write.code),
        _ => None,
    }
}

/// What of the request shapes the headers of its answer.
pub(crate) struct Shape {
    origin: Option<HeaderValue>,
    is_post: bool,
    keeps_alive: bool,
    wants_challenge: bool,
}

impl Shape {
    pub(crate) fn of(request: &http::request::Parts) -> Self {
        let closes = request
            .headers
            .get_all(header::CONNECTION)
            .iter()
            .any(|value| value.as_bytes().eq_ignore_ascii_case(b"close"));
        let query = request.uri.query().unwrap_or_default();
        Self {
            origin: request.headers.get(header::ORIGIN).cloned(),
            is_post: request.method == Method::POST,
            keeps_alive: request.version == Version::HTTP_11 && !closes,
            wants_challenge: !request.headers.contains_key("No-Auth-Challenge")
                && !query
                    .split('&')
                    .any(|pair| pair.split('=').next() == Some("noauthchallenge")),
        }
    }

    /// The answer as it goes onto the wire.
    pub(crate) fn response(&self, outcome: Outcome) -> Response<Full<Bytes>> {
        let mut headers = HeaderMap::new();
        if self.keeps_alive {
            headers.insert(header::CONNECTION, HeaderValue::from_static("keep-alive"));
        }
        let (status, body) = match outcome {
            Ok(answer) => {
                self.common(&mut headers, true);
                insert(&mut headers, header::LOCATION, answer.location);
                insert(
                    &mut headers,
                    header::ETAG,
                    answer.etag.as_ref().map(etag_text),
                );
                (answer.status, answer.body)
            }
            Err(Failure::UnknownMethod) => (StatusCode::METHOD_NOT_ALLOWED, None),
            Err(failure @ (Failure::Unauthenticated | Failure::Forbidden)) => {
                self.common(&mut headers, false);
                if matches!(failure, Failure::Unauthenticated) && self.wants_challenge {
                    headers.insert(
                        header::WWW_AUTHENTICATE,
                        HeaderValue::from_static(CHALLENGE),
                    );
                }
                (failure.status(), None)
            }
            Err(failure) => {
                self.common(&mut headers, true);
                if let Failure::EtagNeeded(etag) = &failure {
                    insert(&mut headers, header::ETAG, Some(etag_text(etag)));
                }
                (failure.status(), Some(error_body(&failure).into()))
            }
        };
        let body = body.map(|body| json::text(&body)).unwrap_or_default();
        let mut response = Response::new(Full::new(Bytes::from(body)));
        *response.status_mut() = status;
        *response.headers_mut() = headers;
        response
    }

    /// The answer to OPTIONS, which needs no credentials.
    pub(crate) fn options(&self) -> Response<Full<Bytes>> {
        let mut response = self.response(Ok(Answer::empty(StatusCode::OK)));
        response.headers_mut().insert(
            header::ACCESS_CONTROL_ALLOW_METHODS,
            HeaderValue::from_static("GET, PUT, POST, PATCH, DELETE, OPTIONS"),
        );
        response.headers_mut().insert(
            header::ACCESS_CONTROL_ALLOW_HEADERS,
            HeaderValue::from_static(
                "Authorization, Content-Type, If-Match, If-None-Match, X-Requested-With, No-Auth-Challenge",
            ),
        );
        response
    }

    fn common(&self, headers: &mut HeaderMap, is_known: bool) {
        let any = HeaderValue::from_static("*");
        headers.insert(
            header::ACCESS_CONTROL_ALLOW_ORIGIN,
            self.origin.clone().unwrap_or(any),
        );
        headers.insert(
            header::ACCESS_CONTROL_ALLOW_CREDENTIALS,
            HeaderValue::from_static("true"),
        );
        headers.insert(
            header::ACCESS_CONTROL_EXPOSE_HEADERS,
            HeaderValue::from_static(if self.is_post {
                "Location, ETag"
            } else {
                "ETag"
            }),
        );
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/json; charset=UTF-8"),
        );
        if is_known {
            headers.insert("X-Powered-By", HeaderValue::from_static("legacy-api"));
        }
    }
}

fn insert(headers: &mut HeaderMap, name: header::HeaderName, text: Option<String>) {
    if let Some(value) = text.and_then(|text| HeaderValue::try_from(text).ok()) {
        headers.insert(name, value);
    }
}

fn error_body(failure: &Failure) -> Document {
    let status = failure.status();
    let mut body = doc! { "http status code": i32::from(status.as_u16()) };
    if let Some(description) = status.canonical_reason() {
        body.insert("http status description", description);
    }
    body.insert(
        "message",
        failure.to_string().replace('"', "'").replace('\t', "  "),
    );
    body
}

/// An ETag is the bare ObjectId, without quotes.
pub(crate) fn etag_text(etag: &Bson) -> String {
    match etag {
        Bson::ObjectId(id) => id.to_hex(),
        Bson::String(text) => text.clone(),
        other => json::text(other),
    }
}

const CHALLENGE: &str = r#"Basic realm="RESTHeart Realm""#;
const DUPLICATE_KEY: i32 = 11000;
