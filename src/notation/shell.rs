//! The lenient JSON in which clients write `avars`: Extended JSON old and new, and the notation of the mongo shell.
//!
//! As the MongoDB Java driver reads it: quotes of both kinds, keys without quotes, commas that are missing or one too
//! many, `ObjectId("…")` and its kin, `NaN`. Integers are int32 where they fit, else int64; other numbers are doubles.
//! What follows the value is not looked at. Size and depth are bounded.
//!
//! Limits of the claim: dates are read in ISO form only, and what looks like Extended JSON but is not (`{"$binary": 1}`)
//! stays a document, as in the driver, or is an error where the driver's own fallback differs.
//!
//! Source: `restheart-compat.md` section 2.5; MongoDB Java driver (`JsonReader`, `JsonScanner`).

mod date;
mod extended;
mod scanner;
#[cfg(test)]
mod tests;

use bson::{
    Binary, Bson, DateTime, Document, Regex, Timestamp, oid::ObjectId, spec::BinarySubtype,
};

use scanner::{Scanner, Token};

use super::DEPTH_MAX;

/// Why a text could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason} at byte {position}")]
pub struct ShellError {
    /// What is wrong.
    pub reason: String,
    /// Where, in bytes from the beginning.
    pub position: usize,
}

/// Reads the value that `text` begins with.
///
/// # Errors
/// [`ShellError`] where `text` is malformed, longer than [`BYTES_MAX`] or nested deeper than [`DEPTH_MAX`].
pub fn parse(text: &str) -> Result<Bson, ShellError> {
    if text.len() > BYTES_MAX {
        return Err(ShellError {
            reason: format!("longer than {BYTES_MAX} bytes"),
            position: BYTES_MAX,
        });
    }
    let mut reader = Reader {
        scanner: Scanner::new(text),
        pushed: None,
    };
    let token = reader.next()?;
    reader.value(token, 0)
}

struct Reader<'t> {
    scanner: Scanner<'t>,
    pushed: Option<Token>,
}

