//! What of a head is about one connection, not about the message (RFC 9110 §7.6.1).

/// Returns whether `name` is the field of this name, which is given in lower case.
pub(super) fn is_name(name: &[u8], lower_case: &str) -> bool {
    name.eq_ignore_ascii_case(lower_case.as_bytes())
}

/// Returns the members of a comma-separated value.
pub(super) fn tokens(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value
        .split(|&byte| byte == b',')
        .map(<[u8]>::trim_ascii)
        .filter(|token| !token.is_empty())
}

/// Returns whether `Connection` takes a field away by this token: not its own options, nor what it must not name.
pub(super) fn takes_away(token: &[u8]) -> bool {
    !UNNAMEABLE.iter().any(|name| is_name(token, name))
}

/// What a `Connection` field cannot take away: its own options, what delimits a message, and what we add.
const UNNAMEABLE: [&str; 11] = [
    "close",
    "keep-alive",
    "upgrade",
    "te",
    "host",
    "content-length",
    "transfer-encoding",
    "forwarded",
    "x-forwarded-for",
    "x-forwarded-proto",
    "x-forwarded-host",
];
