//! `[server]` and `[admin]`: where we listen, and how long we wait for clients.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use ipnet::IpNet;

use super::http2::Http2;
use super::reader::Section;
use super::tls::Tls;
use super::upstream::Upstream;
use super::value::{duration_text, size_text};

/// `[server]`: what clients connect to.
#[derive(Clone, Debug, PartialEq)]
pub struct Server {
    /// Where clients are listened for, in clear; empty only beside `tls`. Port 0 picks a free one.
    pub listen: Vec<SocketAddr>,
    /// HTTPS.
    pub tls: Option<Tls>,
    /// HTTP/2.
    pub http2: Http2,
    /// Who begins its connections with a PROXY header.
    pub proxy_protocol_from: Vec<IpNet>,
    /// Whose word about the client of a request is believed.
    pub trusted_proxies: Vec<IpNet>,
    /// Where that word stands.
    pub trusted_header: TrustedHeader,
    /// How long requests and sessions may take to end after SIGTERM.
    pub drain: Duration,
    /// Over how much of that sessions are told, so that they do not come back all at once.
    pub drain_spread: Duration,
    /// Client connections at a time, sessions included; more wait in the kernel's queue.
    pub max_connections: usize,
    /// How long a client may take to send a request's head.
    pub head_timeout: Duration,
    /// How many bytes a second a client must send of a body, while it is waited for; 0: as few as it likes.
    pub body_rate: usize,
    /// Bytes of a request's head: request line and headers.
    pub head_size: usize,
    /// How long a client's connection is kept with no request on it.
    pub keep_alive: Duration,
}

/// A header that tells the client of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrustedHeader {
    /// `X-Forwarded-For`.
    XForwardedFor,
    /// `Forwarded`, RFC 7239.
    Forwarded,
}

impl Server {
    pub(super) fn read(section: Section<'_>) -> Self {
        let drain = section.duration("drain", DRAIN, Duration::ZERO..=HOUR);
        let server = Self {
            listen: listeners(&section),
            tls: Tls::read(section.section("tls")),
            http2: Http2::read(section.section("http2")),
            proxy_protocol_from: networks(&section, "proxy_protocol_from"),
            trusted_proxies: networks(&section, "trusted_proxies"),
            trusted_header: section.choice(
                "trusted_header",
                TrustedHeader::XForwardedFor,
                &[
                    ("X-Forwarded-For", TrustedHeader::XForwardedFor),
                    ("Forwarded", TrustedHeader::Forwarded),
                ],
            ),
            drain,
            drain_spread: drain_spread(&section, drain),
            max_connections: section.count("max_connections", MAX_CONNECTIONS, 1..=10_000_000),
            head_timeout: section.duration("head_timeout", HEAD_TIMEOUT, SECOND..=HOUR),
            body_rate: section.size("body_rate", 0, 0..=BODY_RATE_MAX),
            head_size: section.size("head_size", HEAD_SIZE, HEAD_SIZE_MIN..=HEAD_SIZE_MAX),
            keep_alive: section.duration("keep_alive", KEEP_ALIVE, SECOND..=DAY),
        };
        section.finish();
        server
    }

    /// Every address at which clients are listened for.
    fn addresses(&self) -> impl Iterator<Item = &SocketAddr> {
        let secure = self.tls.iter().flat_map(|tls| &tls.listen);
        self.listen.iter().chain(secure)
    }
}

/// Reads `[admin]`: where health and metrics are served, or nowhere.
pub(super) fn read_admin(section: Section<'_>) -> Option<SocketAddr> {
    let is_enabled = section.flag("enabled", true);
    let listen = section.parsed("listen", Some(ADMIN_LISTEN), |text| match text {
        "" => Ok(None),
        text => address(text).map(Some),
    });
    section.finish();
    listen.filter(|_| is_enabled)
}

/// Reports addresses that cannot be had together.
pub(super) fn check_addresses(
    root: &Section<'_>,
    server: &Server,
    admin: Option<SocketAddr>,
    upstream: Option<&Upstream>,
) {
    let at_server = root.section("server");
    for (index, one) in server.addresses().enumerate() {
        if !server
            .addresses()
            .take(index)
            .any(|other| collide(one, other))
        {
            continue;
        }
        if index < server.listen.len() {
            at_server.fault(
                "listen",
                format!("{one} is taken by another entry of the list"),
            );
        } else {
            let text = format!("{one} is taken by another listener");
            at_server.section("tls").fault("listen", text);
        }
    }
    if let Some(admin) = admin
        && server.addresses().any(|public| collide(&admin, public))
    {
        let text = format!(
            "{admin} is taken by server.listen; the admin listener needs an address of its own"
        );
        root.section("admin").fault("listen", text);
    }
    let own: Vec<&SocketAddr> = server.addresses().chain(&admin).collect();
    if let Some(upstream) = upstream {
        upstream.check_circles(root, |behind| own.iter().any(|own| collide(behind, own)));
    }
}

