//! Tokens to a tree: `expr := expr or expr | expr and expr | not expr | ( expr ) | true | false | name | name(arguments)`.

use super::build::build;
use super::evaluate::Node;
use super::tokens::{Kind, Token, tokens};
use super::{NESTING_MAX, PREDICATE_BYTES_MAX, ParseError};

/// A value as written in an argument list.
#[derive(Clone, Debug)]
pub(super) struct Raw {
    pub(super) text: String,
    pub(super) quoted: bool,
    pub(super) at: usize,
}

/// What stands between the parentheses after a predicate's name.
#[derive(Debug, Default)]
pub(super) struct Arguments {
    /// `a` or `a, b` or `{a, b}`: for the default parameter.
    pub(super) positional: Vec<Raw>,
    /// `name=value` and `name={a, b}`; flags a list in braces.
    pub(super) named: Vec<Named>,
}

#[derive(Debug)]
pub(super) struct Named {
    pub(super) name: String,
    pub(super) at: usize,
    pub(super) values: Vec<Raw>,
    pub(super) is_list: bool,
}

/// Parses a whole predicate.
pub(super) fn parse(text: &str) -> Result<Node, ParseError> {
    if text.len() > PREDICATE_BYTES_MAX {
        return Err(ParseError::new(
            PREDICATE_BYTES_MAX,
            "the predicate is too long",
        ));
    }
    let tokens = tokens(text)?;
    let mut parser = Parser {
        tokens: &tokens,
        next: 0,
        end: text.len(),
        depth: 0,
    };
    let node = parser.any()?;
    if parser.peek().is_some_and(|token| token.is_mark(';')) {
        parser.next += 1;
    }
    match parser.peek() {
        None => Ok(node),
        Some(token) => Err(parser.unexpected(token, "the end")),
    }
}

struct Parser<'a> {
    tokens: &'a [Token],
    next: usize,
    end: usize,
    depth: usize,
}

