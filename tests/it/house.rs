//! The house (design section 3) held against the code: who may import whom, and what a tidy room looks like.

mod imports;
mod tidy;

use std::path::{Path, PathBuf};

/// A text file of the project, by its path from the project's root.
struct Source {
    path: String,
    text: String,
}

#[test]
fn rooms_import_only_from_the_floors_below() {
    let sources = sources(&["src"], &["rs"]);
    check(&sources, imports::violations);
}

#[test]
fn rust_files_are_tidy() {
    let sources = sources(&["src", "tests", "examples", "benches"], &["rs"]);
    check(&sources, tidy::rust_violations);
}

#[test]
fn no_file_knows_the_machine_it_was_written_on() {
    let sources = sources(
        &[""],
        &["rs", "toml", "md", "sh", "py", "yml", "json", "run", ""],
    );
    check(&sources, tidy::machine_paths);
}

/// Holds every file against one rule and tells all violations at once.
#[track_caller]
fn check(sources: &[Source], rule: impl Fn(&Source) -> Vec<String>) {
    assert!(sources.len() > 3, "found {} files only", sources.len());
    let violations: Vec<_> = sources.iter().flat_map(rule).collect();
    assert!(violations.is_empty(), "\n{}", violations.join("\n"));
}

fn sources(folders: &[&str], extensions: &[&str]) -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut paths = Vec::new();
    for folder in folders {
        walk(&root.join(folder), &mut paths);
    }
    paths.retain(|path| {
        let extension = path.extension().unwrap_or_default();
        extensions.iter().any(|wanted| extension == *wanted)
    });
    paths.sort();
    let source = |path: PathBuf| {
        let text = std::fs::read_to_string(&path).ok()?;
        let path = path.strip_prefix(root).expect("it was found below it");
        Some(Source {
            path: path.display().to_string(),
            text,
        })
    };
    paths.into_iter().filter_map(source).collect()
}

fn walk(folder: &Path, into: &mut Vec<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(folder) else {
        // A wing that is not built yet.
        return;
    };
    for entry in entries {
        let path = entry.expect("the project can be read").path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if path.is_dir() {
            // Builds and history are not the project; the recordings are somebody else's words.
            if !matches!(&*name, "target" | ".git" | "golden") || path.ends_with("it/golden") {
                walk(&path, into);
            }
        } else if !path.is_symlink() && name != ".git" {
            into.push(path);
        }
    }
}
