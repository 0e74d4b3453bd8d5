//! Bodies of HTTP/1.1: where they end, and how they go over a socket.
//!
//! Source: RFC 9112 §6 and §7.

mod decoder;
mod encoder;
mod follow;
mod inbox;
mod outbox;

pub(super) use self::{decoder::Decoder, encoder::Encoder, inbox::Inbox, outbox::Outbox};

/// How a body is delimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    /// By a length in bytes; 0 is no body.
    Length(u64),
    /// By chunks.
    Chunked,
    /// By the end of the connection, as only an answer may be.
    Close,
}

#[cfg(test)]
mod tests;
