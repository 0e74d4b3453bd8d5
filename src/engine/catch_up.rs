//! Clients that come back with an id older than the ring.
//!
//! Each has a task of its own that brings it forward until it can join the live group at a known place. Where the ring
//! reaches it gives, as fast as the client reads. Before that the client *rides*: a cursor is opened behind the oldest of all
//! ids that wait, and takes along everybody whose id it passes, so a thousand clients that come back at once cost a few
//! cursors. A ride ends where the ring began, and the ring keeps what is behind that place until its passengers have it.
//!
//! Nothing is handed out before the feed has passed it, or a revocation could be overtaken.

mod ride;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use mongodb::Client;
use tokio::sync::{Semaphore, oneshot};
use tokio::time::Instant;

use ride::{Arrival, Passenger, Ride};

use crate::delivery::{Ending, Outbox};
use crate::engine::worker::replay;
use crate::engine::{EngineSettings, From, Hub, Plan, Refused, Subscription};
use crate::lifecycle::Tasks;
use crate::mongo::feed::{Feed, Pin};
use crate::mongo::{Event, MongoError, Namespace, ResumeToken};

/// How long a client that comes back waits for its turn, and for its id to be found.
const TURN_TIMEOUT: Duration = Duration::from_secs(10);
/// How long it waits for a feed without a place before it looks again whether its session is still there.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);
/// A frame is about as large as its event twice; what waits stays below half of the outbox's bound.
const BYTES_PER_EVENT_BYTE: usize = 4;
/// Passengers of one ride.
const PASSENGERS_MAX: usize = 1000;

/// Where all who come back wait, and what bounds the cursors that serve them.
#[derive(Debug)]
pub(super) struct CatchUps {
    client: Client,
    hub: Arc<Hub>,
    tasks: Tasks,
    cursors_max: usize,
    /// First come, first served.
    permits: Arc<Semaphore>,
    /// The pause between two openings.
    pause: Duration,
    /// When the next may be. Whoever holds it is the next.
    next_opening: tokio::sync::Mutex<Instant>,
    waiting: Mutex<HashMap<Namespace, Vec<Passenger>>>,
}

/// Whether these events can be queued at once without making a healthy client look slow.
pub(super) fn fits(events: &[Arc<Event>], outbox: &Outbox) -> bool {
    let bytes: usize = events.iter().map(|event| event.bytes()).sum();
    bytes.saturating_mul(BYTES_PER_EVENT_BYTE) <= outbox.bytes_max()
}

/// Whether this event can be queued beside what waits.
fn has_room(event: &Event, outbox: &Outbox) -> bool {
    let bytes = event.bytes().saturating_mul(BYTES_PER_EVENT_BYTE);
    let queued = outbox.queued_bytes();
    queued == 0 || queued.saturating_add(bytes) <= outbox.bytes_max()
}

impl CatchUps {
    pub(super) fn new(
        client: Client,
        hub: Arc<Hub>,
        settings: EngineSettings,
        tasks: Tasks,
    ) -> Self {
        let per_second = settings.catch_up_cursors_per_second.max(1);
        Self {
            client,
            hub,
            tasks,
            cursors_max: settings.catch_up_cursors_max,
            permits: Arc::new(Semaphore::new(settings.catch_up_cursors_max)),
            pause: Duration::from_secs(1) / u32::try_from(per_second).unwrap_or(u32::MAX),
            next_opening: tokio::sync::Mutex::new(Instant::now()),
            waiting: Mutex::default(),
        }
    }

