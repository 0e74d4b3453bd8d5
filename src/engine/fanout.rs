//! Groups of sessions with an equal plan, and the rendering they share.

use bson::{RawDocument, Timestamp};
use bytes::Bytes;

use crate::delivery::{Ending, Outbox};
use crate::engine::From;
use crate::engine::plan::{Framing, Plan, Served, Wanted};
use crate::mongo::{Event, ResumeToken};
use crate::query::Predicate;
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

/// All sessions with an equal plan.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) plan: Plan,
    members: Vec<Member>,
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
        }
    }

    pub(super) fn join(&mut self, member: Member) {
        self.members.push(member);
    }

    /// Offers an event: if the plan lets it pass, every member that wants it gets the one frame, as it is pushed.
    pub(super) fn offer<'a, 'b>(
        &'a mut self,
        event: &'a Event,
        render: &'a mut Renderer<'b>,
    ) -> Pushes<'a, 'b> {
        let members: &mut [Member] = match passes(&self.plan, &event.raw) {
            true => &mut self.members,
            false => &mut [],
        };
        Pushes {
            wanted: &self.plan.wanted,
            members: members.iter_mut(),
            event,
            render,
            frame: None,
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

    /// Removes the members whose session is over. Returns whether anybody is left.
    pub(super) fn sweep(&mut self) -> bool {
        self.members.retain(|member| !member.is_gone());
        self.members.shrink_to(self.members.len() * 2);
        !self.members.is_empty()
    }
}

/// One event on its way to the members of a group.
pub(super) struct Pushes<'a, 'b> {
    wanted: &'a std::sync::Arc<Wanted>,
    members: std::slice::IterMut<'a, Member>,
    event: &'a Event,
    render: &'a mut Renderer<'b>,
    frame: Option<Bytes>,
}

impl Pushes<'_, '_> {
    /// Gives the frame to those of the next `most` members that want it. Returns whether there are more.
    pub(super) fn push(&mut self, most: usize) -> bool {
        for member in self.members.by_ref().take(most) {
            if !member.wants(self.event) {
                continue;
            }
            // Rendered only if somebody wants it: a group may consist of members that are not concerned yet.
            if self.frame.is_none() {
                self.frame = self.render.frame(self.wanted);
            }
            let Some(frame) = &self.frame else {
                return false;
            };
            // A full outbox has ended itself, an ended one is swept away: nobody waits for either.
            let _: Result<(), crate::delivery::SendError> = member.outbox.try_send(frame.clone());
        }
        self.members.len() > 0
    }

    /// Gives the frame to all members that want it.
    pub(super) fn push_all(mut self) {
        let more = self.push(usize::MAX);
        debug_assert!(!more, "members were left out");
    }
}

/// Whether an event passes a plan's own evaluation. The stages of a dedicated plan were MongoDB's to evaluate.
pub(super) fn passes(plan: &Plan, event: &RawDocument) -> bool {
    let stages = match &plan.served {
        Served::Shared(predicates) => predicates
            .iter()
            .all(|predicate| holds(plan, predicate, event)),
        Served::Dedicated { .. } => true,
    };
    let notify = plan.notify.as_ref();
    stages && notify.is_none_or(|notify| holds(plan, notify, event))
}

/// Whether a predicate lets an event pass. One that fails on it (`$divide` by a string) skips it for this group.
fn holds(plan: &Plan, predicate: &Predicate, event: &RawDocument) -> bool {
    predicate.evaluate(event).unwrap_or_else(|error| {
        metrics::counter!("sidestream_events_skipped_total").increment(1);
        let namespace = &plan.wanted.namespace;
        tracing::warn!(collection = %namespace, %error, "event skipped, the filter fails on it");
        false
    })
}

/// Renders one event, once for each way in which somebody wants to see it.
pub(super) struct Renderer<'a> {
    event: &'a Event,
    text: &'a mut String,
    rendered: Vec<(std::sync::Arc<Wanted>, Option<Bytes>)>,
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

    /// The frame for these wishes; `None` if the event cannot be shown (it is skipped, counted and logged).
    pub(super) fn frame(&mut self, wanted: &std::sync::Arc<Wanted>) -> Option<Bytes> {
        let alike = |other: &Wanted| {
            other.mode == wanted.mode
                && other.framing == wanted.framing
                && other.veil == wanted.veil
        };
        if let Some((_, frame)) = self.rendered.iter().find(|(other, _)| alike(other)) {
            return frame.clone();
        }
        let frame = self.render(wanted);
        self.rendered
            .push((std::sync::Arc::clone(wanted), frame.clone()));
        frame
    }

    fn render(&mut self, wanted: &Wanted) -> Option<Bytes> {
        self.text.clear();
        let ids = matches!(wanted.framing, Framing::WebSocket { ids: true });
        if let Err(error) =
            frame::event_text(&self.event.raw, wanted.mode, &wanted.veil, ids, self.text)
        {
            metrics::counter!("sidestream_events_skipped_total").increment(1);
            tracing::warn!(collection = %wanted.namespace, %error, "event skipped, it cannot be shown");
            return None;
        }
        metrics::counter!("sidestream_renderings_total").increment(1);
        Some(match wanted.framing {
            Framing::WebSocket { .. } => frame::websocket_text(self.text),
            Framing::Sse => frame::sse_event(&self.event.token.json(), self.text),
        })
    }
}
