//! What the benchmarks that measure the real binary start: MongoDB, Sidestream, a stream and a user.

use std::{
    fs,
    io::{BufRead, BufReader},
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use bson::{Document, doc};
use mongodb::Client;
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::Outcome;

/// A MongoDB: the one that `SIDESTREAM_TEST_MONGODB_URI` names, or one of our own, ended with this handle.
pub(crate) struct Mongod {
    pub(crate) uri: String,
    /// Its version, and the interval that bounds the latency of writes without majority.
    pub(crate) title: String,
    /// Its process, if it runs on this machine.
    pub(crate) pid: u32,
    _process: Option<Ended>,
    _directory: Option<TempDir>,
}

impl Mongod {
    pub(crate) async fn start() -> Outcome<Self> {
        let (uri, process, directory) = match std::env::var("SIDESTREAM_TEST_MONGODB_URI") {
            Ok(uri) => (uri, None, None),
            Err(_) => {
                let (uri, process, directory) = launch().await?;
                (uri, Some(process), Some(directory))
            }
        };
        let admin = Client::with_uri_str(&uri).await?.database("admin");
        let version = admin.run_command(doc! { "buildInfo": 1 }).await?;
        let version = version.get_str("version")?;
        let status = admin.run_command(doc! { "serverStatus": 1 }).await?;
        let pid = u32::try_from(status.get_i64("pid")?)?;
        let journal = admin
            .run_command(doc! { "getParameter": 1, "journalCommitInterval": 1 })
            .await
            .ok()
            .and_then(|answer| answer.get_i32("journalCommitInterval").ok());
        let journal = journal.map_or("not told".to_owned(), |ms| format!("{ms} ms"));
        Ok(Self {
            uri,
            title: format!("MongoDB {version}, journalCommitInterval {journal}"),
            pid,
            _process: process,
            _directory: directory,
        })
    }
}

/// A child process that is ended when this handle is dropped.
pub(crate) struct Ended(pub(crate) Child);

impl Drop for Ended {
    fn drop(&mut self) {
        // It may have ended by itself; its files, if any, are temporary.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// How a member of the replica set `rs0` is started.
pub(crate) fn mongod(port: u16, directory: &Path) -> Outcome<Command> {
    let mut command = Command::new(mongod_binary()?);
    command
        .args(["--replSet", "rs0", "--bind_ip", "127.0.0.1"])
        .args(["--nounixsocket", "--wiredTigerCacheSizeGB", "0.25"])
        .args(["--port", &port.to_string()])
        .arg("--dbpath")
        .arg(directory)
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    Ok(command)
}

async fn launch() -> Outcome<(String, Ended, TempDir)> {
    let directory = tempfile::tempdir()?;
    let log = directory.path().join("log");
    // Of our own choice, and free a moment ago: mongod cannot tell us one of its choice.
    let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let child = mongod(port, directory.path())?
        .arg("--logpath")
        .arg(&log)
        .spawn()?;
    let mut process = Ended(child);
    let member = format!("127.0.0.1:{port}");
    let direct = format!("mongodb://{member}/?directConnection=true");
    let admin = Client::with_uri_str(direct).await?.database("admin");
    let members = vec![doc! { "_id": 0, "host": &member }];
    if let Err(error) = admin
        .run_command(doc! { "replSetInitiate": { "_id": "rs0", "members": members } })
        .await
    {
        let state = process.0.try_wait()?;
        return Err(format!("mongod is no replica set ({state:?}): {error}").into());
    }
    let until = Instant::now() + MONGOD_WAIT;
    while !admin
        .run_command(doc! { "hello": 1 })
        .await?
        .get_bool("isWritablePrimary")?
    {
        if Instant::now() > until {
            return Err("mongod does not become primary".into());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok((
        format!("mongodb://{member}/?replicaSet=rs0"),
        process,
        directory,
    ))
}

/// As `scripts/mongod.sh` finds it, but that nothing is fetched here.
pub(crate) fn mongod_binary() -> Outcome<PathBuf> {
    let named = std::env::var_os("MONGOD").map(PathBuf::from);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path = std::env::split_paths(&path).map(|directory| directory.join("mongod"));
    let target = build_directory()?
        .parent()
        .ok_or("no target directory")?
        .to_owned();
    let candidates = named
        .into_iter()
        .chain(on_path)
        .chain([target.join("mongod/mongod")]);
    candidates.into_iter().find(|file| file.is_file()).ok_or_else(|| {
        "no mongod: set SIDESTREAM_TEST_MONGODB_URI or MONGOD, put it on the PATH, or run tests/run.sh, which fetches it".into()
    })
}

/// `target/release`, in which `examples` lies beside the binary.
pub(crate) fn build_directory() -> Outcome<PathBuf> {
    let own = std::env::current_exe()?;
    let directory = own
        .parent()
        .and_then(Path::parent)
        .ok_or("no build directory")?;
    Ok(directory.to_owned())
}

/// What a Sidestream is started with, where it is not the usual.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    pub(crate) listen: SocketAddr,
    /// Of the user's password: bcrypt's cost.
    pub(crate) password_cost: u32,
    /// `limits.ring`.
    pub(crate) ring: &'static str,
    /// The API. Nobody listens on port 1: the streams half works without.
    pub(crate) upstream: SocketAddr,
    /// `streams.websocket_compression`.
    pub(crate) compression: bool,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            password_cost: 4,
            ring: "16MiB",
            upstream: SocketAddr::from(([127, 0, 0, 1], 1)),
            compression: false,
        }
    }
}

/// The real binary, with a configuration of its own, over the streams `messages/_streams/all` and `mine?n=`.
pub(crate) struct Sidestream {
    pub(crate) address: SocketAddr,
    pub(crate) pid: u32,
    process: Ended,
    directory: TempDir,
    file: PathBuf,
}

impl Sidestream {
    /// Stores the streams and the user in a fresh `database`, and starts it.
    pub(crate) async fn start(mongo: &Client, uri: &str, database: &str) -> Outcome<Self> {
        Self::start_with(mongo, uri, database, &Setup::default()).await
    }

    pub(crate) async fn start_with(
        mongo: &Client,
        uri: &str,
        database: &str,
        setup: &Setup,
    ) -> Outcome<Self> {
        store(mongo, database, setup.password_cost).await?;
        let directory = tempfile::tempdir()?;
        let file = directory.path().join("sidestream.toml");
        // No line for each of thousands of sessions.
        let config = format!(
            "[server]\nlisten = [\"{}\"]\n[admin]\nlisten = \"127.0.0.1:0\"\n[upstream]\nurl = \"http://{}\"\n\
             [mongodb]\nuri = \"{uri}\"\nmounts = [{{ where = \"/\", what = \"/{database}\" }}]\n[log]\naccess = false\n\
             [auth.mongo]\ndatabase = \"{database}\"\n[acl.mongo]\ndatabase = \"{database}\"\n[limits]\nring = \"{}\"\nfinds_per_second = 10000\n\
             [streams]\nwebsocket_compression = {}\n",
            setup.listen, setup.upstream, setup.ring, setup.compression
        );
        fs::write(&file, config)?;
        let (address, process) = run(&file)?;
        Ok(Self {
            address,
            pid: process.0.id(),
            process,
            directory,
            file,
        })
    }

    /// Kills it, and starts it again.
    pub(crate) fn restart(self) -> Outcome<Self> {
        let Self {
            process,
            directory,
            file,
            ..
        } = self;
        drop(process);
        let (address, process) = run(&file)?;
        Ok(Self {
            address,
            pid: process.0.id(),
            process,
            directory,
            file,
        })
    }
}

/// Starts the binary, and waits until it listens.
fn run(config: &Path) -> Outcome<(SocketAddr, Ended)> {
    let binary = build_directory()?.join("sidestream");
    if !binary.is_file() {
        return Err("build it first: cargo build --release --bin sidestream".into());
    }
    let mut child = Command::new(binary)
        .arg("--config")
        .arg(config)
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()?;
    let stderr = child.stderr.take();
    let process = Ended(child);
    let mut lines = BufReader::new(stderr.ok_or("no stderr")?).lines();
    let mut told = String::new();
    let address = loop {
        let Some(line) = lines.next() else {
            return Err(format!("sidestream has ended:\n{told}").into());
        };
        let line = line?;
        if let Some(address) = listening(&line) {
            break address;
        }
        told = told + &line + "\n";
    };
    // A full pipe would block it.
    std::thread::spawn(move || lines.for_each(drop));
    Ok((address, process))
}

async fn store(mongo: &Client, database: &str, password_cost: u32) -> Outcome<()> {
    let database = mongo.database(database);
    database.drop().await?;
    database.create_collection(COLLECTION).await?;
    let password = bcrypt::hash("secret", password_cost)?;
    let admin = doc! { "_id": "admin", "password": password, "roles": ["admin"] };
    database
        .collection::<Document>("users")
        .insert_one(admin)
        .await?;
    let either = doc! { "_$or": [{ "operationType": "insert" }, { "operationType": "update" }] };
    let all = doc! { "uri": "all", "stages": [{ "_$match": either }] };
    let mine =
        doc! { "uri": "mine", "stages": [{ "_$match": { "fullDocument::k": { "_$var": "n" } } }] };
    let properties = doc! { "_id": format!("_properties.{COLLECTION}"), "streams": [all, mine] };
    database
        .collection::<Document>("_properties")
        .insert_one(properties)
        .await?;
    Ok(())
}

pub(crate) fn listening(line: &str) -> Option<SocketAddr> {
    let line: serde_json::Value = serde_json::from_str(line).ok()?;
    let fields = line.get("fields").unwrap_or(&line);
    let is_it = fields["message"] == "listening" && fields["listener"] == "public";
    fields["address"].as_str().filter(|_| is_it)?.parse().ok()
}

/// Opens a WebSocket on the stream; what the server said behind its head is returned too.
pub(crate) async fn open_websocket(address: SocketAddr) -> Outcome<(TcpStream, Vec<u8>)> {
    open_websocket_at(address, "all").await
}

/// The same, on the stream `name`, with a query behind it if need be.
pub(crate) async fn open_websocket_at(
    address: SocketAddr,
    name: &str,
) -> Outcome<(TcpStream, Vec<u8>)> {
    open_websocket_with(address, name, "").await
}

/// The same, with header fields of one's own, each with its line's end.
pub(crate) async fn open_websocket_with(
    address: SocketAddr,
    name: &str,
    fields: &str,
) -> Outcome<(TcpStream, Vec<u8>)> {
    let mut socket = TcpStream::connect(address).await?;
    socket.set_nodelay(true)?;
    let credentials = STANDARD.encode("admin:secret");
    let request = format!(
        "GET /{COLLECTION}/_streams/{name} HTTP/1.1\r\nHost: {address}\r\nAuthorization: Basic {credentials}\r\n\
         Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{fields}\r\n"
    );
    socket.write_all(request.as_bytes()).await?;
    let mut head = Vec::new();
    loop {
        if socket.read_buf(&mut head).await? == 0 {
            return Err(format!("closed: {}", String::from_utf8_lossy(&head)).into());
        }
        if let Some(end) = memchr::memmem::find(&head, b"\r\n\r\n") {
            let early = head.split_off(end + 4);
            return match head.starts_with(b"HTTP/1.1 101 ") {
                true => Ok((socket, early)),
                false => {
                    head.extend(early);
                    Err(String::from_utf8_lossy(&head).into_owned().into())
                }
            };
        }
    }
}

pub(crate) const COLLECTION: &str = "messages";
const MONGOD_WAIT: Duration = Duration::from_secs(30);
