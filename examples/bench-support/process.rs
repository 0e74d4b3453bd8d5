//! What a process costs, as `/proc` tells it.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use super::Outcome;

/// CPU time of a process so far, all its threads, in seconds.
pub(crate) fn cpu_of(pid: u32) -> f64 {
    let threads = fs::read_dir(format!("/proc/{pid}/task"));
    let threads = threads.into_iter().flatten().flatten();
    threads.map(|thread| cpu_of_thread(&thread.path())).sum()
}

fn cpu_of_thread(path: &Path) -> f64 {
    let schedstat = fs::read_to_string(path.join("schedstat")).unwrap_or_default();
    let nanos = schedstat.split(' ').next().unwrap_or_default();
    nanos.parse::<f64>().unwrap_or(0.0) / 1e9
}

/// How busy one thread is.
pub(crate) struct Thread {
    path: PathBuf,
    begun: (Instant, f64),
}

impl Thread {
    /// The calling one, from now on.
    pub(crate) fn here() -> Outcome<Self> {
        let path = fs::canonicalize("/proc/thread-self")?;
        let begun = (Instant::now(), cpu_of_thread(&path));
        Ok(Self { path, begun })
    }

    /// From now on.
    pub(crate) fn restart(&mut self) {
        self.begun = (Instant::now(), cpu_of_thread(&self.path));
    }

    /// The part of the time, 0 to 1, in which it ran.
    pub(crate) fn busy(&self) -> f64 {
        let (since, cpu) = self.begun;
        (cpu_of_thread(&self.path) - cpu) / since.elapsed().as_secs_f64().max(1e-9)
    }
}

/// What all processors have done so far: seconds not idle, and seconds in all.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Machine {
    busy: f64,
    all: f64,
}

impl Machine {
    pub(crate) fn now() -> Self {
        let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
        let line = stat.lines().next().unwrap_or_default();
        let ticks: Vec<f64> = line
            .split_whitespace()
            .skip(1)
            .filter_map(|text| text.parse().ok())
            .collect();
        let all: f64 = ticks.iter().take(8).sum();
        let idle: f64 = ticks.iter().skip(3).take(2).sum();
        Self {
            busy: (all - idle) / TICKS_PER_SECOND,
            all: all / TICKS_PER_SECOND,
        }
    }

    /// CPU seconds since: those that were used, and those that there were.
    pub(crate) fn since(self, earlier: Self) -> (f64, f64) {
        (self.busy - earlier.busy, self.all - earlier.all)
    }
}

/// A process's proportional set size, in KiB: its own memory, with its part of what it shares.
///
/// # Errors
/// There is no such process, or it is another user's.
pub(crate) fn pss(pid: u32) -> Outcome<u64> {
    let path = format!("/proc/{pid}/smaps_rollup");
    let rollup = fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))?;
    let pss = rollup.lines().find_map(|line| line.strip_prefix("Pss:"));
    let pss = pss.ok_or("no Pss")?;
    Ok(pss.trim().trim_end_matches(" kB").parse()?)
}

/// Resident memory of a process, in KiB; 0 when it is gone.
pub(crate) fn rss(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let rss = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    rss.and_then(|rss| rss.trim().trim_end_matches(" kB").parse().ok())
        .unwrap_or(0)
}

/// Watches a process while something is measured.
pub(crate) struct Watch {
    pid: u32,
    cpu: f64,
    peak: Arc<AtomicU64>,
    over: Arc<AtomicBool>,
    sampler: std::thread::Thread,
}

/// What a process took meanwhile.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cost {
    /// Seconds.
    pub(crate) cpu: f64,
    /// The largest resident memory that was seen, in KiB.
    pub(crate) rss_peak: u64,
}

impl Watch {
    pub(crate) fn begin(pid: u32) -> Self {
        let (peak, over) = (
            Arc::new(AtomicU64::new(0)),
            Arc::new(AtomicBool::new(false)),
        );
        let (noted, told) = (Arc::clone(&peak), Arc::clone(&over));
        let sampler = std::thread::spawn(move || {
            while !told.load(Ordering::Relaxed) {
                noted.fetch_max(rss(pid), Ordering::Relaxed);
                std::thread::park_timeout(SAMPLE);
            }
        });
        Self {
            pid,
            cpu: cpu_of(pid),
            peak,
            over,
            sampler: sampler.thread().clone(),
        }
    }

    pub(crate) fn end(self) -> Cost {
        let last = rss(self.pid);
        Cost {
            cpu: cpu_of(self.pid) - self.cpu,
            rss_peak: self.peak.load(Ordering::Relaxed).max(last),
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        self.sampler.unpark();
    }
}

/// What is written on the command line of a process, for people.
pub(crate) fn name_of(pid: u32) -> String {
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    format!("{} ({pid})", name.trim())
}

/// The limit of open files, which each client needs one of.
pub(crate) fn open_files_max() -> usize {
    let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let line = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"));
    let soft = line.and_then(|line| line.split_whitespace().next());
    soft.and_then(|text| text.parse().ok())
        .unwrap_or(usize::MAX)
}

/// The processor's name, as the kernel tells it.
pub(crate) fn processor() -> String {
    let all = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = all.lines().find_map(|line| line.strip_prefix("model name"));
    let name = model.map_or("unknown processor", |name| {
        name.trim_start_matches([' ', '\t', ':'])
    });
    let cpus = std::thread::available_parallelism().map_or(0, usize::from);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    format!("{cpus} x {name}, Linux {}", kernel.trim())
}

/// Of `/proc/stat`: USER_HZ, which is 100 on every Linux that people run.
const TICKS_PER_SECOND: f64 = 100.0;
/// How often memory is looked at.
const SAMPLE: Duration = Duration::from_millis(50);
