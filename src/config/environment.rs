//! Where `{ env = … }` and `{ file = … }` are looked up.

use std::io;
use std::path::Path;

/// What a configuration may read besides its own text. A trait, so that tests hand in a map instead of touching the
/// process.
pub trait Environment {
    /// The value of an environment variable; `None` if it is not set or is not UTF-8.
    fn variable(&self, name: &str) -> Option<String>;

    /// The content of a file.
    ///
    /// # Errors
    /// What the operating system says.
    fn file(&self, path: &Path) -> io::Result<String>;
}

/// The real environment of this process.
#[derive(Clone, Copy, Debug, Default)]
pub struct ProcessEnvironment;

impl Environment for ProcessEnvironment {
    fn variable(&self, name: &str) -> Option<String> {
        std::env::var(name).ok()
    }

    fn file(&self, path: &Path) -> io::Result<String> {
        std::fs::read_to_string(path)
    }
}
