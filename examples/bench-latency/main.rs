//! Measures what Sidestream adds to the latency of an event over a raw driver cursor, beside a floor.
//!
//! `cargo build --release --bin sidestream && cargo run --release --example bench-latency -- [rounds] [seconds] [N ...]`
//!
//! It starts everything itself: MongoDB (as the tests find it), the real binary with a stream and a user, and the floor (a
//! stub in a process of its own: one cursor, one rendering, one `write` for each client). N clients hold a session of one
//! stream with each of the two. In rounds, now the one first and now the other, documents are inserted with write concern
//! majority at an even pace into the collection that the one or the other serves; a raw cursor in this process
//! watches it too. Added latency is arrival at a client less arrival at the raw cursor. Each client must get each event
//! once and in order.

#[path = "../bench-support/stack.rs"]
mod stack;

mod clients;
mod figures;
mod floor;

use std::{
    collections::HashMap,
    io::{BufRead, BufReader},
    net::SocketAddr,
    process::{Command, Stdio},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use bson::{Document, RawDocumentBuf, doc};
use futures_util::StreamExt;
use mongodb::{
    Client, Collection,
    options::{FullDocumentType, InsertOneOptions, WriteConcern},
};
use tokio::{
    runtime::{Builder, Handle, Runtime},
    task::JoinHandle,
    time::{MissedTickBehavior, interval},
};

use clients::{Clients, Faults};
use figures::{Figures, cpu_of, median};
use stack::{Ended, Mongod, Outcome, Sidestream};

fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let runtime = single()?;
    if let [role, uri, database, collection] = &*arguments
        && role == "floor"
    {
        return runtime.block_on(floor::serve(uri, database, collection));
    }
    let numbers: Vec<usize> = arguments
        .iter()
        .map(|text| text.parse())
        .collect::<Result<_, _>>()?;
    let mut numbers = numbers.into_iter();
    let rounds = numbers.next().unwrap_or(8).max(1);
    let seconds = numbers.next().unwrap_or(4).max(1);
    let mut counts: Vec<usize> = numbers.collect();
    if counts.is_empty() {
        counts = vec![1, 100, 1000];
    }
    runtime.block_on(measure(rounds, seconds, &counts))
}

fn single() -> Outcome<Runtime> {
    Ok(Builder::new_current_thread().enable_all().build()?)
}

/// A thread that does nothing but what is spawned on it.
fn thread() -> Outcome<Handle> {
    let runtime = single()?;
    let handle = runtime.handle().clone();
    std::thread::spawn(move || runtime.block_on(std::future::pending::<()>()));
    Ok(handle)
}

async fn measure(rounds: usize, seconds: usize, counts: &[usize]) -> Outcome<()> {
    let mongod = Mongod::start().await?;
    let mongo = Client::with_uri_str(&mongod.uri).await?;
    let sidestream = Sidestream::start(&mongo, &mongod.uri, DATABASE).await?;
    let (_floor, floor_pid, floor_address) = start_floor(&mongod.uri)?;
    let (reader, raw) = (thread()?, thread()?);
    println!(
        "sidestream {} bench-latency: {rounds} rounds of {seconds} s, {PAD_BYTES} B padding, majority; {}; {}",
        env!("CARGO_PKG_VERSION"),
        stack::processor(),
        mongod.title,
    );
    println!("\nAdded over a raw cursor, ms; medians over the rounds.\n");
    println!(
        "| N x writes/s | server | p50 | p95 | p99 | first client | last client | CPU us/delivery | lost, wrong |"
    );
    println!("|---|---|---|---|---|---|---|---|---|");
    for &count in counts {
        let mut servers = Vec::new();
        for (name, address, pid, collection) in [
            ("floor", floor_address, floor_pid, FLOOR),
            (
                "sidestream",
                sidestream.address,
                sidestream.pid,
                stack::COLLECTION,
            ),
        ] {
            servers.push(Server {
                name,
                pid,
                clients: Clients::open(&reader, address, count).await?,
                collection: mongo.database(DATABASE).collection(collection),
                written: 0,
                rounds: Vec::new(),
                faults: Faults::default(),
            });
        }
        let pace = Pace::of(count, seconds);
        // The first round warms up.
        for round in 0..=rounds {
            // Now the one first, now the other.
            let first = round % 2;
            for which in [first, 1 - first] {
                let figures = servers[which].round(&pace, &raw, &mongod.uri).await?;
                if round > 0 {
                    servers[which].rounds.push(figures);
                }
            }
        }
        report(count, &pace, &servers);
    }
    Ok(())
}

fn start_floor(uri: &str) -> Outcome<(Ended, u32, SocketAddr)> {
    let mut child = Command::new(std::env::current_exe()?)
        .args(["floor", uri, DATABASE, FLOOR])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()?;
    let (pid, stdout) = (child.id(), child.stdout.take());
    let process = Ended(child);
    let mut line = String::new();
    BufReader::new(stdout.ok_or("no stdout")?).read_line(&mut line)?;
    Ok((process, pid, line.trim().parse()?))
}

