//! The admin listener and the exit codes of the real binary.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::process::Process;

#[tokio::test]
async fn admin_pages_are_served_until_sigterm_ends_it_with_0() {
    let (process, _file) = sidestream("127.0.0.1:0");
    let address = process
        .log
        .wait("the admin listener", 0, admin_address)
        .await;
    let health = ask(&address, "/health").await;
    assert!(health.starts_with("HTTP/1.1 200 OK\r\n"), "{health}");
    let metrics = ask(&address, "/metrics").await;
    let version = env!("CARGO_PKG_VERSION");
    let line = format!("sidestream_build_info{{version=\"{version}\"}} 1");
    assert!(metrics.lines().any(|found| found == line), "{metrics}");
    assert!(metrics.contains("# TYPE sidestream_events_total counter"));
    let log = process.log.clone();
    process.order("TERM");
    assert_eq!(process.exit_code(EXIT_WAIT).await, 0);
    // No terminal here, so every line is JSON.
    for line in log.lines() {
        let parsed: serde_json::Value = serde_json::from_str(&line).expect(&line);
        assert!(parsed["level"].is_string(), "{line}");
    }
}

#[tokio::test]
async fn address_in_use_ends_it_with_1_and_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("it is bound").to_string();
    let (process, _file) = sidestream(&address);
    let log = process.log.clone();
    assert_eq!(process.exit_code(EXIT_WAIT).await, 1);
    let lines = log.lines();
    let is_named = |line: &String| line.contains(&address) && line.contains("ERROR");
    assert!(lines.iter().any(is_named), "{lines:#?}");
}

/// The binary as a plain proxy, with its admin listener there.
fn sidestream(admin: &str) -> (Process, tempfile::NamedTempFile) {
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    let text = format!(
        "server.listen = [\"127.0.0.1:0\"]\n\
         upstream.url = \"http://127.0.0.1:1\"\n\
         streams.enabled = false\n\
         admin.listen = \"{admin}\"\n"
    );
    std::fs::write(file.path(), text).expect("it is ours");
    let mut command = Command::new(PathBuf::from(env!("CARGO_BIN_EXE_sidestream")));
    command.arg("--config").arg(file.path());
    (Process::start(&command, None), file)
}

fn admin_address(line: &str) -> Option<String> {
    let line: serde_json::Value = serde_json::from_str(line).ok()?;
    let is_it = line["message"] == "listening" && line["listener"] == "admin";
    is_it.then(|| line["address"].as_str().map(str::to_owned))?
}

async fn ask(address: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).await.expect("it listens");
    let head = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).await.expect("it reads");
    let mut answer = String::new();
    stream
        .read_to_string(&mut answer)
        .await
        .expect("it answers");
    answer
}

/// Far above what a process without traffic needs to end.
const EXIT_WAIT: Duration = Duration::from_secs(10);
