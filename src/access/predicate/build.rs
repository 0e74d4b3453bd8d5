//! From a name and its arguments to a test: which predicates there are, and what each takes.

use super::ParseError;
use super::attribute::{Attribute, attributes};
use super::evaluate::Test;
use super::parser::{Arguments, Named, Raw};
use super::pattern::Pattern;
use super::template::Template;
use super::value::{Text, USER_PREFIX};

/// Makes the test of that name.
pub(super) fn build(name: &str, at: usize, arguments: &Arguments) -> Result<Test, ParseError> {
    let taker = Taker {
        name,
        at,
        arguments,
    };
    match name {
        "path" => taker.list("path").map(Test::Path),
        "path-prefix" => taker.list("path").map(Test::PathPrefix),
        "path-suffix" => taker.list("path").map(Test::PathSuffix),
        "path-template" => path_template(&taker),
        "regex" => regex(&taker),
        "equals" => {
            taker.allow("value", &[])?;
            Ok(Test::Equals(
                taker
                    .required("value")?
                    .iter()
                    .map(attribute)
                    .collect::<Result<_, _>>()?,
            ))
        }
        "contains" => contains(&taker),
        "exists" => {
            taker.allow("value", &[])?;
            taker.attribute("value").map(Test::Exists)
        }
        "method" => taker.list("value").map(Test::Method),
        "secure" => taker.none(Test::Secure),
        "idempotent" => taker.none(Test::Idempotent),
        "auth-required" => taker.none(Test::AuthRequired),
        // They look at the answer's length, which a stream has not.
        "max-content-size" | "min-content-size" => taker.size("value", Test::Constant(false)),
        "request-larger-than" | "request-smaller-than" => taker.size("size", Test::Constant(false)),
        "qparams-contain" => taker.list("qparams").map(Test::ParametersContain),
        "qparams-size" => {
            taker.allow("size", &[])?;
            taker.integer("size").map(Test::ParametersSize)
        }
        "qparams-whitelist" => {
            taker.allow("whitelist", &[])?;
            Ok(Test::ParametersWhitelist(
                taker.optional("whitelist")?.iter().map(text).collect(),
            ))
        }
        "qparams-blacklist" => taker.list("blacklist").map(Test::ParametersBlacklist),
        "in" => is_in(&taker),
        // A request for a stream has no content.
        "bson-request-contains" => taker.list("keys").map(|_| Test::Constant(false)),
        "bson-request-whitelist" => taker.list("whitelist").map(|_| Test::Constant(true)),
        "bson-request-blacklist" => taker.list("blacklist").map(|_| Test::Constant(true)),
        "bson-request-prop-equals" => taker.pair("key", "value", Test::Constant(false)),
        "bson-request-array-contains" | "bson-request-array-is-subset" => {
            taker.pair("key", "values", Test::Constant(false))
        }
        _ => Err(ParseError::new(
            at,
            format!("there is no predicate {name:?}"),
        )),
    }
}

fn path_template(taker: &Taker<'_>) -> Result<Test, ParseError> {
    taker.allow("value", &["match"])?;
    let raw = taker.one("value")?;
    refuse_variable(raw, "a template")?;
    let template = Template::parse(&raw.text).map_err(|what| ParseError::new(raw.at, what))?;
    Ok(Test::PathTemplate {
        template,
        of: taker.attribute_or_path("match")?,
    })
}

fn regex(taker: &Taker<'_>) -> Result<Test, ParseError> {
    taker.allow("pattern", &["value", "full-match", "case-sensitive"])?;
    let raw = taker.one("pattern")?;
    refuse_variable(raw, "a regular expression")?;
    let full = taker.boolean("full-match", false)?;
    let case_sensitive = taker.boolean("case-sensitive", true)?;
    let pattern = Pattern::compile(&raw.text, full, case_sensitive)
        .map_err(|what| ParseError::new(raw.at, what))?;
    Ok(Test::Regex {
        pattern: Box::new(pattern),
        of: taker.attribute_or_path("value")?,
    })
}