/// How fast is written, and how much in a round.
struct Pace {
    per_second: usize,
    events: usize,
}

impl Pace {
    fn of(clients: usize, seconds: usize) -> Self {
        let per_second = if clients < 1000 { 50 } else { 10 };
        Self {
            per_second,
            events: per_second * seconds,
        }
    }
}

/// One of the two, with its clients.
struct Server {
    name: &'static str,
    pid: u32,
    clients: Clients,
    collection: Collection<Document>,
    /// Events so far, each numbered.
    written: i64,
    rounds: Vec<Figures>,
    faults: Faults,
}

impl Server {
    async fn round(&mut self, pace: &Pace, raw: &Handle, uri: &str) -> Outcome<Figures> {
        let namespace = self.collection.namespace();
        let cursor = RawCursor::open(raw, uri, &namespace.db, &namespace.coll).await?;
        let begun = (self.written, self.clients.frames(), cpu_of(self.pid));
        let pad = "x".repeat(PAD_BYTES);
        let majority = InsertOneOptions::builder()
            .write_concern(WriteConcern::majority())
            .build();
        let mut ticks = interval(Duration::from_secs(1) / pace.per_second as u32);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        for _ in 0..pace.events {
            ticks.tick().await;
            let document = doc! { "n": self.written, "pad": &pad };
            self.collection
                .insert_one(document)
                .with_options(majority.clone())
                .await?;
            self.written += 1;
        }
        let deliveries = pace.events as u64 * self.clients.count() as u64;
        self.clients.received(begun.1 + deliveries).await;
        let cpu = cpu_of(self.pid) - begun.2;
        let arrivals_raw = cursor.close(self.written - 1).await?;
        if self.clients.has_ended() {
            return Err(format!("a session with {} has ended", self.name).into());
        }
        let (arrivals, faults) = self.clients.take(self.written - 1);
        self.faults = faults;
        // The first events of a round find everything asleep.
        let counted = begun.0 + pace.events as i64 / 20 + 1;
        Ok(Figures::of(&arrivals, &arrivals_raw, cpu, |number| {
            number >= counted
        }))
    }
}

/// A bare cursor on the collection, read on a thread of its own.
struct RawCursor {
    arrivals: Arc<Mutex<HashMap<i64, Instant>>>,
    reading: JoinHandle<Outcome<()>>,
}

impl RawCursor {
    async fn open(thread: &Handle, uri: &str, database: &str, collection: &str) -> Outcome<Self> {
        let (uri, database, collection) =
            (uri.to_owned(), database.to_owned(), collection.to_owned());
        let opened = thread.spawn(async move {
            let collection = Client::with_uri_str(uri)
                .await?
                .database(&database)
                .collection::<Document>(&collection);
            let watch = collection
                .watch()
                .full_document(FullDocumentType::UpdateLookup);
            Outcome::Ok(watch.await?.with_type::<RawDocumentBuf>())
        });
        let mut events = opened.await??;
        let arrivals = Arc::<Mutex<HashMap<_, _>>>::default();
        let noted = Arc::clone(&arrivals);
        let reading = thread.spawn(async move {
            while let Some(event) = events.next().await {
                let at = Instant::now();
                let number = event?.get_document("fullDocument")?.get_i64("n")?;
                noted.lock().expect("nobody panics").insert(number, at);
            }
            Ok(())
        });
        Ok(Self { arrivals, reading })
    }

    /// Waits for the event `last` and returns all arrivals.
    async fn close(self, last: i64) -> Outcome<HashMap<i64, Instant>> {
        let until = Instant::now() + Duration::from_secs(10);
        while !self
            .arrivals
            .lock()
            .expect("nobody panics")
            .contains_key(&last)
        {
            if Instant::now() > until || self.reading.is_finished() {
                return Err("the raw cursor has not got the last event".into());
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        self.reading.abort();
        Ok(std::mem::take(
            &mut *self.arrivals.lock().expect("nobody panics"),
        ))
    }
}

fn report(count: usize, pace: &Pace, servers: &[Server]) {
    let figures: [fn(&Figures) -> f64; 6] = [
        |it| it.p50,
        |it| it.p95,
        |it| it.p99,
        |it| it.first,
        |it| it.last,
        |it| it.cpu,
    ];
    for server in servers {
        print!("| {count} x {} | {} ", pace.per_second, server.name);
        for figure in figures {
            print!("| {:.3} ", median(server.rounds.iter().map(figure)));
        }
        println!(
            "| {}, {} |",
            server.faults.lost, server.faults.doubled_or_late
        );
    }
    print!("| | ratio, median of rounds ");
    let (floor, ours) = (&servers[0].rounds, &servers[1].rounds);
    for figure in figures {
        print!(
            "| {:.2} ",
            median(
                floor
                    .iter()
                    .zip(ours)
                    .map(|(floor, ours)| figure(ours) / figure(floor))
            )
        );
    }
    println!("| |");
}

const DATABASE: &str = "sidestream_bench_latency";
/// The floor's collection: one of its own, so that neither server has to do with the other's events.
const FLOOR: &str = "floor";
const PAD_BYTES: usize = 128;
