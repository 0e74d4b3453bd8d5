//! What is asked for.

use crate::servers::PROXY_THREADS;

/// One row of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) name: &'static str,
    pub(crate) connections: usize,
    /// Of the request's body; 0: a GET.
    pub(crate) sent_bytes: usize,
    /// Of the answer's body.
    pub(crate) answer_bytes: usize,
    /// Each request has a connection of its own.
    pub(crate) is_fresh: bool,
    pub(crate) protocol: Protocol,
    /// How many threads, or nginx workers, there are.
    pub(crate) workers: usize,
}

/// What is spoken with the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    Http1,
    /// HTTP/1.1 over TLS.
    Tls,
    /// HTTP/2 over TLS.
    Http2 {
        /// How many requests are under way on a connection.
        streams: usize,
    },
}

const SMALL: usize = 512;

const GET: Row = Row {
    name: "get-64",
    connections: 64,
    sent_bytes: 0,
    answer_bytes: SMALL,
    is_fresh: false,
    protocol: Protocol::Http1,
    workers: PROXY_THREADS,
};

/// All there are.
pub(crate) const ROWS: [Row; 9] = [
    GET,
    Row {
        name: "get-512",
        connections: 512,
        ..GET
    },
    Row {
        name: "big-64",
        answer_bytes: 64 << 10,
        ..GET
    },
    Row {
        name: "post-64",
        sent_bytes: 1 << 10,
        ..GET
    },
    Row {
        name: "fresh-64",
        is_fresh: true,
        ..GET
    },
    Row {
        name: "tls-64",
        protocol: Protocol::Tls,
        ..GET
    },
    Row {
        name: "h2-64",
        connections: 8,
        protocol: Protocol::Http2 { streams: 8 },
        ..GET
    },
    Row {
        name: "get-64-one",
        workers: 1,
        ..GET
    },
    Row {
        name: "post-64-one",
        sent_bytes: 1 << 10,
        workers: 1,
        ..GET
    },
];

impl Row {
    /// What it is, for people.
    pub(crate) fn what(&self) -> String {
        let method = match self.sent_bytes {
            0 => "GET".to_owned(),
            bytes => format!("POST of {bytes} B"),
        };
        let connections = match self.is_fresh {
            true => format!(
                "{} clients, a connection for each request",
                self.connections
            ),
            false => format!("{} connections", self.connections),
        };
        let protocol = match self.protocol {
            Protocol::Http1 => String::new(),
            Protocol::Tls => ", TLS".to_owned(),
            Protocol::Http2 { streams } => format!(" of {streams} streams, HTTP/2 over TLS"),
        };
        let workers = match self.workers {
            1 => ", one thread or worker",
            _ => "",
        };
        format!(
            "{}: {method}, {} B answers, {connections}{protocol}{workers}",
            self.name, self.answer_bytes
        )
    }

    /// The path that is answered so.
    pub(crate) fn path(&self) -> String {
        format!("/messages/{}", self.answer_bytes)
    }
}
