//! Clients of HTTP/2, with several requests at a time on one connection.

use std::net::SocketAddr;
use std::sync::Arc;

use h2::{Reason, SendStream, client::ResponseFuture};
use http::{Method, Request};
use hyper::body::Bytes;
use tokio::sync::watch;

use crate::support::http2::{Answer, Http2, send};
use crate::support::secure::Identity;

/// One that asks and asks, until it is told to stop, on one connection until it is told to go. It tries nothing twice,
/// and what it was told not to have been looked at it leaves: whether that is true is for upstreams that count.
#[derive(Clone)]
pub(super) struct Multiplexed {
    pub(super) address: SocketAddr,
    /// Whom it trusts; `None`: it speaks in clear, and begins with HTTP/2.
    pub(super) trusted: Option<Arc<Identity>>,
}

impl Multiplexed {
    /// Returns how many answers there were.
    pub(super) async fn run(self, stop: watch::Receiver<bool>) -> usize {
        let mut answers = 0;
        let mut client = self.connect().await;
        while !*stop.borrow() {
            // Who was told to go gets its answers still.
            let mut left = Vec::new();
            let mut under_way = Vec::new();
            for index in 0..AT_ONCE {
                let method = if index % 2 == 0 {
                    Method::GET
                } else {
                    Method::POST
                };
                let (answer, mut sending) = match self.begin(&client, &method).await {
                    Some(begun) => begun,
                    None => {
                        left.push(std::mem::replace(&mut client, self.connect().await));
                        let begun = self.begin(&client, &method).await;
                        begun.unwrap_or_else(|| panic!("told to go at once, {}", self.name()))
                    }
                };
                if method == Method::POST {
                    let sent = send(&mut sending, Bytes::from_static(b"text"), true).await;
                    sent.unwrap_or_else(|error| panic!("not sent: {error:?}, {}", self.name()));
                }
                under_way.push((method, answer));
            }
            for (method, answer) in under_way {
                let answer = match answer.await {
                    Ok(answer) => answer,
                    // The goodbye says that this one was too late, and not looked at: it goes elsewhere (RFC 9113 §6.8).
                    Err(error) if is_goodbye(&error) => continue,
                    Err(error) => panic!("lost: {error:?}, {method}, {}", self.name()),
                };
                let answer = Answer::read(answer).await;
                let answer = answer
                    .unwrap_or_else(|error| panic!("cut: {error:?}, {method}, {}", self.name()));
                let expected = match method {
                    Method::GET => "GET /x ",
                    _ => "POST /x text",
                };
                assert_eq!(answer.status, 200, "{}", self.name());
                assert_eq!(answer.text(), expected, "{}", self.name());
                answers += 1;
            }
            drop(left);
        }
        answers
    }

    /// `None`: it was told to begin nothing more here.
    async fn begin(
        &self,
        client: &Http2,
        method: &Method,
    ) -> Option<(ResponseFuture, SendStream<Bytes>)> {
        let request = Request::builder().method(method).uri("http://h/x");
        let request = request.body(()).expect("a request");
        match client.try_begin(request, method == Method::GET).await {
            Ok(begun) => Some(begun),
            Err(error) => {
                assert!(
                    is_goodbye(&error),
                    "ended without a word: {error:?}, {}",
                    self.name()
                );
                None
            }
        }
    }

    async fn connect(&self) -> Http2 {
        match &self.trusted {
            Some(identity) => Http2::secure(self.address, identity).await,
            None => Http2::clear(self.address).await,
        }
    }

    fn name(&self) -> &'static str {
        match self.trusted {
            Some(_) => "HTTP/2 over TLS",
            None => "HTTP/2 in clear",
        }
    }
}

/// Whether the server has said that it goes, and that it has not looked at what this is about.
fn is_goodbye(error: &h2::Error) -> bool {
    error.is_go_away() && error.is_remote() && error.reason() == Some(Reason::NO_ERROR)
}

/// Requests, of which every second one has a body.
const AT_ONCE: usize = 6;
