//! A queue of shared frames to one session, bounded in bytes. Frames that are pushed together are one [`Run`].
//!
//! One hub task pushes to thousands of outboxes, so a push is a short mutex section that never waits, and the writer is
//! woken once per burst: the push takes its waker away, and the next push finds none. The queue holds handles to shared
//! bytes, never copies. An idle outbox owns one allocation of about a hundred bytes and room for [`IDLE_FRAMES`] handles;
//! what a burst needed beyond that is given back when the queue is next empty.
//!
//! The bound counts the bytes of the frames that wait here. What the writer has taken is in its hands and no longer
//! counted, so a session holds at most twice the bound, or two frames larger than it.
//!
//! # Direct writes
//!
//! Most frames find a session that is idle: nothing waits, nothing is in its hands. Waking its task for one write costs
//! more than the write. So a session may lend its socket to the queue ([`Outlet::lend`]), and [`Outbox::try_send_now`]
//! writes to it at once, under the lock. The session *holds* the socket while it has anything to write itself
//! ([`Outlet::hold`]) and lets go when it finds nothing to do: so exactly one of the two writes, and frames stay whole and
//! in order. What the socket does not take at once goes to the session's task as the rest of a frame.

use std::{
    collections::VecDeque,
    fmt,
    future::poll_fn,
    io,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Waker},
};

use tokio::time::Instant;

use crate::delivery::budget::{Budget, Room};
use crate::delivery::{Ending, Run};

/// Makes the two ends of a queue that holds at most `bytes_max` bytes, or one frame of any size.
pub fn channel(bytes_max: usize) -> (Outbox, Outlet) {
    channel_within(bytes_max, &Budget::unlimited())
}

/// As [`channel`], within what all outboxes may hold together.
pub fn channel_within(bytes_max: usize, budget: &Arc<Budget>) -> (Outbox, Outlet) {
    let shared = Arc::new(Shared {
        bytes_max,
        budget: Arc::clone(budget),
        outboxes: AtomicUsize::new(1),
        queue: Mutex::new(Queue::new(Room::new(Arc::clone(budget)))),
    });
    (
        Outbox {
            shared: Arc::clone(&shared),
        },
        Outlet { shared },
    )
}

/// The producers' side of the queue. Cloning is cheap.
///
/// When the last one is dropped before anybody ended the session, it ends with [`Ending::OurFault`]: nobody is left
/// who could tell the client what it misses.
#[derive(Debug)]
pub struct Outbox {
    shared: Arc<Shared>,
}

/// The session's side of the queue. Dropping it abandons the queue: what waits is dropped, later frames are refused.
#[derive(Debug)]
pub struct Outlet {
    shared: Arc<Shared>,
}

/// A socket that others than its session may write to, while that is idle.
pub trait Direct: Send + Sync {
    /// Writes what the socket takes at once, and returns how much that was.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] if that is nothing; else whatever is wrong with the socket.
    fn try_write(&self, bytes: &[u8]) -> io::Result<usize>;
}

/// Where a frame went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// The socket has it whole.
    Written,
    /// It waits for the session, all of it or its rest.
    Queued,
}

/// What was written to a session's socket without its task.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DirectTotals {
    /// Frames that were written whole.
    pub frames: u64,
    /// Bytes, those of frames that were only begun included.
    pub bytes: u64,
    /// When it was last written to.
    pub last: Option<Instant>,
}

/// What the writer was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Frames were appended to the buffer, at least one.
    Frames,
    /// The rest of a frame was appended whose beginning the socket has already. Nothing may be written before it.
    Rest,
    /// The session ends, and nothing more will come.
    Ended(Ending),
}

/// Why a frame was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// There was no room, and the outbox has now ended itself with [`Ending::Slow`]. Told to one sender only.
    #[error("the outbox is full")]
    Full,
    /// The session has already ended, or its outlet is gone.
    #[error("the session has ended")]
    Ended,
}

