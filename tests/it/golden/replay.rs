//! Runs one case against a target and returns the answers found, in the form in which they are recorded.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bson::{Document, doc};

use super::case::Case;
use super::database::{act, set_up};
use crate::support::client::{Client, Close, Frame, Kind, Received, Request, SILENCE};
use crate::support::json::Json;
use crate::support::stack::{ADMIN, DATABASE, Stack};

/// A target and the MongoDB that it watches.
pub(crate) struct Replayer {
    pub(crate) target: SocketAddr,
    pub(crate) mongo: mongodb::Client,
    /// How long an expected message may take.
    pub(crate) patience: Duration,
    pub(crate) barrier: Option<Barrier>,
}

/// A stream of its own on the target, by which one sees how far the target has read.
///
/// A database's changes come in one order, definitions, permissions and users among them: when this stream has brought
/// a mark, all that was written before it has taken effect. It stands in for the recordings' pauses.
pub(crate) struct Barrier {
    client: Client,
    next: AtomicU64,
}

impl Barrier {
    /// Opens the stream on a collection that no case uses.
    pub(crate) async fn open(stack: &Stack) -> Self {
        let streams = r#"{"streams": [{"uri": "marks", "stages": []}]}"#;
        stack.write("PUT", &format!("/{MARKS}"), streams).await;
        let client = stack.watch(&format!("/{MARKS}/_streams/marks")).await;
        Self {
            client,
            next: AtomicU64::new(1),
        }
    }

    async fn pass(&self, mongo: &mongodb::Client) {
        let mark = format!("mark {}.", self.next.fetch_add(1, Ordering::Relaxed));
        let marks = mongo.database(DATABASE).collection::<Document>(MARKS);
        marks
            .insert_one(doc! { "mark": &mark })
            .await
            .expect("the primary takes writes");
        let passed = self.client.wait(BARRIER_WAIT, |received| {
            received.frames.iter().any(|frame| frame.contains(&mark))
        });
        assert!(
            passed.await,
            "{mark} has not come: {:?}",
            self.client.close()
        );
    }
}

impl Replayer {
    /// Makes a replayer against a running stack.
    pub(crate) async fn of(stack: &Stack) -> Self {
        Self {
            target: stack.address(),
            mongo: stack.mongo().await,
            patience: Duration::from_secs(5),
            barrier: Some(Barrier::open(stack).await),
        }
    }

    /// Runs a case.
    pub(crate) async fn run(&self, case: &Case) -> Json {
        set_up(&self.mongo, case).await;
        let setup = case.json.field("setup").map_or(&[][..], Json::fields);
        if setup
            .iter()
            .any(|(namespace, _)| namespace.ends_with(".acl"))
        {
            self.pass_barrier().await;
        }
        let mut run = Run {
            replayer: self,
            case,
            clients: BTreeMap::new(),
            taken: BTreeMap::new(),
            statuses: Vec::new(),
            looks_up: false,
        };
        for step in case.steps("first") {
            run.step(step).await;
        }
        let request = case.json.field("request").expect("every case has one");
        let main = run.open(request).await;
        run.clients.insert(MAIN.to_owned(), main);
        for step in case.steps("then") {
            run.step(step).await;
        }
        run.answers().await
    }

    async fn pass_barrier(&self) {
        if let Some(barrier) = &self.barrier {
            barrier.pass(&self.mongo).await;
        }
    }
}

struct Run<'a> {
    replayer: &'a Replayer,
    case: &'a Case,
    clients: BTreeMap<String, Client>,
    /// The ids remembered by `take`.
    taken: BTreeMap<String, String>,
    statuses: Vec<Json>,
    /// Whether the last step was one whose document MongoDB looks up.
    looks_up: bool,
}

