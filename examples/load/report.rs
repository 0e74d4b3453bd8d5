//! What is told at the end.

use std::time::Duration;

use hdrhistogram::Histogram;

use crate::{
    arguments::Load,
    support::{
        crowd::{Arrival, End},
        figures::{Spread, grouped, median},
        judge::Faults,
        process::{self, Cost},
        raw::Order,
    },
};

/// What was found out.
pub(crate) struct Finding {
    pub(crate) opened_in: f64,
    /// Deliveries that there should have been.
    pub(crate) due: u64,
    /// Client by client.
    pub(crate) arrivals: Vec<Vec<Arrival>>,
    pub(crate) faults: Faults,
    /// The client with the most faults.
    pub(crate) worst: Option<(usize, Faults)>,
    pub(crate) ends: Vec<End>,
    pub(crate) strange: u64,
    pub(crate) held_up: u32,
    pub(crate) costs: Vec<(u32, Cost)>,
    pub(crate) own: Cost,
    /// CPU seconds of the machine: used, and there.
    pub(crate) machine: (f64, f64),
    pub(crate) readers: Vec<Reader>,
}

/// A thread that reads.
pub(crate) struct Reader {
    pub(crate) busy: f64,
}

/// What was asked for.
pub(crate) fn head(load: &Load) {
    let transport = if load.sse { "SSE" } else { "WebSocket" };
    let pace = match load.saturate {
        true => format!(
            "as fast as they come by {} writers of {} documents, {} ahead at most",
            load.writers, load.batch, load.window
        ),
        false => format!("{} writes/s", load.rate),
    };
    // The URL and the URI may hold passwords.
    let stream = load.url.rsplit('@').next().unwrap_or_default();
    println!(
        "sidestream {} load: {stream}, {transport}, {} clients, {} values; {}: {pace} for {} s, {} B padding, write concern {}; {}",
        env!("CARGO_PKG_VERSION"),
        load.clients,
        load.values,
        load.collection,
        load.seconds,
        load.pad,
        load.write_concern,
        process::processor(),
    );
}

pub(crate) struct Report<'a> {
    load: &'a Load,
    finding: &'a Finding,
    /// From the write to the client, in microseconds.
    latency: Histogram<u64>,
    whole: Spread,
    /// Over the raw cursor.
    added: Spread,
    first: f64,
    last: f64,
    /// From the first write to the last arrival.
    seconds: f64,
    deliveries: u64,
}

impl<'a> Report<'a> {
    pub(crate) fn new(load: &'a Load, issued: &[u32], order: &Order, finding: &'a Finding) -> Self {
        let mut latency = Histogram::new_with_max(3_600_000_000, 3).expect("valid bounds");
        let (mut whole, mut added) = (Vec::new(), Vec::new());
        let mut ends: Vec<Option<(i64, i64)>> = vec![None; issued.len()];
        let (mut deliveries, mut last_at) = (0, 0);
        for Arrival { number, micros } in finding.arrivals.iter().flatten() {
            let index = *number as usize;
            let (Some(issued), Some(raw)) = (issued.get(index), order.arrivals.get(index)) else {
                continue;
            };
            deliveries += 1;
            last_at = last_at.max(*micros);
            latency.saturating_record(u64::from(micros.saturating_sub(*issued)));
            whole.push(i64::from(*micros) - i64::from(*issued));
            // Negative where the server's cursor was served before the raw one.
            let over = i64::from(*micros) - i64::from(*raw);
            added.push(over);
            let (first, last) = ends[index].get_or_insert((over, over));
            (*first, *last) = ((*first).min(over), (*last).max(over));
        }
        let begun = issued.first().copied().unwrap_or_default();
        let of = |end: fn((i64, i64)) -> i64| {
            median(ends.iter().flatten().map(|ends| end(*ends) as f64 / 1e3))
        };
        Self {
            load,
            finding,
            latency,
            whole: Spread::of(whole),
            added: Spread::of(added),
            first: of(|ends| ends.0),
            last: of(|ends| ends.1),
            seconds: f64::from(last_at.saturating_sub(begun)) / 1e6,
            deliveries,
        }
    }

    pub(crate) fn print(&self) {
        let Finding { opened_in, due, .. } = self.finding;
        println!(
            "opened          {} clients in {opened_in:.2} s ({:.0}/s)",
            grouped(self.load.clients as u64),
            self.load.clients as f64 / opened_in.max(1e-6)
        );
        println!(
            "deliveries      {} of {} in {:.2} s: {}/s",
            grouped(self.deliveries),
            grouped(*due),
            self.seconds,
            grouped((self.deliveries as f64 / self.seconds.max(1e-6)) as u64)
        );
        self.faults();
        self.latency();
        self.costs();
        self.doubts();
    }

