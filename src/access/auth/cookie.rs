//! The cookie that carries credentials where a browser cannot set a header: `Bearer_<token>` or `Basic_<base64>`.

use crate::access::request::RequestHead;

/// The header's value that the last cookie of that name stands for.
pub(super) fn authorization(head: &RequestHead, name: &str) -> Option<String> {
    let value = head.cookies(name).last()?;
    let (scheme, credentials) = value.split_once('_')?;
    matches!(scheme, "Bearer" | "Basic").then(|| format!("{scheme} {credentials}"))
}
