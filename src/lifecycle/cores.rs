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

use tokio::runtime::{Builder, Handle};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::Tasks;

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
    handles: Vec<Handle>,
    next: AtomicUsize,
    over: CancellationToken,
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.over.cancel();
    }
}

impl Cores {
    /// Starts so many threads.
    ///
    /// # Errors
    /// Whatever the operating system says against a thread or a reactor.
    pub fn start(count: NonZeroUsize) -> io::Result<Self> {
        let over = CancellationToken::new();
        let mut handles = Vec::with_capacity(count.get());
        for index in 0..count.get() {
            let reactor = Builder::new_current_thread().enable_all().build()?;
            handles.push(reactor.handle().clone());
            let over = over.clone();
            std::thread::Builder::new()
                .name(format!("core-{index}"))
                .spawn(move || {
                    HERE.set(Some(index));
                    reactor.block_on(over.cancelled());
                })?;
        }
        let next = AtomicUsize::new(0);
        let shared = Shared {
            handles,
            next,
            over,
        };
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
        let handle = &self.shared.handles[turn % self.shared.handles.len()];
        tasks.spawn_on(handle, name, future)
    }

    /// Which of the threads the caller runs on; `None` on any other.
    pub fn here() -> Option<usize> {
        HERE.get()
    }
}

#[cfg(test)]
mod tests;
