//! A client that comes back with an id older than the ring: a cursor of its own until the ring reaches it.

use std::collections::BTreeSet;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use mongodb::Client;
use tokio::sync::Semaphore;

use crate::delivery::{Ending, Outbox};
use crate::engine::worker::replay_one;
use crate::engine::{From, Hub, Plan, Refused, Subscription};
use crate::lifecycle::Tasks;
use crate::mongo::feed::{CODE_TOO_LARGE, Feed, Reading, Start, Step, Tail, open};
use crate::mongo::{Event, MongoError, Namespace, ResumeToken};

/// How long a client that comes back waits for its turn.
pub(super) const TURN_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a catch-up cursor waits for events that are not there: its token moves when that ends.
const AWAIT_MAX: Duration = Duration::from_millis(100);
/// `Unauthorized`.
const CODE_UNAUTHORIZED: i32 = 13;
/// A frame is about as large as its event twice; what waits stays below half of the outbox's bound.
const BYTES_PER_EVENT_BYTE: usize = 4;

/// Brings one session from an old place up to where the feed's ring begins.
pub(super) struct CatchUp {
    pub(super) client: Client,
    pub(super) feed: Arc<Feed>,
    pub(super) hub: Arc<Hub>,
    pub(super) permits: Arc<Semaphore>,
    /// How long it waits for its turn.
    pub(super) patience: Duration,
    /// How long the client may take for what its outbox holds.
    pub(super) taken_within: Duration,
    pub(super) plan: Plan,
    pub(super) from: From,
    pub(super) outbox: Outbox,
}

/// Whether these events can be queued at once without making a healthy client look slow.
pub(super) fn fits(events: &[Arc<Event>], outbox: &Outbox) -> bool {
    let bytes: usize = events.iter().map(|event| event.bytes()).sum();
    bytes.saturating_mul(BYTES_PER_EVENT_BYTE) <= outbox.bytes_max()
}

impl CatchUp {
    /// Opens the cursor, if one is needed, and goes on in the background.
    ///
    /// # Errors
    /// [`Refused::HistoryLost`] if history does not reach back to `token`; [`Refused::Limit`] if its turn does not come;
    /// [`Refused::Unavailable`].
    pub(super) async fn start(
        self,
        token: ResumeToken,
        tasks: &Tasks,
    ) -> Result<Subscription, Refused> {
        let turn = tokio::time::timeout(self.patience, Arc::clone(&self.permits).acquire_owned());
        let permit = turn.await.map_err(|_| Refused::Limit {
            limit: "catch_up_cursors",
        })?;
        let permit = permit.expect("invariant: this semaphore is never closed");
        let namespace = self.plan.wanted.namespace.clone();
        let mut past = Past {
            feed: Arc::clone(&self.feed),
            namespace,
            at: token,
            cursor: None,
        };
        past.open_if_needed(&self.client).await?;
        let departures = Arc::new(OnceLock::new());
        let told = Arc::clone(&departures);
        tasks.spawn("engine.catch_up", async move {
            let outbox = self.outbox.clone();
            let _unwinding = Unwinding(outbox.clone());
            match self.run(past).await {
                Ok(None) => (),
                Ok(Some(subscription)) => {
                    if let Some(worker) = subscription.departures.get() {
                        // The session's own guard speaks to the worker from now on.
                        drop(told.set(Arc::clone(worker)));
                    }
                    // If the session ended before it was told, this one speaks for it: dropping it notices.
                }
                // An event that is too large to be sent is as lost as one that history has forgotten.
                Err(
                    MongoError::HistoryLost(_)
                    | MongoError::Refused {
                        code: CODE_TOO_LARGE,
                        ..
                    },
                ) => outbox.end(Ending::HistoryLost),
                Err(error) => {
                    tracing::warn!(%error, "catch-up failed, the client comes again");
                    outbox.end(Ending::OurFault);
                }
            }
            drop(permit);
        });
        Ok(Subscription { departures })
    }

