//! Threads for connections, each with a reactor of its own.
//!
//! A connection is read, answered and written on one thread, with its connection to the upstream, so that no other thread
//! has to be woken in between. On two processors that forwards about a tenth more requests than one reactor whose threads
//! share all connections (`examples/bench-proxy`).

use std::cell::{Cell, RefCell};
use std::io;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::future::BoxFuture;
use tokio::runtime::{Builder, Handle};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::Tasks;

thread_local! {
    static HERE: Cell<Option<usize>> = const { Cell::new(None) };
    static HOME: RefCell<Option<Handle>> = const { RefCell::new(None) };
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
    /// Starts so many threads; to be called on the reactor that is their home.
    ///
    /// # Errors
    /// Whatever the operating system says against a thread or a reactor.
    pub fn start(count: NonZeroUsize) -> io::Result<Self> {
        let over = CancellationToken::new();
        let mut handles = Vec::with_capacity(count.get());
        let home = Handle::current();
        for index in 0..count.get() {
            let reactor = Builder::new_current_thread().enable_all().build()?;
            handles.push(reactor.handle().clone());
            let (over, home) = (over.clone(), home.clone());
            std::thread::Builder::new()
                .name(format!("core-{index}"))
                .spawn(move || {
                    HERE.set(Some(index));
                    HOME.set(Some(home));
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

    /// Runs `future` on the reactor that started these threads, and waits for it here. On any other thread it runs where it
    /// is. To wake a task on one of these threads from another costs a system call each time.
    ///
    /// # Cancel safety
    /// Dropping it drops the future.
    pub async fn at_home(future: BoxFuture<'static, ()>) {
        match HOME.with_borrow(Clone::clone) {
            // A panic has been logged by then; whoever waits has nothing to add.
            Some(home) => drop(AbortOnDropHandle::new(home.spawn(future)).await),
            None => future.await,
        }
    }

    /// Which of the threads the caller runs on; `None` on any other.
    pub fn here() -> Option<usize> {
        HERE.get()
    }
}

#[cfg(test)]
mod tests;
