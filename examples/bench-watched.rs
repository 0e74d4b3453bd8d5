//! What a collection costs that has definitions and no session: MongoDB's CPU and Sidestream's, per 1,000 writes.
//!
//! `cargo build --release --bin sidestream && cargo run --release --example bench-watched [ROUNDS] [WRITES]`. In each round
//! the same inserts and updates go to a collection without Sidestream, then, with it, to one of the same database that has no
//! definition, and to one that has. Nobody is connected. CPU of MongoDB is what its `serverStatus` tells, so a deployment that
//! others use, too, gives no figures.

#[path = "bench-support/support.rs"]
mod support;

use std::{fs, time::Duration};

use bson::{Bson, Document, doc};
use mongodb::{Client, Collection};

use support::{
    Outcome, process,
    stack::{COLLECTION, Mongod, Sidestream, open_websocket},
};

fn main() -> Outcome<()> {
    let arguments = std::env::args()
        .skip(1)
        .map(|argument| argument.parse())
        .collect::<Result<Vec<usize>, _>>();
    let (rounds, writes) = match &*arguments.map_err(|_| USAGE)? {
        [] => (7, 1000),
        [rounds] => (*rounds, 1000),
        [rounds, writes] => (*rounds, *writes),
        _ => return Err(USAGE.into()),
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(measure(rounds.max(1), writes.max(1)))
}

async fn measure(rounds: usize, writes: usize) -> Outcome<()> {
    let mongod = Mongod::start().await?;
    println!(
        "sidestream {} bench-watched: {rounds} rounds of {writes} inserts of 128 B and {writes} updates of one field, one after the other; {}; {}",
        env!("CARGO_PKG_VERSION"),
        process::processor(),
        mongod.title
    );
    let mongo = Client::with_uri_str(&mongod.uri).await?;
    // By kind of write and by place: per 1,000 writes, in milliseconds.
    let mut figures: [[Vec<Figure>; 3]; 2] = Default::default();
    for _ in 0..rounds {
        let documents = mongo.database(DATABASE).collection(COLLECTION);
        mongo.database(DATABASE).drop().await?;
        mongo
            .database(DATABASE)
            .create_collection(COLLECTION)
            .await?;
        note(
            &mut figures,
            0,
            costs(&mongo, None, &documents, writes).await?,
        );
        let sidestream = Sidestream::start(&mongo, &mongod.uri, DATABASE).await?;
        let elsewhere = mongo.database(DATABASE).collection("elsewhere");
        mongo
            .database(DATABASE)
            .create_collection("elsewhere")
            .await?;
        // It is answered when the feed is live.
        drop(open_websocket(sidestream.address).await?);
        let pid = Some(sidestream.pid);
        note(
            &mut figures,
            1,
            costs(&mongo, pid, &elsewhere, writes).await?,
        );
        note(
            &mut figures,
            2,
            costs(&mongo, pid, &documents, writes).await?,
        );
    }
    mongo.database(DATABASE).drop().await?;
    println!("\n| CPU per 1,000, median, ms | MongoDB | ratio | Sidestream |");
    println!("|---|---|---|---|");
    for (kind, places) in ["inserts", "updates"].into_iter().zip(&figures) {
        let base = median(places[0].iter().map(|figure| figure.mongod));
        for (place, figures) in PLACES.into_iter().zip(places) {
            let mongod = median(figures.iter().map(|figure| figure.mongod));
            let sidestream = median(figures.iter().map(|figure| figure.sidestream));
            println!(
                "| {kind}, {place} | {mongod:.0} | {:.2} | {sidestream:.1} |",
                mongod / base
            );
        }
    }
    Ok(())
}

/// What 1,000 writes cost, in milliseconds of a processor.
#[derive(Clone, Copy)]
struct Figure {
    mongod: f64,
    sidestream: f64,
}

fn note(figures: &mut [[Vec<Figure>; 3]; 2], place: usize, costs: [Figure; 2]) {
    for (kind, cost) in figures.iter_mut().zip(costs) {
        kind[place].push(cost);
    }
}

/// Inserts, then updates what was inserted.
async fn costs(
    mongo: &Client,
    sidestream: Option<u32>,
    documents: &Collection<Document>,
    writes: usize,
) -> Outcome<[Figure; 2]> {
    let padding = "x".repeat(128);
    let count = i32::try_from(writes)?;
    let begun = Cpu::now(mongo, sidestream).await?;
    for n in 0..count {
        let document = doc! { "_id": n, "n": n, "padding": &padding };
        documents.insert_one(document).await?;
    }
    let inserted = Cpu::settled(mongo, sidestream).await?;
    for n in 0..count {
        let change = doc! { "$set": { "n": n + 1 } };
        documents.update_one(doc! { "_id": n }, change).await?;
    }
    let updated = Cpu::settled(mongo, sidestream).await?;
    let per_thousand = 1e3 / writes as f64;
    Ok([
        inserted.since(&begun, per_thousand),
        updated.since(&inserted, per_thousand),
    ])
}

/// CPU that was used until now.
struct Cpu {
    mongod: Duration,
    sidestream: Duration,
}

impl Cpu {
    /// When what the last write causes is done.
    async fn settled(mongo: &Client, sidestream: Option<u32>) -> Outcome<Self> {
        tokio::time::sleep(SETTLE).await;
        Self::now(mongo, sidestream).await
    }

    async fn now(mongo: &Client, sidestream: Option<u32>) -> Outcome<Self> {
        let status = mongo
            .database("admin")
            .run_command(doc! { "serverStatus": 1 })
            .await?;
        let extra = status.get_document("extra_info")?;
        let microseconds = |name: &str| match extra.get(name) {
            Some(Bson::Int64(number)) => u64::try_from(*number).ok(),
            Some(Bson::Int32(number)) => u64::try_from(*number).ok(),
            _ => None,
        };
        let (Some(user), Some(system)) =
            (microseconds("user_time_us"), microseconds("system_time_us"))
        else {
            return Err("this MongoDB does not tell its CPU".into());
        };
        Ok(Self {
            mongod: Duration::from_micros(user + system),
            sidestream: sidestream.map_or(Ok(Duration::ZERO), cpu_of)?,
        })
    }

    fn since(&self, earlier: &Self, factor: f64) -> Figure {
        let milliseconds = |late: Duration, early: Duration| {
            late.saturating_sub(early).as_secs_f64() * 1e3 * factor
        };
        Figure {
            mongod: milliseconds(self.mongod, earlier.mongod),
            sidestream: milliseconds(self.sidestream, earlier.sidestream),
        }
    }
}

/// The time that all threads of a process have run.
fn cpu_of(pid: u32) -> Outcome<Duration> {
    let mut nanoseconds = 0;
    for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
        let text = fs::read_to_string(thread?.path().join("schedstat"))?;
        let ran = text.split_whitespace().next().ok_or("no schedstat")?;
        nanoseconds += ran.parse::<u64>()?;
    }
    Ok(Duration::from_nanos(nanoseconds))
}

fn median(numbers: impl Iterator<Item = f64>) -> f64 {
    let mut numbers: Vec<f64> = numbers.collect();
    numbers.sort_unstable_by(f64::total_cmp);
    numbers[numbers.len() / 2]
}

const USAGE: &str = "usage: bench-watched [ROUNDS] [WRITES]";
const DATABASE: &str = "sidestream_bench_watched";
const PLACES: [&str; 3] = [
    "without Sidestream",
    "no definition",
    "a definition, no client",
];
/// Longer than a journal flush, after which MongoDB gives what was written to its change streams.
const SETTLE: Duration = Duration::from_millis(250);
