//! What sessions cost: memory when idle, and writes in a fan-out beside a bare write loop.
//!
//! `cargo build --release --bin sidestream && cargo run --release --example bench-idle [SESSIONS]`. First the real binary
//! with everything a session has there (it starts MongoDB as the tests find it), then the room `session` by itself. The
//! client ends live in a child process (this program again), so that what is measured is the server's side only; each
//! process needs a file descriptor per session (`ulimit -n`). Memory is the process's PSS, so kernel buffers of sockets
//! are not in it. The fan-out runs on one thread, interleaved with a loop that writes the same frames to the same number
//! of sockets, and is told as a ratio to it.

#[path = "bench-support/support.rs"]
mod support;

use std::{
    net::{Ipv4Addr, SocketAddr},
    process::Stdio,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use bson::{Document, doc};
use bytes::Bytes;
use mongodb::{Client, options::WriteConcern};
use sidestream::{
    delivery::{Outbox, channel},
    lifecycle::Tasks,
    session::{ContentCoding, SessionSettings, Socket, sse, websocket},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    process::{Child, Command},
    sync::Notify,
    task::JoinSet,
};

use support::{
    Outcome,
    process::{self, cpu_of, pss},
    stack::{COLLECTION, Mongod, Sidestream, open_websocket},
};

fn main() -> Outcome<()> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    match &*arguments {
        [role, address, count] if role == "clients" => {
            runtime.block_on(clients(address.parse()?, count.parse()?))
        }
        [role, control, server, count] if role == "sessions" => {
            runtime.block_on(sessions(control.parse()?, server.parse()?, count.parse()?))
        }
        [role, kind, count] if role == "idle" => {
            runtime.block_on(idle(Kind::named(kind)?, count.parse()?))
        }
        [] => runtime.block_on(measure(9_000)),
        [count] => runtime.block_on(measure(count.parse()?)),
        _ => Err("usage: bench-idle [SESSIONS]".into()),
    }
}

async fn measure(sessions: usize) -> Outcome<()> {
    let mongod = Mongod::start().await?;
    println!(
        "sidestream {} bench-idle: {sessions} sessions idle, {FAN_OUT} in the fan-out; {}; {}",
        env!("CARGO_PKG_VERSION"),
        process::processor(),
        mongod.title
    );
    println!("\n| idle on | future, B | KiB per session | after one 100 KiB frame to all |");
    println!("|---|---|---|---|");
    real(&mongod, sessions).await?;
    drop(mongod);
    for (name, _) in Kind::ALL {
        // A process for each: memory that one kind gave back would hide what the next takes.
        let mut alone = Command::new(std::env::current_exe()?);
        if !alone
            .args(["idle", name, &sessions.to_string()])
            .status()
            .await?
            .success()
        {
            return Err(format!("idle {name} did not succeed").into());
        }
    }
    println!("\n| fan-out | bare loop, µs per write | sessions | ratio of time | ratio of CPU |");
    println!("|---|---|---|---|---|");
    fan_out("one event at a time", 1).await?;
    fan_out("16 events at once", 16).await
}

/// WebSocket sessions of the real binary.
async fn real(mongod: &Mongod, count: usize) -> Outcome<()> {
    const DATABASE: &str = "sidestream_bench_idle";
    let mongo = Client::with_uri_str(&mongod.uri).await?;
    let sidestream = Sidestream::start(&mongo, &mongod.uri, DATABASE).await?;
    let documents = mongo.database(DATABASE).collection::<Document>(COLLECTION);
    let write = async |bytes: usize| {
        let insert = documents.insert_one(doc! { "pad": "x".repeat(bytes) });
        insert.write_concern(WriteConcern::majority()).await
    };
    // What the first session and the first event make once for all.
    let (mut first, _) = open_websocket(sidestream.address).await?;
    write(128).await?;
    first.read_u8().await?;
    let before = pss(sidestream.pid)?;
    let mut crowd = Crowd::of_sessions(sidestream.address, count).await?;
    let connected = Instant::now();
    crowd.received(0).await?;
    let connects_per_second = count as f64 / connected.elapsed().as_secs_f64();
    let idle = pss(sidestream.pid)?;
    write(100 * 1024).await?;
    crowd.received(count as u64 * 100 * 1024).await?;
    crowd.settled().await?;
    let after = pss(sidestream.pid)?;
    let each = |now: u64| now.saturating_sub(before) as f64 / count as f64;
    println!(
        "| the real binary, WebSocket ({before} KiB before, {connects_per_second:.0} connects/s) | | {:.2} | {:.2} |",
        each(idle),
        each(after)
    );
    crowd.child.kill().await?;
    Ok(())
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    WebSocket,
    Sse(ContentCoding),
}

