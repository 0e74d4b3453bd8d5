//! Reads a client's frames as they stream by.
//!
//! Payloads of data frames are counted and shown to an [`Ear`], not kept; only a control frame's, at most 125 bytes, is. So
//! neither the size of a message nor the number of its fragments has a limit here, and an idle reader owns no memory.

use std::mem;

use crate::session::websocket::{
    Violation,
    listener::{Ear, Form, Message},
};

/// The reading side of one connection.
#[derive(Debug)]
pub(super) struct FrameReader {
    place: Place,
    /// Whether a message was begun and its last fragment has not come.
    is_in_message: bool,
    /// Whether messages may be deflated.
    is_deflating: bool,
}

/// What a client can say that we answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Incoming {
    /// With the payload that the PONG bears.
    Ping(Vec<u8>),
    /// With its code, if it bore one.
    Close(Option<u16>),
    /// A message, of which this is what its listener answers.
    Message(Message),
}

/// Where in a frame the next byte lies.
#[derive(Debug)]
enum Place {
    Head(Head),
    Data {
        left: u64,
        /// Begins at the byte for what comes next.
        mask: [u8; MASK_BYTES],
    },
    Control {
        opcode: u8,
        mask: [u8; MASK_BYTES],
        length: u8,
        payload: Vec<u8>,
    },
}

impl Place {
    const START: Self = Self::Head(Head {
        bytes: [0; HEAD_BYTES_MAX],
        filled: 0,
    });
}

#[derive(Clone, Copy, Debug)]
struct Head {
    bytes: [u8; HEAD_BYTES_MAX],
    filled: u8,
}

impl FrameReader {
    /// `is_deflating`: whether permessage-deflate was agreed on.
    pub(super) fn new(is_deflating: bool) -> Self {
        Self {
            place: Place::START,
            is_in_message: false,
            is_deflating,
        }
    }

    /// Reads on in `input`, up to the next thing that wants an answer, or to the end. `ear` hears the messages.
    ///
    /// # Errors
    /// The [`Violation`], as soon as it can be known. Nothing can be read after that.
    pub(super) fn read(
        &mut self,
        input: &mut &[u8],
        ear: &mut impl Ear,
    ) -> Result<Option<Incoming>, Violation> {
        loop {
            match &mut self.place {
                Place::Head(head) => {
                    let Some((&byte, rest)) = input.split_first() else {
                        return Ok(None);
                    };
                    *input = rest;
                    head.push(byte);
                    let head = *head;
                    if head.filled == 2 {
                        self.check_start(head.bytes[0], head.bytes[1])?;
                    }
                    if head.is_complete() {
                        self.enter(head, ear);
                    }
                }
                Place::Data { left: 0, .. } => {
                    self.place = Place::START;
                    if !self.is_in_message
                        && let Some(answer) = ear.end()?
                    {
                        return Ok(Some(Incoming::Message(answer)));
                    }
                }
                Place::Data { left, mask } => {
                    if input.is_empty() {
                        return Ok(None);
                    }
                    let skipped = usize::try_from(*left)
                        .unwrap_or(usize::MAX)
                        .min(input.len());
                    let (part, rest) = input.split_at(skipped);
                    *left -= skipped as u64;
                    *input = rest;
                    ear.part(part, *mask)?;
                    mask.rotate_left(skipped % MASK_BYTES);
                }
                Place::Control {
                    length, payload, ..
                } => {
                    let missing = usize::from(*length) - payload.len();
                    let (taken, rest) = input.split_at(missing.min(input.len()));
                    payload.extend_from_slice(taken);
                    *input = rest;
                    if taken.len() < missing {
                        return Ok(None);
                    }
                    if let Some(incoming) = self.leave_control()? {
                        return Ok(Some(incoming));
                    }
                }
            }
        }
    }

    /// Checks what the first two bytes of a frame tell, in the order in which RESTHeart does.
    fn check_start(&self, first: u8, second: u8) -> Result<(), Violation> {
        let opcode = first & 0x0f;
        let reserved = first >> 4 & 0b111;
        let is_masked = second & MASKED != 0;
        let length = second & !MASKED;
        // Compressed is a message, and its first frame says so. Source: RFC 7692 section 6.
        let may_be_deflated = self.is_deflating && matches!(opcode, TEXT | BINARY);
        if reserved != 0 && !(may_be_deflated && first & RESERVED == RSV1) {
            return Err(Violation::ReservedBits(reserved));
        }
        if opcode & CONTROL == 0 {
            return match opcode {
                _ if !is_masked => Err(Violation::NotMasked),
                3.. => Err(Violation::ReservedDataOpcode(opcode)),
                CONTINUATION if !self.is_in_message => Err(Violation::StrayContinuation),
                1.. if self.is_in_message => Err(Violation::NestedMessage),
                CONTINUATION | 1.. => Ok(()),
            };
        }
        match opcode {
            _ if first & FIN == 0 => Err(Violation::FragmentedControl),
            _ if length > 125 => Err(Violation::LongControl),
            11.. => Err(Violation::ReservedControlOpcode(opcode)),
            CLOSE if length == 1 => Err(Violation::ShortClose),
            _ if !is_masked => Err(Violation::NotMasked),
            _ => Ok(()),
        }
    }

