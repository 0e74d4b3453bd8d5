//! Kept connections that the upstream gives up: at its own time, and at the worst one.

use std::collections::{BTreeMap, BTreeSet};
use std::mem::MaybeUninit;
use std::net::Shutdown;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::{BoxFuture, join_all};
use http::Request;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use sidestream::front::listener::{Answer, ConnectionInfo, ListenerSettings, Service};
use sidestream::proxy::{ClientBody, ProxySettings};
use socket2::SockRef;
use tokio::time::{Instant, timeout, timeout_at};

use super::stage::{Forwarding, Front, Peer, Upstream};
use crate::support::node;

/// Which requests were sent, and what came of them.
#[derive(Debug, Default)]
struct Asked {
    posts: BTreeSet<String>,
    /// Those that were not answered with 200.
    failed: BTreeSet<String>,
}

/// Sends requests, every other one a POST, each with an id of its own as its target, and waits a random time behind each.
async fn ask(front: &Front, name: usize, gap_max: Duration, in_all: Duration) -> Asked {
    let mut random = StdRng::seed_from_u64(name as u64);
    let mut asked = Asked::default();
    let mut client = front.client().await;
    let mut waited = Duration::ZERO;
    for number in 0_usize.. {
        let id = format!("/{name}-{number}");
        let is_post = number % 2 == 1;
        let (method, rest) = match is_post {
            true => ("POST", "Content-Length: 4\r\n\r\ntext"),
            false => ("GET", "\r\n"),
        };
        client
            .send(format!("{method} {id} HTTP/1.1\r\nHost: h\r\n{rest}"))
            .await;
        let head = client.head().await;
        let is_fine = head.starts_with("HTTP/1.1 200 ");
        if is_post {
            asked.posts.insert(id.clone());
        }
        if !is_fine {
            asked.failed.insert(id);
        }
        let length = head.lines().find_map(|line| {
            line.to_lowercase()
                .strip_prefix("content-length: ")?
                .parse()
                .ok()
        });
        client.exactly(length.expect("a length")).await;
        if waited >= in_all {
            break;
        }
        let gap = gap_max.mul_f64(random.random());
        waited += gap;
        tokio::time::sleep(gap).await;
    }
    asked
}

/// `node:http` as it is, but for its times. It counts what it got by its target; `/counts` tells.
const NODE: &str = r#"
import { createServer } from "node:http";
const [keptFor, isTold] = [Number(process.argv[1]), process.argv[2] === "told"];
const counts = {};
const server = createServer((request, response) => {
  if (request.url === "/counts") return response.end(JSON.stringify(counts));
  counts[request.url] = (counts[request.url] ?? 0) + 1;
  request.resume().on("end", () => {
    // With a `Connection` of the application's own Node does not say for how long it keeps it.
    if (!isTold) response.setHeader("Connection", "keep-alive");
    response.setHeader("Content-Length", 2);
    response.end("ok");
  });
});
server.keepAliveTimeout = keptFor;
// Newer ones wait a little longer than they say.
server.keepAliveTimeoutBuffer = 0;
server.listen(0, "127.0.0.1", () => console.log("node at " + server.address().port));
"#;

