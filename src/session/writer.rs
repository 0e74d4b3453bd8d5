//! What a session has in hand for its socket, and in which order it goes.
//!
//! Frames are written whole and in order. What is urgent (PING, PONG, CLOSE, a comment) goes before every frame that has
//! not been begun, and never inside one that has.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::AsyncWrite;

use crate::{
    delivery::{Outcome, Outlet, Run},
    session::coding::Coding,
};

/// Frames in hand. Idle, it owns no allocation to speak of.
#[derive(Debug)]
pub(super) struct Writer {
    urgent: Bytes,
    /// `runs[next..]` are still to be written; those before are written and empty.
    runs: Vec<Run>,
    next: usize,
    /// Whether `runs[next]` was begun: what is in it now is its rest. Nothing else may be written before that.
    is_begun: bool,
    /// Whether something was written that the stream may still keep in a buffer of its own (TLS does).
    needs_flush: bool,
    coding: Coding,
    frames_written: u64,
    bytes_written: u64,
}

impl Writer {
    pub(super) fn new(coding: Coding) -> Self {
        Self {
            urgent: Bytes::new(),
            runs: Vec::new(),
            next: 0,
            is_begun: false,
            needs_flush: false,
            coding,
            frames_written: 0,
            bytes_written: 0,
        }
    }

    /// Returns whether there is nothing left to write or to flush.
    pub(super) fn is_idle(&self) -> bool {
        self.next == self.runs.len() && self.urgent.is_empty() && !self.needs_flush
    }

    /// Returns whether so much urgent matter waits that no more should be made: a client that pings and does not read.
    pub(super) fn is_congested(&self) -> bool {
        self.urgent.len() > URGENT_BYTES_MAX
    }

    /// Returns whether urgent matter waits.
    pub(super) fn has_urgent(&self) -> bool {
        !self.urgent.is_empty()
    }

    /// Frames that were written whole so far; of a run, when all of it was.
    pub(super) fn frames_written(&self) -> u64 {
        self.frames_written
    }

    /// Bytes that the socket has taken so far.
    pub(super) fn bytes_written(&self) -> u64 {
        self.bytes_written
    }

    /// Puts `bytes` behind other urgent matter and before all frames that have not been begun.
    pub(super) fn push_urgent(&mut self, bytes: Bytes) {
        if self.urgent.is_empty() {
            self.urgent = bytes;
        } else {
            let mut joined = BytesMut::with_capacity(self.urgent.len() + bytes.len());
            joined.extend_from_slice(&self.urgent);
            joined.extend_from_slice(&bytes);
            self.urgent = joined.freeze();
        }
    }

    /// Puts what the encoding wants before the first frame.
    pub(super) fn push_head(&mut self) {
        let head = self.coding.head();
        self.push_urgent(head);
    }

    /// Puts a comment into an idle body, encoded as its frames are.
    pub(super) fn push_comment(&mut self, comment: &'static [u8]) {
        debug_assert!(self.is_idle(), "a body in motion needs no comment");
        let comment = self.coding.encode_now(comment);
        self.push_urgent(comment);
    }

    /// Drops what has not been begun, and puts `last` and the end of the encoded body behind what has.
    pub(super) fn push_last(&mut self, last: &[u8]) {
        self.drop_unbegun();
        let last = self.coding.finish(last);
        self.push_urgent(last);
    }

    /// Drops all frames of which no byte was written yet.
    pub(super) fn drop_unbegun(&mut self) {
        let kept = self.next + usize::from(self.is_begun);
        self.runs.truncate(kept);
        self.coding.keep(kept);
        if self.next == self.runs.len() {
            self.release();
        }
    }

    /// Takes all that is ready in `outlet`, up to [`BATCH_RUNS`]. Only when there is nothing in hand.
    pub(super) fn poll_fill(
        &mut self,
        context: &mut Context<'_>,
        outlet: &mut Outlet,
    ) -> Poll<Outcome> {
        debug_assert!(
            self.runs.is_empty(),
            "a batch is written before the next is taken"
        );
        let outcome = ready!(outlet.poll_ready(context, &mut self.runs, BATCH_RUNS));
        match outcome {
            Outcome::Rest => self.is_begun = true,
            Outcome::Frames => self.coding.encode(&mut self.runs),
            Outcome::Ended(_) => (),
        }
        Poll::Ready(outcome)
    }

