//! Puts a head of our own in the place of the one that hyper writes.
//!
//! hyper lowers, regroups and re-encodes: it has no place for a target that `http::Uri` refuses, nor for the order in
//! which repeated fields came. So it is given no more than it needs to send a body and to read one, and what it writes as
//! the head is replaced on its way to the socket.
//!
//! Which bytes are that head is told by a *mark* in it, made anew in each process and never sent: what hyper has not got
//! rid of yet (the end of an earlier body, a 100) may lie before it in the same buffer.

use std::{
    io::{self, IoSlice},
    ops::Range,
    pin::Pin,
    sync::LazyLock,
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes};
use http::{HeaderName, HeaderValue};
use memchr::memmem::Finder;
use tokio::io::AsyncWrite;

/// What hyper is given in a head that is replaced: its first field.
#[derive(Debug)]
pub(super) struct Mark {
    pub(super) field: (HeaderName, HeaderValue),
    finder: Finder<'static>,
}

/// Returns this process's mark.
pub(super) fn mark() -> &'static Mark {
    static MARK: LazyLock<Mark> = LazyLock::new(|| {
        // Leaked once: what is static is cloned without a count.
        let value: &'static str = format!("{:032x}", rand::random::<u128>()).leak();
        let line: &'static str = format!("{MARK_FIELD}: {value}\r\n").leak();
        Mark {
            field: (
                HeaderName::from_static(MARK_FIELD),
                HeaderValue::from_static(value),
            ),
            finder: Finder::new(line),
        }
    });
    &MARK
}

const MARK_FIELD: &str = "x-head";

impl Mark {
    /// Returns where in `written` hyper's head of an answer lies.
    pub(super) fn find_answer(&self, written: &[u8]) -> Option<Range<usize>> {
        let needle = self.finder.needle();
        let second_line = memchr::memchr(b'\n', written)? + 1;
        // Mostly it is all there is: one status line, in which nothing else can have begun.
        let is_first = written.starts_with(VERSION)
            && memchr::memchr(b'H', &written[1..second_line]).is_none()
            && written[second_line..].starts_with(needle);
        if is_first {
            return Self::whole(written, 0, second_line);
        }
        let at = self.finder.find(written)?;
        // The reason in front of the mark is hyper's own and names no version.
        let start = memchr::memmem::rfind(&written[..at], VERSION)?;
        Self::whole(written, start, at)
    }

    fn whole(written: &[u8], start: usize, mark: usize) -> Option<Range<usize>> {
        // From the mark's line on, whose end may be the head's.
        let end = memchr::memchr_iter(b'\n', &written[mark..])
            .map(|feed| mark + feed + 1)
            .find(|end| written[..*end].ends_with(HEAD_END))?;
        Some(start..end)
    }
}

/// A head that is being replaced.
#[derive(Debug, Default)]
pub(super) struct Swap {
    /// What is left of ours.
    ours: Bytes,
    /// The length of hyper's, which is the start of what it writes. 0: none is being replaced.
    replaced: usize,
}

impl Swap {
    /// Returns whether a head is being replaced: it began to be written, and was not written whole.
    pub(super) fn is_under_way(&self) -> bool {
        self.replaced > 0
    }

    /// From here on `ours` is written instead of the first `replaced` bytes that hyper writes, which are all in its first
    /// buffer.
    pub(super) fn begin(&mut self, ours: Bytes, replaced: usize) {
        debug_assert!(!self.is_under_way() && replaced > 0);
        self.ours = ours;
        self.replaced = replaced;
    }

    /// Writes what is left of our head and what hyper has behind its own. Returns what hyper is told.
    pub(super) fn poll_write<S>(
        &mut self,
        io: &mut S,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>>
    where
        S: AsyncWrite + Unpin,
    {
        while self.is_under_way() {
            let mut slices = [IoSlice::new(&[]); SLICES_MAX];
            slices[0] = IoSlice::new(&self.ours);
            let mut used = 1;
            let behind = bufs.first().map_or(&[][..], |buf| &buf[self.replaced..]);
            let rest = std::iter::once(behind).chain(bufs.iter().skip(1).map(|buf| &**buf));
            for (slot, buf) in slices[1..]
                .iter_mut()
                .zip(rest.filter(|buf| !buf.is_empty()))
            {
                *slot = IoSlice::new(buf);
                used += 1;
            }
            let written = ready!(write_all_of(io, cx, &slices[..used]))?;
            if written == 0 {
                return Poll::Ready(Ok(0));
            }
            match written.checked_sub(self.ours.len()) {
                Some(behind) => {
                    let replaced = std::mem::take(&mut self.replaced);
                    self.ours = Bytes::new();
                    return Poll::Ready(Ok(replaced + behind));
                }
                None => self.ours.advance(written),
            }
        }
        write_all_of(io, cx, bufs)
    }
}

/// Writes once. One buffer needs no vector, which costs the kernel more.
fn write_all_of<S>(
    io: &mut S,
    cx: &mut Context<'_>,
    bufs: &[IoSlice<'_>],
) -> Poll<io::Result<usize>>
where
    S: AsyncWrite + Unpin,
{
    match bufs {
        [one] => Pin::new(io).poll_write(cx, one),
        several => Pin::new(io).poll_write_vectored(cx, several),
    }
}

const VERSION: &[u8] = b"HTTP/1.";
const HEAD_END: &[u8] = b"\r\n\r\n";

/// How many buffers one write takes at most; what is over waits for the next.
const SLICES_MAX: usize = 16;

#[cfg(test)]
mod tests;
