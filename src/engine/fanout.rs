//! Groups of sessions with an equal plan, and the rendering they share.

use std::borrow::Cow;
use std::sync::Arc;

use bson::{RawDocument, Timestamp};
use bytes::Bytes;

use crate::delivery::{Budget, Ending, Outbox, Run, SendError, Sent};
use crate::engine::From;
use crate::engine::plan::{Framing, Plan, Served, Wanted};
use crate::mongo::{Event, ResumeToken};
use crate::query::Failure;
use crate::wire::frame;

/// One session in a group.
#[derive(Debug)]
pub(super) struct Member {
    outbox: Outbox,
    /// Until an event has passed it; then every further one does too, since events come in order.
    floor: Option<Floor>,
}

/// Up to which place events are not the member's concern.
#[derive(Clone, Debug)]
struct Floor {
    time: Option<Timestamp>,
    through: Option<ResumeToken>,
}

/// Frames are joined up to this length. It is what a thread remembers of a compressed one, and some eighty ordinary frames.
const RUN_BYTES_MAX: usize = 32 << 10;

/// All sessions with an equal plan.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) plan: Plan,
    members: Vec<Member>,
    /// How many members may have a floor still.
    unsettled: usize,
    /// Frames that every member gets with the next flush.
    waiting: Vec<Bytes>,
    waiting_bytes: usize,
    /// MongoDB's numbers of the errors that have been logged.
    failed: Vec<i32>,
}

impl Member {
    /// A session that wants what is written after its floor.
    pub(super) fn fresh(outbox: Outbox, from: &From) -> Self {
        Self {
            outbox,
            floor: Some(Floor {
                time: Some(from.floor),
                through: None,
            }),
        }
    }

    /// A session that has everything up to `token`.
    pub(super) fn resumed(outbox: Outbox, token: ResumeToken) -> Self {
        Self {
            outbox,
            floor: Some(Floor {
                time: None,
                through: Some(token),
            }),
        }
    }

    fn wants(&mut self, event: &Event) -> bool {
        let Some(floor) = &self.floor else {
            return true;
        };
        let late = floor.time.is_none_or(|time| event.time() > time)
            && floor
                .through
                .as_ref()
                .is_none_or(|token| event.token > *token);
        if late {
            self.floor = None;
        }
        late
    }

    fn is_gone(&self) -> bool {
        self.outbox.is_abandoned()
    }
}

impl Group {
    pub(super) fn new(plan: Plan) -> Self {
        Self {
            plan,
            members: Vec::new(),
            unsettled: 0,
            waiting: Vec::new(),
            waiting_bytes: 0,
            failed: Vec::new(),
        }
    }

    pub(super) fn join(&mut self, member: Member) {
        self.unsettled += 1;
        self.members.push(member);
    }

    /// Takes in the members of a group with an equal plan, who have been given everything up to `through`.
    pub(super) fn absorb(&mut self, other: Self, through: &ResumeToken) {
        debug_assert!(other.waiting.is_empty(), "frames wait for its members");
        for mut member in other.members {
            let floor = member.floor.get_or_insert(Floor {
                time: None,
                through: None,
            });
            floor.through = floor.through.take().max(Some(through.clone()));
            self.join(member);
        }
    }

    /// Offers an event: if the plan lets it pass, its frame is put behind those that wait for [`Group::flush`]. Returns
    /// whether that must be called, and this is the first to say so.
    pub(super) fn offer(&mut self, event: &Event, render: &mut Renderer<'_>) -> bool {
        if self.members.is_empty() {
            return false;
        }
        let outcome = match outcome(&self.plan, &event.raw) {
            Ok(Some(outcome)) => outcome,
            Ok(None) => return false,
            Err(failure) => {
                skipped(&self.plan, event, &failure, &mut self.failed);
                return false;
            }
        };
        if self.unsettled > 0 {
            let unconcerned = |member: &mut Member| !member.wants(event);
            let members = self.members.iter_mut().map(unconcerned);
            self.unsettled = members.filter(|is_unconcerned| *is_unconcerned).count();
            if self.unsettled == self.members.len() {
                return false;
            }
        }
        // One process, one budget: any member's is it.
        let budget = self.members[0].outbox.budget();
        let shown = render.show(&self.plan.wanted, &outcome, budget);
        match shown {
            Shown::Not => false,
            Shown::Frame(frame) if self.unsettled == 0 => self.append(frame),
            Shown::Frame(_) | Shown::TooLong => {
                self.flush().push_all(Manner::Queued);
                for member in &mut self.members {
                    if member.wants(event) {
                        shown.give(&member.outbox);
                    }
                }
                false
            }
        }
    }

