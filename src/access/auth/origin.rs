//! Pages of other sites that make a browser connect with its user's credentials (cross-site WebSocket hijacking).
//!
//! A WebSocket is not bound by CORS: whoever is logged in by a cookie could be connected by any page he visits. So a
//! browser's cookie counts only for pages of our own host and for those that are listed. RESTHeart's `originVetoer`, which
//! looks at every request, can be had too.
//!
//! Source: RFC 6455 section 10.2; compat 8.8; golden `config-variants` origin-*.

use http::header;

use crate::access::request::RequestHead;

/// Whose `Origin` is looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OriginCheck {
    /// Nobody's.
    Off,
    /// Of those who come with a cookie, whose cookie then counts for nothing.
    #[default]
    Cookies,
    /// Everybody's; another origin than the listed ones is refused, ours included.
    All,
}

/// Which pages may connect.
#[derive(Clone, Debug, Default)]
pub struct OriginSettings {
    /// Whose `Origin` is looked at.
    pub check: OriginCheck,
    /// Origins that may: `https://app.example`, with the port where it is not the scheme's own.
    pub listed: Vec<String>,
}

impl OriginSettings {
    /// Whether a request is refused whatever its credentials.
    pub(crate) fn refuses(&self, head: &RequestHead) -> bool {
        self.check == OriginCheck::All && origins(head).any(|origin| !self.lists(&origin))
    }

    /// Whether the cookies of a request count.
    pub(super) fn lets_cookies_count(&self, head: &RequestHead) -> bool {
        self.check == OriginCheck::Off
            || origins(head).all(|origin| self.lists(&origin) || is_own(head, &origin))
    }

    /// Compared as RESTHeart does: without letter case, and the listed one must be all there is before the end.
    fn lists(&self, origin: &str) -> bool {
        let origin = format!("{}/", origin.to_lowercase());
        let begins = |listed: &String| {
            origin.starts_with(&format!("{}/", listed.trim_end_matches('/').to_lowercase()))
        };
        self.listed.iter().any(begins)
    }
}

/// All values: more than one comes from no browser, and each must hold.
fn origins(head: &RequestHead) -> impl Iterator<Item = String> {
    let values = head.headers.get_all(header::ORIGIN).into_iter();
    values.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
}

/// Whether the origin is the host that the request is for.
fn is_own(head: &RequestHead, origin: &str) -> bool {
    let origin = origin.to_lowercase();
    let (default_port, origin) = match origin.split_once("://") {
        Some(("https", host)) => (":443", host),
        Some(("http", host)) => (":80", host),
        Some(_) | None => return false,
    };
    let host = head.headers.get(header::HOST);
    let Some(host) = host.and_then(|host| host.to_str().ok()) else {
        return false;
    };
    let host = host.to_lowercase();
    let without_port = |host: &str| host.strip_suffix(default_port).unwrap_or(host).to_owned();
    !origin.is_empty() && without_port(&host) == without_port(origin)
}
