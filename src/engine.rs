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
mod replays;
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

use crate::delivery::Outbox;
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
    /// Catch-up cursors opened per second.
    pub catch_up_cursors_per_second: usize,
    /// How long sessions are kept waiting while the cursor that serves them has no MongoDB.
    pub patience: Duration,
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
    hub: Arc<Hub>,
    dedicated: Arc<dedicated::Pool>,
    catch_ups: Arc<catch_up::CatchUps>,
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
        let hub_of_catch_ups = Arc::clone(&hub);
        let catch_ups = catch_up::CatchUps::new(client, hub_of_catch_ups, settings, tasks.clone());
        Self {
            hub,
            dedicated,
            catch_ups: Arc::new(catch_ups),
            tasks,
        }
    }

    /// Chooses how `wanted` is served. A long pipeline is compiled aside, since the reactor has others to serve.
    ///
    /// # Errors
    /// As [`plan::PlanError`].
    /// # Cancel safety
    /// Safe: what was begun is compiled for nobody.
    pub async fn plan(&self, wanted: Wanted) -> Result<Plan, plan::PlanError> {
        Plan::choose_aside(wanted, &self.tasks).await
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
            if let Some(token) = &from.resume {
                self.catch_ups.verify(feed, &plan, token, &outbox).await?;
            }
            self.dedicated
                .subscribe(feed, &plan, &from, &outbox)
                .await?;
            return Ok(self.hub.begin(feed, plan, from, outbox).await);
        }
        let Some(token) = from.resume.clone() else {
            return Ok(self.hub.begin(feed, plan, from, outbox).await);
        };
        let (again, behind, back) = (plan.clone(), from.clone(), token.clone());
        let going_on = self.hub.go_on(feed, again, behind, back, outbox.clone());
        if let Some(subscription) = going_on.await {
            metrics::counter!("sidestream_resumes_total", "from" => "ring").increment(1);
            return Ok(subscription);
        }
        let subscription = self
            .catch_ups
            .subscribe(feed, plan, from, token, outbox)
            .await?;
        metrics::counter!("sidestream_resumes_total", "from" => "cursor").increment(1);
        Ok(subscription)
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
