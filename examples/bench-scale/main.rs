//! What the engine costs at scale: the rows of the table that `docs/measuring.md` explains, each beside its goal.
//!
//! `cargo build --release --bin sidestream && cargo run --release --example bench-scale -- [pairs] [ROW ...]`, with the rows
//! `cursors`, `writes`, `values`, `owners`, `saturated`, `slow` and `storm`; all of them if none is named.
//!
//! It starts everything itself: MongoDB (as the tests find it), the real binary, and the floor where there is one (a stub
//! in a process of its own). What is compared takes turns within one run, ten times, and the ratio told is the
//! median of the pairs' ratios. Each client must get each of its events once and in order; anything else is told.

#[path = "../bench-support/support.rs"]
mod support;

mod bench;
mod owners;
mod saturated;
mod slow;
mod storm;
mod values;

use bench::Bench;
use support::{Outcome, floor, process, single};

fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let runtime = single()?;
    if let [role, uri, database, collection, at_once] = &*arguments
        && role == floor::ROLE
    {
        return runtime.block_on(floor::serve(uri, database, collection, at_once.parse()?));
    }
    let (pairs, wanted) = match arguments.first().and_then(|text| text.parse().ok()) {
        Some(pairs) => (pairs, &arguments[1..]),
        None => (PAIRS, &arguments[..]),
    };
    runtime.block_on(measure(pairs, wanted))
}

async fn measure(pairs: usize, wanted: &[String]) -> Outcome<()> {
    if let Some(unknown) = wanted.iter().find(|row| !ROWS.contains(&row.as_str())) {
        return Err(format!("no row {unknown}; there are {}", ROWS.join(", ")).into());
    }
    let bench = Bench::start(pairs.max(1)).await?;
    println!(
        "sidestream {} bench-scale: {pairs} pairs, 128 B padding; {}; {}; ulimit -n {}",
        env!("CARGO_PKG_VERSION"),
        process::processor(),
        bench.mongod.title,
        process::open_files_max(),
    );
    println!("\n| what | figure | goal | | RESTHeart 9.7.2 | beside it |");
    println!("|---|---|---|---|---|---|");
    for row in ROWS {
        if !wanted.is_empty() && !wanted.iter().any(|it| it == row) {
            continue;
        }
        match row {
            "cursors" => values::cursors(&bench).await?,
            "writes" => values::writes(&bench).await?,
            "values" => values::latency(&bench).await?,
            "owners" => owners::read_filters(&bench).await?,
            "saturated" => {
                saturated::fan_out(&bench, 100).await?;
                saturated::fan_out(&bench, 1000).await?;
            }
            "slow" => slow::reader(&bench).await?,
            _ => {
                storm::reconnect(&bench, storm::Kind::Remembered).await?;
                storm::reconnect(&bench, storm::Kind::Restarted).await?;
            }
        }
    }
    println!(
        "\nThe processors were {:.0} % busy all in all.",
        bench.busy() * 100.0
    );
    Ok(())
}

const ROWS: [&str; 7] = [
    "cursors",
    "writes",
    "values",
    "owners",
    "saturated",
    "slow",
    "storm",
];

/// Pairs of everything that is a ratio near one.
const PAIRS: usize = 10;
