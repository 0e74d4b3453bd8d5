//! Several upstreams, some of which speak TLS, before clients of HTTP/2.

use bytes::Bytes;
use h2::Reason;
use http::{Method, Request};
use sidestream::{
    front::listener::{Http2Settings, ListenerSettings},
    proxy::{Forwarder, ProxySettings, UpstreamAddress},
};
use tungstenite::handshake::derive_accept_key;

use super::{Api, among, ask, at};
use crate::{
    proxy::stage::{Forwarding, Front, Upstream, within},
    support::{
        http2::{Answer, Http2, send},
        secure::{Files, Identity, terminating},
    },
};

/// A listener in clear that takes HTTP/2, and what forwards for it.
fn start(settings: ProxySettings) -> (Front, Forwarder) {
    let forwarding = Forwarding::new(settings);
    let forwarder = forwarding.0.clone();
    let settings = ListenerSettings {
        http2: Http2Settings {
            prior_knowledge: true,
            ..Http2Settings::default()
        },
        ..ListenerSettings::default()
    };
    (Front::start(forwarding, settings), forwarder)
}

/// The API by TLS.
async fn secured(api: &Api, identity: &Identity) -> UpstreamAddress {
    let address = terminating(identity, api.address).await;
    let url = format!("https://localhost:{}", address.port());
    url.parse().expect("an address")
}

fn request(method: &Method, id: &str) -> Request<()> {
    let request = Request::builder().method(method);
    let request = request.uri(format!("http://h/{id}"));
    request.body(()).expect("a request")
}

/// Asks, with a body where it is a POST.
async fn asked(client: &Http2, method: &Method, id: &str) -> u16 {
    let is_post = method == Method::POST;
    let mut request = request(method, id);
    if is_post {
        let length = http::HeaderValue::from_static("4");
        request.headers_mut().insert("content-length", length);
    }
    let (answer, mut sending) = client.begin(request, !is_post).await;
    if is_post {
        let sent = send(&mut sending, Bytes::from_static(b"text"), true).await;
        sent.expect("sent");
    }
    let answer = within(answer).await.expect("an answer");
    let answer = within(Answer::read(answer)).await.expect("a whole one");
    answer.status.as_u16()
}

fn loads(forwarder: &Forwarder) -> Vec<usize> {
    let standings = forwarder.standings();
    let loads = standings.iter().map(|one| one.requests.expect("several"));
    loads.collect()
}