    fn faults(&self) {
        let Faults {
            lost,
            doubled,
            out_of_order,
            astray,
        } = self.finding.faults;
        println!(
            "exactly         {lost} lost, {doubled} doubled, {out_of_order} out of order, {astray} of another client's value"
        );
        if let Some((index, worst)) = self.finding.worst {
            println!("                worst: client {index}, {worst:?}");
        }
        let ends = &self.finding.ends;
        let mut kinds: Vec<String> = ends.iter().map(|end| format!("{end:?}")).collect();
        kinds.sort();
        kinds.dedup();
        if !ends.is_empty() {
            println!(
                "                {} sessions were ended by the server: {}",
                ends.len(),
                kinds.join(", ")
            );
        }
        if self.finding.strange > 0 {
            println!(
                "                {} messages without our mark: others write, or the stream does not show the field",
                grouped(self.finding.strange)
            );
        }
    }

    fn latency(&self) {
        println!("\n| ms | p50 | p95 | p99 | max | first client | last client |");
        println!("|---|---|---|---|---|---|---|");
        let Spread { p50, p95, p99, max } = self.whole;
        println!("| write to client | {p50:.2} | {p95:.2} | {p99:.2} | {max:.2} | | |");
        if !self.load.saturate {
            let Spread { p50, p95, p99, max } = self.added;
            let Self { first, last, .. } = self;
            println!(
                "| of it, over a raw cursor | {p50:.2} | {p95:.2} | {p99:.2} | {max:.2} | {first:.2} | {last:.2} |"
            );
        }
        println!("\nwrite to client, each row twice the one above:");
        let mut bars = Vec::new();
        for bucket in self.latency.iter_log(FIRST_BUCKET_MICROS, 2.0) {
            bars.push((
                bucket.value_iterated_to() + 1,
                bucket.count_since_last_iteration(),
            ));
        }
        let from = bars.iter().position(|(_, count)| *count > 0).unwrap_or(0);
        for (micros, count) in &bars[from.min(bars.len())..] {
            let part = *count as f64 / self.latency.len().max(1) as f64;
            let bar = "#".repeat((part * BAR_WIDTH).round() as usize);
            println!(
                "  < {:>10.3} ms {:>12}  {bar}",
                *micros as f64 / 1e3,
                grouped(*count)
            );
        }
    }

    fn costs(&self) {
        println!("\n| process | CPU s | CPU us/delivery | RSS peak MiB | PSS now MiB |");
        println!("|---|---|---|---|---|");
        let row = |name: String, cost: &Cost, pid: u32| {
            let pss = process::pss(pid).map_or("not ours to see".to_owned(), |kib| {
                format!("{:.1}", kib as f64 / 1024.0)
            });
            println!(
                "| {name} | {:.2} | {:.3} | {:.1} | {pss} |",
                cost.cpu,
                cost.cpu * 1e6 / self.deliveries.max(1) as f64,
                cost.rss_peak as f64 / 1024.0
            );
        };
        for (pid, cost) in &self.finding.costs {
            row(process::name_of(*pid), cost, *pid);
        }
        row(
            "this tool".to_owned(),
            &self.finding.own,
            std::process::id(),
        );
        let (used, there) = self.finding.machine;
        let named: f64 = self.finding.costs.iter().map(|(_, cost)| cost.cpu).sum();
        let rest = (used - named - self.finding.own.cpu).max(0.0);
        println!(
            "\nthis machine was {:.0} % busy, {:.0} % by processes that are not named here",
            used / there.max(1e-9) * 100.0,
            rest / there.max(1e-9) * 100.0
        );
    }

    /// Why the figures may be about something else than the server.
    fn doubts(&self) {
        let busiest = self
            .finding
            .readers
            .iter()
            .map(|reader| reader.busy)
            .fold(0.0, f64::max);
        println!(
            "this tool's busiest reader ran {:.0} % of the time",
            busiest * 100.0
        );
        if busiest > BUSY_MAX {
            println!(
                "DOUBT: this tool is the bottleneck. More --readers, another machine, or less load."
            );
        }
        let (used, there) = self.finding.machine;
        if used > there * MACHINE_BUSY_MAX && busiest <= BUSY_MAX {
            println!(
                "DOUBT: this machine is full. What runs here beside the server, this tool too, takes from it."
            );
        }
        if self.finding.held_up > 0 {
            println!(
                "DOUBT: MongoDB did not keep up with --rate: {} writes were held up.",
                self.finding.held_up
            );
        }
        let pace = Duration::from_secs(self.load.seconds).as_secs_f64();
        if !self.load.saturate && self.seconds > pace + BEHIND_MAX {
            println!(
                "DOUBT: the pace was not kept: {:.1} s for {pace:.0}.",
                self.seconds
            );
        }
    }
}

/// A thread that runs more than this has a queue before it.
const BUSY_MAX: f64 = 0.8;
const MACHINE_BUSY_MAX: f64 = 0.95;
const BEHIND_MAX: f64 = 2.0;
const FIRST_BUCKET_MICROS: u64 = 125;
const BAR_WIDTH: f64 = 50.0;
