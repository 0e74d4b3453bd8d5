//! What compression costs and saves on WebSocket: bytes and CPU per event, and memory per idle session, against plain frames.
//!
//! `cargo build --release --bin sidestream && cargo run --release --example bench-deflate [SESSIONS] [ROUNDS]`. Two of the
//! real binary, the one with plain clients, the other with as many that offer permessage-deflate; they take turns. Each event
//! is written when every client has the one before it, so nothing is batched. CPU is the server's process alone. Each
//! session needs a file descriptor here and there (`ulimit -n`).

#[path = "bench-support/support.rs"]
mod support;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bson::{Document, doc};
use mongodb::{Client, Collection, options::WriteConcern};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::Notify,
    task::JoinSet,
    time::timeout,
};

use support::{
    Outcome,
    figures::median,
    process::{self, cpu_of, pss},
    stack::{COLLECTION, Mongod, Setup, Sidestream, open_websocket_with},
};

fn main() -> Outcome<()> {
    let arguments = std::env::args().skip(1).map(|argument| argument.parse());
    let arguments: Result<Vec<usize>, _> = arguments.collect();
    let (sessions, rounds) = match &*arguments.map_err(|_| USAGE)? {
        [] => (1_000, 7),
        [sessions] => (*sessions, 7),
        [sessions, rounds] => (*sessions, *rounds),
        _ => return Err(USAGE.into()),
    };
    support::single()?.block_on(measure(sessions.max(1), rounds.max(1)))
}

async fn measure(sessions: usize, rounds: usize) -> Outcome<()> {
    let mongod = Mongod::start().await?;
    println!(
        "sidestream {} bench-deflate: {sessions} sessions, {rounds} rounds of {EVENTS} inserts; {}; {}",
        env!("CARGO_PKG_VERSION"),
        process::processor(),
        mongod.title
    );
    let mongo = Client::with_uri_str(&mongod.uri).await?;
    let mut plain = Side::start(&mongo, &mongod, "bench_plain", false).await?;
    let mut deflated = Side::start(&mongo, &mongod, "bench_deflated", true).await?;
    println!(
        "\n| clients | text of the document, B | bytes of a frame, plain | deflated | ratio | CPU of an event, plain, µs | deflated | ratio |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    for clients in [1, sessions] {
        plain.gather(clients).await?;
        deflated.gather(clients).await?;
        for text_bytes in TEXTS {
            let (mut figures, mut ratios) = ([const { Vec::new() }; 4], Vec::new());
            for round in 0..=rounds {
                let one = plain.round(text_bytes, round).await?;
                let other = deflated.round(text_bytes, round).await?;
                // One to warm up.
                if round > 0 {
                    let all = [one.bytes, other.bytes, one.micros, other.micros];
                    figures
                        .iter_mut()
                        .zip(all)
                        .for_each(|(all, one)| all.push(one));
                    ratios.push((other.bytes / one.bytes, other.micros / one.micros));
                }
            }
            let [bytes, fewer, micros, more] = figures.map(median);
            println!(
                "| {clients} | {text_bytes} | {bytes:.0} | {fewer:.0} | {:.2} | {micros:.0} | {more:.0} | {:.2} |",
                median(ratios.iter().map(|ratio| ratio.0)),
                median(ratios.iter().map(|ratio| ratio.1)),
            );
        }
    }
    println!("\n| idle session, KiB | plain | deflated |");
    println!("|---|---|---|");
    println!(
        "| of {sessions} | {:.2} | {:.2} |",
        plain.idle, deflated.idle
    );
    Ok(())
}

/// A Sidestream and its clients.
struct Side {
    sidestream: Sidestream,
    documents: Collection<Document>,
    fields: &'static str,
    clients: usize,
    /// KiB for each session that came last.
    idle: f64,
    received: Arc<Received>,
    reading: JoinSet<()>,
}

#[derive(Default)]
struct Received {
    frames: AtomicU64,
    bytes: AtomicU64,
    more: Notify,
}

struct Figures {
    /// Of a frame.
    bytes: f64,
    /// Of an event.
    micros: f64,
}

impl Side {
    async fn start(
        mongo: &Client,
        mongod: &Mongod,
        database: &str,
        compression: bool,
    ) -> Outcome<Self> {
        let setup = Setup {
            compression,
            ..Setup::default()
        };
        let sidestream = Sidestream::start_with(mongo, &mongod.uri, database, &setup).await?;
        Ok(Self {
            sidestream,
            documents: mongo.database(database).collection(COLLECTION),
            fields: match compression {
                true => "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n",
                false => "",
            },
            clients: 0,
            idle: f64::NAN,
            received: Arc::default(),
            reading: JoinSet::new(),
        })
    }

