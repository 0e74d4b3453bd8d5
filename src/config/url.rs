//! URLs that Sidestream itself asks.

use super::upstream::UpstreamUrl;

/// A URL with its path: `http://host:port/path?query` or `https://…`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AskedUrl {
    /// Whom to connect to.
    pub server: UpstreamUrl,
    /// Path and query.
    pub target: String,
}

/// Reads such a URL.
pub(super) fn asked(text: &str) -> Result<AskedUrl, String> {
    let hint = || "must be a URL that begins with http:// or https://".to_owned();
    let authority = text.find("://").ok_or_else(hint)? + "://".len();
    let path = text[authority..]
        .find(['/', '?', '#'])
        .map_or(text.len(), |at| authority + at);
    let (server, target) = text.split_at(path);
    let server = UpstreamUrl::parse(server)?;
    let target = match target {
        "" => "/".to_owned(),
        target if target.starts_with('/') => target.to_owned(),
        target => format!("/{target}"),
    };
    if target.contains('#') || target.parse::<http::Uri>().is_err() {
        return Err("has a path that cannot be sent".to_owned());
    }
    Ok(AskedUrl { server, target })
}
