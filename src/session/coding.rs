//! How a body is encoded on its way: not at all, or compressed and flushed frame by frame.
//!
//! Each frame is compressed alone ([`deflate`]): blocks that look at nothing before them, joined, are one valid deflate
//! stream. So a session has no compressor, and the compressed frame is the same for every session. The thread remembers the
//! last few, so that a fan-out compresses once. A session keeps a checksum, and the plain frames of the batch in hand until
//! they are written.
//!
//! Source: RFC 1952 section 2.3 (gzip's frame).

use std::cell::RefCell;

use bytes::{Bytes, BytesMut};
use flate2::Crc;

use crate::{
    delivery::Run,
    wire::deflate::{self, Window},
};

/// The content coding of a response body.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ContentCoding {
    /// None.
    #[default]
    Identity,
    /// RFC 1952.
    Gzip,
    /// Deflate without zlib's head and checksum, as RESTHeart sends it (RFC 9110 means zlib; clients take both).
    Deflate,
}

/// The encoder of one body.
#[derive(Debug)]
pub(super) enum Coding {
    Identity,
    Deflate,
    Gzip(Gzip),
}

#[derive(Debug)]
pub(super) struct Gzip {
    /// Whether gzip's head has been put before a frame.
    is_begun: bool,
    /// Over all plain bytes that were written, and those whose fate is sealed.
    checksum: Crc,
    /// The plain runs of the batch in hand: what of it is dropped unwritten must not be summed.
    in_hand: Vec<Bytes>,
}

impl Coding {
    pub(super) fn new(coding: ContentCoding) -> Self {
        match coding {
            ContentCoding::Identity => Self::Identity,
            ContentCoding::Deflate => Self::Deflate,
            ContentCoding::Gzip => {
                let (checksum, in_hand) = (Crc::new(), Vec::new());
                Self::Gzip(Gzip {
                    is_begun: false,
                    checksum,
                    in_hand,
                })
            }
        }
    }

    /// Returns what goes before the first frame of the body.
    pub(super) fn head(&mut self) -> Bytes {
        match self {
            Self::Identity | Self::Deflate => Bytes::new(),
            Self::Gzip(gzip) => {
                debug_assert!(!gzip.is_begun, "a body has one head");
                gzip.is_begun = true;
                Bytes::from_static(&GZIP_HEAD)
            }
        }
    }

    /// Encodes a batch in place.
    pub(super) fn encode(&mut self, runs: &mut [Run]) {
        match self {
            Self::Identity => return,
            Self::Deflate => (),
            Self::Gzip(gzip) => {
                let plain = runs.iter().map(|run| run.bytes.clone());
                gzip.in_hand.extend(plain);
            }
        }
        for run in runs {
            run.bytes = compressed(&run.bytes);
        }
    }

    /// Of the batch that was last encoded only the first `count` runs are, or will be, written.
    pub(super) fn keep(&mut self, count: usize) {
        match self {
            Self::Identity | Self::Deflate => (),
            Self::Gzip(gzip) => {
                for frame in gzip.in_hand.iter().take(count) {
                    gzip.checksum.update(frame);
                }
                gzip.in_hand = Vec::new();
            }
        }
    }

    /// Encodes bytes that will be written in any case, while no batch is in hand.
    pub(super) fn encode_now(&mut self, plain: &'static [u8]) -> Bytes {
        match self {
            Self::Identity => Bytes::from_static(plain),
            Self::Deflate => compressed(&Bytes::from_static(plain)),
            Self::Gzip(gzip) => {
                debug_assert!(gzip.in_hand.is_empty(), "a comment is for an idle body");
                gzip.checksum.update(plain);
                compressed(&Bytes::from_static(plain))
            }
        }
    }

    /// Encodes the last bytes of the body, and its end.
    pub(super) fn finish(&mut self, plain: &[u8]) -> Bytes {
        let mut encoded = BytesMut::new();
        match self {
            Self::Identity => encoded.extend_from_slice(plain),
            Self::Deflate => {
                encoded.extend_from_slice(&deflate(plain));
                encoded.extend_from_slice(&LAST_BLOCK);
            }
            Self::Gzip(gzip) => {
                debug_assert!(gzip.is_begun, "a body begins before it ends");
                gzip.checksum.update(plain);
                encoded.extend_from_slice(&deflate(plain));
                encoded.extend_from_slice(&LAST_BLOCK);
                encoded.extend_from_slice(&gzip.checksum.sum().to_le_bytes());
                encoded.extend_from_slice(&gzip.checksum.amount().to_le_bytes());
            }
        }
        encoded.freeze()
    }
}

/// Compresses one frame, or remembers how it was compressed for another session.
fn compressed(frame: &Bytes) -> Bytes {
    if frame.len() > REMEMBERED_BYTES_MAX {
        return deflate(frame);
    }
    REMEMBERED.with_borrow_mut(|remembered| {
        if let Some(known) = remembered.find(frame) {
            return known;
        }
        let result = deflate(frame);
        remembered.put(frame.clone(), result.clone());
        result
    })
}

/// Compresses `plain` into deflate blocks that stand alone and end on a byte.
fn deflate(plain: &[u8]) -> Bytes {
    deflate::with_blocks(plain, Window::Full, Bytes::copy_from_slice)
}

/// The frames that this thread compressed last, by identity: the same bytes in memory.
struct Remembered {
    frames: [(Bytes, Bytes); REMEMBERED_FRAMES],
    /// Where the next one goes.
    next: usize,
}

impl Remembered {
    fn find(&self, frame: &Bytes) -> Option<Bytes> {
        // The remembered handle keeps the memory alive, so an equal address is the same frame.
        let same = |known: &&(Bytes, Bytes)| {
            known.0.as_ptr() == frame.as_ptr() && known.0.len() == frame.len()
        };
        self.frames.iter().find(same).map(|known| known.1.clone())
    }

    fn put(&mut self, frame: Bytes, result: Bytes) {
        self.frames[self.next] = (frame, result);
        self.next = (self.next + 1) % REMEMBERED_FRAMES;
    }
}

thread_local! {
    static REMEMBERED: RefCell<Remembered> = const {
        RefCell::new(Remembered { frames: [const { (Bytes::new(), Bytes::new()) }; REMEMBERED_FRAMES], next: 0 })
    };
}

/// Gzip's head: deflate, no name, no time, unknown system.
const GZIP_HEAD: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];

/// An empty block of deflate that is marked as the last.
const LAST_BLOCK: [u8; 2] = [3, 0];

/// How many compressed frames a thread remembers: a few batches of different streams at once.
const REMEMBERED_FRAMES: usize = 64;

/// The largest frame that is remembered. With their number this bounds what a thread holds: 4 MiB, and what they became.
const REMEMBERED_BYTES_MAX: usize = 64 * 1024;

#[cfg(test)]
mod tests;
