//! The floor table against the `crate::` paths of every file, those in the middle of the code too.

use super::Source;

/// Returns what a file imports from beside or above.
pub(super) fn violations(source: &Source) -> Vec<String> {
    let Some(inside) = source.path.strip_prefix("src/") else {
        return Vec::new();
    };
    let own = inside
        .split(['/', '.'])
        .next()
        .expect("split gives one at least");
    if matches!(own, "lib" | "main") {
        return Vec::new();
    }
    let Some(own_floor) = floor(own) else {
        return vec![format!("{}: {own} is on no floor", source.path)];
    };
    let mut found = Vec::new();
    for path in crate_paths(&source.text, &root_of(inside)) {
        let mut names = path.split("::");
        let wing = names.next().expect("split gives one at least");
        // A name at the crate's root that is no wing is not ours to judge.
        let Some(floor) = floor(wing).filter(|_| wing != own) else {
            continue;
        };
        let name = names.next();
        let narrowed = NARROWED
            .iter()
            .find(|(from, to, _)| *from == own && *to == wing);
        let is_allowed =
            narrowed.is_none_or(|(_, _, allowed)| name.is_some_and(|name| allowed.contains(&name)));
        if floor >= own_floor || !is_allowed {
            found.push(format!(
                "{}: {own} must not import crate::{path}",
                source.path
            ));
        }
    }
    found
}

/// Returns the ways to write `crate::` in the file `inside` of `src`: itself, and enough `super::`.
fn root_of(inside: &str) -> [String; 2] {
    let depth = inside.trim_end_matches(".rs").split('/').count();
    ["crate::".to_owned(), "super::".repeat(depth)]
}

/// Returns every path below the crate's root that the code names: `a::b::C`, groups taken apart.
fn crate_paths(text: &str, roots: &[String]) -> Vec<String> {
    let code: String = text
        .lines()
        .map(|line| line.split("//").next().unwrap_or_default())
        .flat_map(str::split_whitespace)
        .collect::<Vec<_>>()
        .join(" ");
    let mut found = Vec::new();
    for root in roots {
        for (place, _) in code.match_indices(root.as_str()) {
            let before = code[..place].chars().next_back();
            // `super::super::` in a deeper module is not the root: only what stands alone counts.
            if before
                .is_some_and(|before| before.is_alphanumeric() || matches!(before, '_' | ':' | '$'))
            {
                continue;
            }
            expand("", &code[place + root.len()..], &mut found);
        }
    }
    found
}

/// Appends the paths that begin at `rest`, each behind `prefix`, and returns what stands behind them.
fn expand<'a>(prefix: &str, rest: &'a str, into: &mut Vec<String>) -> &'a str {
    let rest = rest.trim_start();
    if let Some(mut rest) = rest.strip_prefix('{') {
        loop {
            rest = expand(prefix, rest, into).trim_start();
            match rest.chars().next() {
                Some(',') => rest = rest[1..].trim_start(),
                Some('}') => return &rest[1..],
                _ => return rest,
            }
            if let Some(behind) = rest.strip_prefix('}') {
                return behind;
            }
        }
    }
    let end = rest
        .find(|c: char| !c.is_alphanumeric() && c != '_')
        .unwrap_or(rest.len());
    let (name, behind) = rest.split_at(end);
    let path = if prefix.is_empty() {
        name.to_owned()
    } else {
        format!("{prefix}::{name}")
    };
    match behind.strip_prefix("::") {
        Some(deeper)
            if deeper
                .trim_start()
                .starts_with(|c: char| c.is_alphabetic() || matches!(c, '_' | '{')) =>
        {
            expand(&path, deeper, into)
        }
        Some(_) => {
            into.push(path);
            behind
        }
        None => {
            into.push(path);
            let renamed = behind.trim_start().strip_prefix("as ");
            renamed.map_or(behind, |name| {
                name.trim_start_matches(|c: char| c.is_alphanumeric() || c == '_')
            })
        }
    }
}

fn floor(wing: &str) -> Option<usize> {
    FLOORS.iter().position(|wings| wings.contains(&wing))
}

/// From below the ground up. `lifecycle` lies under all others: nobody else spawns, so whoever has work to spawn needs it.
const FLOORS: [&[&str]; 6] = [
    &["lifecycle"],
    &["query", "wire", "notation", "delivery", "mongo", "config"],
    &["access", "engine", "proxy"],
    &["streams", "session"],
    &["front", "admin"],
    &["app"],
];

/// Where less is allowed than the floors would: `streams` knows of `access` only who asks and what was granted.
const NARROWED: [(&str, &str, &[&str]); 3] = [
    (
        "streams",
        "access",
        &[
            "Principal",
            "Permission",
            "MongoPermissions",
            "Mechanism",
            "Grant",
            "grant",
        ],
    ),
    ("streams", "engine", &[]),
    ("streams", "proxy", &[]),
];

#[cfg(test)]
mod tests {
    use super::{Source, violations};

    #[track_caller]
    fn check(path: &str, text: &str, wanted: &[&str]) {
        let source = Source {
            path: path.to_owned(),
            text: text.to_owned(),
        };
        let found: Vec<_> = violations(&source)
            .into_iter()
            .map(|line| {
                line.rsplit_once("crate::")
                    .expect("it names the path")
                    .1
                    .to_owned()
            })
            .collect();
        assert_eq!(found, wanted);
    }

    #[test]
    fn sideways_and_upward_imports_are_found_however_they_are_written() {
        check(
            "src/query/path.rs",
            "use crate::wire::json;",
            &["wire::json"],
        );
        check(
            "src/query/path.rs",
            "use crate::{\n    query::path,\n    wire::{self, json},\n};",
            &["wire::self", "wire::json"],
        );
        check(
            "src/query/path.rs",
            "fn f() { crate::front::go() }",
            &["front::go"],
        );
        check("src/query/path.rs", "use super::super::app as a;", &["app"]);
        check("src/query.rs", "use super::app::App;", &["app::App"]);
        check(
            "src/lifecycle/tasks.rs",
            "use crate::config::Config;",
            &["config::Config"],
        );
        check("src/access.rs", "pub use crate::engine::*;", &["engine"]);
        check(
            "src/streams.rs",
            "use crate::access::{Principal, auth::Basic};",
            &["access::auth::Basic"],
        );
        check(
            "src/streams.rs",
            "use crate::engine::plan;",
            &["engine::plan"],
        );
    }

    #[test]
    fn downward_imports_and_mere_words_are_not() {
        check(
            "src/front.rs",
            "use crate::{access::Grant, config::Config, front::route};",
            &[],
        );
        check(
            "src/query/path.rs",
            "/// See [`crate::front::go`].\nuse super::order; // crate::app",
            &[],
        );
        check(
            "src/query/path/tests.rs",
            "use super::super::order; use crate::query::compile;",
            &[],
        );
        check("src/main.rs", "use sidestream::app;", &[]);
        check("src/mongo/feed.rs", "use crate::lifecycle::Tasks;", &[]);
        check(
            "src/streams/pipeline.rs",
            "use crate::access::grant::Permission;",
            &[],
        );
    }

    #[test]
    fn room_on_no_floor_is_found() {
        let source = Source {
            path: "src/utils.rs".to_owned(),
            text: String::new(),
        };
        assert_eq!(violations(&source), ["src/utils.rs: utils is on no floor"]);
    }
}
