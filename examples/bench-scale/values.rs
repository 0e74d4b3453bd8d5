//! Many values: what they cost MongoDB, and what they cost the one who waits.

use std::time::Instant;

use mongodb::options::WriteConcern;

use crate::{
    bench::{Bench, Court, MINE, OURS, PATIENCE, Row, told},
    support::{
        Outcome,
        connect::Target,
        crowd::Crowd,
        figures::{Spread, median},
        judge::Faults,
        process::{cpu_of, open_files_max},
        raw::{Order, RawCursor},
        stack::Sidestream,
        writers::Writer,
    },
};

/// Change streams for 10,000 clients with 10,000 values.
pub(crate) async fn cursors(bench: &Bench) -> Outcome<()> {
    const DATABASE: &str = "sidestream_bench_cursors";
    let count = clients_max();
    let before = bench.cursors().await?;
    let sidestream = Sidestream::start(&bench.mongo, &bench.mongod.uri, DATABASE).await?;
    let mut writer = bench
        .writer(DATABASE, OURS, WriteConcern::majority())
        .with_values("k", count);
    let mut crowd = bench.crowd(&writer);
    let begun = Instant::now();
    open(&mut crowd, &sidestream, count, count).await?;
    let took = begun.elapsed().as_secs_f64();
    // They live: some are spoken to.
    writer.paced(100, 200).await?;
    crowd.received(100, PATIENCE).await;
    let found = bench.cursors().await? - before;
    Row {
        what: format!("cursors for {count} clients with {count} values"),
        figure: found.to_string(),
        goal: "1",
        reached: found == 1 && crowd.events() == 100,
        restheart: "10,000; stops working at its pool, 100",
        beside: format!(
            "all live in {took:.1} s; 100 events to 100 of them: {} deliveries",
            crowd.events()
        ),
    }
    .print();
    Ok(())
}

/// MongoDB's CPU per write, 1,000 values against one client.
pub(crate) async fn writes(bench: &Bench) -> Outcome<()> {
    const DATABASE: &str = "sidestream_bench_writes";
    const VALUES: usize = 1000;
    let sidestream = Sidestream::start(&bench.mongo, &bench.mongod.uri, DATABASE).await?;
    let mut writer = bench
        .writer(DATABASE, OURS, WriteConcern::majority())
        .with_values("k", VALUES);
    let mut crowd = bench.crowd(&writer);
    open(&mut crowd, &sidestream, 1, VALUES).await?;
    let (mut ones, mut many) = (Vec::new(), Vec::new());
    for pair in 0..=bench.pairs {
        let one = cpu_per_write(bench, &mut writer).await?;
        // The others come for their turn only: one Sidestream, one cursor, the same all along.
        open(&mut crowd, &sidestream, VALUES - 1, VALUES).await?;
        let before = crowd.events();
        let thousand = cpu_per_write(bench, &mut writer).await?;
        crowd.received(before + u64::from(WRITES), PATIENCE).await;
        if crowd.events() < before + u64::from(WRITES) {
            return Err("not every write has reached its client".into());
        }
        crowd.leave(1);
        // The first warms up.
        if pair > 0 {
            ones.push(one);
            many.push(thousand);
        }
    }
    let ratio = median(many.iter().zip(&ones).map(|(many, one)| many / one));
    Row {
        what: format!("mongod's CPU per write, {VALUES} values against one client"),
        figure: format!("{ratio:.2}"),
        goal: "<= 1.1",
        reached: ratio <= 1.1,
        restheart: "about 25",
        beside: format!(
            "{:.2} ms against {:.2} ms a write",
            median(many) * 1e3,
            median(ones) * 1e3
        ),
    }
    .print();
    Ok(())
}

async fn cpu_per_write(bench: &Bench, writer: &mut Writer) -> Outcome<f64> {
    let begun = cpu_of(bench.mongod.pid);
    writer.paced(WRITES, 100).await?;
    Ok((cpu_of(bench.mongod.pid) - begun) / f64::from(WRITES))
}