impl<'a> Parser<'a> {
    fn peek(&self) -> Option<&'a Token> {
        self.tokens.get(self.next)
    }

    fn take(&mut self, wanted: &str) -> Result<&'a Token, ParseError> {
        let token = self
            .peek()
            .ok_or_else(|| ParseError::new(self.end, format!("{wanted} is missing")))?;
        self.next += 1;
        Ok(token)
    }

    fn take_mark(&mut self, mark: char) -> bool {
        let found = self.peek().is_some_and(|token| token.is_mark(mark));
        self.next += usize::from(found);
        found
    }

    fn unexpected(&self, token: &Token, wanted: &str) -> ParseError {
        let found = match &token.kind {
            Kind::Word(text) | Kind::Quoted(text) => text.clone(),
            Kind::Mark(mark) => mark.to_string(),
        };
        ParseError::new(
            token.at,
            format!("found {found:?} where {wanted} should be"),
        )
    }

    /// `a or b or …`
    fn any(&mut self) -> Result<Node, ParseError> {
        let mut nodes = vec![self.all()?];
        while self.peek().is_some_and(|token| token.is_word("or")) {
            self.next += 1;
            nodes.push(self.all()?);
        }
        Ok(if nodes.len() == 1 {
            nodes.remove(0)
        } else {
            Node::Any(nodes)
        })
    }

    /// `a and b and …`
    fn all(&mut self) -> Result<Node, ParseError> {
        let mut nodes = vec![self.operand()?];
        while self.peek().is_some_and(|token| token.is_word("and")) {
            self.next += 1;
            nodes.push(self.operand()?);
        }
        Ok(if nodes.len() == 1 {
            nodes.remove(0)
        } else {
            Node::All(nodes)
        })
    }

    fn operand(&mut self) -> Result<Node, ParseError> {
        if !self.peek().is_some_and(|token| token.is_word("not")) {
            return self.single();
        }
        self.next += 1;
        match self.peek() {
            Some(token) if token.is_word("not") => Err(self.unexpected(token, "an operand of not")),
            Some(_) | None => Ok(Node::Not(Box::new(self.single()?))),
        }
    }

    fn single(&mut self) -> Result<Node, ParseError> {
        let token = self.take("an expression")?;
        match &token.kind {
            Kind::Mark('(') => {
                self.depth += 1;
                if self.depth > NESTING_MAX {
                    return Err(ParseError::new(
                        token.at,
                        "parentheses are nested too deeply",
                    ));
                }
                let node = self.any()?;
                if !self.take_mark(')') {
                    return Err(ParseError::new(token.at, "a parenthesis is not closed"));
                }
                self.depth -= 1;
                Ok(node)
            }
            Kind::Word(word) => match word.as_str() {
                "true" => Ok(Node::True),
                "false" => Ok(Node::False),
                "and" | "or" => Err(self.unexpected(token, "an expression")),
                name => {
                    let arguments = self.arguments()?;
                    build(name, token.at, &arguments).map(Node::Test)
                }
            },
            Kind::Mark(_) | Kind::Quoted(_) => Err(self.unexpected(token, "an expression")),
        }
    }

    fn arguments(&mut self) -> Result<Arguments, ParseError> {
        let close = match self.peek().map(|token| &token.kind) {
            Some(Kind::Mark('(')) => ')',
            Some(Kind::Mark('[')) => ']',
            Some(_) | None => return Ok(Arguments::default()),
        };
        let open = self.take("an argument")?;
        let mut arguments = Arguments::default();
        if self.take_mark(close) {
            return Ok(arguments);
        }
        loop {
            self.argument(&mut arguments)?;
            if self.take_mark(close) {
                return Ok(arguments);
            }
            if !self.take_mark(',') {
                return Err(match self.peek() {
                    Some(token) => self.unexpected(token, &format!("a comma or {close}")),
                    None => ParseError::new(open.at, "a bracket is not closed"),
                });
            }
        }
    }

    fn argument(&mut self, into: &mut Arguments) -> Result<(), ParseError> {
        if self.peek().is_some_and(|token| token.is_mark('{')) {
            let at = self.take("a list")?.at;
            if !(into.positional.is_empty() && into.named.is_empty()) {
                return Err(ParseError::new(
                    at,
                    "a list must stand alone or have a name",
                ));
            }
            into.positional = self.list(at)?;
            return match self.peek() {
                Some(token) if token.is_mark(',') => {
                    Err(self.unexpected(token, "the end of the arguments"))
                }
                Some(_) | None => Ok(()),
            };
        }
        let raw = self.raw()?;
        if !self.take_mark('=') {
            if !into.named.is_empty() {
                return Err(ParseError::new(
                    raw.at,
                    "a value without a name stands after a named one",
                ));
            }
            into.positional.push(raw);
            return Ok(());
        }
        if !into.positional.is_empty() {
            return Err(ParseError::new(
                raw.at,
                "a named value stands after one without a name",
            ));
        }
        let is_list = self.take_mark('{');
        let values = if is_list {
            self.list(raw.at)?
        } else {
            vec![self.raw()?]
        };
        into.named.push(Named {
            name: raw.text,
            at: raw.at,
            values,
            is_list,
        });
        Ok(())
    }

    /// The rest of `{a, b}` after its brace; it must not be empty.
    fn list(&mut self, at: usize) -> Result<Vec<Raw>, ParseError> {
        let mut values = Vec::new();
        loop {
            values.push(self.raw()?);
            if self.take_mark('}') {
                return Ok(values);
            }
            if !self.take_mark(',') {
                return Err(ParseError::new(at, "a brace is not closed"));
            }
        }
    }

    fn raw(&mut self) -> Result<Raw, ParseError> {
        let token = self.take("a value")?;
        match &token.kind {
            Kind::Word(text) => Ok(Raw {
                text: text.clone(),
                quoted: false,
                at: token.at,
            }),
            Kind::Quoted(text) => Ok(Raw {
                text: text.clone(),
                quoted: true,
                at: token.at,
            }),
            Kind::Mark(_) => Err(self.unexpected(token, "a value")),
        }
    }
}
