//! An upstream inside the test: it answers every request with what it was asked.

use std::convert::Infallible;
use std::net::SocketAddr;

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// An HTTP server on a free port. Dropping it closes its port.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    accepting: JoinHandle<()>,
}

impl Server {
    /// Starts one that answers each request, whose body was read, as `answer` says.
    pub(crate) async fn start<A>(answer: A) -> Self
    where
        A: Fn(Request<Bytes>) -> Response<Full<Bytes>> + Clone + Send + Sync + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await;
        let listener = listener.expect("loopback has a free port");
        let address = listener.local_addr().expect("it is bound");
        let accepting = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let answer = answer.clone();
                let service = service_fn(move |request: Request<Incoming>| {
                    let answer = answer.clone();
                    async move {
                        let (parts, body) = request.into_parts();
                        let body = body.collect().await;
                        let body = body.map(|body| body.to_bytes()).unwrap_or_default();
                        Ok::<_, Infallible>(answer(Request::from_parts(parts, body)))
                    }
                });
                let connection = hyper::server::conn::http1::Builder::new();
                tokio::spawn(connection.serve_connection(TokioIo::new(stream), service));
            }
        });
        Self { address, accepting }
    }

    /// Returns its URL.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// A server that answers 200 and `METHOD TARGET BODY`.
pub(crate) struct Echo;

impl Echo {
    /// Starts one on a free port.
    pub(crate) async fn start() -> Server {
        Server::start(|request| {
            let line = format!("{} {} ", request.method(), request.uri());
            Response::new(Full::new([line.as_bytes(), request.body()].concat().into()))
        })
        .await
    }
}
