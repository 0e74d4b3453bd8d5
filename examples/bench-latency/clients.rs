//! The clients: many WebSockets on one thread, each frame's arrival noted and its place in the order checked.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    runtime::Handle,
};

use crate::stack::{Outcome, open_websocket};

/// All clients of one server.
pub(crate) struct Clients {
    clients: Vec<Arc<Mutex<Received>>>,
    frames: Arc<AtomicU64>,
}

/// What one client has got since it was last asked.
#[derive(Default)]
struct Received {
    arrivals: Vec<(i64, Instant)>,
    /// The number of the event that must come next, once one has come.
    next: Option<i64>,
    faults: Faults,
    ended: bool,
}

/// What was wrong with the deliveries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Faults {
    pub(crate) lost: u64,
    pub(crate) doubled_or_late: u64,
}

/// The arrivals of one round, client by client.
pub(crate) type Arrivals = Vec<Vec<(i64, Instant)>>;

impl Clients {
    /// Opens `count` sessions, a few at a time; they are read on the thread of `reader`.
    pub(crate) async fn open(reader: &Handle, address: SocketAddr, count: usize) -> Outcome<Self> {
        let (mut clients, frames) = (Vec::with_capacity(count), Arc::new(AtomicU64::new(0)));
        for _ in 0..count {
            let (received, total) = (
                Arc::new(Mutex::new(Received::default())),
                Arc::clone(&frames),
            );
            clients.push(Arc::clone(&received));
            let opened = reader.spawn(async move {
                let (socket, early) = open_websocket(address).await?;
                tokio::spawn(async move {
                    read(socket, early, &received, &total).await;
                    received.lock().expect("nobody panics").ended = true;
                });
                Outcome::Ok(())
            });
            opened.await??;
        }
        Ok(Self { clients, frames })
    }

    /// Waits until `frames` have arrived in all since the beginning, or it has become hopeless.
    pub(crate) async fn received(&self, frames: u64) {
        let until = Instant::now() + ARRIVAL_WAIT;
        while self.frames.load(Ordering::Relaxed) < frames && Instant::now() < until {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// How many clients there are.
    pub(crate) fn count(&self) -> usize {
        self.clients.len()
    }

    /// How many frames have arrived since the beginning.
    pub(crate) fn frames(&self) -> u64 {
        self.frames.load(Ordering::Relaxed)
    }

    /// Takes what has arrived, with all faults since the beginning; `through` is the last event that was written.
    pub(crate) fn take(&self, through: i64) -> (Arrivals, Faults) {
        let mut faults = Faults::default();
        let mut arrivals = Vec::with_capacity(self.clients.len());
        for client in &self.clients {
            let mut client = client.lock().expect("nobody panics");
            let missing = client
                .next
                .map_or(1, |next| u64::try_from(through + 1 - next).unwrap_or(0));
            faults.lost += client.faults.lost + missing;
            faults.doubled_or_late += client.faults.doubled_or_late;
            arrivals.push(std::mem::take(&mut client.arrivals));
        }
        (arrivals, faults)
    }

    /// Whether a session has ended.
    pub(crate) fn has_ended(&self) -> bool {
        self.clients
            .iter()
            .any(|client| client.lock().expect("nobody panics").ended)
    }
}

impl Received {
    fn note(&mut self, number: i64, at: Instant) {
        let next = self.next.unwrap_or(number);
        if number >= next {
            self.faults.lost += u64::try_from(number - next).unwrap_or(0);
            self.next = Some(number + 1);
            self.arrivals.push((number, at));
        } else {
            self.faults.doubled_or_late += 1;
            // What was thought lost came late.
            self.faults.lost = self.faults.lost.saturating_sub(1);
        }
    }
}

async fn read(
    mut socket: TcpStream,
    mut buffer: Vec<u8>,
    received: &Mutex<Received>,
    total: &AtomicU64,
) {
    buffer.reserve(READ_BYTES);
    loop {
        // `read` of tokio does not ask again after a read that did not fill the buffer: one system call a frame.
        match socket.read_buf(&mut buffer).await {
            Ok(0) | Err(_) => return,
            Ok(_) => (),
        }
        let at = Instant::now();
        let mut begin = 0;
        while let Some((kind, payload, end)) = frame(&buffer[begin..]) {
            match kind {
                TEXT => {
                    let Some(number) = number_of(&buffer[begin..][payload..end]) else {
                        return;
                    };
                    received.lock().expect("nobody panics").note(number, at);
                    total.fetch_add(1, Ordering::Relaxed);
                }
                // A PONG under the mask 0.
                PING if socket.write_all(&[0x8a, 0x80, 0, 0, 0, 0]).await.is_ok() => (),
                _ => return,
            }
            begin += end;
        }
        buffer.drain(..begin);
    }
}

/// The kind of the first frame, where its payload begins, and its end; `None` while it is not whole.
fn frame(bytes: &[u8]) -> Option<(u8, usize, usize)> {
    let (payload, length) = match *bytes.get(1)? {
        126 => (
            4,
            usize::from(u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?)),
        ),
        127 => (
            10,
            usize::try_from(u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?)).ok()?,
        ),
        length => (2, usize::from(length)),
    };
    (bytes.len() >= payload + length).then(|| (bytes[0], payload, payload + length))
}

/// The number of the event: the value of the first key `n`.
fn number_of(payload: &[u8]) -> Option<i64> {
    let begin = memchr::memmem::find(payload, b"\"n\":")? + 4;
    let rest = payload[begin..].trim_ascii_start();
    let end = rest.iter().position(|byte| !byte.is_ascii_digit())?;
    std::str::from_utf8(&rest[..end]).ok()?.parse().ok()
}

const TEXT: u8 = 0x81;
const PING: u8 = 0x89;
const READ_BYTES: usize = 4096;
const ARRIVAL_WAIT: Duration = Duration::from_secs(10);
