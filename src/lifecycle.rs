//! The only place that spawns: tracks every task, drains them, and hears the signals.
//!
//! [`Tasks`] owns what runs, [`Shutdown`] says that it shall end, [`Signals`] turns what the operating system says into the
//! two. Nothing else in the house calls `tokio::spawn`, so every task has a name and an owner who waits for it.
//! [`Cores`] are the threads on which connections run, and each feed has its [`Reactor`]. [`Handover`] starts the process
//! that replaces this one, and gives it the listening sockets.

mod cores;
mod handover;
mod reactor;
mod shutdown;
mod signals;
pub mod supervisor;
mod tasks;

pub use cores::{Cores, Place};
pub use handover::{Handover, HandoverError, Inherited};
pub use reactor::Reactor;
pub use shutdown::Shutdown;
pub use signals::{Signals, Wish, Wishes};
pub use tasks::Tasks;
