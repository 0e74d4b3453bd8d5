//! A child process that cannot outlive the test binary, whatever happens to that.
//!
//! Between the test and the child stands a shell in a process group of its own. It reads its standard input, whose
//! other end only the test binary holds: a line is a signal to pass on, and the end of it (the handle was dropped, the
//! test binary was killed) ends the child and removes its directory. So no test leaves a process behind, not even one
//! that is ended by a debugger or by a timeout of the machine.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::watch;

/// What the child said, line by line, since it was started.
#[derive(Clone)]
pub(crate) struct Log {
    lines: Arc<Mutex<Vec<String>>>,
    /// How many lines there are, and whether the child has closed its ends of the pipes.
    seen: watch::Receiver<(usize, bool)>,
}

impl Log {
    /// Returns all lines until now.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.lines.lock().expect("no writer panics").clone()
    }

    /// Returns how many lines there are: a mark to wait from.
    pub(crate) fn mark(&self) -> usize {
        self.lines.lock().expect("no writer panics").len()
    }

    /// Waits for the first line at or after the mark `from` of which `pick` makes something.
    ///
    /// # Panics
    /// With the whole log, if the child ends or `LINE_WAIT` passes before such a line comes.
    #[track_caller]
    pub(crate) fn wait<T>(
        &self,
        what: &str,
        from: usize,
        pick: impl Fn(&str) -> Option<T>,
    ) -> impl Future<Output = T> {
        let what = what.to_owned();
        let caller = std::panic::Location::caller();
        let log = self.clone();
        async move {
            match log.search(from, pick).await {
                Ok(found) => found,
                Err(why) => panic!(
                    "{caller}: waited for {what}, {why}; the log:\n{}",
                    log.lines().join("\n")
                ),
            }
        }
    }

    async fn search<T>(
        &self,
        from: usize,
        pick: impl Fn(&str) -> Option<T>,
    ) -> Result<T, &'static str> {
        let mut seen = self.seen.clone();
        let mut next = from;
        let search = async {
            loop {
                let ended = seen.borrow_and_update().1;
                let fresh = self.lines()[next..].to_vec();
                next += fresh.len();
                if let Some(found) = fresh.iter().find_map(|line| pick(line)) {
                    return Ok(found);
                }
                if ended || seen.changed().await.is_err() {
                    return Err("but the process has ended");
                }
            }
        };
        tokio::time::timeout(LINE_WAIT, search)
            .await
            .unwrap_or(Err("in vain"))
    }

    /// Waits until the child has closed its output, which it does when it ends.
    pub(crate) async fn ended(&self, within: Duration) -> bool {
        let mut seen = self.seen.clone();
        let ended = seen.wait_for(|(_, ended)| *ended);
        matches!(tokio::time::timeout(within, ended).await, Ok(Ok(_)))
    }

    /// As [`Self::ended`], for a `Drop`.
    pub(crate) fn ended_blocking(&self, within: Duration) -> bool {
        let log = self.clone();
        // A thread of its own, since the caller's may belong to a runtime, which must not be blocked on.
        let waiting = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_time()
                .build()
                .expect("a runtime without I/O can be made");
            runtime.block_on(log.ended(within))
        });
        waiting.join().expect("it does not panic")
    }
}

/// A child behind its shell. Dropping it kills the child and waits for it.
pub(crate) struct Process {
    shell: Child,
    orders: Option<ChildStdin>,
    /// Standard output and standard error, in the order in which their lines arrived.
    pub(crate) log: Log,
    pub(crate) pid: u32,
}

impl Process {
    /// Starts `command`; `scratch`, if any, is a directory that goes when the child ends.
    ///
    /// The command's own environment variables and working directory are kept, its pipes are not.
    pub(crate) fn start(command: &Command, scratch: Option<&Path>) -> Self {
        Self::start_with(command, scratch, Stdio::piped())
    }

