//! What no pipeline may hold, whoever wrote it: stages that read or write elsewhere, and code.
//!
//! Source: `restheart-compat.md` section 2.7, with its default lists.

#[cfg(test)]
mod tests;

use std::fmt::Write as _;

use bson::{Bson, Document};

/// What the screen found.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "Cannot open change stream: Security violation: {kind} operator '{operator}' at {location} - {reason}"
)]
pub struct Violation {
    kind: &'static str,
    operator: String,
    location: String,
    reason: &'static str,
}

/// Looks through resolved stages, and returns the first violation.
pub fn check(stages: &[Document]) -> Result<(), Violation> {
    for (index, stage) in stages.iter().enumerate() {
        let location = format!("pipeline[{index}]");
        for (name, operand) in stage {
            check_stage(name, &location)?;
            check_operators(operand, &mut format!("{location}.{name}"))?;
        }
    }
    Ok(())
}

fn check_stage(name: &str, location: &str) -> Result<(), Violation> {
    let (kind, reason) = if is_in(&STAGES, name) {
        (
            "BLACKLISTED_STAGE",
            "Pipeline stage is in security blacklist",
        )
    } else if is_in(&OPERATORS, name) {
        (
            "JAVASCRIPT_EXECUTION",
            "JavaScript execution is disabled by security policy",
        )
    } else {
        return Ok(());
    };
    Err(Violation {
        kind,
        operator: name.to_owned(),
        location: location.to_owned(),
        reason,
    })
}

// Recursion: a definition and the values put into it are each nested no deeper than `notation::DEPTH_MAX`.
fn check_operators(value: &Bson, location: &mut String) -> Result<(), Violation> {
    let length = location.len();
    match value {
        Bson::Document(document) => {
            for (key, value) in document {
                if is_in(&OPERATORS, key) {
                    return Err(Violation {
                        kind: "BLACKLISTED_OPERATOR",
                        operator: key.clone(),
                        location: location.clone(),
                        reason: "Operator is in security blacklist",
                    });
                }
                location.push('.');
                location.push_str(key);
                check_operators(value, location)?;
                location.truncate(length);
            }
        }
        Bson::Array(values) => {
            for (index, value) in values.iter().enumerate() {
                write!(location, "[{index}]").expect("invariant: a String takes all text");
                check_operators(value, location)?;
                location.truncate(length);
            }
        }
        _ => (),
    }
    Ok(())
}

fn is_in(list: &[&str], name: &str) -> bool {
    list.iter().any(|entry| entry.eq_ignore_ascii_case(name))
}

const STAGES: [&str; 5] = ["$out", "$merge", "$lookup", "$graphLookup", "$unionWith"];
const OPERATORS: [&str; 3] = ["$where", "$function", "$accumulator"];
