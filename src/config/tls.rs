//! `[server.tls]`: HTTPS towards clients.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::reader::{Section, not_empty};
use super::server::{DAY, HOUR, MILLISECOND, SECOND, address};

/// `[server.tls]`: where and how TLS is spoken with clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// Where HTTPS is listened for; never empty. Port 0 picks a free one.
    pub listen: Vec<SocketAddr>,
    /// The certificate and those that lead to its authority, PEM.
    pub certificate: PathBuf,
    /// Its private key, PEM.
    pub key: PathBuf,
    /// The oldest version that is spoken.
    pub minimum: TlsVersion,
    /// How long a handshake may take.
    pub handshake_timeout: Duration,
    /// How often the files are looked at.
    pub reload: Duration,
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsVersion {
    /// TLS 1.2.
    Tls12,
    /// TLS 1.3.
    Tls13,
}

impl Tls {
    /// Reads the section; `None` where it does not name a certificate, or after a fault.
    pub(super) fn read(section: Section<'_>) -> Option<Self> {
        let listen = section.list("listen");
        let listen = listen.map(|written| -> Vec<_> {
            let addresses = written.iter().filter_map(|value| value.parsed(address));
            addresses.collect()
        });
        let path = |key| {
            let path = |text: &str| not_empty(text).map(|text| Some(PathBuf::from(text)));
            section.parsed(key, None, path)
        };
        let (certificate, key) = (path("certificate"), path("key"));
        let versions = [("1.2", TlsVersion::Tls12), ("1.3", TlsVersion::Tls13)];
        let minimum = section.choice("minimum", TlsVersion::Tls12, &versions);
        let handshake_timeout =
            section.duration("handshake_timeout", HANDSHAKE_TIMEOUT, MILLISECOND..=HOUR);
        let reload = section.duration("reload", RELOAD, RELOAD_MIN..=DAY);
        let is_asked_for = listen.is_some() || certificate.is_some() || key.is_some();
        if is_asked_for {
            if listen.as_ref().is_none_or(Vec::is_empty) && section.value("listen").is_none() {
                section.missing("listen", "where HTTPS is spoken, such as [\"0.0.0.0:443\"]");
            }
            for (path, name) in [(&certificate, "certificate"), (&key, "key")] {
                if path.is_none() && section.value(name).is_none() {
                    section.missing(name, "a file in PEM form");
                }
            }
            if section.value("listen").is_some() && listen.as_ref().is_some_and(Vec::is_empty) {
                section.fault("listen", "must name at least one address");
            }
        }
        section.finish();
        Some(Self {
            listen: listen.filter(|addresses| !addresses.is_empty())?,
            certificate: certificate?,
            key: key?,
            minimum,
            handshake_timeout,
            reload,
        })
    }
}

/// Four ways there and back over the slowest of lines, and a slow processor at its end.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// Two small files; a renewed certificate has weeks of overlap with the old one.
const RELOAD: Duration = Duration::from_secs(10);

const RELOAD_MIN: Duration = Duration::from_millis(100);

const _: () = assert!(RELOAD_MIN.as_millis() < SECOND.as_millis());
