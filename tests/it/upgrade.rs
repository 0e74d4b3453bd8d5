//! The binary is replaced while it works: nobody is refused, no request and no event is lost.

mod multiplexed;
mod upstreams;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bson::{Document, doc};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixDatagram};
use tokio::sync::{Barrier, watch};
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;

use self::multiplexed::Multiplexed;
use crate::support::client::{Client, Request};
use crate::support::process::scratch;
use crate::support::secure::{self, Files, Identity, ONLY_13};
use crate::support::sidestream::{Sidestream, binary, write_config};
use crate::support::stack::{self, ADMIN, add_admin, config};
use crate::support::upstream::Echo;
use crate::support::{client_of, mongo_uri};

/// A directory with a configuration and a program by a name of its own, as an installation has it: a link to what is run.
struct Installation {
    directory: PathBuf,
}

impl Installation {
    fn new(toml: &str) -> Self {
        let directory = scratch("installation");
        let installation = Self { directory };
        installation.put(binary());
        installation.configure(toml);
        installation
    }

    /// Starts it. The directory goes with it.
    async fn start(&self, environment: &[(&str, PathBuf)]) -> Sidestream {
        Sidestream::installed(&self.directory, environment).await
    }

    /// Puts this program in the place of what is there, in one step.
    fn put(&self, target: &Path) {
        let new = self.directory.join("new");
        std::os::unix::fs::symlink(target, &new).expect("linked");
        std::fs::rename(&new, self.directory.join("sidestream")).expect("renamed");
    }

    fn configure(&self, toml: &str) {
        write_config(&self.directory, toml);
    }
}

/// Asks the process for its replacement and returns that one's id, once the first has ended.
async fn upgrade(sidestream: &Sidestream, process: u32) -> u32 {
    let mark = sidestream.log.mark();
    sidestream.signal(&format!("USR2 {process}"));
    let taken_over = |line: &str| {
        let line: serde_json::Value = serde_json::from_str(line).ok()?;
        let is_it = line["message"]
            .as_str()?
            .ends_with("has taken over, draining");
        u32::try_from(line["process"].as_u64().filter(|_| is_it)?).ok()
    };
    let log = &sidestream.log;
    let successor = log.wait("the successor", mark, taken_over).await;
    let drained = |line: &str| line.contains("drained, everything has ended").then_some(());
    log.wait("the end of the predecessor", mark, drained).await;
    successor
}

/// A client that asks and asks, until it is told to stop. It tries nothing twice.
#[derive(Clone)]
struct Asking {
    address: SocketAddr,
    tls: Option<TlsConnector>,
    /// Whether a connection is used again while the server keeps it.
    keeps: bool,
    method: &'static str,
    path: &'static str,
    body: &'static str,
    answer: &'static str,
}

impl Asking {
    /// Returns how many answers there were.
    async fn run(self, stop: watch::Receiver<bool>) -> usize {
        let mut answers = 0;
        let mut kept = None;
        while !*stop.borrow() {
            let mut sender = match kept.take() {
                Some(sender) => sender,
                None => self.connect().await,
            };
            // Who was told that the connection ends asks on another one.
            if sender.ready().await.is_err() {
                sender = self.connect().await;
            }
            let connection = if self.keeps { "keep-alive" } else { "close" };
            let request = hyper::Request::builder()
                .method(self.method)
                .uri(self.path)
                .header("host", "h")
                .header("connection", connection);
            let request = request.body(Full::from(self.body)).expect("a request");
            let answer = sender.send_request(request).await;
            let answer = answer.unwrap_or_else(|error| panic!("lost: {error:?}: {self:?}"));
            let (head, body) = answer.into_parts();
            let body = body.collect().await;
            let body = body.unwrap_or_else(|error| panic!("cut: {error:?}: {self:?}"));
            assert_eq!(head.status, 200, "{self:?}");
            assert_eq!(body.to_bytes(), self.answer, "{self:?}");
            answers += 1;
            kept = self.keeps.then_some(sender);
        }
        answers
    }

