//! Text to tokens.

use super::ShellError;

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token {
    BeginObject,
    EndObject,
    BeginArray,
    EndArray,
    LeftParenthesis,
    RightParenthesis,
    Colon,
    Comma,
    Int32(i32),
    Int64(i64),
    Double(f64),
    Text(String),
    Word(String),
    Regex { pattern: String, options: String },
    End,
}

pub(super) struct Scanner<'t> {
    text: &'t str,
    position: usize,
}

impl<'t> Scanner<'t> {
    pub(super) fn new(text: &'t str) -> Self {
        Self { text, position: 0 }
    }

    pub(super) fn position(&self) -> usize {
        self.position
    }

    fn fail<T>(&self, reason: impl Into<String>) -> Result<T, ShellError> {
        Err(ShellError {
            reason: reason.into(),
            position: self.position,
        })
    }

    fn peek(&self) -> Option<char> {
        self.text[self.position..].chars().next()
    }

    fn read(&mut self) -> Option<char> {
        let character = self.peek()?;
        self.position += character.len_utf8();
        Some(character)
    }

    /// Reads while `wanted` holds, and returns what was read.
    fn read_while(&mut self, wanted: impl Fn(char) -> bool) -> &'t str {
        let rest = &self.text[self.position..];
        let end = rest
            .find(|character| !wanted(character))
            .unwrap_or(rest.len());
        self.position += end;
        &rest[..end]
    }

    pub(super) fn next(&mut self) -> Result<Token, ShellError> {
        self.read_while(char::is_whitespace);
        let start = self.position;
        let Some(character) = self.read() else {
            return Ok(Token::End);
        };
        Ok(match character {
            '{' => Token::BeginObject,
            '}' => Token::EndObject,
            '[' => Token::BeginArray,
            ']' => Token::EndArray,
            '(' => Token::LeftParenthesis,
            ')' => Token::RightParenthesis,
            ':' => Token::Colon,
            ',' => Token::Comma,
            '\'' | '"' => return self.string(character),
            '/' => return self.regex(),
            '-' | '0'..='9' => return self.number(start),
            '$' | '_' => self.bare_word(start),
            letter if letter.is_alphabetic() => self.bare_word(start),
            other => return self.fail(format!("unexpected {other:?}")),
        })
    }

    fn bare_word(&mut self, start: usize) -> Token {
        self.read_while(|character| matches!(character, '$' | '_') || character.is_alphanumeric());
        Token::Word(self.text[start..self.position].to_owned())
    }

    fn number(&mut self, start: usize) -> Result<Token, ShellError> {
        self.read_while(|character| {
            character.is_ascii_alphanumeric() || matches!(character, '.' | '+' | '-')
        });
        let number = &self.text[start..self.position];
        if !matches!(self.peek(), None | Some(',' | '}' | ']' | ')'))
            && !self.peek().is_some_and(char::is_whitespace)
        {
            return self.fail("illegal number");
        }
        if number == "-Infinity" {
            return Ok(Token::Double(f64::NEG_INFINITY));
        }
        let digits = number.strip_prefix('-').unwrap_or(number);
        if digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return match number.parse::<i64>() {
                Ok(int) => Ok(i32::try_from(int).map_or(Token::Int64(int), Token::Int32)),
                Err(_) => self.fail("illegal integer"),
            };
        }
        match number.parse() {
            Ok(double) if is_decimal(digits) => Ok(Token::Double(double)),
            _ => self.fail("illegal number"),
        }
    }

    fn string(&mut self, quote: char) -> Result<Token, ShellError> {
        // As in Java, a character is a unit of UTF-16: two escapes may make one character.
        let mut units: Vec<u16> = Vec::new();
        loop {
            let character = match self.read() {
                None => return self.fail("the text ends inside a string"),
                Some(character) if character == quote => {
                    return Ok(Token::Text(String::from_utf16_lossy(&units)));
                }
                Some('\\') => match self.read() {
                    Some(plain @ ('\'' | '"' | '\\' | '/')) => plain,
                    Some('b') => '\u{8}',
                    Some('f') => '\u{c}',
                    Some('n') => '\n',
                    Some('r') => '\r',
                    Some('t') => '\t',
                    Some('u') => {
                        units.push(self.unit()?);
                        continue;
                    }
                    _ => return self.fail("illegal escape sequence"),
                },
                Some(character) => character,
            };
            units.extend_from_slice(character.encode_utf16(&mut [0; 2]));
        }
    }

    /// Reads four hexadecimal digits.
    fn unit(&mut self) -> Result<u16, ShellError> {
        let digits = self
            .text
            .as_bytes()
            .get(self.position..self.position + 4)
            .unwrap_or_default();
        let unit = std::str::from_utf8(digits)
            .ok()
            .filter(|digits| {
                digits.len() == 4 && digits.bytes().all(|byte| byte.is_ascii_hexdigit())
            })
            .and_then(|digits| u16::from_str_radix(digits, 16).ok());
        match unit {
            Some(unit) => {
                self.position += 4;
                Ok(unit)
            }
            None => self.fail("illegal escape sequence"),
        }
    }

    fn regex(&mut self) -> Result<Token, ShellError> {
        let start = self.position;
        loop {
            match self.read() {
                None => return self.fail("the text ends inside a regular expression"),
                Some('/') => break,
                Some('\\') => {
                    self.read();
                }
                Some(_) => (),
            }
        }
        let pattern = self.text[start..self.position - 1].to_owned();
        let options = self
            .read_while(|character| matches!(character, 'i' | 'm' | 'x' | 's'))
            .to_owned();
        match self.peek() {
            None | Some(',' | '}' | ']' | ')') => (),
            Some(character) if character.is_whitespace() => (),
            Some(_) => return self.fail("illegal option of a regular expression"),
        }
        Ok(Token::Regex { pattern, options })
    }
}

/// Whether `text` has digits, a point with digits behind it and an exponent, the latter two if at all.
fn is_decimal(text: &str) -> bool {
    fn digits(text: &str) -> bool {
        !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
    }
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (text, None),
    };
    let is_mantissa = match mantissa.split_once('.') {
        Some((whole, fraction)) => digits(whole) && digits(fraction),
        None => digits(mantissa),
    };
    is_mantissa
        && exponent
            .is_none_or(|exponent| digits(exponent.strip_prefix(['+', '-']).unwrap_or(exponent)))
}
