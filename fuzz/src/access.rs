//! Requests of texts, and the decision on them.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use bson::Document;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use sidestream::access::{Access, Denied, Grant, RequestHead, Unavailable, Users};

/// A collection of users in which nobody is.
pub struct NoUsers;

impl Users for NoUsers {
    fn find<'a>(
        &'a self,
        _name: &'a str,
    ) -> Pin<Box<dyn Future<Output = Result<Option<Arc<Document>>, Unavailable>> + Send + 'a>> {
        Box::pin(std::future::ready(Ok(None)))
    }
}

/// Reads a request's line and headers; none where no server would have let it come so far.
pub fn head(text: &str) -> Option<RequestHead> {
    let mut lines = text.split('\n');
    let (method, target) = lines.next()?.split_once(' ')?;
    let method = Method::from_bytes(method.as_bytes()).ok()?;
    if !target.starts_with('/') || target.bytes().any(|byte| byte <= b' ' || byte == 0x7f) {
        return None;
    }
    let mut headers = HeaderMap::new();
    for line in lines.take(HEADERS_MAX) {
        let (name, value) = line.split_once(':')?;
        let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
        headers.append(name, HeaderValue::from_bytes(value.trim().as_bytes()).ok()?);
    }
    let (raw_path, query_string) = target.split_once('?').unwrap_or((target, ""));
    Some(RequestHead {
        method,
        path: RequestHead::decode_path(raw_path),
        raw_path: raw_path.to_owned(),
        query: RequestHead::decode_query(query_string),
        query_string: query_string.to_owned(),
        headers,
        peer: ([127, 0, 0, 1], 50_000).into(),
        local: ([127, 0, 0, 1], 8080).into(),
        scheme: "http",
    })
}

/// Decides on a request.
pub fn decide(access: &Access, head: RequestHead) -> Result<Grant, Denied> {
    thread_local! {
        static RUNTIME: tokio::runtime::Runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    }
    RUNTIME.with(|runtime| runtime.block_on(access.decide(head)))
}

const HEADERS_MAX: usize = 100;
