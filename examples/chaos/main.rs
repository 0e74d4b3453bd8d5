//! Breaks everything between MongoDB and the clients, at random, and holds what each client got against what MongoDB has.
//!
//! ```sh
//! cargo build --bins --examples && target/debug/examples/chaos --events 100000 --clients 200 --minutes 10 --verbose
//! ```
//!
//! It starts a replica set of three members behind relays, and the real binary; several tasks on two threads write, in batches that
//! a majority must have. Clients on both transports read and come back with their last id: some follow everything, most a slice of
//! it, some a slice by a cursor of its own. Faults happen one after another: members are killed, stopped,
//! cut off, step down; cursors and sessions are killed; the network is cut in the middle of an answer; history is lost;
//! collections and databases are dropped; Sidestream itself is killed. Each client must get every event once and in order,
//! or be told of a gap. Exits with 1 if one did not, with 0 if all did. The seed chooses the faults; it is printed first.

#[path = "../bench-support/support.rs"]
mod support;

#[path = "../../tests/it/support/process.rs"]
#[allow(dead_code, reason = "the tests use the rest")]
mod process;
#[path = "../../tests/it/support/relay.rs"]
#[allow(dead_code, reason = "the tests use the rest")]
mod relay;
#[path = "../../tests/it/support/replicas.rs"]
#[allow(dead_code, reason = "the tests use the rest")]
mod replicas;

mod clients;
mod faults;
mod fleeting;
mod judge;
mod sidestream;
mod truth;
mod writers;

use std::{
    collections::BTreeMap,
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use clap::Parser;
use rand::{SeedableRng, rngs::StdRng};

use clients::Clients;
use faults::Faults;
use fleeting::Fleeting;
use judge::{Court, Verdict};
use replicas::Replicas;
use sidestream::Sidestream;
use support::{Outcome, stack::mongod_binary};
use truth::Truth;
use writers::Writers;

/// Breaks everything between MongoDB and the clients, and tells what they missed.
#[derive(Clone, Debug, Parser)]
#[command(name = "chaos")]
struct Arguments {
    /// Events to write, at an even pace over the time.
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(1..))]
    events: u32,
    /// Clients, every other one on SSE.
    #[arg(long, default_value_t = 200)]
    clients: usize,
    /// Chooses the faults and their order.
    #[arg(long)]
    seed: Option<u64>,
    /// How long faults happen; a part of one will do.
    #[arg(long, default_value_t = 10.0)]
    minutes: f64,
    /// Tasks that write.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..))]
    writers: u32,
    /// Events that a writer makes at once.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1000))]
    batch: u32,
    /// The longest time between two faults, in seconds.
    #[arg(long, default_value_t = 1.0)]
    pause: f64,
    /// Tells of each fault as it happens.
    #[arg(long)]
    verbose: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build();
    let done = runtime
        .map_err(Into::into)
        .and_then(|runtime| runtime.block_on(run(&arguments)));
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(2)
        }
    }
}