impl Kind {
    const ALL: [(&str, Self); 3] = [
        ("websocket", Self::WebSocket),
        ("sse", Self::Sse(ContentCoding::Identity)),
        ("sse-gzip", Self::Sse(ContentCoding::Gzip)),
    ];

    fn named(name: &str) -> Outcome<Self> {
        let found = Self::ALL.into_iter().find(|(known, _)| *known == name);
        found
            .map(|(_, kind)| kind)
            .ok_or_else(|| format!("no kind {name}").into())
    }
}

async fn idle(kind: Kind, count: usize) -> Outcome<()> {
    let tasks = Tasks::new();
    let before = pss(std::process::id())?;
    let mut crowd = Crowd::gather(count).await?;
    let (outboxes, future_bytes) = serve(kind, &mut crowd, &tasks);
    tasks.spawn("marker", async {}).await?;
    let idle = pss(std::process::id())?;
    let frame = Bytes::from(vec![b'x'; 100 * 1024]);
    for outbox in &outboxes {
        outbox.try_send(frame.clone())?;
        tasks.spawn("marker", async {}).await?;
    }
    drop(frame);
    crowd.settled().await?;
    let after = pss(std::process::id())?;
    let each = |now: u64| now.saturating_sub(before) as f64 / count as f64;
    println!(
        "| {kind:?} | {future_bytes} | {:.2} | {:.2} |",
        each(idle),
        each(after)
    );
    drop(outboxes);
    crowd.child.kill().await?;
    tasks.drained(Duration::from_secs(60)).await;
    Ok(())
}

async fn fan_out(name: &str, burst: usize) -> Outcome<()> {
    let frame = Bytes::from([&[0x81, 126, 1, 0][..], &[b'x'; 256]].concat());
    let tasks = Tasks::new();
    let mut bare_crowd = Crowd::gather(FAN_OUT).await?;
    let mut crowd = Crowd::gather(FAN_OUT).await?;
    let (outboxes, _) = serve(Kind::WebSocket, &mut crowd, &tasks);
    let bare = std::mem::take(&mut bare_crowd.sockets);
    let (mut bare_cost, mut cost) = (Cost::default(), Cost::default());
    for round in 0..ROUNDS {
        let begun = Cost::now();
        for _ in 0..EVENTS / burst {
            for socket in &bare {
                for _ in 0..burst {
                    write_all(socket, &frame).await?;
                }
            }
        }
        let bytes = ((round + 1) * EVENTS * FAN_OUT * frame.len()) as u64;
        bare_crowd.received(bytes).await?;
        bare_cost.add(begun);

        let begun = Cost::now();
        for _ in 0..EVENTS / burst {
            for outbox in &outboxes {
                for _ in 0..burst {
                    outbox.try_send(frame.clone())?;
                }
            }
            // Queued behind all sessions that were woken: each has written when it runs.
            tasks.spawn("marker", async {}).await?;
        }
        crowd.received(bytes).await?;
        cost.add(begun);
    }
    let writes = (ROUNDS * EVENTS * FAN_OUT) as f64;
    println!(
        "| {name} | {:.2} | {:.2} | {:.2} | {:.2} |",
        bare_cost.wall * 1e6 / writes,
        cost.wall * 1e6 / writes,
        cost.wall / bare_cost.wall,
        cost.cpu / bare_cost.cpu,
    );
    bare_crowd.child.kill().await?;
    crowd.child.kill().await?;
    drop(outboxes);
    tasks.drained(Duration::from_secs(60)).await;
    Ok(())
}

/// Begins a session on every socket of the crowd; returns their outboxes and the size of one session's future.
fn serve(kind: Kind, crowd: &mut Crowd, tasks: &Tasks) -> (Vec<Outbox>, usize) {
    let settings = Arc::new(SessionSettings::default());
    let mut future_bytes = 0;
    let sockets = std::mem::take(&mut crowd.sockets);
    let outboxes = sockets.into_iter().map(|socket| {
        let (outbox, outlet) = channel(1 << 20);
        let settings = Arc::clone(&settings);
        match kind {
            Kind::WebSocket => {
                let session = async move {
                    let _closed = websocket::serve(
                        Socket::new(socket),
                        Bytes::new(),
                        None,
                        outlet,
                        &settings,
                        None,
                    )
                    .await;
                };
                future_bytes = size_of_val(&session);
                tasks.spawn("session", session);
            }
            Kind::Sse(coding) => {
                let session = async move {
                    let _closed =
                        sse::serve(Socket::new(socket), outlet, &settings, coding, None).await;
                };
                future_bytes = size_of_val(&session);
                tasks.spawn("session", session);
            }
        }
        outbox
    });
    (outboxes.collect(), future_bytes)
}

