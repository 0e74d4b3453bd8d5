//! What systemd is told, and the unit for it.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use tokio::net::UnixDatagram;

use crate::support::process::Process;

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
