//! What a tidy file looks like.

use super::Source;

/// Returns what is untidy in a Rust file.
pub(super) fn rust_violations(source: &Source) -> Vec<String> {
    let Source { path, text } = source;
    let mut found = Vec::new();
    let lines = text.lines().count();
    if lines > LINES_MAX {
        found.push(format!("{path}: {lines} lines, {LINES_MAX} are allowed"));
    }
    if path.ends_with("mod.rs") {
        found.push(format!("{path}: a door is foo.rs, not foo/mod.rs"));
    }
    let is_product = path.starts_with("src/");
    let is_test = path.ends_with("tests.rs") || path.contains("/tests/");
    if is_product && !is_test && !text.starts_with("//! ") {
        found.push(format!("{path}: it does not say what it is"));
    }
    let mut forbidden = Vec::from(UNFINISHED);
    if is_product && !is_test && !is_room(path, "lifecycle") {
        forbidden.extend(SPAWNING);
        if !is_room(path, "access") && path != "src/engine/plan.rs" {
            forbidden.push(BLOCKING);
        }
    }
    for (number, line) in text.lines().enumerate() {
        for (word, why) in &forbidden {
            if line.contains(word) && !is_definition(line) {
                found.push(format!("{path}:{}: {why}: {}", number + 1, line.trim()));
            }
        }
    }
    found
}

/// Returns where a file names a path of somebody's machine.
pub(super) fn machine_paths(source: &Source) -> Vec<String> {
    let lines = source.text.lines().enumerate();
    let guilty = lines.filter(|(_, line)| {
        let is_machine = MACHINES.iter().any(|(folder, _)| line.contains(folder));
        is_machine && !is_definition(line)
    });
    let told = guilty.map(|(number, line)| {
        format!(
            "{}:{}: a path of one machine: {}",
            source.path,
            number + 1,
            line.trim()
        )
    });
    told.collect()
}

fn is_room(path: &str, wing: &str) -> bool {
    path == format!("src/{wing}.rs") || path.starts_with(&format!("src/{wing}/"))
}

/// The tables of this file name what they forbid; so does each test of it.
fn is_definition(line: &str) -> bool {
    line.trim_start().starts_with("(\"")
}

const LINES_MAX: usize = 600;

const UNFINISHED: [(&str, &str); 4] = [
    ("FIXME", "a known flaw is a NOTE with its cost"),
    ("todo!(", "not finished"),
    ("unimplemented!(", "not finished"),
    ("#[ignore", "a test that does not run is none"),
];

const SPAWNING: [(&str, &str); 5] = [
    ("tokio::spawn", "only lifecycle spawns"),
    ("task::spawn(", "only lifecycle spawns"),
    ("spawn_local", "only lifecycle spawns"),
    ("JoinSet", "only lifecycle spawns"),
    ("thread::spawn", "only lifecycle spawns"),
];

const BLOCKING: (&str, &str) = (
    "spawn_blocking",
    "only passwords and long pipelines are work that blocks",
);

const MACHINES: [(&str, &str); 5] = [
    ("/root/", ""),
    ("/home/", ""),
    ("/Users/", ""),
    ("/work/", ""),
    ("/tmp/", ""),
];

#[cfg(test)]
mod tests {
    use super::{Source, machine_paths, rust_violations};

    #[track_caller]
    fn check(path: &str, text: &str, is_tidy: bool) {
        let source = Source {
            path: path.to_owned(),
            text: text.to_owned(),
        };
        let mut found = rust_violations(&source);
        found.extend(machine_paths(&source));
        assert_eq!(found.is_empty(), is_tidy, "{found:?}");
    }

    #[test]
    fn untidy_files_are_found() {
        let cases = [
            ("src/a.rs", "fn no_doc() {}"),
            ("src/a/mod.rs", "//! Doc."),
            ("src/a.rs", "//! Doc.\n// FIXME: later"),
            ("src/a.rs", "//! Doc.\nfn f() { todo!() }"),
            ("tests/a.rs", "#[ignore = \"slow\"]"),
            ("src/a.rs", "//! Doc.\ntokio::spawn(f());"),
            ("src/access.rs", "//! Doc.\ntokio::task::spawn(f());"),
            ("src/a.rs", "//! Doc.\ntokio::task::spawn_blocking(f);"),
            ("tests/a.rs", "let file = \"/home/me/x\";"),
        ];
        for (path, text) in cases {
            check(path, text, false);
        }
        check("tests/a.rs", &"\n".repeat(601), false);
    }

    #[test]
    fn tidy_files_are_not() {
        check("src/lifecycle.rs", "//! Doc.\ntokio::spawn(f());", true);
        check(
            "src/access/auth.rs",
            "//! Doc.\ntokio::task::spawn_blocking(f);",
            true,
        );
        check("src/a/tests.rs", "//! Doc.\ntokio::spawn(f());", true);
        check("tests/a.rs", &"\n".repeat(600), true);
    }
}
