//! From a PCRE pattern to one of the `regex` crate that finds the same in the same texts, or a refusal.

use std::iter::Peekable;
use std::str::Chars;

type Translated<T> = Result<T, String>;

/// A pattern for the `regex` crate.
#[derive(Debug)]
pub(super) struct Translation {
    pub(super) pattern: String,
    /// What its groups are, from the first one.
    pub(super) groups: Vec<Group>,
    /// Whether a quantifier has no end, so that looking for a match may go beyond it.
    pub(super) is_open: bool,
}

/// What a group of the translated pattern stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Group {
    /// A group of the pattern.
    Captured,
    /// A `$`, which may have taken the last line break with it: the match ends before.
    End,
}

/// Translates a pattern with its options.
///
/// # Errors
/// Names the construct that is not known to mean the same.
pub(super) fn translate(pattern: &[u8], options: &[u8]) -> Translated<Translation> {
    let pattern = std::str::from_utf8(pattern).map_err(|_| unsure("no UTF-8"))?;
    let (mut ignores_case, mut dot_is_all, mut is_multiline) = (false, false, false);
    for option in options {
        match option {
            b'i' => ignores_case = true,
            b's' => dot_is_all = true,
            b'm' => is_multiline = true,
            other => return Err(unsure(format_args!("the option {}", char::from(*other)))),
        }
    }
    if ignores_case && !pattern.is_ascii() {
        // Which letters are the same depends on the version of Unicode.
        return Err(unsure("letters beyond ASCII in any case"));
    }
    let mut translator = Translator {
        rest: pattern.chars().peekable(),
        out: String::from(if ignores_case { "(?i)" } else { "" }),
        ignores_case,
        dot_is_all,
        is_multiline,
        groups: Vec::new(),
        open_groups: 0,
        has_unbounded: false,
        ways: 1,
    };
    translator.run()?;
    Ok(Translation {
        pattern: translator.out,
        groups: translator.groups,
        is_open: translator.has_unbounded,
    })
}

struct Translator<'p> {
    rest: Peekable<Chars<'p>>,
    out: String,
    ignores_case: bool,
    dot_is_all: bool,
    is_multiline: bool,
    /// Those that are counted.
    groups: Vec<Group>,
    /// How many groups are open, counted or not.
    open_groups: usize,
    /// Whether a quantifier without an end was seen. PCRE gets through one of them with any text.
    has_unbounded: bool,
    /// Bounds the ways in which PCRE can try everything else from one place.
    ways: u64,
}

/// What a quantifier stands behind.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Atom {
    Character,
    Group,
    /// An assertion or the beginning: takes no quantifier.
    Nothing,
}

