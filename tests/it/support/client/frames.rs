//! WebSocket frames as a client writes them, the wrong ones too.

/// A frame. `Default` is what the RFC asks of a client: final, masked, no reserved bits.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    pub(crate) opcode: u8,
    pub(crate) payload: Vec<u8>,
    pub(crate) masked: bool,
    pub(crate) last: bool,
    pub(crate) reserved: u8,
}

impl Frame {
    /// Makes a frame of this opcode.
    pub(crate) fn new(opcode: u8, payload: impl Into<Vec<u8>>) -> Self {
        Self {
            opcode,
            payload: payload.into(),
            masked: true,
            last: true,
            reserved: 0,
        }
    }

    /// Returns its bytes.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let first = u8::from(self.last) << 7 | self.reserved << 4 | self.opcode;
        let mask_bit = u8::from(self.masked) << 7;
        let length = self.payload.len();
        let mut out = match (u8::try_from(length), u16::try_from(length)) {
            (Ok(short @ 0..126), _) => vec![first, mask_bit | short],
            (_, Ok(middle)) => [&[first, mask_bit | 126][..], &middle.to_be_bytes()].concat(),
            _ => [&[first, mask_bit | 127][..], &(length as u64).to_be_bytes()].concat(),
        };
        if self.masked {
            out.extend(MASK);
            let masked = self.payload.iter().zip(MASK.iter().cycle());
            out.extend(masked.map(|(byte, mask)| byte ^ mask));
        } else {
            out.extend(&self.payload);
        }
        out
    }
}

const MASK: [u8; 4] = [0x12, 0x34, 0x56, 0x78];

pub(crate) const TEXT: u8 = 1;
pub(crate) const CLOSE: u8 = 8;
pub(crate) const PING: u8 = 9;
pub(crate) const PONG: u8 = 10;