    async fn connect(&self) -> SendRequest<Full<Bytes>> {
        let stream = TcpStream::connect(self.address).await;
        let stream = stream.unwrap_or_else(|error| panic!("refused: {error}: {self:?}"));
        let Some(tls) = &self.tls else {
            return opened(stream).await;
        };
        let stream = secure::connect(tls, stream).await;
        opened(stream.unwrap_or_else(|error| panic!("refused: {error}: {self:?}"))).await
    }
}

impl std::fmt::Debug for Asking {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let kept = if self.keeps { "kept" } else { "single" };
        let tls = if self.tls.is_some() { "TLS" } else { "clear" };
        write!(formatter, "{kept}, {tls}: {} {}", self.method, self.path)
    }
}

async fn opened(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
) -> SendRequest<Full<Bytes>> {
    let (sender, connection) = handshake(TokioIo::new(stream)).await.expect("no I/O yet");
    // Its end is seen by who sends.
    tokio::spawn(async move { drop(connection.await) });
    sender
}

/// What a client sees of a stream that comes back with its last id whenever it is told to, until the number -1.
#[derive(Debug, Default)]
struct Followed {
    numbers: Vec<i64>,
    came_back: usize,
}

/// `begun`: waited for behind the first number, without which there is no id to come back with.
async fn follow(
    address: SocketAddr,
    stream: String,
    is_sse: bool,
    begun: Arc<Barrier>,
) -> Followed {
    let mut followed = Followed::default();
    let mut last_id = String::new();
    loop {
        let request = match is_sse {
            true => Request::sse(&stream).header("Last-Event-ID", &last_id),
            false => Request::websocket(&format!("{stream}?lastEventID={last_id}")),
        };
        let mut client = Client::open(address, &request.auth(ADMIN)).await;
        let status = if is_sse { 200 } else { 101 };
        assert_eq!(client.status(), Some(status), "{}", client.state());
        loop {
            let taken = client.taken();
            let is_more = client.wait(PATIENCE, |received| {
                received.ended || received.frames.len() + received.events.len() > taken
            });
            let is_more = is_more.await;
            let state = client.state();
            assert!(is_more, "{stream}, {last_id:?}: {followed:?}, {state}");
            let there = client.look(|received| match is_sse {
                true => received
                    .events
                    .get(taken)
                    .is_some_and(|event| event["event"] == "change"),
                false => received.frames.len() > taken,
            });
            if !there {
                assert_eq!(client.close_code().await, 1001);
                followed.came_back += 1;
                break;
            }
            let text = client.next().await;
            let event: serde_json::Value = serde_json::from_str(&text).expect("JSON");
            last_id = match is_sse {
                true => client.look(|received| received.events[taken]["id"].clone()),
                false => event["_id"]["_data"].as_str().expect("an id").to_owned(),
            };
            match event["fullDocument"]["n"].as_i64().expect("a number") {
                -1 => return followed,
                number => followed.numbers.push(number),
            }
            if followed.numbers.len() == 1 {
                begun.wait().await;
            }
        }
    }
}