    /// Subscribes a client behind its id, once that was found in history, and goes on in the background.
    ///
    /// # Errors
    /// [`Refused::HistoryLost`] if history has no such event, or no more; [`Refused::Limit`] if its turn does not come;
    /// [`Refused::Unavailable`].
    /// # Cancel safety
    /// Safe: what was begun ends with the outbox.
    pub(super) async fn subscribe(
        self: &Arc<Self>,
        feed: &Arc<Feed>,
        plan: Plan,
        from: From,
        token: ResumeToken,
        outbox: Outbox,
    ) -> Result<Subscription, Refused> {
        let is_known = feed.ring().holds(&token, &plan.wanted.namespace.database);
        let departures = Arc::new(OnceLock::new());
        let (found, answer) = oneshot::channel();
        let catch_up = CatchUp {
            all: Arc::clone(self),
            feed: Arc::clone(feed),
            plan,
            from,
            outbox,
            at: token,
            found: Some(found),
            is_known,
        };
        let told = Arc::clone(&departures);
        self.tasks.spawn("engine.catch_up", async move {
            let outbox = catch_up.outbox.clone();
            let _unwinding = Unwinding(outbox.clone());
            match catch_up.run().await {
                Ok(None) => (),
                Ok(Some(subscription)) => {
                    if let Some(worker) = subscription.departures.get() {
                        // The session's own guard speaks to the worker from now on.
                        drop(told.set(Arc::clone(worker)));
                    }
                    // If the session ended before it was told, this one speaks for it: dropping it notices.
                }
                Err(ending) => outbox.end(ending),
            }
        });
        self.found(answer).await?;
        Ok(Subscription { departures })
    }

    /// Finds out whether an id is that of an event in this collection's database.
    ///
    /// # Errors
    /// As [`CatchUps::subscribe`].
    /// # Cancel safety
    /// Safe.
    pub(super) async fn verify(
        self: &Arc<Self>,
        feed: &Arc<Feed>,
        plan: &Plan,
        token: &ResumeToken,
        outbox: &Outbox,
    ) -> Result<(), Refused> {
        if feed.ring().holds(token, &plan.wanted.namespace.database) {
            return Ok(());
        }
        let (found, answer) = oneshot::channel();
        // Nobody waits for it to arrive: it alights where its id is found.
        let (arrived, _) = oneshot::channel();
        self.board(Passenger {
            feed: Arc::clone(feed),
            plan: plan.clone(),
            outbox: outbox.clone(),
            at: token.clone(),
            found: Some(found),
            arrived,
        });
        self.found(answer).await
    }

    async fn found(&self, answer: oneshot::Receiver<Result<(), Refused>>) -> Result<(), Refused> {
        let patience = match self.cursors_max {
            0 => Duration::ZERO,
            _ => TURN_TIMEOUT,
        };
        match tokio::time::timeout(patience, answer).await {
            Ok(Ok(found)) => found,
            // Its task panicked, or the process ends: no word on history.
            Ok(Err(_)) => Err(Refused::Unavailable(MongoError::Unreachable(
                "nobody looks for the id any more".to_owned(),
            ))),
            Err(_) => Err(Refused::Limit {
                limit: "catch_up_cursors",
            }),
        }
    }

    /// Lets somebody wait for the next ride of his collection.
    fn board(self: &Arc<Self>, passenger: Passenger) {
        let namespace = passenger.plan.wanted.namespace.clone();
        self.waiting()
            .entry(namespace.clone())
            .or_default()
            .push(passenger);
        // One turn for each that waits: whose turn comes first takes all along, and the others find nobody.
        let all = Arc::clone(self);
        self.tasks.spawn("engine.ride", async move {
            // The semaphore is never closed; and it is first come, first served.
            let Ok(_permit) = Arc::clone(&all.permits).acquire_owned().await else {
                return;
            };
            let mut next = all.next_opening.lock().await;
            if !all.waiting().contains_key(&namespace) {
                return;
            }
            tokio::time::sleep_until(*next).await;
            let passengers = all.take(&namespace);
            let Some(ride) = Ride::new(all.client.clone(), namespace, passengers) else {
                return;
            };
            *next = Instant::now() + all.pause;
            drop(next);
            ride.run(|| all.pace()).await;
        });
    }

    /// Waits until another cursor may be opened.
    async fn pace(&self) {
        let mut next = self.next_opening.lock().await;
        tokio::time::sleep_until(*next).await;
        *next = Instant::now() + self.pause;
    }

    /// Takes those who wait, the longest first; all of one feed.
    fn take(&self, namespace: &Namespace) -> Vec<Passenger> {
        let mut waiting = self.waiting();
        let all = waiting.remove(namespace).unwrap_or_default();
        let Some(feed) = all.first().map(|first| Arc::clone(&first.feed)) else {
            return Vec::new();
        };
        let (mut taken, mut left) = (Vec::new(), Vec::new());
        for passenger in all {
            match Arc::ptr_eq(&passenger.feed, &feed) && taken.len() < PASSENGERS_MAX {
                true => taken.push(passenger),
                false => left.push(passenger),
            }
        }
        if !left.is_empty() {
            waiting.insert(namespace.clone(), left);
        }
        taken
    }

