//! Inflates what clients send, where somebody listens.

#[cfg(test)]
mod tests;

use std::cell::RefCell;

use flate2::{Decompress, FlushDecompress, Status};

use crate::{session::websocket::Violation, wire::deflate::EMPTY_BLOCK};

/// Returns the message that was compressed to `payload`, by a compressor with any window that had seen nothing before.
///
/// # Errors
/// [`Violation::MessageTooLong`] if it has more than `bytes_max`, of which no more is inflated then;
/// [`Violation::NotDeflated`] if it is not whole blocks of deflate.
///
/// Source: RFC 7692 section 7.2.2.
pub(super) fn inflate(payload: Vec<u8>, bytes_max: usize) -> Result<Vec<u8>, Violation> {
    let mut deflated = payload;
    deflated.extend(EMPTY_BLOCK);
    deflated.extend(LAST_BLOCK);
    INFLATER.with_borrow_mut(|inflater| {
        inflater.reset(false);
        let (mut message, mut rest) = (Vec::new(), &*deflated);
        loop {
            // One byte more than is let pass, so that it shows.
            let room = message
                .len()
                .max(ROOM_MIN)
                .min(bytes_max + 1 - message.len());
            message.reserve_exact(room);
            let (consumed, made) = (inflater.total_in(), inflater.total_out());
            let status = inflater
                .decompress_vec(rest, &mut message, FlushDecompress::None)
                .map_err(|_malformed| Violation::NotDeflated)?;
            if message.len() > bytes_max {
                return Err(Violation::MessageTooLong);
            }
            rest = &rest[(inflater.total_in() - consumed) as usize..];
            match status {
                Status::StreamEnd if rest.is_empty() => return Ok(message),
                // A compressor that cannot flush ends its stream instead, and begins another. Source: section 7.2.3.5.
                Status::StreamEnd => inflater.reset(false),
                Status::Ok | Status::BufError => {
                    let is_stuck = inflater.total_out() == made && rest.is_empty();
                    if is_stuck {
                        return Err(Violation::NotDeflated);
                    }
                }
            }
        }
    })
}

/// How many bytes a message may be compressed to that must not have more than `bytes_max` itself: deflate stores what it
/// cannot compress in blocks with heads of five bytes.
pub(super) fn deflated_bytes_max(bytes_max: usize) -> usize {
    bytes_max.saturating_add(bytes_max / 1024 + 64)
}

thread_local! {
    static INFLATER: RefCell<Decompress> = RefCell::new(Decompress::new(false));
}

/// An empty block that is marked as the last. Put behind a message, it is one only if the message ends where a block does.
const LAST_BLOCK: [u8; 2] = [3, 0];

const ROOM_MIN: usize = 1024;