impl Translator<'_> {
    fn run(&mut self) -> Translated<()> {
        let mut atom = Atom::Nothing;
        while let Some(character) = self.rest.next() {
            atom = match character {
                '*' | '+' | '?' | '{' => {
                    self.quantifier(character, atom)?;
                    Atom::Nothing
                }
                other => self.atom(other)?,
            };
        }
        match self.open_groups {
            0 => Ok(()),
            _ => Err(unsure("an open group")),
        }
    }

    fn atom(&mut self, character: char) -> Translated<Atom> {
        match character {
            '^' => return self.begin(),
            '$' => return self.end(),
            '|' => {
                if self.open_groups > 0 {
                    self.multiply_ways(2)?;
                }
                return Ok(self.write("|", Atom::Nothing));
            }
            '(' => return self.open_group(),
            ')' => {
                let groups = self.open_groups.checked_sub(1);
                self.open_groups = groups.ok_or_else(|| unsure("a stray parenthesis"))?;
                return Ok(self.write(")", Atom::Group));
            }
            '\\' => return self.escape(),
            '.' if self.dot_is_all => self.out.push_str("(?s:.)"),
            '.' => self.out.push_str("[^\\n]"),
            '[' => self.class()?,
            ']' | '}' => return Err(unsure("a stray bracket")),
            literal => self.literal(literal),
        }
        Ok(Atom::Character)
    }

    /// In many lines `^` also holds behind a line break, but for PCRE not at the very end: so something must follow.
    fn begin(&mut self) -> Translated<Atom> {
        if !self.is_multiline {
            return Ok(self.write("\\A", Atom::Nothing));
        }
        let mut ahead = self.rest.clone();
        let is_followed = ahead.next().is_some_and(char::is_alphanumeric);
        match (is_followed, ahead.next()) {
            (true, None) => Ok(self.write("(?m:^)", Atom::Nothing)),
            (true, Some(next)) if !"*?{".contains(next) => Ok(self.write("(?m:^)", Atom::Nothing)),
            _ => Err(unsure("^ of many lines before what may be empty")),
        }
    }

    /// `$` also holds before a last line break. As the last of an alternative it may take that in.
    fn end(&mut self) -> Translated<Atom> {
        if self.is_multiline {
            return Ok(self.write("(?m:$)", Atom::Nothing));
        }
        match self.rest.peek() {
            None | Some('|') if self.open_groups == 0 => {
                self.groups.push(Group::End);
                Ok(self.write("(\\n?\\z)", Atom::Nothing))
            }
            _ => Err(unsure("$ in the middle")),
        }
    }

    fn open_group(&mut self) -> Translated<Atom> {
        let opening = match self.rest.peek() {
            Some('?') => {
                self.rest.next();
                if self.rest.next() != Some(':') {
                    return Err(unsure("a group of a special kind"));
                }
                "(?:"
            }
            Some('*') => return Err(unsure("a verb")),
            _ => {
                self.groups.push(Group::Captured);
                "("
            }
        };
        self.open_groups += 1;
        if self.open_groups > GROUPS_MAX {
            return Err(unsure("groups nested so deeply"));
        }
        Ok(self.write(opening, Atom::Nothing))
    }

    fn escape(&mut self) -> Translated<Atom> {
        let character = self.rest.next().ok_or_else(|| unsure("a last \\"))?;
        if character == 'b' {
            return Ok(self.write("(?-u:\\b)", Atom::Nothing));
        }
        // `\B` would hold inside a character beyond ASCII, where PCRE does not look.
        match (class_of(character), escaped(character)) {
            // Without regard to `i`, which would let the Kelvin sign be a letter.
            (Some(class), _) if character.is_ascii_lowercase() => {
                self.out.push_str(&format!("(?-i:[{class}])"))
            }
            (Some(class), _) => self.out.push_str(&format!("(?-i:[^{class}])")),
            (None, Some(literal)) => self.literal(literal),
            (None, None) => return Err(unsure(format_args!("\\{character}"))),
        }
        Ok(Atom::Character)
    }

    /// `[…]`: single characters, ranges and `\d \s \w`.
    fn class(&mut self) -> Translated<()> {
        self.out.push('[');
        if self.rest.next_if_eq(&'^').is_some() {
            self.out.push('^');
        }
        let mut is_first = true;
        loop {
            let character = self.rest.next().ok_or_else(|| unsure("an open bracket"))?;
            match character {
                ']' if is_first => return Err(unsure("] at the beginning of a class")),
                ']' => break,
                '[' => return Err(unsure("[ in a class")),
                '-' if !is_first && self.rest.peek() != Some(&']') => {
                    return Err(unsure("- in the middle of a class"));
                }
                '\\' => self.class_escape()?,
                literal => self.class_item(literal)?,
            }
            is_first = false;
        }
        self.out.push(']');
        Ok(())
    }

    fn class_escape(&mut self) -> Translated<()> {
        let character = self.rest.next().ok_or_else(|| unsure("a last \\"))?;
        match (character, class_of(character), escaped(character)) {
            ('d' | 's', Some(class), _) => self.out.push_str(class),
            ('w', Some(class), _) if !self.ignores_case => self.out.push_str(class),
            (_, None, Some(literal)) => return self.class_item(literal),
            _ => return Err(unsure(format_args!("\\{character} in a class"))),
        }
        // A range that begins with a class means different things in different versions.
        match self.rest.peek() {
            Some('-') => Err(unsure("- behind a class")),
            _ => Ok(()),
        }
    }

    /// A character, or the range that it begins.
    fn class_item(&mut self, first: char) -> Translated<()> {
        self.literal(first);
        let mut ahead = self.rest.clone();
        if ahead.next() != Some('-') {
            return Ok(());
        }
        match ahead.next() {
            Some(']') | None => Ok(()),
            Some('[' | '\\') => Err(unsure("a range of that kind")),
            Some(last) => {
                self.rest = ahead;
                self.out.push('-');
                self.literal(last);
                Ok(())
            }
        }
    }

    fn quantifier(&mut self, character: char, atom: Atom) -> Translated<()> {
        let (least, most) = match character {
            '*' => (0, None),
            '+' => (1, None),
            '?' => (0, Some(1)),
            _ => self.counted()?,
        };
        match (atom, most) {
            (Atom::Nothing, _) => return Err(unsure("a quantifier behind nothing")),
            // PCRE recurses for each repetition of a group, and gives up.
            (Atom::Group, most) if most != Some(1) => return Err(unsure("a repeated group")),
            (_, Some(most)) if most > COUNT_MAX || least > most => {
                return Err(unsure("a count of that kind"));
            }
            (_, None) if self.has_unbounded || least > COUNT_MAX => {
                return Err(unsure("two open quantifiers"));
            }
            (_, Some(most)) => self.multiply_ways(u64::from(most - least) + 1)?,
            (_, None) => {
                self.has_unbounded = true;
                self.multiply_ways(1)?;
            }
        }
        let most = most.map_or(String::new(), |most| most.to_string());
        self.out.push_str(&format!("{{{least},{most}}}"));
        // Possessive (`+`) is refused as a quantifier behind nothing.
        if self.rest.next_if_eq(&'?').is_some() {
            self.out.push('?');
        }
        Ok(())
    }

    /// Parses `n}`, `n,}` or `n,m}`.
    fn counted(&mut self) -> Translated<(u32, Option<u32>)> {
        let mut text = String::new();
        loop {
            match self.rest.next() {
                Some('}') => break,
                Some(character @ ('0'..='9' | ',')) if text.len() < 8 => text.push(character),
                _ => return Err(unsure("a brace")),
            }
        }
        let number = |text: &str| text.parse::<u32>().map_err(|_| unsure("a brace"));
        match text.split_once(',') {
            None => number(&text).map(|count| (count, Some(count))),
            Some((least, "")) => Ok((number(least)?, None)),
            Some((least, most)) => Ok((number(least)?, Some(number(most)?))),
        }
    }

    fn multiply_ways(&mut self, by: u64) -> Translated<()> {
        self.ways = self.ways.saturating_mul(by);
        let most = if self.has_unbounded {
            WAYS_BESIDE_UNBOUNDED_MAX
        } else {
            WAYS_MAX
        };
        match self.ways <= most {
            true => Ok(()),
            false => Err(unsure("so many ways to match")),
        }
    }

    fn literal(&mut self, literal: char) {
        self.out
            .push_str(&format!("\\x{{{:x}}}", u32::from(literal)));
    }

    fn write(&mut self, text: &str, atom: Atom) -> Atom {
        self.out.push_str(text);
        atom
    }
}

/// The ASCII classes, which PCRE means unless told otherwise.
fn class_of(character: char) -> Option<&'static str> {
    match character {
        'd' | 'D' => Some("0-9"),
        'w' | 'W' => Some("0-9A-Za-z_"),
        's' | 'S' => Some("\\t\\n\\x0B\\x0C\\r\\x20"),
        _ => None,
    }
}

fn escaped(character: char) -> Option<char> {
    match character {
        'n' => Some('\n'),
        'r' => Some('\r'),
        't' => Some('\t'),
        'f' => Some('\x0c'),
        punctuation if punctuation.is_ascii_punctuation() => Some(punctuation),
        _ => None,
    }
}

fn unsure(what: impl std::fmt::Display) -> String {
    format!("a regular expression with {what}")
}

const GROUPS_MAX: usize = 20;
const COUNT_MAX: u32 = 100;
/// PCRE gives up after ten million steps.
const WAYS_MAX: u64 = 10_000;
/// Times the length of the text: only texts above 2 MB could make PCRE give up.
const WAYS_BESIDE_UNBOUNDED_MAX: u64 = 4;
