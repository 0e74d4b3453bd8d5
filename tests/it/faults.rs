//! What clients see when something between MongoDB and them fails: every event once and in order, or the close code that
//! says otherwise. Against real servers and the real binary.

mod away;
mod chaos;
mod history;
mod names;
mod network;
mod primaries;
mod process;
mod unheard;
mod watch;

use std::time::{Duration, Instant};

use bson::{Document, doc};
use mongodb::Collection;
use mongodb::error::{ErrorKind, WriteFailure};
use mongodb::options::{CollectionOptions, WriteConcern};

use crate::support::client::{Client, Kind, Received, Request};
use crate::support::mongod::binary;
use crate::support::replicas::Replicas;
use crate::support::stack::{ADMIN, DATABASE, Stack, define};

/// A replica set of its own with a stack over it, and one stream of everything.
struct Scene {
    stack: Stack,
    set: Replicas,
}

impl Scene {
    async fn open(members: usize, settings: &str) -> Self {
        let set = Replicas::start(&binary(), members).await;
        let uri = format!("{}{TIMES}", set.uri());
        let stack = Stack::over(&uri, settings).await;
        let scene = Self { stack, set };
        scene.define("data").await;
        scene
    }

    async fn define(&self, collection: &str) {
        let database = self.set.client().await.database(DATABASE);
        let streams = doc! { "streams": [{ "uri": "all", "stages": [] }] };
        define(&database, collection, streams).await;
    }

    /// A collection in which what was acknowledged stays.
    async fn collection(&self, name: &str) -> Collection<Document> {
        let options = CollectionOptions::builder()
            .write_concern(WriteConcern::majority())
            .build();
        let database = self.set.client().await.database(DATABASE);
        database.collection_with_options(name, options)
    }

    /// Writes these numbers into `data`, whatever fails on the way.
    async fn write(&self, numbers: std::ops::Range<i32>) {
        let data = self.collection("data").await;
        for number in numbers {
            write(&data, number).await;
        }
    }

    /// Where the feed stands, as the admin listener tells it.
    async fn position(&self) -> String {
        let request = Request::http("GET", "/streams");
        let answer = Client::open(self.stack.sidestream.admin, &request).await;
        let body: serde_json::Value = serde_json::from_str(answer.body()).expect("JSON");
        let feeds = body["feeds"].as_array().expect("feeds");
        let feed = feeds.iter().find(|feed| feed["scope"] == DATABASE);
        feed.expect("it is mounted")["position"].to_string()
    }

    /// A WebSocket and an SSE client of a collection, behind these ids.
    async fn watch_behind(&self, collection: &str, ids: &[String; 2]) -> [Client; 2] {
        let target = |id: &str| format!("/{collection}/_streams/all?lastEventID={id}");
        let websocket = Request::websocket(&target(&ids[0])).auth(ADMIN);
        let sse = Request::sse(&target(&ids[1])).auth(ADMIN);
        [
            self.admitted(&websocket, 101).await,
            self.admitted(&sse, 200).await,
        ]
    }

    /// Opens a stream, again and again while the answer is 503: MongoDB may not be back yet.
    async fn admitted(&self, request: &Request, status: u16) -> Client {
        let until = Instant::now() + PATIENCE;
        loop {
            let client = self.stack.open(request).await;
            if client.status() != Some(503) || Instant::now() > until {
                assert_eq!(client.status(), Some(status), "{}", client.state());
                return client;
            }
        }
    }

    /// A WebSocket and an SSE client of a collection.
    async fn watch(&self, collection: &str) -> [Client; 2] {
        self.watch_behind(collection, &Default::default()).await
    }
}

/// Inserts the document with this number until a majority has it.
async fn write(collection: &Collection<Document>, number: i32) {
    let until = Instant::now() + PATIENCE;
    loop {
        let document = doc! { "_id": number, "n": number };
        match collection
            .insert_one(document)
            .await
            .map_err(|error| *error.kind)
        {
            Ok(_) => return,
            Err(ErrorKind::Write(WriteFailure::WriteError(error))) if error.code == 11000 => return,
            Err(error) => assert!(Instant::now() < until, "{error:?}"),
        }
    }
}

/// Asserts that both clients get these numbers next, each once and in order.
#[track_caller]
fn expect(
    clients: &mut [Client; 2],
    numbers: std::ops::Range<i32>,
) -> impl Future<Output = [String; 2]> {
    let caller = std::panic::Location::caller();
    async move {
        let mut ids = [String::new(), String::new()];
        for (client, id) in clients.iter_mut().zip(&mut ids) {
            for number in numbers.clone() {
                let message = next(client, caller).await;
                let found = number_of(&message);
                assert_eq!(found, Some(number), "{caller}: {message}");
            }
            *id = last_id(client);
        }
        ids
    }
}

/// The next message, with more patience than a test has that breaks nothing.
async fn next(client: &mut Client, caller: &std::panic::Location<'_>) -> String {
    let taken = client.taken();
    let there = |received: &Received| {
        received.ended || received.frames.len() + received.events.len() > taken
    };
    client.wait(PATIENCE, there).await;
    assert!(client.count() > taken, "{caller}: {}", client.state());
    client.next().await
}

/// Asserts that both are closed with this code, with nothing more before it.
#[track_caller]
fn closed(clients: &[Client; 2], code: u16) -> impl Future<Output = ()> {
    let caller = std::panic::Location::caller();
    async move {
        for client in clients {
            client.wait(PATIENCE, |received| received.ended).await;
            let state = client.state();
            assert_eq!(client.close_code().await, code, "{caller}: {state}");
            // The `close` event of SSE is one, too.
            let told = usize::from(client.kind == Kind::Sse);
            assert_eq!(client.count() - told, client.taken(), "{caller}: {state}");
        }
    }
}

fn number_of(message: &str) -> Option<i32> {
    let (_, number) = message.split_once("\"n\": ")?;
    let end = number.find(|c: char| !c.is_ascii_digit())?;
    number[..end].parse().ok()
}

/// The id of the last message that the client has got.
fn last_id(client: &Client) -> String {
    let last = client.look(|received| match client.kind {
        Kind::Sse => {
            let events = received.events.iter().rev();
            let mut ids = events.filter_map(|event| event.get("id").cloned());
            ids.next()
        }
        _ => received.frames.last().cloned(),
    });
    id_in(&last.expect("it has got something"))
}

fn id_in(text: &str) -> String {
    let (_, id) = text.split_once("\"_data\": \"").expect("an id");
    id.split_once('"').expect("its end").0.to_owned()
}

/// A driver that notices soon that a server says nothing.
const TIMES: &str = "&connectTimeoutMS=1000&heartbeatFrequencyMS=1000";
const PATIENCE: Duration = Duration::from_secs(60);