    /// Goes on into the frame whose head is complete.
    fn enter(&mut self, head: Head, ear: &mut impl Ear) {
        let opcode = head.bytes[0] & 0x0f;
        let length = head.payload_length();
        if opcode & CONTROL == 0 {
            self.is_in_message = head.bytes[0] & FIN == 0;
            if opcode != CONTINUATION {
                ear.begin(Form {
                    is_text: opcode == TEXT,
                    is_deflated: head.bytes[0] & RSV1 != 0,
                });
            }
            self.place = Place::Data {
                left: length,
                mask: head.mask(),
            };
            return;
        }
        // `check_start` has seen that it is at most 125.
        let length = length as u8;
        let payload = Vec::with_capacity(usize::from(length));
        self.place = Place::Control {
            opcode,
            mask: head.mask(),
            length,
            payload,
        };
    }

    fn leave_control(&mut self) -> Result<Option<Incoming>, Violation> {
        let place = mem::replace(&mut self.place, Place::START);
        let Place::Control {
            opcode,
            mask,
            mut payload,
            ..
        } = place
        else {
            return Ok(None);
        };
        for (byte, mask) in payload.iter_mut().zip(mask.iter().cycle()) {
            *byte ^= mask;
        }
        match opcode {
            CLOSE => close_code(&payload).map(|code| Some(Incoming::Close(code))),
            PING => Ok(Some(Incoming::Ping(payload))),
            // A PONG, asked for or not, is a sign of life and no more.
            _ => Ok(None),
        }
    }
}

impl Head {
    fn push(&mut self, byte: u8) {
        self.bytes[usize::from(self.filled)] = byte;
        self.filled += 1;
    }

    fn is_complete(self) -> bool {
        self.filled >= 2 && usize::from(self.filled) == 2 + self.length_bytes() + MASK_BYTES
    }

    /// How many bytes follow the second one to say the length.
    fn length_bytes(self) -> usize {
        match self.bytes[1] & !MASKED {
            127 => 8,
            126 => 2,
            _ => 0,
        }
    }

    /// The length of the payload. More than 2^63 is against the RFC, and as good as endless for us as for RESTHeart.
    fn payload_length(self) -> u64 {
        let length = &self.bytes[2..2 + self.length_bytes()];
        match length {
            [] => u64::from(self.bytes[1] & !MASKED),
            bytes => bytes
                .iter()
                .fold(0, |length, byte| length << 8 | u64::from(*byte)),
        }
    }

    fn mask(self) -> [u8; MASK_BYTES] {
        let start = 2 + self.length_bytes();
        let [.., a, b, c, d] = self.bytes[..start + MASK_BYTES] else {
            return [0; MASK_BYTES];
        };
        [a, b, c, d]
    }
}

/// Checks the payload of a CLOSE. Source: RFC 6455 sections 5.5.1 and 7.4, and IANA's registry of close codes.
fn close_code(payload: &[u8]) -> Result<Option<u16>, Violation> {
    let Some((code, reason)) = payload.split_first_chunk() else {
        return Ok(None);
    };
    let code = u16::from_be_bytes(*code);
    match code {
        1000..=1003 | 1007..=1014 | 3000..=4999 => (),
        _ => return Err(Violation::CloseCode(code)),
    }
    match std::str::from_utf8(reason) {
        Ok(_) => Ok(Some(code)),
        Err(_) => Err(Violation::NotText),
    }
}

const FIN: u8 = 0x80;
const RESERVED: u8 = 0x70;
/// Of the first frame of a message: the message is deflated.
const RSV1: u8 = 0x40;
const MASKED: u8 = 0x80;
/// The bit that every opcode of a control frame has.
const CONTROL: u8 = 8;
const CONTINUATION: u8 = 0;
const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;

const MASK_BYTES: usize = 4;

/// Two bytes, a length of eight, a mask.
const HEAD_BYTES_MAX: usize = 2 + 8 + MASK_BYTES;

#[cfg(test)]
mod tests;
