//! Threads for connections, each with a reactor of its own.
//!
//! A connection is read, answered and written on one thread, with its connection to the upstream, so that no other thread
//! has to be woken in between. On two processors that forwards about a tenth more requests than one reactor whose threads
//! share all connections (`examples/bench-proxy`).

use std::cell::Cell;
use std::io;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::task::JoinHandle;

use super::{Reactor, Tasks};

thread_local! {
    static HERE: Cell<Option<usize>> = const { Cell::new(None) };
}

/// The threads. Clones are the same; with the last one they end, and whatever still runs on them.
#[derive(Clone, Debug)]
pub struct Cores {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    reactors: Vec<Reactor>,
    /// How many [`Place`]s there are on each.
    loads: Vec<AtomicUsize>,
}

impl Cores {
    /// Starts so many threads.
    ///
    /// # Errors
    /// Whatever the operating system says against a thread or a reactor.
    pub fn start(count: NonZeroUsize) -> io::Result<Self> {
        let start = |index| Reactor::start(format!("core-{index}"), move || HERE.set(Some(index)));
        let reactors = (0..count.get()).map(start).collect::<io::Result<_>>()?;
        let loads = (0..count.get()).map(|_| AtomicUsize::new(0)).collect();
        Ok(Self {
            shared: Arc::new(Shared { reactors, loads }),
        })
    }

    /// One thread for each processor.
    ///
    /// # Errors
    /// As [`Cores::start`].
    pub fn one_each() -> io::Result<Self> {
        Self::start(std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN))
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.shared.reactors.len()
    }

    /// Runs `future` as a task of `tasks` on the thread of this number, from 0 on.
    ///
    /// # Panics
    /// If there is none.
    pub fn spawn_at<F>(
        &self,
        index: usize,
        tasks: &Tasks,
        name: &'static str,
        future: F,
    ) -> JoinHandle<()>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        tasks.spawn_on(self.shared.reactors[index].handle(), name, future)
    }

    /// Takes a place: on the caller's own thread, since no other one has to be woken then, unless it has more to do than the
    /// others.
    pub fn place(&self) -> Place {
        let load = |index: usize| self.shared.loads[index].load(Ordering::Relaxed);
        let least = (0..self.count())
            .min_by_key(|index| load(*index))
            .unwrap_or(0);
        let here = Self::here().filter(|here| load(*here) <= load(least) + NEARER_BY);
        let index = here.unwrap_or(least);
        self.shared.loads[index].fetch_add(1, Ordering::Relaxed);
        Place {
            cores: self.clone(),
            index,
        }
    }

    /// Which of the threads the caller runs on; `None` on any other.
    pub fn here() -> Option<usize> {
        HERE.get()
    }
}

/// A place on one of the threads, which counts until it is dropped.
#[derive(Debug)]
pub struct Place {
    cores: Cores,
    index: usize,
}

impl Place {
    /// Which thread it is on.
    pub fn index(&self) -> usize {
        self.index
    }

    /// Whether that is the caller's.
    pub fn is_here(&self) -> bool {
        Cores::here() == Some(self.index)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.cores.shared.loads[self.index].fetch_sub(1, Ordering::Relaxed);
    }
}

/// By how many more a thread may have than another one before what comes on it goes elsewhere.
const NEARER_BY: usize = 4;

#[cfg(test)]
mod tests;
