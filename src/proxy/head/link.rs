//! What the reading side of a connection and its service tell each other.

use std::{
    ops::Range,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::Waker,
};

use bytes::Bytes;
use http::StatusCode;

use super::RawHead;
use crate::proxy::{answer::ClientHead, swap::mark};

/// Shared by a connection's [`HeadIo`](super::HeadIo) and whoever answers its requests.
#[derive(Debug, Default)]
pub struct Link {
    is_answering: AtomicBool,
    /// The head of the request that hyper was given last.
    head: Mutex<Option<RawHead>>,
    answer: Mutex<Answer>,
    /// Who reads on when the answer is complete.
    reader: Mutex<Option<Waker>>,
    refusal: OnceLock<Refusal>,
}

/// What goes to the client besides what hyper writes.
#[derive(Debug, Default)]
struct Answer {
    /// Interim heads, raw, one behind the other.
    interim: Vec<u8>,
    /// Instead of hyper's next head.
    head: Option<ClientHead>,
}

impl Link {
    /// Returns why the connection's last head was refused, if it was.
    pub fn refusal(&self) -> Option<Refusal> {
        self.refusal.get().copied()
    }

    /// Notes that hyper has got a request, whose head was `head`.
    pub(super) fn asked(&self, head: RawHead) {
        *self.head.lock().unwrap_or_else(PoisonError::into_inner) = Some(head);
        self.is_answering.store(true, Ordering::Release);
    }

    /// Takes the head of the request that hyper was given last.
    pub fn take_head(self: &Arc<Self>) -> Option<RawHead> {
        let mut head = self.head.lock().unwrap_or_else(PoisonError::into_inner);
        Some(head.take()?.on(Arc::clone(self)))
    }

    /// Lays down what the client gets instead of hyper's next head, which then bears the mark. `None`: hyper's own, and
    /// no interim head any more.
    pub(in crate::proxy) fn put_answer(&self, head: Option<ClientHead>) {
        let mut answer = self.answer();
        if head.is_none() {
            answer.interim = Vec::new();
        }
        answer.head = head;
    }

    /// Lays down an interim head for the client. What is too much at once is dropped, as any client may drop it.
    pub(in crate::proxy) fn put_interim(&self, head: &[u8]) {
        let interim = &mut self.answer().interim;
        if interim.len() + head.len() <= INTERIM_BYTES_MAX {
            interim.extend_from_slice(head);
        }
    }

    /// Takes the interim heads that are laid down.
    pub fn take_interim(&self) -> Option<Bytes> {
        let interim = &mut self.answer().interim;
        (!interim.is_empty()).then(|| std::mem::take(interim).into())
    }

    /// Returns where in what hyper writes the head lies that is not to be written, with ours (and the interim ones before
    /// it) if that is at its start.
    pub(super) fn take_answer(&self, written: &[u8]) -> Option<(Range<usize>, Bytes)> {
        let mut answer = self.answer();
        let head = answer.head.as_ref()?;
        let hypers = mark().find_answer(written)?;
        if hypers.start > 0 {
            return Some((hypers, Bytes::new()));
        }
        let ours = head.write(&written[hypers.clone()]);
        answer.head = None;
        if answer.interim.is_empty() {
            return Some((hypers, ours));
        }
        let mut interim = std::mem::take(&mut answer.interim);
        interim.extend_from_slice(&ours);
        Some((hypers, interim.into()))
    }

    fn answer(&self) -> MutexGuard<'_, Answer> {
        self.answer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that the answer is complete, so that the next head may be read.
    pub(crate) fn answered(&self) {
        self.is_answering.store(false, Ordering::Release);
        if let Some(reader) = self.reader().take() {
            reader.wake();
        }
    }

    /// Has `reader` woken when the answer is complete. The socket does not do that where what comes next was already
    /// read from it.
    pub(super) fn wake_when_answered(&self, reader: &Waker) {
        *self.reader() = Some(reader.clone());
    }

    fn reader(&self) -> MutexGuard<'_, Option<Waker>> {
        self.reader.lock().unwrap_or_else(PoisonError::into_inner)
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
    /// It is HTTP/2, which was not agreed on: its clients could not read an answer.
    #[error("HTTP/2 was not agreed on")]
    Preface,
}

impl Refusal {
    /// Returns the status of the answer.
    pub fn status(self) -> StatusCode {
        match self {
            Self::Bad | Self::Preface => StatusCode::BAD_REQUEST,
            Self::Connect => StatusCode::METHOD_NOT_ALLOWED,
            Self::TooSlow => StatusCode::REQUEST_TIMEOUT,
            Self::TargetTooLong => StatusCode::URI_TOO_LONG,
            Self::HeadTooLong => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
        }
    }

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

/// How many bytes of interim heads wait at most for the client.
const INTERIM_BYTES_MAX: usize = 64 << 10;
