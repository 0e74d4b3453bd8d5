//! `[upstream]`: the API behind us, and how long we wait for it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::reader::Section;
use super::server::{DAY, HOUR, MILLISECOND, SECOND};

/// `[upstream]`: the API behind us.
#[derive(Clone, Debug, PartialEq)]
pub struct Upstream {
    /// Where it is.
    pub url: UpstreamUrl,
    /// Where else the same API is, if `url` is a list.
    pub others: Vec<UpstreamUrl>,
    /// How it is found out which of several can be used.
    pub health: Health,
    /// The authorities that may have signed its certificate, PEM; `None`: the system's.
    pub authorities: Option<PathBuf>,
    /// How long a kept connection may lie idle and still be used.
    pub idle: Duration,
    /// Idle connections kept.
    pub idle_connections: usize,
    /// How long connecting may take, TLS included and whoever is tried, before 502 or 504 is answered.
    pub connect_timeout: Duration,
    /// How long the upstream may take from the whole request to the head of its response, before 504 is answered.
    pub response_timeout: Duration,
    /// Whether `Expect: 100-continue` is passed on instead of being answered here.
    pub forward_expect: bool,
}

/// `[upstream.health]`: how it is found out which of several upstreams can be used.
#[derive(Clone, Debug, PartialEq)]
pub struct Health {
    /// What is asked for; `None`: a connection will do.
    pub path: Option<String>,
    /// How often each upstream is checked.
    pub interval: Duration,
    /// How long a check may take.
    pub timeout: Duration,
    /// Passed checks in a row after which an upstream is used again.
    pub rise: usize,
    /// Failed checks or requests in a row after which it is set aside.
    pub fall: usize,
}

/// Where the upstream is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UpstreamUrl {
    /// Plain TCP. The host is a name or an IP address, IPv6 without brackets.
    Http {
        /// Name or address.
        host: String,
        /// Port.
        port: u16,
    },
    /// TLS over TCP, the certificate checked for `host`.
    Https {
        /// Name or address.
        host: String,
        /// Port.
        port: u16,
    },
    /// A socket in the file system.
    Unix {
        /// Its path.
        path: PathBuf,
    },
}

impl Upstream {
    /// Reads the section; `None` after a fault in its URL.
    pub(super) fn read(section: Section<'_>) -> Option<Self> {
        let urls = urls(&section);
        let health = Health::read(section.section("health"));
        let authorities = section.parsed("authorities", None, |text| {
            Ok((!text.is_empty()).then(|| PathBuf::from(text)))
        });
        let is_https = |url: &UpstreamUrl| matches!(url, UpstreamUrl::Https { .. });
        let is_secure = urls.as_ref().is_none_or(|urls| urls.iter().any(is_https));
        if authorities.is_some() && !is_secure {
            section.fault("authorities", "is for an https upstream only");
        }
        let idle = section.duration("idle", UPSTREAM_IDLE, Duration::ZERO..=HOUR);
        let idle_connections =
            section.count("idle_connections", UPSTREAM_IDLE_CONNECTIONS, 0..=100_000);
        let connect_timeout =
            section.duration("connect_timeout", CONNECT_TIMEOUT, MILLISECOND..=HOUR);
        let response_timeout =
            section.duration("response_timeout", RESPONSE_TIMEOUT, MILLISECOND..=DAY);
        let forward_expect = section.flag("forward_expect", false);
        section.finish();
        let mut urls = urls?.into_iter();
        Some(Self {
            url: urls.next()?,
            others: urls.collect(),
            health,
            authorities,
            idle,
            idle_connections,
            connect_timeout,
            response_timeout,
            forward_expect,
        })
    }

    /// Reports an address that is our own.
    pub(super) fn check_circles(&self, root: &Section<'_>, is_own: impl Fn(&SocketAddr) -> bool) {
        let written = root.section("upstream").value("url");
        let written = written.and_then(|value| value.one_or_more());
        let urls = std::iter::once(&self.url).chain(&self.others);
        for (url, value) in urls.zip(written.into_iter().flatten()) {
            if let Some(address) = url.address().filter(&is_own) {
                value.fault(format!(
                    "{address} is Sidestream itself, so requests would go round in a circle"
                ));
            }
        }
    }
}

impl Health {
    fn read(section: Section<'_>) -> Self {
        let path = section.parsed("path", None, |text| match text {
            "" => Ok(None),
            text if text.starts_with('/') && text.parse::<http::uri::PathAndQuery>().is_ok() => {
                Ok(Some(text.to_owned()))
            }
            _ => Err("must be a path, such as \"/health\"".to_owned()),
        });
        let interval = section.duration("interval", CHECK_INTERVAL, CHECK_INTERVAL_MIN..=HOUR);
        let health = Self {
            path,
            interval,
            timeout: section.duration("timeout", CHECK_TIMEOUT, MILLISECOND..=HOUR),
            rise: section.count("rise", RISE, 1..=1_000),
            fall: section.count("fall", FALL, 1..=1_000),
        };
        section.finish();
        health
    }
}

