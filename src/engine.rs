//! From a bound pipeline to frames in outboxes.
//!
//! [`plan::Plan::choose`] decides how a pipeline is served. `Shared`: the feed's events are evaluated in process, all
//! subscribers of an equal plan form one group, and a frame is rendered once for all of them. `Dedicated`: MongoDB
//! evaluates the pipeline in a cursor that all sessions with an equal pipeline share.
//!
//! One owner task per collection (`hub`) takes batches and commands from one queue, so nothing overtakes. A client
//! that comes back with an id is served from the feed's ring, or by a catch-up cursor until the ring reaches it.
//!
//! The engine knows nothing of HTTP, users and definitions.

mod catch_up;
mod dedicated;
mod fanout;
mod groups;
mod hub;
pub mod index;
pub mod plan;
#[cfg(test)]
mod tests;
mod worker;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bson::Timestamp;
use mongodb::Client;
use tokio::sync::Notify;

pub use groups::GroupLimits;
pub use hub::Hub;
pub use plan::{Framing, Plan, Served, Wanted};

use crate::delivery::{Ending, Outbox};
use crate::lifecycle::Tasks;
use crate::mongo::feed::Feed;
use crate::mongo::{MongoError, ResumeToken};

/// The bounds of the engine.
#[derive(Clone, Copy, Debug)]
pub struct EngineSettings {
    /// Dedicated cursors in all.
    pub dedicated_cursors_max: usize,
    /// Dedicated cursors of one stream.
    pub dedicated_cursors_per_stream_max: usize,
    /// Catch-up cursors at once; further ones wait. With none, nobody does.
    pub catch_up_cursors_max: usize,
    /// How long sessions are kept waiting while the cursor that serves them has no MongoDB.
    pub patience: Duration,
    /// How long a client that comes back may take for what its outbox holds: one that is slower would keep a catch-up cursor
    /// from others.
    pub taken_within: Duration,
}

/// Why a subscription was refused.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Refused {
    /// MongoDB refuses the pipeline.
    #[error("{0}")]
    Pipeline(String),
    /// A limit is reached.
    #[error("limits.{limit} is reached")]
    Limit {
        /// Its name.
        limit: &'static str,
    },
    /// History does not reach back to the id that the client came with.
    #[error("history does not reach back to this id")]
    HistoryLost,
    /// MongoDB is away.
    #[error(transparent)]
    Unavailable(MongoError),
}

/// From which place on a session wants events.
#[derive(Clone, Debug)]
pub struct From {
    /// Events, drops and retirements at or before this operation time are not its concern.
    pub floor: Timestamp,
    /// The client continues after this event.
    pub resume: Option<ResumeToken>,
}

/// The engine's door.
#[derive(Debug)]
pub struct Engine {
    client: Client,
    hub: Arc<Hub>,
    dedicated: Arc<dedicated::Pool>,
    catch_ups: Arc<tokio::sync::Semaphore>,
    catch_ups_max: usize,
    taken_within: Duration,
    tasks: Tasks,
}

/// One session's membership. Dropping it unsubscribes.
#[derive(Debug)]
pub struct Subscription {
    /// Set once a worker knows the session; a catch-up sets it when it hands over.
    departures: Arc<OnceLock<Arc<Departures>>>,
}

/// Tells a worker that members have gone since it last looked.
#[derive(Debug, Default)]
struct Departures {
    noticed: Notify,
}

impl Drop for Subscription {
    fn drop(&mut self) {
        if let Some(departures) = self.departures.get() {
            departures.noticed.notify_one();
        }
    }
}

impl Engine {
    /// Builds the engine around the hub that the feeds deliver to.
    pub fn new(client: Client, hub: Arc<Hub>, settings: EngineSettings, tasks: Tasks) -> Self {
        let dedicated = Arc::new(dedicated::Pool::new(
            client.clone(),
            settings,
            tasks.clone(),
        ));
        let catch_ups = Arc::new(tokio::sync::Semaphore::new(settings.catch_up_cursors_max));
        Self {
            client,
            hub,
            dedicated,
            catch_ups,
            catch_ups_max: settings.catch_up_cursors_max,
            taken_within: settings.taken_within,
            tasks,
        }
    }

    /// Subscribes an outbox: whatever passes the plan after `from` is pushed into it, in order, until it is ended.
    ///
    /// The feed must watch the plan's collection already.
    ///
    /// # Errors
    /// As [`Refused`].
    /// # Cancel safety
    /// Safe: whatever was begun ends with the outbox.
    pub async fn subscribe(
        &self,
        feed: &Arc<Feed>,
        plan: Plan,
        from: From,
        outbox: Outbox,
    ) -> Result<Subscription, Refused> {
        // An event that happened is not behind the operation time: an id of a future, as after a restored backup.
        if from
            .resume
            .as_ref()
            .is_some_and(|token| token.time() > from.floor)
        {
            return Err(Refused::HistoryLost);
        }
        let plan = self.hub.seat(plan).await?;
        if !plan.is_shared() {
            self.dedicated
                .subscribe(feed, &plan, &from, &outbox)
                .await?;
            return Ok(self.join(feed, plan, from, outbox).await);
        }
        let Some(token) = from.resume.clone() else {
            return Ok(self.join(feed, plan, from, outbox).await);
        };
        let again = (Arc::clone(feed.ring()), token.clone());
        if let Some(subscription) = self
            .hub
            .rejoin(plan.clone(), from.clone(), outbox.clone(), again)
            .await
        {
            return Ok(subscription);
        }
        let catch_up = catch_up::CatchUp {
            client: self.client.clone(),
            feed: Arc::clone(feed),
            hub: Arc::clone(&self.hub),
            permits: Arc::clone(&self.catch_ups),
            patience: match self.catch_ups_max {
                0 => Duration::ZERO,
                _ => catch_up::TURN_TIMEOUT,
            },
            taken_within: self.taken_within,
            plan,
            from,
            outbox,
        };
        catch_up.start(token, &self.tasks).await
    }

    async fn join(&self, feed: &Arc<Feed>, plan: Plan, from: From, outbox: Outbox) -> Subscription {
        let (floor, ended) = (from.floor, outbox.clone());
        let subscription = self.hub.join(plan, from, outbox).await;
        // A gap that was told before the session was a member is its concern too, if it lies behind its floor.
        if !feed.is_whole_since(floor) {
            ended.end(Ending::HistoryLost);
        }
        subscription
    }

    /// How many dedicated cursors are open.
    pub fn dedicated_cursors(&self) -> usize {
        self.dedicated.open_cursors()
    }

    /// How many groups there are, and how many bytes their pipelines have.
    pub fn groups(&self) -> (usize, usize) {
        self.hub.groups()
    }
}
