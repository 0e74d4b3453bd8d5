//! The target in a block of HTTP/2's fields, treated as in HTTP/1.1.
//!
//! h2 takes no target that is no URI, and cuts at a raw `#`. What people type (`?filter={"from":"Bob"}`) is percent-encoded
//! before h2 reads it, where that can be done by looking at the block alone: a block says how long each of its fields is,
//! and a field that says that it is not to be remembered (as `curl` and all that rest on nghttp2 send `:path`) can be
//! replaced without anybody's table of remembered fields being another one then. Everything else stays as it is, and so
//! does a block that is not understood: what is wrong with it is h2's to say. Source: RFC 7541 §5, §6.

use std::borrow::Cow;

use super::{super::target, huffman};

/// Returns the block with its target treated; `None` where it may, or must, stay as it is.
pub(super) fn treat(block: &[u8]) -> Option<Vec<u8>> {
    let mut rest = Rest(block);
    while let Some(&first) = rest.0.first() {
        let before = block.len() - rest.0.len();
        match first {
            INDEXED.. => {
                rest.integer(7)?;
            }
            REMEMBERED..INDEXED => {
                rest.field(6)?;
            }
            TABLE_SIZE..REMEMBERED => {
                rest.integer(5)?;
            }
            0..TABLE_SIZE => {
                let (name, value) = rest.field(4)?;
                if !name.is_path() {
                    continue;
                }
                let path = value.text()?;
                if !path.starts_with(b"/") {
                    return None;
                }
                let treated = target::treat(b"GET", &path, None).ok()??;
                let mut block = block[..before].to_vec();
                // Whether it may be remembered by others on the way stays as it was.
                block.push(first & NEVER_REMEMBERED | PATH_INDEX);
                put_integer(&mut block, 7, 0, treated.len());
                block.extend_from_slice(&treated);
                block.extend_from_slice(rest.0);
                return Some(block);
            }
        }
    }
    None
}

/// What is left of a block.
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    /// Reads an integer that begins in the last `bits` of a byte. `None` where it ends early, or is larger than any length
    /// could be.
    fn integer(&mut self, bits: u32) -> Option<usize> {
        let mask = (1 << bits) - 1;
        let mut value = usize::from(self.byte()? & mask);
        if value < usize::from(mask) {
            return Some(value);
        }
        for shift in [0, 7, 14] {
            let byte = self.byte()?;
            value += usize::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    /// Reads a field that is not referred to, whose name's index begins in the last `bits` of a byte.
    fn field(&mut self, bits: u32) -> Option<(Name<'a>, Text<'a>)> {
        let name = match self.integer(bits)? {
            0 => Name::Said(self.text()?),
            index => Name::Known(index),
        };
        Some((name, self.text()?))
    }

    fn text(&mut self) -> Option<Text<'a>> {
        let is_huffman = self.0.first()? & 0x80 != 0;
        let length = self.integer(7)?;
        let (bytes, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(Text { bytes, is_huffman })
    }

    fn byte(&mut self) -> Option<u8> {
        let (byte, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*byte)
    }
}

enum Name<'a> {
    Known(usize),
    Said(Text<'a>),
}

impl Name<'_> {
    fn is_path(&self) -> bool {
        match self {
            Self::Known(index) => PATHS.contains(index),
            Self::Said(name) => name.text().is_some_and(|name| *name == *b":path"),
        }
    }
}

struct Text<'a> {
    bytes: &'a [u8],
    is_huffman: bool,
}

impl<'a> Text<'a> {
    fn text(&self) -> Option<Cow<'a, [u8]>> {
        match self.is_huffman {
            true => huffman::decode(self.bytes).map(Cow::Owned),
            false => Some(Cow::Borrowed(self.bytes)),
        }
    }
}

/// Writes an integer behind the first bits of a byte, which are `first`.
fn put_integer(block: &mut Vec<u8>, bits: u32, first: u8, value: usize) {
    let mask = (1usize << bits) - 1;
    if value < mask {
        block.push(first | value as u8);
        return;
    }
    block.push(first | mask as u8);
    let mut rest = value - mask;
    while rest >= 0x80 {
        block.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    block.push(rest as u8);
}

/// How a field begins: referred to whole; to be remembered; a new size of the table; else not to be remembered, and with this
/// bit, by nobody on the way either.
const INDEXED: u8 = 0x80;
const REMEMBERED: u8 = 0x40;
const TABLE_SIZE: u8 = 0x20;
const NEVER_REMEMBERED: u8 = 0x10;

/// The places of `:path` in what everybody knows (RFC 7541, appendix A).
const PATHS: [usize; 2] = [4, 5];
const PATH_INDEX: u8 = 4;

#[cfg(test)]
mod tests;
