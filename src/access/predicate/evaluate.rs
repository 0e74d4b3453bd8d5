//! Walking the tree for one request.

mod at_large;

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::time::{SystemTime, UNIX_EPOCH};

use bson::Document;
use http::{Method, header};

use super::pattern::Pattern;
use super::template::Template;
use super::value::{Text, Value, values};
use crate::access::principal::Principal;
use crate::access::request::RequestHead;
use crate::notation::mounts::Mounts;

pub(crate) use at_large::AtLarge;
pub(super) use at_large::at_large;

/// The tree.
#[derive(Debug)]
pub(super) enum Node {
    True,
    False,
    Not(Box<Node>),
    All(Vec<Node>),
    Any(Vec<Node>),
    Test(Test),
}

impl Node {
    /// All tests in the tree.
    pub(super) fn tests(&self) -> impl Iterator<Item = &Test> {
        let mut pending = vec![self];
        std::iter::from_fn(move || {
            loop {
                match pending.pop()? {
                    Self::True | Self::False => (),
                    Self::Not(inner) => pending.push(inner),
                    Self::All(nodes) | Self::Any(nodes) => pending.extend(nodes),
                    Self::Test(test) => return Some(test),
                }
            }
        })
    }
}

/// A single predicate with its arguments.
#[derive(Debug)]
pub(super) enum Test {
    Path(Vec<Text>),
    PathPrefix(Vec<Text>),
    PathSuffix(Vec<Text>),
    PathTemplate {
        template: Template,
        of: Text,
    },
    Regex {
        pattern: Box<Pattern>,
        of: Text,
    },
    Equals(Vec<Text>),
    Contains {
        value: Text,
        search: Vec<Text>,
    },
    Exists(Text),
    Method(Vec<Text>),
    Secure,
    Idempotent,
    AuthRequired,
    ParametersContain(Vec<Text>),
    ParametersSize(i64),
    ParametersWhitelist(Vec<Text>),
    ParametersBlacklist(Vec<Text>),
    In {
        value: Text,
        array: Vec<Text>,
    },
    /// One whose answer is the same for all requests that streams are asked for with.
    Constant(bool),
}

impl Test {
    /// All texts that it compares or looks in.
    fn texts(&self) -> impl Iterator<Item = &Text> {
        let (one, more): (Option<&Text>, &[Text]) = match self {
            Self::Path(texts)
            | Self::PathPrefix(texts)
            | Self::PathSuffix(texts)
            | Self::Equals(texts)
            | Self::Method(texts)
            | Self::ParametersContain(texts)
            | Self::ParametersWhitelist(texts)
            | Self::ParametersBlacklist(texts) => (None, texts),
            Self::PathTemplate { of, .. } | Self::Regex { of, .. } | Self::Exists(of) => {
                (Some(of), &[])
            }
            Self::Contains { value, search } => (Some(value), search),
            Self::In { value, array } => (Some(value), array),
            Self::Secure
            | Self::Idempotent
            | Self::AuthRequired
            | Self::ParametersSize(_)
            | Self::Constant(_) => (None, &[]),
        };
        one.into_iter().chain(more)
    }

    /// Whether the request's headers may have a say.
    pub(super) fn may_read_headers(&self) -> bool {
        self.texts().any(Text::may_read_headers)
    }
}

/// All that a predicate may look at.
#[derive(Clone, Copy)]
pub(crate) struct Circumstances<'a> {
    pub(crate) head: &'a RequestHead,
    pub(crate) principal: Option<&'a Principal>,
    /// Whether nobody may do this without credentials.
    pub(crate) authentication_is_required: bool,
    pub(crate) mounts: &'a Mounts,
}

/// Why a predicate cannot be evaluated for a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Failure {
    #[error("a user's property is named inside a text")]
    VariableInText,
    #[error("a user's property is an array where one value is needed")]
    ArrayForValue,
    #[error("a user's property is an array of other than plain values")]
    ArrayOfDocuments,
    #[error("a name reaches into an array of the user's record")]
    PathIntoArray,
    #[error("the value looked for by `in` is not there")]
    NothingToLookFor,
    #[error("a user's missing property is searched by a regular expression")]
    NothingToSearch,
    #[error("a regular expression took too many steps")]
    RegexSteps,
}

/// Circumstances, and what was bound on the way.
pub(super) struct Evaluation<'a> {
    circumstances: Circumstances<'a>,
    variables: RefCell<HashMap<String, String>>,
}