impl Outbox {
    /// Queues frames, each complete (a WebSocket header with its payload, or a whole SSE event).
    ///
    /// Never waits. An empty outbox takes one frame (or run) of any size, so that a document larger than the bound
    /// reaches a client that keeps up.
    ///
    /// # Errors
    /// [`SendError::Full`] if there is no room, [`SendError::Ended`] if the session has ended.
    pub fn try_send(&self, run: impl Into<Run>) -> Result<(), SendError> {
        let run = run.into();
        debug_assert!(!run.bytes.is_empty(), "a frame has at least its header");
        let queue = self.shared.lock();
        if queue.ending.is_some() || queue.abandoned {
            return Err(SendError::Ended);
        }
        self.push(queue, run)
    }

    /// As [`Outbox::try_send`], but an idle session's socket is written to at once, if it was lent. For the last frame that
    /// is known of: more of them are cheaper in one write, which is the session's to make.
    ///
    /// # Errors
    /// As [`Outbox::try_send`].
    pub fn try_send_now(&self, run: impl Into<Run>) -> Result<Sent, SendError> {
        let run = run.into();
        debug_assert!(!run.bytes.is_empty(), "a frame has at least its header");
        let mut queue = self.shared.lock();
        if queue.ending.is_some() || queue.abandoned {
            return Err(SendError::Ended);
        }
        if queue.is_held || queue.rest.is_some() || !queue.runs.is_empty() {
            return self.push(queue, run).map(|()| Sent::Queued);
        }
        let written = match &queue.direct {
            Some(direct) => direct.try_write(&run.bytes).unwrap_or(0),
            None => 0,
        };
        // A broken socket takes nothing: the session tries it again, and hears what is wrong.
        if written == 0 {
            return self.push(queue, run).map(|()| Sent::Queued);
        }
        queue.direct_totals.bytes += written as u64;
        queue.direct_totals.last = Some(Instant::now());
        if written == run.bytes.len() {
            queue.direct_totals.frames += u64::from(run.frames);
            return Ok(Sent::Written);
        }
        // As good as in the writer's hands, so it is not counted.
        queue.rest = Some(Run {
            bytes: run.bytes.slice(written..),
            frames: run.frames,
        });
        wake(queue);
        Ok(Sent::Queued)
    }

    fn push(&self, mut queue: MutexGuard<'_, Queue>, run: Run) -> Result<(), SendError> {
        let bytes = queue.bytes.saturating_add(run.bytes.len());
        if bytes > self.shared.bytes_max && !queue.runs.is_empty() {
            queue.end(Ending::Slow);
            wake(queue);
            metrics::counter!("sidestream_limits_reached_total", "limit" => "outbox").increment(1);
            return Err(SendError::Full);
        }
        queue.bytes = bytes;
        queue.runs.push_back(run);
        queue.note_room();
        wake(queue);
        Ok(())
    }

    /// Ends the session: every later frame is refused, and queued ones are dropped unless [`Ending::flushes`].
    ///
    /// The first ending wins, with one exception: an ending that does not flush (a revocation) takes the place of one that
    /// does, since what still waits must not reach the client any more.
    pub fn end(&self, ending: Ending) {
        let mut queue = self.shared.lock();
        queue.end(ending);
        wake(queue);
    }

    /// Returns why the session ends, if it does.
    pub fn ended(&self) -> Option<Ending> {
        self.shared.lock().ending
    }

    /// Returns how many bytes of frames wait for the writer.
    pub fn queued_bytes(&self) -> usize {
        self.shared.lock().bytes
    }

    /// Returns how many bytes of frames wait, or are in the writer's hands since it last asked for some.
    pub fn held_bytes(&self) -> usize {
        let queue = self.shared.lock();
        let rest = queue.rest.as_ref().map_or(0, |rest| rest.bytes.len());
        queue.bytes + queue.in_hand + rest
    }

    /// Returns how many bytes may wait.
    pub fn bytes_max(&self) -> usize {
        self.shared.bytes_max
    }

    /// Returns what all outboxes may hold together.
    pub fn budget(&self) -> &Arc<Budget> {
        &self.shared.budget
    }

