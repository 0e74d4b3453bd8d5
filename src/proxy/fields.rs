//! The field lines of a raw head: where they lie, and which of them mean something to a proxy.

use bytes::Bytes;

use super::hop::{is_name, takes_away, tokens};

/// One line of a head, by where it lies in the head's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) start: u32,
    colon: u32,
    /// Where the next line starts.
    pub(super) next: u32,
    pub(super) kind: Kind,
}

/// The fields that mean something to a proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Connection,
    KeepAlive,
    Te,
    Upgrade,
    /// Others that are about one connection, not about the message.
    HopByHop,
    ContentLength,
    TransferEncoding,
    Trailer,
    Host,
    Expect,
    Forwarded,
    XForwardedFor,
    XForwardedProto,
    XForwardedHost,
    /// Any other.
    Other,
}

impl Kind {
    /// Returns what a field of this name is.
    pub(super) fn of(name: &[u8]) -> Self {
        let same = |other: &str| is_name(name, other);
        // The length first, since this is asked of every field.
        match name.len() {
            2 if same("te") => Self::Te,
            4 if same("host") => Self::Host,
            6 if same("expect") => Self::Expect,
            7 if same("upgrade") => Self::Upgrade,
            7 if same("trailer") => Self::Trailer,
            9 if same("forwarded") => Self::Forwarded,
            10 if same("connection") => Self::Connection,
            10 if same("keep-alive") => Self::KeepAlive,
            14 if same("content-length") => Self::ContentLength,
            14 if same("http2-settings") => Self::HopByHop,
            15 if same("x-forwarded-for") => Self::XForwardedFor,
            16 if same("x-forwarded-host") => Self::XForwardedHost,
            16 if same("proxy-connection") => Self::HopByHop,
            17 if same("x-forwarded-proto") => Self::XForwardedProto,
            17 if same("transfer-encoding") => Self::TransferEncoding,
            _ => Self::Other,
        }
    }

    /// Returns whether such a field is about one connection. `Transfer-Encoding` is dealt with apart: it delimits a
    /// message.
    pub(super) fn is_hop_by_hop(self) -> bool {
        matches!(
            self,
            Self::Connection | Self::KeepAlive | Self::Te | Self::Upgrade | Self::HopByHop
        )
    }
}

impl Line {
    pub(super) fn name<'a>(&self, head: &'a [u8]) -> &'a [u8] {
        &head[self.start as usize..self.colon as usize]
    }

    /// The value without the blanks around.
    pub(super) fn value<'a>(&self, head: &'a [u8]) -> &'a [u8] {
        head[self.colon as usize + 1..self.next as usize].trim_ascii()
    }

    /// Returns whether it is the field of one of these names.
    pub(super) fn is_among(&self, head: &[u8], names: &[&[u8]]) -> bool {
        // Looked at first, since there are none as a rule.
        !names.is_empty() && {
            let name = self.name(head);
            names.iter().any(|one| one.eq_ignore_ascii_case(name))
        }
    }
}

/// Splits the fields of a whole head, which begin at `start`. `None` if a line is no field, as an obsolete folding is
/// not, or does not end in CRLF.
pub(super) fn split(head: &[u8], start: usize) -> Option<Vec<Line>> {
    // Places are kept in 32 bits.
    u32::try_from(head.len()).ok()?;
    if !is_sound(&head[start..]) {
        return None;
    }
    let first = start;
    let mut start = start;
    let mut lines = Vec::with_capacity(LINES_LIKELY);
    for feed in memchr::memchr_iter(b'\n', &head[first..]) {
        let next = first + feed + 1;
        let line = &head[start..next];
        if line == CRLF {
            return (next == head.len()).then_some(lines);
        }
        let colon = line.iter().position(|&byte| !is_token_byte(byte))?;
        if colon == 0 || line[colon] != b':' || !line.ends_with(CRLF) {
            return None;
        }
        lines.push(Line {
            start: start as u32,
            colon: (start + colon) as u32,
            next: next as u32,
            kind: Kind::of(&line[..colon]),
        });
        start = next;
    }
    None
}

/// Whether there is no control in these lines but the tabulator, and CR only before LF. Source: RFC 9110 §5.5.
fn is_sound(lines: &[u8]) -> bool {
    // Two slices, and no way out before the end, so that it is done many bytes at a time.
    let next = lines.get(1..).unwrap_or_default();
    let pairs = lines.iter().zip(next);
    let bad = pairs.fold(0, |bad, (&byte, &next)| bad | is_bad(byte, next));
    bad == 0
}

fn is_bad(byte: u8, next: u8) -> u8 {
    let is_control = (byte < b' ') & !matches!(byte, b'\t' | b'\r' | b'\n') | (byte == 0x7f);
    u8::from(is_control | ((byte == b'\r') & (next != b'\n')))
}

/// A whole head, the empty line included, with its fields found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Head {
    bytes: Bytes,
    lines: Vec<Line>,
}

impl Head {
    /// `lines`: the fields of `bytes`.
    pub(super) fn new(bytes: Bytes, lines: Vec<Line>) -> Self {
        debug_assert!(bytes.ends_with(b"\r\n\r\n"));
        Self { bytes, lines }
    }

    pub(super) fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Returns the fields in their order.
    pub(super) fn lines(&self) -> &[Line] {
        &self.lines
    }

    /// Returns the first line without its end.
    pub(super) fn first_line(&self) -> &[u8] {
        &self.bytes[..self.first_field() - CRLF.len()]
    }

    /// Returns where the fields begin.
    pub(super) fn first_field(&self) -> usize {
        let first = self.lines.first();
        first.map_or(self.bytes.len() - CRLF.len(), |line| line.start as usize)
    }

