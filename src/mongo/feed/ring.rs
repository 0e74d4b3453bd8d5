//! The recent events of a feed, for clients that come back.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};

use crate::mongo::{Event, Namespace, ResumeToken};

/// The last events of one feed, bounded in bytes; the oldest go first.
#[derive(Debug)]
pub struct Ring {
    bytes_max: usize,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    events: VecDeque<Arc<Event>>,
    bytes: usize,
    /// Every event after this place and up to the feed's position is here. `None`: the feed has no position yet.
    after: Option<ResumeToken>,
    /// Collections that joined the watched set later than that: from which place on.
    joined: HashMap<Namespace, ResumeToken>,
}

impl Ring {
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self {
            bytes_max,
            inner: Mutex::default(),
        }
    }

    /// Starts anew at `position`: what came before is not continuous with what will come.
    pub(crate) fn restart(&self, position: ResumeToken) {
        *self.lock() = Inner {
            after: Some(position),
            ..Inner::default()
        };
    }

    /// Forgets everything: history was lost, and where the feed goes on is not known yet.
    pub(super) fn clear(&self) {
        *self.lock() = Inner::default();
    }

    /// Says that `namespace` is watched from `position` on only.
    pub(super) fn join(&self, namespace: Namespace, position: ResumeToken) {
        self.lock().joined.insert(namespace, position);
    }

    pub(crate) fn push(&self, event: Arc<Event>) {
        let mut inner = self.lock();
        if inner.after.is_none() {
            // The feed began with events at once: the first of them is the place from which on all is here.
            inner.after = Some(event.token.clone());
            return;
        }
        inner.bytes += event.bytes();
        inner.events.push_back(event);
        while inner.bytes > self.bytes_max {
            let Some(oldest) = inner.events.pop_front() else {
                break;
            };
            inner.bytes -= oldest.bytes();
            inner.after = Some(oldest.token.clone());
        }
    }

    /// Returns the events of `namespace` after `token`, oldest first; `None` if the ring does not reach that far back.
    pub fn since(&self, token: &ResumeToken, namespace: &Namespace) -> Option<Vec<Arc<Event>>> {
        let inner = self.lock();
        if inner.reach(namespace)? > token {
            return None;
        }
        let start = inner.events.partition_point(|event| event.token <= *token);
        let concerns = |event: &&Arc<Event>| event.concerns(namespace);
        Some(
            inner
                .events
                .iter()
                .skip(start)
                .filter(concerns)
                .cloned()
                .collect(),
        )
    }

    /// The place behind which every event of `namespace` is here.
    pub fn reaches_back_to(&self, namespace: &Namespace) -> Option<ResumeToken> {
        self.lock().reach(namespace).cloned()
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        self.lock().bytes
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner
            .lock()
            .expect("invariant: no code panics while it holds this lock")
    }
}

impl Inner {
    fn reach(&self, namespace: &Namespace) -> Option<&ResumeToken> {
        let after = self.after.as_ref()?;
        Some(
            self.joined
                .get(namespace)
                .map_or(after, |joined| joined.max(after)),
        )
    }
}

#[cfg(test)]
mod tests {
    use bson::{RawDocumentBuf, doc};

    use super::*;

    fn event(second: u32) -> Arc<Event> {
        let document = doc! {
            "_id": { "_data": format!("82{second:08X}00000001") }, "operationType": "insert",
            "ns": { "db": "d", "coll": if second.is_multiple_of(2) { "even" } else { "odd" } },
        };
        Arc::new(Event::read(RawDocumentBuf::try_from(document).unwrap()).unwrap())
    }

    fn place(second: u32) -> ResumeToken {
        ResumeToken::parse(&format!("82{second:08X}00000001")).unwrap()
    }

    #[test]
    fn gives_what_came_after_or_says_that_it_cannot() {
        let ring = Ring::new(event(2).bytes() * 4);
        let even = Namespace::new("d", "even");
        assert_eq!(
            ring.since(&place(0), &even).map(|events| events.len()),
            None
        );
        ring.restart(place(0));
        (1..=6).for_each(|second| ring.push(event(second)));
        let seconds = |from| {
            let events = ring.since(&place(from), &even)?;
            Some(
                events
                    .iter()
                    .map(|event| event.time().time)
                    .collect::<Vec<_>>(),
            )
        };
        assert_eq!(seconds(1), None, "event 2 has left the ring");
        assert_eq!(seconds(2), Some(vec![4, 6]));
        assert_eq!(seconds(4), Some(vec![6]));
        assert_eq!(seconds(9), Some(vec![]));
        ring.join(Namespace::new("d", "even"), place(5));
        assert_eq!(
            ring.since(&place(4), &even).map(|events| events.len()),
            None
        );
        assert_eq!(
            ring.since(&place(5), &even).map(|events| events.len()),
            Some(1)
        );
    }
    #[test]
    fn after_a_gap_it_reaches_nowhere_until_the_feed_has_a_place() {
        let ring = Ring::new(1 << 20);
        let even = Namespace::new("d", "even");
        ring.restart(place(0));
        ring.push(event(2));
        ring.clear();
        assert!(ring.since(&place(1), &even).is_none());
        assert_eq!(ring.bytes(), 0);
        ring.restart(place(8));
        assert!(ring.since(&place(1), &even).is_none());
        assert_eq!(
            ring.since(&place(8), &even).map(|events| events.len()),
            Some(0)
        );
    }
}
