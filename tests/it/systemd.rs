//! What systemd is told, and the unit for it.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use tokio::net::UnixDatagram;

use crate::support::client::{Client, Request};
use crate::support::process::Process;
use crate::support::upstream::Echo;

#[tokio::test]
async fn a_service_manager_is_told_of_start_and_end() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("sidestream.toml");
    let toml = "server.listen = [\"127.0.0.1:0\"]\nadmin.listen = \"127.0.0.1:0\"\nupstream.url = \"http://127.0.0.1:1\"\nstreams.enabled = false\n";
    std::fs::write(&file, toml).expect("written");
    let path = directory.path().join("notify");
    let socket = UnixDatagram::bind(&path).expect("bound");
    let told = async || {
        let mut text = [0; 256];
        let length = tokio::time::timeout(PATIENCE, socket.recv(&mut text)).await;
        let length = length.expect("it says something").expect("received");
        String::from_utf8_lossy(&text[..length]).trim().to_owned()
    };
    let mut command = Command::new(env!("CARGO_BIN_EXE_sidestream"));
    command
        .arg("--config")
        .arg(&file)
        .env("NOTIFY_SOCKET", &path);
    let process = Process::start(&command, None);
    assert_eq!(told().await, "READY=1");
    // What it said before is true: it takes connections.
    let listening = process.log.wait("the public listener", 0, |line| {
        let line: serde_json::Value = serde_json::from_str(line).ok()?;
        let fields = line.get("fields").unwrap_or(&line);
        let is_it = fields["message"] == "listening" && fields["listener"] == "public";
        fields["address"]
            .as_str()
            .filter(|_| is_it)?
            .parse::<SocketAddr>()
            .ok()
    });
    let connected = tokio::net::TcpStream::connect(listening.await).await;
    connected.expect("it takes connections");
    process.order("TERM");
    assert_eq!(told().await, "STOPPING=1");
    assert_eq!(process.exit_code(PATIENCE).await, 0);
}

/// Starts it with a listening socket as systemd does, and its log.
fn activated(directory: &Path, toml: &str, socket: std::net::TcpListener) -> Process {
    let file = directory.join("sidestream.toml");
    std::fs::write(&file, toml).expect("written");
    let mut command = Command::new("sh");
    // The socket comes as standard error and becomes the first descriptor behind the standard ones.
    command
        .arg("-c")
        .arg(r#"exec 3>&2 2>&1; export LISTEN_FDS=1 LISTEN_PID=$$; exec "$@""#);
    command.args(["sh", env!("CARGO_BIN_EXE_sidestream"), "--config"]);
    command.arg(&file);
    Process::start_with(&command, None, OwnedFd::from(socket).into())
}

#[tokio::test]
async fn sockets_of_systemd_are_listened_on_from_before_the_start() {
    let directory = tempfile::tempdir().expect("a directory");
    let upstream = Echo::start().await;
    let socket = || {
        let socket = std::net::TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let address = socket.local_addr().expect("it is bound");
        (socket, address)
    };
    let toml = |public: &str, admin: &str| {
        let upstream = upstream.url();
        format!(
            "server.listen = [\"{public}\"]\nadmin.listen = \"{admin}\"\nupstream.url = \"{upstream}\"\nstreams.enabled = false\n"
        )
    };
    for is_public in [true, false] {
        let (socket, address) = socket();
        // Nobody is there yet, and nobody is refused.
        let request = if is_public { "/x" } else { "/health" };
        let answer = tokio::spawn(Client::open(address, &Request::http("GET", request)));
        let toml = match is_public {
            true => toml(&address.to_string(), "127.0.0.1:0"),
            false => toml("127.0.0.1:0", &address.to_string()),
        };
        let process = activated(directory.path(), &toml, socket);
        let answer = answer.await.expect("it is answered");
        assert_eq!(answer.status(), Some(200), "{}", answer.state());
        process.order("TERM");
        assert_eq!(process.exit_code(PATIENCE).await, 0);
    }

    // Clients of a socket that nobody listens on would wait for ever.
    let (socket, address) = socket();
    let process = activated(
        directory.path(),
        &toml("127.0.0.1:0", "127.0.0.1:0"),
        socket,
    );
    let log = process.log.clone();
    assert_eq!(process.exit_code(PATIENCE).await, 1);
    let text = format!(
        "listening on {address} was handed over, but no listener of the configuration has this address"
    );
    assert!(
        log.lines().iter().any(|line| line.contains(&text)),
        "{:?}",
        log.lines()
    );
}

/// What stands in the unit fits to what the configuration has by default.
#[test]
fn the_unit_fits_the_defaults() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let unit = std::fs::read_to_string(root.join("contrib/systemd/sidestream.service"));
    let unit = unit.expect("it is part of the repository");
    let value = |key: &str| {
        let line = unit
            .lines()
            .find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        line.unwrap_or_else(|| panic!("no {key}"))
    };
    let number = |key| value(key).parse::<u64>().expect("a number");
    assert_eq!(value("Type"), "notify");
    assert_eq!(number("RestartPreventExitStatus"), 64);
    let file = root.join("config/sidestream.toml");
    let environment = sidestream::config::ProcessEnvironment;
    let config = sidestream::config::Config::load(&file, &environment).expect("it is valid");
    assert!(number("TimeoutStopSec") > config.server.drain.as_secs());
    assert!(number("LimitNOFILE") > config.server.max_connections as u64);
}

const PATIENCE: Duration = Duration::from_secs(20);