/// Writes numbers until it is told to stop, then -1; returns how many.
async fn write(database: mongodb::Database, stop: watch::Receiver<bool>) -> i64 {
    let documents = database.collection::<Document>(STREAMED);
    let insert = async |number: i64| {
        let inserted = documents.insert_one(doc! { "n": number }).await;
        inserted.expect("the primary takes writes");
    };
    let mut written = 0;
    while !*stop.borrow() {
        insert(written).await;
        written += 1;
    }
    insert(-1).await;
    written
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_refused_or_lost_while_the_binary_is_replaced() {
    let uri = mongo_uri().await;
    let database = client_of(uri).await.database(stack::DATABASE);
    add_admin(&database).await;
    let streams = doc! { "streams": [{ "uri": "all", "stages": [] }] };
    stack::define(&database, STREAMED, streams).await;
    let upstream = Echo::start().await;
    let identity = Identity::new();
    let files = Files::of(&identity);
    let tls = format!(
        "[server.tls]\nlisten = [\"127.0.0.1:0\"]\ncertificate = \"{}\"\nkey = \"{}\"\n\
         [server.http2]\nprior_knowledge = true\n",
        files.certificate.display(),
        files.key.display()
    );
    let toml = config(&upstream.url(), uri, &tls).replace(r#"drain = "2s""#, r#"drain = "20s""#);
    let sidestream = Installation::new(&toml).start(&[]).await;
    let first = sidestream.pid();

    let request = Request::http("GET", "/ready");
    let admin = sidestream.admin;
    let is_ready = async { while Client::open(admin, &request).await.status() != Some(200) {} };
    let is_ready = tokio::time::timeout(PATIENCE, is_ready).await;
    is_ready.expect("its feeds open");
    let (tell, stop) = watch::channel(false);
    let get = Asking {
        address: sidestream.public,
        tls: None,
        keeps: true,
        method: "GET",
        path: "/x",
        body: "",
        answer: "GET /x ",
    };
    let post = Asking {
        method: "POST",
        body: "text",
        answer: "POST /x text",
        ..get.clone()
    };
    let ready = Asking {
        address: sidestream.admin,
        path: "/ready",
        answer: "ready\n",
        ..get.clone()
    };
    let secure = sidestream.secure().await;
    let connector = secure::client(&[&identity], ONLY_13, &[]);
    let mut asking = JoinSet::new();
    for one in [get, post, ready] {
        for keeps in [true, true, false, false] {
            let one = Asking {
                keeps,
                ..one.clone()
            };
            if one.path == "/x" {
                let (address, tls) = (secure, Some(connector.clone()));
                let tls = Asking {
                    address,
                    tls,
                    ..one.clone()
                };
                asking.spawn(tls.run(stop.clone()));
            }
            asking.spawn(one.run(stop.clone()));
        }
    }
    let identity = Arc::new(identity);
    for (address, trusted) in [
        (sidestream.public, None),
        (secure, Some(Arc::clone(&identity))),
    ] {
        let one = Multiplexed { address, trusted };
        asking.spawn(one.clone().run(stop.clone()));
        asking.spawn(one.run(stop.clone()));
    }
    let mut following = JoinSet::new();
    let begun = Arc::new(Barrier::new(FOLLOWERS + 1));
    let stream = format!("/{STREAMED}/_streams/all");
    for index in 0..FOLLOWERS {
        let (stream, begun) = (stream.clone(), Arc::clone(&begun));
        following.spawn(follow(sidestream.public, stream, index % 2 == 0, begun));
    }
    sessions(&sidestream, FOLLOWERS).await;
    let writing = tokio::spawn(write(database, stop));
    let begun = tokio::time::timeout(PATIENCE, begun.wait()).await;
    begun.expect("all of them see the first");

    let second = upgrade(&sidestream, first).await;
    sessions(&sidestream, FOLLOWERS).await;
    // Whoever replaced one can be replaced.
    let third = upgrade(&sidestream, second).await;
    assert!(third != second && second != first);
    tell.send_replace(true);
    let written = writing.await.expect("it goes on writing");
    while let Some(answers) = asking.join_next().await {
        assert!(answers.expect("every request is answered") > 2);
    }
    let expected: Vec<_> = (0..written).collect();
    assert!(written > 2);
    while let Some(followed) = following.join_next().await {
        let followed = followed.expect("every stream goes on");
        assert_eq!(followed.numbers, expected);
        assert_eq!(followed.came_back, 2);
    }
    sidestream.signal(&format!("TERM {third}"));
    assert_eq!(sidestream.exit_code().await, 0, "of the first");
}

/// Waits until so many sessions are open.
async fn sessions(sidestream: &Sidestream, count: usize) {
    let request = Request::http("GET", "/metrics");
    let open = async || {
        let answer = Client::open(sidestream.admin, &request).await;
        let lines = answer.body().lines();
        let lines = lines.filter(|line| line.starts_with("sidestream_sessions{"));
        let values = lines.filter_map(|line| line.rsplit_once(' ')?.1.parse::<usize>().ok());
        values.sum::<usize>()
    };
    let all = async { while open().await != count {} };
    let all = tokio::time::timeout(PATIENCE, all).await;
    all.expect("all of them are in");
}

/// A plain proxy.
fn plain(upstream: &str) -> String {
    format!(
        "server.listen = [\"127.0.0.1:0\"]\nadmin.listen = \"127.0.0.1:0\"\nupstream.url = \"{upstream}\"\nstreams.enabled = false\n"
    )
}

async fn check_serves(sidestream: &Sidestream) {
    let answer = Client::open(sidestream.public, &Request::http("GET", "/x")).await;
    assert_eq!(answer.body(), "GET /x ", "{}", answer.state());
}

#[tokio::test]
async fn a_new_binary_that_fails_leaves_the_old_one_serving() {
    let upstream = Echo::start().await;
    let installation = Installation::new(&plain(&upstream.url()));
    let sidestream = installation.start(&[]).await;
    let script = installation.directory.join("broken");
    std::fs::write(&script, "#!/bin/sh\nexit 3\n").expect("written");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&script, mode).expect("it is ours");
    let nowhere = installation.directory.join("nowhere");
    for (target, reason) in [
        (
            &script,
            "the new process ended before it served: exit status: 3",
        ),
        (&nowhere, "cannot be started: No such file or directory"),
    ] {
        installation.put(target);
        let mark = sidestream.log.mark();
        sidestream.signal("USR2");
        let told = |line: &str| {
            let told = line.contains("not upgraded, this process goes on") && line.contains(reason);
            told.then_some(())
        };
        sidestream.log.wait("the reason", mark, told).await;
        check_serves(&sidestream).await;
    }
    installation.put(binary());
    let successor = upgrade(&sidestream, sidestream.pid()).await;
    check_serves(&sidestream).await;
    sidestream.signal(&format!("TERM {successor}"));
    assert_eq!(sidestream.exit_code().await, 0);
}

#[tokio::test]
async fn a_service_manager_is_told_which_process_it_is_now() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("notify");
    let socket = UnixDatagram::bind(&path).expect("bound");
    let told = async || {
        let mut text = [0; 256];
        let length = tokio::time::timeout(PATIENCE, socket.recv(&mut text)).await;
        let length = length.expect("it says something").expect("received");
        String::from_utf8_lossy(&text[..length]).trim().to_owned()
    };
    let upstream = Echo::start().await;
    let environment = [("NOTIFY_SOCKET", path.clone())];
    let installation = Installation::new(&plain(&upstream.url()));
    let sidestream = installation.start(&environment).await;
    assert_eq!(told().await, "READY=1");
    let successor = upgrade(&sidestream, sidestream.pid()).await;
    assert_eq!(told().await, format!("MAINPID={successor}"));
    check_serves(&sidestream).await;
    // The one that is no longer the service has not said that the service stops.
    sidestream.signal(&format!("TERM {successor}"));
    assert_eq!(told().await, "STOPPING=1");
    assert_eq!(sidestream.exit_code().await, 0);
}

