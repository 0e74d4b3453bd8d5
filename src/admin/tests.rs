//! The admin listener over real sockets.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

use super::*;
use crate::lifecycle::Tasks;

/// An admin listener whose readiness the test decides.
struct Admin {
    address: SocketAddr,
    is_ready: Arc<AtomicBool>,
    replace: oneshot::Sender<()>,
    end: oneshot::Sender<()>,
    served: tokio::task::JoinHandle<()>,
}

impl Admin {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let is_ready = Arc::new(AtomicBool::new(true));
        let asked = is_ready.clone();
        let state = AdminState {
            metrics: Metrics::install().expect("nothing else installs a recorder"),
            not_ready: Arc::new(move || match asked.load(Ordering::Relaxed) {
                true => Vec::new(),
                false => vec![
                    "mongodb: no primary".to_owned(),
                    "upstream: \"refused\"".to_owned(),
                ],
            }),
            spared: Arc::new(Vec::new),
            upstreams: Arc::new(|| serde_json::json!([{ "state": "well" }])),
            streams: Arc::new(|| serde_json::json!({ "feeds": [{ "database": "restheart" }] })),
        };
        let (end, ended) = oneshot::channel::<()>();
        let (replace, replaced) = oneshot::channel::<()>();
        let tasks = Tasks::new();
        let served = tasks.clone().spawn("admin", async move {
            let ended = async { drop(ended.await) };
            let replaced = async {
                if replaced.await.is_err() {
                    std::future::pending().await
                }
            };
            serve(listener, state, &tasks, replaced, ended).await;
        });
        Self {
            address,
            is_ready,
            replace,
            end,
            served,
        }
    }

    async fn ask(&self, method: &str, path: &str) -> String {
        let mut stream = TcpStream::connect(self.address).await.expect("it listens");
        let head = format!("{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        stream.write_all(head.as_bytes()).await.expect("it reads");
        let mut answer = String::new();
        stream
            .read_to_string(&mut answer)
            .await
            .expect("it answers in UTF-8");
        answer
    }
}

#[track_caller]
fn check(
    admin: &Admin,
    method: &'static str,
    path: &'static str,
    status: u16,
    body: &'static str,
) -> impl Future<Output = String> {
    let caller = std::panic::Location::caller();
    async move {
        let answer = admin.ask(method, path).await;
        let expected = format!("HTTP/1.1 {status} ");
        assert!(answer.starts_with(&expected), "{caller}: {answer}");
        let found = answer.split_once("\r\n\r\n").map(|(_, body)| body);
        assert_eq!(found, Some(body), "{caller}: {answer}");
        answer
    }
}

#[tokio::test]
async fn pages_and_refusals() {
    let admin = Admin::start().await;
    check(&admin, "GET", "/health", 200, "alive\n").await;
    check(&admin, "GET", "/ready", 200, "ready\n").await;
    check(&admin, "GET", "/ready?verbose", 200, "ready\n").await;
    check(&admin, "HEAD", "/health", 200, "").await;
    let streams = r#"{"feeds":[{"database":"restheart"}]}"#;
    let answer = check(&admin, "GET", "/streams", 200, streams).await;
    assert!(answer.contains("content-type: application/json\r\n"));
    let not_found = "there are /health, /ready, /metrics, /streams and /upstreams\n";
    for path in ["/", "/health/", "/Health", "/messages/_streams/all"] {
        check(&admin, "GET", path, 404, not_found).await;
    }
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "PATCH"] {
        let answer = check(&admin, method, "/streams", 405, "only GET and HEAD\n").await;
        assert!(answer.contains("allow: GET, HEAD\r\n"), "{answer}");
    }
}

#[tokio::test]
async fn readiness_lists_what_is_missing() {
    let admin = Admin::start().await;
    admin.is_ready.store(false, Ordering::Relaxed);
    let list = r#"["mongodb: no primary","upstream: \"refused\""]"#;
    let answer = check(&admin, "GET", "/ready", 503, list).await;
    assert!(answer.contains("content-type: application/json\r\n"));
    check(&admin, "GET", "/health", 200, "alive\n").await;
    admin.is_ready.store(true, Ordering::Relaxed);
    check(&admin, "GET", "/ready", 200, "ready\n").await;
}

#[tokio::test]
async fn metrics_are_rendered_with_their_meaning() {
    let admin = Admin::start().await;
    ::metrics::gauge!("sidestream_sessions", "transport" => "websocket").set(3.0);
    ::metrics::counter!("sidestream_closes_total", "reason" => "slow").increment(2);
    ::metrics::histogram!("sidestream_test_seconds").record(0.003);
    let page = admin.ask("GET", "/metrics").await;
    for line in [
        "# HELP sidestream_sessions Open streams, by transport.",
        "# TYPE sidestream_sessions gauge",
        "sidestream_sessions{transport=\"websocket\"} 3",
        "# TYPE sidestream_closes_total counter",
        "sidestream_closes_total{reason=\"slow\"} 2",
        "sidestream_events_total 0",
        "sidestream_frames_total 0",
        "# TYPE sidestream_test_seconds histogram",
        "sidestream_test_seconds_bucket{le=\"0.005\"} 1",
    ] {
        assert!(page.lines().any(|found| found == line), "{line}\n{page}");
    }
    assert!(page.contains("content-type: text/plain; version=0.0.4"));
}

#[tokio::test]
async fn kept_connection_ends_with_the_listener() {
    let admin = Admin::start().await;
    let mut kept = TcpStream::connect(admin.address).await.expect("it listens");
    kept.write_all(b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n")
        .await
        .expect("it reads");
    let mut answer = [0; 15];
    kept.read_exact(&mut answer).await.expect("it answers");
    assert_eq!(&answer, b"HTTP/1.1 200 OK");
    admin.end.send(()).expect("it still serves");
    let mut rest = String::new();
    kept.read_to_string(&mut rest)
        .await
        .expect("it closes in order");
    assert!(rest.ends_with("alive\n"), "{rest}");
    admin.served.await.expect("it ends");
    TcpStream::connect(admin.address)
        .await
        .expect_err("nobody listens any more");
}

#[tokio::test]
async fn who_came_before_the_replacement_is_answered_and_nobody_else() {
    let admin = Admin::start().await;
    let mut early = TcpStream::connect(admin.address).await.expect("it listens");
    check(&admin, "GET", "/health", 200, "alive\n").await;
    admin.replace.send(()).expect("it still serves");
    while TcpStream::connect(admin.address).await.is_ok() {}
    early
        .write_all(b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n")
        .await
        .expect("it reads");
    let mut answer = String::new();
    early.read_to_string(&mut answer).await.expect("it answers");
    assert!(answer.contains("connection: close\r\n"), "{answer}");
    assert!(answer.ends_with("alive\n"), "{answer}");
    admin.end.send(()).expect("it still serves");
    admin.served.await.expect("it ends");
}
