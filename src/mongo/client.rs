//! The driver's client, and the operation time.

use std::future::IntoFuture;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bson::{Timestamp, doc};
use mongodb::event::EventHandler;
use mongodb::event::sdam::SdamEvent;
use mongodb::options::ClientOptions;
use mongodb::{Client, ServerType};
use tokio::sync::{Mutex, mpsc, oneshot};

use crate::lifecycle::Tasks;
use crate::mongo::MongoError;

/// Admissions that may wait for the next ping at once; one more is refused as if MongoDB did not answer.
const CLOCK_QUEUE_MAX: usize = 65_536;
/// One answer to a ping that never comes.
const PING_TIMEOUT: Duration = Duration::from_secs(5);
/// How long an operation waits for a usable server before it says that there is none.
const SERVER_SELECTION_TIMEOUT: Duration = Duration::from_secs(5);
/// A waiting `getMore` holds a connection: a feed per database, dedicated cursors, catch-ups and lookups beside them.
const POOL_CONNECTIONS_SPARE: u32 = 64;

/// Makes the driver's clients, all with the same options.
#[derive(Clone, Debug)]
pub struct Connector {
    options: ClientOptions,
}

impl Connector {
    /// Reads `uri`. Nothing is sent to MongoDB yet.
    ///
    /// `cursors` is how many change streams may wait at once, so that the pool is never what holds a feed back.
    ///
    /// # Errors
    /// The driver's, if the URI cannot be read or its host name (`mongodb+srv`) not be resolved.
    pub async fn parse(uri: &str, cursors: u32) -> Result<Self, mongodb::error::Error> {
        let mut options = ClientOptions::parse(uri).await?;
        options
            .app_name
            .get_or_insert_with(|| "sidestream".to_owned());
        options
            .server_selection_timeout
            .get_or_insert(SERVER_SELECTION_TIMEOUT);
        let pool = cursors.saturating_add(POOL_CONNECTIONS_SPARE);
        let given = options.max_pool_size.unwrap_or(0);
        options.max_pool_size = Some(given.max(pool));
        Ok(Self { options })
    }

    /// Makes a client. Its connections belong to the reactor of the caller: what waits for an answer elsewhere is woken
    /// across threads.
    ///
    /// # Errors
    /// The driver's, if options contradict each other.
    pub fn client(&self) -> Result<Client, mongodb::error::Error> {
        Client::with_options(self.options.clone())
    }

    /// As [`Connector::client`], with a count of how often it lost a server.
    ///
    /// # Errors
    /// As [`Connector::client`].
    pub fn connection(&self) -> Result<Connection, mongodb::error::Error> {
        let disturbances = Disturbances::default();
        let counted = disturbances.clone();
        let mut options = self.options.clone();
        options.sdam_event_handler =
            Some(EventHandler::callback(move |event| counted.note(&event)));
        let client = Client::with_options(options)?;
        Ok(Connection {
            client,
            disturbances,
        })
    }
}

/// A client that tells when it lost a server: the driver resumes change streams by itself, and says so to nobody.
#[derive(Clone, Debug)]
pub struct Connection {
    /// The client.
    pub client: Client,
    /// How often it lost a server.
    pub disturbances: Disturbances,
}

/// For who does not need to know: it never lost one.
impl From<Client> for Connection {
    fn from(client: Client) -> Self {
        Self {
            client,
            disturbances: Disturbances::default(),
        }
    }
}

/// How often a client lost a server, of all that it knows.
#[derive(Clone, Debug, Default)]
pub struct Disturbances(Arc<AtomicU64>);

impl Disturbances {
    /// The count until now.
    pub fn count(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }

    fn note(&self, event: &SdamEvent) {
        if let SdamEvent::ServerDescriptionChanged(change) = event
            && change.new_description.server_type() == ServerType::Unknown
            && change.previous_description.server_type() != ServerType::Unknown
        {
            self.0.fetch_add(1, Ordering::AcqRel);
        }
    }
}

/// Tells MongoDB's operation time: the place in history behind every write acknowledged so far.
///
/// One ping serves all who asked before it was sent, so a thousand clients that connect at once cost a handful.
#[derive(Clone, Debug)]
pub struct Clock {
    ask: mpsc::Sender<oneshot::Sender<Result<Timestamp, MongoError>>>,
}

impl Clock {
    /// Starts the task that pings.
    pub fn start(client: Client, tasks: &Tasks) -> Self {
        Self::reading(tasks, move || {
            let client = client.clone();
            async move { operation_time(&client).await }
        })
    }

    /// A clock that reads the time so. Should that panic, those who wait are refused, and it is read anew for the next.
    pub(crate) fn reading<F>(tasks: &Tasks, read: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<Timestamp, MongoError>> + Send + 'static,
    {
        let (ask, asked) = mpsc::channel::<oneshot::Sender<_>>(CLOCK_QUEUE_MAX);
        let (asked, read) = (Arc::new(Mutex::new(asked)), Arc::new(read));
        tasks.spawn_kept("mongo.clock", move || {
            let (asked, read) = (Arc::clone(&asked), Arc::clone(&read));
            async move {
                let mut asked = asked.lock().await;
                let mut waiting = Vec::new();
                while let Some(first) = asked.recv().await {
                    waiting.push(first);
                    while let Ok(next) = asked.try_recv() {
                        waiting.push(next);
                    }
                    let now = read().await;
                    for reply in waiting.drain(..) {
                        // Whoever asked may have gone away meanwhile.
                        drop(reply.send(now.clone()));
                    }
                }
            }
        });
        Self { ask }
    }

    /// Returns an operation time that is not older than the call.
    ///
    /// # Errors
    /// [`MongoError::Unreachable`] if MongoDB does not answer in time.
    /// # Cancel safety
    /// Safe: the answer is dropped.
    pub async fn now(&self) -> Result<Timestamp, MongoError> {
        let (reply, answer) = oneshot::channel();
        let busy = |_| MongoError::Unreachable("too many requests wait for it".to_owned());
        self.ask.try_send(reply).map_err(busy)?;
        let gone = |_| MongoError::Unreachable("nobody reads it any more".to_owned());
        answer.await.map_err(gone)?
    }
}

/// Asks the primary for its operation time.
///
/// # Errors
/// As [`MongoError`]; [`MongoError::NoReplicaSet`] if the answer carries none.
pub async fn operation_time(client: &Client) -> Result<Timestamp, MongoError> {
    let admin = client.database("admin");
    let ping = admin.run_command(doc! { "ping": 1 }).into_future();
    let answer = tokio::time::timeout(PING_TIMEOUT, ping)
        .await
        .map_err(|_| MongoError::Unreachable("no answer to a ping".to_owned()))??;
    answer
        .get_timestamp("operationTime")
        .map_err(|_| MongoError::NoReplicaSet)
}

#[cfg(test)]
mod tests;
