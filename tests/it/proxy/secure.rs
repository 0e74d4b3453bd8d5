//! TLS on the listener, and towards the upstream.

use std::time::Duration;

use sidestream::{
    front::listener::{ListenerSettings, Tls, TlsSettings},
    proxy::ProxySettings,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::stage::{Forwarding, Front, Peer, Upstream, within};
use crate::support::secure::{
    Bridge, Files, Identity, ONLY_12, ONLY_13, client, connect, replace, terminating,
};

fn settings(files: &Files) -> TlsSettings {
    TlsSettings {
        certificate: files.certificate.clone(),
        key: files.key.clone(),
        only_13: false,
        handshake_max: Duration::from_secs(10),
        http2: false,
    }
}

fn front(upstream: &Upstream, tls: TlsSettings) -> Front {
    let settings = ListenerSettings {
        tls: Some(Tls::load(tls).expect("files")),
        ..ListenerSettings::default()
    };
    Front::start(Forwarding::new(upstream.settings()), settings)
}

#[tokio::test]
async fn requests_and_tunnels_go_through_and_are_forwarded_as_https() {
    let identity = Identity::new();
    let upstream = Upstream::bind().await;
    let front = front(&upstream, settings(&Files::of(&identity)));
    let bridge = Bridge::to(front.address, &[&identity]).await;
    let mut client = Peer::connect(bridge.address).await;
    client
        .send("POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 200000\r\n\r\n")
        .await
        .send(vec![b'x'; 200_000])
        .await;
    let mut peer = upstream.accept().await;
    let head = peer.head().await;
    assert!(head.contains("\r\nx-forwarded-proto: https\r\n"), "{head}");
    assert!(head.contains("proto=https\r\n"), "{head}");
    assert_eq!(peer.exactly(200_000).await, "x".repeat(200_000));
    peer.send("HTTP/1.1 200 OK\r\nContent-Length: 300000\r\n\r\n")
        .await
        .send(vec![b'y'; 300_000])
        .await;
    client.head().await;
    assert_eq!(client.exactly(300_000).await, "y".repeat(300_000));
    // The client's connection becomes a tunnel; towards the upstream it has one of its own.
    client
        .send(
            "GET /t HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\nearly",
        )
        .await;
    let mut peer = upstream.accept().await;
    peer.head().await;
    peer.send("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\nhello")
        .await;
    client.until("hello").await;
    assert_eq!(peer.exactly(5).await, "early");
    peer.send("bye").await;
    peer.finish().await;
    assert_eq!(client.rest().await, "bye");
}

#[tokio::test]
async fn only_http_1_is_agreed_on() {
    let identity = Identity::new();
    let upstream = Upstream::bind().await;
    let front = front(&upstream, settings(&Files::of(&identity)));
    let agreed = async |protocols: &[&str]| {
        let connector = client(&[&identity], ONLY_13, protocols);
        let stream = Peer::connect(front.address).await.stream;
        let stream = within(connect(&connector, stream)).await?;
        let (_, state) = stream.get_ref();
        std::io::Result::Ok(state.alpn_protocol().map(<[u8]>::to_vec))
    };
    let http = Some(b"http/1.1".to_vec());
    assert_eq!(agreed(&["h2", "http/1.1"]).await.expect("agreed"), http);
    assert_eq!(agreed(&[]).await.expect("agreed"), None);
    // RFC 7301 §3.2: nothing in common is an alert.
    let error = agreed(&["h2"]).await.expect_err("nothing in common");
    assert!(
        error.to_string().contains("NoApplicationProtocol"),
        "{error}"
    );
}

#[tokio::test]
async fn versions_below_the_minimum_are_refused() {
    let identity = Identity::new();
    let upstream = Upstream::bind().await;
    let files = Files::of(&identity);
    for (only_13, versions, is_taken) in [
        (false, ONLY_12, true),
        (false, ONLY_13, true),
        (true, ONLY_13, true),
        (true, ONLY_12, false),
    ] {
        let tls = TlsSettings {
            only_13,
            ..settings(&files)
        };
        let front = front(&upstream, tls);
        let connector = client(&[&identity], versions, &[]);
        let stream = Peer::connect(front.address).await.stream;
        match within(connect(&connector, stream)).await {
            Ok(_) => assert!(is_taken, "{only_13}, {versions:?}"),
            Err(error) => {
                assert!(!is_taken, "{only_13}, {versions:?}: {error}");
                assert!(error.to_string().contains("ProtocolVersion"), "{error}");
            }
        }
    }
}

#[tokio::test]
async fn http_in_clear_is_told_what_this_port_speaks() {
    let upstream = Upstream::bind().await;
    let front = front(&upstream, settings(&Files::of(&Identity::new())));
    let mut client = front.client().await;
    client.send("GET /secret HTTP/1.1\r\nHost: h\r\n\r\n").await;
    let answer = client.rest().await;
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    assert!(head.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{head}");
    let length = format!("content-length: {}", body.len());
    assert!(head.ends_with(&length), "{head}");
    assert!(body.contains("HTTPS"), "{body}");
    // What is neither is given up.
    let mut client = front.client().await;
    client.send("\u{1}\u{2}\u{3}\u{4}\u{5}\u{6}").await;
    client.rest().await;
}

#[tokio::test]
async fn a_handshake_has_its_time_and_no_more() {
    let identity = Identity::new();
    let upstream = Upstream::bind().await;
    let files = Files::of(&identity);
    let tls = TlsSettings {
        handshake_max: Duration::from_millis(100),
        ..settings(&files)
    };
    let front = front(&upstream, tls);
    let mut silent = front.client().await;
    assert_eq!(silent.rest().await, "");
    // The beginning of a ClientHello, and then nothing.
    let mut slow = front.client().await;
    slow.send(b"\x16\x03\x01\x02\x00\x01").await;
    assert_eq!(slow.rest().await, "");
    // Others are served meanwhile.
    let connector = client(&[&identity], ONLY_13, &[]);
    let stream = Peer::connect(front.address).await.stream;
    let mut stream = within(connect(&connector, stream)).await.expect("served");
    stream.write_all(b"BAD\r\n\r\n").await.expect("sent");
    let mut answer = Vec::new();
    within(stream.read_to_end(&mut answer)).await.expect("read");
    assert!(answer.starts_with(b"HTTP/1.1 400 "));
}

#[tokio::test]
async fn draining_does_not_wait_for_a_handshake() {
    let upstream = Upstream::bind().await;
    let front = front(&upstream, settings(&Files::of(&Identity::new())));
    let mut silent = front.client().await;
    // It is accepted before the next one, whose answer has come.
    let mut clear = front.client().await;
    clear.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n").await;
    clear.rest().await;
    front.shutdown.begin();
    assert_eq!(silent.rest().await, "");
    front.ended().await;
}

#[tokio::test]
async fn with_a_successor_a_handshake_that_has_begun_is_finished() {
    let upstream = Upstream::bind().await;
    let identity = Identity::new();
    let front = front(&upstream, settings(&Files::of(&identity)));
    let begun = front.client().await;
    let mut clear = front.client().await;
    clear.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n").await;
    clear.rest().await;
    let address = front.address;
    front.shutdown.hand_over();
    while tokio::net::TcpStream::connect(address).await.is_ok() {}
    let connector = client(&[&identity], ONLY_13, &[]);
    let mut stream = within(connect(&connector, begun.stream))
        .await
        .expect("served");
    stream
        .write_all(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
        .await
        .expect("sent");
    let mut peer = upstream.accept().await;
    peer.head().await;
    peer.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        .await;
    let mut answer = Vec::new();
    within(stream.read_to_end(&mut answer)).await.expect("read");
    assert!(answer.ends_with(b"\r\n\r\nok"));
    front.ended().await;
}

#[test]
fn files_that_cannot_be_used_are_named() {
    #[track_caller]
    fn check(spoil: impl FnOnce(&Files), text: &str) {
        let files = Files::of(&Identity::new());
        spoil(&files);
        let error = Tls::load(settings(&files)).expect_err("they cannot be used");
        let cause = std::error::Error::source(&error).map(ToString::to_string);
        let told = format!("{error}: {}", cause.unwrap_or_default());
        assert!(told.contains(text), "{told}");
    }
    let other = || Identity::new();
    check(
        |files| std::fs::remove_file(&files.key).expect("gone"),
        "tls.key: No such file",
    );
    check(
        |files| replace(&files.certificate, "no PEM"),
        "tls.crt: no usable certificate in PEM form",
    );
    check(
        |files| replace(&files.key, &other().certificate),
        "tls.key: no usable private key in PEM form",
    );
    check(
        |files| replace(&files.certificate, &other().certificate),
        "certificate and key cannot be used",
    );
}

#[tokio::test]
async fn an_https_upstream_must_be_signed_by_the_named_authorities() {
    let (identity, other) = (Identity::new(), Identity::new());
    let upstream = Upstream::bind().await;
    let address = terminating(&identity, upstream.address()).await;
    let trusting = |files: &Files| ProxySettings {
        authorities: Some(files.certificate.clone()),
        ..ProxySettings::new(
            format!("https://localhost:{}", address.port())
                .parse()
                .expect("address"),
        )
    };
    let files = Files::of(&identity);
    let front = Front::forwarding(trusting(&files));
    let mut client = front.client().await;
    client.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n").await;
    let mut peer = upstream.accept().await;
    // The second on the same connection.
    for body in ["a", "b"] {
        peer.head().await;
        peer.send(format!(
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n{body}"
        ))
        .await;
        client.until(&format!("\r\n\r\n{body}")).await;
        client.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n").await;
    }
    let files = Files::of(&other);
    let front = Front::forwarding(trusting(&files));
    let mut client = front.client().await;
    client
        .send("GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
        .await;
    let answer = client.rest().await;
    assert!(answer.starts_with("HTTP/1.1 502 "), "{answer}");
}
