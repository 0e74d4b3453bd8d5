//! Named tasks and those who wait for them.

use std::{future::Future, panic::AssertUnwindSafe, sync::Arc, time::Duration};

use futures_util::FutureExt;
use tokio::{runtime::Handle, task::JoinHandle};
use tokio_util::task::{TaskTracker, task_tracker::TaskTrackerToken};

use super::{Reactor, Shutdown};

/// A family of running tasks. Clones are the same family.
#[derive(Clone, Debug, Default)]
pub struct Tasks {
    own: TaskTracker,
    /// The family that this one is part of.
    above: Option<Arc<Tasks>>,
    /// Where its tasks run, if not where they are spawned.
    home: Option<Home>,
}

#[derive(Clone, Debug)]
enum Home {
    Runtime(Handle),
    Thread(Arc<Reactor>),
}

impl Tasks {
    /// Makes an empty family.
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes a family within this one: it can be drained alone, and this one is drained only when it is, too.
    pub fn child(&self) -> Self {
        Self {
            own: TaskTracker::new(),
            above: Some(Arc::new(self.clone())),
            home: self.home.clone(),
        }
    }

    /// The same family, but its tasks run on the runtime of the caller, whoever spawns them.
    ///
    /// # Panics
    /// Outside of a runtime.
    pub fn at_home(&self) -> Self {
        Self {
            home: Some(Home::Runtime(Handle::current())),
            ..self.clone()
        }
    }

    /// The same family, but its tasks run on this thread, which lives as long as a clone of what is returned.
    pub fn on(&self, thread: Arc<Reactor>) -> Self {
        Self {
            home: Some(Home::Thread(thread)),
            ..self.clone()
        }
    }

    /// Runs `future` as a task. If it panics, the log says whose fault it was.
    pub fn spawn<F>(&self, name: &'static str, future: F) -> JoinHandle<()>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let member = self.member(name);
        // The member is dropped after the future, also on a panic or an abort. Not an `async` block: one that awaits what
        // it captured has room for it twice, and this is in every session's task.
        let future = future.map(move |()| drop(member));
        match &self.home {
            None => tokio::spawn(future),
            Some(Home::Runtime(handle)) => handle.spawn(future),
            Some(Home::Thread(reactor)) => reactor.handle().spawn(future),
        }
    }

    /// Runs what `make` makes as a task, and anew whenever it panics: for what others rest on, and what begins anew without harm.
    pub fn spawn_kept<F, M>(&self, name: &'static str, make: M) -> JoinHandle<()>
    where
        F: Future<Output = ()> + Send + 'static,
        M: Fn() -> F + Send + 'static,
    {
        self.spawn(name, async move {
            // What was half done is thrown away with its future.
            while AssertUnwindSafe(make()).catch_unwind().await.is_err() {
                tracing::error!(task.name = name, "task {name} panicked, it begins anew");
                tokio::time::sleep(ANEW_PAUSE).await;
            }
        })
    }

    /// Runs `future` as a task without which the process is of no use: should it panic, the process ends in order, and says so.
    pub fn spawn_vital<F>(
        &self,
        name: &'static str,
        shutdown: &Shutdown,
        future: F,
    ) -> JoinHandle<()>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let shutdown = shutdown.clone();
        self.spawn(name, async move {
            if AssertUnwindSafe(future).catch_unwind().await.is_err() {
                tracing::error!(task.name = name, "task {name} panicked, the process ends");
                shutdown.fail(name);
            }
        })
    }

    /// Runs `future` as a task of another reactor.
    pub(super) fn spawn_on<F>(
        &self,
        reactor: &Handle,
        name: &'static str,
        future: F,
    ) -> JoinHandle<()>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let member = self.member(name);
        reactor.spawn(future.map(move |()| drop(member)))
    }

    /// Runs `work` on a thread where it may block.
    pub fn spawn_blocking<W, T>(&self, name: &'static str, work: W) -> JoinHandle<T>
    where
        W: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        let member = self.member(name);
        tokio::task::spawn_blocking(move || {
            let _member = member;
            work()
        })
    }

    /// Returns how many tasks run, those of families within this one included.
    pub fn count(&self) -> usize {
        self.own.len()
    }

    /// Waits until all tasks have ended, but no longer than `within`; says whether they have.
    ///
    /// # Cancel safety
    /// Safe.
    pub async fn drained(&self, within: Duration) -> bool {
        self.own.close();
        tokio::time::timeout(within, self.own.wait()).await.is_ok()
    }

    fn member(&self, name: &'static str) -> Member {
        Member {
            name,
            _counted: Counted::in_family(self),
        }
    }
}

/// Keeps a task counted for as long as it lives.
struct Member {
    name: &'static str,
    _counted: Counted,
}

impl Drop for Member {
    fn drop(&mut self) {
        if std::thread::panicking() {
            tracing::error!(task.name = self.name, "task {} panicked", self.name);
        }
    }
}

struct Counted {
    _own: TaskTrackerToken,
    _above: Option<Box<Counted>>,
}

impl Counted {
    fn in_family(tasks: &Tasks) -> Self {
        Self {
            _own: tasks.own.token(),
            _above: tasks
                .above
                .as_deref()
                .map(|above| Box::new(Self::in_family(above))),
        }
    }
}

/// Before a task that panicked begins anew: one that always does must not be all that the process does.
const ANEW_PAUSE: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests;