impl Reader<'_> {
    fn next(&mut self) -> Result<Token, ShellError> {
        match self.pushed.take() {
            Some(token) => Ok(token),
            None => self.scanner.next(),
        }
    }

    fn fail<T>(&self, reason: impl Into<String>) -> Result<T, ShellError> {
        Err(ShellError {
            reason: reason.into(),
            position: self.scanner.position(),
        })
    }

    fn expect(&mut self, expected: Token) -> Result<(), ShellError> {
        let found = self.next()?;
        if found == expected {
            Ok(())
        } else {
            self.fail(format!("expected {expected:?} but found {found:?}"))
        }
    }

    fn skip(&mut self, token: Token) -> Result<bool, ShellError> {
        let found = self.next()?;
        let is_it = found == token;
        if !is_it {
            self.pushed = Some(found);
        }
        Ok(is_it)
    }

    /// Reads the value that begins with `token`; `depth` documents and arrays are around it.
    fn value(&mut self, token: Token, depth: usize) -> Result<Bson, ShellError> {
        if depth > DEPTH_MAX {
            return self.fail(format!("nested more than {DEPTH_MAX} deep"));
        }
        match token {
            Token::BeginObject => {
                let document = self.document(depth)?;
                extended::value(document).or_else(|reason| self.fail(reason))
            }
            Token::BeginArray => self.array(depth),
            Token::Int32(int) => Ok(Bson::Int32(int)),
            Token::Int64(int) => Ok(Bson::Int64(int)),
            Token::Double(double) => Ok(Bson::Double(double)),
            Token::Text(text) => Ok(Bson::String(text)),
            Token::Regex { pattern, options } => self.regex(pattern, options),
            Token::Word(word) => self.word(&word),
            other => self.fail(format!("expected a value but found {other:?}")),
        }
    }

    fn document(&mut self, depth: usize) -> Result<Document, ShellError> {
        let mut document = Document::new();
        loop {
            let key = match self.next()? {
                Token::Text(key) | Token::Word(key) => key,
                Token::EndObject => return Ok(document),
                other => return self.fail(format!("expected a name but found {other:?}")),
            };
            if key.contains('\0') {
                return self.fail("a name with a NUL");
            }
            self.expect(Token::Colon)?;
            let token = self.next()?;
            let value = self.value(token, depth + 1)?;
            document.insert(key, value);
            self.skip(Token::Comma)?;
        }
    }

    fn array(&mut self, depth: usize) -> Result<Bson, ShellError> {
        let mut values = Vec::new();
        loop {
            match self.next()? {
                Token::EndArray => return Ok(Bson::Array(values)),
                token => values.push(self.value(token, depth + 1)?),
            }
            self.skip(Token::Comma)?;
        }
    }

    fn word(&mut self, word: &str) -> Result<Bson, ShellError> {
        Ok(match word {
            "true" => Bson::Boolean(true),
            "false" => Bson::Boolean(false),
            "null" => Bson::Null,
            "undefined" => Bson::Undefined,
            "NaN" => Bson::Double(f64::NAN),
            "Infinity" => Bson::Double(f64::INFINITY),
            "MinKey" => {
                self.no_arguments()?;
                Bson::MinKey
            }
            "MaxKey" => {
                self.no_arguments()?;
                Bson::MaxKey
            }
            "new" => match self.next()? {
                Token::Word(name) if name == "Date" => self.date()?,
                Token::Word(name) => self.constructor(&name)?,
                other => return self.fail(format!("expected a type name but found {other:?}")),
            },
            name => self.constructor(name)?,
        })
    }

    fn no_arguments(&mut self) -> Result<(), ShellError> {
        if self.skip(Token::LeftParenthesis)? {
            self.expect(Token::RightParenthesis)?;
        }
        Ok(())
    }

    fn constructor(&mut self, name: &str) -> Result<Bson, ShellError> {
        const KNOWN: [&str; 17] = [
            "BinData",
            "HexData",
            "ISODate",
            "NumberInt",
            "NumberLong",
            "NumberDecimal",
            "ObjectId",
            "Timestamp",
            "RegExp",
            "UUID",
            "GUID",
            "CSUUID",
            "CSGUID",
            "JUUID",
            "JGUID",
            "PYUUID",
            "PYGUID",
        ];
        if !KNOWN.contains(&name) {
            return self.fail(format!("expected a value but found {name}"));
        }
        let arguments = self.arguments()?;
        let value = match (name, arguments.as_slice()) {
            ("ObjectId", []) => Some(Bson::ObjectId(ObjectId::new())),
            ("ObjectId", [Bson::String(hex)]) => ObjectId::parse_str(hex).ok().map(Bson::ObjectId),
            ("ISODate", []) => Some(Bson::DateTime(DateTime::now())),
            ("ISODate", [Bson::String(text)]) => date::iso(text).map(Bson::DateTime),
            ("NumberInt", [Bson::Int32(int)]) => Some(Bson::Int32(*int)),
            ("NumberInt", [Bson::String(text)]) => text.parse().ok().map(Bson::Int32),
            ("NumberLong", [Bson::Int32(int)]) => Some(Bson::Int64(i64::from(*int))),
            ("NumberLong", [Bson::Int64(int)]) => Some(Bson::Int64(*int)),
            ("NumberLong", [Bson::String(text)]) => text.parse().ok().map(Bson::Int64),
            ("NumberDecimal", [Bson::Int32(int)]) => {
                int.to_string().parse().ok().map(Bson::Decimal128)
            }
            ("NumberDecimal", [Bson::Int64(int)]) => {
                int.to_string().parse().ok().map(Bson::Decimal128)
            }
            ("NumberDecimal", [Bson::Double(double)]) => {
                double.to_string().parse().ok().map(Bson::Decimal128)
            }
            ("NumberDecimal", [Bson::String(text)]) => text.parse().ok().map(Bson::Decimal128),
            ("Timestamp", [Bson::Int32(time), Bson::Int32(increment)]) => {
                Some(Bson::Timestamp(Timestamp {
                    time: time.cast_unsigned(),
                    increment: increment.cast_unsigned(),
                }))
            }
            ("RegExp", [Bson::String(pattern)]) => {
                Some(self.regex(pattern.clone(), String::new())?)
            }
            ("RegExp", [Bson::String(pattern), Bson::String(options)]) => {
                Some(self.regex(pattern.clone(), options.clone())?)
            }
            ("BinData", [Bson::Int32(subtype), Bson::String(text)]) => {
                extended::binary(*subtype, text)
            }
            ("HexData", [Bson::Int32(subtype), Bson::String(hex)]) => hexadecimal(hex)
                .zip(u8::try_from(*subtype).ok())
                .map(|(bytes, subtype)| {
                    Bson::Binary(Binary {
                        subtype: subtype.into(),
                        bytes,
                    })
                }),
            (_, [Bson::String(text)]) => uuid(name, text),
            _ => None,
        };
        match value {
            Some(value) => Ok(value),
            None => self.fail(format!("illegal arguments of {name}")),
        }
    }

    /// Reads the arguments of `new Date`: none for now, milliseconds, an ISO date, or year, month from 0, day and so on.
    fn date(&mut self) -> Result<Bson, ShellError> {
        let arguments = self.arguments()?;
        let integers: Option<Vec<i64>> = arguments
            .iter()
            .map(|argument| match argument {
                Bson::Int32(int) => Some(i64::from(*int)),
                Bson::Int64(int) => Some(*int),
                _ => None,
            })
            .collect();
        let date = match (arguments.as_slice(), integers.as_deref()) {
            ([], _) => Some(DateTime::now()),
            ([Bson::String(text)], _) => date::iso(text),
            (_, Some([millis])) => Some(DateTime::from_millis(*millis)),
            (_, Some(parts @ [_, _, _, ..])) if parts.len() <= 7 => date::from_parts(parts),
            _ => None,
        };
        match date {
            Some(date) => Ok(Bson::DateTime(date)),
            None => self.fail("illegal arguments of Date"),
        }
    }

    /// Reads scalars in parentheses.
    fn arguments(&mut self) -> Result<Vec<Bson>, ShellError> {
        self.expect(Token::LeftParenthesis)?;
        let mut arguments = Vec::new();
        loop {
            match self.next()? {
                Token::RightParenthesis => return Ok(arguments),
                Token::Comma if !arguments.is_empty() => (),
                Token::Text(text) => arguments.push(Bson::String(text)),
                Token::Int32(int) => arguments.push(Bson::Int32(int)),
                Token::Int64(int) => arguments.push(Bson::Int64(int)),
                Token::Double(double) => arguments.push(Bson::Double(double)),
                other => return self.fail(format!("expected an argument but found {other:?}")),
            }
        }
    }

    fn regex(&self, pattern: String, options: String) -> Result<Bson, ShellError> {
        match (pattern.try_into(), options.try_into()) {
            (Ok(pattern), Ok(options)) => Ok(Bson::RegularExpression(Regex { pattern, options })),
            _ => self.fail("a regular expression with a NUL"),
        }
    }
}

fn uuid(name: &str, text: &str) -> Option<Bson> {
    let mut bytes = hexadecimal(&text.replace(['{', '}', '-'], ""))?;
    if bytes.len() != 16 {
        return None;
    }
    let subtype = match name {
        "UUID" | "GUID" => BinarySubtype::Uuid,
        _ => BinarySubtype::UuidOld,
    };
    match name {
        "CSUUID" | "CSGUID" => {
            bytes[..4].reverse();
            bytes[4..6].reverse();
            bytes[6..8].reverse();
        }
        "JUUID" | "JGUID" => {
            bytes[..8].reverse();
            bytes[8..].reverse();
        }
        _ => (),
    }
    Some(Bson::Binary(Binary { subtype, bytes }))
}

fn hexadecimal(text: &str) -> Option<Vec<u8>> {
    let digits = text
        .chars()
        .map(|digit| digit.to_digit(16))
        .collect::<Option<Vec<_>>>()?;
    digits
        .chunks(2)
        .map(|pair| u8::try_from(pair[0] * 16 + pair.get(1)?).ok())
        .collect()
}

/// The longest text that is read: more does not fit a request's head anyway.
pub const BYTES_MAX: usize = 1 << 20;
