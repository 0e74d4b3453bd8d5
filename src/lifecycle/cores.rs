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
    next: AtomicUsize,
}

impl Cores {
    /// Starts so many threads.
    ///
    /// # Errors
    /// Whatever the operating system says against a thread or a reactor.
    pub fn start(count: NonZeroUsize) -> io::Result<Self> {
        let start = |index| Reactor::start(format!("core-{index}"), move || HERE.set(Some(index)));
        let reactors = (0..count.get()).map(start).collect::<io::Result<_>>()?;
        let next = AtomicUsize::new(0);
        let shared = Shared { reactors, next };
        Ok(Self {
            shared: Arc::new(shared),
        })
    }

    /// One thread for each processor.
    ///
    /// # Errors
    /// As [`Cores::start`].
    pub fn one_each() -> io::Result<Self> {
        Self::start(std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN))
    }

    /// Runs `future` as a task of `tasks` on the thread whose turn it is. It stays there.
    pub fn spawn<F>(&self, tasks: &Tasks, name: &'static str, future: F) -> JoinHandle<()>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let turn = self.shared.next.fetch_add(1, Ordering::Relaxed);
        let reactor = &self.shared.reactors[turn % self.shared.reactors.len()];
        tasks.spawn_on(reactor.handle(), name, future)
    }

    /// Which of the threads the caller runs on; `None` on any other.
    pub fn here() -> Option<usize> {
        HERE.get()
    }
}

#[cfg(test)]
mod tests;
