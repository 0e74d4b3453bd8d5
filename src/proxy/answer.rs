//! The head of an answer, in the upstream's own bytes.
//!
//! Neither the order of repeated fields nor the case of names lives in a map, nor a length where there is no body. So an
//! answer's head is read here ([`AnswerHead`]), and the client gets it as the upstream wrote it, but for what is about the
//! connection ([`ClientHead`]).

pub(super) mod http2;

use std::time::Duration;

use bytes::{Bytes, BytesMut};

use super::{
    fields::{CRLF, Head, HeadCopy, Kind, Line, decimal, is_text, split},
    framing::Framing,
    hop::tokens,
};

/// What came is no answer of HTTP/1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is no answer of HTTP/1")]
pub(crate) struct Unreadable;

/// A whole head: a status line, fields, an empty line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AnswerHead {
    /// As it came, but that every line ends in CRLF.
    head: Head,
    status: u16,
}

/// Finds the end of the head in `bytes`, which begin with its first line; `scanned` of them were looked at before.
///
/// A line may end in LF alone, as every client takes it.
fn end(bytes: &[u8], scanned: usize) -> Option<usize> {
    memchr::memchr_iter(b'\n', &bytes[scanned..]).find_map(|found| {
        let at = scanned + found;
        let line = bytes[..at].strip_suffix(b"\r").unwrap_or(&bytes[..at]);
        line.ends_with(b"\n").then_some(at + 1)
    })
}

impl AnswerHead {
    /// Takes a head from the start of what was read. `None` if it has not come whole: `scanned` says then how much was looked at,
    /// and is 0 at the start of a head.
    ///
    /// # Errors
    /// [`Unreadable`]; so is what is longer than 256 KiB.
    pub(crate) fn take(
        read: &mut BytesMut,
        scanned: &mut usize,
    ) -> Result<Option<Self>, Unreadable> {
        match end(read, *scanned) {
            Some(end) if end <= HEAD_BYTES_MAX => {
                *scanned = 0;
                let head = read.split_to(end).freeze();
                let head = Self::read(head.clone()).or_else(|| Self::read_bare(&head));
                head.map(Some).ok_or(Unreadable)
            }
            None if read.len() <= HEAD_BYTES_MAX => {
                *scanned = read.len();
                Ok(None)
            }
            _ => Err(Unreadable),
        }
    }

    /// Reads a whole head. `None` if that is no HTTP/1 answer.
    fn read(head: Bytes) -> Option<Self> {
        let feed = memchr::memchr(b'\n', &head)?;
        let line = head[..feed].strip_suffix(b"\r")?;
        let status = status(line)?;
        let lines = split(&head, feed + 1)?;
        Some(Self {
            head: Head::new(head, lines),
            status,
        })
    }

    /// Reads a whole head of which lines end in LF alone.
    fn read_bare(head: &[u8]) -> Option<Self> {
        let mut normal = Vec::with_capacity(head.len() + ADDED_BYTES_LIKELY);
        for line in head.split_inclusive(|&byte| byte == b'\n') {
            let line = line.strip_suffix(b"\n")?;
            normal.extend_from_slice(line.strip_suffix(b"\r").unwrap_or(line));
            normal.extend_from_slice(CRLF);
        }
        Self::read(normal.into())
    }

    /// Returns the status; 100 to 999.
    pub(crate) fn status(&self) -> u16 {
        self.status
    }

    /// Returns whether another head follows before the answer itself.
    pub(crate) fn is_interim(&self) -> bool {
        matches!(self.status, 100..=199) && self.status != SWITCHING_PROTOCOLS
    }

    /// Returns the bytes as they came.
    pub(super) fn bytes(&self) -> &Bytes {
        self.head.bytes()
    }

    /// Returns how the body behind it is delimited. `is_to_head`: it answers a HEAD. `may_switch`: another protocol was asked
    /// for, which may begin behind it.
    ///
    /// Source: RFC 9112 §6.3.
    ///
    /// # Errors
    /// [`Unreadable`], where it says so in two ways, or switches without being asked to.
    pub(crate) fn framing(
        &self,
        is_to_head: bool,
        may_switch: bool,
    ) -> Result<Framing, Unreadable> {
        match self.status {
            SWITCHING_PROTOCOLS if !may_switch => return Err(Unreadable),
            SWITCHING_PROTOCOLS | NO_CONTENT | NOT_MODIFIED => return Ok(Framing::Length(0)),
            _ if is_to_head => return Ok(Framing::Length(0)),
            _ => (),
        }
        if let Some(codings) = self.head.values(Kind::TransferEncoding).last() {
            if self.is_old() {
                return Err(Unreadable);
            }
            let is_chunked = tokens(codings)
                .last()
                .is_some_and(|coding| coding.eq_ignore_ascii_case(b"chunked"));
            return Ok(match is_chunked {
                true => Framing::Chunked,
                false => Framing::Close,
            });
        }
        let mut length = None;
        for value in self.head.values(Kind::ContentLength) {
            // The same one more than once is what some servers say.
            for one in value.split(|&byte| byte == b',') {
                let one = decimal(one.trim_ascii()).ok_or(Unreadable)?;
                if length.replace(one).is_some_and(|other| other != one) {
                    return Err(Unreadable);
                }
            }
        }
        Ok(length.map_or(Framing::Close, Framing::Length))
    }

    /// Returns whether the connection may be used again behind it.
    pub(crate) fn stays(&self) -> bool {
        match self.is_old() {
            true => self.keeps_alive(),
            false => !self.head.has_option(b"close"),
        }
    }