    fn waiting(&self) -> std::sync::MutexGuard<'_, HashMap<Namespace, Vec<Passenger>>> {
        self.waiting.lock().expect(NEVER_POISONED)
    }
}

/// Ends the session if its task panics: other hands hold the outbox too, so nobody else would.
struct Unwinding(Outbox);

impl Drop for Unwinding {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.end(Ending::OurFault);
        }
    }
}

/// Brings one session from an old place up to the present.
struct CatchUp {
    all: Arc<CatchUps>,
    feed: Arc<Feed>,
    plan: Plan,
    from: From,
    outbox: Outbox,
    /// The client has everything up to here.
    at: ResumeToken,
    /// Told whether history has the client's id.
    found: Option<oneshot::Sender<Result<(), Refused>>>,
    /// Whether that is known: an id that was only made up is never served.
    is_known: bool,
}

impl CatchUp {
    /// Returns the membership, or nothing if the session ended meanwhile.
    async fn run(mut self) -> Result<Option<Subscription>, Ending> {
        let namespace = self.plan.wanted.namespace.clone();
        let mut pin: Option<Arc<Pin>> = None;
        if self.is_known {
            self.tell_found();
        }
        loop {
            if self.outbox.is_abandoned() || self.outbox.ended().is_some() {
                return Ok(None);
            }
            // Replays and rides stay below the bound by themselves; what the last push adds needs half of it.
            if self.outbox.queued_bytes() > self.outbox.bytes_max() / 2 {
                pin = None;
                self.outbox.emptied().await;
                continue;
            }
            let ring = Arc::clone(self.feed.ring());
            if self.is_known
                && let Some(events) = ring.since(&self.at, &namespace)
            {
                if !fits(&events, &self.outbox) {
                    // Whoever reads slowly must not hold what is kept for others.
                    pin = None;
                    self.replay(&events).await;
                    continue;
                }
                let (plan, from) = (self.plan.clone(), self.from.clone());
                let again = (ring, self.at.clone());
                let joined = self.all.hub.rejoin(plan, from, self.outbox.clone(), again);
                if let Some(subscription) = joined.await {
                    return Ok(Some(subscription));
                }
                continue;
            }
            drop(pin.take());
            if ring.reaches_back_to(&namespace).is_none() {
                // The feed lost its place: what it will have passed is not known before it has one again.
                let mut position = self.feed.position();
                let known = position.wait_for(Option::is_some);
                // Not longer, so that it is noticed when the session goes away.
                drop(tokio::time::timeout(LOOK_INTERVAL, known).await);
                continue;
            }
            pin = self.ride().await?;
        }
    }

    /// Rides until the ring reaches, or the client does not keep up.
    async fn ride(&mut self) -> Result<Option<Arc<Pin>>, Ending> {
        let (arrived, arrival) = oneshot::channel();
        self.all.board(Passenger {
            feed: Arc::clone(&self.feed),
            plan: self.plan.clone(),
            outbox: self.outbox.clone(),
            at: self.at.clone(),
            found: self.found.take(),
            arrived,
        });
        match arrival.await {
            Ok(Arrival::At(place, pin)) => {
                self.is_known = true;
                self.at = place;
                Ok(pin)
            }
            Ok(Arrival::Ended(ending)) => Err(ending),
            // Refused, and the client was told so; or the process ends.
            Err(_) => Err(Ending::OurFault),
        }
    }

    async fn replay(&mut self, events: &[Arc<Event>]) {
        let (mut text, mut logged) = (String::new(), Vec::new());
        for event in events {
            if !has_room(event, &self.outbox) {
                self.outbox.emptied().await;
            }
            let only = std::iter::once(&self.outbox);
            replay(&self.plan, event, only, &mut text, &mut logged);
            self.at = event.token.clone();
        }
    }

    fn tell_found(&mut self) {
        if let Some(found) = self.found.take() {
            // Whoever asked may have gone away: then the outbox is abandoned.
            drop(found.send(Ok(())));
        }
    }
}

const NEVER_POISONED: &str = "invariant: no code panics while it holds this lock";
