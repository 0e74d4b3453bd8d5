//! What the benchmarks and the load command share.

#![allow(dead_code, reason = "each of them uses its part")]

pub(crate) mod connect;
pub(crate) mod crowd;
pub(crate) mod decode;
pub(crate) mod figures;
pub(crate) mod floor;
pub(crate) mod judge;
pub(crate) mod process;
pub(crate) mod raw;
pub(crate) mod stack;
pub(crate) mod writers;

use std::{error::Error, time::Instant};

use tokio::runtime::{Builder, Handle, Runtime};

pub(crate) type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// What all times of a run are counted from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Epoch(Instant);

impl Epoch {
    pub(crate) fn now() -> Self {
        Self(Instant::now())
    }

    /// Microseconds since. An hour fits, and a bit.
    pub(crate) fn micros(self) -> u32 {
        u32::try_from(self.0.elapsed().as_micros()).unwrap_or(u32::MAX)
    }
}

/// A runtime that is one thread.
pub(crate) fn single() -> Outcome<Runtime> {
    Ok(Builder::new_current_thread().enable_all().build()?)
}

/// A thread that does nothing but what is spawned on it.
pub(crate) fn thread() -> Outcome<Handle> {
    let runtime = single()?;
    let handle = runtime.handle().clone();
    std::thread::spawn(move || runtime.block_on(std::future::pending::<()>()));
    Ok(handle)
}