impl Run<'_> {
    async fn step(&mut self, step: &Json) {
        let client = step.field("client").and_then(Json::text).unwrap_or(MAIN);
        match step.text_of("op") {
            "wait" => self.wait().await,
            "open" => {
                let request = step.field("request").expect("it is there");
                let client = self.open(request).await;
                self.clients.insert(step.text_of("as").to_owned(), client);
            }
            "take" => self.take(step).await,
            "leave" => drop(self.clients.remove(client)),
            "send" => self.send(client, step).await,
            "shutdown" => self.clients[client].shutdown().await,
            "http" => {
                let kind = match step
                    .field("method")
                    .and_then(Json::text)
                    .unwrap_or_default()
                {
                    "PATCH" | "PUT" => Some("update"),
                    "DELETE" => Some("delete"),
                    _ => None,
                };
                if let Some(kind) = kind
                    && std::mem::replace(&mut self.looks_up, kind == "update")
                {
                    self.await_lookup(kind).await;
                }
                let client = self.open(step).await;
                self.statuses.push(status(&client));
            }
            kind => {
                if std::mem::replace(&mut self.looks_up, UPDATES.contains(&kind)) {
                    self.await_lookup(kind).await;
                }
                act(&self.replayer.mongo, step).await;
            }
        }
    }

    /// MongoDB looks an updated document up when the cursor reads the event: what the next step does must not be seen there.
    async fn await_lookup(&self, next: &str) {
        self.replayer.pass_barrier().await;
        // A cursor of the stream's own is not in the barrier's order: its frames tell how far it is.
        let Some(main) = self
            .clients
            .get(MAIN)
            .filter(|_| next.starts_with("delete"))
        else {
            return;
        };
        let wanted = ["frames", "sse"].map(|key| self.case.steps(key));
        let is_delete = |frame: &Json| frame.to_string().contains(r#"\"delete\""#);
        if let Some(count) = wanted.concat().iter().position(is_delete) {
            let there = |received: &Received| {
                received.ended || received.frames.len() + received.events.len() >= count
            };
            main.wait(self.replayer.patience, there).await;
        }
    }

    /// The recordings wait for RESTHeart's caches and races. Here what was written must have taken effect: at once if it
    /// went through the target, else when the target has read so far. An interval is waited for by its first sign.
    async fn wait(&self) {
        let wants_comment = |answer: &Json| answer.text().is_some_and(|text| text.starts_with(':'));
        if self.case.json.field("sse_bytes").is_some_and(wants_comment) {
            let commented = self.clients[MAIN]
                .wait(self.replayer.patience, |received| !received.body.is_empty());
            commented.await;
        } else {
            self.replayer.pass_barrier().await;
        }
    }

    async fn take(&mut self, step: &Json) {
        let nth = match step.field("nth") {
            Some(Json::Int(nth)) => usize::try_from(*nth).expect("it counts"),
            other => panic!("no number: {other:?}"),
        };
        let client = &self.clients[step.text_of("from")];
        let came = client.wait(self.replayer.patience, |received| {
            received.events.len() >= nth
        });
        assert!(
            came.await,
            "{}: no event {nth}: {}",
            self.case.title,
            client.state()
        );
        if let Some(name) = step.field("as").and_then(Json::text) {
            let id = client.look(|received| received.events[nth - 1]["id"].clone());
            self.taken.insert(name.to_owned(), id);
        }
    }

    async fn send(&self, client: &str, step: &Json) {
        let client = &self.clients[client];
        if let Some(raw) = step.field("raw").and_then(Json::text) {
            return client.send_raw(&unhex(raw)).await;
        }
        let text = step.field("text").and_then(Json::text).unwrap_or_default();
        let payload = match step.field("hex").and_then(Json::text) {
            Some(digits) => unhex(digits),
            None => text.as_bytes().repeat(number(step, "repeat", 1)),
        };
        let opcode = u8::try_from(number(step, "opcode", 1)).expect("it has four bits");
        let mut frame = Frame::new(opcode, payload);
        frame.masked = step.field("mask") != Some(&Json::Bool(false));
        frame.last = step.field("fin") != Some(&Json::Bool(false));
        frame.reserved = u8::try_from(number(step, "rsv", 0)).expect("it has three bits");
        client.send(&frame).await;
    }

    async fn open(&self, request: &Json) -> Client {
        Client::open(self.replayer.target, &self.request(request)).await
    }

    fn request(&self, json: &Json) -> Request {
        let substituted = |text: &str| {
            let mut text = text.to_owned();
            for (name, id) in &self.taken {
                text = text.replace(&format!("<<{name}>>"), id);
            }
            text
        };
        let field = |name: &str| json.field(name).and_then(Json::text);
        if let Some(raw) = field("raw") {
            let head = raw.replace("<host>", &self.replayer.target.to_string());
            let tail = unhex(field("raw_tail").unwrap_or_default());
            return Request::raw([head.as_bytes(), &tail].concat());
        }
        let target = substituted(json.text_of("target"));
        let is_step = json.field("op").is_some();
        let mut request = match field("transport") {
            Some("ws") => Request::websocket(&target),
            Some("sse") => Request::sse(&target),
            _ => Request::http("GET", &target),
        };
        request = request.method(field("method").unwrap_or("GET"));
        if let Some(body) = field("body").filter(|body| !body.is_empty()) {
            request = request.body(body);
        }
        let default = is_step && json.field("auth").is_none();
        if let Some(credentials) = field("auth").or(default.then_some(ADMIN)) {
            request = request.auth(credentials);
        }
        for (name, value) in json.field("headers").map_or(&[][..], Json::fields) {
            request = request.without(name);
            let values = match value {
                Json::List(values) => values.as_slice(),
                Json::Null => &[],
                one => std::slice::from_ref(one),
            };
            for value in values {
                let value = value.text().expect("a header is a text");
                request = request.also(name, &substituted(value));
            }
        }
        request.version = field("http").unwrap_or("1.1").to_owned();
        request.half_close = json.field("half_close") == Some(&Json::Bool(true));
        // A case that closes by itself looks at the answer to that; all others answer a close as clients do.
        let closes = |step: &Json| step.field("opcode") == Some(&Json::Int(8));
        request.echo_close = !self.case.steps("then").iter().any(closes);
        request
    }

    async fn answers(self) -> Json {
        let main = &self.clients[MAIN];
        let mut answers = Json::object([("response", response(main))]);
        let mut also = Json::Object(Vec::new());
        for (name, client) in &self.clients {
            let wanted = match name.as_str() {
                MAIN => Some(&self.case.json),
                other => self
                    .case
                    .json
                    .field("also")
                    .and_then(|also| also.field(other)),
            };
            let Some(wanted) = wanted else { continue };
            if !matches!(client.kind, Kind::WebSocket | Kind::Sse) {
                continue;
            }
            let heard = self.listen(client, wanted).await;
            if name == MAIN {
                for (key, value) in heard.fields() {
                    answers.set(key, value.clone());
                }
            } else {
                also.set(name, heard);
            }
        }
        if !also.fields().is_empty() {
            answers.set("also", also);
        }
        if !self.statuses.is_empty() {
            answers.set("statuses", Json::List(self.statuses));
        }
        answers
    }

    /// Waits for what is wanted, listens for what is not, and tells what came.
    async fn listen(&self, client: &Client, wanted: &Json) -> Json {
        let key = if client.kind == Kind::Sse {
            "sse"
        } else {
            "frames"
        };
        let count = wanted
            .field(key)
            .map_or(0, |messages| messages.elements().len());
        let patience = self.replayer.patience;
        client
            .wait(patience, |received| {
                received.ended || received.frames.len() + received.events.len() >= count
            })
            .await;
        if wanted
            .field("close")
            .is_some_and(|close| *close != Json::Null)
        {
            client.wait(patience, |received| received.ended).await;
        } else {
            client.quiet(SILENCE).await;
        }
        let mut heard = client.look(|received| {
            let latin = |bytes: &Vec<u8>| bytes.iter().map(|byte| char::from(*byte)).collect();
            let mut heard = Json::Object(Vec::new());
            if client.kind == Kind::Sse {
                let event = |event: &BTreeMap<String, String>| {
                    let fields = event
                        .iter()
                        .map(|(k, v)| (k.clone(), Json::from(v.as_str())));
                    Json::Object(fields.collect())
                };
                heard.set("sse", received.events.iter().map(event).collect());
                if wanted.field("sse_bytes").is_some() {
                    let bytes = String::from_utf8_lossy(&received.body).into_owned();
                    heard.set("sse_bytes", Json::Text(bytes));
                }
            } else {
                let frames = received
                    .frames
                    .iter()
                    .map(|frame| Json::from(frame.as_str()));
                heard.set("frames", frames.collect());
                if !received.pongs.is_empty() || wanted.field("pongs").is_some() {
                    let pongs = received.pongs.iter().map(|pong| Json::Text(latin(pong)));
                    heard.set("pongs", pongs.collect());
                }
            }
            heard
        });
        heard.set("close", close(client));
        heard
    }
}

