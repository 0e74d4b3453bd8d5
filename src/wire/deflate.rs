//! Deflate in pieces that stand alone.
//!
//! A compressor's state is some 300 KiB, too much for a session. So each piece is compressed by a compressor of the thread's,
//! which looks at nothing before it, and ends with a sync flush, which ends on a byte. What this costs is compression across
//! pieces; what it gains, besides memory, is that the result is the same for every receiver: a frame is compressed once for
//! all of a group and its bytes are shared, as those of a plain one are.
//!
//! Source: RFC 1951 section 3.2.3 (blocks), RFC 7692 section 7.2.1 (a message).

#[cfg(test)]
mod tests;

use std::cell::RefCell;

use flate2::{Compress, Compression, FlushCompress};

/// How far back a compressed piece may look. There are two only, since each is a rendering of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Window {
    /// 32 KiB, all that deflate has.
    Full,
    /// 512 bytes, for clients that have no room for more.
    Small,
}

impl Window {
    /// Returns the logarithm of its size.
    pub const fn bits(self) -> u8 {
        match self {
            Self::Full => 15,
            Self::Small => 9,
        }
    }
}

/// Shows `plain` to `take`, compressed into blocks that stand alone and end with an empty one ([`EMPTY_BLOCK`]).
pub fn with_blocks<T>(plain: &[u8], window: Window, take: impl FnOnce(&[u8]) -> T) -> T {
    let compressor = match window {
        Window::Full => &FULL,
        Window::Small => &SMALL,
    };
    compressor.with_borrow_mut(|compressor| take(compressor.compress(plain)))
}

/// Shows `take` what a compressed message of `plain` bears. `None`: it is better sent as it is.
pub fn with_payload<T>(plain: &[u8], window: Window, take: impl FnOnce(Option<&[u8]>) -> T) -> T {
    if plain.len() < COMPRESSED_BYTES_MIN {
        return take(None);
    }
    with_blocks(plain, window, |blocks| {
        let payload = blocks.strip_suffix(&EMPTY_BLOCK);
        take(payload.filter(|payload| payload.len() < plain.len()))
    })
}

struct Compressor {
    state: Compress,
    out: Vec<u8>,
}

impl Compressor {
    fn new(window: Window) -> Self {
        let level = Compression::new(LEVEL);
        Self {
            state: Compress::new_with_window_bits(level, false, window.bits()),
            out: Vec::new(),
        }
    }

    fn compress(&mut self, plain: &[u8]) -> &[u8] {
        if self.out.capacity() > OUT_BYTES_KEPT {
            self.out = Vec::new();
        }
        self.out.clear();
        self.state.reset();
        // So much that one round is enough, also for what cannot be compressed: a flush that is cut by the end of the room
        // is begun anew.
        self.out.reserve(plain.len() + plain.len() / 8 + 64);
        loop {
            let consumed = self.state.total_in() as usize;
            self.state
                .compress_vec(&plain[consumed..], &mut self.out, FlushCompress::Sync)
                .expect("invariant: a compressor that was reset is in no wrong state");
            let is_consumed = self.state.total_in() as usize == plain.len();
            // Room left over means that the flush is complete.
            if is_consumed && self.out.len() < self.out.capacity() {
                return &self.out;
            }
            self.out.reserve(self.out.len().max(64));
        }
    }
}

thread_local! {
    static FULL: RefCell<Compressor> = RefCell::new(Compressor::new(Window::Full));
    static SMALL: RefCell<Compressor> = RefCell::new(Compressor::new(Window::Small));
}

/// What a sync flush ends with, and a compressed message leaves out: the length of an empty block.
pub const EMPTY_BLOCK: [u8; 4] = [0, 0, 0xff, 0xff];

/// The fastest that builds codes for each block. An event of 500 bytes becomes 270 in 19 µs; level 1 makes it 336 in 8,
/// level 6 makes it 269 in 20, and only above some 4 KiB do the higher ones gain more than they cost.
const LEVEL: u32 = 2;

/// What is shorter is not compressed: of 107 bytes 28 are gained, less than the head of the packet that they travel in.
const COMPRESSED_BYTES_MIN: usize = 128;

/// What a compressor may keep for the next piece: more than all but a few need.
const OUT_BYTES_KEPT: usize = 1 << 20;
