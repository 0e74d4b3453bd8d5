//! An API that counts what it is asked, says how it is, and can be killed and come back.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicUsize, Ordering};

use sidestream::proxy::UpstreamAddress;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

use crate::proxy::stage::{Peer, within};

/// How often each target was asked for.
type Seen = BTreeMap<String, u32>;

pub(super) struct Api {
    pub(super) address: SocketAddr,
    shared: Shared,
    /// Its end closes all connections.
    running: Option<JoinHandle<()>>,
}

#[derive(Clone)]
struct Shared {
    seen: watch::Sender<Seen>,
    connections: Arc<AtomicUsize>,
    /// What `/health` is answered.
    health: Arc<AtomicU16>,
}

impl Api {
    pub(super) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let mut api = Self {
            address: listener.local_addr().expect("it is bound"),
            shared: Shared {
                seen: watch::Sender::default(),
                connections: Arc::default(),
                health: Arc::new(AtomicU16::new(200)),
            },
            running: None,
        };
        api.run(listener);
        api
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(super) fn upstream(&self) -> UpstreamAddress {
        self.url().parse().expect("an address")
    }

    /// Breaks all connections and takes no more.
    pub(super) fn kill(&mut self) {
        if let Some(running) = self.running.take() {
            running.abort();
        }
    }

    /// Listens again at the same address.
    pub(super) async fn revive(&mut self) {
        // The one before gives it up when its task is dropped, which is soon.
        let listener = within(async {
            loop {
                match TcpListener::bind(self.address).await {
                    Ok(listener) => break listener,
                    Err(_) => tokio::task::yield_now().await,
                }
            }
        });
        let listener = listener.await;
        self.run(listener);
    }

    pub(super) fn answer_health_with(&self, status: u16) {
        self.shared.health.store(status, Ordering::Relaxed);
    }

    pub(super) fn seen(&self) -> Seen {
        self.shared.seen.borrow().clone()
    }

    /// How many requests it got.
    pub(super) fn count(&self) -> u32 {
        total(&self.shared.seen.borrow())
    }

    pub(super) fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::Relaxed)
    }

    /// Waits until it has got so many.
    #[track_caller]
    pub(super) fn reaches(&self, count: u32) -> impl Future<Output = ()> {
        let mut seen = self.shared.seen.subscribe();
        within(async move {
            let there = seen.wait_for(|seen| total(seen) >= count).await;
            there.expect("the API is there");
        })
    }

    fn run(&mut self, listener: TcpListener) {
        let shared = self.shared.clone();
        self.running = Some(tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                shared.connections.fetch_add(1, Ordering::Relaxed);
                connections.spawn(serve(Peer::new(stream), shared.clone()));
            }
        }));
    }
}

impl Drop for Api {
    fn drop(&mut self) {
        self.kill();
    }
}

async fn serve(mut peer: Peer, shared: Shared) {
    while let Some(head) = peer.try_until("\r\n\r\n").await {
        let target = head.split(' ').nth(1).expect("a target").to_owned();
        let mut status = 200;
        if target == "/health" {
            status = shared.health.load(Ordering::Relaxed);
        } else {
            shared
                .seen
                .send_modify(|seen| *seen.entry(target).or_default() += 1);
        }
        let length = head.lines().find_map(|line| {
            let length = line.to_lowercase();
            length.strip_prefix("content-length: ")?.parse().ok()
        });
        if peer.try_exactly(length.unwrap_or(0)).await.is_none() {
            return;
        }
        // Others get their turn while a request is under way, as anywhere else.
        tokio::task::yield_now().await;
        peer.send(format!(
            "HTTP/1.1 {status} S\r\nContent-Length: 2\r\n\r\nok"
        ))
        .await;
    }
}

fn total(seen: &Seen) -> u32 {
    seen.values().sum()
}