/// Reads one URL or a list of them; `None` after a fault.
fn urls(section: &Section<'_>) -> Option<Vec<UpstreamUrl>> {
    let Some(value) = section.value("url") else {
        section.missing("url", "the API behind, such as \"http://127.0.0.1:8081\"");
        return None;
    };
    let written = value.one_or_more()?;
    if written.is_empty() {
        value.fault("must name at least one upstream");
    }
    if written.len() > UPSTREAMS_MAX {
        let text = format!("{} upstreams; {UPSTREAMS_MAX} are the most", written.len());
        value.fault(text);
    }
    let parsed: Vec<_> = written
        .iter()
        .map(|value| value.parsed(UpstreamUrl::parse))
        .collect();
    for (index, value) in written.iter().enumerate() {
        let Some(url) = &parsed[index] else { continue };
        let earlier = parsed[..index].iter().flatten();
        if earlier.into_iter().any(|earlier| earlier.is_same(url)) {
            value.fault("is named by another entry of the list");
        }
    }
    parsed.into_iter().collect()
}

impl UpstreamUrl {
    /// Reads `http://host:port`, `https://host` or `unix:/path`.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("unix:") {
            // `unix:///path` is as common as `unix:/path`.
            return match path.strip_prefix("//").unwrap_or(path) {
                path if path.starts_with('/') && path.len() > 1 => Ok(Self::Unix {
                    path: PathBuf::from(path),
                }),
                _ => Err("a unix socket is written \"unix:/path/to/socket\"".to_owned()),
            };
        }
        let (is_tls, rest) = match text.split_once("://") {
            Some(("http", rest)) => (false, rest),
            Some(("https", rest)) => (true, rest),
            _ => return Err("must begin with http://, https:// or unix:/".to_owned()),
        };
        let authority = rest.strip_suffix('/').unwrap_or(rest);
        if authority.contains(['/', '?', '#']) {
            return Err("must end after the port: requests are forwarded unchanged, so a path cannot be put before theirs".to_owned());
        }
        if authority.contains('@') {
            return Err("must not hold credentials: the client's own are forwarded".to_owned());
        }
        let (host, port) = host_and_port(authority)?;
        let port = port.unwrap_or(if is_tls { 443 } else { 80 });
        Ok(match is_tls {
            true => Self::Https { host, port },
            false => Self::Http { host, port },
        })
    }

    /// Whether both lead to the same place, as far as it can be told from here.
    fn is_same(&self, other: &Self) -> bool {
        let parts = |url: &Self| match url {
            Self::Http { host, port } => (false, host.to_ascii_lowercase(), *port),
            Self::Https { host, port } => (true, host.to_ascii_lowercase(), *port),
            Self::Unix { path } => (false, path.display().to_string(), 0),
        };
        match (self.address(), other.address()) {
            (Some(one), Some(two)) => one == two,
            _ => parts(self) == parts(other),
        }
    }

    /// The address to connect to, where the URL names one by number.
    fn address(&self) -> Option<SocketAddr> {
        match self {
            Self::Http { host, port } | Self::Https { host, port } => {
                let host = if host == "localhost" {
                    "127.0.0.1"
                } else {
                    host
                };
                Some(SocketAddr::new(host.parse().ok()?, *port))
            }
            Self::Unix { .. } => None,
        }
    }
}

fn host_and_port(authority: &str) -> Result<(String, Option<u16>), String> {
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (host, after) = rest
                .split_once(']')
                .ok_or_else(|| "has a [ without its ]".to_owned())?;
            if host.parse::<std::net::Ipv6Addr>().is_err() {
                return Err(format!("{host} is not an IPv6 address"));
            }
            let port = match after {
                "" => None,
                after => Some(after.strip_prefix(':').unwrap_or(after)),
            };
            (host, port)
        }
        None => match authority.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        },
    };
    let is_name = |letter: u8| letter.is_ascii_alphanumeric() || b"-._".contains(&letter);
    let is_address = authority.starts_with('[');
    if host.is_empty() || !(is_address || host.bytes().all(is_name)) {
        return Err("needs a host name or an address".to_owned());
    }
    let port = port.map(|port| match port.parse::<u16>() {
        Ok(port) if port != 0 => Ok(port),
        _ => Err(format!("{port:?} is not a port: a number from 1 to 65535")),
    });
    Ok((host.to_owned(), port.transpose()?))
}

/// Below the shortest common keep-alive of an upstream: Node.js closes after 5 s.
const UPSTREAM_IDLE: Duration = Duration::from_secs(4);

/// More at once are opened as needed; only so many are kept when all is quiet.
const UPSTREAM_IDLE_CONNECTIONS: usize = 1024;

/// Beside us or in the same cluster: what takes longer is down. Leaves time for two lost SYNs (1 s, 2 s).
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Who stops is noticed by the requests to it; this is for who comes back, and for who hangs while all is quiet.
const CHECK_INTERVAL: Duration = Duration::from_secs(2);

/// More often, and checks are a load of their own.
const CHECK_INTERVAL_MIN: Duration = Duration::from_millis(50);

/// A page that says how one is costs next to nothing.
const CHECK_TIMEOUT: Duration = SECOND;

/// One passed check may be luck.
const RISE: usize = 2;

/// HAProxy's default; two lost packets are no outage.
const FALL: usize = 3;

/// As many as a request can keep in mind to have tried.
const UPSTREAMS_MAX: usize = 64;

/// nginx's default.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(60);
