//! Networks, by whose addresses somebody is trusted, and what is believed of those.

use std::net::{IpAddr, SocketAddr};

use http::{HeaderMap, HeaderName, header};
use ipnet::IpNet;

/// Networks that are named in the configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Networks(Vec<IpNet>);

impl Networks {
    /// Takes a list of them.
    pub fn new(networks: Vec<IpNet>) -> Self {
        Self(networks)
    }

    /// Whether an address lies in one of them. An IPv4 address that came over an IPv6 socket is what it was.
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.contains(&address))
    }
}

/// Which of a request's headers tells who its client is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClientHeader {
    /// `X-Forwarded-For`.
    #[default]
    XForwardedFor,
    /// `Forwarded`, RFC 7239.
    Forwarded,
}

/// The proxies before us that are believed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trust {
    /// Where they are.
    pub networks: Networks,
    /// What they write.
    pub header: ClientHeader,
}

impl Trust {
    /// Returns whom a request comes from, which `peer` sent: of the addresses in the header, read from the right, the first
    /// that is none of the trusted proxies. What stands left of it was written by who is not trusted. Where a proxy hides an
    /// address or writes none, it is the proxy's own.
    pub fn client(&self, peer: SocketAddr, headers: &HeaderMap) -> SocketAddr {
        if !self.networks.contains(peer.ip()) {
            return peer;
        }
        let mut client = peer;
        let name = match self.header {
            ClientHeader::XForwardedFor => X_FORWARDED_FOR,
            ClientHeader::Forwarded => header::FORWARDED,
        };
        let lines = headers.get_all(name);
        // An iterator over the values of a name does not go backwards without having gone forwards: it is a list.
        let lines: Vec<_> = lines.iter().collect();
        for line in lines.into_iter().rev() {
            let Ok(line) = line.to_str() else {
                return client;
            };
            // A quote that is not closed may hide where the trusted member begins.
            let Some(members) = split(line, ',') else {
                return client;
            };
            for member in members.into_iter().rev() {
                let told = match self.header {
                    ClientHeader::XForwardedFor => node(member),
                    ClientHeader::Forwarded => forwarded_for(member).and_then(node),
                };
                let Some(told) = told else { return client };
                client = told;
                if !self.networks.contains(client.ip()) {
                    return client;
                }
            }
        }
        client
    }
}

/// Splits at `at`, but not inside quoted strings. `None` where one of those has no end.
fn split(text: &str, at: char) -> Option<Vec<&str>> {
    let (mut is_quoted, mut is_escaped) = (false, false);
    let parts = text.split(|letter: char| {
        let is_plain = !std::mem::take(&mut is_escaped);
        match letter {
            '\\' if is_quoted && is_plain => is_escaped = true,
            '"' if is_plain => is_quoted = !is_quoted,
            _ => (),
        }
        letter == at && !is_quoted
    });
    let parts = parts.map(str::trim).collect();
    (!is_quoted).then_some(parts)
}

/// The value of `for` in a member of `Forwarded`, without its quotes.
fn forwarded_for(member: &str) -> Option<&str> {
    let pairs = split(member, ';')?.into_iter();
    let mut pairs = pairs.filter_map(|pair| pair.split_once('='));
    let (_, value) = pairs.find(|(name, _)| name.trim().eq_ignore_ascii_case("for"))?;
    Some(value.trim().trim_matches('"'))
}

/// An address, with a port or without: `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]`, `[2001:db8::1]:80`.
/// Others hide it (`unknown`, `_name`).
fn node(text: &str) -> Option<SocketAddr> {
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Some(address);
    }
    let bare = text
        .strip_prefix('[')
        .and_then(|text| text.strip_suffix(']'));
    let address: IpAddr = bare.unwrap_or(text).parse().ok()?;
    Some(SocketAddr::new(address, 0))
}

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

#[cfg(test)]
mod tests;
