//! The recent events of a feed, for clients that come back.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use bson::Timestamp;

use crate::mongo::{Event, Namespace, ResumeToken};

/// The last events of one feed, bounded in bytes; the oldest go first.
#[derive(Debug)]
pub struct Ring {
    bytes_max: usize,
    inner: Mutex<Inner>,
    /// Numbers the pins.
    pins_next: AtomicU64,
}

/// Keeps what is behind a place in the ring while somebody reads up to that place elsewhere, so that a ring that moves
/// on quickly does not move past him. Within limits: see [`PINNED_BYTES_MAX`].
#[derive(Debug)]
pub struct Pin {
    ring: Arc<Ring>,
    id: u64,
}

impl Drop for Pin {
    fn drop(&mut self) {
        let mut inner = self.ring.lock();
        inner.pins.remove(&self.id);
        inner.evict(self.ring.bytes_max);
    }
}

#[derive(Debug, Default)]
struct Inner {
    events: VecDeque<Arc<Event>>,
    bytes: usize,
    /// Every event after this place and up to the feed's position is here. `None`: the feed has no position yet.
    after: Option<ResumeToken>,
    /// The database of the event at that place, if it is one that was here.
    after_in: Arc<str>,
    /// Places behind which nothing is to go.
    pins: HashMap<u64, ResumeToken>,
    /// Collections that joined the watched set later than that: from which place on.
    joined: HashMap<Namespace, ResumeToken>,
}

impl Ring {
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self {
            bytes_max,
            inner: Mutex::default(),
            pins_next: AtomicU64::new(0),
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
            inner.after_in = event.database.clone();
            return;
        }
        inner.bytes += event.bytes();
        inner.events.push_back(event);
        inner.evict(self.bytes_max);
    }

    /// Whether this is the place of an event in this database that is here, or was the last to go. Every other place may
    /// be none of this database's history.
    pub fn holds(&self, token: &ResumeToken, database: &str) -> bool {
        let inner = self.lock();
        let found = inner
            .events
            .binary_search_by(|event| event.token.cmp(token));
        match found {
            Ok(at) => *inner.events[at].database == *database,
            Err(_) => inner.after.as_ref() == Some(token) && *inner.after_in == *database,
        }
    }

    /// As [`Ring::reaches_back_to`], and keeps what is behind that place until the pin is dropped.
    pub fn pin(self: &Arc<Self>, namespace: &Namespace) -> Option<(ResumeToken, Pin)> {
        let mut inner = self.lock();
        let reach = inner.reach(namespace)?.clone();
        let id = self.pins_next.fetch_add(1, Ordering::Relaxed);
        inner.pins.insert(id, reach.clone());
        drop(inner);
        let ring = Arc::clone(self);
        Some((reach, Pin { ring, id }))
    }

    /// When the place was, behind which every event is here.
    pub fn reaches_back_to_time(&self) -> Option<Timestamp> {
        self.lock().after.as_ref().map(ResumeToken::time)
    }

    /// Bytes that it may hold.
    pub fn bytes_max(&self) -> usize {
        self.bytes_max
    }

    /// Events held.
    pub fn events(&self) -> usize {
        self.lock().events.len()
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

/// What pins may keep beyond the ring's own bound, all of them together: a second or so of a database that is written to as
/// fast as one process can read it.
const PINNED_BYTES_MAX: usize = 16 << 20;

impl Inner {
    /// Lets the oldest events go, as far as there are too many.
    fn evict(&mut self, bytes_max: usize) {
        let pinned = match self.bytes > bytes_max {
            true => self.pins.values().min().cloned(),
            false => return,
        };
        let pinned_bytes_max = bytes_max.saturating_add(PINNED_BYTES_MAX);
        while self.bytes > bytes_max {
            let is_kept = |oldest: &Arc<Event>| {
                self.bytes <= pinned_bytes_max
                    && pinned.as_ref().is_some_and(|place| oldest.token > *place)
            };
            if self.events.front().is_none_or(is_kept) {
                break;
            }
            let Some(oldest) = self.events.pop_front() else {
                break;
            };
            self.bytes -= oldest.bytes();
            self.after = Some(oldest.token.clone());
            self.after_in = oldest.database.clone();
        }
    }

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
    fn knows_only_ids_that_it_held() {
        let ring = Ring::new(event(2).bytes() * 2);
        ring.restart(place(0));
        (1..=6)
            .filter(|second| *second != 5)
            .for_each(|second| ring.push(event(second)));
        let held = |second| ring.holds(&place(second), "d");
        assert_eq!(
            (1..=7).filter(|second| held(*second)).collect::<Vec<_>>(),
            [3, 4, 6]
        );
        assert!(!ring.holds(&place(6), "other"), "an id of another database");
    }

    #[test]
    fn what_is_pinned_stays_within_limits() {
        let ring = Arc::new(Ring::new(0));
        let even = Namespace::new("d", "even");
        ring.restart(place(0));
        let (reach, pin) = ring.pin(&even).unwrap();
        assert_eq!(reach, place(0));
        (1..=10).for_each(|second| ring.push(event(second)));
        let count = |ring: &Ring| ring.since(&place(0), &even).map(|events| events.len());
        assert_eq!(count(&ring), Some(5));
        drop(pin);
        assert_eq!((count(&ring), ring.bytes()), (None, 0));
        let (reach, _pin) = ring.pin(&even).unwrap();
        let mut second = 11;
        while ring
            .reaches_back_to(&even)
            .is_some_and(|begins| begins <= reach)
        {
            ring.push(event(second));
            second += 1;
        }
        assert!(ring.bytes() <= PINNED_BYTES_MAX && ring.bytes() > PINNED_BYTES_MAX / 2);
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
