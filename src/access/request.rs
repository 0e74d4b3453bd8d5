//! What is known of a request before anything is decided: its head, read once.

mod kept;

use std::net::SocketAddr;

use http::{HeaderMap, Method, header};
use percent_encoding::percent_decode_str;

pub use kept::KeptHead;

/// The head of a request for a stream, as the decision sees it.
///
/// [`RequestHead::decode_path`] and [`RequestHead::decode_query`] make the decoded fields, so that all who build a head
/// decode alike.
#[derive(Clone)]
pub struct RequestHead {
    /// The method.
    pub method: Method,
    /// The path, decoded once; `;matrix` parameters are cut from each segment, `%2F` stays as it is.
    pub path: String,
    /// The path as it came, without the query.
    pub raw_path: String,
    /// The query's parameters, decoded, in their order.
    pub query: Vec<(String, String)>,
    /// The query as it came, without `?`.
    pub query_string: String,
    /// The headers.
    pub headers: HeaderMap,
    /// The client's address.
    pub peer: SocketAddr,
    /// Our address on this connection.
    pub local: SocketAddr,
    /// `http` or `https`: what was spoken on this very connection.
    pub scheme: &'static str,
}

/// Without the headers and the query, which hold credentials and variables.
impl std::fmt::Debug for RequestHead {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RequestHead")
            .field("method", &self.method)
            .field("raw_path", &self.raw_path)
            .field("peer", &self.peer)
            .finish_non_exhaustive()
    }
}

impl RequestHead {
    /// Returns the path that permissions judge: percent-decoded once, without `;matrix` parameters.
    ///
    /// `%2F` stays encoded, `//` and dot segments stay, what is no UTF-8 or no escape stays as it came.
    /// Source: golden `predicates`, `path-*`.
    pub fn decode_path(raw_path: &str) -> String {
        let mut path = String::with_capacity(raw_path.len());
        for (index, segment) in raw_path.split('/').enumerate() {
            if index > 0 {
                path.push('/');
            }
            let plain = segment.split(';').next().unwrap_or_default();
            path.push_str(&decode_segment(plain));
        }
        path
    }

    /// Returns the parameters of a raw query (without `?`): `+` is a blank, only `&` separates, `a` is `a=`.
    ///
    /// Source: golden `predicates`, `query-*` and `qparams-*`.
    pub fn decode_query(query_string: &str) -> Vec<(String, String)> {
        query_string
            .split('&')
            .filter(|pair| !pair.is_empty())
            .map(|pair| {
                let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
                (decode_parameter(name), decode_parameter(value))
            })
            .collect()
    }

    /// The whole decoded path, `;matrix` parameters included.
    pub(crate) fn url(&self) -> String {
        let segments: Vec<String> = self.raw_path.split('/').map(decode_segment).collect();
        segments.join("/")
    }

    /// All values of a query parameter, in their order.
    pub(crate) fn parameters<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        let named = move |(found, _): &&(String, String)| found == name;
        self.query
            .iter()
            .filter(named)
            .map(|(_, value)| value.as_str())
    }

    /// All values of a cookie, in their order.
    pub(crate) fn cookies<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        let headers = self.headers.get_all(header::COOKIE).into_iter();
        let pairs = headers
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(';'));
        pairs.filter_map(move |pair| {
            let (found, value) = pair.trim().split_once('=')?;
            (found == name).then_some(value)
        })
    }

    /// The value of a `;matrix` parameter, anywhere in the path.
    pub(crate) fn matrix_parameter(&self, name: &str) -> Option<String> {
        let parameters = self
            .raw_path
            .split('/')
            .flat_map(|segment| segment.split(';').skip(1));
        parameters
            .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
            .find_map(|(found, value)| {
                (decode_segment(found) == name).then(|| decode_segment(value))
            })
    }
}

/// Returns the subprotocols that a WebSocket client offers, in their order (RFC 6455 §4.1).
pub fn subprotocols(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let lines = headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).into_iter();
    let lines = lines.filter_map(|value| value.to_str().ok());
    lines.flat_map(|line| line.split(',')).map(str::trim)
}

fn decode_segment(segment: &str) -> String {
    let keep_slash = segment.replace("%2F", "%252F").replace("%2f", "%252f");
    match percent_decode_str(&keep_slash).decode_utf8() {
        Ok(decoded) => decoded.into_owned(),
        Err(_) => segment.to_owned(),
    }
}

fn decode_parameter(text: &str) -> String {
    let blanks = text.replace('+', " ");
    percent_decode_str(&blanks).decode_utf8_lossy().into_owned()
}
