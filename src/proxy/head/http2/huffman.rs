//! HPACK's Huffman code, read. Source: RFC 7541 §5.2, appendix B.

use std::sync::LazyLock;

/// Decodes a string. `None` if it is none.
pub(super) fn decode(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut text = Vec::with_capacity(bytes.len() * 2);
    let (mut code, mut length) = (0u32, 0usize);
    for byte in bytes {
        for place in (0..8).rev() {
            code = code << 1 | u32::from(byte >> place & 1);
            length += 1;
            let of_length = &CODE.lengths[length];
            let index = code.wrapping_sub(of_length.first);
            if index < of_length.count {
                let place = of_length.symbols_before + index as usize;
                text.push(*CODE.symbols.get(place)?);
                (code, length) = (0, 0);
            } else if length == LENGTH_MAX {
                // The end of text, which nobody may write, or no code at all.
                return None;
            }
        }
    }
    // What fills the last byte is the beginning of the longest code: ones.
    let is_padding = length < 8 && code == (1 << length) - 1;
    is_padding.then_some(text)
}

/// The codes of one length follow each other, in the order of their symbols, behind the shorter ones (a canonical code): so
/// the lengths say it all.
struct Code {
    lengths: [OfLength; LENGTH_MAX + 1],
    /// In the order of their codes.
    symbols: Vec<u8>,
}

#[derive(Clone, Copy, Default)]
struct OfLength {
    first: u32,
    count: u32,
    symbols_before: usize,
}

static CODE: LazyLock<Code> = LazyLock::new(|| {
    let mut lengths = [OfLength::default(); LENGTH_MAX + 1];
    let mut symbols = Vec::with_capacity(LENGTHS.len());
    let mut code = 0;
    for (length, of_length) in lengths.iter_mut().enumerate() {
        let symbols_before = symbols.len();
        let is_so_long = |byte: &u8| usize::from(LENGTHS[usize::from(*byte)]) == length;
        symbols.extend((0..=u8::MAX).filter(is_so_long));
        code <<= 1;
        *of_length = OfLength {
            first: code,
            count: (symbols.len() - symbols_before) as u32,
            symbols_before,
        };
        code += of_length.count;
    }
    Code { lengths, symbols }
});

const LENGTH_MAX: usize = 30;

/// How many bits the code of each byte has.
#[rustfmt::skip]
const LENGTHS: [u8; 256] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28,
    28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28,
    6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6,
    5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10,
    13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7,
    7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6,
    15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5,
    6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28,
    20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23,
    24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24,
    22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23,
    21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
    26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25,
    19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27,
    20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23,
    26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26,
];
