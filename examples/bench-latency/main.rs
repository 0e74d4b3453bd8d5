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

#[path = "../bench-support/support.rs"]
mod support;

use std::{collections::HashMap, sync::Arc, time::Duration};

use memchr::memmem::Finder;
use mongodb::{Client, options::WriteConcern};
use tokio::runtime::Handle;

use support::{
    Epoch, Outcome,
    connect::Target,
    crowd::{Arrival, Crowd, Setting},
    figures::{Spread, median},
    floor::{self, Floor},
    judge::{Faults, Judge, Share},
    process::{self, cpu_of},
    raw::{Order, RawCursor, Source},
    single,
    stack::{COLLECTION, Mongod, Sidestream},
    thread,
    writers::Writer,
};

fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let runtime = single()?;
    if let [role, uri, database, collection, at_once] = &*arguments
        && role == floor::ROLE
    {
        return runtime.block_on(floor::serve(uri, database, collection, at_once.parse()?));
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

async fn measure(rounds: usize, seconds: usize, counts: &[usize]) -> Outcome<()> {
    let mongod = Mongod::start().await?;
    let mongo = Client::with_uri_str(&mongod.uri).await?;
    let sidestream = Sidestream::start(&mongo, &mongod.uri, DATABASE).await?;
    let floor = Floor::start(&mongod.uri, DATABASE, FLOOR, 1)?;
    let (reader, raw, epoch) = (thread()?, thread()?, Epoch::now());
    println!(
        "sidestream {} bench-latency: {rounds} rounds of {seconds} s, {PAD_BYTES} B padding, majority; {}; {}",
        env!("CARGO_PKG_VERSION"),
        process::processor(),
        mongod.title,
    );
    println!("\nAdded over a raw cursor, ms; medians over the rounds.\n");
    println!(
        "| N x writes/s | server | p50 | p95 | p99 | first client | last client | CPU us/delivery | lost, wrong |"
    );
    println!("|---|---|---|---|---|---|---|---|---|");
    for &count in counts {
        let mut servers = Vec::new();
        for (name, address, pid, collection, path) in [
            ("floor", floor.address, floor.pid, FLOOR, "/"),
            (
                "sidestream",
                sidestream.address,
                sidestream.pid,
                COLLECTION,
                STREAM,
            ),
        ] {
            let documents = mongo.database(DATABASE).collection(collection);
            let writer =
                Writer::new(documents, WriteConcern::majority(), epoch).with_pad(PAD_BYTES);
            let mut crowd = Crowd::new(Setting {
                epoch,
                marker: Arc::new(Finder::new(&writer.marker()).into_owned()),
                readers: vec![reader.clone()],
                at_once: AT_ONCE,
            });
            crowd
                .open(&Target::of(address, path), count, |_| None)
                .await?;
            servers.push(Server {
                name,
                pid,
                crowd,
                judges: (0..count).map(|_| Judge::new(Share::ALL, 0)).collect(),
                source: Source {
                    uri: mongod.uri.clone(),
                    database: DATABASE.to_owned(),
                    collection: collection.to_owned(),
                    run: writer.run.clone(),
                },
                writer,
                rounds: Vec::new(),
            });
        }
        let pace = Pace::of(count, seconds);
        // The first round warms up.
        for round in 0..=rounds {
            // Now the one first, now the other.
            let first = round % 2;
            for which in [first, 1 - first] {
                let figures = servers[which].round(&pace, &raw, epoch).await?;
                if round > 0 {
                    servers[which].rounds.push(figures);
                }
            }
        }
        report(count, &pace, &servers);
    }
    Ok(())
}

/// How fast is written, and how much in a round.
struct Pace {
    per_second: u32,
    events: u32,
}

impl Pace {
    fn of(clients: usize, seconds: usize) -> Self {
        let per_second = if clients < 1000 { 50 } else { 10 };
        Self {
            per_second,
            events: per_second * seconds as u32,
        }
    }
}

/// One of the two, with its clients.
struct Server {
    name: &'static str,
    pid: u32,
    crowd: Crowd,
    judges: Vec<Judge>,
    source: Source,
    writer: Writer,
    rounds: Vec<Figures>,
}

/// What one round of one server came to, in milliseconds.
struct Figures {
    added: Spread,
    /// The median over events of the first client's and of the last's.
    first: f64,
    last: f64,
    /// CPU time of the server's process per delivery, in microseconds.
    cpu: f64,
}

impl Server {
    async fn round(&mut self, pace: &Pace, raw: &Handle, epoch: Epoch) -> Outcome<Figures> {
        let begun = (self.writer.written(), self.crowd.events(), cpu_of(self.pid));
        let cursor = RawCursor::open(raw, &self.source, epoch, begun.0).await?;
        self.writer.paced(pace.events, pace.per_second).await?;
        let deliveries = u64::from(pace.events) * self.judges.len() as u64;
        self.crowd.received(begun.1 + deliveries, PATIENCE).await;
        let cpu = cpu_of(self.pid) - begun.2;
        let order = cursor.order(self.writer.written()).await?;
        if !self.crowd.ends().is_empty() {
            return Err(format!("a session with {} has ended", self.name).into());
        }
        let mut arrivals = Vec::new();
        for (member, judge) in self.crowd.members.iter().zip(&mut self.judges) {
            let arrived = member.take();
            judge.hear(&arrived, &order.places);
            arrivals.extend(arrived);
        }
        // The first events of a round find everything asleep.
        let counted = begun.0 + pace.events / 20 + 1;
        Ok(Figures::of(&arrivals, &order, cpu, counted))
    }

    fn faults(&self) -> Faults {
        let mut faults = Faults::default();
        let written = self.writer.written();
        self.judges
            .iter()
            .for_each(|judge| faults.add(judge.verdict(written)));
        faults
    }
}

impl Figures {
    /// Compares arrivals with those at the raw cursor; events before `counted` are left out.
    fn of(arrivals: &[Arrival], order: &Order, cpu: f64, counted: u32) -> Self {
        let mut added = Vec::new();
        let mut ends: HashMap<u32, (i64, i64)> = HashMap::new();
        for Arrival { number, micros } in arrivals {
            let raw = order.arrivals.get(*number as usize);
            let (true, Some(raw)) = (*number >= counted, raw) else {
                continue;
            };
            // Negative where the server's cursor was served before the raw one.
            let over = i64::from(*micros) - i64::from(*raw);
            added.push(over);
            let (first, last) = ends.entry(*number).or_insert((over, over));
            (*first, *last) = ((*first).min(over), (*last).max(over));
        }
        Self {
            added: Spread::of(added),
            first: median(ends.values().map(|(first, _)| *first as f64 / 1e3)),
            last: median(ends.values().map(|(_, last)| *last as f64 / 1e3)),
            cpu: cpu * 1e6 / arrivals.len().max(1) as f64,
        }
    }
}

fn report(count: usize, pace: &Pace, servers: &[Server]) {
    let figures: [fn(&Figures) -> f64; 6] = [
        |it| it.added.p50,
        |it| it.added.p95,
        |it| it.added.p99,
        |it| it.first,
        |it| it.last,
        |it| it.cpu,
    ];
    for server in servers {
        print!("| {count} x {} | {} ", pace.per_second, server.name);
        for figure in figures {
            print!("| {:.3} ", median(server.rounds.iter().map(figure)));
        }
        let faults = server.faults();
        println!("| {}, {} |", faults.lost, faults.sum() - faults.lost);
    }
    print!("| | ratio, median of rounds ");
    let (floor, ours) = (&servers[0].rounds, &servers[1].rounds);
    for figure in figures {
        let ratios = floor
            .iter()
            .zip(ours)
            .map(|(floor, ours)| figure(ours) / figure(floor));
        print!("| {:.2} ", median(ratios));
    }
    println!("| |");
}

const DATABASE: &str = "sidestream_bench_latency";
/// The floor's collection: one of its own, so that neither server has to do with the other's events.
const FLOOR: &str = "floor";
const STREAM: &str = "/messages/_streams/all";
const PAD_BYTES: usize = 128;
const AT_ONCE: usize = 32;
const PATIENCE: Duration = Duration::from_secs(10);
