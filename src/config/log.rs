//! `[log]`: what is written to stderr.

use tracing_subscriber::EnvFilter;

use super::reader::Section;

/// `[log]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// Whether each request and each session gets a line.
    pub access: bool,
    /// A level, or directives for single rooms in the form of `tracing`: `info,sidestream::mongo=debug`.
    pub level: String,
    /// How a line looks.
    pub format: LogFormat,
}

/// How a line of the log looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// `Text` on a terminal, else `Json`.
    Auto,
    /// One JSON object a line.
    Json,
    /// For people.
    Text,
}

impl Log {
    pub(super) fn read(section: Section<'_>) -> Self {
        let formats = [
            ("auto", LogFormat::Auto),
            ("json", LogFormat::Json),
            ("text", LogFormat::Text),
        ];
        let log = Self {
            access: section.flag("access", true),
            level: section.parsed("level", LEVEL.to_owned(), level),
            format: section.choice("format", LogFormat::Auto, &formats),
        };
        section.finish();
        log
    }
}

/// `EnvFilter` takes any word for the name of a target, so a misspelt level would silence everything.
fn level(text: &str) -> Result<String, String> {
    let hint = "must be error, warn, info, debug or trace, or directives such as \
                \"info,sidestream::mongo=debug\"";
    let is_level = |word: &str| {
        ["error", "warn", "info", "debug", "trace", "off"]
            .iter()
            .any(|level| word.eq_ignore_ascii_case(level))
    };
    let is_directive = |part: &str| match part.trim().rsplit_once('=') {
        Some((target, word)) => !target.is_empty() && is_level(word),
        None => is_level(part.trim()),
    };
    if text.split(',').all(is_directive) && EnvFilter::try_new(text).is_ok() {
        return Ok(text.to_owned());
    }
    Err(hint.to_owned())
}

/// Starts, stops, what a person acts on, and the access log.
const LEVEL: &str = "info";
