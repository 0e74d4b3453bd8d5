//! The binaries under test, as processes.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use tokio::net::TcpStream;

use super::process::{Log, Process, scratch};

/// A running Sidestream: the real binary with a configuration file of its own.
pub(crate) struct Sidestream {
    pub(crate) public: SocketAddr,
    pub(crate) admin: SocketAddr,
    /// What it logs: JSON, one object a line.
    pub(crate) log: Log,
    process: Option<Process>,
}

impl Sidestream {
    /// Starts it with this configuration and returns when both listeners listen.
    ///
    /// # Panics
    /// With the log, if it ends instead.
    pub(crate) async fn start(toml: &str) -> Self {
        Self::listening(launch(toml)).await
    }

    async fn listening(process: Process) -> Self {
        let log = process.log.clone();
        let public = log.wait("the public listener", 0, |line| listening(line, "public"));
        let admin = log.wait("the admin listener", 0, |line| listening(line, "admin"));
        Self {
            public: public.await,
            admin: admin.await,
            log,
            process: Some(process),
        }
    }

    /// Returns where it speaks TLS.
    pub(crate) async fn secure(&self) -> SocketAddr {
        let found = self
            .log
            .wait("the TLS listener", 0, |line| listening(line, "tls"));
        found.await
    }

    /// As [`Self::start`], with at most so many open files.
    pub(crate) async fn start_with_files(toml: &str, files_max: u32) -> Self {
        Self::listening(launch_with_files(toml, Some(files_max))).await
    }

    /// As [`Self::start`], with these variables in its environment.
    pub(crate) async fn start_in(toml: &str, environment: &[(&str, PathBuf)]) -> Self {
        let directory = scratch("sidestream");
        let mut command = Command::new(BINARY);
        command.arg("--config").arg(write_config(&directory, toml));
        command.envs(environment.iter().map(|(name, value)| (name, value)));
        Self::listening(Process::start(&command, Some(&directory))).await
    }

    /// Starts what lies as `sidestream` in this directory, with its `sidestream.toml`; what replaces it ends with it, and the
    /// directory goes.
    pub(crate) async fn installed(directory: &Path, environment: &[(&str, PathBuf)]) -> Self {
        let mut command = Command::new(directory.join("sidestream"));
        command.arg("--config").arg(directory.join(CONFIG));
        command.envs(environment.iter().map(|(name, value)| (name, value)));
        let process = Process::start(&command, Some(directory));
        process.order("family");
        Self::listening(process).await
    }

    /// As [`Self::start`], but whatever it says goes to a disk that is full.
    pub(crate) async fn start_unheard(toml: &str) -> Self {
        // It cannot tell which ports it took. The third output is none, and says when it has ended.
        let probes = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").expect("a port is free"));
        let [public, admin] = probes.map(|probe| probe.local_addr().expect("it is bound"));
        let toml = toml.replacen(ANY_PORT, &public.to_string(), 1);
        let toml = toml.replacen(ANY_PORT, &admin.to_string(), 1);
        let directory = scratch("sidestream");
        let mut command = Command::new("sh");
        command.args([
            "-c",
            r#"exec "$0" "$@" 3>&1 >/dev/full 2>/dev/full"#,
            BINARY,
        ]);
        command.arg("--config").arg(write_config(&directory, &toml));
        let process = Process::start(&command, Some(&directory));
        for address in [public, admin] {
            let listening = async { while TcpStream::connect(address).await.is_err() {} };
            let listening = tokio::time::timeout(EXIT_WAIT, listening).await;
            listening.expect("it listens");
        }
        Self {
            public,
            admin,
            log: process.log.clone(),
            process: Some(process),
        }
    }

    /// Starts it with a configuration with which it must not run, and returns its exit code and its log.
    pub(crate) async fn refuse(toml: &str) -> (i32, Vec<String>) {
        let process = launch(toml);
        let log = process.log.clone();
        (process.exit_code(EXIT_WAIT).await, log.lines())
    }

    /// Runs `sidestream check` on this configuration.
    pub(crate) async fn check(toml: &str) -> Output {
        let directory = scratch("check");
        let file = write_config(&directory, toml);
        let mut command = tokio::process::Command::new(BINARY);
        command.args(["check", "--config"]).arg(file);
        command.kill_on_drop(true);
        let output = tokio::time::timeout(EXIT_WAIT, command.output()).await;
        std::fs::remove_dir_all(&directory).expect("nobody else uses it");
        output
            .expect("check comes to an end")
            .expect("it can be run")
    }