/// Returns whether nothing was violated.
async fn run(arguments: &Arguments) -> Outcome<bool> {
    let seed = arguments.seed.unwrap_or_else(rand::random);
    println!(
        "chaos --events {} --clients {} --minutes {} --writers {} --batch {} --pause {} --seed {seed}",
        arguments.events,
        arguments.clients,
        arguments.minutes,
        arguments.writers,
        arguments.batch,
        arguments.pause
    );
    let mut random = StdRng::seed_from_u64(seed);
    let mut set = Replicas::start(&mongod_binary()?, MEMBERS).await;
    let mongo = set.client().await;
    sidestream::store(&mongo).await?;
    let truth = Truth::begin(&set.client().await).await?;
    let mut sidestream = Sidestream::start(&set.uri()).await?;
    let clients = Clients::open(sidestream.address(), arguments.clients);
    let mut fleeting = Fleeting::begin(&set.client().await, &sidestream, FLEETING_CLIENTS);
    let writers = Writers::new(
        &set.client().await,
        arguments.writers,
        arguments.batch,
        arguments.events,
    );
    // Whoever has an id can come back; so everybody gets one before the first fault.
    clients.are_all_open(PATIENCE).await;
    writers.write_for_everybody().await?;
    clients.have_all_an_id(PATIENCE).await?;
    fleeting.have_all_an_id(PATIENCE).await?;

    let begun = Instant::now();
    let within = Duration::from_secs_f64(arguments.minutes * 60.0);
    let over = Arc::new(AtomicBool::new(false));
    let writing = writers.begin(within);
    let court = Court::sit(&truth, clients.witnesses(), &over);
    let mut faults = Faults::new(
        &mut random,
        Duration::from_secs_f64(arguments.pause),
        arguments.verbose,
    );
    while begun.elapsed() < within && !writing.is_finished() {
        faults
            .next(
                &mut random,
                &mut set,
                &mut sidestream,
                &clients,
                &mut fleeting,
            )
            .await?;
    }
    let (lasted, amid_faults) = (begun.elapsed(), writers.written());
    faults.heal(&mut set, &mut sidestream).await?;
    writing.await??;
    // So that also who has lost something at the very end, or was told of a gap, has something to get.
    let all_open = clients.are_all_open(PATIENCE).await;
    writers.write_for_everybody().await?;
    let written = writers.written();
    let whole = truth.has(written, PATIENCE).await;
    let caught_up = all_open && clients.have_all(&truth, PATIENCE).await;
    let mortal = fleeting.end(PATIENCE).await?;
    over.store(true, Ordering::Release);
    let verdicts = court.verdicts().await?;
    let record = Record {
        written,
        amid_faults,
        lasted,
        truth_is_whole: whole,
        caught_up,
        stray: [clients.strays(), faults.wrong.clone()].concat(),
    };
    let is_clean = record.print(&faults, &verdicts, &mortal, &clients);
    Ok(is_clean)
}

/// What came of a run, beside the verdict on each client.
struct Record {
    written: u32,
    /// How many of them while faults happened.
    amid_faults: u32,
    lasted: Duration,
    truth_is_whole: bool,
    caught_up: bool,
    /// Answers and close codes that no fault explains.
    stray: Vec<String>,
}

impl Record {
    /// Returns whether nothing was violated.
    fn print(
        &self,
        faults: &Faults,
        verdicts: &[Verdict],
        mortal: &Verdict,
        clients: &Clients,
    ) -> bool {
        println!(
            "{} events written, {} of them amid faults within {:.1} s",
            self.written,
            self.amid_faults,
            self.lasted.as_secs_f64()
        );
        println!("faults: {}", faults.counts());
        println!("sessions: {}", clients.counts());
        let mut by_stream = BTreeMap::<&str, (usize, Verdict)>::new();
        let witnesses = clients.witnesses();
        for (witness, verdict) in witnesses.iter().zip(verdicts) {
            let (count, sum) = by_stream.entry(&witness.stream).or_default();
            *count += 1;
            *sum = sum.with(*verdict);
        }
        for (stream, (count, verdict)) in by_stream {
            println!("to {count} clients of {stream}: {verdict}");
        }
        let verdict = verdicts
            .iter()
            .copied()
            .fold(Verdict::default(), Verdict::with);
        println!("to all {} clients: {verdict}", verdicts.len());
        println!("to {FLEETING_CLIENTS} clients of a collection that goes and comes: {mortal}");
        for stray in &self.stray {
            println!("unexpected: {stray}");
        }
        if !self.truth_is_whole {
            println!("MongoDB's own change stream has not brought all that was written");
        }
        if !self.caught_up {
            println!("not every client has come to the end");
        }
        let is_clean = verdict.is_clean()
            && mortal.is_clean()
            && self.stray.is_empty()
            && self.truth_is_whole
            && self.caught_up;
        println!("{}", if is_clean { "clean" } else { "VIOLATED" });
        is_clean
    }
}

const MEMBERS: usize = 3;
const FLEETING_CLIENTS: usize = 4;
/// How long clients have to come to the end when all is well again.
const PATIENCE: Duration = Duration::from_secs(90);