/// Whether two listeners cannot both be bound. Port 0 is another free port each time.
fn collide(a: &SocketAddr, b: &SocketAddr) -> bool {
    let same_family = a.is_ipv4() == b.is_ipv4();
    let same_address = a.ip() == b.ip() || a.ip().is_unspecified() || b.ip().is_unspecified();
    a.port() != 0 && a.port() == b.port() && same_family && same_address
}

fn listeners(section: &Section<'_>) -> Vec<SocketAddr> {
    let Some(written) = section.list("listen") else {
        return vec![LISTEN];
    };
    if written.is_empty() && section.section("tls").value("listen").is_none() {
        section.fault("listen", "must name at least one address");
    }
    written
        .iter()
        .filter_map(|value| value.parsed(address))
        .collect()
}

/// Reads how long sessions are told of the end; where nothing is written, as much of it as there is room for.
fn drain_spread(section: &Section<'_>, drain: Duration) -> Duration {
    let spread = section.duration(
        "drain_spread",
        DRAIN_SPREAD.min(drain / 2),
        Duration::ZERO..=HOUR,
    );
    if spread > drain / 2 {
        let text = format!(
            "{} is more than half of server.drain, {}: who is told last needs time to end, too",
            duration_text(spread),
            duration_text(drain)
        );
        section.fault("drain_spread", text);
    }
    spread
}

/// Reads a list of networks, each of them written as one or as a single address.
fn networks(section: &Section<'_>, key: &'static str) -> Vec<IpNet> {
    let network = |text: &str| {
        let single = text.parse::<IpAddr>().map(IpNet::from);
        let network = text.parse::<IpNet>().or(single);
        network.map_err(|_| {
            "must be a network or an IP address, such as \"10.0.0.0/8\" or \"::1\"".to_owned()
        })
    };
    let written = section.list(key).unwrap_or_default();
    let parsed = written.iter().filter_map(|value| value.parsed(network));
    parsed.collect()
}

pub(super) fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| {
        "must be an IP address and a port, such as \"127.0.0.1:8080\", \"0.0.0.0:80\" or \"[::]:80\""
            .to_owned()
    })
}

pub(super) const MILLISECOND: Duration = Duration::from_millis(1);
pub(super) const SECOND: Duration = Duration::from_secs(1);
pub(super) const HOUR: Duration = Duration::from_secs(60 * 60);
pub(super) const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Loopback: whoever wants to be reached from outside says so.
const LISTEN: SocketAddr = loopback(8080);

/// Loopback, since it shows who is connected to what.
const ADMIN_LISTEN: SocketAddr = loopback(8090);

/// Kubernetes and systemd kill after 30 s and 90 s by default; a REST request is over by then.
const DRAIN: Duration = Duration::from_secs(30);

/// 50,000 sessions come back as 5,000 a second; a few hundred are told within two seconds.
const DRAIN_SPREAD: Duration = Duration::from_secs(10);

/// Room for every session (`limits.sessions`) and a tenth as many requests beside them.
const MAX_CONNECTIONS: usize = 110_000;

const _: () = assert!(MAX_CONNECTIONS > super::limits::SESSIONS);

/// Faster than any client can be meant to be.
const BODY_RATE_MAX: usize = 1 << 30;

/// A head fits into a few packets; who needs longer holds a connection for nothing.
const HEAD_TIMEOUT: Duration = Duration::from_secs(15);

/// Twice nginx's 32 KiB: `filter` and `avars` stand in the URL.
const HEAD_SIZE: usize = 64 << 10;

/// Below this, browsers with a few cookies are refused.
const HEAD_SIZE_MIN: usize = 4 << 10;

/// The most that the proxy's reader of heads takes.
const HEAD_SIZE_MAX: usize = 256 << 10;

/// nginx's default.
const KEEP_ALIVE: Duration = Duration::from_secs(75);

const fn loopback(port: u16) -> SocketAddr {
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), port)
}

/// Reports where variables could never fit into the head that carries them.
pub(super) fn check_sizes(root: &Section<'_>, server: &Server, avars: usize) {
    if avars > server.head_size {
        let text = format!(
            "{} is more than server.head_size, {}, and they stand in the head",
            size_text(avars),
            size_text(server.head_size)
        );
        root.section("limits").fault("avars", text);
    }
}
