//! The admin listener: five pages, read only, plain HTTP/1.1.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_TYPE, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::AdminState;
use crate::lifecycle::Tasks;

/// Serves the admin pages until `shutdown` is over, then ends its connections. Once `replaced` is over no new ones are taken, and
/// those that there are end with their next answer.
///
/// While the process drains, health and metrics are still wanted: let `shutdown` be over after the drain, and
/// `not_ready` name it; and `replaced` when another process listens on the same socket.
///
/// # Cancel safety
/// Dropping it stops accepting; connections that are open end with `tasks`.
pub async fn serve(
    listener: TcpListener,
    state: AdminState,
    tasks: &Tasks,
    replaced: impl Future<Output = ()>,
    shutdown: impl Future<Output = ()>,
) {
    let connections = tasks.child();
    let closing = Closing::default();
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut upkeep = tokio::time::interval(UPKEEP_INTERVAL);
    upkeep.set_missed_tick_behavior(MissedTickBehavior::Delay);
    tokio::pin!(replaced, shutdown);
    let is_replaced = loop {
        // The order: an end that has been asked for comes before more work.
        tokio::select! {
            biased;
            () = &mut shutdown => break false,
            () = &mut replaced => break true,
            _ = upkeep.tick() => state.metrics.upkeep(),
            (stream, place) = next(&listener, &places) => {
                let (state, closing) = (state.clone(), closing.clone());
                connections.spawn("admin connection", async move {
                    connection(stream, state, closing).await;
                    drop(place);
                });
            }
        }
    };
    drop(listener);
    if is_replaced {
        closing.soon.store(true, Ordering::Relaxed);
        shutdown.await;
    }
    closing.now.cancel();
    if !connections.drained(CLOSE_WITHIN).await {
        tracing::debug!("admin connections did not end in time");
    }
}

/// The next client, once there is a place for one. Waits out what passes (out of file descriptors, a client that has
/// already gone).
async fn next(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> (TcpStream, tokio::sync::OwnedSemaphorePermit) {
    let place = places.clone().acquire_owned().await;
    let place = place.expect("invariant: this semaphore is never closed");
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return (stream, place),
            Err(error) if is_about_one_client(&error) => (),
            Err(error) => {
                tracing::warn!(%error, "cannot accept on the admin listener");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn is_about_one_client(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::Interrupted
    )
}

/// When connections end. Clones are the same.
#[derive(Clone, Default)]
struct Closing {
    /// With their next answer, since another process listens.
    soon: Arc<AtomicBool>,
    now: CancellationToken,
}

async fn connection(stream: TcpStream, state: AdminState, closing: Closing) {
    let is_last = Arc::clone(&closing.soon);
    let service = service_fn(move |request: Request<Incoming>| {
        let mut answer = answer(request.method(), request.uri().path(), &state);
        if is_last.load(Ordering::Relaxed) {
            let close = HeaderValue::from_static("close");
            answer.headers_mut().insert(CONNECTION, close);
        }
        async move { Ok::<_, Infallible>(answer) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(HEAD_SIZE_MAX)
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let ended = tokio::select! {
        biased;
        ended = &mut connection => ended,
        () = closing.now.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "admin connection ended");
    }
}

fn answer(method: &Method, path: &str, state: &AdminState) -> Response<Full<Bytes>> {
    let page: fn(&AdminState) -> Response<Full<Bytes>> = match path {
        "/health" => |_| response(StatusCode::OK, TEXT, "alive\n".to_owned()),
        "/ready" => ready,
        "/metrics" => |state| response(StatusCode::OK, PROMETHEUS, state.metrics.render()),
        "/streams" => |state| response(StatusCode::OK, JSON, (state.streams)().to_string()),
        "/upstreams" => |state| response(StatusCode::OK, JSON, (state.upstreams)().to_string()),
        _ => return response(StatusCode::NOT_FOUND, TEXT, NOT_FOUND.to_owned()),
    };
    if method == Method::GET || method == Method::HEAD {
        return page(state);
    }
    let mut refusal = response(
        StatusCode::METHOD_NOT_ALLOWED,
        TEXT,
        "only GET and HEAD\n".to_owned(),
    );
    refusal
        .headers_mut()
        .insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
    refusal
}

fn ready(state: &AdminState) -> Response<Full<Bytes>> {
    let not_ready = (state.not_ready)();
    if not_ready.is_empty() {
        let spared = (state.spared)().into_iter();
        let lines: String = spared.map(|what| format!("without {what}\n")).collect();
        return response(StatusCode::OK, TEXT, format!("ready\n{lines}"));
    }
    let list = serde_json::Value::from(not_ready).to_string();
    response(StatusCode::SERVICE_UNAVAILABLE, JSON, list)
}

fn response(status: StatusCode, kind: HeaderValue, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, kind);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// Source: Prometheus, exposition formats, text format 0.0.4.
const PROMETHEUS: HeaderValue =
    HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");

const NOT_FOUND: &str = "there are /health, /ready, /metrics, /streams and /upstreams\n";

/// A few scrapers, probes and people. Further ones wait in the kernel's queue.
const CONNECTIONS_MAX: usize = 64;

/// Also how long a kept connection may be idle between two requests: longer than a scraper's usual minute.
const HEAD_TIMEOUT: Duration = Duration::from_secs(75);

/// hyper's least is 8 KiB; nobody sends us more.
const HEAD_SIZE_MAX: usize = 16 << 10;

/// A page is made in milliseconds; who does not take it by then is cut off.
const CLOSE_WITHIN: Duration = Duration::from_secs(1);

/// Long enough not to spin while the process is out of file descriptors, short enough not to be noticed.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The exporter's own default.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(5);
