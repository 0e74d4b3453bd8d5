//! One that never reads, among others who do.

use std::time::Duration;

use mongodb::options::WriteConcern;
use tokio::{io::AsyncReadExt, time::timeout};

use crate::{
    bench::{ALL, Bench, Court, OURS, PATIENCE, Row, told},
    support::{
        Outcome,
        connect::{Opened, Target},
        decode::Item,
        figures::{Spread, median},
        judge::Faults,
        process::rss,
        raw::RawCursor,
        stack::Sidestream,
        writers::Writer,
    },
};

/// The p99 of 19 readers with one that never reads, over the same without it.
pub(crate) async fn reader(bench: &Bench) -> Outcome<()> {
    let sidestream = Sidestream::start(&bench.mongo, &bench.mongod.uri, DATABASE).await?;
    let target = Target::of(sidestream.address, ALL);
    let mut writer = bench
        .writer(DATABASE, OURS, WriteConcern::majority())
        .with_pad(EVENT_BYTES);
    let mut crowd = bench.crowd(&writer);
    crowd.open(&target, READERS, |_| None).await?;
    let mut court = Court::new(crowd, 1, 0);
    let source = bench.source(DATABASE, OURS, &writer);
    let cursor = RawCursor::open(&bench.raw, &source, bench.epoch, 0).await?;
    let (mut without, mut with, mut codes) = (Vec::new(), Vec::new(), Vec::new());
    for pair in 0..=bench.pairs {
        for has_slow in [pair % 2 == 1, pair % 2 == 0] {
            let slow = match has_slow {
                true => Some(target.open(None).await?),
                false => None,
            };
            let spread = turn(&mut court, &mut writer, &cursor).await?;
            if let Some(slow) = slow {
                codes.push(code_of(slow).await);
            }
            // The first warms up.
            match (pair, has_slow) {
                (0, _) => (),
                (_, true) => with.push(spread),
                (_, false) => without.push(spread),
            }
        }
    }
    let faults = court.verdict(writer.written());
    let ratio = median(
        with.iter()
            .zip(&without)
            .map(|(with, without)| with.p99 / without.p99),
    );
    let all_closed = codes.iter().all(|code| *code == Some(SLOW));
    let p = |of: fn(&Spread) -> f64, spreads: &[Spread]| median(spreads.iter().map(of));
    Row {
        what: format!("{READERS} readers and one that never reads, {} KiB events, {PER_SECOND}/s: p99", EVENT_BYTES / 1024),
        figure: format!("{ratio:.2} of without it"),
        goal: "<= 1.1; closed 4408",
        reached: ratio <= 1.1 && all_closed && faults == Faults::default(),
        restheart: "2 to 9 x, kept for ever",
        beside: format!(
            "p50 / p99 {:.1} / {:.1} ms against {:.1} / {:.1} ms; closed: {codes:?}; RSS {:.0} MiB; {}",
            p(|it| it.p50, &with),
            p(|it| it.p99, &with),
            p(|it| it.p50, &without),
            p(|it| it.p99, &without),
            rss(sidestream.pid) as f64 / 1024.0,
            told(faults),
        ),
    }
    .print();
    Ok(())
}

/// From the write to the client.
async fn turn(court: &mut Court, writer: &mut Writer, cursor: &RawCursor) -> Outcome<Spread> {
    let begun = (writer.written(), court.crowd.events());
    writer.paced(EVENTS, PER_SECOND).await?;
    let written = writer.written();
    let due = court.due(begun.0, written);
    court.crowd.received(begun.1 + due, PATIENCE).await;
    let order = cursor.order(written).await?;
    let issued = writer.issued();
    let whole = court
        .hear(&order)
        .into_iter()
        .filter_map(|(number, micros)| {
            let issued = issued.get(number as usize)?;
            Some(i64::from(micros) - i64::from(*issued))
        });
    Ok(Spread::of(whole.collect()))
}

/// Reads at last; returns the code that the session was closed with.
async fn code_of(slow: Opened) -> Option<u16> {
    let Opened {
        mut stream,
        mut decoder,
        ..
    } = slow;
    let mut room = vec![0; 256 * 1024];
    let mut code = None;
    while code.is_none() {
        let read = timeout(Duration::from_secs(5), stream.read(&mut room)).await;
        let Ok(Ok(count @ 1..)) = read else {
            break;
        };
        decoder.feed(&room[..count], |item| {
            if let Item::Close(told) = item {
                code = Some(told);
            }
        });
    }
    code
}

const DATABASE: &str = "sidestream_bench_slow";
const READERS: usize = 19;
const EVENT_BYTES: usize = 64 * 1024;
const PER_SECOND: u32 = 200;
/// In one turn: what the kernel buffers for the slow one and its outbox are full after some hundred.
const EVENTS: u32 = 400;
const SLOW: u16 = 4408;
