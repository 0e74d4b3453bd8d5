//! Arguments of the operators that look for a pattern.

use bson::spec::ElementType;

use crate::query::expression::node::Node;
use crate::query::expression::parse::{Parsed, Parser, fold, refuse, refuse_name};
use crate::query::expression::regexes::{Match, Wanted};
use crate::query::regex::Regex;
use crate::query::value::Value;

impl Parser<'_> {
    /// Parses `$regexMatch`, `$regexFind` or `$regexFindAll` of a constant pattern.
    pub(in crate::query::expression) fn regex(
        &mut self,
        wanted: Wanted,
        operand: Value<'_>,
    ) -> Parsed<Node> {
        let refused = || refuse("a pattern that is no constant");
        let names = (&["input", "regex"], &["options"]);
        let object = operand.container().filter(|_| !operand.is_array());
        let object = object.ok_or_else(refused)?;
        for (place, (name, _)) in object.elements().enumerate() {
            let mut known = names.0.iter().chain(names.1);
            if place > 2 || !known.any(|known| known.as_bytes() == name) {
                return Err(refuse_name(name));
            }
        }
        let input = self.operand(object.get(b"input").ok_or_else(refused)?)?;
        let pattern = self.operand(object.get(b"regex").ok_or_else(refused)?)?;
        let pattern = pattern.constant().flatten().ok_or_else(refused)?;
        let options = match object.get(b"options") {
            None => &b""[..],
            Some(options) if options.kind == ElementType::String => options.text(),
            Some(_) => return Err(refused()),
        };
        let (text, own_options) = match pattern.kind {
            ElementType::String => (pattern.text(), &b""[..]),
            ElementType::RegularExpression => pattern.regex(),
            _ => return Err(refused()),
        };
        if !own_options.is_empty() && object.get(b"options").is_some() {
            return Err(refused());
        }
        let options = if own_options.is_empty() {
            options
        } else {
            own_options
        };
        let regex = Regex::new(text, options).map_err(|what| refuse(&what))?;
        fold(Node::Match(Match {
            input: Box::new(input),
            regex,
            wanted,
        }))
    }
}
