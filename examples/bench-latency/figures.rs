//! From arrivals to figures.

use std::{collections::HashMap, time::Instant};

use crate::clients::Arrivals;

/// What one round of one server came to, in milliseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Figures {
    pub(crate) p50: f64,
    pub(crate) p95: f64,
    pub(crate) p99: f64,
    /// The median over events of the first client's and of the last's.
    pub(crate) first: f64,
    pub(crate) last: f64,
    /// CPU time of the server's process per delivery, in microseconds.
    pub(crate) cpu: f64,
}

impl Figures {
    /// Compares arrivals with those at the raw cursor; events that `counts` refuses are left out.
    pub(crate) fn of(
        arrivals: &Arrivals,
        raw: &HashMap<i64, Instant>,
        cpu: f64,
        counts: impl Fn(i64) -> bool,
    ) -> Self {
        let mut added = Vec::new();
        let mut ends: HashMap<i64, (f64, f64)> = HashMap::new();
        for (number, at) in arrivals.iter().flatten() {
            let (true, Some(raw)) = (counts(*number), raw.get(number)) else {
                continue;
            };
            // Negative where the server's cursor was served before the raw one.
            let late = at.saturating_duration_since(*raw).as_secs_f64();
            let early = raw.saturating_duration_since(*at).as_secs_f64();
            let ms = (late - early) * 1e3;
            added.push(ms);
            let (first, last) = ends.entry(*number).or_insert((ms, ms));
            *first = first.min(ms);
            *last = last.max(ms);
        }
        added.sort_by(f64::total_cmp);
        Self {
            p50: quantile(&added, 0.50),
            p95: quantile(&added, 0.95),
            p99: quantile(&added, 0.99),
            first: median(ends.values().map(|(first, _)| *first)),
            last: median(ends.values().map(|(_, last)| *last)),
            cpu: cpu * 1e6 / arrivals.iter().map(Vec::len).sum::<usize>().max(1) as f64,
        }
    }
}

/// The median; NaN of nothing.
pub(crate) fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut sorted: Vec<f64> = values.into_iter().collect();
    sorted.sort_by(f64::total_cmp);
    quantile(&sorted, 0.5)
}

fn quantile(sorted: &[f64], of: f64) -> f64 {
    let last = sorted.len().saturating_sub(1);
    sorted
        .get((last as f64 * of).round() as usize)
        .copied()
        .unwrap_or(f64::NAN)
}

/// CPU time of a process so far, all its threads, in seconds.
pub(crate) fn cpu_of(pid: u32) -> f64 {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task"))
        .into_iter()
        .flatten()
        .flatten();
    let nanos = threads.filter_map(|thread| {
        let schedstat = std::fs::read_to_string(thread.path().join("schedstat")).ok()?;
        schedstat.split(' ').next()?.parse::<f64>().ok()
    });
    nanos.sum::<f64>() / 1e9
}
