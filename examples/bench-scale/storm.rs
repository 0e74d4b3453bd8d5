//! A thousand clients that come back at once, while writes go on.

use std::{
    net::{SocketAddr, TcpListener},
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use mongodb::options::WriteConcern;

use crate::{
    bench::{ALL, Bench, OURS, PATIENCE, Row, told},
    support::{
        Outcome,
        connect::Target,
        crowd::Crowd,
        figures::median,
        judge::{Faults, Judge, Share},
        process::cpu_of,
        raw::RawCursor,
        stack::{Setup, Sidestream},
        writers::Writer,
    },
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The clients lost their connections, Sidestream lives: it knows their password.
    Remembered,
    /// Sidestream was killed and started: the password is to be hashed again.
    Restarted,
}

/// What came of one storm.
struct Storm {
    /// Until the last client had its 101, in seconds.
    all_in: f64,
    /// Until the last had got an event.
    all_heard: f64,
    sent_away: u64,
    cpu: f64,
    deaf: usize,
    faults: Faults,
}

pub(crate) async fn reconnect(bench: &Bench, kind: Kind) -> Outcome<()> {
    // A port that stays the same: free a moment ago, and ours from the first start on.
    let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let setup = Setup {
        listen: SocketAddr::from(([127, 0, 0, 1], port)),
        password_cost: PASSWORD_COST,
        ..Setup::default()
    };
    let mut sidestream =
        Sidestream::start_with(&bench.mongo, &bench.mongod.uri, DATABASE, &setup).await?;
    let mut storms = Vec::new();
    for _ in 0..STORMS {
        let storm;
        (sidestream, storm) = once(bench, kind, sidestream).await?;
        storms.push(storm);
    }
    let seconds = median(storms.iter().map(|storm| storm.all_heard));
    let deaf: usize = storms.iter().map(|storm| storm.deaf).sum();
    let mut faults = Faults::default();
    storms.iter().for_each(|storm| faults.add(storm.faults));
    let (what, goal, is_in_time) = match kind {
        Kind::Remembered => (
            "passwords remembered",
            "< 1 s; all live, none deaf",
            seconds < 1.0,
        ),
        Kind::Restarted => (
            "Sidestream restarted, one user",
            "the time of the password check; all live, none deaf",
            seconds < 1.0 + PASSWORD_SECONDS_MAX,
        ),
    };
    Row {
        what: format!("{CLIENTS} clients reconnect at once while writes go on: {what}"),
        figure: format!("all live after {seconds:.2} s, {deaf} deaf"),
        goal,
        reached: is_in_time && deaf == 0 && faults == Faults::default(),
        restheart: "25 to 56 % never hear anything again",
        beside: format!(
            "last 101 after {:.2} s; {} sent away to try again; CPU {:.2} s; {STORMS} storms; {}",
            median(storms.iter().map(|storm| storm.all_in)),
            median(storms.iter().map(|storm| storm.sent_away as f64)),
            median(storms.iter().map(|storm| storm.cpu)),
            told(faults),
        ),
    }
    .print();
    Ok(())
}

async fn once(bench: &Bench, kind: Kind, sidestream: Sidestream) -> Outcome<(Sidestream, Storm)> {
    let target = Target::of(sidestream.address, ALL);
    let mut writer = bench.writer(DATABASE, OURS, WriteConcern::majority());
    let mut crowd = bench.crowd(&writer);
    crowd.open(&target, CLIENTS, |_| None).await?;
    let source = bench.source(DATABASE, OURS, &writer);
    let cursor = RawCursor::open(&bench.raw, &source, bench.epoch, 0).await?;
    writer.paced(10, WRITES_PER_SECOND).await?;
    let stop = AtomicBool::new(false);
    let storming = async {
        let begun = bench.epoch.micros();
        crowd.leave(0);
        let (cpu, known) = (cpu_of(sidestream.pid), sidestream.pid);
        let again = async {
            match kind {
                Kind::Remembered => Ok(sidestream),
                // On a thread of its own: whoever writes and connects goes on meanwhile.
                Kind::Restarted => tokio::task::spawn_blocking(|| sidestream.restart()).await?,
            }
        };
        let (sidestream, sent_away) = tokio::join!(again, crowd.storm(&target, CLIENTS, PATIENCE));
        let (sidestream, sent_away) = (sidestream?, sent_away?);
        let cpu = if sidestream.pid == known { cpu } else { 0.0 };
        let until = Instant::now() + PATIENCE;
        while crowd.members.iter().any(|member| member.events() == 0) && Instant::now() < until {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        stop.store(true, Ordering::Relaxed);
        let cpu = cpu_of(sidestream.pid) - cpu;
        Outcome::Ok((sidestream, begun, sent_away, cpu))
    };
    let (stormed, written) = tokio::join!(storming, writer.until(&stop, WRITES_PER_SECOND));
    written?;
    let (sidestream, begun, sent_away, cpu) = stormed?;
    // Everybody must get these, too.
    writer.paced(20, WRITES_PER_SECOND).await?;
    let storm = judge(&crowd, &writer, &cursor, begun).await?;
    Ok((
        sidestream,
        Storm {
            sent_away,
            cpu,
            ..storm
        },
    ))
}

/// Each client must get whatever was written after its 101, and what of the earlier it got is its luck.
async fn judge(crowd: &Crowd, writer: &Writer, cursor: &RawCursor, begun: u32) -> Outcome<Storm> {
    let written = writer.written();
    let due = crowd.members.iter().map(|member| {
        let first = first_after(writer.issued(), member.live_at());
        u64::from(written - first)
    });
    crowd.received(due.sum(), Duration::from_secs(3)).await;
    // Those above may have been reached by luck, with some still on their way.
    tokio::time::sleep(Duration::from_millis(300)).await;
    let order = cursor.order(written).await?;
    let (mut all_in, mut all_heard, mut deaf, mut faults) = (0, 0, 0, Faults::default());
    for member in &crowd.members {
        let arrivals = member.take();
        let mut judge = Judge::new(Share::ALL, first_after(writer.issued(), member.live_at()));
        judge.hear(&arrivals, &order.places);
        faults.add(judge.verdict(written));
        all_in = all_in.max(member.live_at() - begun);
        match arrivals.first() {
            Some(arrival) => all_heard = all_heard.max(arrival.micros - begun),
            None => deaf += 1,
        }
        deaf += usize::from(member.end().is_some());
    }
    Ok(Storm {
        all_in: f64::from(all_in) / 1e6,
        all_heard: f64::from(all_heard) / 1e6,
        sent_away: 0,
        cpu: 0.0,
        deaf,
        faults,
    })
}

/// The first event that was written after `micros`.
fn first_after(issued: &[u32], micros: u32) -> u32 {
    issued.partition_point(|issued| *issued <= micros) as u32
}

const DATABASE: &str = "sidestream_bench_storm";
const CLIENTS: usize = 1000;
const STORMS: usize = 5;
const WRITES_PER_SECOND: u32 = 20;
/// RESTHeart's own.
const PASSWORD_COST: u32 = 12;
/// What one check of that cost may take on a busy machine.
const PASSWORD_SECONDS_MAX: f64 = 0.5;
