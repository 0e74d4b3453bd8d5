//! The way back to a client while its request waits for its answer, and why some requests get none.

use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use http::StatusCode;

/// Shared by whoever writes to a client and whoever answers its request: what goes to the client before the answer.
#[derive(Debug, Default)]
pub struct Link {
    /// Interim heads, raw, one behind the other.
    interim: Mutex<Vec<u8>>,
}

impl Link {
    /// Lays down an interim head for the client. What is too much at once is dropped, as any client may drop it.
    pub(in crate::proxy) fn put_interim(&self, head: &[u8]) {
        let mut interim = self.interim();
        if interim.len() + head.len() <= INTERIM_BYTES_MAX {
            interim.extend_from_slice(head);
        }
    }

    /// Takes the interim heads that are laid down.
    pub fn take_interim(&self) -> Option<Bytes> {
        let mut interim = self.interim();
        (!interim.is_empty()).then(|| std::mem::take(&mut *interim).into())
    }

    fn interim(&self) -> MutexGuard<'_, Vec<u8>> {
        self.interim.lock().unwrap_or_else(PoisonError::into_inner)
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