    /// Returns the values of all fields of this kind, without the blanks around.
    pub(super) fn values(&self, kind: Kind) -> impl Iterator<Item = &[u8]> {
        let lines = self.lines.iter().filter(move |line| line.kind == kind);
        lines.map(|line| line.value(&self.bytes))
    }

    /// Returns whether `Connection` has this option.
    pub(super) fn has_option(&self, option: &[u8]) -> bool {
        self.options()
            .any(|token| token.eq_ignore_ascii_case(option))
    }

    /// Returns the names that `Connection` takes away.
    pub(super) fn named(&self) -> Vec<&[u8]> {
        self.options().filter(|token| takes_away(token)).collect()
    }

    /// Returns whether the client waits for leave to send its body.
    pub(super) fn expects_continue(&self) -> bool {
        self.values(Kind::Expect).any(is_continue)
    }

    /// Returns whether the other end takes trailers.
    pub(super) fn takes_trailers(&self) -> bool {
        let mut codings = self.values(Kind::Te).flat_map(tokens);
        codings.any(|coding| coding.eq_ignore_ascii_case(b"trailers"))
    }

    fn options(&self) -> impl Iterator<Item = &[u8]> {
        self.values(Kind::Connection).flat_map(tokens)
    }
}

/// A head that is copied but for some lines: what stays is copied in runs, and not at all where all stays.
pub(super) struct HeadCopy<'a> {
    from: &'a Bytes,
    /// Up to where `from` is dealt with.
    done: usize,
    to: Vec<u8>,
    /// How much room is made for what is added.
    room: usize,
}

impl<'a> HeadCopy<'a> {
    /// Begins with the first line of a whole head. `room`: how many bytes will likely be added.
    pub(super) fn of(from: &'a Head, room: usize) -> Self {
        Self {
            from: &from.bytes,
            done: 0,
            to: Vec::new(),
            room,
        }
    }

    /// Begins with another first line.
    pub(super) fn with_first_line(from: &'a Head, line: &[&[u8]], room: usize) -> Self {
        let mut copy = Self::of(from, room);
        copy.make_room();
        copy.put(line);
        copy.put(&[CRLF]);
        copy.done = from.first_field();
        copy
    }

    /// Has the answer's first line begin with this version.
    pub(super) fn version(&mut self, version: &[u8]) {
        if !self.from.starts_with(version) {
            self.make_room();
            self.put(&[version]);
            self.done = version.len();
        }
    }

    /// Leaves a line out. Lines are to be named in their order.
    pub(super) fn leave_out(&mut self, line: &Line) {
        self.copy_up_to(line.start as usize);
        self.done = line.next as usize;
    }

    /// Has the field of this line say `value`, or leaves it out.
    pub(super) fn say(&mut self, line: &Line, value: Option<&[u8]>) {
        match value {
            Some(value) if value == line.value(self.from) => (),
            Some(value) => {
                self.leave_out(line);
                self.put(&[line.name(self.from), b": ", value, CRLF]);
            }
            None => self.leave_out(line),
        }
    }

    /// Adds a field behind all others, whose value is given in parts.
    pub(super) fn add(&mut self, name: &[u8], value: &[&[u8]]) {
        self.copy_up_to(self.from.len() - CRLF.len());
        self.put(&[name, b": "]);
        self.put(value);
        self.put(&[CRLF]);
    }

    /// Returns the whole.
    pub(super) fn end(mut self) -> Bytes {
        if self.done == 0 {
            return self.from.clone();
        }
        self.copy_up_to(self.from.len());
        Bytes::from(self.to)
    }

    fn copy_up_to(&mut self, end: usize) {
        if self.done == end {
            return;
        }
        self.make_room();
        self.to.extend_from_slice(&self.from[self.done..end]);
        self.done = end;
    }

    fn make_room(&mut self) {
        if self.to.is_empty() {
            self.to.reserve_exact(self.from.len() + self.room);
        }
    }

    fn put(&mut self, parts: &[&[u8]]) {
        for part in parts {
            self.to.extend_from_slice(part);
        }
    }
}

/// Returns whether there is no control in these bytes but the tabulator.
pub(super) fn is_text(bytes: &[u8]) -> bool {
    bytes
        .iter()
        .all(|&byte| byte >= b' ' && byte != 0x7f || byte == b'\t')
}

/// Whether this is the one expectation there is.
pub(super) fn is_continue(value: &[u8]) -> bool {
    value.eq_ignore_ascii_case(b"100-continue")
}

/// Reads a number that is nothing but digits.
pub(super) fn decimal(value: &[u8]) -> Option<u64> {
    // `parse` would take a sign.
    if !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(value).ok()?.parse().ok()
}

fn is_token_byte(byte: u8) -> bool {
    TOKEN_BYTES[usize::from(byte)]
}

/// Source: RFC 9110 §5.6.2.
const TOKEN_BYTES: [bool; 256] = table(b"!#$%&'*+-.^_`|~");

/// Which bytes are letters, digits or `others`.
pub(super) const fn table(others: &[u8]) -> [bool; 256] {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 128 {
        table[byte] = (byte as u8).is_ascii_alphanumeric();
        byte += 1;
    }
    let mut at = 0;
    while at < others.len() {
        table[others[at] as usize] = true;
        at += 1;
    }
    table
}

pub(super) const CRLF: &[u8] = b"\r\n";

/// The most fields in a request's head, and among trailers.
pub(super) const FIELDS_MAX: usize = 100;

/// More than most heads have; no more than a hint.
const LINES_LIKELY: usize = 16;