/// An hour of gaps before a server that closes after five seconds, shared by many connections and with all times made
/// shorter: by five where only `upstream.idle` tells when, by two and a half where Node says it in whole seconds.
async fn check_node(kept_for: Duration, is_told: bool, idle: Duration) {
    let told = if is_told { "told" } else { "untold" };
    let process = node::run_by_any(NODE, &[&kept_for.as_millis().to_string(), told]);
    let port = process.log.wait("Node", 0, |line| {
        line.strip_prefix("node at ")?.parse::<u16>().ok()
    });
    let upstream = format!("http://127.0.0.1:{}", port.await)
        .parse()
        .expect("an address");
    let settings = ProxySettings {
        idle,
        ..ProxySettings::new(upstream)
    };
    // Each with connections of its own, so that each has to outlast its client's gaps.
    let fronts: Vec<_> = (0..FRONTS)
        .map(|_| Front::forwarding(settings.clone()))
        .collect();
    let in_all = kept_for * (HOUR_OF_TIMEOUTS / FRONTS);
    let asking = fronts
        .iter()
        .enumerate()
        .map(|(name, front)| ask(front, name, kept_for * 2, in_all));
    let asked = join_all(asking).await;
    let mut client = fronts[0].client().await;
    client
        .send("GET /counts HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
        .await;
    let counts = client.rest().await;
    let begin = counts.find('{').expect("JSON");
    let end = counts.rfind('}').expect("JSON");
    let counts: BTreeMap<String, u32> = serde_json::from_str(&counts[begin..=end]).expect("JSON");
    for one in asked {
        assert_eq!(one.failed, BTreeSet::new(), "{told}");
        assert!(one.posts.len() > 1);
        let counts = one.posts.iter().map(|id| counts[id]);
        assert_eq!(counts.max(), Some(1), "{told}");
    }
}

#[tokio::test]
async fn an_hour_of_idle_gaps_before_node_costs_no_request() {
    let seconds = Duration::from_secs;
    tokio::join!(
        check_node(seconds(1), false, Duration::from_millis(800)),
        check_node(seconds(2), true, seconds(4)),
    );
}

/// What an upstream that closes at random saw.
#[derive(Debug, Default)]
struct Seen {
    /// How often it took each request.
    taken: BTreeMap<String, u32>,
    /// What was there, but not read, when it closed.
    crossed: BTreeSet<String>,
    /// What came behind that: whoever sent it could have known.
    late: BTreeSet<String>,
}

/// The target, once a request is there.
async fn request(peer: &mut Peer) -> Option<String> {
    let head = peer.try_until("\r\n\r\n").await?;
    if head.contains("Content-Length: 4") {
        peer.try_exactly(4).await?;
    }
    head.split(' ').nth(1).map(str::to_owned)
}

/// Answers, until a random moment behind an answer; then it closes the connection, whatever has come meanwhile.
async fn close_at_random(mut peer: Peer, seed: u64, seen: Arc<Mutex<Seen>>) {
    let mut random = StdRng::seed_from_u64(seed);
    let Some(first) = request(&mut peer).await else {
        return;
    };
    let mut next = Some(first);
    while let Some(target) = next {
        *seen
            .lock()
            .expect("no panic")
            .taken
            .entry(target)
            .or_default() += 1;
        peer.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            .await;
        let until = Instant::now() + (GAP_MAX * 2).mul_f64(random.random());
        next = timeout_at(until, request(&mut peer)).await.unwrap_or(None);
    }
    // Only this half, so that it can be heard what was on its way: what is there at once was sent before. All of it runs on one
    // thread, and loopback brings what is sent where it is sent to.
    let socket = SockRef::from(&peer.stream);
    socket.shutdown(Shutdown::Write).expect("it is open");
    let has_crossed = socket.peek(&mut [MaybeUninit::uninit()]).is_ok();
    let unread = timeout(Duration::from_secs(1), request(&mut peer)).await;
    let mut seen = seen.lock().expect("no panic");
    match has_crossed {
        true => seen.crossed.extend(unread.ok().flatten()),
        false => seen.late.extend(unread.ok().flatten()),
    }
}

#[tokio::test]
async fn an_upstream_that_closes_at_random_gets_no_post_twice() {
    let upstream = Upstream::bind().await;
    let fronts: Vec<_> = (0..FRONTS).map(|_| Front::before(&upstream)).collect();
    let seen = Arc::new(Mutex::new(Seen::default()));
    let there = Arc::clone(&seen);
    let serving = tokio::spawn(async move {
        for seed in 0.. {
            let peer = upstream.accept_whenever().await;
            tokio::spawn(close_at_random(peer, seed, Arc::clone(&there)));
        }
    });
    let in_all = GAP_MAX * 40;
    let asking = fronts
        .iter()
        .enumerate()
        .map(|(name, front)| ask(front, name, GAP_MAX, in_all));
    let asked = join_all(asking).await;
    serving.abort();
    let seen = seen.lock().expect("no panic");
    let (mut posts, mut failed) = (0, 0);
    for one in &asked {
        posts += one.posts.len();
        failed += one.failed.len();
        // A GET is asked once more, on a fresh connection.
        assert!(one.failed.is_subset(&one.posts), "{:?}", one.failed);
        for id in &one.posts {
            let taken = seen.taken.get(id).copied().unwrap_or_default();
            let expected = u32::from(!one.failed.contains(id));
            assert_eq!(taken, expected, "{id}");
            let is_lost = seen.crossed.contains(id) || seen.late.contains(id);
            assert_eq!(is_lost, one.failed.contains(id), "{id}");
        }
    }
    // Only what crossed with the end, as it may for anybody who keeps a connection. A kernel under load may bring a FIN later;
    // and a GET may be late, which is why it may be sent again.
    let is_post = |id: &&String| asked.iter().any(|one| one.posts.contains(*id));
    let late: Vec<_> = seen.late.iter().filter(is_post).collect();
    println!("{failed} of {posts} POSTs crossed with the end of their connection");
    assert!(posts > 1_000 && failed < posts / 2, "{failed} of {posts}");
    assert!(late.len() * 500 <= posts, "{failed} of {posts}, {late:?}");
}

/// Has the upstream close its connection between the moment in which a request is there and its way to the upstream.
struct Closing {
    dying: Mutex<Option<std::net::TcpStream>>,
    others: Forwarding,
}

impl Service for Closing {
    fn call<'a>(
        &'a self,
        request: Request<ClientBody>,
        connection: &'a ConnectionInfo,
    ) -> BoxFuture<'a, Answer> {
        // No turn of the reactor in between could tell of it.
        drop(self.dying.lock().expect("no panic").take());
        self.others.call(request, connection)
    }
}

#[tokio::test]
async fn a_connection_that_was_closed_a_moment_ago_is_not_used_by_a_post() {
    let upstream = Upstream::bind().await;
    let service = Arc::new(Closing {
        dying: Mutex::default(),
        others: Forwarding::new(upstream.settings()),
    });
    let front = Front::start(Shared(Arc::clone(&service)), ListenerSettings::default());
    let mut client = front.client().await;
    client.send("GET /first HTTP/1.1\r\nHost: h\r\n\r\n").await;
    let mut peer = upstream.accept().await;
    peer.head().await;
    let answer = "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na";
    peer.send(answer).await;
    client.until("\r\n\r\na").await;
    let dying = peer.stream.into_std().expect("a socket");
    *service.dying.lock().expect("no panic") = Some(dying);

    client
        .send("POST /next HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nhi")
        .await;
    let mut peer = upstream.accept().await;
    assert!(peer.until("hi").await.starts_with("POST /next"));
    peer.send(answer).await;
    assert!(client.until("\r\n\r\na").await.starts_with("HTTP/1.1 200 "));
}

struct Shared(Arc<Closing>);

impl Service for Shared {
    fn call<'a>(
        &'a self,
        request: Request<ClientBody>,
        connection: &'a ConnectionInfo,
    ) -> BoxFuture<'a, Answer> {
        self.0.call(request, connection)
    }
}

const FRONTS: u32 = 60;
/// How often five seconds fit into an hour.
const HOUR_OF_TIMEOUTS: u32 = 720;
const GAP_MAX: Duration = Duration::from_millis(40);
