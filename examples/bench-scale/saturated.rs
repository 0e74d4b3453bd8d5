//! One stream, many clients, and writers that go as fast as the slowest client takes what they write.

use std::time::Duration;

use mongodb::options::WriteConcern;

use crate::{
    bench::{ALL, Bench, Court, OURS, PATIENCE, Row, told},
    support::{
        Outcome,
        connect::Target,
        figures::{grouped, median},
        floor::Floor,
        judge::Faults,
        process::{Cost, Watch},
        raw::RawCursor,
        stack::Sidestream,
        writers::{Saturation, Writer, operation_time},
    },
};

/// One server with its clients.
struct Side {
    pid: u32,
    collection: &'static str,
    court: Court,
    writer: Writer,
    per_second: Vec<f64>,
    /// CPU per delivery, in microseconds.
    cpu: Vec<f64>,
    rss_peak: u64,
}

/// Deliveries a second, Sidestream's over the coalescing floor's.
pub(crate) async fn fan_out(bench: &Bench, clients: usize) -> Outcome<()> {
    let sidestream = Sidestream::start(&bench.mongo, &bench.mongod.uri, DATABASE).await?;
    let floor = Floor::start(&bench.mongod.uri, DATABASE, FLOOR, AT_ONCE)?;
    let mut sides = [
        side(
            bench,
            floor.pid,
            FLOOR,
            Target::of(floor.address, "/"),
            clients,
        )
        .await?,
        side(
            bench,
            sidestream.pid,
            OURS,
            Target::of(sidestream.address, ALL),
            clients,
        )
        .await?,
    ];
    for pair in 0..=bench.pairs {
        for which in [pair % 2, 1 - pair % 2] {
            turn(bench, &mut sides[which], clients, pair > 0).await?;
        }
    }
    let [bare, ours] = &sides;
    let ratio = median(
        ours.per_second
            .iter()
            .zip(&bare.per_second)
            .map(|(ours, bare)| ours / bare),
    );
    let faults = ours.court.verdict(ours.writer.written());
    let per_second = |side: &Side| median(side.per_second.iter().copied());
    let times = per_second(ours) / RESTHEART_PER_SECOND;
    let ended = ours.court.crowd.ends().len();
    let is_right = faults == Faults::default() && ended == 0;
    Row {
        what: format!("saturated fan-out, {clients} clients, in order"),
        figure: format!("{ratio:.2} of the coalescing floor; {times:.1} x RESTHeart"),
        goal: ">= 0.5; >= 5 x, aim at 10",
        reached: ratio >= 0.5 && times >= 5.0 && is_right,
        restheart: "283,000/s, 20 % out of order",
        beside: format!(
            "{}/s, {:.3} us CPU a delivery, against {}/s, {:.3} us; {}, {ended} closed; floor: {}",
            grouped(per_second(ours) as u64),
            median(ours.cpu.iter().copied()),
            grouped(per_second(bare) as u64),
            median(bare.cpu.iter().copied()),
            told(faults),
            told(bare.court.verdict(bare.writer.written())),
        ),
    }
    .print();
    let peak = ours.rss_peak as f64 / 1024.0;
    Row {
        what: format!("resident memory meanwhile, {clients} clients"),
        figure: format!("{peak:.0} MiB"),
        goal: "<= 300 MB",
        reached: peak <= 286.0,
        restheart: "4.5 GB",
        beside: format!("floor {:.0} MiB", bare.rss_peak as f64 / 1024.0),
    }
    .print();
    Ok(())
}

async fn side(
    bench: &Bench,
    pid: u32,
    collection: &'static str,
    target: Target,
    clients: usize,
) -> Outcome<Side> {
    let writer = bench.writer(DATABASE, collection, WriteConcern::nodes(1));
    let mut crowd = bench.crowd(&writer);
    crowd.open(&target, clients, |_| None).await?;
    Ok(Side {
        pid,
        collection,
        court: Court::new(crowd, 1, 0),
        writer,
        per_second: Vec::new(),
        cpu: Vec::new(),
        rss_peak: 0,
    })
}

async fn turn(bench: &Bench, side: &mut Side, clients: usize, counts: bool) -> Outcome<()> {
    let how = Saturation {
        writers: 4,
        batch: 20,
        window: WINDOW,
        events: u32::try_from(DELIVERIES / clients)?.min(EVENTS_MAX),
        within: Duration::from_secs(20),
    };
    let since = operation_time(&bench.mongo).await?;
    let begun = (side.writer.written(), side.court.crowd.events());
    let watch = Watch::begin(side.pid);
    side.writer.saturated(&side.court.crowd, &how).await?;
    let written = side.writer.written();
    let due = side.court.due(begun.0, written);
    side.court.crowd.received(begun.1 + due, PATIENCE).await;
    let Cost { cpu, rss_peak } = watch.end();
    // The order is read afterwards, so that no other cursor burdens MongoDB meanwhile.
    let source = bench.source(DATABASE, side.collection, &side.writer);
    let replay = RawCursor::replay(&bench.raw, &source, since, begun.0).await?;
    let order = replay.order(written).await?;
    let arrivals = side.court.hear(&order);
    let last = arrivals.iter().map(|(_, micros)| *micros).max();
    let first = side.writer.issued().get(begun.0 as usize).copied();
    let micros = last
        .zip(first)
        .map_or(f64::NAN, |(last, first)| f64::from(last - first));
    side.rss_peak = side.rss_peak.max(rss_peak);
    // The first warms up.
    if counts {
        side.per_second.push(arrivals.len() as f64 * 1e6 / micros);
        side.cpu.push(cpu * 1e6 / arrivals.len().max(1) as f64);
    }
    Ok(())
}

const DATABASE: &str = "sidestream_bench_saturated";
/// The floor's collection: one of its own, so that neither server has to do with the other's events.
const FLOOR: &str = "floor";
/// How many ready frames the floor writes at once.
const AT_ONCE: usize = 64;
/// Of one turn.
const DELIVERIES: usize = 2_000_000;
const EVENTS_MAX: u32 = 20_000;
/// Events on their way to the client that is furthest behind: with frames of 400 B less than its outbox of 1 MiB holds.
const WINDOW: u32 = 1500;
/// `restheart-measured`: the sustained figure, 100 clients and 4 million deliveries.
const RESTHEART_PER_SECOND: f64 = 283_000.0;