/// Whether the tree holds.
pub(super) fn holds(node: &Node, circumstances: &Circumstances<'_>) -> Result<bool, Failure> {
    let evaluation = Evaluation {
        circumstances: *circumstances,
        variables: RefCell::default(),
    };
    evaluation.holds(node)
}

impl<'a> Evaluation<'a> {
    pub(super) fn head(&self) -> &'a RequestHead {
        self.circumstances.head
    }

    pub(super) fn principal(&self) -> Option<&'a Principal> {
        self.circumstances.principal
    }

    pub(super) fn user_properties(&self) -> Option<&'a Document> {
        self.principal()?.properties.as_ref()
    }

    pub(super) fn variable(&self, name: &str) -> Option<String> {
        self.variables.borrow().get(name).cloned()
    }

    fn bind(&self, name: impl Into<String>, value: impl Into<String>) {
        self.variables
            .borrow_mut()
            .insert(name.into(), value.into());
    }

    pub(super) fn now_millis(&self) -> u128 {
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_millis())
    }

    /// The host that was asked for, without a port.
    pub(super) fn server_name(&self) -> String {
        let host = self
            .head()
            .headers
            .get(header::HOST)
            .and_then(|host| host.to_str().ok());
        match host {
            None => self.head().local.ip().to_string(),
            Some(host) => match host.strip_prefix('[').and_then(|host| host.split_once(']')) {
                Some((address, _)) => address.to_owned(),
                None => host.split(':').next().unwrap_or_default().to_owned(),
            },
        }
    }

    /// `@request.<name>`.
    pub(super) fn request_property(&self, name: &str) -> Value {
        let head = self.head();
        let place = self
            .circumstances
            .mounts
            .resolve(&head.path, &self.server_name());
        let named = |name: &str| (!name.is_empty()).then(|| name.to_owned());
        let found = match name {
            "db" => place.and_then(|place| named(place.database())),
            "collection" => place.and_then(|place| named(place.collection())),
            "_id" => place.and_then(|place| named(place.document()?)),
            "resourceType" => Some("CHANGE_STREAM".to_owned()),
            "userName" => self.principal().map(|principal| principal.name.clone()),
            "epochTimeStamp" => Some((self.now_millis() / 1000).to_string()),
            "localIp" => Some(head.local.ip().to_string()),
            "localPort" => Some(head.local.port().to_string()),
            "localServerName" => Some(self.server_name()),
            "queryString" if head.query_string.is_empty() => Some(String::new()),
            "queryString" => Some(format!("?{}", head.query_string)),
            "relativePath" => Some(head.path.clone()),
            "remoteIp" => Some(head.peer.ip().to_string()),
            "method" => Some(head.method.to_string()),
            "protocol" => Some("HTTP/1.1".to_owned()),
            _ => None,
        };
        found.map_or(Value::Unmatchable, Value::Text)
    }

    fn holds(&self, node: &Node) -> Result<bool, Failure> {
        match node {
            Node::True => Ok(true),
            Node::False => Ok(false),
            Node::Not(inner) => Ok(!self.holds(inner)?),
            Node::All(nodes) => {
                for node in nodes {
                    if !self.holds(node)? {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
            Node::Any(nodes) => {
                for node in nodes {
                    if self.holds(node)? {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
            Node::Test(test) => self.test(test),
        }
    }

    fn test(&self, test: &Test) -> Result<bool, Failure> {
        match test {
            Test::Path(paths) => {
                let asked = without_last_slash(&self.head().path);
                self.any_text(paths, |path| {
                    without_last_slash(&with_first_slash(path)) == asked
                })
            }
            Test::PathPrefix(prefixes) => self.path_prefix(prefixes),
            Test::PathSuffix(suffixes) => {
                self.any_text(suffixes, |suffix| self.head().path.ends_with(suffix))
            }
            Test::PathTemplate { template, of } => self.path_template(template, of),
            Test::Regex { pattern, of } => self.regex(pattern, of),
            Test::Equals(texts) => {
                let values = values(texts, self)?;
                Ok(values.windows(2).all(|pair| pair[0].is_same(&pair[1])))
            }
            Test::Contains { value, search } => match value.single(self)? {
                Value::Text(value) => self.any_text(search, |part| value.contains(part)),
                Value::Null | Value::Unmatchable | Value::Many(_) => Ok(false),
            },
            Test::Exists(text) => Ok(match text.single(self)? {
                Value::Null => false,
                Value::Text(text) => !text.is_empty(),
                Value::Unmatchable | Value::Many(_) => true,
            }),
            Test::Method(methods) => {
                let method = self.head().method.as_str();
                self.any_text(methods, |wanted| wanted.eq_ignore_ascii_case(method))
            }
            Test::Secure => Ok(self.head().scheme == "https"),
            Test::Idempotent => {
                let idempotent = [
                    Method::GET,
                    Method::DELETE,
                    Method::PUT,
                    Method::HEAD,
                    Method::OPTIONS,
                ];
                Ok(idempotent.contains(&self.head().method))
            }
            Test::AuthRequired => Ok(self.circumstances.authentication_is_required),
            Test::In { value, array } => match value.single(self)? {
                Value::Text(value) => self.any_text(array, |element| element == value),
                Value::Unmatchable => Ok(false),
                Value::Null | Value::Many(_) => Err(Failure::NothingToLookFor),
            },
            Test::Constant(answer) => Ok(*answer),
            Test::ParametersContain(_)
            | Test::ParametersSize(_)
            | Test::ParametersWhitelist(_)
            | Test::ParametersBlacklist(_) => self.parameters(test),
        }
    }

    fn parameters(&self, test: &Test) -> Result<bool, Failure> {
        let given: HashSet<&str> = self
            .head()
            .query
            .iter()
            .map(|(name, _)| name.as_str())
            .collect();
        match test {
            Test::ParametersSize(size) => Ok(usize::try_from(*size) == Ok(given.len())),
            Test::ParametersContain(names) => {
                let names = values(names, self)?;
                Ok(names
                    .iter()
                    .all(|name| name.text().is_some_and(|name| given.contains(name))))
            }
            Test::ParametersWhitelist(names) => {
                let names = values(names, self)?;
                Ok(given
                    .iter()
                    .all(|given| names.iter().any(|name| name.text() == Some(given))))
            }
            Test::ParametersBlacklist(names) => {
                Ok(!self.any_text(names, |name| given.contains(name))?)
            }
            _ => Ok(false),
        }
    }

    /// Whether a test holds for any of the texts; what is no text never does.
    fn any_text(
        &self,
        texts: &[Text],
        mut test: impl FnMut(&str) -> bool,
    ) -> Result<bool, Failure> {
        let values = values(texts, self)?;
        Ok(values.iter().filter_map(Value::text).any(&mut test))
    }

    /// The longest prefix counts, and what remains after it is bound.
    fn path_prefix(&self, prefixes: &[Text]) -> Result<bool, Failure> {
        let path = with_first_slash(&self.head().path);
        let mut remaining: Option<String> = None;
        for prefix in values(prefixes, self)?.iter().filter_map(Value::text) {
            let prefix = with_first_slash(prefix);
            let Some(rest) = path.strip_prefix(without_last_slash(&prefix)) else {
                continue;
            };
            let on_boundary = rest.is_empty() || rest.starts_with('/');
            if on_boundary
                && remaining
                    .as_ref()
                    .is_none_or(|known| rest.len() < known.len())
            {
                remaining = Some(rest.to_owned());
            }
        }
        let holds = remaining.is_some();
        if let Some(rest) = remaining {
            self.bind("remaining", rest);
        }
        Ok(holds)
    }

    fn path_template(&self, template: &Template, of: &Text) -> Result<bool, Failure> {
        let value = of.single(self)?;
        let Some(bound) = value.text().and_then(|path| template.matches(path)) else {
            return Ok(false);
        };
        for (name, value) in bound {
            self.bind(name, value);
        }
        Ok(true)
    }

    fn regex(&self, pattern: &Pattern, of: &Text) -> Result<bool, Failure> {
        let value = match of.single(self)? {
            Value::Text(value) => value,
            Value::Null => return Ok(false),
            Value::Unmatchable | Value::Many(_) => return Err(Failure::NothingToSearch),
        };
        let Some(groups) = pattern.search(&value)? else {
            return Ok(false);
        };
        for (index, group) in groups.into_iter().enumerate() {
            if let Some(text) = group {
                self.bind(index.to_string(), text);
            }
        }
        Ok(true)
    }
}

fn with_first_slash(path: &str) -> String {
    if path.starts_with('/') {
        path.to_owned()
    } else {
        format!("/{path}")
    }
}

fn without_last_slash(path: &str) -> &str {
    path.strip_suffix('/').unwrap_or(path)
}

#[cfg(test)]
mod tests;