/// Waits until the upstreams have so many requests under way.
async fn have(forwarder: &Forwarder, expected: &[usize]) {
    within(async {
        while loads(forwarder) != expected {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn one_may_speak_tls_among_others_that_do_not() {
    let apis = [Api::start().await, Api::start().await];
    let identity = Identity::new();
    let files = Files::of(&identity);
    for tls_first in [false, true] {
        let mut addresses = [apis[0].upstream(), secured(&apis[1], &identity).await];
        if tls_first {
            addresses.reverse();
        }
        let (front, forwarder) = start(ProxySettings {
            authorities: Some(files.certificate.clone()),
            ..among(addresses)
        });
        for (address, found) in forwarder.probe().await {
            assert!(found.is_ok(), "{address}: {found:?}");
        }
        let before = apis.each_ref().map(Api::count);
        let connections = apis.each_ref().map(Api::connections);
        let mut client = front.client().await;
        for number in 0..10 {
            for method in ["GET", "POST"] {
                let id = format!("{tls_first}-{method}-{number}");
                assert_eq!(ask(&mut client, method, &id).await.0, 200, "{id}");
            }
        }
        let after = apis.each_ref().map(Api::count);
        assert_eq!(after, before.map(|count| count + 10));
        // Each is kept; that of a check may be counted late.
        let more = [0, 1].map(|index| apis[index].connections() - connections[index]);
        assert!(more.iter().all(|more| *more <= 2), "{more:?}");
    }
}

#[tokio::test]
async fn one_whose_certificate_nobody_vouches_for_gets_nothing() {
    let apis = [Api::start().await, Api::start().await, Api::start().await];
    let (known, stranger) = (Identity::new(), Identity::new());
    let files = Files::of(&known);
    let addresses = [
        secured(&apis[0], &stranger).await,
        secured(&apis[1], &known).await,
        apis[2].upstream(),
    ];
    let (front, forwarder) = start(ProxySettings {
        authorities: Some(files.certificate.clone()),
        ..among(addresses)
    });
    let mut client = front.client().await;
    for number in 0..20 {
        for method in ["GET", "POST"] {
            let id = format!("{method}-{number}");
            assert_eq!(ask(&mut client, method, &id).await.0, 200, "{id}");
        }
    }
    let counts = apis.each_ref().map(Api::count);
    assert_eq!((counts[0], counts[1] + counts[2]), (0, 40), "{counts:?}");
    let seen = apis.iter().map(Api::seen);
    assert!(
        seen.flat_map(|seen| seen.into_values())
            .all(|times| times == 1)
    );
    let reason = forwarder.standings().swap_remove(0).reason;
    let reason = reason.expect("it is set aside");
    assert!(reason.contains("certificate"), "{reason}");
}

#[tokio::test]
async fn requests_of_one_http_2_connection_are_spread_evenly() {
    let apis = [Api::start().await, Api::start().await, Api::start().await];
    let (front, forwarder) = start(among(apis.iter().map(Api::upstream)));
    let client = Http2::clear(front.address).await;
    for number in 0..30 {
        let method = [Method::GET, Method::POST][number % 2].clone();
        assert_eq!(asked(&client, &method, &number.to_string()).await, 200);
    }
    let at_once = (30..60).map(|number| {
        let (client, id) = (&client, number.to_string());
        async move { asked(client, &[Method::GET, Method::POST][number % 2], &id).await }
    });
    let statuses = futures_util::future::join_all(at_once).await;
    assert!(statuses.iter().all(|status| *status == 200));
    let counts = apis.each_ref().map(Api::count);
    assert_eq!(counts.iter().sum::<u32>(), 60);
    // Who answers sooner gets more where many ask at once, and none gets nothing.
    assert!(counts.iter().all(|count| *count >= 12), "{counts:?}");
    let seen = apis.iter().map(Api::seen);
    assert!(
        seen.flat_map(|seen| seen.into_values())
            .all(|times| times == 1)
    );
    have(&forwarder, &[0, 0, 0]).await;
}

#[tokio::test]
async fn a_stream_that_is_taken_back_gives_its_place_back() {
    let (one, two) = (Upstream::bind().await, Upstream::bind().await);
    let (front, forwarder) = start(among([at(&one), at(&two)]));
    let client = Http2::clear(front.address).await;
    // One waits for its answer, one for the rest of it, and one still sends.
    let (waiting, mut sending) = client.begin(request(&Method::GET, "a"), true).await;
    let mut peer = one.accept().await;
    peer.head().await;
    let (reading, _) = client.begin(request(&Method::GET, "b"), true).await;
    let mut other = two.accept().await;
    other.head().await;
    other
        .send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\na")
        .await;
    let reading = within(reading).await.expect("an answer");
    let (uploading, mut upload) = client.begin(request(&Method::POST, "c"), false).await;
    let mut third = one.accept().await;
    third.head().await;
    have(&forwarder, &[2, 1]).await;
    upload.send_reset(Reason::CANCEL);
    have(&forwarder, &[1, 1]).await;
    drop(reading);
    have(&forwarder, &[1, 0]).await;
    sending.send_reset(Reason::CANCEL);
    have(&forwarder, &[0, 0]).await;
    // Nobody's fault.
    let standings = forwarder.standings();
    assert!(standings.iter().all(|standing| standing.reason.is_none()));
    drop((waiting, uploading));
}

#[tokio::test]
async fn a_websocket_over_http_2_goes_where_it_is_taken_and_counts_there() {
    let (mut one, two) = (Upstream::bind().await, Upstream::bind().await);
    let dead = crate::proxy::stage::nobody().await;
    let (front, forwarder) = start(among([dead, at(&two), at(&one)]));
    let client = Http2::clear(front.address).await;
    within(async {
        while !client.takes_connect() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let mut request = request(&Method::CONNECT, "chat");
    let websocket = h2::ext::Protocol::from_static("websocket");
    request.extensions_mut().insert(websocket);
    let version = http::HeaderValue::from_static("13");
    request
        .headers_mut()
        .insert("sec-websocket-version", version);
    let (answer, mut sending) = client.begin(request, false).await;
    let mut tunnel = two.accept().await;
    let head = tunnel.head().await;
    let key = head.lines().find_map(|line| {
        let (name, value) = line.split_once(": ")?;
        name.eq_ignore_ascii_case("sec-websocket-key")
            .then_some(value)
    });
    let accept = derive_accept_key(key.expect("a key").as_bytes());
    tunnel
        .send(format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: {accept}\r\n\r\nhello"
        ))
        .await;
    let answer = within(answer).await.expect("an answer");
    assert_eq!(answer.status(), 200);
    have(&forwarder, &[0, 1, 0]).await;
    let sent = send(&mut sending, Bytes::from_static(b"there"), false).await;
    sent.expect("sent");
    assert_eq!(tunnel.exactly(5).await, "there");
    drop(sending);
    drop(answer);
    tunnel.rest().await;
    drop(tunnel);
    have(&forwarder, &[0, 0, 0]).await;
    assert!(one.has_no_other());
}
