//! A request head in the client's own bytes.

use std::sync::Arc;

use http::{HeaderName, HeaderValue, Request, request};

use super::Link;
use crate::proxy::fields::{Head, split};

/// A request head as the client sent it, for whoever sends it on: maps keep neither the order of repeated
/// fields nor a target that `http::Uri` refuses.
///
/// It is an extension of the request that was made of it, so it has been found well-formed.
#[derive(Clone, Debug)]
pub struct RawHead {
    head: Head,
    /// What was set on our side, instead of the client's fields of these names.
    set: Vec<(HeaderName, HeaderValue)>,
    /// The connection it came on.
    link: Option<Arc<Link>>,
}

impl RawHead {
    pub(in crate::proxy) fn new(head: Head) -> Self {
        Self {
            head,
            set: Vec::new(),
            link: None,
        }
    }

    /// Writes the head of a request whose own bytes are not known.
    pub(crate) fn written(request: &request::Parts) -> Self {
        let target = request.uri.path_and_query();
        let target = target.map_or("/", |target| target.as_str());
        let mut head = format!("{} {target} HTTP/1.1\r\n", request.method).into_bytes();
        let first_field = head.len();
        for (name, value) in &request.headers {
            head.extend_from_slice(name.as_str().as_bytes());
            head.extend_from_slice(b": ");
            head.extend_from_slice(value.as_bytes());
            head.extend_from_slice(b"\r\n");
        }
        head.extend_from_slice(b"\r\n");
        let lines = split(&head, first_field).unwrap_or_default();
        Self::new(Head::new(head.into(), lines))
    }

    pub(in crate::proxy) fn on(self, link: Arc<Link>) -> Self {
        Self {
            link: Some(link),
            ..self
        }
    }

    /// Returns the connection it came on, if that takes interim answers: HTTP/1.0 has none (RFC 9110 §15.2).
    pub(crate) fn takes_interim(&self) -> Option<&Arc<Link>> {
        self.link
            .as_ref()
            .filter(|_| !self.head.first_line().ends_with(b"1.0"))
    }

    /// Returns the target, unless it is a whole URI: that is for us, not for the upstream (RFC 9112 §3.2.1).
    pub(crate) fn target(&self) -> Option<&[u8]> {
        let line = self.head.first_line();
        let target = line.split(|&byte| byte == b' ').nth(1)?;
        (target.starts_with(b"/") || target == b"*").then_some(target)
    }

    /// Returns it as it came.
    pub(in crate::proxy) fn head(&self) -> &Head {
        &self.head
    }

    /// Returns what was set on our side.
    pub(crate) fn set(&self) -> &[(HeaderName, HeaderValue)] {
        &self.set
    }
}

/// Sets a header on a request that is going to be forwarded, in place of all of that name.
pub fn set_header<B>(request: &mut Request<B>, name: HeaderName, value: HeaderValue) {
    if let Some(raw) = request.extensions_mut().get_mut::<RawHead>() {
        raw.set.retain(|(other, _)| *other != name);
        raw.set.push((name.clone(), value.clone()));
    }
    request.headers_mut().insert(name, value);
}
