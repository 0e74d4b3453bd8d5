//! What the reading side of a connection and its service tell each other.

use std::sync::{
    Mutex, OnceLock, PoisonError,
    atomic::{AtomicBool, Ordering},
};

use bytes::Bytes;

use super::RawHead;

/// Shared by a connection's [`HeadIo`](super::HeadIo) and whoever answers its requests.
#[derive(Debug, Default)]
pub struct Link {
    is_answering: AtomicBool,
    /// The head of the request that hyper was given last.
    head: Mutex<Option<RawHead>>,
    refusal: OnceLock<Refusal>,
}

impl Link {
    /// Returns why the connection's last head was refused, if it was.
    pub fn refusal(&self) -> Option<Refusal> {
        self.refusal.get().copied()
    }

    /// Notes that hyper has got a request, whose head was `head`.
    pub(super) fn asked(&self, head: Bytes) {
        *self.head.lock().unwrap_or_else(PoisonError::into_inner) = Some(RawHead::new(head));
        self.is_answering.store(true, Ordering::Release);
    }

    /// Takes the head of the request that hyper was given last.
    pub fn take_head(&self) -> Option<RawHead> {
        self.head
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }

    /// Notes that the answer is complete, so that the next head may be read.
    pub(crate) fn answered(&self) {
        self.is_answering.store(false, Ordering::Release);
    }

    /// Returns whether a request waits for the end of its answer.
    pub fn is_answering(&self) -> bool {
        self.is_answering.load(Ordering::Acquire)
    }

    pub(super) fn refuse(&self, refusal: Refusal) {
        // The first one stands: nothing is read after it.
        let _ = self.refusal.set(refusal);
    }
}

/// Why a head is not read. The connection is closed after the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It could be read in two ways, or is no HTTP/1.
    #[error("the request is malformed or ambiguous")]
    Bad,
    /// It asks for a tunnel to elsewhere.
    #[error("CONNECT is not served")]
    Connect,
    /// It did not come in time.
    #[error("the request head took too long")]
    TooSlow,
    /// Its target is longer than a URI may be here.
    #[error("the request target is too long")]
    TargetTooLong,
    /// It is too long, or has too many fields.
    #[error("the request head is too long")]
    HeadTooLong,
    /// It is HTTP/2 in clear, whose clients could not read an answer.
    #[error("HTTP/2 without TLS is not served")]
    Preface,
}

impl Refusal {
    /// Returns the whole answer, raw; empty where the connection is closed without a word.
    pub fn answer(self) -> &'static [u8] {
        match self {
            Self::Bad => b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: 0\r\n\r\n",
            Self::Connect => b"HTTP/1.1 405 Method Not Allowed\r\nconnection: close\r\ncontent-length: 0\r\n\r\n",
            Self::TooSlow => b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n",
            Self::TargetTooLong => b"HTTP/1.1 414 URI Too Long\r\nconnection: close\r\ncontent-length: 0\r\n\r\n",
            Self::HeadTooLong => {
                b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
            }
            Self::Preface => b"",
        }
    }
}