    /// Returns whether it is the first frame that waits.
    fn append(&mut self, frame: Bytes) -> bool {
        let is_first = self.waiting.is_empty();
        if !is_first && self.waiting_bytes + frame.len() > RUN_BYTES_MAX {
            self.flush().push_all(Manner::Queued);
        }
        self.waiting_bytes += frame.len();
        self.waiting.push(frame);
        is_first
    }

    /// Takes the frames that wait, to be pushed to the members.
    pub(super) fn flush(&mut self) -> Flush<'_> {
        let run = match (self.members.first(), &*self.waiting) {
            (None, _) | (_, []) => None,
            (_, [only]) => Some(Run::from(only.clone())),
            (Some(first), several) => Some(Run::join(several, first.outbox.budget())),
        };
        self.waiting.clear();
        self.waiting_bytes = 0;
        Flush {
            run,
            members: self.members.iter(),
            written: 0,
        }
    }

    /// Ends every member that the event concerns.
    pub(super) fn end(&mut self, event: &Event, ending: Ending) {
        for member in &mut self.members {
            if member.wants(event) {
                member.outbox.end(ending);
            }
        }
    }

    /// Ends every member.
    pub(super) fn end_all(&self, ending: Ending) {
        self.members
            .iter()
            .for_each(|member| member.outbox.end(ending));
    }

    /// Ends every member that has not been ended yet, by a fault of ours.
    pub(super) fn abandon(&self) {
        for member in &self.members {
            // What still flushes for another reason may do so.
            if member.outbox.ended().is_none() {
                member.outbox.end(Ending::OurFault);
            }
        }
    }

    /// How many members it has.
    pub(super) fn len(&self) -> usize {
        self.members.len()
    }

    /// Removes the members whose session is over. Returns whether anybody is left.
    pub(super) fn sweep(&mut self) -> bool {
        self.members.retain(|member| !member.is_gone());
        self.members.shrink_to(self.members.len() * 2);
        !self.members.is_empty()
    }
}

/// Frames on their way to the members of a group.
pub(super) struct Flush<'a> {
    run: Option<Run>,
    members: std::slice::Iter<'a, Member>,
    /// How many frames sockets have already.
    written: u64,
}

impl Drop for Flush<'_> {
    fn drop(&mut self) {
        // Those that a session writes it counts itself.
        if self.written > 0 {
            metrics::counter!("sidestream_frames_total").increment(self.written);
        }
    }
}

/// How frames are given to an outbox.
#[derive(Clone, Copy, Debug)]
pub(super) enum Manner {
    /// Written to the socket of an idle session at once.
    Now,
    /// Left to the session, which writes them with those that follow.
    Queued,
}

impl Flush<'_> {
    /// Gives the frames to the next `most` members. Returns whether there are more.
    pub(super) fn push(&mut self, most: usize, manner: Manner) -> bool {
        let Some(run) = &self.run else {
            return false;
        };
        for member in self.members.by_ref().take(most) {
            let sent = match manner {
                Manner::Now => member.outbox.try_send_now(run.clone()),
                Manner::Queued => member.outbox.try_send(run.clone()).map(|()| Sent::Queued),
            };
            match sent {
                Ok(Sent::Written) => self.written += u64::from(run.frames),
                // A full outbox has ended itself, an ended one is swept away: nobody waits for either.
                Ok(Sent::Queued) | Err(SendError::Full | SendError::Ended) => (),
            }
        }
        self.members.len() > 0
    }

    /// Gives the frames to all members.
    pub(super) fn push_all(mut self, manner: Manner) {
        let more = self.push(usize::MAX, manner);
        debug_assert!(!more, "members were left out");
    }
}

/// What goes out of an event by a plan's own evaluation, if it passes. The stages of a dedicated plan were MongoDB's to
/// evaluate.
///
/// # Errors
/// Where the pipeline fails on the event.
pub(super) fn outcome<'e>(
    plan: &Plan,
    event: &'e RawDocument,
) -> Result<Option<Cow<'e, RawDocument>>, Failure> {
    let outcome = match &plan.served {
        Served::Shared(pipeline) => pipeline.run(event)?,
        Served::Dedicated { .. } => Some(Cow::Borrowed(event)),
    };
    let passes = match (&outcome, plan.notify.as_deref()) {
        (Some(outcome), Some(notify)) => notify.evaluate(outcome)?,
        (_, None) | (None, _) => true,
    };
    Ok(outcome.filter(|_| passes))
}

/// What becomes of an event for those who want to see it in one way.
#[derive(Clone, Debug)]
pub(super) enum Shown {
    Frame(Bytes),
    /// It cannot be shown, and is skipped.
    Not,
    /// It would be longer than a frame may be. To skip it would be a silent loss.
    TooLong,
}

