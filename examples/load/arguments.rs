//! What the command is told.

use clap::{Args, Parser};

/// Loads a stream and tells exactly what came of it. Its documents are deleted at the end.
#[derive(Debug, Parser)]
#[command(name = "load")]
pub(crate) struct Arguments {
    /// Let a faulty server drop, double and swap known events, and see whether each is told.
    #[arg(long, conflicts_with = "Load")]
    pub(crate) self_test: bool,
    #[command(flatten)]
    pub(crate) load: Option<Load>,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct Load {
    /// The stream, as ws://user:password@host:port/path; wss, http and https do as well.
    #[arg(long)]
    pub(crate) url: String,
    /// The MongoDB behind it, to write to. The user needs to insert, to delete and to watch.
    #[arg(long)]
    pub(crate) mongodb: String,
    /// DATABASE.COLLECTION that the stream is about.
    #[arg(long)]
    pub(crate) collection: String,
    /// How many clients listen.
    #[arg(long, default_value_t = 100)]
    pub(crate) clients: usize,
    /// How many different values they bring, and the documents have: k0, k1 and so on.
    #[arg(long, default_value_t = 1)]
    pub(crate) values: usize,
    /// The query parameter that brings the value, with more values than one.
    #[arg(long, default_value = "n")]
    pub(crate) parameter: String,
    /// The field of a document that the stream compares with it.
    #[arg(long, default_value = "k")]
    pub(crate) field: String,
    /// Documents a second.
    #[arg(long, default_value_t = 50, conflicts_with = "saturate", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) rate: u32,
    /// Write as fast as the client that is furthest behind permits.
    #[arg(long)]
    pub(crate) saturate: bool,
    /// How long.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub(crate) seconds: u64,
    /// Of the inserts: majority, or a number of nodes. With 1, latency is MongoDB's: up to a journal flush, 100 ms.
    #[arg(long, default_value = "majority")]
    pub(crate) write_concern: String,
    /// Server-Sent Events instead of WebSockets.
    #[arg(long)]
    pub(crate) sse: bool,
    /// Processes of this machine whose CPU and memory are told, with commas between.
    #[arg(long, value_delimiter = ',')]
    pub(crate) pids: Vec<u32>,
    /// Bytes of padding in a document.
    #[arg(long, default_value_t = 128)]
    pub(crate) pad: usize,
    /// Threads of this tool that read.
    #[arg(long, default_value_t = 1)]
    pub(crate) readers: usize,
    /// Clients that connect at a time.
    #[arg(long, default_value_t = 64)]
    pub(crate) at_once: usize,
    /// Seconds between the last client's yes and the first write. Sidestream needs none.
    #[arg(long, default_value_t = 0.0)]
    pub(crate) settle: f64,
    /// With --saturate: inserts at a time.
    #[arg(long, default_value_t = 4)]
    pub(crate) writers: usize,
    /// With --saturate: documents in an insert.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) batch: u32,
    /// With --saturate: events on their way to the client that is furthest behind. Above limits.outbox it is closed.
    #[arg(long, default_value_t = 1500)]
    pub(crate) window: u32,
}