    /// As [`Self::start`]; what the command finds as its standard error is not read if it is no pipe.
    pub(crate) fn start_with(command: &Command, scratch: Option<&Path>, stderr: Stdio) -> Self {
        let mut shell = Command::new("sh");
        shell.arg("-c").arg(SUPERVISOR).arg("supervisor");
        shell.arg(scratch.unwrap_or(Path::new("")));
        shell.arg(command.get_program()).args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => shell.env(name, value),
                None => shell.env_remove(name),
            };
        }
        // A group of its own: an interrupt typed at the terminal must reach the test binary only, so that the shell
        // is still there to clean up.
        shell.process_group(0);
        shell.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut shell = shell.stderr(stderr).spawn().expect("sh can be run");
        let mut stdout = BufReader::new(shell.stdout.take().expect("it is piped"));
        let stderr = shell.stderr.take().map(|pipe| Box::new(pipe) as _);
        let mut pid = String::new();
        stdout.read_line(&mut pid).expect("the shell tells the pid");
        Self {
            orders: shell.stdin.take(),
            shell,
            log: collect(
                [Some(Box::new(stdout) as _), stderr]
                    .into_iter()
                    .flatten()
                    .collect(),
            ),
            pid: pid.trim().parse().expect("the first line is the pid"),
        }
    }

    /// Sends a signal by its short name, such as `TERM`, or with a process id behind it to another one that came of it; `keep`
    /// leaves the scratch directory for later, `family` makes whatever the child has started end with it.
    pub(crate) fn order(&self, name: &str) {
        let mut orders = self.orders.as_ref().expect("it is taken by drop only");
        writeln!(orders, "{name}").expect("the shell lives as long as its input is open");
    }

    /// Waits for the child to end by itself and returns its exit code (128 and the number of the signal that ended it).
    ///
    /// # Panics
    /// With the log, if it is still running after `within`.
    pub(crate) async fn exit_code(mut self, within: Duration) -> i32 {
        assert!(
            self.log.ended(within).await,
            "process {} is still running after {within:?}; its log:\n{}",
            self.pid,
            self.log.lines().join("\n")
        );
        self.finish()
    }

    /// Ends the child if it is not ended yet, removes the scratch directory, and returns the exit code.
    fn finish(&mut self) -> i32 {
        drop(self.orders.take());
        let status = self.shell.wait().expect("the shell is our child");
        status.code().unwrap_or(-1)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.finish();
    }
}

/// Reads lines from all `pipes`, each in a thread of its own: it must go on whichever runtime comes and goes.
fn collect(pipes: Vec<Box<dyn Read + Send>>) -> Log {
    let lines = Arc::new(Mutex::new(Vec::new()));
    let (tell, seen) = watch::channel((0, false));
    let tell = Arc::new(tell);
    let open = Arc::new(AtomicUsize::new(pipes.len()));
    for pipe in pipes {
        let (lines, tell, open) = (Arc::clone(&lines), Arc::clone(&tell), Arc::clone(&open));
        std::thread::spawn(move || {
            let mut pipe = BufReader::new(pipe);
            let mut line = Vec::new();
            while pipe.read_until(b'\n', &mut line).is_ok_and(|n| n > 0) {
                let text = String::from_utf8_lossy(&line).trim_end().to_owned();
                line.clear();
                lines.lock().expect("no reader panics").push(text);
                tell.send_modify(|(count, _)| *count += 1);
            }
            if open.fetch_sub(1, Ordering::AcqRel) == 1 {
                tell.send_modify(|(_, ended)| *ended = true);
            }
        });
    }
    Log { lines, seen }
}

/// Returns a new empty directory, under the build directory in a test.
pub(crate) fn scratch(name: &str) -> PathBuf {
    let directory = option_env!("CARGO_TARGET_TMPDIR").map(PathBuf::from);
    tempfile::Builder::new()
        .prefix(&format!("{name}-"))
        .tempdir_in(directory.unwrap_or_else(std::env::temp_dir))
        .expect("the build directory can be written")
        .keep()
}

/// `$1` is the scratch directory or nothing, the rest the command. The inner shell tells its pid and becomes the child.
const SUPERVISOR: &str = r#"
scratch=$1; shift; family=
sh -c 'echo $$; exec "$@"' child "$@" </dev/null &
child=$!
exec >/dev/null 2>&1
while read -r order; do
  case $order in
    keep) scratch=;; family) family=yes;;
    *' '*) kill -s $order;; *) kill -s "$order" "$child";;
  esac
done
kill -s KILL "$child"
wait "$child"; code=$?
if [ -n "$family" ]; then
  for stat in /proc/[0-9]*/stat; do
    pid=${stat#/proc/}; pid=${pid%/stat}; read -r line <"$stat" || continue
    # Behind the name in brackets: state, parent, group.
    set -- ${line##*) }
    if [ "$3" = $$ ] && [ "$pid" != $$ ]; then kill -s KILL "$pid"; fi
  done
fi
if [ -n "$scratch" ]; then rm -rf "$scratch"; fi
exit "$code"
"#;

const LINE_WAIT: Duration = Duration::from_secs(30);