#[tokio::test]
async fn listeners_come_and_go_with_an_upgrade() {
    let upstream = Echo::start().await;
    let toml = plain(&upstream.url());
    let two = toml.replacen(r#"["127.0.0.1:0"]"#, r#"["127.0.0.1:0", "127.0.0.2:0"]"#, 1);
    let installation = Installation::new(&two);
    let sidestream = installation.start(&[]).await;
    let public = |from: usize| {
        sidestream.log.wait("a public listener", from, |line| {
            let line: serde_json::Value = serde_json::from_str(line).ok()?;
            let address = line["address"]
                .as_str()
                .filter(|_| line["listener"] == "public")?;
            let address = address.parse::<SocketAddr>().ok()?;
            (address != sidestream.public).then_some(address)
        })
    };
    let goes = public(0).await;
    let other = two.replacen("127.0.0.2", "127.0.0.3", 1);
    installation.configure(&other);
    let mark = sidestream.log.mark();
    let successor = upgrade(&sidestream, sidestream.pid()).await;
    let comes = public(mark).await;
    assert_eq!(
        (goes.ip().to_string(), comes.ip().to_string()),
        ("127.0.0.2".to_owned(), "127.0.0.3".to_owned())
    );
    check_serves(&sidestream).await;
    TcpStream::connect(comes).await.expect("it has come");
    TcpStream::connect(goes).await.expect_err("it has gone");
    sidestream.signal(&format!("TERM {successor}"));
    assert_eq!(sidestream.exit_code().await, 0);
}

const STREAMED: &str = "upgraded";
const FOLLOWERS: usize = 12;
const PATIENCE: Duration = Duration::from_secs(30);
