//! Names that can be taken away from a process: it is started with a resolver of ours before the system's.

use std::path::PathBuf;
use std::process::Command;

use super::process::scratch;

/// Names under `.test`, of this machine. They are there until somebody takes them away.
pub(crate) struct Names {
    directory: PathBuf,
}

impl Names {
    /// Builds the resolver. Whoever has built these tests has a C compiler: Rust links with it.
    pub(crate) fn new() -> Self {
        let directory = scratch("names");
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/support/resolver.c");
        let mut compile = Command::new("cc");
        compile.args(["-shared", "-fPIC", "-o"]);
        compile.arg(directory.join(LIBRARY)).args([source, "-ldl"]);
        let built = compile.status().expect("there is a C compiler");
        assert!(built.success(), "the resolver cannot be built");
        let names = Self { directory };
        names.give();
        names
    }

    /// They are known, again.
    pub(crate) fn give(&self) {
        std::fs::write(self.directory.join(FILE), "").expect("the build directory can be written");
    }

    /// Nobody knows them any more.
    pub(crate) fn take(&self) {
        std::fs::remove_file(self.directory.join(FILE)).expect("they were there");
    }

    /// What a process has to find in its environment.
    pub(crate) fn environment(&self) -> [(&'static str, PathBuf); 2] {
        [
            ("LD_PRELOAD", self.directory.join(LIBRARY)),
            ("NAMES", self.directory.join(FILE)),
        ]
    }
}

impl Drop for Names {
    fn drop(&mut self) {
        // What is left is in the build directory.
        drop(std::fs::remove_dir_all(&self.directory));
    }
}

const LIBRARY: &str = "resolver.so";
const FILE: &str = "known";
