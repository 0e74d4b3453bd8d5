//! Expressions that look for a pattern.

use bson::{Document, doc};

use super::{Generator, Want};

impl Generator {
    pub(super) fn search_of_pattern(&mut self, name: &str, depth: usize) -> Document {
        let mut arguments =
            doc! { "input": self.argument(Want::Text, depth), "regex": self.pick(PATTERNS) };
        if self.one_in(3) {
            arguments.insert("options", self.pick(&["", "i", "s", "m"]));
        }
        doc! { name: arguments }
    }
}

const PATTERNS: &[&str] = &[
    "a",
    "^a",
    "b$",
    "[a-c]+",
    "\\d",
    "é",
    "(a)(x)?",
    "(a|b)?b",
    "a*",
    "b*?",
    ".",
    "(?:a|(b))",
    "\\b",
    "^",
    "$",
    "a?$",
    "(.)$",
    "x|^",
    ".+",
    "(.*?)b",
    "(b|ab)c?",
    "",
    "a|",
    "\\w+",
    "[^a]",
    "()",
    "\\s?",
    "a{1,2}?",
    "(a(b)?)?",
    "\\n",
];