fn response(client: &Client) -> Json {
    let mut headers: Vec<_> = client
        .headers()
        .iter()
        .map(|(name, _)| name.as_str())
        .collect();
    headers.sort_unstable();
    headers.dedup();
    let headers = headers.into_iter().filter(|name| HEADERS.contains(name));
    let headers = headers.map(|name| {
        let value = client.header(name).expect("it is one of them");
        (name.to_owned(), Json::Text(value))
    });
    let headers = Json::Object(headers.collect());
    let mut response = Json::object([("status", status(client)), ("headers", headers)]);
    if client.kind == Kind::Http {
        response.set("body", Json::from(client.body()));
    }
    response
}

fn status(client: &Client) -> Json {
    client
        .status()
        .map_or(Json::Null, |status| Json::Int(status.into()))
}

fn close(client: &Client) -> Json {
    let told = |code: u16, reason: String| {
        Json::object([
            ("code", Json::Int(code.into())),
            ("reason", Json::Text(reason)),
        ])
    };
    match client.close() {
        None => Json::Null,
        Some(Close::Sse) => Json::object([("eof", Json::Bool(true))]),
        Some(Close::WebSocket { code, reason }) => told(code, reason),
        Some(Close::HalfDone { code, reason }) => {
            let mut told = told(code, reason);
            told.set("tcp", Json::from("open"));
            told
        }
    }
}

