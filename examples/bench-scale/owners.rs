//! What it costs that everybody sees only what is his: a read filter of each user's own, against a variable.

use bson::{Document, doc};
use mongodb::options::WriteConcern;

use crate::{
    bench::{ALL, Bench, Court, MINE, OURS, PATIENCE, Row, told},
    support::{
        Outcome,
        connect::Target,
        figures::median,
        judge::Faults,
        process::{cpu_of, open_files_max},
        raw::RawCursor,
        stack::Sidestream,
        writers::Writer,
    },
};

/// Sidestream's CPU per event, for 10,000 sessions of 1,000 users: whose own `@user._id` is in their permission's read
/// filter, or who bring it as a variable.
pub(crate) async fn read_filters(bench: &Bench) -> Outcome<()> {
    // Those of both sides are clients of this process.
    let sessions = (open_files_max() / 2).saturating_sub(200).min(10_000) / USERS * USERS;
    let mut sides = [
        side(
            bench,
            "sidestream_bench_variables",
            sessions,
            Seen::ByVariable,
        )
        .await?,
        side(
            bench,
            "sidestream_bench_owners",
            sessions,
            Seen::ByReadFilter,
        )
        .await?,
    ];
    for pair in 0..=bench.pairs {
        for which in [pair % 2, 1 - pair % 2] {
            let cpu = turn(&mut sides[which]).await?;
            // The first warms up.
            if pair > 0 {
                sides[which].cpu.push(cpu);
            }
        }
    }
    let [variables, owners] = &sides;
    let ratio = median(
        owners
            .cpu
            .iter()
            .zip(&variables.cpu)
            .map(|(owners, variables)| owners / variables),
    );
    let mut faults = Faults::default();
    for side in &sides {
        faults.add(side.court.verdict(side.writer.written()));
    }
    let micros = |side: &Side| median(side.cpu.iter().copied()) * 1e6;
    Row {
        what: format!("CPU an event, {sessions} sessions of {USERS} users: a read filter of each user's own against a variable"),
        figure: format!("{ratio:.2}"),
        goal: "<= 2",
        reached: ratio <= 2.0 && faults == Faults::default(),
        restheart: "read filters are not applied to streams",
        beside: format!(
            "{:.0} us against {:.0} us an event with {} deliveries; {}",
            micros(owners),
            micros(variables),
            sessions / USERS,
            told(faults)
        ),
    }
    .print();
    Ok(())
}

/// By what an event finds its users.
#[derive(Clone, Copy, PartialEq)]
enum Seen {
    ByVariable,
    ByReadFilter,
}

struct Side {
    sidestream: Sidestream,
    court: Court,
    writer: Writer,
    cursor: RawCursor,
    cpu: Vec<f64>,
}

async fn side(bench: &Bench, database: &str, sessions: usize, seen: Seen) -> Outcome<Side> {
    let sidestream = Sidestream::start(&bench.mongo, &bench.mongod.uri, database).await?;
    let writer = bench
        .writer(database, OURS, WriteConcern::majority())
        .with_values("k", USERS);
    store(bench, database, seen).await?;
    let mut crowd = bench.crowd(&writer);
    for index in 0..sessions {
        let user = format!("k{}", index % USERS);
        let (path, query) = match seen {
            Seen::ByVariable => (MINE, Some(format!("n={user}"))),
            Seen::ByReadFilter => (ALL, None),
        };
        let target = Target::of(sidestream.address, path).with_user(&user, PASSWORD);
        crowd.open(&target, 1, |_| query.clone()).await?;
    }
    let source = bench.source(database, OURS, &writer);
    let cursor = RawCursor::open(&bench.raw, &source, bench.epoch, 0).await?;
    Ok(Side {
        sidestream,
        court: Court::new(crowd, USERS, 0),
        writer,
        cursor,
        cpu: Vec::new(),
    })
}

/// Stores the users, and the permission of their role.
async fn store(bench: &Bench, database: &str, seen: Seen) -> Outcome<()> {
    let database = bench.mongo.database(database);
    let hash = bcrypt::hash(PASSWORD, COST)?;
    let users = (0..USERS)
        .map(|number| doc! { "_id": format!("k{number}"), "password": &hash, "roles": ["owner"] });
    let stored = database.collection::<Document>("users");
    stored.insert_many(users).await?;
    let mut permission = doc! { "_id": "owners", "roles": ["owner"], "priority": 0, "predicate": "path-prefix('/messages')" };
    if seen == Seen::ByReadFilter {
        permission.insert("mongo", doc! { "readFilter": { "k": "@user._id" } });
    }
    let acl = database.collection::<Document>("acl");
    acl.insert_one(permission).await?;
    Ok(())
}

/// Sidestream's CPU per event.
async fn turn(side: &mut Side) -> Outcome<f64> {
    let begun = (side.writer.written(), side.court.crowd.events());
    let cpu = cpu_of(side.sidestream.pid);
    side.writer.paced(WRITES, 200).await?;
    let written = side.writer.written();
    let due = side.court.due(begun.0, written);
    side.court.crowd.received(begun.1 + due, PATIENCE).await;
    let cpu = cpu_of(side.sidestream.pid) - cpu;
    let order = side.cursor.order(written).await?;
    side.court.hear(&order);
    Ok(cpu / f64::from(WRITES))
}

const USERS: usize = 1000;
const PASSWORD: &str = "secret";
/// bcrypt's lowest: logins are not what is measured.
const COST: u32 = 4;
/// In one turn.
const WRITES: u32 = 400;
