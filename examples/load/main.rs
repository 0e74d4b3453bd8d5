//! Loads a deployment of yours and tells exactly what came of it: latency, throughput, loss, doubling, order, CPU, memory.
//!
//! ```sh
//! cargo run --release --example load -- --url ws://admin:secret@127.0.0.1:8080/messages/_streams/all \
//!     --mongodb 'mongodb://127.0.0.1/?replicaSet=rs0' --collection restheart.messages --clients 1000
//! ```
//!
//! It opens the clients, writes numbered documents into the collection itself, and holds what each client got against what
//! MongoDB has, in MongoDB's order. Its documents carry a mark, the field `sidestream_load`, and are deleted at the end.
//! Everybody else who listens to the collection gets their events too. `--self-test` shows that it tells the truth.
//! docs/measuring.md says what the figures mean.

#[path = "../bench-support/support.rs"]
mod support;

mod arguments;
mod report;
mod self_test;

use std::{process::ExitCode, sync::Arc, time::Duration};

use clap::Parser;
use memchr::memmem::Finder;
use mongodb::{Client, options::WriteConcern};
use tokio::runtime::Handle;

use arguments::{Arguments, Load};
use report::{Finding, Reader, Report};
use support::{
    Epoch, Outcome,
    connect::{Target, Transport},
    crowd::{Arrival, Crowd, Setting},
    judge::{Faults, Judge, Share},
    process::{self, Machine, Thread, Watch},
    raw::{Order, RawCursor, Source},
    single, thread,
    writers::{Saturation, Writer, operation_time},
};

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let done = match arguments.load {
        _ if arguments.self_test => self_test::run(),
        Some(load) => single().and_then(|runtime| runtime.block_on(run(&load))),
        None => Err("nothing to do".into()),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(2)
        }
    }
}

/// Returns whether every client got everything once and in order.
async fn run(load: &Load) -> Outcome<bool> {
    if load.values == 0 {
        return Err("--values: at least 1".into());
    }
    let (database, collection) = load
        .collection
        .split_once('.')
        .ok_or("--collection: DATABASE.COLLECTION")?;
    let files = process::open_files_max();
    if load.clients + FILES_BESIDES > files {
        return Err(format!(
            "{} clients need as many open files; ulimit -n is {files}",
            load.clients
        )
        .into());
    }
    let mongo = Client::with_uri_str(&load.mongodb).await?;
    let epoch = Epoch::now();
    let concern = match load.write_concern.as_str() {
        "majority" => WriteConcern::majority(),
        other => WriteConcern::nodes(
            other
                .parse()
                .map_err(|_| "--write-concern: majority, or a number")?,
        ),
    };
    let documents = mongo.database(database).collection(collection);
    let mut writer = Writer::new(documents, concern, epoch)
        .with_pad(load.pad)
        .with_values(&load.field, load.values);
    let source = Source {
        uri: load.mongodb.clone(),
        database: database.to_owned(),
        collection: collection.to_owned(),
        run: writer.run.clone(),
    };
    let measured = tokio::select! {
        measured = measure(load, &mongo, &mut writer, &source, epoch) => measured,
        // Interrupted, but nothing is left behind.
        _ = tokio::signal::ctrl_c() => Err("interrupted".into()),
    };
    let deleted = writer.clean().await?;
    let is_clean = measured?;
    println!("\ndeleted {deleted} documents of this run");
    Ok(is_clean)
}

