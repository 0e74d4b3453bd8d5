//! Where the upstream is.

use std::{fmt, path::PathBuf, str::FromStr};

use http::{HeaderValue, Uri};

/// The upstream's address, as configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UpstreamAddress {
    /// `http://host:port`
    Http {
        /// A name or an address, without brackets.
        host: String,
        /// The port; 80 if none is named.
        port: u16,
    },
    /// `https://host:port`
    Https {
        /// A name or an address, without brackets; the certificate must be for it.
        host: String,
        /// The port; 443 if none is named.
        port: u16,
    },
    /// `unix:/path`
    Unix(PathBuf),
}

/// Why a text is no upstream address.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no upstream: it must be http://host:port, https://host:port or unix:/path")]
pub struct AddressError(String);

impl UpstreamAddress {
    /// Returns what stands in `Host` where a client (of HTTP/1.0) sent none.
    pub(crate) fn host_header(&self) -> HeaderValue {
        let text = match self {
            Self::Http { host, port } | Self::Https { host, port } if host.contains(':') => {
                format!("[{host}]:{port}")
            }
            Self::Http { host, port } | Self::Https { host, port } => format!("{host}:{port}"),
            Self::Unix(_) => "localhost".to_owned(),
        };
        HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("localhost"))
    }
}

/// Writes it as it would be configured.
impl fmt::Display for UpstreamAddress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, host, port, usual) = match self {
            Self::Http { host, port } => ("http", host, *port, 80),
            Self::Https { host, port } => ("https", host, *port, 443),
            Self::Unix(path) => return write!(formatter, "unix:{}", path.display()),
        };
        match host.contains(':') {
            true => write!(formatter, "{scheme}://[{host}]")?,
            false => write!(formatter, "{scheme}://{host}")?,
        }
        match port == usual {
            true => Ok(()),
            false => write!(formatter, ":{port}"),
        }
    }
}

impl FromStr for UpstreamAddress {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let refused = || AddressError(text.to_owned());
        if let Some(path) = text.strip_prefix("unix:") {
            let path = PathBuf::from(path);
            return if path.is_absolute() {
                Ok(Self::Unix(path))
            } else {
                Err(refused())
            };
        }
        let uri: Uri = text.parse().map_err(|_| refused())?;
        let authority = uri.authority().ok_or_else(refused)?;
        // A path would have to be put before each target; a user would have to be sent. Neither is promised.
        if !matches!(uri.path(), "" | "/")
            || uri.query().is_some()
            || authority.as_str().contains('@')
        {
            return Err(refused());
        }
        let host = authority
            .host()
            .trim_start_matches('[')
            .trim_end_matches(']')
            .to_owned();
        if host.is_empty() {
            return Err(refused());
        }
        match uri.scheme_str() {
            Some("http") => Ok(Self::Http {
                host,
                port: authority.port_u16().unwrap_or(80),
            }),
            Some("https") => Ok(Self::Https {
                host,
                port: authority.port_u16().unwrap_or(443),
            }),
            _ => Err(refused()),
        }
    }
}