    /// Waits until the writer has taken everything that waited, or the session is over. For a producer that can hold
    /// its source back, as a catch-up cursor can; of two that wait at once the later is woken.
    ///
    /// # Cancel safety
    /// Safe.
    pub async fn emptied(&self) {
        poll_fn(|context| {
            let mut queue = self.shared.lock();
            if queue.runs.is_empty() || queue.ending.is_some() || queue.abandoned {
                return Poll::Ready(());
            }
            queue.producer = Some(context.waker().clone());
            Poll::Pending
        })
        .await;
    }

    /// Returns whether the outlet is gone: nobody will ever read this queue.
    pub fn is_abandoned(&self) -> bool {
        self.shared.lock().abandoned
    }

    /// Returns whether both are ends of the same queue.
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
    }
}

impl Clone for Outbox {
    fn clone(&self) -> Self {
        self.shared.outboxes.fetch_add(1, Ordering::Relaxed);
        Self {
            shared: Arc::clone(&self.shared),
        }
    }
}

impl Drop for Outbox {
    fn drop(&mut self) {
        // `AcqRel` as in `Arc`: what other producers did comes before the last one's farewell.
        if self.shared.outboxes.fetch_sub(1, Ordering::AcqRel) == 1 {
            let mut queue = self.shared.lock();
            if queue.ending.is_none() {
                queue.end(Ending::OurFault);
                wake(queue);
            }
        }
    }
}

impl Outlet {
    /// Waits until frames are ready or the session has ended, and appends up to `max` runs to `into`.
    ///
    /// An ending is told when the frames that it still flushes have been taken; at once if it flushes none.
    ///
    /// # Cancel safety
    /// Safe: frames leave the queue only in the poll that returns.
    pub async fn ready(&mut self, into: &mut Vec<Run>, max: usize) -> Outcome {
        poll_fn(|context| self.poll_ready(context, into, max)).await
    }

    /// As [`Outlet::ready`], for a writer that is polled.
    pub fn poll_ready(
        &mut self,
        context: &mut Context<'_>,
        into: &mut Vec<Run>,
        max: usize,
    ) -> Poll<Outcome> {
        debug_assert!(max > 0, "a writer takes at least one frame");
        let mut queue = self.shared.lock();
        queue.in_hand = 0;
        if let Some(rest) = queue.rest.take() {
            queue.is_held = true;
            queue.in_hand = rest.bytes.len();
            into.push(rest);
            return Poll::Ready(Outcome::Rest);
        }
        if !queue.runs.is_empty() {
            queue.is_held = true;
            queue.take(into, max);
            return Poll::Ready(Outcome::Frames);
        }
        match queue.ending {
            Some(ending) => Poll::Ready(Outcome::Ended(ending)),
            None => {
                queue.is_held = false;
                queue.sleep(context)
            }
        }
    }

    /// Lends the session's socket to whoever pushes, while the session is idle. It is held until [`Outlet::poll_ready`]
    /// finds nothing.
    pub fn lend(&mut self, direct: Arc<dyn Direct>) {
        let mut queue = self.shared.lock();
        queue.is_held = true;
        queue.direct = Some(direct);
    }

    /// Takes the socket back until [`Outlet::poll_ready`] finds nothing: nobody else writes to it meanwhile. Returns the rest
    /// of a frame that was begun; it must be written before anything else.
    pub fn hold(&mut self) -> Option<Run> {
        let mut queue = self.shared.lock();
        queue.is_held = true;
        let rest = queue.rest.take();
        queue.in_hand += rest.as_ref().map_or(0, |rest| rest.bytes.len());
        rest
    }

    /// Returns what was written by others so far.
    pub fn direct_totals(&self) -> DirectTotals {
        self.shared.lock().direct_totals
    }

    /// Polls for the ending alone, also while frames wait that it flushes.
    pub fn poll_ended(&mut self, context: &mut Context<'_>) -> Poll<Ending> {
        let mut queue = self.shared.lock();
        match queue.ending {
            Some(ending) => Poll::Ready(ending),
            None => queue.sleep(context),
        }
    }

    /// Appends up to `max` runs that are ready now to `into`; appends nothing if there are none.
    pub fn take_ready(&mut self, into: &mut Vec<Run>, max: usize) {
        self.shared.lock().take(into, max);
    }