async fn measure(
    load: &Load,
    mongo: &Client,
    writer: &mut Writer,
    source: &Source,
    epoch: Epoch,
) -> Outcome<bool> {
    let transport = if load.sse {
        Transport::Sse
    } else {
        Transport::WebSocket
    };
    let target = Target::parse(&load.url, transport)?;
    let (readers, mut busy) = readers(load.readers).await?;
    let raw_thread = thread()?;
    let mut crowd = Crowd::new(Setting {
        epoch,
        marker: Arc::new(Finder::new(&writer.marker()).into_owned()),
        readers,
        at_once: load.at_once,
    });
    report::head(load);
    let since = operation_time(mongo).await?;
    // A saturated machine is not burdened with a second cursor: the order is read afterwards.
    let live = match load.saturate {
        true => None,
        false => Some(RawCursor::open(&raw_thread, source, epoch, 0).await?),
    };
    let opening = epoch.micros();
    crowd
        .open(&target, load.clients, |index| {
            let value = index % load.values;
            (load.values > 1).then(|| format!("{}=k{value}", load.parameter))
        })
        .await?;
    let opened_in = f64::from(epoch.micros() - opening) / 1e6;
    tokio::time::sleep(Duration::from_secs_f64(load.settle)).await;

    let watches: Vec<Watch> = load.pids.iter().map(|pid| Watch::begin(*pid)).collect();
    let (machine, own) = (Machine::now(), Watch::begin(std::process::id()));
    busy.iter_mut().for_each(Thread::restart);
    let held_up = write(load, writer, &crowd).await?;
    let written = writer.written();
    let due: u64 = (0..load.clients)
        .map(|index| u64::from(Share::of(index, load.values).count(written)))
        .sum();
    crowd.received(due, PATIENCE).await;
    let readers = busy
        .iter()
        .map(|thread| Reader {
            busy: thread.busy(),
        })
        .collect();
    let costs = load
        .pids
        .iter()
        .copied()
        .zip(watches.into_iter().map(Watch::end))
        .collect();
    let (own, machine) = (own.end(), Machine::now().since(machine));

    let order = match live {
        Some(live) => live.order(written).await?,
        None => {
            let replay = RawCursor::replay(&raw_thread, source, since, 0).await?;
            replay.order(written).await?
        }
    };
    let (arrivals, faults, worst) = judge(load, &crowd, &order, written);
    let finding = Finding {
        opened_in,
        due,
        arrivals,
        faults,
        worst,
        ends: crowd.ends(),
        strange: crowd.strange(),
        held_up,
        costs,
        own,
        machine,
        readers,
    };
    Report::new(load, writer.issued(), &order, &finding).print();
    Ok(finding.faults == Faults::default() && finding.ends.is_empty())
}

/// Threads that read, and how busy each is.
async fn readers(count: usize) -> Outcome<(Vec<Handle>, Vec<Thread>)> {
    let (mut handles, mut busy) = (Vec::new(), Vec::new());
    for _ in 0..count.max(1) {
        let handle = thread()?;
        busy.push(handle.spawn(async { Thread::here() }).await??);
        handles.push(handle);
    }
    Ok((handles, busy))
}

/// Returns how many writes were late since MongoDB did not keep up.
async fn write(load: &Load, writer: &mut Writer, crowd: &Crowd) -> Outcome<u32> {
    if load.saturate {
        let how = Saturation {
            writers: load.writers,
            batch: load.batch,
            window: load.window.max(load.batch),
            events: u32::MAX / 2,
            within: Duration::from_secs(load.seconds),
        };
        writer.saturated(crowd, &how).await?;
        return Ok(0);
    }
    let count = u64::from(load.rate) * load.seconds;
    writer.paced(u32::try_from(count)?, load.rate).await
}

type Arrivals = Vec<Vec<Arrival>>;

/// Judges each client; returns what arrived, all faults, and the client with the most of them.
fn judge(
    load: &Load,
    crowd: &Crowd,
    order: &Order,
    written: u32,
) -> (Arrivals, Faults, Option<(usize, Faults)>) {
    let (mut arrivals, mut faults, mut worst) = (Vec::new(), Faults::default(), None);
    for (index, member) in crowd.members.iter().enumerate() {
        let arrived = member.take();
        let mut judge = Judge::new(Share::of(index, load.values), 0);
        judge.hear(&arrived, &order.places);
        let of_this = judge.verdict(written);
        faults.add(of_this);
        let is_worse = worst.is_none_or(|(_, worst): (usize, Faults)| of_this.sum() > worst.sum());
        if of_this != Faults::default() && is_worse {
            worst = Some((index, of_this));
        }
        arrivals.push(arrived);
    }
    (arrivals, faults, worst)
}

/// How long nothing may come before the rest counts as lost.
const PATIENCE: Duration = Duration::from_secs(10);
/// The driver's, the runtimes' and the standard ones.
const FILES_BESIDES: usize = 100;
