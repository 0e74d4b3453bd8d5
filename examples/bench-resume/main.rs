//! What it costs to come back: latency from the ring and by a cursor, a thousand at once, the ring itself, and a primary's death.
//!
//! `cargo build --release --bin sidestream && cargo run --release --example bench-resume [ROUNDS] [DEATHS]`. Everything is started
//! here and ends with it. What is compared takes turns; a ratio is the median of the rounds' ratios.

#[path = "../bench-support/support.rs"]
mod support;

mod death;

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use bson::{Document, RawDocumentBuf, doc};
use futures_util::future::try_join_all;
use mongodb::{Client, Collection, change_stream::event::ResumeToken};
use tokio::{io::AsyncReadExt, net::TcpStream};

use support::{
    Outcome,
    figures::{Spread, median},
    process::{self, cpu_of},
    stack::{COLLECTION, Mongod, Setup, Sidestream, open_websocket, open_websocket_at},
};

/// Events that every client has missed, and clients that come back at once.
const EVENTS: usize = 1000;
/// Events of one measurement of the ring's cost.
const RING_EVENTS: usize = 5000;

fn main() -> Outcome<()> {
    let arguments = std::env::args()
        .skip(1)
        .map(|argument| argument.parse())
        .collect::<Result<Vec<usize>, _>>();
    let (rounds, deaths) = match &*arguments.map_err(|_| USAGE)? {
        [] => (40, 3),
        [rounds] => (*rounds, 3),
        [rounds, deaths] => (*rounds, *deaths),
        _ => return Err(USAGE.into()),
    };
    support::single()?.block_on(measure(rounds.max(1), deaths))
}

async fn measure(rounds: usize, deaths: usize) -> Outcome<()> {
    let mongod = Mongod::start().await?;
    println!(
        "sidestream {} bench-resume: {rounds} rounds, {EVENTS} events missed, {deaths} deaths; {}; {}",
        env!("CARGO_PKG_VERSION"),
        process::processor(),
        mongod.title
    );
    let mongo = Client::with_uri_str(&mongod.uri).await?;
    let ring = Place::prepare(&mongo, &mongod.uri, "bench_resume_ring", "16MiB").await?;
    let cursor = Place::prepare(&mongo, &mongod.uri, "bench_resume_cursor", "0B").await?;
    latency(&ring, &cursor, rounds).await?;
    crowd(&ring, &cursor).await?;
    ring_cost(&ring, &cursor, rounds.min(10)).await?;
    drop((ring, cursor));
    if deaths > 0 {
        death::measure(deaths).await?;
    }
    Ok(())
}

/// A Sidestream over a collection in which something has happened.
struct Place {
    sidestream: Sidestream,
    documents: Collection<Document>,
    /// The ids of all events.
    ids: Vec<ResumeToken>,
}

impl Place {
    async fn prepare(
        mongo: &Client,
        uri: &str,
        database: &str,
        ring: &'static str,
    ) -> Outcome<Self> {
        let setup = Setup {
            ring,
            ..Setup::default()
        };
        let sidestream = Sidestream::start_with(mongo, uri, database, &setup).await?;
        let documents = mongo.database(database).collection::<Document>(COLLECTION);
        // Until its feed is open: what comes before that is in no ring.
        drop(open_websocket(sidestream.address).await?);
        let mut events = documents.watch().await?;
        insert(&documents, EVENTS).await?;
        let mut ids = Vec::new();
        while ids.len() < EVENTS {
            if let Some(event) = events.next_if_any().await? {
                ids.push(event.id);
            }
        }
        Ok(Self {
            sidestream,
            documents,
            ids,
        })
    }
}

async fn insert(documents: &Collection<Document>, count: usize) -> Outcome<()> {
    for _ in 0..count / 100 {
        let some = (0..100).map(|n| doc! { "n": n, "padding": "x".repeat(128) });
        documents.insert_many(some).await?;
    }
    Ok(())
}

fn text_of(id: &ResumeToken) -> Outcome<String> {
    Ok(bson::serialize_to_document(id)?
        .get_str("_data")?
        .to_owned())
}

/// Comes back, and waits for the first frame. In milliseconds.
async fn back(address: SocketAddr, id: &str) -> Outcome<(f64, TcpStream)> {
    let begun = Instant::now();
    let stream = format!("all?lastEventID={id}");
    let (mut socket, mut early) = open_websocket_at(address, &stream).await?;
    while early.is_empty() {
        if socket.read_buf(&mut early).await? == 0 {
            return Err("closed before the first frame".into());
        }
    }
    Ok((begun.elapsed().as_secs_f64() * 1e3, socket))
}

/// As [`back`], and comes again when it is told that there is no room now, as a client does.
async fn back_at_last(address: SocketAddr, id: &str) -> Outcome<(f64, TcpStream, usize)> {
    let begun = Instant::now();
    let mut refused = 0;
    loop {
        match back(address, id).await {
            Ok((_, socket)) => {
                return Ok((begun.elapsed().as_secs_f64() * 1e3, socket, refused));
            }
            Err(error) if error.to_string().starts_with("HTTP/1.1 503") && refused < AGAIN_MAX => {
                refused += 1;
                tokio::time::sleep(RETRY_AFTER).await;
            }
            Err(error) => return Err(error),
        }
    }
}

