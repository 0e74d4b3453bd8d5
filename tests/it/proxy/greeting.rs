//! PROXY headers from those who are trusted with them.

use sidestream::front::listener::{ListenerSettings, Networks, Tls, TlsSettings};

use super::stage::{Forwarding, Front, Peer, Upstream, within};
use crate::support::secure::{Files, Identity, ONLY_13, client, connect};

fn settings(network: &str) -> ListenerSettings {
    ListenerSettings {
        proxy_protocol_from: Networks::new(vec![network.parse().expect("a network")]),
        ..ListenerSettings::default()
    }
}

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// A header of version 2: command and family, and what they are followed by.
fn v2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let mut header = SIGNATURE.to_vec();
    header.extend([0x20 | command, family]);
    header.extend(u16::try_from(rest.len()).expect("it fits").to_be_bytes());
    header.extend(rest);
    header
}

fn v2_ipv4(tail: &[u8]) -> Vec<u8> {
    let addresses = [198, 51, 100, 7, 10, 0, 0, 1, 0x12, 0x34, 0, 80];
    v2(1, 0x11, &[&addresses, tail].concat())
}

/// Sends `header` and a request at once and in two parts, and checks whom the upstream is told of.
#[track_caller]
fn check(header: &[u8], client: &str) {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        for cut in [0, 5, 14, header.len()] {
            let upstream = Upstream::bind().await;
            let network = settings("127.0.0.0/8");
            let front = Front::start(Forwarding::new(upstream.settings()), network);
            let mut peer = front.client().await;
            let bytes = [header, b"GET /a HTTP/1.1\r\nHost: h\r\n\r\n"].concat();
            let (first, second) = bytes.split_at(cut.min(header.len()));
            peer.send(first).await;
            tokio::task::yield_now().await;
            peer.send(second).await;
            let head = upstream.accept().await.head().await;
            let told = format!("\r\nx-forwarded-for: {client}\r\n");
            assert!(head.contains(&told), "cut at {cut}: {head}");
        }
    });
}

#[test]
fn the_client_is_the_one_that_the_header_names() {
    check(
        b"PROXY TCP4 198.51.100.7 10.0.0.1 4660 80\r\n",
        "198.51.100.7",
    );
    check(b"PROXY TCP6 2001:db8::7 ::1 4660 80\r\n", "2001:db8::7");
    check(b"PROXY UNKNOWN\r\n", "127.0.0.1");
    check(b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n", "127.0.0.1");
    check(&v2_ipv4(b""), "198.51.100.7");
    // With a field behind the addresses (PP2_TYPE_AUTHORITY).
    check(&v2_ipv4(b"\x02\0\x01h"), "198.51.100.7");
    let mut ipv6 = [0; 36];
    ipv6[..4].copy_from_slice(&[0x20, 1, 0x0d, 0xb8]);
    ipv6[15] = 7;
    check(&v2(1, 0x21, &ipv6), "2001:db8::7");
    // The proxy asks for itself: a health check.
    check(&v2(0, 0, b""), "127.0.0.1");
    check(&v2(1, 0, b""), "127.0.0.1");
}

#[tokio::test]
async fn who_is_trusted_with_a_header_must_send_a_good_one() {
    let upstream = Upstream::bind().await;
    let front = Front::start(
        Forwarding::new(upstream.settings()),
        settings("127.0.0.1/32"),
    );
    let long_line = [b"PROXY TCP4 ", &[b'1'; 200][..], b"\r\n"].concat();
    for bad in [
        b"GET /a HTTP/1.1\r\nHost: h\r\n\r\n".to_vec(),
        b"PROXY TCP4 198.51.100.7 10.0.0.1 4660\r\n".to_vec(),
        b"PROXY TCP4 ::1 ::1 4660 80\r\n".to_vec(),
        b"PROXY TCP4 198.51.100.7 10.0.0.1 4660 99999\r\n".to_vec(),
        long_line,
        v2(1, 0x11, b"short"),
        v2(7, 0x11, &[0; 12]),
        v2(1, 0x11, &[0; 5000]),
    ] {
        let mut peer = front.client().await;
        peer.send(&bad).await;
        // Further bytes may meet a closed socket.
        drop(
            tokio::io::AsyncWriteExt::write_all(
                &mut peer.stream,
                b"GET /a HTTP/1.1\r\nHost: h\r\n\r\n",
            )
            .await,
        );
        let answer = peer.rest().await;
        assert_eq!(answer, "", "{}", String::from_utf8_lossy(&bad));
    }
    // The one that is good is the first that gets through.
    let mut peer = front.client().await;
    peer.send([&v2_ipv4(b"")[..], b"GET /good HTTP/1.1\r\nHost: h\r\n\r\n"].concat())
        .await;
    let head = upstream.accept().await.head().await;
    assert!(head.starts_with("GET /good "), "{head}");
}

#[tokio::test]
async fn from_elsewhere_a_header_is_no_request() {
    let upstream = Upstream::bind().await;
    let front = Front::start(
        Forwarding::new(upstream.settings()),
        settings("192.0.2.0/24"),
    );
    let mut peer = front.client().await;
    peer.send("PROXY TCP4 198.51.100.7 10.0.0.1 4660 80\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n")
        .await;
    let answer = peer.rest().await;
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    let mut peer = front.client().await;
    peer.send("GET /plain HTTP/1.1\r\nHost: h\r\n\r\n").await;
    let head = upstream.accept().await.head().await;
    assert!(
        head.contains("\r\nx-forwarded-for: 127.0.0.1\r\n"),
        "{head}"
    );
}

#[tokio::test]
async fn a_header_comes_before_tls() {
    let identity = Identity::new();
    let files = Files::of(&identity);
    let upstream = Upstream::bind().await;
    let tls = TlsSettings {
        certificate: files.certificate.clone(),
        key: files.key.clone(),
        only_13: false,
        handshake_max: super::stage::PATIENCE,
        http2: false,
    };
    let settings = ListenerSettings {
        tls: Some(Tls::load(tls).expect("files")),
        ..settings("127.0.0.0/8")
    };
    let front = Front::start(Forwarding::new(upstream.settings()), settings);
    let mut stream = Peer::connect(front.address).await;
    stream.send(v2_ipv4(b"")).await;
    let connector = client(&[&identity], ONLY_13, &[]);
    let mut stream = within(connect(&connector, stream.stream))
        .await
        .expect("a handshake");
    let request = b"GET /a HTTP/1.1\r\nHost: h\r\n\r\n";
    tokio::io::AsyncWriteExt::write_all(&mut stream, request)
        .await
        .expect("sent");
    let head = upstream.accept().await.head().await;
    assert!(
        head.contains("\r\nx-forwarded-for: 198.51.100.7\r\n"),
        "{head}"
    );
    assert!(head.contains("\r\nx-forwarded-proto: https\r\n"), "{head}");
}