    /// Asks it to drain and end.
    pub(crate) fn terminate(&self) {
        self.process().order("TERM");
    }

    /// Waits for its end after [`Self::terminate`] and returns the exit code.
    pub(crate) async fn exit_code(mut self) -> i32 {
        let process = self.process.take().expect("it is taken by the end only");
        process.exit_code(EXIT_WAIT).await
    }

    /// Sends a signal by its short name.
    pub(crate) fn signal(&self, name: &str) {
        self.process().order(name);
    }

    /// Returns the process's id.
    pub(crate) fn pid(&self) -> u32 {
        self.process().pid
    }

    fn process(&self) -> &Process {
        self.process.as_ref().expect("it is taken by the end only")
    }
}

impl Drop for Sidestream {
    fn drop(&mut self) {
        if let Some(process) = self.process.take() {
            process.order("TERM");
            process.log.ended_blocking(DROP_WAIT);
        }
    }
}

/// A running legacy API: `examples/legacy-api`, which `cargo test` builds beside the tests.
pub(crate) struct LegacyApi {
    pub(crate) address: SocketAddr,
    pub(crate) log: Log,
    _process: Process,
}

impl LegacyApi {
    /// Starts it over the server at `uri` and returns when it listens.
    pub(crate) async fn start(uri: &str) -> Self {
        let mut command = Command::new(example("legacy-api"));
        command.args(["--listen", "127.0.0.1:0", "--mongodb", uri]);
        let process = Process::start(&command, None);
        let log = process.log.clone();
        let address = log.wait("the legacy API to listen", 0, |line| {
            let (_, address) = line.split_once("legacy-api listening on ")?;
            address.trim().parse().ok()
        });
        Self {
            address: address.await,
            log,
            _process: process,
        }
    }
}

/// `cargo test` builds the examples; `cargo test --test it` does not, so this makes up for it.
pub(crate) fn example(name: &str) -> PathBuf {
    let profile = Path::new(BINARY)
        .parent()
        .expect("a binary lies in a directory");
    let binary = profile.join("examples").join(name);
    if !binary.is_file() {
        let mut build = Command::new(env!("CARGO"));
        build.args(["build", "--example", name]);
        if profile.ends_with("release") {
            build.arg("--release");
        }
        let built = build.current_dir(env!("CARGO_MANIFEST_DIR")).status();
        assert!(built.is_ok_and(|status| status.success()), "no {name}");
    }
    binary
}

/// The binary under test.
pub(crate) fn binary() -> &'static Path {
    Path::new(BINARY)
}

fn launch(toml: &str) -> Process {
    launch_with_files(toml, None)
}

fn launch_with_files(toml: &str, files_max: Option<u32>) -> Process {
    let directory = scratch("sidestream");
    let mut command = match files_max {
        None => Command::new(BINARY),
        Some(files_max) => {
            let mut shell = Command::new("sh");
            shell.arg("-c").arg(r#"ulimit -n "$0"; exec "$@""#);
            shell.arg(files_max.to_string()).arg(BINARY);
            shell
        }
    };
    command.arg("--config").arg(write_config(&directory, toml));
    Process::start(&command, Some(&directory))
}

pub(crate) fn write_config(directory: &Path, toml: &str) -> PathBuf {
    let file = directory.join(CONFIG);
    std::fs::write(&file, toml).expect("the build directory can be written");
    file
}

/// Reads the address out of the log line that tells of a listener. The fields stand at the top or under `fields`.
fn listening(line: &str, listener: &str) -> Option<SocketAddr> {
    let line: serde_json::Value = serde_json::from_str(line).ok()?;
    let fields = line.get("fields").unwrap_or(&line);
    let is_it = fields["message"] == "listening" && fields["listener"] == listener;
    let address = fields["address"].as_str().filter(|_| is_it)?;
    address.parse().ok()
}

/// As the configurations of tests have it.
const ANY_PORT: &str = "127.0.0.1:0";
const CONFIG: &str = "sidestream.toml";
const BINARY: &str = env!("CARGO_BIN_EXE_sidestream");
const EXIT_WAIT: Duration = Duration::from_secs(20);
const DROP_WAIT: Duration = Duration::from_secs(3);
