//! Who is believed, and how far.

use std::net::SocketAddr;

use http::{HeaderMap, HeaderName, HeaderValue};

use super::{ClientHeader, Networks, Trust};

fn trust(header: ClientHeader) -> Trust {
    let networks = ["10.0.0.0/8", "2001:db8:1::/48"];
    let networks = networks.iter().map(|network| network.parse().unwrap());
    Trust {
        networks: Networks::new(networks.collect()),
        header,
    }
}

#[track_caller]
fn check(header: ClientHeader, peer: &str, lines: &[&'static str], client: &str) {
    let name = match header {
        ClientHeader::XForwardedFor => "x-forwarded-for",
        ClientHeader::Forwarded => "forwarded",
    };
    let mut headers = HeaderMap::new();
    for line in lines {
        headers.append(
            HeaderName::from_static(name),
            HeaderValue::from_bytes(line.as_bytes()).unwrap(),
        );
    }
    let peer: SocketAddr = peer.parse().unwrap();
    let found = trust(header).client(peer, &headers);
    assert_eq!(found, client.parse().unwrap(), "{lines:?}");
}

#[test]
fn x_forwarded_for_is_read_from_the_right_as_far_as_it_is_trusted() {
    let check = |peer, lines: &[&'static str], client| {
        check(ClientHeader::XForwardedFor, peer, lines, client);
    };
    // Who is not trusted is who it is, whatever it says.
    check("192.0.2.7:1", &["198.51.100.1"], "192.0.2.7:1");
    check(
        "[::ffff:192.0.2.7]:1",
        &["198.51.100.1"],
        "[::ffff:192.0.2.7]:1",
    );
    check("10.0.0.1:1", &["198.51.100.1"], "198.51.100.1:0");
    check("[::ffff:10.0.0.1]:1", &["198.51.100.1"], "198.51.100.1:0");
    check("10.0.0.1:1", &["198.51.100.1:4711"], "198.51.100.1:4711");
    check("10.0.0.1:1", &["2001:db8::1"], "[2001:db8::1]:0");
    check("10.0.0.1:1", &["[2001:db8::1]:80"], "[2001:db8::1]:80");
    // What the client itself wrote stands left.
    check("10.0.0.1:1", &["1.1.1.1, 198.51.100.1"], "198.51.100.1:0");
    check("10.0.0.1:1", &["1.1.1.1", "198.51.100.1"], "198.51.100.1:0");
    check(
        "10.0.0.1:1",
        &["1.1.1.1,198.51.100.1 ,10.2.2.2", "2001:db8:1::7"],
        "198.51.100.1:0",
    );
    // All of them trusted: the first of them asked.
    check("10.0.0.1:1", &["10.0.0.3, 10.0.0.2"], "10.0.0.3:0");
    // Hidden or broken: no further.
    check("10.0.0.1:1", &["1.1.1.1, unknown"], "10.0.0.1:1");
    check("10.0.0.1:1", &["1.1.1.1, , 10.0.0.2"], "10.0.0.2:0");
    check("10.0.0.1:1", &["gr\u{fc}n"], "10.0.0.1:1");
    check("10.0.0.1:1", &[], "10.0.0.1:1");
}

#[test]
fn forwarded_is_read_as_rfc_7239_writes_it() {
    let check = |peer, lines: &[&'static str], client| {
        check(ClientHeader::Forwarded, peer, lines, client);
    };
    check("192.0.2.7:1", &["for=198.51.100.1"], "192.0.2.7:1");
    check("10.0.0.1:1", &["for=198.51.100.1"], "198.51.100.1:0");
    check(
        "10.0.0.1:1",
        &["for=1.1.1.1, proto=https ; FOR=\"198.51.100.1:80\";by=10.0.0.1"],
        "198.51.100.1:80",
    );
    check(
        "10.0.0.1:1",
        &["for=\"[2001:db8::1]:4711\"", "for=10.0.0.9"],
        "[2001:db8::1]:4711",
    );
    // A comma inside quotes parts nothing.
    check(
        "10.0.0.1:1",
        &["for=1.1.1.1, for=198.51.100.1;host=\"a, for=9.9.9.9, \\\", b\""],
        "198.51.100.1:0",
    );
    // A client's open quote does not make the proxy's member a part of its own.
    check(
        "10.0.0.1:1",
        &["for=1.1.1.1;x=\", for=198.51.100.1"],
        "10.0.0.1:1",
    );
    check(
        "10.0.0.1:1",
        &["for=1.1.1.1;x=\"\\, for=\"[2001:db8::1]\""],
        "10.0.0.1:1",
    );
    check("10.0.0.1:1", &["for=1.1.1.1, for=_hidden"], "10.0.0.1:1");
    check("10.0.0.1:1", &["for=1.1.1.1, proto=https"], "10.0.0.1:1");
}

#[test]
fn only_the_header_that_is_named_is_believed() {
    let mut headers = HeaderMap::new();
    headers.insert("forwarded", HeaderValue::from_static("for=9.9.9.9"));
    let peer = "10.0.0.1:1".parse().unwrap();
    let found = trust(ClientHeader::XForwardedFor).client(peer, &headers);
    assert_eq!(found, peer);
}
