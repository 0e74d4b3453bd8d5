//! Whole files through the door of `config`, and through the binary.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use sidestream::config::{Config, ProcessEnvironment};

#[test]
fn valid_files_are_taken() {
    for file in files("valid") {
        if let Err(errors) = Config::load(&file, &ProcessEnvironment) {
            panic!("{errors:#?}");
        }
    }
}

/// Each file says in its lines `#! LINE: key: text` what is wrong with it, in order and all of it.
#[test]
fn invalid_files_are_refused_with_all_their_faults() {
    for file in files("invalid") {
        let text = std::fs::read_to_string(&file).expect("it was listed");
        let expected: Vec<String> = text
            .lines()
            .filter_map(|line| line.strip_prefix("#! "))
            .map(|line| format!("{}:{line}", file.display()))
            .collect();
        let errors = Config::load(&file, &ProcessEnvironment).expect_err("it is invalid");
        let found: Vec<String> = errors.iter().map(ToString::to_string).collect();
        assert_eq!(found, expected, "{}", file.display());
    }
}

#[test]
fn faults_go_to_stderr_one_a_line_and_exit_64() {
    let file = folder("invalid").join("listeners.toml");
    for arguments in [&["--config"][..], &["check", "--config"]] {
        let output = sidestream(arguments, &file);
        assert_eq!(output.status.code(), Some(64));
        let stderr = String::from_utf8(output.stderr).expect("UTF-8");
        let lines: Vec<&str> = stderr.lines().collect();
        assert_eq!(lines.len(), 4, "{stderr}");
        let place = format!("{}:4: upstream.url: ", file.display());
        assert!(lines[2].starts_with(&place), "{stderr}");
        assert!(output.stdout.is_empty());
    }
}

#[test]
fn unreadable_file_exits_64_and_is_named() {
    let output = sidestream(&["--config"], Path::new("/nowhere/s.toml"));
    assert_eq!(output.status.code(), Some(64));
    let stderr = String::from_utf8(output.stderr).expect("UTF-8");
    assert!(
        stderr.starts_with("/nowhere/s.toml: cannot be read: "),
        "{stderr}"
    );
}

#[test]
fn wrong_usage_exits_64() {
    for arguments in [
        &[][..],
        &["check"],
        &["--config"],
        &["--nonsense"],
        &["nonsense", "--config", "x"],
    ] {
        let output = binary().args(arguments).output().expect("it runs");
        assert_eq!(output.status.code(), Some(64), "{arguments:?}");
        assert!(!output.stderr.is_empty(), "{arguments:?}");
    }
}

#[test]
fn version_and_help_go_to_stdout() {
    let output = binary().arg("--version").output().expect("it runs");
    assert_eq!(output.status.code(), Some(0));
    let expected = format!("sidestream {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(String::from_utf8_lossy(&output.stdout), expected);
    let output = binary().arg("--help").output().expect("it runs");
    assert_eq!(output.status.code(), Some(0));
    assert!(String::from_utf8_lossy(&output.stdout).contains("--config <FILE>"));
}

fn sidestream(arguments: &[&str], file: &Path) -> Output {
    binary()
        .args(arguments)
        .arg(file)
        .output()
        .expect("the binary runs")
}

fn binary() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sidestream"));
    command.env_clear();
    command
}

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/config")
        .join(name)
}

/// The files of a folder in order; there must be some.
#[track_caller]
fn files(name: &str) -> Vec<PathBuf> {
    let folder = folder(name);
    let entries = std::fs::read_dir(&folder).expect("the folder is part of the repository");
    let mut files: Vec<PathBuf> = entries
        .map(|entry| entry.expect("it can be listed").path())
        .collect();
    files.sort();
    assert!(files.len() >= 5, "too few cases in {}", folder.display());
    files
}
