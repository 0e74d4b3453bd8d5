//! What is asked for.

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
    pub(crate) is_tls: bool,
}

const SMALL: usize = 512;

const GET: Row = Row {
    name: "get-64",
    connections: 64,
    sent_bytes: 0,
    answer_bytes: SMALL,
    is_fresh: false,
    is_tls: false,
};

/// All there are.
pub(crate) const ROWS: [Row; 6] = [
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
        is_tls: true,
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
        let tls = if self.is_tls { ", TLS" } else { "" };
        format!(
            "{}: {method}, {} B answers, {connections}{tls}",
            self.name, self.answer_bytes
        )
    }

    /// The path that is answered so.
    pub(crate) fn path(&self) -> String {
        format!("/messages/{}", self.answer_bytes)
    }
}