/// One of two that take turns.
struct Side {
    _sidestream: Sidestream,
    court: Court,
    writer: Writer,
    cursor: RawCursor,
    added: Vec<Spread>,
}

/// Latency added over a raw cursor, 10,000 values against one.
pub(crate) async fn latency(bench: &Bench) -> Outcome<()> {
    let count = clients_max();
    let mut sides = [
        side(bench, "sidestream_bench_one", 1).await?,
        side(bench, "sidestream_bench_values", count).await?,
    ];
    for pair in 0..=bench.pairs {
        for which in [pair % 2, 1 - pair % 2] {
            let spread = turn(&mut sides[which]).await?;
            if pair > 0 {
                sides[which].added.push(spread);
            }
        }
    }
    let [one, many] = &sides;
    let more = median(
        many.added
            .iter()
            .zip(&one.added)
            .map(|(many, one)| many.p50 - one.p50),
    ) * 1e3;
    let mut faults = Faults::default();
    for side in &sides {
        faults.add(side.court.verdict(side.writer.written()));
    }
    let p50 = |side: &Side| median(side.added.iter().map(|spread| spread.p50)) * 1e3;
    Row {
        what: format!("latency added over a raw cursor, p50: {count} values against one"),
        figure: format!("{more:+.0} us"),
        goal: "<= 50 us more",
        reached: more <= 50.0 && faults == Faults::default(),
        restheart: "9 to 14 times at 1,000",
        beside: format!(
            "{:.0} us against {:.0} us; {}",
            p50(many),
            p50(one),
            told(faults)
        ),
    }
    .print();
    Ok(())
}

async fn side(bench: &Bench, database: &str, values: usize) -> Outcome<Side> {
    let sidestream = Sidestream::start(&bench.mongo, &bench.mongod.uri, database).await?;
    let writer = bench
        .writer(database, OURS, WriteConcern::majority())
        .with_values("k", values);
    let mut crowd = bench.crowd(&writer);
    open(&mut crowd, &sidestream, values, values).await?;
    let source = bench.source(database, OURS, &writer);
    let cursor = RawCursor::open(&bench.raw, &source, bench.epoch, 0).await?;
    Ok(Side {
        _sidestream: sidestream,
        court: Court::new(crowd, values, 0),
        writer,
        cursor,
        added: Vec::new(),
    })
}

async fn turn(side: &mut Side) -> Outcome<Spread> {
    let begun = (side.writer.written(), side.court.crowd.events());
    side.writer.paced(WRITES, 50).await?;
    let written = side.writer.written();
    let due = side.court.due(begun.0, written);
    side.court.crowd.received(begun.1 + due, PATIENCE).await;
    let order = side.cursor.order(written).await?;
    let arrivals = side.court.hear(&order);
    // The first events find everything asleep.
    let counted = begun.0 + WRITES / 20 + 1;
    Ok(added(&arrivals, &order, counted))
}

/// What was added over the raw cursor by those who delivered the events from `first` on.
fn added(arrivals: &[(u32, u32)], order: &Order, first: u32) -> Spread {
    let counted = arrivals.iter().filter(|(number, _)| *number >= first);
    let over = counted.filter_map(|(number, micros)| {
        let raw = order.arrivals.get(*number as usize)?;
        Some(i64::from(*micros) - i64::from(*raw))
    });
    Spread::of(over.collect())
}

async fn open(
    crowd: &mut Crowd,
    sidestream: &Sidestream,
    count: usize,
    values: usize,
) -> Outcome<()> {
    let target = Target::of(sidestream.address, MINE);
    let value = |index: usize| Some(format!("n=k{}", index % values));
    crowd.open(&target, count, value).await
}

/// 10,000, or what `ulimit -n` permits.
fn clients_max() -> usize {
    open_files_max().saturating_sub(200).min(10_000)
}

/// In one turn.
const WRITES: u32 = 100;