    /// Returns whether it is HTTP/1.0.
    fn is_old(&self) -> bool {
        self.bytes().starts_with(b"HTTP/1.0")
    }

    /// Writes an interim head for the client: all but what is about the upstream's connection with us.
    pub(super) fn interim(&self) -> Bytes {
        let named = self.head.named();
        let mut head = HeadCopy::of(&self.head, 0);
        head.version(b"HTTP/1.1");
        for line in self.head.lines() {
            if !crosses(line, self.bytes(), &named) {
                head.leave_out(line);
            }
        }
        head.end()
    }

    /// Returns whether the upstream says that its connection stays open.
    pub(super) fn keeps_alive(&self) -> bool {
        self.head.has_option(b"keep-alive")
    }

    /// Returns how long the upstream keeps its connection by its own word: `Keep-Alive: timeout=5, max=100`, less a
    /// second for the way.
    pub(super) fn keep_alive_timeout(&self) -> Option<Duration> {
        let mut tokens = self.head.values(Kind::KeepAlive).flat_map(tokens);
        let seconds = tokens.find_map(|token| token.strip_prefix(b"timeout="))?;
        let seconds = std::str::from_utf8(seconds).ok()?;
        let seconds: u64 = seconds.trim_matches('"').parse().ok()?;
        Some(Duration::from_secs(seconds.saturating_sub(1)))
    }

    /// Returns the values of `Trailer`.
    pub(super) fn trailers(&self) -> impl Iterator<Item = &[u8]> {
        self.head.values(Kind::Trailer)
    }
}

fn status(line: &[u8]) -> Option<u16> {
    let [b'0' | b'1', b' ', code @ ..] = line.strip_prefix(b"HTTP/1.")? else {
        return None;
    };
    if !matches!(code.get(3), None | Some(b' ')) || !is_text(line) {
        return None;
    }
    let code = std::str::from_utf8(code.get(..3)?).ok()?;
    code.parse().ok().filter(|status| *status >= 100)
}

/// The head that a client gets.
#[derive(Debug)]
pub(crate) struct ClientHead {
    /// As it came from the upstream.
    pub(crate) head: AnswerHead,
    /// The request was HEAD.
    pub(crate) is_to_head: bool,
    /// Where the client's connection stays open, the answer says so. HTTP/1.1 does not ask for it, but where the upstream
    /// does, the client has always seen it.
    pub(crate) says_it_stays: bool,
}

impl ClientHead {
    /// Writes it whole. Where `word` and the upstream speak of the same thing, `word` stands in the upstream's place.
    pub(super) fn write(&self, word: &Word) -> Bytes {
        let upstreams = &self.head.head;
        let has_no_body = self.is_to_head || self.head.status == NOT_MODIFIED;
        let is_new = word.version == b"HTTP/1.1";
        // A HEAD is answered with what a GET's answer would say of its body.
        let may_say_coding = word.framing != Framing::Length(0) || self.is_to_head;
        let mut connection = word.connection;
        if self.says_it_stays && is_new {
            connection.get_or_insert(b"keep-alive");
        }
        let length = match word.framing {
            Framing::Length(length) if !has_no_body && self.head.status != NO_CONTENT => {
                Some(length.to_string())
            }
            _ => None,
        };
        let mut length = length.as_ref().map(String::as_bytes);
        let named = upstreams.named();
        let mut has_coding = false;
        let mut head = HeadCopy::of(upstreams, ADDED_BYTES_LIKELY);
        head.version(word.version);
        for line in upstreams.lines() {
            match line.kind {
                Kind::Connection => head.say(line, connection.take()),
                Kind::ContentLength if has_no_body => (),
                Kind::ContentLength => head.say(line, length.take()),
                // As it came: other codings than `chunked` are within it.
                Kind::TransferEncoding if is_new && may_say_coding => has_coding = true,
                Kind::TransferEncoding => head.leave_out(line),
                _ if crosses(line, upstreams.bytes(), &named) => (),
                _ => head.leave_out(line),
            }
        }
        let is_chunked = word.framing == Framing::Chunked && !has_coding;
        let coding = is_chunked.then_some(&b"chunked"[..]);
        for (name, value) in [
            (&b"Connection"[..], connection),
            (b"Content-Length", length),
            (b"Transfer-Encoding", coding),
        ] {
            if let Some(value) = value {
                head.add(name, &[value]);
            }
        }
        head.end()
    }

    /// Returns whether nothing but the connection's end can be the body's: its last coding says so.
    pub(super) fn ends_at_close(&self) -> bool {
        let mut codings = self.head.head.values(Kind::TransferEncoding);
        codings.next().is_some() && self.head.framing(false, false) == Ok(Framing::Close)
    }
}

/// How an answer goes out on the client's connection.
#[derive(Debug)]
pub(super) struct Word {
    pub(super) version: &'static [u8],
    /// What `Connection` says, where it says something.
    pub(super) connection: Option<&'static [u8]>,
    /// How the body is delimited.
    pub(super) framing: Framing,
}

fn crosses(line: &Line, head: &[u8], named: &[&[u8]]) -> bool {
    !(line.kind.is_hop_by_hop() || line.is_among(head, named))
}

const SWITCHING_PROTOCOLS: u16 = 101;
const NO_CONTENT: u16 = 204;
const NOT_MODIFIED: u16 = 304;

/// The longest head that is read.
const HEAD_BYTES_MAX: usize = 256 << 10;

/// What is usually added: no more than a hint.
const ADDED_BYTES_LIKELY: usize = 64;

#[cfg(test)]
mod tests;
