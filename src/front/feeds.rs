//! The feeds that are open: those of the mounted databases always, others from the first request for them.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::time::Instant;

use crate::engine::Hub;
use crate::front::live::LiveSessions;
use crate::front::metadata::Metadata;
use crate::lifecycle::{Reactor, Tasks};
use crate::mongo::MongoError;
use crate::mongo::client::{Clock, Connector};
use crate::mongo::feed::{Feed, FeedSettings, Scope};

/// How often feeds that nobody needs are looked for.
const SWEEP_INTERVAL: Duration = Duration::from_secs(30);

/// What a feed is made of, and how many there may be.
#[derive(Debug)]
pub struct Feeds {
    connector: Connector,
    clock: Clock,
    hub: Arc<Hub>,
    metadata: Arc<Metadata>,
    settings: FeedsSettings,
    tasks: Tasks,
    open: Mutex<HashMap<Scope, Open>>,
}

/// The bounds of all feeds.
#[derive(Clone, Debug)]
pub struct FeedsSettings {
    /// The bounds of each.
    pub feed: FeedSettings,
    /// How many there may be at once.
    pub feeds_max: usize,
    /// After how long without a request and a session a feed is closed, unless it is one of `always`.
    pub idle: Duration,
    /// How long an admission waits for a feed that is just being opened.
    pub patience: Duration,
    /// One feed of the whole deployment instead of one for each database.
    pub deployment: bool,
    /// The databases whose feeds are opened at the start and stay.
    pub always: Vec<String>,
}

#[derive(Debug)]
struct Open {
    feed: Arc<Feed>,
    asked_at: Instant,
}

/// Why there is no feed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum NoFeed {
    /// The limit is reached.
    #[error("no more databases can be watched: limits.feeds is reached")]
    TooMany,
    /// The feed is down.
    #[error(transparent)]
    Down(#[from] MongoError),
}

impl Feeds {
    /// Builds the table and opens the feeds that are always open.
    ///
    /// # Errors
    /// The first reason why one of them has no thread or no client.
    pub fn start(
        connector: Connector,
        clock: Clock,
        hub: Arc<Hub>,
        metadata: Arc<Metadata>,
        settings: FeedsSettings,
        tasks: Tasks,
    ) -> Result<Arc<Self>, MongoError> {
        let always = settings.always.clone();
        let feeds = Arc::new(Self {
            connector,
            clock,
            hub,
            metadata,
            settings,
            tasks,
            open: Mutex::default(),
        });
        for database in always {
            let scope = feeds.scope(&database);
            if let Entry::Vacant(place) = feeds.lock().entry(scope.clone()) {
                place.insert(feeds.open(scope)?);
            }
        }
        Ok(feeds)
    }

    /// The feed over a database, opened if need be, once it is live.
    ///
    /// # Errors
    /// As [`NoFeed`].
    /// # Cancel safety
    /// Safe: the feed goes on opening.
    pub async fn of(&self, database: &str) -> Result<Arc<Feed>, NoFeed> {
        let feed = {
            let mut open = self.lock();
            let scope = self.scope(database);
            let count = open.len();
            match open.get_mut(&scope) {
                Some(found) => {
                    found.asked_at = Instant::now();
                    Arc::clone(&found.feed)
                }
                None if count >= self.settings.feeds_max => return Err(NoFeed::TooMany),
                None => {
                    let opened = self.open(scope.clone())?;
                    Arc::clone(&open.entry(scope).or_insert(opened).feed)
                }
            }
        };
        feed.live(self.settings.patience).await?;
        Ok(feed)
    }

    /// Waits until each open feed is live or down, at most this long.
    pub async fn settled(&self, within: Duration) {
        let feeds = self.all();
        // One that is down has settled, too.
        let settled = feeds.iter().map(|feed| feed.live(within).map(drop));
        futures_util::future::join_all(settled).await;
    }

    /// All open feeds.
    pub fn all(&self) -> Vec<Arc<Feed>> {
        self.lock()
            .values()
            .map(|open| Arc::clone(&open.feed))
            .collect()
    }

    /// Closes feeds that nobody has needed for long. Runs until its task is dropped.
    pub async fn sweep(self: Arc<Self>, live: Arc<LiveSessions>) {
        let mut interval = tokio::time::interval(SWEEP_INTERVAL);
        loop {
            interval.tick().await;
            let needed: Vec<_> = live
                .all()
                .iter()
                .map(|session| session.namespace.database.clone())
                .collect();
            let always = |scope: &Scope| {
                self.settings
                    .always
                    .iter()
                    .any(|database| scope.spans(database))
            };
            self.lock().retain(|scope, open| {
                let is_needed = needed.iter().any(|database| scope.spans(database));
                let stays =
                    always(scope) || is_needed || open.asked_at.elapsed() < self.settings.idle;
                if !stays {
                    self.hub.forget(scope);
                }
                stays
            });
        }
    }

    fn scope(&self, database: &str) -> Scope {
        match self.settings.deployment {
            true => Scope::Deployment,
            false => Scope::Database(database.into()),
        }
    }

    /// Opens a feed. It has a thread of its own, with its connection to MongoDB and the workers of its collections: on an
    /// event's way to the sockets no other thread has to be woken.
    fn open(&self, scope: Scope) -> Result<Open, MongoError> {
        let failed = |error: &dyn std::error::Error| {
            MongoError::Unreachable(format!("no thread for the feed: {error}"))
        };
        let thread =
            Reactor::start(format!("feed {scope}"), || ()).map_err(|error| failed(&error))?;
        let connection = thread.within(|| self.connector.connection());
        let connection = connection.map_err(|error| failed(&error))?;
        let tasks = self.tasks.on(Arc::new(thread));
        self.hub.run_on(scope.clone(), tasks.clone());
        let (sink, gate) = (Arc::clone(&self.hub), Arc::clone(&self.metadata));
        let feed = Feed::start(
            connection,
            self.clock.clone(),
            scope,
            self.settings.feed,
            sink,
            gate,
            &tasks,
        );
        Ok(Open {
            feed: Arc::new(feed),
            asked_at: Instant::now(),
        })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Scope, Open>> {
        self.open
            .lock()
            .expect("invariant: no code panics while it holds this lock")
    }
}