async fn write_all(socket: &TcpStream, mut bytes: &[u8]) -> Outcome<()> {
    while !bytes.is_empty() {
        match socket.try_write(bytes) {
            Ok(count) => bytes = &bytes[count..],
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                socket.writable().await?;
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// The client ends in a child process, and our ends of them.
struct Crowd {
    sockets: Vec<TcpStream>,
    control: TcpStream,
    child: Child,
}

impl Crowd {
    async fn gather(count: usize) -> Outcome<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let child = Command::new(std::env::current_exe()?)
            .args([
                "clients",
                &listener.local_addr()?.to_string(),
                &count.to_string(),
            ])
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .spawn()?;
        let (control, _) = listener.accept().await?;
        let mut sockets = Vec::with_capacity(count);
        for _ in 0..count {
            let (socket, _) = listener.accept().await?;
            socket.set_nodelay(true)?;
            sockets.push(socket);
        }
        Ok(Self {
            sockets,
            control,
            child,
        })
    }

    /// Clients of a server that has its own end of the sockets. They are all there when [`Self::received`] first returns.
    async fn of_sessions(server: SocketAddr, count: usize) -> Outcome<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let control = listener.local_addr()?.to_string();
        let child = Command::new(std::env::current_exe()?)
            .args([
                "sessions",
                &control,
                &server.to_string(),
                &count.to_string(),
            ])
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .spawn()?;
        let (control, _) = listener.accept().await?;
        Ok(Self {
            sockets: Vec::new(),
            control,
            child,
        })
    }

    /// Waits until the clients have received `bytes` in all; returns how many they have.
    async fn received(&mut self, bytes: u64) -> Outcome<u64> {
        self.control.write_u64(bytes).await?;
        Ok(self.control.read_u64().await?)
    }

    /// Waits until the clients receive no more.
    async fn settled(&mut self) -> Outcome<()> {
        let mut last = 0;
        loop {
            tokio::time::sleep(Duration::from_millis(500)).await;
            let now = self.received(0).await?;
            if now > 0 && now == last {
                return Ok(());
            }
            last = now;
        }
    }
}

/// The child: connects, reads and counts.
async fn clients(server: SocketAddr, count: usize) -> Outcome<()> {
    let control = TcpStream::connect(server).await?;
    let counting = Counting::default();
    for _ in 0..count {
        counting.read(TcpStream::connect(server).await?);
    }
    counting.report(control).await
}

/// The child of the real binary: opens sessions, some at a time, reads and counts.
async fn sessions(control: SocketAddr, server: SocketAddr, count: usize) -> Outcome<()> {
    let control = TcpStream::connect(control).await?;
    let counting = Counting::default();
    let mut opening = JoinSet::new();
    for started in 0..count + AT_ONCE {
        if started < count {
            opening.spawn(open_websocket(server));
        }
        if started >= AT_ONCE
            && let Some(opened) = opening.join_next().await
        {
            counting.read(opened??.0);
        }
    }
    counting.report(control).await
}

/// Reads sockets, and counts the bytes of all.
#[derive(Default)]
struct Counting {
    received: Arc<(AtomicU64, Notify)>,
    tasks: Tasks,
}

impl Counting {
    fn read(&self, mut socket: TcpStream) {
        let received = Arc::clone(&self.received);
        self.tasks.spawn("client", async move {
            let mut buffer = vec![0; 16 * 1024];
            while let Ok(count @ 1..) = socket.read(&mut buffer).await {
                received.0.fetch_add(count as u64, Ordering::Relaxed);
                received.1.notify_one();
            }
        });
    }

    async fn report(self, mut control: TcpStream) -> Outcome<()> {
        while let Ok(target) = control.read_u64().await {
            while self.received.0.load(Ordering::Relaxed) < target {
                self.received.1.notified().await;
            }
            control
                .write_u64(self.received.0.load(Ordering::Relaxed))
                .await?;
        }
        Ok(())
    }
}

#[derive(Default)]
struct Cost {
    wall: f64,
    cpu: f64,
}

impl Cost {
    fn now() -> (Instant, f64) {
        (Instant::now(), cpu_of(std::process::id()))
    }

    fn add(&mut self, (begun, cpu): (Instant, f64)) {
        self.wall += begun.elapsed().as_secs_f64();
        self.cpu += cpu_of(std::process::id()) - cpu;
    }
}

const FAN_OUT: usize = 1_000;
/// How many sessions are opened at a time.
const AT_ONCE: usize = 32;
const EVENTS: usize = 64;
const ROUNDS: usize = 8;
