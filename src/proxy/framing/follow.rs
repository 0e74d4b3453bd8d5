//! Follows the body behind a head: what of its bytes are data, and where the next head begins. Looks, and never changes a byte.

use super::Framing;

/// The longest line between chunks (a size with its extensions, or one trailer), in bytes.
const LINE_BYTES_MAX: usize = 8 << 10;

/// All trailers of a body together, in bytes.
const TRAILERS_BYTES_MAX: usize = 32 << 10;

/// All extensions of the chunks of a body together, and the blanks before them, in bytes: nobody reads them, and they cost us as
/// much as data do.
const EXTENSIONS_BYTES_MAX: usize = 16 << 10;

const _: () = assert!(LINE_BYTES_MAX <= TRAILERS_BYTES_MAX);

/// The chunks of a body are not well formed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the chunks of the body are malformed")]
pub(crate) struct Malformed;

/// What lies between the data.
#[derive(Debug, Default)]
pub(super) struct Notes {
    /// The lines behind the last chunk, the empty one included.
    pub(super) trailers: Vec<u8>,
    extension_bytes: usize,
}

/// What the bytes at some place of a body are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Run {
    /// So many are data.
    Data(usize),
    /// So many lie between data.
    Between(usize),
}

/// A place within a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Follow {
    /// This many bytes are left.
    Length(u64),
    /// All that comes is data.
    Close,
    /// In the digits of a chunk's size.
    Size { size: u64, digits: u8 },
    /// Within blanks behind the digits.
    SizeBlank { size: u64, seen: usize },
    /// Behind the semicolon, up to the line's end.
    Extension { size: u64, seen: usize },
    /// Behind the CR of a chunk's size line.
    SizeFeed { size: u64 },
    /// Within a chunk.
    Chunk { left: u64 },
    /// Behind a chunk, before its CR.
    ChunkReturn,
    /// Behind a chunk's CR.
    ChunkFeed,
    /// At the start of, or within, a trailer line.
    Trailer { line: usize, seen: usize },
    /// Behind the CR of a trailer line.
    TrailerFeed { line: usize, seen: usize },
    /// At the start of the next head.
    End,
}

impl Follow {
    pub(crate) fn new(framing: Framing) -> Self {
        match framing {
            Framing::Length(0) => Self::End,
            Framing::Length(length) => Self::Length(length),
            Framing::Chunked => Self::Size { size: 0, digits: 0 },
            Framing::Close => Self::Close,
        }
    }

    /// Goes past what is all data, or no data, at the start of `bytes`. At the end of the body that is nothing.
    ///
    /// # Errors
    /// [`Malformed`].
    pub(super) fn run(&mut self, bytes: &[u8], notes: &mut Notes) -> Result<Run, Malformed> {
        match *self {
            Self::Close => return Ok(Run::Data(bytes.len())),
            Self::Length(left) => {
                let taken = taken(left, bytes.len());
                *self = match left - taken as u64 {
                    0 => Self::End,
                    left => Self::Length(left),
                };
                return Ok(Run::Data(taken));
            }
            Self::Chunk { left } => {
                let taken = taken(left, bytes.len());
                *self = match left - taken as u64 {
                    0 => Self::ChunkReturn,
                    left => Self::Chunk { left },
                };
                return Ok(Run::Data(taken));
            }
            _ => (),
        }
        let mut at = 0;
        while at < bytes.len() && !matches!(self, Self::Chunk { .. } | Self::End) {
            match self {
                Self::Trailer { .. } | Self::TrailerFeed { .. } => notes.trailers.push(bytes[at]),
                Self::SizeBlank { .. } | Self::Extension { .. } => {
                    notes.extension_bytes += 1;
                    // At each byte: else it would depend on the pieces that a body comes in.
                    if notes.extension_bytes > EXTENSIONS_BYTES_MAX {
                        return Err(Malformed);
                    }
                }
                _ => (),
            }
            *self = self.step(bytes[at])?;
            at += 1;
        }
        Ok(Run::Between(at))
    }

    /// Goes past one byte of what lies between chunks.
    fn step(self, byte: u8) -> Result<Self, Malformed> {
        match (self, byte) {
            (Self::Size { size, digits }, _) if byte.is_ascii_hexdigit() => {
                // 16 digits fill a u64.
                if digits >= 16 {
                    return Err(Malformed);
                }
                let digit = char::from(byte).to_digit(16).ok_or(Malformed)?;
                Ok(Self::Size {
                    size: size << 4 | u64::from(digit),
                    digits: digits + 1,
                })
            }
            (Self::Size { size, digits: 1.. }, b'\r')
            | (Self::SizeBlank { size, .. } | Self::Extension { size, .. }, b'\r') => {
                Ok(Self::SizeFeed { size })
            }
            (Self::Size { size, digits: 1.. }, b';') => Ok(Self::Extension { size, seen: 1 }),
            (Self::Size { size, digits: 1.. }, b' ' | b'\t') => {
                Ok(Self::SizeBlank { size, seen: 1 })
            }
            (Self::SizeBlank { size, seen }, b';') => Ok(Self::Extension { size, seen }),
            (Self::SizeBlank { size, seen }, b' ' | b'\t') if seen < LINE_BYTES_MAX => {
                Ok(Self::SizeBlank {
                    size,
                    seen: seen + 1,
                })
            }
            (Self::Extension { size, seen }, _)
                if byte != b'\n' && byte != 0 && seen < LINE_BYTES_MAX =>
            {
                Ok(Self::Extension {
                    size,
                    seen: seen + 1,
                })
            }
            (Self::SizeFeed { size: 0 }, b'\n') => Ok(Self::Trailer { line: 0, seen: 0 }),
            (Self::SizeFeed { size }, b'\n') => Ok(Self::Chunk { left: size }),
            (Self::ChunkReturn, b'\r') => Ok(Self::ChunkFeed),
            (Self::ChunkFeed, b'\n') => Ok(Self::Size { size: 0, digits: 0 }),
            (Self::Trailer { line, seen }, b'\r') => Ok(Self::TrailerFeed { line, seen }),
            (Self::Trailer { line, seen }, _)
                if byte != b'\n'
                    && byte != 0
                    && line < LINE_BYTES_MAX
                    && seen < TRAILERS_BYTES_MAX =>
            {
                Ok(Self::Trailer {
                    line: line + 1,
                    seen: seen + 1,
                })
            }
            (Self::TrailerFeed { line: 0, .. }, b'\n') => Ok(Self::End),
            (Self::TrailerFeed { seen, .. }, b'\n') => Ok(Self::Trailer { line: 0, seen }),
            _ => Err(Malformed),
        }
    }
}

fn taken(left: u64, available: usize) -> usize {
    usize::try_from(left).map_or(available, |left| left.min(available))
}
