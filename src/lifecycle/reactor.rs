//! A thread with a reactor of its own.

use std::io;

use tokio::runtime::{Builder, Handle};
use tokio_util::sync::{CancellationToken, DropGuard};

/// A thread that does nothing but what is spawned on it. It ends when this handle is dropped, and whatever still runs on it.
///
/// Tasks that wake each other all the time belong on one: to wake a task on another thread costs a system call, and that
/// thread's time to get up.
#[derive(Debug)]
pub struct Reactor {
    handle: Handle,
    _over: DropGuard,
}

impl Reactor {
    /// Starts the thread; `first` runs on it before anything else.
    ///
    /// # Errors
    /// Whatever the operating system says against a thread or a reactor.
    pub fn start(name: String, first: impl FnOnce() + Send + 'static) -> io::Result<Self> {
        let over = CancellationToken::new();
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let cancelled = over.clone();
        std::thread::Builder::new().name(name).spawn(move || {
            first();
            runtime.block_on(cancelled.cancelled());
        })?;
        Ok(Self {
            handle,
            _over: over.drop_guard(),
        })
    }

    /// Runs `work` here, but what it connects and spawns belongs to this reactor.
    pub fn within<T>(&self, work: impl FnOnce() -> T) -> T {
        let _entered = self.handle.enter();
        work()
    }

    pub(super) fn handle(&self) -> &Handle {
        &self.handle
    }
}