impl Shown {
    /// Gives it to one session.
    pub(super) fn give(&self, outbox: &Outbox) {
        match self {
            Self::Frame(frame) => {
                // A full outbox has ended itself, an ended one is swept away: nobody waits for either.
                let _: Result<(), SendError> = outbox.try_send(frame.clone());
            }
            Self::Not => (),
            Self::TooLong => outbox.end(Ending::HistoryLost),
        }
    }
}

/// Counts an event on which a group's pipeline fails, and logs it unless its kind of error was already.
pub(super) fn skipped(plan: &Plan, event: &Event, failure: &Failure, logged: &mut Vec<i32>) {
    metrics::counter!("sidestream_events_skipped_total").increment(1);
    if logged.contains(&failure.code()) || logged.len() >= LOGGED_MAX {
        return;
    }
    logged.push(failure.code());
    tracing::warn!(
        collection = %plan.wanted.namespace,
        event = event.token.as_str(),
        reason = %failure,
        "event skipped, the pipeline fails on it; further ones of this kind are only counted"
    );
}

/// Kinds of errors of one group that are logged.
const LOGGED_MAX: usize = 16;

/// Renders one event, once for each way in which somebody wants to see it.
pub(super) struct Renderer<'a> {
    event: &'a Event,
    text: &'a mut String,
    rendered: Vec<(Arc<Wanted>, Shown)>,
}

impl<'a> Renderer<'a> {
    /// `text` is a buffer to work in, kept by the caller from event to event.
    pub(super) fn new(event: &'a Event, text: &'a mut String) -> Self {
        Self {
            event,
            text,
            rendered: Vec::new(),
        }
    }

    /// What there is for these wishes, within what frames may hold. `outcome` is what a plan makes of the event: if that is
    /// the event itself, others who wish the same share the frame.
    #[expect(
        clippy::ptr_arg,
        reason = "whether it is the event itself is what the frames are shared by"
    )]
    pub(super) fn show(
        &mut self,
        wanted: &Arc<Wanted>,
        outcome: &Cow<'_, RawDocument>,
        budget: &Arc<Budget>,
    ) -> Shown {
        if let Cow::Owned(reshaped) = outcome {
            return self.render(wanted, reshaped, budget);
        }
        let alike = |other: &Wanted| {
            other.mode == wanted.mode
                && other.framing == wanted.framing
                && other.veil == wanted.veil
        };
        if let Some((_, shown)) = self.rendered.iter().find(|(other, _)| alike(other)) {
            return shown.clone();
        }
        let shown = self.render(wanted, outcome, budget);
        self.rendered.push((Arc::clone(wanted), shown.clone()));
        shown
    }

    fn render(&mut self, wanted: &Wanted, outcome: &RawDocument, budget: &Arc<Budget>) -> Shown {
        if self.text.capacity() > TEXT_BYTES_KEPT {
            *self.text = String::new();
        }
        self.text.clear();
        let ids = matches!(wanted.framing, Framing::WebSocket { ids: true, .. });
        if let Err(error) = frame::event_text(outcome, wanted.mode, &wanted.veil, ids, self.text) {
            metrics::counter!("sidestream_events_skipped_total").increment(1);
            tracing::warn!(collection = %wanted.namespace, %error, "event skipped, it cannot be shown");
            return Shown::Not;
        }
        let bytes = self.text.len();
        if bytes > budget.frame_bytes_max() {
            metrics::counter!("sidestream_limits_reached_total", "limit" => "frame").increment(1);
            tracing::error!(collection = %wanted.namespace, bytes, "an event is longer than limits.frame, sessions are told");
            return Shown::TooLong;
        }
        metrics::counter!("sidestream_renderings_total").increment(1);
        Shown::Frame(budget.count(match wanted.framing {
            Framing::WebSocket { deflate: None, .. } => frame::websocket_text(self.text),
            Framing::WebSocket {
                deflate: Some(window),
                ..
            } => frame::websocket_text_deflated(self.text, window),
            Framing::Sse => frame::sse_event(&self.event.token.json(), self.text),
        }))
    }
}

/// What goes out of one event by a plan, rendered, if anything does. One on which the pipeline fails is skipped; `logged` are
/// the kinds of errors that were.
pub(super) fn shown(
    plan: &Plan,
    event: &Event,
    budget: &Arc<Budget>,
    text: &mut String,
    logged: &mut Vec<i32>,
) -> Option<Shown> {
    let outcome = outcome(plan, &event.raw).unwrap_or_else(|failure| {
        skipped(plan, event, &failure, logged);
        None
    });
    outcome.map(|outcome| Renderer::new(event, text).show(&plan.wanted, &outcome, budget))
}

/// What a buffer may keep for the next event: more than all but a few events need.
const TEXT_BYTES_KEPT: usize = 1 << 20;
