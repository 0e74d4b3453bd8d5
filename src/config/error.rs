//! One fault in a configuration file, and how a whole list of them is collected.

use std::cell::RefCell;
use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// One fault: where it stands, which key it is about, and what is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct ConfigError {
    /// The file as it was named on the command line.
    pub file: PathBuf,
    /// The line, counted from 1; `None` where the file could not be read at all.
    pub line: Option<usize>,
    /// The dotted key, such as `upstream.url` or `mongodb.mounts[1].where`; empty where the text is not TOML.
    pub key: String,
    /// What is wrong. Never shows a secret.
    pub text: String,
}

/// Writes `FILE:LINE: key: text`.
impl fmt::Display for ConfigError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.file.display())?;
        if let Some(line) = self.line {
            write!(formatter, ":{line}")?;
        }
        if !self.key.is_empty() {
            write!(formatter, ": {}", self.key)?;
        }
        write!(formatter, ": {}", self.text)
    }
}

/// Collects faults while the whole file is read, so that the reader of the message can mend them in one go.
pub(super) struct Faults {
    file: PathBuf,
    /// Offset of the first byte of each line.
    line_starts: Vec<usize>,
    found: RefCell<Vec<ConfigError>>,
}

impl Faults {
    pub(super) fn new(file: &Path, text: &str) -> Self {
        let line_starts = std::iter::once(0)
            .chain(text.match_indices('\n').map(|(at, _)| at + 1))
            .collect();
        Self {
            file: file.to_owned(),
            line_starts,
            found: RefCell::default(),
        }
    }

    /// The line on which a span begins, counted from 1.
    pub(super) fn line_of(&self, span: &Range<usize>) -> usize {
        self.line_starts
            .partition_point(|&start| start <= span.start)
    }

    pub(super) fn add(&self, line: usize, key: impl Into<String>, text: impl Into<String>) {
        self.found.borrow_mut().push(ConfigError {
            file: self.file.clone(),
            line: Some(line),
            key: key.into(),
            text: text.into(),
        });
    }

    /// All faults in the order of their lines, each once.
    pub(super) fn sorted(&self) -> Vec<ConfigError> {
        let mut found = self.found.borrow().clone();
        found.sort_by(|a, b| a.line.cmp(&b.line).then_with(|| a.key.cmp(&b.key)));
        found.dedup();
        found
    }
}
