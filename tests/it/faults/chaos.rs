//! A short run of `examples/chaos`: everything at once, at random, and everything accounted for.

use std::process::Command;
use std::time::Duration;

use crate::support::process::Process;
use crate::support::sidestream::example;

/// Its seed is in the output; `--seed` makes the faults come in the same order again.
#[tokio::test]
async fn whatever_fails_each_client_gets_every_event_once_or_is_told() {
    let mut command = Command::new(example("chaos"));
    command.args([
        "--events",
        "3000",
        "--clients",
        "20",
        "--minutes",
        "0.4",
        "--verbose",
    ]);
    let process = Process::start(&command, None);
    let log = process.log.clone();
    let code = process.exit_code(WAIT).await;
    let lines = log.lines();
    assert_eq!(code, 0, "{}", lines.join("\n"));
    assert_eq!(lines.last().map(String::as_str), Some("clean"));
}

const WAIT: Duration = Duration::from_secs(300);
