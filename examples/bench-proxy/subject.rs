//! Someone who answers, and what was measured of him.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use hdrhistogram::Histogram;

use crate::Outcome;

pub(crate) struct Subject {
    pub(crate) name: &'static str,
    pub(crate) address: SocketAddr,
    /// The directories in `/proc` of the threads that do its work.
    threads: Vec<PathBuf>,
    pub(crate) per_second: Vec<f64>,
    /// In microseconds. Steadier than the rate where others use the processors, too.
    pub(crate) cpu_per_request: Vec<f64>,
    /// In microseconds.
    pub(crate) p99: Vec<f64>,
}

impl Subject {
    pub(crate) fn new(name: &'static str, address: SocketAddr, threads: Vec<PathBuf>) -> Self {
        Self {
            name,
            address,
            threads,
            per_second: Vec::new(),
            cpu_per_request: Vec::new(),
            p99: Vec::new(),
        }
    }

    pub(crate) fn add(&mut self, measured: &Histogram<u64>, length: Duration, cpu: Duration) {
        let requests = measured.len() as f64;
        self.per_second.push(requests / length.as_secs_f64());
        self.cpu_per_request
            .push(cpu.as_secs_f64() * 1e6 / requests);
        self.p99.push(measured.value_at_quantile(0.99) as f64);
    }

    /// How long its threads have been on a processor.
    pub(crate) fn cpu(&self) -> Outcome<Duration> {
        let mut all = Duration::ZERO;
        for thread in &self.threads {
            let text = std::fs::read_to_string(thread.join("schedstat"))?;
            let nanoseconds = text.split(' ').next().unwrap_or_default().parse()?;
            all += Duration::from_nanos(nanoseconds);
        }
        Ok(all)
    }
}

pub(crate) fn median(of: impl IntoIterator<Item = f64>) -> f64 {
    let mut sorted: Vec<f64> = of.into_iter().collect();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or_default()
}
