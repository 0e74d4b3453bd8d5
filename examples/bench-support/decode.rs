//! From bytes off the wire to messages.

/// What a server said.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Item<'a> {
    /// The text of an event. Of one that came in several frames, the first frame's, told when the last is here.
    Message(&'a [u8]),
    Ping(&'a [u8]),
    /// The end, with its code; 1005 where none was given.
    Close(u16),
}

/// Cuts one client's bytes into messages. What is not whole yet waits in it.
#[derive(Debug)]
pub(crate) struct Decoder {
    rest: Vec<u8>,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    /// With the first frame of a message that is not whole.
    WebSocket {
        begun: Vec<u8>,
    },
    Sse {
        chunks: Option<Chunks>,
    },
}

impl Decoder {
    pub(crate) fn websocket() -> Self {
        Self::new(Kind::WebSocket { begun: Vec::new() })
    }

    /// `is_chunked` is what the head of the answer says.
    pub(crate) fn sse(is_chunked: bool) -> Self {
        let chunks = is_chunked.then(Chunks::default);
        Self::new(Kind::Sse { chunks })
    }

    fn new(kind: Kind) -> Self {
        Self {
            rest: Vec::new(),
            kind,
        }
    }

    /// Tells `each` what `bytes` complete, in order.
    pub(crate) fn feed(&mut self, bytes: &[u8], mut each: impl FnMut(Item<'_>)) {
        match &mut self.kind {
            Kind::WebSocket { begun } if self.rest.is_empty() => {
                let read = frames(bytes, begun, &mut each);
                self.rest.extend_from_slice(&bytes[read..]);
            }
            Kind::WebSocket { begun } => {
                self.rest.extend_from_slice(bytes);
                let read = frames(&self.rest, begun, &mut each);
                self.rest.drain(..read);
            }
            Kind::Sse { chunks } => {
                match chunks {
                    Some(chunks) => chunks.feed(bytes, &mut self.rest),
                    None => self.rest.extend_from_slice(bytes),
                }
                let read = events(&self.rest, &mut each);
                self.rest.drain(..read);
            }
        }
        if self.rest.is_empty() && self.rest.capacity() > REST_KEPT {
            self.rest = Vec::new();
        }
    }
}

/// Reads whole WebSocket frames; returns how many bytes they are.
fn frames(bytes: &[u8], begun: &mut Vec<u8>, each: &mut impl FnMut(Item<'_>)) -> usize {
    let mut read = 0;
    while let Some((first, payload, end)) = frame(&bytes[read..]) {
        let payload = &bytes[read..][payload..end];
        match (first & 0x0f, first & 0x80 != 0) {
            (TEXT | BINARY, true) => each(Item::Message(payload)),
            (TEXT | BINARY, false) => *begun = payload.to_vec(),
            (CONTINUATION, true) => each(Item::Message(&std::mem::take(begun))),
            (PING, _) => each(Item::Ping(payload)),
            (CLOSE, _) => {
                let code = payload.first_chunk::<2>().copied();
                each(Item::Close(code.map_or(NO_CODE, u16::from_be_bytes)));
            }
            _ => (),
        }
        read += end;
    }
    read
}

/// The first byte of the first frame, where its payload begins, and its end; `None` while it is not whole.
fn frame(bytes: &[u8]) -> Option<(u8, usize, usize)> {
    let (payload, length) = match *bytes.get(1)? {
        126 => (
            4,
            u64::from(u16::from_be_bytes(*bytes.get(2..)?.first_chunk()?)),
        ),
        127 => (10, u64::from_be_bytes(*bytes.get(2..)?.first_chunk()?)),
        length => (2, u64::from(length)),
    };
    let end = payload + usize::try_from(length).ok()?;
    (bytes.len() >= end).then(|| (bytes[0], payload, end))
}

/// Reads whole SSE events; returns how many bytes they are.
fn events(bytes: &[u8], each: &mut impl FnMut(Item<'_>)) -> usize {
    let mut read = 0;
    while let Some(length) = memchr::memmem::find(&bytes[read..], b"\n\n") {
        let event = &bytes[read..read + length];
        read += length + 2;
        let has = |name: &[u8]| memchr::memmem::find(event, name).is_some();
        if has(b"event: close") || has(b"event:close") {
            let code =
                memchr::memmem::find(event, b"\"code\":").and_then(|at| number(&event[at + 7..]));
            each(Item::Close(
                code.and_then(|code| u16::try_from(code).ok())
                    .unwrap_or(NO_CODE),
            ));
        } else if has(b"data:") {
            each(Item::Message(event));
        }
    }
    read
}

/// The number that `text` begins with, behind blanks.
pub(crate) fn number(text: &[u8]) -> Option<u32> {
    let text = text.trim_ascii_start();
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit());
    let mut value = None::<u32>;
    for digit in digits {
        let next = value.unwrap_or(0).checked_mul(10)?;
        value = Some(next.checked_add(u32::from(digit - b'0'))?);
    }
    value
}

/// Takes the framing of `Transfer-Encoding: chunked` away. Source: RFC 9112 section 7.1.
#[derive(Debug, Default)]
struct Chunks {
    /// What is left of the chunk.
    left: usize,
    /// The line with the next chunk's size, as far as it is here.
    line: Vec<u8>,
}

impl Chunks {
    fn feed(&mut self, mut bytes: &[u8], into: &mut Vec<u8>) {
        while let Some(first) = bytes.first() {
            if self.left > 0 {
                let (data, rest) = bytes.split_at(self.left.min(bytes.len()));
                into.extend_from_slice(data);
                self.left -= data.len();
                bytes = rest;
                continue;
            }
            bytes = &bytes[1..];
            self.line.push(*first);
            if *first == b'\n' {
                // The line that ends a chunk is empty.
                let size = String::from_utf8_lossy(&self.line);
                let size = size.split(';').next().unwrap_or_default().trim().to_owned();
                self.left = usize::from_str_radix(&size, 16).unwrap_or(0);
                self.line.clear();
            }
        }
    }
}

const CONTINUATION: u8 = 0;
const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
/// Source: RFC 6455 section 7.1.5.
const NO_CODE: u16 = 1005;
/// A client that had a large frame does not keep room for another.
const REST_KEPT: usize = 16 * 1024;

#[cfg(test)]
mod tests {
    use super::{Decoder, Item};

    /// Feeds `bytes` whole, and byte by byte.
    #[track_caller]
    fn check(new: impl Fn() -> Decoder, bytes: &[u8], expected: &[&str]) {
        for size in [bytes.len(), 1] {
            let (mut decoder, mut found) = (new(), Vec::new());
            for part in bytes.chunks(size) {
                decoder.feed(part, |item| {
                    found.push(match item {
                        Item::Message(text) => format!("message {}", text.escape_ascii()),
                        Item::Ping(text) => format!("ping {}", text.escape_ascii()),
                        Item::Close(code) => format!("close {code}"),
                    });
                });
            }
            assert_eq!(found, expected, "in parts of {size}");
        }
    }

    #[test]
    fn websocket_frames_of_all_kinds_and_lengths() {
        check(
            Decoder::websocket,
            b"\x81\x02ab\x89\x01p\x88\x02\x11\x38",
            &["message ab", "ping p", "close 4408"],
        );
        check(Decoder::websocket, b"\x88\x00", &["close 1005"]);
        check(
            Decoder::websocket,
            b"\x81\x7e\x00\x01x\x81\x7f\x00\x00\x00\x00\x00\x00\x00\x01y",
            &["message x", "message y"],
        );
        check(
            Decoder::websocket,
            b"\x01\x02ab\x89\x00\x00\x01c\x80\x01d",
            &["ping ", "message ab"],
        );
    }

    #[test]
    fn sse_events_chunked_and_not() {
        let body =
            b": hello\n\nid:1\nevent:change\ndata:{}\n\nevent: close\ndata: {\"code\":4404}\n\n";
        let expected = ["message id:1\\nevent:change\\ndata:{}", "close 4404"];
        check(|| Decoder::sse(false), body, &expected);
        let (first, second) = body.split_at(17);
        let chunked = [
            b"11\r\n",
            first,
            b"\r\n",
            format!("{:x};x=y\r\n", second.len()).as_bytes(),
            second,
            b"\r\n0\r\n\r\n",
        ]
        .concat();
        check(|| Decoder::sse(true), &chunked, &expected);
    }
}
