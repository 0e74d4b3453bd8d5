//! What forwarded requests notice of a MongoDB that hangs: their latency with it stopped (SIGSTOP) against with it running.
//!
//! `cargo build --release --bin sidestream && cargo run --release --example bench-hung [ROUNDS] [REQUESTS]`. In each round every
//! client sends so many GETs on a connection that it keeps, first while MongoDB runs, then while it is stopped and others ask for streams in
//! vain. MongoDB is stopped for the time of a round, so one that others use is no place for it.

#[path = "bench-support/support.rs"]
mod support;

use std::{
    convert::Infallible,
    net::SocketAddr,
    process::Command,
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures_util::future::try_join_all;
use http::{Request, Response};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use mongodb::Client;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use support::{
    Outcome,
    figures::{Spread, median},
    process,
    stack::{Mongod, Setup, Sidestream, open_websocket},
};

fn main() -> Outcome<()> {
    let arguments = std::env::args().skip(1).map(|argument| argument.parse());
    let arguments = arguments.collect::<Result<Vec<usize>, _>>();
    let (rounds, requests) = match &*arguments.map_err(|_| USAGE)? {
        [] => (10, 1000),
        [rounds] => (*rounds, 1000),
        [rounds, requests] => (*rounds, *requests),
        _ => return Err(USAGE.into()),
    };
    let upstream = support::thread()?;
    let (tell, told) = std::sync::mpsc::sync_channel(1);
    upstream.spawn(async move { serve(tell).await });
    support::single()?.block_on(measure(told.recv()?, rounds.max(1), requests.max(1)))
}

/// Answers everything.
async fn serve(tell: std::sync::mpsc::SyncSender<SocketAddr>) -> Outcome<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    tell.send(listener.local_addr()?)?;
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let answer = |_: Request<Incoming>| async {
            Ok::<_, Infallible>(Response::new(Full::new(Bytes::from_static(
                &[b'x'; BODY_BYTES],
            ))))
        };
        tokio::spawn(
            http1::Builder::new().serve_connection(TokioIo::new(stream), service_fn(answer)),
        );
    }
}

async fn measure(upstream: SocketAddr, rounds: usize, requests: usize) -> Outcome<()> {
    let mongod = Mongod::start().await?;
    println!(
        "sidestream {} bench-hung: {rounds} rounds of {CLIENTS} clients with {requests} GETs each; {}; {}",
        env!("CARGO_PKG_VERSION"),
        process::processor(),
        mongod.title
    );
    let mongo = Client::with_uri_str(&mongod.uri).await?;
    let setup = Setup {
        upstream,
        ..Setup::default()
    };
    let sidestream = Sidestream::start_with(&mongo, &mongod.uri, "bench_hung", &setup).await?;
    // It is answered when the feed is live.
    let _session = open_websocket(sidestream.address).await?;
    let mut ratios: [Vec<f64>; 2] = Default::default();
    let mut errors = 0;
    // The first round warms up.
    for round in 0..=rounds {
        let (running, failed) = load(sidestream.address, requests).await?;
        errors += failed;
        let (stopped, failed) = {
            let _stopped = Stopped::new(mongod.pid)?;
            let asking = (0..CLIENTS).map(|_| tokio::spawn(open_websocket(sidestream.address)));
            let asking: Vec<_> = asking.collect();
            let loaded = load(sidestream.address, requests).await?;
            asking.iter().for_each(tokio::task::JoinHandle::abort);
            loaded
        };
        errors += failed;
        // Until it answers again, the next round would measure what this one has left.
        drop(mongo.list_database_names().await?);
        if round > 0 {
            println!(
                "  running: p50 {:.3} ms, p99 {:.3} ms; stopped: p50 {:.3} ms, p99 {:.3} ms",
                running.p50, running.p99, stopped.p50, stopped.p99
            );
            ratios[0].push(stopped.p50 / running.p50);
            ratios[1].push(stopped.p99 / running.p99);
        }
    }
    let [p50, p99] = ratios.map(median);
    println!(
        "stopped / running: p50 {p50:.3}, p99 {p99:.3} (medians of the rounds' ratios); {errors} errors"
    );
    match errors {
        0 => Ok(()),
        errors => Err(format!("{errors} requests were not answered with 200").into()),
    }
}

/// A process that does not go on while this is there.
struct Stopped(u32);

impl Stopped {
    fn new(pid: u32) -> Outcome<Self> {
        signal(pid, "-STOP")?;
        Ok(Self(pid))
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        if let Err(error) = signal(self.0, "-CONT") {
            eprintln!("{error}");
        }
    }
}

fn signal(pid: u32, name: &str) -> Outcome<()> {
    let status = Command::new("kill")
        .args([name, &pid.to_string()])
        .status()?;
    status
        .success()
        .then_some(())
        .ok_or_else(|| "kill failed".into())
}

/// Latencies, and how many requests failed.
async fn load(address: SocketAddr, requests: usize) -> Outcome<(Spread, usize)> {
    let clients = try_join_all((0..CLIENTS).map(|_| client(address, requests))).await?;
    let (mut micros, mut errors) = (Vec::new(), 0);
    for (times, failed) in clients {
        micros.extend(times);
        errors += failed;
    }
    Ok((Spread::of(micros), errors))
}

async fn client(address: SocketAddr, requests: usize) -> Outcome<(Vec<i64>, usize)> {
    let mut stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let (mut micros, mut failed) = (Vec::with_capacity(requests), 0);
    let mut answer = Vec::new();
    for _ in 0..requests {
        answer.clear();
        let begun = Instant::now();
        stream
            .write_all(b"GET /messages HTTP/1.1\r\nHost: h\r\n\r\n")
            .await?;
        let whole = async {
            loop {
                let head = memchr::memmem::find(&answer, b"\r\n\r\n");
                if head.is_some_and(|head| answer.len() >= head + 4 + BODY_BYTES) {
                    return Ok(());
                }
                if stream.read_buf(&mut answer).await? == 0 {
                    return Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof));
                }
            }
        };
        // An answer of our own is shorter, and a connection that ended ends the client: both are failures.
        let is_whole = matches!(
            tokio::time::timeout(ANSWER_TIME_MAX, whole).await,
            Ok(Ok(()))
        );
        if !is_whole || !answer.starts_with(b"HTTP/1.1 200 ") {
            failed += 1;
            stream = TcpStream::connect(address).await?;
            continue;
        }
        micros.push(i64::try_from(begun.elapsed().as_micros())?);
    }
    Ok((micros, failed))
}

const CLIENTS: usize = 8;
const BODY_BYTES: usize = 512;
const ANSWER_TIME_MAX: Duration = Duration::from_secs(5);
const USAGE: &str = "bench-hung [ROUNDS] [REQUESTS]";