    /// Has more clients come, up to this many.
    async fn gather(&mut self, clients: usize) -> Outcome<()> {
        let (before, come) = (pss(self.sidestream.pid)?, clients - self.clients);
        let mut opening = JoinSet::new();
        for started in 0..come + AT_ONCE {
            if started < come {
                let (address, fields) = (self.sidestream.address, self.fields);
                opening.spawn(open_websocket_with(address, "all", fields));
            }
            if started >= AT_ONCE
                && let Some(opened) = opening.join_next().await
            {
                let (socket, early) = opened??;
                let received = Arc::clone(&self.received);
                self.reading.spawn(read(socket, early, received));
            }
        }
        self.clients = clients;
        let more = pss(self.sidestream.pid)?.saturating_sub(before);
        self.idle = more as f64 / come as f64;
        Ok(())
    }

    async fn round(&self, text_bytes: usize, round: usize) -> Outcome<Figures> {
        let (frames, bytes) = self.totals();
        let cpu = cpu_of(self.sidestream.pid);
        for event in 0..EVENTS {
            let number = (round * EVENTS + event) as i64;
            let document = doc! {
                "number": number, "sender": "uji", "room": "general", "text": text(text_bytes, number as u32), "read": false,
            };
            let insert = self.documents.insert_one(document);
            insert.write_concern(WriteConcern::majority()).await?;
            let all = frames + ((event + 1) * self.clients) as u64;
            timeout(PATIENCE, self.received.until(all)).await?;
        }
        let cpu = cpu_of(self.sidestream.pid) - cpu;
        let (frames, bytes) = (self.totals().0 - frames, self.totals().1 - bytes);
        Ok(Figures {
            bytes: bytes as f64 / frames as f64,
            micros: cpu * 1e6 / EVENTS as f64,
        })
    }

    fn totals(&self) -> (u64, u64) {
        let Received { frames, bytes, .. } = &*self.received;
        (
            frames.load(Ordering::Relaxed),
            bytes.load(Ordering::Relaxed),
        )
    }
}

impl Received {
    async fn until(&self, frames: u64) {
        while self.frames.load(Ordering::Relaxed) < frames {
            self.more.notified().await;
        }
    }
}

/// Counts the messages that come, until the connection ends. Who does not answer a ping is taken for dead.
async fn read(mut socket: TcpStream, early: Vec<u8>, received: Arc<Received>) {
    let mut buffer = early;
    loop {
        while let Some(length) = frame(&buffer) {
            let frame: Vec<u8> = buffer.drain(..length).collect();
            match frame[0] & 0x0f {
                1 => (),
                9 if socket.write_all(&PONG).await.is_ok() => continue,
                // The round that waits for it says that it waited in vain.
                _ => return,
            }
            received.bytes.fetch_add(length as u64, Ordering::Relaxed);
            received.frames.fetch_add(1, Ordering::Relaxed);
            received.more.notify_one();
        }
        match socket.read_buf(&mut buffer).await {
            Ok(0) | Err(_) => return,
            Ok(_) => (),
        }
    }
}

/// How long the frame is that begins here, if it is whole.
fn frame(bytes: &[u8]) -> Option<usize> {
    let (head, length) = match bytes.get(1)? {
        126 => (
            4,
            u16::from_be_bytes(*bytes.get(2..)?.first_chunk()?) as usize,
        ),
        127 => (
            10,
            u64::from_be_bytes(*bytes.get(2..)?.first_chunk()?) as usize,
        ),
        short => (2, usize::from(*short)),
    };
    (bytes.len() >= head + length).then_some(head + length)
}

/// Words and numbers, of about this many bytes.
fn text(bytes: usize, seed: u32) -> String {
    const WORDS: [&str; 16] = [
        "the",
        "order",
        "was",
        "delivered",
        "to",
        "client",
        "with",
        "status",
        "pending",
        "amount",
        "total",
        "and",
        "again",
        "number",
        "of",
        "yesterday",
    ];
    let (mut text, mut state) = (String::new(), seed);
    while text.len() < bytes {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        text += WORDS[(state >> 28) as usize];
        text.push(' ');
        if state >> 8 & 3 == 0 {
            text += &format!("{} ", state >> 10);
        }
    }
    text
}

const USAGE: &str = "usage: bench-deflate [SESSIONS] [ROUNDS]";
const TEXTS: [usize; 4] = [20, 300, 2_000, 20_000];
const EVENTS: usize = 100;
/// Masked with zeros, as a client may.
const PONG: [u8; 6] = [0x8a, 0x80, 0, 0, 0, 0];
/// How many sessions are opened at a time.
const AT_ONCE: usize = 32;
const PATIENCE: Duration = Duration::from_secs(30);
