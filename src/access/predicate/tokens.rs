//! Text to tokens.
//!
//! Blanks separate; `( ) , = [ ] { } ;` stand for themselves, except inside `%{…}` and `${…}`; `'…'` and `"…"` quote, where
//! a backslash takes away the meaning of the delimiter only. A newline ends an expression unless it stands in brackets or
//! `and` / `or` follows; a line that begins with `#` is a comment.

use super::ParseError;

/// A token and where it begins, in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) kind: Kind,
    pub(super) at: usize,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Unquoted text.
    Word(String),
    /// Quoted text, without its quotation marks.
    Quoted(String),
    /// One of `( ) , = [ ] { } ;`.
    Mark(char),
}

impl Token {
    pub(super) fn is_mark(&self, mark: char) -> bool {
        self.kind == Kind::Mark(mark)
    }

    pub(super) fn is_word(&self, word: &str) -> bool {
        matches!(&self.kind, Kind::Word(found) if found == word)
    }
}

/// Cuts a predicate into tokens; newlines that do not end the expression have gone.
pub(super) fn tokens(text: &str) -> Result<Vec<Token>, ParseError> {
    let mut scanner = Scanner {
        text,
        at: 0,
        depth: 0,
        tokens: Vec::new(),
        broken_line: None,
    };
    while scanner.step()? {}
    Ok(scanner.tokens)
}

struct Scanner<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
    tokens: Vec<Token>,
    /// A newline outside brackets after the last token: only `and` and `or` may follow.
    broken_line: Option<usize>,
}

impl Scanner<'_> {
    fn rest(&self) -> &str {
        &self.text[self.at..]
    }

    /// Takes one token, blank, comment or newline; false at the end.
    fn step(&mut self) -> Result<bool, ParseError> {
        let Some(first) = self.rest().chars().next() else {
            return Ok(false);
        };
        match first {
            ' ' | '\t' => self.at += 1,
            '\n' => {
                if self.depth == 0 && !self.tokens.is_empty() {
                    self.broken_line.get_or_insert(self.at);
                }
                self.at += 1;
            }
            '#' if self.begins_line() => {
                self.at += self.rest().find('\n').unwrap_or(self.rest().len())
            }
            '\'' | '"' => self.quoted(first)?,
            mark if is_mark(mark) => {
                match mark {
                    '(' | '[' | '{' => self.depth += 1,
                    ')' | ']' | '}' => self.depth = self.depth.saturating_sub(1),
                    _ => (),
                }
                self.push(Kind::Mark(mark), self.at)?;
                self.at += 1;
            }
            _ => self.word()?,
        }
        Ok(true)
    }

    fn begins_line(&self) -> bool {
        let line = self.text[..self.at].rsplit('\n').next().unwrap_or_default();
        line.chars().all(|c| c == ' ' || c == '\t')
    }

    fn push(&mut self, kind: Kind, at: usize) -> Result<(), ParseError> {
        let token = Token { kind, at };
        let goes_on = token.is_word("and") || token.is_word("or");
        match self.broken_line.take() {
            Some(newline) if !goes_on => Err(ParseError::new(
                newline,
                "a second expression begins on a new line",
            )),
            Some(_) | None => {
                self.tokens.push(token);
                Ok(())
            }
        }
    }

    fn quoted(&mut self, delimiter: char) -> Result<(), ParseError> {
        let start = self.at;
        let mut value = String::new();
        let mut characters = self.text[start + 1..].char_indices().peekable();
        while let Some((offset, c)) = characters.next() {
            if c == delimiter {
                self.at = start + 1 + offset + 1;
                return self.push(Kind::Quoted(value), start);
            }
            match (c, characters.peek()) {
                ('\\', Some(&(_, next))) if next == delimiter => {
                    value.push(next);
                    characters.next();
                }
                _ => value.push(c),
            }
        }
        Err(ParseError::new(start, "a quotation mark is not closed"))
    }

    fn word(&mut self) -> Result<(), ParseError> {
        let start = self.at;
        let mut in_variable = false;
        let mut before = '\0';
        let mut end = self.text.len();
        for (offset, c) in self.text[start..].char_indices() {
            if in_variable {
                in_variable = c != '}';
            } else if c == '{' && (before == '%' || before == '$') {
                in_variable = true;
            } else if is_mark(c) || matches!(c, ' ' | '\t' | '\n' | '\'' | '"') {
                end = start + offset;
                break;
            }
            before = c;
        }
        if in_variable {
            return Err(ParseError::new(start, "a brace is not closed"));
        }
        self.at = end;
        self.push(Kind::Word(self.text[start..end].to_owned()), start)
    }
}

fn is_mark(c: char) -> bool {
    matches!(c, '(' | ')' | ',' | '=' | '[' | ']' | '{' | '}' | ';')
}
