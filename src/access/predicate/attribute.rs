//! Exchange attributes: `%{q,x}`, `%m`, `${name}` and literal text around them.

use super::ParseError;
use super::evaluate::Evaluation;

/// A part of a text that says something of the exchange.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Attribute {
    Literal(String),
    /// `${name}`: bound by path-prefix, path-template or regex.
    Variable(String),
    Header(String),
    Cookie(String),
    Parameter(String),
    PathParameter(String),
    Path,
    Url,
    Query {
        with_mark: bool,
    },
    Method,
    Protocol,
    Scheme,
    RequestLine,
    RemoteAddress,
    LocalAddress,
    LocalPort,
    ServerName,
    HostAndPort,
    RemoteUser,
    AuthenticationType,
    Secure,
    Null,
}

impl Attribute {
    /// Whether the request's headers may have a say.
    pub(super) fn may_read_headers(&self) -> bool {
        match self {
            Self::Header(_) | Self::Cookie(_) | Self::ServerName | Self::HostAndPort => true,
            Self::Literal(_)
            | Self::Variable(_)
            | Self::Parameter(_)
            | Self::PathParameter(_)
            | Self::Path
            | Self::Url
            | Self::Query { .. }
            | Self::Method
            | Self::Protocol
            | Self::Scheme
            | Self::RequestLine
            | Self::RemoteAddress
            | Self::LocalAddress
            | Self::LocalPort
            | Self::RemoteUser
            | Self::AuthenticationType
            | Self::Secure
            | Self::Null => false,
        }
    }

    /// Reads the attribute of this exchange; none where there is no value.
    pub(super) fn read(&self, evaluation: &Evaluation<'_>) -> Option<String> {
        let head = evaluation.head();
        let some = |text: &str| Some(text.to_owned());
        match self {
            Self::Literal(text) => some(text),
            Self::Variable(name) => evaluation.variable(name),
            Self::Header(name) => {
                let values = head.headers.get_all(name).into_iter();
                listed(values.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned()))
            }
            Self::Cookie(name) => head.cookies(name).next().map(str::to_owned),
            Self::Parameter(name) => listed(head.parameters(name).map(str::to_owned)),
            Self::PathParameter(name) => head.matrix_parameter(name),
            Self::Path => some(&head.path),
            Self::Url => Some(head.url()),
            Self::Query { with_mark } => Some(match head.query_string.as_str() {
                "" => String::new(),
                query if *with_mark => format!("?{query}"),
                query => query.to_owned(),
            }),
            Self::Method => some(head.method.as_str()),
            Self::Protocol => some(PROTOCOL),
            Self::Scheme => some(head.scheme),
            Self::RequestLine => {
                let mark = if head.query_string.is_empty() {
                    ""
                } else {
                    "?"
                };
                Some(format!(
                    "{} {}{mark}{} {PROTOCOL}",
                    head.method,
                    head.url(),
                    head.query_string
                ))
            }
            Self::RemoteAddress => Some(head.peer.ip().to_string()),
            Self::LocalAddress => Some(head.local.ip().to_string()),
            Self::LocalPort => Some(head.local.port().to_string()),
            Self::ServerName => Some(evaluation.server_name()),
            Self::HostAndPort => head
                .headers
                .get(http::header::HOST)
                .and_then(|host| host.to_str().ok())
                .map(str::to_owned),
            Self::RemoteUser => evaluation
                .principal()
                .map(|principal| principal.name.clone()),
            Self::AuthenticationType => evaluation
                .principal()
                .map(|principal| principal.mechanism.type_name().to_owned()),
            Self::Secure => some(if head.scheme == "https" {
                "true"
            } else {
                "false"
            }),
            Self::Null => None,
        }
    }
}

/// Several values are spelt `[a, b]`.
fn listed(values: impl Iterator<Item = String>) -> Option<String> {
    let values: Vec<String> = values.collect();
    match values.as_slice() {
        [] => None,
        [only] => Some(only.clone()),
        _ => Some(format!("[{}]", values.join(", "))),
    }
}

