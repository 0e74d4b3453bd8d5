//! Request targets: what `http::Uri` refuses is percent-encoded, what is ambiguous is refused.

use super::Refusal;
use crate::proxy::fields;

/// The longest target that `http::Uri` takes, in bytes.
const TARGET_BYTES_MAX: usize = u16::MAX as usize - 1;

/// Returns the target as `http::Uri` takes it, or `None` where it may stay as it is.
///
/// # Errors
/// [`Refusal::Bad`] for what has no one meaning (a control byte, another authority than the Host's, neither a path nor
/// an absolute URI); [`Refusal::TargetTooLong`].
pub(super) fn treat(
    method: &[u8],
    target: &[u8],
    host: Option<&[u8]>,
) -> Result<Option<Vec<u8>>, Refusal> {
    if target == b"*" {
        return if method == b"OPTIONS" {
            Ok(None)
        } else {
            Err(Refusal::Bad)
        };
    }
    if target.starts_with(b"/") {
        let encoded = encode(target)?;
        check_length(encoded.as_deref().unwrap_or(target))?;
        return Ok(encoded);
    }
    let origin_form = origin_form(target, host)?;
    let treated = encode(&origin_form)?.unwrap_or(origin_form);
    check_length(&treated)?;
    Ok(Some(treated))
}

/// Takes scheme and authority off an absolute-form target, if the authority is the Host's.
///
/// Source: RFC 9112 §3.2.2 lets the target win over Host; two names for one request are what request smuggling is made
/// of, so they must agree.
fn origin_form(target: &[u8], host: Option<&[u8]>) -> Result<Vec<u8>, Refusal> {
    let (rest, default_port) = if starts_with_ignore_case(target, b"http://") {
        (&target[7..], &b":80"[..])
    } else if starts_with_ignore_case(target, b"https://") {
        (&target[8..], &b":443"[..])
    } else {
        return Err(Refusal::Bad);
    };
    let authority_len = rest
        .iter()
        .position(|byte| matches!(byte, b'/' | b'?' | b'#'))
        .unwrap_or(rest.len());
    let (authority, path) = rest.split_at(authority_len);
    let without_port = |name: &[u8]| {
        name.strip_suffix(default_port)
            .unwrap_or(name)
            .to_ascii_lowercase()
    };
    // An HTTP/1.0 request may come without a Host; then there is nothing to disagree with.
    if authority.is_empty()
        || host.is_some_and(|host| without_port(host) != without_port(authority))
    {
        return Err(Refusal::Bad);
    }
    let mut origin_form = Vec::with_capacity(path.len() + 1);
    if !path.starts_with(b"/") {
        origin_form.push(b'/');
    }
    origin_form.extend_from_slice(path);
    Ok(origin_form)
}

/// Percent-encodes the bytes that `http::Uri` refuses, and a raw `#`, which it would cut at; nothing else.
fn encode(target: &[u8]) -> Result<Option<Vec<u8>>, Refusal> {
    if target.iter().all(|&byte| PLAIN_BYTES[usize::from(byte)]) {
        return Ok(None);
    }
    let mut in_query = false;
    let mut is_ascii = true;
    let mut refused = 0;
    for &byte in target {
        match byte {
            0..=0x20 | 0x7f => return Err(Refusal::Bad),
            b'?' => in_query = true,
            0x80.. => is_ascii = false,
            _ => refused += usize::from(is_refused(byte, in_query)),
        }
    }
    // `http::Uri` takes UTF-8 and RESTHeart gives it back as it came; other bytes above 0x7f it refuses.
    let encodes_high = !is_ascii && std::str::from_utf8(target).is_err();
    if refused == 0 && !encodes_high {
        return Ok(None);
    }
    let mut encoded = Vec::with_capacity(target.len() + 2 * refused + 16);
    in_query = false;
    for &byte in target {
        if is_refused(byte, in_query) || (encodes_high && byte >= 0x80) {
            encoded.push(b'%');
            encoded.push(HEX[usize::from(byte >> 4)]);
            encoded.push(HEX[usize::from(byte & 0xf)]);
        } else {
            in_query |= byte == b'?';
            encoded.push(byte);
        }
    }
    Ok(Some(encoded))
}

/// What is the same in path and query, and taken in both.
const PLAIN_BYTES: [bool; 256] = fields::table(b"/?-._~%!$&'()*+,;=:@[]{}|\\^");

/// Source: `http::uri::path`, the maps for path and query.
fn is_refused(byte: u8, in_query: bool) -> bool {
    match byte {
        b'#' | b'<' | b'>' => true,
        b'"' => in_query,
        b'`' => !in_query,
        _ => false,
    }
}

fn check_length(target: &[u8]) -> Result<(), Refusal> {
    if target.len() > TARGET_BYTES_MAX {
        return Err(Refusal::TargetTooLong);
    }
    Ok(())
}

fn starts_with_ignore_case(text: &[u8], prefix: &[u8]) -> bool {
    text.get(..prefix.len())
        .is_some_and(|start| start.eq_ignore_ascii_case(prefix))
}

const HEX: &[u8; 16] = b"0123456789ABCDEF";
