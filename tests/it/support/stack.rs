//! All of it together, as the tutorial has it: MongoDB, the legacy API, Sidestream before it.

use std::net::SocketAddr;
use std::time::Duration;

use bson::{Document, doc};
use mongodb::{Client as MongoClient, Database};
use tokio::sync::OnceCell;

use super::client::{Client, Request};
use super::mongod::{client_of, mongo_uri};
use super::sidestream::{LegacyApi, Sidestream};

/// A running system. MongoDB is not part of it: whoever starts one says which.
pub(crate) struct Stack {
    pub(crate) mongo_uri: String,
    pub(crate) legacy: LegacyApi,
    pub(crate) sidestream: Sidestream,
}

impl Stack {
    /// Returns the stack that the tests of this binary share.
    pub(crate) async fn shared() -> &'static Self {
        static SHARED: OnceCell<Stack> = OnceCell::const_new();
        SHARED.get_or_init(|| Self::start("")).await
    }

    /// Starts one over the shared replica set; `settings` are further sections of its configuration.
    pub(crate) async fn start(settings: &str) -> Self {
        Self::over(mongo_uri().await, settings).await
    }

    /// Starts one over the replica set at `uri`.
    pub(crate) async fn over(uri: &str, settings: &str) -> Self {
        add_admin(&client_of(uri).await.database(DATABASE)).await;
        let legacy = LegacyApi::start(uri).await;
        let upstream = format!("http://{}", legacy.address);
        let sidestream = Sidestream::start(&config(&upstream, uri, settings)).await;
        Self {
            mongo_uri: uri.to_owned(),
            legacy,
            sidestream,
        }
    }

    /// Returns the public listener's address.
    pub(crate) fn address(&self) -> SocketAddr {
        self.sidestream.public
    }

    /// Sends a request and returns the client with the answer.
    #[track_caller]
    pub(crate) fn open(&self, request: &Request) -> impl Future<Output = Client> + use<> {
        Client::open(self.address(), request)
    }

    /// Opens a WebSocket as `admin`.
    ///
    /// # Panics
    /// If the answer is not 101.
    #[track_caller]
    pub(crate) fn watch(&self, target: &str) -> impl Future<Output = Client> + use<> {
        let opened = self.open(&Request::websocket(target).auth(ADMIN));
        let target = target.to_owned();
        let caller = std::panic::Location::caller();
        async move {
            let client = opened.await;
            let state = client.state();
            assert_eq!(client.status(), Some(101), "{caller}: {target}: {state}");
            client
        }
    }

    /// Sends a request with a JSON body through the proxy as `admin`.
    ///
    /// # Panics
    /// If the status is not 2xx.
    #[track_caller]
    pub(crate) fn write(
        &self,
        method: &str,
        target: &str,
        json: &str,
    ) -> impl Future<Output = Client> + use<> {
        let sent = self.open(&Request::http(method, target).auth(ADMIN).json(json));
        let title = format!("{method} {target}");
        let caller = std::panic::Location::caller();
        async move {
            let client = sent.await;
            let succeeded = client.status().is_some_and(|status| status / 100 == 2);
            assert!(succeeded, "{caller}: {title}: {}", client.state());
            client
        }
    }

    /// Returns the sum of the metric's values with this label.
    pub(crate) async fn metric(&self, name: &str, label: &str) -> f64 {
        let request = Request::http("GET", "/metrics");
        let answer = Client::open(self.sidestream.admin, &request).await;
        let lines = answer
            .body()
            .lines()
            .filter(|line| line.starts_with(name) && line.contains(label));
        let values = lines.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok());
        values.sum()
    }

    /// Asks for the metric again and again until it has this value.
    pub(crate) async fn eventually(&self, name: &str, label: &str, value: f64) {
        let reached = async { while self.metric(name, label).await != value {} };
        if tokio::time::timeout(METRIC_WAIT, reached).await.is_err() {
            let found = self.metric(name, label).await;
            panic!("{name} {label} is {found}, not {value}");
        }
    }

    /// Returns a client of the stack's MongoDB, for the runtime of the caller.
    pub(crate) async fn mongo(&self) -> MongoClient {
        client_of(&self.mongo_uri).await
    }

    /// Returns the database that the mount `/` shows.
    pub(crate) async fn database(&self) -> Database {
        self.mongo().await.database(DATABASE)
    }
}

/// Returns a configuration: free ports, short waits, both mounts of the golden records, and `settings` behind.
pub(crate) fn config(upstream: &str, mongo_uri: &str, settings: &str) -> String {
    format!(
        r#"
[server]
listen = ["127.0.0.1:0"]
drain = "2s"
[admin]
listen = "127.0.0.1:0"
[upstream]
url = "{upstream}"
[mongodb]
uri = "{mongo_uri}"
mounts = [{{ where = "/", what = "/{DATABASE}" }}, {{ where = "/all", what = "*" }}]
[auth.jwt]
key = "0123456789abcdef0123456789abcdef"
{settings}
"#
    )
}

/// Stores the user `admin`, always with the same hash: to store it again changes nothing, and so ends no live session.
pub(crate) async fn add_admin(database: &Database) {
    add_user(database, "admin").await;
}

/// Removes a collection and what is known of it: an earlier run over the same server may have left it.
pub(crate) async fn clear(database: &Database, collection: &str) {
    let properties = database.collection::<Document>("_properties");
    let own = doc! { "_id": format!("_properties.{collection}") };
    properties
        .delete_one(own)
        .await
        .expect("the primary takes writes");
    let dropped = database.collection::<Document>(collection).drop().await;
    dropped.expect("the primary takes writes");
}

/// Stores a user who may do what `admin` may, with the same password.
pub(crate) async fn add_user(database: &Database, name: &str) {
    let users = database.collection::<Document>("users");
    let user = doc! { "_id": name, "password": ADMIN_HASH, "roles": ["admin"] };
    let stored = users.replace_one(doc! { "_id": name }, user).upsert(true);
    stored.await.expect("the primary takes writes");
}

/// A stage that only MongoDB evaluates.
pub(crate) fn dedicated() -> Document {
    doc! { "$match": { "$expr": { "$gte": [{ "$rand": {} }, 0] } } }
}

/// Stores a collection's properties as they are, and the collection itself, empty.
pub(crate) async fn define(database: &Database, collection: &str, mut properties: Document) {
    clear(database, collection).await;
    properties.insert("_id", format!("_properties.{collection}"));
    let stored = database.collection::<Document>("_properties");
    stored.insert_one(properties).await.expect("it was removed");
    // A stream of a collection that does not exist is 404.
    let created = database.create_collection(collection).await;
    created.expect("it was removed");
}

/// The credentials of the user whose role may do everything.
pub(crate) const ADMIN: &str = "admin:secret";
/// The database that the mount `/` shows.
pub(crate) const DATABASE: &str = "restheart";
/// The password of [`ADMIN`] at bcrypt's lowest cost: what is tested is whether it is right, not how long it takes.
const ADMIN_HASH: &str = "$2b$04$t72vi1XkDdAKopbiun1Yw.dx60P2RyIjOMN7EsGcImFJIvMMfhAPS";
pub(crate) const METRIC_WAIT: Duration = Duration::from_secs(10);