/// Parses a text that may hold attributes.
///
/// # Errors
/// A `%` or `$` that begins nothing, a brace that is not closed, or an attribute that has no meaning before the answer.
pub(super) fn attributes(text: &str, at: usize) -> Result<Vec<Attribute>, ParseError> {
    if let Some(name) = bare_variable(text) {
        return Ok(vec![Attribute::Variable(name.to_owned())]);
    }
    let mut parts = Vec::new();
    let mut literal = String::new();
    let mut rest = text;
    while let Some(position) = rest.find(['%', '$']) {
        literal.push_str(&rest[..position]);
        let sign = if rest.as_bytes()[position] == b'%' {
            '%'
        } else {
            '$'
        };
        rest = &rest[position + 1..];
        let Some(next) = rest.chars().next() else {
            return Err(ParseError::new(
                at,
                format!("a {sign} begins nothing (write {sign}{sign} for the sign itself)"),
            ));
        };
        if next == sign {
            literal.push(sign);
            rest = &rest[1..];
            continue;
        }
        let found = if next == '{' {
            let close = rest
                .find('}')
                .ok_or_else(|| ParseError::new(at, "a brace is not closed"))?;
            let name = &rest[1..close];
            rest = &rest[close + 1..];
            if sign == '$' {
                Attribute::Variable(name.to_owned())
            } else {
                long(name, at)?
            }
        } else if sign == '$' {
            return Err(ParseError::new(
                at,
                "a $ begins nothing (write $$ for the sign itself)",
            ));
        } else {
            rest = &rest[next.len_utf8()..];
            match short(next, at)? {
                Some(found) => found,
                None => {
                    literal.extend(['%', next]);
                    continue;
                }
            }
        };
        if !literal.is_empty() {
            parts.push(Attribute::Literal(std::mem::take(&mut literal)));
        }
        parts.push(found);
    }
    literal.push_str(rest);
    if !literal.is_empty() || parts.is_empty() {
        parts.push(Attribute::Literal(literal));
    }
    Ok(parts)
}

/// `$name`, and nothing else.
fn bare_variable(text: &str) -> Option<&str> {
    let name = text.strip_prefix('$')?;
    let is_name = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    is_name.then_some(name)
}

fn short(letter: char, at: usize) -> Result<Option<Attribute>, ParseError> {
    Ok(Some(match letter {
        'R' => Attribute::Path,
        'U' => Attribute::Url,
        'q' => Attribute::Query { with_mark: true },
        'm' => Attribute::Method,
        'H' => Attribute::Protocol,
        'r' => Attribute::RequestLine,
        'a' | 'h' => Attribute::RemoteAddress,
        'A' => Attribute::LocalAddress,
        'p' => Attribute::LocalPort,
        'v' => Attribute::ServerName,
        'u' => Attribute::RemoteUser,
        'l' => Attribute::Literal("-".to_owned()),
        'o' | 's' | 't' | 'b' | 'B' | 'D' | 'T' | 'I' => {
            return Err(unknown_here(&format!("%{letter}"), at));
        }
        _ => return Ok(None),
    }))
}

fn long(name: &str, at: usize) -> Result<Attribute, ParseError> {
    Ok(match name.split_once(',') {
        Some(("i", header)) => Attribute::Header(header.to_owned()),
        Some(("c" | "req-cookie", cookie)) => Attribute::Cookie(cookie.to_owned()),
        Some(("q", parameter)) => Attribute::Parameter(parameter.to_owned()),
        Some(("p", parameter)) => Attribute::PathParameter(parameter.to_owned()),
        Some(_) => return Err(unknown_here(&format!("%{{{name}}}"), at)),
        None => match name {
            "RELATIVE_PATH" | "REQUEST_PATH" => Attribute::Path,
            "REQUEST_URL" => Attribute::Url,
            "QUERY_STRING" => Attribute::Query { with_mark: true },
            "BARE_QUERY_STRING" => Attribute::Query { with_mark: false },
            "METHOD" => Attribute::Method,
            "PROTOCOL" => Attribute::Protocol,
            "SCHEME" => Attribute::Scheme,
            "REQUEST_LINE" => Attribute::RequestLine,
            "REMOTE_IP" | "REMOTE_HOST" => Attribute::RemoteAddress,
            "LOCAL_IP" => Attribute::LocalAddress,
            "LOCAL_PORT" => Attribute::LocalPort,
            "LOCAL_SERVER_NAME" => Attribute::ServerName,
            "HOST_AND_PORT" => Attribute::HostAndPort,
            "REMOTE_USER" => Attribute::RemoteUser,
            "AUTHENTICATION_TYPE" => Attribute::AuthenticationType,
            "SECURE" => Attribute::Secure,
            "NULL" => Attribute::Null,
            name if AFTERWARDS.contains(&name) => {
                return Err(unknown_here(&format!("%{{{name}}}"), at));
            }
            name => Attribute::Literal(format!("%{{{name}}}")),
        },
    })
}

fn unknown_here(attribute: &str, at: usize) -> ParseError {
    ParseError::new(
        at,
        format!("the attribute {attribute} is not known when a request is judged"),
    )
}

/// What streams are asked for with.
///
/// NOTE: also for an event stream asked for with HTTP/1.0; nobody is known to judge by it.
const PROTOCOL: &str = "HTTP/1.1";

/// Attributes that exist, but have no value, or none of meaning, when a request is judged.
const AFTERWARDS: [&str; 14] = [
    "REMOTE_OBFUSCATED_IP",
    "TRANSPORT_PROTOCOL",
    "SECURE_PROTOCOL",
    "SSL_CIPHER",
    "SSL_CLIENT_CERT",
    "SSL_SESSION_ID",
    "RESPONSE_CODE",
    "RESPONSE_REASON_PHRASE",
    "DATE_TIME",
    "BYTES_SENT",
    "RESPONSE_TIME",
    "THREAD_NAME",
    "RESOLVED_PATH",
    "STORED_RESPONSE",
];