    /// Returns the membership, or nothing if the session ended meanwhile.
    async fn run(self, mut past: Past) -> Result<Option<Subscription>, MongoError> {
        let (mut text, mut logged) = (String::new(), Vec::new());
        loop {
            if self.outbox.is_abandoned() || self.outbox.ended().is_some() {
                return Ok(None);
            }
            let (events, is_near) = past.next(&self.client).await?;
            let is_last = is_near && fits(&events, &self.outbox);
            for event in events {
                let bytes = event.bytes().saturating_mul(BYTES_PER_EVENT_BYTE);
                let queued = self.outbox.queued_bytes();
                if queued > 0 && queued.saturating_add(bytes) > self.outbox.bytes_max() {
                    let taken =
                        tokio::time::timeout(self.taken_within, self.outbox.emptied()).await;
                    if taken.is_err() {
                        metrics::counter!("sidestream_limits_reached_total", "limit" => "outbox")
                            .increment(1);
                        self.outbox.end(Ending::Slow);
                        return Ok(None);
                    }
                }
                replay_one(&self.plan, &event, &self.outbox, &mut text, &mut logged);
                past.at = event.token.clone();
            }
            if !is_last {
                continue;
            }
            // Little is left. Should the ring have moved on even over that, the cursor goes on from where it is.
            let again = (Arc::clone(self.feed.ring()), past.at.clone());
            let (plan, from) = (self.plan.clone(), self.from.clone());
            let outbox = self.outbox.clone();
            if let Some(subscription) = self.hub.rejoin(plan, from, outbox, again).await {
                return Ok(Some(subscription));
            }
        }
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

/// Where the events between an id and the present come from.
struct Past {
    feed: Arc<Feed>,
    namespace: Namespace,
    /// Everything up to here has been handed out.
    at: ResumeToken,
    cursor: Option<Tail>,
}

impl Past {
    async fn open_if_needed(&mut self, client: &Client) -> Result<(), Refused> {
        if self.feed.ring().since(&self.at, &self.namespace).is_some() {
            return Ok(());
        }
        let opened = self.open_behind(client).await;
        self.cursor = Some(opened.map_err(|error| match error {
            MongoError::HistoryLost(_) => Refused::HistoryLost,
            // A token that is no token to MongoDB either, unless it is us whom MongoDB refuses.
            MongoError::Refused { code, .. } if code != CODE_UNAUTHORIZED => Refused::HistoryLost,
            other => Refused::Unavailable(other),
        })?);
        Ok(())
    }

    /// The next events, and whether they are all that the feed has brought.
    async fn next(&mut self, client: &Client) -> Result<(Vec<Arc<Event>>, bool), MongoError> {
        let ring = self.feed.ring();
        if let Some(events) = ring.since(&self.at, &self.namespace) {
            self.cursor = None;
            return Ok((events, true));
        }
        if ring.reaches_back_to(&self.namespace).is_none() {
            // The feed lost its place: what it will have passed is not known before it has one again.
            let mut position = self.feed.position();
            let known = position.wait_for(Option::is_some);
            // Not longer, so that the caller can look whether the session is still there.
            drop(tokio::time::timeout(AWAIT_MAX, known).await);
            return Ok((Vec::new(), false));
        }
        if self.cursor.is_none() {
            // The ring moved on while the client was reading.
            self.cursor = Some(self.open_behind(client).await?);
        }
        let cursor = self.cursor.as_mut().expect("invariant: opened just above");
        let raw = match cursor.step().await? {
            Step::Event(raw) => raw,
            Step::Nothing => {
                if let Some(token) = cursor.token() {
                    self.at = self.at.clone().max(token.clone());
                }
                return Ok((Vec::new(), false));
            }
            // The database was dropped: the event that says so has been handed out.
            Step::End => {
                return Err(MongoError::HistoryLost(
                    "the database was dropped".to_owned(),
                ));
            }
        };
        let Some(event) = Event::read(raw) else {
            return Ok((Vec::new(), false));
        };
        // Nothing may be handed out before the feed has passed it, or a revocation could be overtaken. Between here and
        // where the ring begins there is nothing; behind that the ring serves.
        match self.feed.ring().reaches_back_to(&self.namespace) {
            Some(reach) if event.token <= reach => {
                // The id may be older than the collection, or the stream a whole deployment's.
                let concerns = event.concerns(&self.namespace);
                self.at = event.token.clone();
                Ok((
                    concerns.then(|| Arc::new(event)).into_iter().collect(),
                    false,
                ))
            }
            Some(reach) => {
                // If the ring has moved on by the next round, a cursor begins anew at this place: the event comes again.
                self.cursor = None;
                self.at = self.at.clone().max(reach);
                Ok((Vec::new(), false))
            }
            None => {
                // The event comes again when the feed has a place.
                self.cursor = None;
                Ok((Vec::new(), false))
            }
        }
    }

    /// A stream as wide as the feed's: an id may be that of an event in another collection, and where the ring begins may be
    /// one in another database.
    async fn open_behind(&mut self, client: &Client) -> Result<Tail, MongoError> {
        let watched = BTreeSet::from([self.namespace.clone()]);
        let start = Start::After(self.at.clone());
        let reading = Reading {
            await_max: AWAIT_MAX,
            ..Reading::default()
        };
        let stream = open(client, self.feed.scope(), &watched, &start, &[], reading).await?;
        Ok(Tail::new(stream, "catch_up"))
    }
}
