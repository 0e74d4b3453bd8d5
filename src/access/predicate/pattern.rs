//! Regular expressions as administrators write them: Java's, with look-around, back references and possessive quantifiers.

use fancy_regex::{Regex, RegexBuilder};

use super::REGEX_STEPS_MAX;
use super::evaluate::Failure;

/// A compiled pattern; a search takes a bounded number of steps.
#[derive(Debug)]
pub(super) struct Pattern(Regex);

impl Pattern {
    /// Compiles a pattern; the error says what is wrong with it.
    ///
    /// `full` asks for a match of the whole value, else it is a search.
    pub(super) fn compile(pattern: &str, full: bool, case_sensitive: bool) -> Result<Self, String> {
        let translated = translate(pattern)?;
        let whole = if full {
            format!(r"\A(?:{translated})\z")
        } else {
            translated
        };
        RegexBuilder::new(&whole)
            .case_insensitive(!case_sensitive)
            .backtrack_limit(REGEX_STEPS_MAX)
            .delegate_size_limit(COMPILED_BYTES_MAX)
            .build()
            .map(Self)
            .map_err(|error| {
                format!("the regular expression {pattern:?} is not understood: {error}")
            })
    }

    /// Searches the value; the groups' texts, the whole match first.
    ///
    /// # Errors
    /// The search took too many steps.
    pub(super) fn search(&self, value: &str) -> Result<Option<Vec<Option<String>>>, Failure> {
        let captures = self.0.captures(value).map_err(|_| Failure::RegexSteps)?;
        let text =
            |group: Option<fancy_regex::Match<'_>>| group.map(|found| found.as_str().to_owned());
        Ok(captures.map(|captures| captures.iter().map(text).collect()))
    }
}

/// Writes Java's escapes as the regex crates spell them; `\w`, `\d` and `\s` mean ASCII in Java.
///
/// NOTE: `$` matches at the very end only, where Java also takes a last line break.
fn translate(pattern: &str) -> Result<String, String> {
    let mut out = String::with_capacity(pattern.len());
    let mut characters = pattern.chars().peekable();
    let mut class_depth = 0_usize;
    while let Some(c) = characters.next() {
        match c {
            '[' => class_depth += 1,
            ']' => class_depth = class_depth.saturating_sub(1),
            _ => (),
        }
        if c != '\\' {
            out.push(c);
            continue;
        }
        let Some(escaped) = characters.next() else {
            return Err("the regular expression ends in a backslash".to_owned());
        };
        match escaped {
            'd' => out.push_str("[0-9]"),
            'D' => out.push_str("[^0-9]"),
            'w' => out.push_str("[0-9A-Za-z_]"),
            'W' => out.push_str("[^0-9A-Za-z_]"),
            's' => out.push_str(r"[ \t\n\x0B\f\r]"),
            'S' => out.push_str(r"[^ \t\n\x0B\f\r]"),
            'Q' if class_depth == 0 => quote_literally(&mut characters, &mut out),
            'h' | 'H' | 'R' | 'X' | 'G' | 'K' | 'Z' | 'N' | 'v' | 'V' | 'Q' | 'E' | 'O' | 'g' => {
                return Err(format!(
                    "the regular expression uses \\{escaped}, which is not supported"
                ));
            }
            other => out.extend(['\\', other]),
        }
    }
    Ok(out)
}

/// `\Q…\E`: text that means itself.
fn quote_literally(characters: &mut std::iter::Peekable<std::str::Chars<'_>>, out: &mut String) {
    let mut literal = String::new();
    while let Some(c) = characters.next() {
        if c == '\\' && characters.peek() == Some(&'E') {
            characters.next();
            break;
        }
        literal.push(c);
    }
    out.push_str(&fancy_regex::escape(&literal));
}

/// The size to which a compiled part may grow.
const COMPILED_BYTES_MAX: usize = 1 << 20;