/// What `Retry-After` says.
const RETRY_AFTER: Duration = Duration::from_secs(2);
/// How often a client comes again.
const AGAIN_MAX: usize = 30;

async fn latency(ring: &Place, cursor: &Place, rounds: usize) -> Outcome<()> {
    let mut figures: [Vec<f64>; 4] = Default::default();
    for round in 0..=rounds {
        let number = round * 17 % (EVENTS / 2);
        let begun = Instant::now();
        let fresh = open_websocket(ring.sidestream.address).await?;
        let fresh = (begun.elapsed().as_secs_f64() * 1e3, fresh);
        let begun = Instant::now();
        let watch = cursor.documents.watch();
        let raw = watch.start_after(cursor.ids[number].clone()).await?;
        let mut raw = raw.with_type::<RawDocumentBuf>();
        while raw.next_if_any().await?.is_none() {}
        let raw = begun.elapsed().as_secs_f64() * 1e3;
        let of_ring = back(ring.sidestream.address, &text_of(&ring.ids[number])?).await?;
        let of_cursor = back(cursor.sidestream.address, &text_of(&cursor.ids[number])?).await?;
        // The first round warms up.
        if round > 0 {
            let all = [fresh.0, raw, of_ring.0, of_cursor.0];
            all.into_iter()
                .zip(&mut figures)
                .for_each(|(one, all)| all.push(one));
        }
    }
    println!("\nfrom reconnecting to the first missed frame, ms");
    println!("{:44} {:>8} {:>8} {:>10}", "", "p50", "p95", "/ raw");
    let names = [
        "connecting without an id, to the 101",
        "raw cursor of the driver, startAfter",
        "from the ring",
        "by a catch-up cursor",
    ];
    for (name, all) in names.into_iter().zip(&figures) {
        let spread = Spread::of(all.iter().map(|ms| (ms * 1e3) as i64).collect());
        let ratio = median(all.iter().zip(&figures[1]).map(|(one, raw)| one / raw));
        println!(
            "{name:44} {:8.1} {:8.1} {ratio:10.2}",
            spread.p50, spread.p95
        );
    }
    Ok(())
}

async fn crowd(ring: &Place, cursor: &Place) -> Outcome<()> {
    println!(
        "\n{} clients with different ids at once, seconds",
        EVENTS - 1
    );
    println!(
        "{:44} {:>8} {:>8}",
        "to the first missed frame", "p50", "last"
    );
    for (name, place) in [("from the ring", ring), ("by catch-up cursors", cursor)] {
        let address = place.sidestream.address;
        // Nothing is behind the last one.
        let ids = place.ids[..EVENTS - 1].iter().map(text_of);
        let ids = ids.collect::<Outcome<Vec<String>>>()?;
        let all = try_join_all(ids.iter().map(|id| back_at_last(address, id))).await?;
        let spread = Spread::of(all.iter().map(|(ms, _, _)| *ms as i64).collect());
        let refused: usize = all.iter().map(|(_, _, refused)| refused).sum();
        println!(
            "{name:44} {:8.2} {:8.2} {refused:12}",
            spread.p50, spread.max
        );
    }
    Ok(())
}

/// CPU per event, with one client that gets it.
async fn ring_cost(ring: &Place, cursor: &Place, pairs: usize) -> Outcome<()> {
    let mut costs: [Vec<f64>; 2] = Default::default();
    for pair in 0..=pairs {
        for (place, costs) in [ring, cursor].into_iter().zip(&mut costs) {
            let (mut socket, _) = open_websocket(place.sidestream.address).await?;
            let before = cpu_of(place.sidestream.pid);
            let reading = async {
                let mut frames = 0;
                let mut buffer = Vec::with_capacity(64 << 10);
                while frames < RING_EVENTS {
                    if socket.read_buf(&mut buffer).await? == 0 {
                        return Outcome::Err("closed".into());
                    }
                    // A frame's last entry; one that is cut waits for its rest.
                    let end = b"\"operationType\": \"insert\"}";
                    frames += memchr::memmem::find_iter(&buffer, end).count();
                    let rest = memchr::memmem::rfind(&buffer, end).map_or(0, |at| at + end.len());
                    buffer.drain(..rest);
                }
                Ok(())
            };
            let (written, read) = tokio::join!(insert(&place.documents, RING_EVENTS), reading);
            written.and(read)?;
            let cpu = cpu_of(place.sidestream.pid) - before;
            if pair > 0 {
                costs.push(cpu / RING_EVENTS as f64 * 1e6);
            }
        }
    }
    let ratio = median(
        costs[0]
            .iter()
            .zip(&costs[1])
            .map(|(with, without)| with / without),
    );
    let [with, without] = costs.map(median);
    println!(
        "\nCPU of Sidestream per event, one client, us: with a ring of 16 MiB {with:.1}, with none {without:.1}, ratio {ratio:.2}"
    );
    Ok(())
}

const USAGE: &str = "usage: bench-resume [ROUNDS [DEATHS]]";
