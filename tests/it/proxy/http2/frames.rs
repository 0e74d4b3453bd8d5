//! Frames as they are on the wire, for what no client library sends.

use super::forwarding::{PREFACE, SETTINGS};
use crate::proxy::stage::{Front, Peer};

pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
pub(super) const RST_STREAM: u8 = 3;
pub(super) const PING: u8 = 6;
pub(super) const GOAWAY: u8 = 7;

pub(super) const END_STREAM: u8 = 1;
/// Of SETTINGS and PING.
pub(super) const ACK: u8 = 1;
pub(super) const END_HEADERS: u8 = 4;

pub(super) const CANCEL: [u8; 4] = [0, 0, 0, 8];

/// A frame. Source: RFC 9113 §4.1.
#[derive(Debug)]
pub(super) struct Frame {
    pub(super) kind: u8,
    pub(super) flags: u8,
    pub(super) stream: u32,
    pub(super) payload: Vec<u8>,
}

impl Frame {
    pub(super) fn new(kind: u8, flags: u8, stream: u32, payload: impl Into<Vec<u8>>) -> Self {
        let payload = payload.into();
        Self {
            kind,
            flags,
            stream,
            payload,
        }
    }

    pub(super) fn bytes(&self) -> Vec<u8> {
        let length = u32::try_from(self.payload.len()).expect("it fits");
        let mut bytes = length.to_be_bytes()[1..].to_vec();
        bytes.extend([self.kind, self.flags]);
        bytes.extend(self.stream.to_be_bytes());
        bytes.extend(&self.payload);
        bytes
    }

    /// The code in a RST_STREAM, or in a GOAWAY.
    pub(super) fn code(&self) -> u32 {
        let at = if self.kind == GOAWAY { 4 } else { 0 };
        let code = self.payload[at..at + 4].try_into();
        u32::from_be_bytes(code.expect("four bytes"))
    }

    /// The status in the HEADERS of an answer, which come first; 0 where it is not written as one byte.
    pub(super) fn status(&self) -> u16 {
        // Source: RFC 7541, appendix A.
        let short = [200, 204, 206, 304, 400, 404, 500];
        let index = self.payload[0].wrapping_sub(0x88);
        short.get(usize::from(index)).copied().unwrap_or(0)
    }

    /// Reads one; `None` at the connection's end.
    pub(super) async fn read(peer: &mut Peer) -> Option<Self> {
        let head = bytes(&peer.try_exactly(9).await?);
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let stream = head[5..9].try_into().expect("four bytes");
        Some(Self {
            kind: head[3],
            flags: head[4],
            stream: u32::from_be_bytes(stream),
            payload: bytes(&peer.try_exactly(length as usize).await?),
        })
    }
}

/// Connects, and says what a client says first.
pub(super) async fn connect(front: &Front) -> Peer {
    let mut peer = front.client().await;
    peer.send(PREFACE).await.send(SETTINGS).await;
    peer
}

/// A GET of `/`, whole.
pub(super) fn get(stream: u32) -> Frame {
    let head = block(&[
        (":method", "GET"),
        (":scheme", "http"),
        (":authority", "h"),
        (":path", "/"),
    ]);
    Frame::new(HEADERS, END_HEADERS | END_STREAM, stream, head)
}

/// A block of fields, each as a literal that nobody remembers. Source: RFC 7541 §6.2.2.
pub(super) fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            let text = crate::proxy::stage::latin_1(text);
            push_length(&mut block, text.len());
            block.extend(text);
        }
    }
    block
}

/// Source: RFC 7541 §5.1, with a prefix of seven bits.
fn push_length(block: &mut Vec<u8>, length: usize) {
    if length < 127 {
        block.push(length as u8);
        return;
    }
    block.push(127);
    let mut rest = length - 127;
    while rest >= 128 {
        block.push((rest % 128) as u8 | 0x80);
        rest /= 128;
    }
    block.push(rest as u8);
}

fn bytes(text: &str) -> Vec<u8> {
    crate::proxy::stage::latin_1(text)
}