fn number(step: &Json, key: &str, default: usize) -> usize {
    match step.field(key) {
        Some(Json::Int(number)) => usize::try_from(*number).expect("it is not negative"),
        _ => default,
    }
}

fn unhex(digits: &str) -> Vec<u8> {
    let digits: Vec<_> = digits
        .chars()
        .filter_map(|digit| digit.to_digit(16))
        .collect();
    let bytes = digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]);
    bytes
        .map(|byte| u8::try_from(byte).expect("two digits are a byte"))
        .collect()
}

const UPDATES: [&str; 3] = ["updateOne", "updateMany", "replaceOne"];
const MAIN: &str = "main";
const MARKS: &str = "harness_marks";
const BARRIER_WAIT: Duration = Duration::from_secs(10);

/// The headers that carry meaning.
const HEADERS: [&str; 25] = [
    "content-type",
    "connection",
    "upgrade",
    "www-authenticate",
    "cache-control",
    "content-encoding",
    "transfer-encoding",
    "location",
    "allow",
    "vary",
    "etag",
    "keep-alive",
    "retry-after",
    "access-control-allow-origin",
    "access-control-allow-credentials",
    "access-control-expose-headers",
    "access-control-allow-methods",
    "access-control-allow-headers",
    "sec-websocket-accept",
    "sec-websocket-protocol",
    "sec-websocket-extensions",
    "sec-websocket-version",
    "auth-token",
    "auth-token-valid-until",
    "auth-token-location",
];