    /// Ends the session from its own side, as [`Outbox::end`] does from below.
    pub fn end(&mut self, ending: Ending) {
        self.shared.lock().end(ending);
    }

    /// Drops what waits and refuses every later frame: nobody will take any more.
    pub fn abandon(&mut self) {
        let mut queue = self.shared.lock();
        queue.abandoned = true;
        queue.waker = None;
        queue.direct = None;
        queue.rest = None;
        queue.clear();
        queue.wake_producer();
    }

    /// Returns why the session ends, if it does.
    pub fn ended(&self) -> Option<Ending> {
        self.shared.lock().ending
    }
}

impl Drop for Outlet {
    fn drop(&mut self) {
        self.abandon();
    }
}

#[derive(Debug)]
struct Shared {
    bytes_max: usize,
    budget: Arc<Budget>,
    /// How many [`Outbox`]es there are.
    outboxes: AtomicUsize,
    queue: Mutex<Queue>,
}

impl Shared {
    /// No code panics while it holds the lock, so a poisoned lock guards a sound queue.
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for dyn Direct {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Direct")
    }
}

#[derive(Debug)]
struct Queue {
    runs: VecDeque<Run>,
    /// What `runs` has room for, as it is counted.
    room: Room,
    /// The sum of the lengths of `runs`.
    bytes: usize,
    /// What the writer has taken since it last had nothing in hand.
    in_hand: usize,
    /// The writer's, while it waits.
    waker: Option<Waker>,
    /// A producer's, while it waits for room.
    producer: Option<Waker>,
    ending: Option<Ending>,
    /// Whether the outlet is gone.
    abandoned: bool,
    /// Whether the session has something to write, or may have: then the socket is its alone.
    is_held: bool,
    /// The session's socket, if it was lent.
    direct: Option<Arc<dyn Direct>>,
    /// What the socket did not take of a frame that was written directly.
    rest: Option<Run>,
    direct_totals: DirectTotals,
}

impl Queue {
    fn new(room: Room) -> Self {
        Self {
            runs: VecDeque::new(),
            room,
            bytes: 0,
            in_hand: 0,
            waker: None,
            producer: None,
            ending: None,
            abandoned: false,
            is_held: false,
            direct: None,
            rest: None,
            direct_totals: DirectTotals::default(),
        }
    }

    fn note_room(&mut self) {
        self.room.is(self.runs.capacity());
    }

    fn end(&mut self, ending: Ending) {
        let stands = match self.ending {
            None => false,
            Some(earlier) => !earlier.flushes() || ending.flushes(),
        };
        if stands {
            return;
        }
        self.ending = Some(ending);
        self.wake_producer();
        if !ending.flushes() {
            self.clear();
        }
    }

    fn clear(&mut self) {
        self.runs = VecDeque::new();
        self.bytes = 0;
        self.note_room();
    }

    fn take(&mut self, into: &mut Vec<Run>, max: usize) {
        let count = self.runs.len().min(max);
        into.reserve(count);
        for run in self.runs.drain(..count) {
            self.bytes -= run.bytes.len();
            self.in_hand += run.bytes.len();
            into.push(run);
        }
        if self.runs.is_empty() {
            self.wake_producer();
        }
        if self.runs.is_empty() && self.runs.capacity() > IDLE_FRAMES {
            self.runs = VecDeque::new();
            self.note_room();
        }
    }

    fn wake_producer(&mut self) {
        if let Some(producer) = self.producer.take() {
            producer.wake();
        }
    }

    fn sleep<T>(&mut self, context: &Context<'_>) -> Poll<T> {
        match &mut self.waker {
            Some(waker) => waker.clone_from(context.waker()),
            None => self.waker = Some(context.waker().clone()),
        }
        Poll::Pending
    }
}

/// Wakes the writer if it waits, after the lock is released: the woken task may run at once on another thread.
fn wake(mut queue: MutexGuard<'_, Queue>) {
    let waker = queue.waker.take();
    drop(queue);
    if let Some(waker) = waker {
        waker.wake();
    }
}

/// How many handles an idle queue may keep room for: what the first push allocates.
const IDLE_FRAMES: usize = 4;

#[cfg(test)]
mod tests;
