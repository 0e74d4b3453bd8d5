//! Forwarding to the upstream: everything that is not a stream of ours.
//!
//! [`Http1`] reads requests from a client's socket and writes the answers; [`Forwarder`] sends a request to the upstream and
//! streams the answer back; [`Tunnel`] is what a WebSocket that is not ours becomes. Nothing in here knows of MongoDB or of
//! streams.
//!
//! An upstream connection is not a task of its own: it is polled by whoever waits for its answer, first by
//! [`Forwarder::forward`] and then by the body of the answer. So a request costs no hand-over between tasks, and a
//! client that goes away takes its upstream request with it, because dropping the future drops the connection.

mod answer;
mod body;
mod classes;
mod client_body;
mod fetch;
mod fields;
mod forward;
mod framing;
mod head;
mod hop;
mod http1;
pub mod http2;
mod linger;
mod pool;
mod timer;
mod tunnel;
mod upstreams;

use std::net::SocketAddr;

use http::HeaderValue;

pub use self::{
    body::{BodyError, ProxyBody},
    client_body::ClientBody,
    fetch::{FetchError, Fetcher},
    forward::{Forwarded, Forwarder},
    head::{HEAD_BYTES_MAX, HeadSettings, Link, RawHead, Refusal, set_header},
    http1::{Asked, BrokenOff, Http1, Http1Body, Left, Over},
    pool::{AddressError, OTHERS_MAX, ProxyError, ProxySettings, UpstreamAddress},
    tunnel::Tunnel,
    upstreams::{HealthSettings, Standing, Unwell},
};
pub(crate) use self::{
    linger::{LINGER_TIME_MAX, Linger},
    timer::Deadline,
};

/// Describes the client's connection that a request came in on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientInfo {
    /// The client's address.
    pub peer: SocketAddr,
    /// Our own address on that connection.
    pub local: SocketAddr,
    /// `http` or `https`.
    pub scheme: &'static str,
    /// `peer` as `X-Forwarded-For` has it: written once for all requests of the connection.
    address: HeaderValue,
}

impl ClientInfo {
    /// Describes a connection.
    pub fn new(peer: SocketAddr, local: SocketAddr, scheme: &'static str) -> Self {
        let address = peer.ip().to_canonical().to_string();
        Self {
            peer,
            local,
            scheme,
            address: HeaderValue::try_from(address)
                .expect("invariant: an address is digits, letters, dots and colons"),
        }
    }
}
