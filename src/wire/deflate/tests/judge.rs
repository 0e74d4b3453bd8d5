//! Inflates by the letter of RFC 1951 section 3.2, and tells how far back that looked. Those that are meant for use, given a
//! small window, do not all refuse what looks back farther.

/// Inflates blocks of which none is the last; returns what they come to, and the longest distance.
pub(super) fn inflated(blocks: &[u8]) -> (Vec<u8>, usize) {
    let mut bits = Bits { blocks, at: 0 };
    let (mut plain, mut farthest) = (Vec::new(), 0);
    // A piece ends on a byte, with an empty stored block.
    while bits.at < blocks.len() * 8 {
        assert_eq!(bits.take(1), 0, "no block is the last");
        match bits.take(2) {
            0 => {
                bits.at = bits.at.next_multiple_of(8);
                let (length, inverse) = (bits.take(16), bits.take(16));
                assert_eq!(length ^ inverse, 0xffff);
                plain.extend((0..length).map(|_| bits.take(8) as u8));
            }
            1 => {
                let mut lengths = [8; 288];
                lengths[144..256].fill(9);
                lengths[256..280].fill(7);
                let codes = [Code::new(&lengths), Code::new(&[5; 30])];
                farthest = farthest.max(compressed(&mut bits, &codes, &mut plain));
            }
            2 => {
                let codes = told_codes(&mut bits);
                farthest = farthest.max(compressed(&mut bits, &codes, &mut plain));
            }
            other => panic!("a block of kind {other}"),
        }
    }
    (plain, farthest)
}

struct Bits<'a> {
    blocks: &'a [u8],
    at: usize,
}

impl Bits<'_> {
    fn take(&mut self, count: usize) -> usize {
        (0..count).fold(0, |value, place| {
            let bit = self.blocks[self.at / 8] >> (self.at % 8) & 1;
            self.at += 1;
            value | usize::from(bit) << place
        })
    }
}

/// The symbols by the length of their code and the code.
struct Code(std::collections::HashMap<(usize, usize), usize>);

impl Code {
    fn new(lengths: &[usize]) -> Self {
        let (mut symbols, mut code) = (std::collections::HashMap::new(), 0);
        for length in 1..=15 {
            code <<= 1;
            let of_length = lengths
                .iter()
                .enumerate()
                .filter(|(_, own)| **own == length);
            for (symbol, _) in of_length {
                symbols.insert((length, code), symbol);
                code += 1;
            }
        }
        Self(symbols)
    }

    fn read(&self, bits: &mut Bits<'_>) -> usize {
        let mut code = 0;
        for length in 1..=15 {
            code = code << 1 | bits.take(1);
            if let Some(symbol) = self.0.get(&(length, code)) {
                return *symbol;
            }
        }
        panic!("no code")
    }
}

fn told_codes(bits: &mut Bits<'_>) -> [Code; 2] {
    const ORDER: [usize; 19] = [
        16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15,
    ];
    let (literals, distances) = (bits.take(5) + 257, bits.take(5) + 1);
    let told = bits.take(4) + 4;
    let mut lengths = [0; 19];
    ORDER[..told]
        .iter()
        .for_each(|place| lengths[*place] = bits.take(3));
    let code = Code::new(&lengths);
    let mut lengths = Vec::new();
    while lengths.len() < literals + distances {
        let (length, times) = match code.read(bits) {
            16 => (*lengths.last().expect("one before"), 3 + bits.take(2)),
            17 => (0, 3 + bits.take(3)),
            18 => (0, 11 + bits.take(7)),
            length => (length, 1),
        };
        lengths.extend(std::iter::repeat_n(length, times));
    }
    let (literals, distances) = lengths.split_at(literals);
    [Code::new(literals), Code::new(distances)]
}

/// Reads a block to its end; returns the longest distance in it.
fn compressed(
    bits: &mut Bits<'_>,
    [literals, distances]: &[Code; 2],
    plain: &mut Vec<u8>,
) -> usize {
    let mut farthest = 0;
    loop {
        let symbol = literals.read(bits);
        let length = match symbol {
            0..256 => {
                plain.push(symbol as u8);
                continue;
            }
            256 => return farthest,
            285 => 258,
            _ => told(symbol - 257, 4, bits) + 3,
        };
        let distance = told(distances.read(bits), 2, bits) + 1;
        farthest = farthest.max(distance);
        for _ in 0..length {
            plain.push(plain[plain.len() - distance]);
        }
    }
}

/// A length or a distance: symbols stand for ranges, of which each `step` are twice as long as those before.
fn told(symbol: usize, step: usize, bits: &mut Bits<'_>) -> usize {
    let more = (symbol / step).saturating_sub(1);
    let first = match more {
        0 => symbol,
        _ => (step + symbol % step) << more,
    };
    first + bits.take(more)
}