fn contains(taker: &Taker<'_>) -> Result<Test, ParseError> {
    taker.allow(NO_DEFAULT, &["value", "search"])?;
    let search = taker.required("search")?.iter().map(text).collect();
    Ok(Test::Contains {
        value: taker.attribute("value")?,
        search,
    })
}

fn is_in(taker: &Taker<'_>) -> Result<Test, ParseError> {
    taker.allow(NO_DEFAULT, &["value", "array"])?;
    let array = taker.required("array")?.iter().map(text).collect();
    Ok(Test::In {
        value: taker.attribute("value")?,
        array,
    })
}

/// Takes arguments by name, and knows where to point when one is wrong.
struct Taker<'a> {
    name: &'a str,
    at: usize,
    arguments: &'a Arguments,
}

impl<'a> Taker<'a> {
    fn error(&self, what: impl std::fmt::Display) -> ParseError {
        ParseError::new(self.at, format!("{}: {what}", self.name))
    }

    /// Refuses names that the predicate does not take, and a value without a name where there is no `default`.
    fn allow(&self, default: &str, others: &[&str]) -> Result<(), ParseError> {
        if default == NO_DEFAULT && !self.arguments.positional.is_empty() {
            return Err(self.error("each value needs its name"));
        }
        let mut seen: Vec<&str> = Vec::new();
        for Named { name, at, .. } in &self.arguments.named {
            let known =
                (name == default && default != NO_DEFAULT) || others.contains(&name.as_str());
            if !known {
                return Err(ParseError::new(
                    *at,
                    format!("{}: there is no parameter {name:?}", self.name),
                ));
            }
            if seen.contains(&name.as_str()) {
                return Err(ParseError::new(
                    *at,
                    format!("{}: the parameter {name:?} is given twice", self.name),
                ));
            }
            seen.push(name);
        }
        let missing = |name: &&&str| !seen.contains(*name);
        match (default == NO_DEFAULT, others.iter().find(missing)) {
            (true, Some(name)) => Err(self.error(format!("the parameter {name:?} is missing"))),
            (true, None) | (false, _) => Ok(()),
        }
    }