    /// Takes the socket back from whoever writes to it directly, with the rest of a frame that was begun. To be called
    /// before anything is written that did not come from the outlet.
    pub(super) fn hold(&mut self, outlet: &mut Outlet) {
        if !self.runs.is_empty() {
            // What is in hand came from the outlet, which has been held since.
            return;
        }
        if let Some(rest) = outlet.hold() {
            self.runs.push(rest);
            self.is_begun = true;
        }
    }

    /// Writes and flushes what is in hand.
    ///
    /// # Errors
    /// Whatever the stream says; [`io::ErrorKind::WriteZero`] if it takes nothing any more.
    pub(super) fn poll_write<S>(
        &mut self,
        context: &mut Context<'_>,
        stream: &mut S,
    ) -> Poll<io::Result<()>>
    where
        S: AsyncWrite + Unpin,
    {
        while !self.urgent.is_empty() || self.next < self.runs.len() {
            let mut slices = [IoSlice::new(&[]); SLICES];
            let count = self.gather(&mut slices);
            let stream = Pin::new(&mut *stream);
            let written = ready!(stream.poll_write_vectored(context, &slices[..count]))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.advance(written);
        }
        if self.needs_flush {
            ready!(Pin::new(stream).poll_flush(context))?;
            self.needs_flush = false;
        }
        Poll::Ready(Ok(()))
    }

    /// Lays out what is in hand in its order; returns how many slices that takes. [`Writer::advance`] mirrors it.
    fn gather<'a>(&'a self, slices: &mut [IoSlice<'a>; SLICES]) -> usize {
        let (begun, unbegun) = self.runs[self.next..].split_at(usize::from(self.is_begun));
        let urgent = Some(&self.urgent).filter(|urgent| !urgent.is_empty());
        let bytes = |run: &'a Run| &run.bytes;
        let ordered = begun.iter().map(bytes);
        let ordered = ordered.chain(urgent).chain(unbegun.iter().map(bytes));
        let mut count = 0;
        for (slice, bytes) in slices.iter_mut().zip(ordered) {
            *slice = IoSlice::new(bytes);
            count += 1;
        }
        count
    }

    fn advance(&mut self, written: usize) {
        self.needs_flush = true;
        self.bytes_written += written as u64;
        let mut left = written;
        if self.is_begun {
            left = self.advance_run(left);
        }
        let urgent = left.min(self.urgent.len());
        self.urgent.advance(urgent);
        left -= urgent;
        while left > 0 {
            left = self.advance_run(left);
        }
        if self.urgent.is_empty() {
            // An empty rest would keep its allocation.
            self.urgent = Bytes::new();
        }
        if self.next == self.runs.len() {
            self.release();
        }
    }

    /// Counts up to `written` bytes to the run that is next; returns those that are left.
    fn advance_run(&mut self, written: usize) -> usize {
        let run = &mut self.runs[self.next];
        if written < run.bytes.len() {
            run.bytes.advance(written);
            self.is_begun |= written > 0;
            return 0;
        }
        let left = written - run.bytes.len();
        run.bytes = Bytes::new();
        self.frames_written += u64::from(run.frames);
        self.next += 1;
        self.is_begun = false;
        left
    }

    /// Forgets the batch that is written, and gives back what it needed beyond a small one.
    fn release(&mut self) {
        self.coding.keep(self.runs.len());
        self.next = 0;
        self.runs.clear();
        if self.runs.capacity() > IDLE_RUNS {
            self.runs = Vec::new();
        }
    }
}

/// How many runs of frames go into one write.
pub(super) const BATCH_RUNS: usize = 64;

/// A batch and what is urgent. Linux takes 1024 slices at once.
const SLICES: usize = BATCH_RUNS + 1;

/// How much urgent matter may wait before the client is not listened to any more.
const URGENT_BYTES_MAX: usize = 2048;

/// How many handles an idle writer may keep room for.
const IDLE_RUNS: usize = 4;

#[cfg(test)]
mod tests;
