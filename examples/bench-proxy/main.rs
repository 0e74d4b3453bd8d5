//! Measures forwarding: our listener and forwarder against nginx, before the same upstream, in interleaved rounds.
//!
//! `cargo run --release --example bench-proxy -- [rounds] [seconds] [ROW ...]`, with the rows that `row.rs` lists; all of them if none
//! is named. Everything runs on loopback, load and upstream in this process on threads of their own. Without nginx on the
//! PATH only our own figures are printed.

mod load;
mod nginx;
mod row;
mod servers;
mod subject;

use std::{error::Error, time::Duration};

use tokio::runtime::Runtime;

use load::load;
use nginx::Nginx;
use row::{Protocol, ROWS, Row};
use servers::{
    Certificate, Ours, PROXY_THREAD, PROXY_THREADS, own_threads, runtime, start_upstream,
};
use subject::{Subject, median};

/// As the binary has it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

const ROUNDS: usize = 20;
const SECONDS: u64 = 2;

fn main() -> Outcome<()> {
    let mut arguments = std::env::args().skip(1).peekable();
    let rounds = arguments.next_if(|text| text.parse::<usize>().is_ok());
    let seconds = arguments.next_if(|text| text.parse::<u64>().is_ok());
    let rounds = rounds.map_or(Ok(ROUNDS), |text| text.parse())?.max(1);
    let length = Duration::from_secs(seconds.map_or(Ok(SECONDS), |text| text.parse())?);
    let named: Vec<String> = arguments.collect();
    if let Some(unknown) = named
        .iter()
        .find(|name| ROWS.iter().all(|row| row.name != *name))
    {
        let rows: Vec<&str> = ROWS.iter().map(|row| row.name).collect();
        return Err(format!("no row {unknown}; there are {}", rows.join(", ")).into());
    }
    let (upstream_threads, proxy_threads, load_threads) = (
        runtime("upstream", 1)?,
        runtime(PROXY_THREAD, PROXY_THREADS)?,
        runtime("load", 1)?,
    );
    let certificate = Certificate::make()?;
    let upstream = upstream_threads.block_on(start_upstream(&upstream_threads))?;
    let is_asked = |row: &Row| named.is_empty() || named.iter().any(|name| name == row.name);
    println!(
        "{rounds} rounds of {length:?}, {PROXY_THREADS} threads and {PROXY_THREADS} nginx workers where no other number is named, {} CPUs; \
         sidestream {}, {}\n",
        std::thread::available_parallelism()?,
        env!("CARGO_PKG_VERSION"),
        nginx::version().as_deref().unwrap_or("no nginx found"),
    );
    println!("| row | who | requests/s | p99, us | CPU, us a request |\n|---|---|---|---|---|");
    let mut servers: Option<(usize, Ours, Option<Nginx>)> = None;
    for row in ROWS.into_iter().filter(is_asked) {
        let (_, ours, nginx) = match servers.take_if(|(workers, ..)| *workers == row.workers) {
            Some(running) => servers.insert(running),
            None => servers.insert((
                row.workers,
                Ours::start(row.workers, &proxy_threads, upstream, &certificate)?,
                Nginx::start(row.workers, upstream, &certificate)?,
            )),
        };
        let address = ours.address(row.protocol);
        let mut subjects = vec![Subject::new(
            "sidestream",
            address,
            own_threads(PROXY_THREAD)?,
        )];
        if let Some(nginx) = nginx {
            let address = nginx.address(row.protocol);
            subjects.push(Subject::new("nginx", address, nginx.workers()?));
        }
        if row.protocol == Protocol::Http1 {
            subjects.push(Subject::new("upstream", upstream, Vec::new()));
        }
        measure(
            &load_threads,
            row,
            &mut subjects,
            &certificate,
            (rounds, length),
        )?;
        print(row, &subjects, nginx.is_some());
    }
    Ok(())
}

fn measure(
    threads: &Runtime,
    row: Row,
    subjects: &mut [Subject],
    certificate: &Certificate,
    (rounds, length): (usize, Duration),
) -> Outcome<()> {
    for round in 0..=rounds {
        for subject in subjects.iter_mut() {
            let cpu_before = subject.cpu()?;
            let loading = load(threads, subject.address, row, certificate, length);
            let measured = threads.block_on(loading)?;
            // The first round warms up.
            if round > 0 {
                let cpu = subject.cpu()? - cpu_before;
                subject.add(&measured, length, cpu);
            }
        }
    }
    Ok(())
}

/// Medians; and the ratios by rounds, since what else runs on the machine changes from round to round.
fn print(row: Row, subjects: &[Subject], is_compared: bool) {
    println!("| {} | | | | |", row.what());
    for subject in subjects {
        let medians = [&subject.per_second, &subject.p99, &subject.cpu_per_request];
        let [per_second, p99, cpu] = medians.map(|of| median(of.iter().copied()));
        println!(
            "| | {} | {per_second:.0} | {p99:.0} | {cpu:.1} |",
            subject.name
        );
    }
    if !is_compared {
        return;
    }
    let ratio = |of: fn(&Subject) -> &Vec<f64>| {
        let pairs = of(&subjects[0]).iter().zip(of(&subjects[1]));
        median(pairs.map(|(ours, theirs)| ours / theirs))
    };
    println!(
        "| | sidestream / nginx, median of the rounds | **{:.3}** | {:.2} | {:.2} |",
        ratio(|subject| &subject.per_second),
        ratio(|subject| &subject.p99),
        ratio(|subject| &subject.cpu_per_request),
    );
}