    fn named(&self, name: &str) -> Option<&'a Named> {
        self.arguments.named.iter().find(|named| named.name == name)
    }

    /// The values of a parameter: by its name, or those without a name if it is the default one.
    fn optional(&self, name: &str) -> Result<&'a [Raw], ParseError> {
        match (self.named(name), self.arguments.positional.as_slice()) {
            (Some(named), []) => Ok(&named.values),
            (None, positional) => Ok(positional),
            (Some(_), _) => Err(self.error(format!("the parameter {name:?} is given twice"))),
        }
    }

    fn required(&self, name: &str) -> Result<&'a [Raw], ParseError> {
        match self.optional(name)? {
            [] => Err(self.error(format!("the parameter {name:?} is missing"))),
            values => Ok(values),
        }
    }

    fn one(&self, name: &str) -> Result<&'a Raw, ParseError> {
        let is_list = self.named(name).is_some_and(|named| named.is_list);
        match self.required(name)? {
            [only] if !is_list => Ok(only),
            _ => Err(self.error(format!("the parameter {name:?} takes one value"))),
        }
    }

    /// A list of plain texts: the only parameter, and the default one.
    fn list(&self, name: &str) -> Result<Vec<Text>, ParseError> {
        self.allow(name, &[])?;
        Ok(self.required(name)?.iter().map(text).collect())
    }

    fn attribute(&self, name: &str) -> Result<Text, ParseError> {
        attribute(self.one(name)?)
    }

    fn attribute_or_path(&self, name: &str) -> Result<Text, ParseError> {
        match self.named(name) {
            None => Ok(Text::Attributes(vec![Attribute::Path])),
            Some(Named {
                values,
                is_list: false,
                ..
            }) if values.len() == 1 => attribute(&values[0]),
            Some(_) => Err(self.error(format!("the parameter {name:?} takes one value"))),
        }
    }

    fn boolean(&self, name: &str, default: bool) -> Result<bool, ParseError> {
        match self.named(name).map(|named| named.values.as_slice()) {
            None => Ok(default),
            Some([value]) if value.text == "true" => Ok(true),
            Some([value]) if value.text == "false" => Ok(false),
            Some(_) => Err(self.error(format!("the parameter {name:?} takes true or false"))),
        }
    }

    fn integer(&self, name: &str) -> Result<i64, ParseError> {
        let raw = self.one(name)?;
        raw.text.parse().map_err(|_| {
            ParseError::new(
                raw.at,
                format!("{}: {:?} is no number", self.name, raw.text),
            )
        })
    }

    fn size(&self, name: &str, test: Test) -> Result<Test, ParseError> {
        self.allow(name, &[])?;
        self.integer(name).map(|_| test)
    }

    fn none(&self, test: Test) -> Result<Test, ParseError> {
        if self.arguments.positional.is_empty() && self.arguments.named.is_empty() {
            return Ok(test);
        }
        Err(self.error("it takes no parameter"))
    }

    /// A `key`, which is the default parameter, and another one.
    fn pair(&self, key: &str, other: &str, test: Test) -> Result<Test, ParseError> {
        self.allow(key, &[other])?;
        self.one(key)?;
        match self.named(other) {
            Some(_) => Ok(test),
            None => Err(self.error(format!("the parameter {other:?} is missing"))),
        }
    }
}

/// A plain text, or a variable.
fn text(raw: &Raw) -> Text {
    variable(raw).unwrap_or_else(|| literal(raw))
}

/// A text whose attributes count, or a variable.
fn attribute(raw: &Raw) -> Result<Text, ParseError> {
    if let Some(variable) = variable(raw) {
        return Ok(variable);
    }
    if raw.text.contains(USER_PREFIX) {
        return Ok(literal(raw));
    }
    attributes(&raw.text, raw.at).map(Text::Attributes)
}

fn literal(raw: &Raw) -> Text {
    if raw.text.contains(USER_PREFIX) {
        return Text::Naming(raw.text.clone());
    }
    Text::Literal(raw.text.clone())
}

/// An unquoted `@name`; one that nobody knows is plain text.
fn variable(raw: &Raw) -> Option<Text> {
    if raw.quoted {
        return None;
    }
    let text = raw.text.as_str();
    if let Some(path) = text.strip_prefix(USER_PREFIX) {
        return Some(Text::User(path.to_owned()));
    }
    if let Some(name) = text.strip_prefix("@request.") {
        return Some(Text::Request(name.to_owned()));
    }
    match text {
        "@now" => Some(Text::Now),
        "@user" | "@request" | "@filter" | "@mongoPermissions" => Some(Text::Unmatchable),
        _ => text.strip_prefix("@mongoPermissions.").map(|flag| {
            // No permission is attached while permissions are still being tried.
            if FLAGS.contains(&flag) {
                Text::Literal("false".to_owned())
            } else {
                Text::Unmatchable
            }
        }),
    }
}

fn refuse_variable(raw: &Raw, what: &str) -> Result<(), ParseError> {
    let names_a_variable = variable(raw).is_some() || raw.text.contains(USER_PREFIX);
    if names_a_variable {
        return Err(ParseError::new(
            raw.at,
            format!("{what} cannot come from a variable"),
        ));
    }
    Ok(())
}

/// For predicates of which each value needs its name; all its parameters are required.
const NO_DEFAULT: &str = "";

const FLAGS: [&str; 4] = [
    "allowManagementRequests",
    "allowBulkPatch",
    "allowBulkDelete",
    "allowWriteMode",
];
