//! Arguments → `Config` → `app` → exit code.

use std::error::Error;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser, Subcommand};

use sidestream::app::{self, CheckReport, StartError};
use sidestream::config::{Config, ProcessEnvironment};
use sidestream::lifecycle::Inherited;

/// Forwarding allocates some forty times a request, small and short-lived, on threads that do nothing else: what it is
/// made for.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Real time in front of a REST API that already exists.
#[derive(Parser)]
#[command(name = "sidestream", version, about)]
struct Arguments {
    /// The configuration; config/sidestream.toml explains every key.
    #[arg(long, value_name = "FILE", global = true)]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Says what is wrong in the configuration and, with the database reachable, in every definition and permission.
    Check,
}

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return usage(&error),
    };
    let Some(file) = arguments.config else {
        let text = "--config FILE is needed";
        return usage(&Arguments::command().error(ErrorKind::MissingRequiredArgument, text));
    };
    let config = match Config::load(&file, &ProcessEnvironment) {
        Ok(config) => config,
        Err(errors) => {
            for error in errors {
                eprintln!("{error}");
            }
            return ExitCode::from(EXIT_USAGE);
        }
    };
    if let Err(error) = app::log::start(&config.log) {
        return failed(&error);
    }
    // Before there are threads.
    let inherited = match Inherited::take() {
        Ok(inherited) => inherited,
        Err(error) => return failed(&StartError::Inherited(error)),
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => return failed(&error),
    };
    match arguments.command {
        None => runtime.block_on(run(config, &file, inherited)),
        Some(Command::Check) => runtime.block_on(check(&config)),
    }
}

async fn run(config: Config, file: &Path, inherited: Inherited) -> ExitCode {
    let ended: Result<(), StartError> = app::run(config, file.to_owned(), inherited).await;
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error @ StartError::Panicked { .. }) => {
            tracing::error!(%error, "ended by a fault of ours");
            ExitCode::FAILURE
        }
        Err(error) => {
            tracing::error!(error = %causes(&error), "cannot start");
            ExitCode::FAILURE
        }
    }
}

async fn check(config: &Config) -> ExitCode {
    let CheckReport { lines, ok } = app::check(config).await;
    let mut stdout = std::io::stdout().lock();
    for line in lines {
        if writeln!(stdout, "{line}").is_err() {
            // Whoever was reading has closed the pipe; the exit code still says it.
            break;
        }
    }
    match ok {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}

/// Help and version go to stdout and are no failure; all else is wrong usage.
fn usage(error: &clap::Error) -> ExitCode {
    // Nothing can be told to somebody who has closed the pipe.
    drop(error.print());
    match error.use_stderr() {
        true => ExitCode::from(EXIT_USAGE),
        false => ExitCode::SUCCESS,
    }
}

fn failed(error: &dyn Error) -> ExitCode {
    eprintln!("sidestream: {}", causes(error));
    ExitCode::FAILURE
}

/// The error and what caused it, in one line.
fn causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

/// `EX_USAGE` of sysexits.h: wrong arguments or a wrong configuration; trying again does not help.
const EXIT_USAGE: u8 = 64;
