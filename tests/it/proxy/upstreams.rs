//! Several upstreams: who gets a request, who gets it where the first one fails, and who is set aside.

mod api;
mod clients;
mod process;

use std::collections::BTreeMap;
use std::time::Duration;

use sidestream::front::listener::ListenerSettings;
use sidestream::proxy::{HealthSettings, ProxySettings, UpstreamAddress};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use self::api::Api;
use super::stage::{Forwarding, Front, ONE_BYTE, Peer, Upstream, nobody, within};

fn among(addresses: impl IntoIterator<Item = UpstreamAddress>) -> ProxySettings {
    let mut addresses = addresses.into_iter();
    let first = addresses.next().expect("one at least");
    ProxySettings {
        others: addresses.collect(),
        ..ProxySettings::new(first)
    }
}

fn at(upstream: &Upstream) -> UpstreamAddress {
    upstream.settings().upstream
}

/// Asks on a connection of its own and returns the status and the body.
async fn ask(client: &mut Peer, method: &str, id: &str) -> (u16, String) {
    let body = match method {
        "GET" => "\r\n",
        _ => "Content-Length: 4\r\n\r\ntext",
    };
    client
        .send(format!("{method} /{id} HTTP/1.1\r\nHost: h\r\n{body}"))
        .await;
    let head = client.head().await;
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok());
    let length = head.lines().find_map(|line| {
        let length = line.to_lowercase();
        length.strip_prefix("content-length: ")?.parse().ok()
    });
    let body = client.exactly(length.expect("a length")).await;
    (status.expect("a status"), body)
}

#[tokio::test]
async fn requests_are_spread_evenly() {
    let apis = [Api::start().await, Api::start().await, Api::start().await];
    let front = Front::forwarding(among(apis.iter().map(Api::upstream)));
    let mut client = front.client().await;
    for number in 0..30 {
        let (status, _) = ask(&mut client, "GET", &number.to_string()).await;
        assert_eq!(status, 200);
    }
    let counts = apis.each_ref().map(Api::count);
    assert_eq!(counts, [10; 3]);
    // Each keeps its connection.
    assert_eq!(apis.each_ref().map(Api::connections), [1; 3]);
}

#[tokio::test]
async fn one_that_refuses_costs_nobody_anything() {
    let api = Api::start().await;
    for addresses in [
        [nobody().await, api.upstream()],
        [api.upstream(), nobody().await],
    ] {
        let front = Front::forwarding(among(addresses));
        let mut client = front.client().await;
        let before = api.count();
        for number in 0..10 {
            for method in ["GET", "POST"] {
                let id = format!("{before}-{method}-{number}");
                assert_eq!(ask(&mut client, method, &id).await.0, 200, "{id}");
            }
        }
        assert_eq!(api.count(), before + 20);
        assert!(api.seen().values().all(|times| *times == 1));
    }
}

#[tokio::test]
async fn one_that_dies_under_load_costs_no_get_and_doubles_no_post() {
    let mut apis = [Api::start().await, Api::start().await];
    let settings = ProxySettings {
        health: HealthSettings {
            interval: Duration::from_millis(50),
            ..HealthSettings::default()
        },
        ..among(apis.iter().map(Api::upstream))
    };
    let forwarding = Forwarding::new(settings);
    let forwarder = forwarding.0.clone();
    let watching = tokio::spawn(async move { forwarder.watch().await });
    let front = Front::start(forwarding, ListenerSettings::default());
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let clients: Vec<_> = (0..CLIENTS)
        .map(|client| {
            let (address, stopped) = (front.address, stopped.clone());
            tokio::spawn(async move {
                let mut peer = Peer::connect(address).await;
                let mut statuses = BTreeMap::new();
                for number in 0_u32.. {
                    let method = ["GET", "POST"][number as usize % 2];
                    let id = format!("{method}-{client}-{number}");
                    let (status, _) = ask(&mut peer, method, &id).await;
                    statuses.insert(format!("/{id}"), status);
                    if *stopped.borrow() {
                        break;
                    }
                }
                statuses
            })
        })
        .collect();
    for _ in 0..3 {
        let before = apis.each_ref().map(Api::count);
        apis[0].reaches(before[0] + 200).await;
        apis[0].kill();
        apis[1].reaches(before[1] + 400).await;
        // Back at the same place: it gets requests again once its checks are passed.
        let dead = apis[0].count();
        apis[0].revive().await;
        apis[0].reaches(dead + 1).await;
    }
    stop.send_replace(true);
    let mut statuses = BTreeMap::new();
    for client in clients {
        statuses.extend(within(client).await.expect("no panic"));
    }
    watching.abort();
    let (mut posts, mut lost) = (0, 0);
    let seen = apis.each_ref().map(Api::seen);
    for (id, status) in &statuses {
        let times: u32 = seen.iter().map(|seen| seen.get(id).unwrap_or(&0)).sum();
        if id.starts_with("/GET") {
            assert_eq!(*status, 200, "{id}");
            assert!((1..=2).contains(&times), "{id}: {times}");
            continue;
        }
        posts += 1;
        match status {
            200 => assert_eq!(times, 1, "{id}"),
            // It was under way when its upstream died.
            502 => {
                assert!(times <= 1, "{id}: {times}");
                lost += 1;
            }
            status => panic!("{id}: {status}"),
        }
    }
    println!("{lost} of {posts} POSTs died with their upstream");
    assert!(posts > 300 && lost <= 3 * CLIENTS, "{lost} of {posts}");
}

#[tokio::test]
async fn one_that_takes_no_connection_is_passed_by_in_time_and_then_at_once() {
    let (hanging, _full) = full().await;
    let api = Api::start().await;
    let connect_timeout = Duration::from_secs(2);
    let front = Front::forwarding(ProxySettings {
        connect_timeout,
        ..among([hanging, api.upstream()])
    });
    let mut slow = 0;
    for number in 0..20 {
        let begun = Instant::now();
        // Each with a connection of its own, so that one of two waits for the hanging one.
        let mut client = front.client().await;
        assert_eq!(ask(&mut client, "POST", &number.to_string()).await.0, 200);
        assert!(begun.elapsed() < connect_timeout, "{:?}", begun.elapsed());
        slow += usize::from(begun.elapsed() >= connect_timeout / 2);
    }
    assert_eq!(slow, 3, "as many as `fall` says");
    assert!(api.seen().values().all(|times| *times == 1));
    assert_eq!(api.count(), 20);
}

#[tokio::test]
async fn all_together_hang_no_longer_than_one() {
    let (one, _full) = full().await;
    let (two, _full) = full().await;
    let connect_timeout = Duration::from_secs(1);
    let front = Front::forwarding(ProxySettings {
        connect_timeout,
        ..among([one, two])
    });
    let mut client = front.client().await;
    let begun = Instant::now();
    let (status, body) = ask(&mut client, "POST", "x").await;
    assert_eq!(status, 504);
    assert!(
        body.contains("did not accept a connection in time"),
        "{body}"
    );
    let took = begun.elapsed();
    assert!(took >= connect_timeout, "{took:?}");
    assert!(took < connect_timeout * 19 / 10, "{took:?}");
}

#[tokio::test]
async fn what_died_on_a_kept_connection_goes_elsewhere_if_it_may_be_sent_twice() {
    for method in ["GET", "POST"] {
        let (mut one, mut two) = (Upstream::bind().await, Upstream::bind().await);
        let front = Front::forwarding(among([at(&one), at(&two)]));
        let mut client = front.client().await;
        let get = "GET /first HTTP/1.1\r\nHost: h\r\n\r\n";
        client.send(get).await;
        let mut dying = one.accept().await;
        dying.head().await;
        dying.send(ONE_BYTE).await;
        client.until("\r\n\r\na").await;
        client.send(get).await;
        let mut other = two.accept().await;
        other.head().await;
        other.send(ONE_BYTE).await;
        client.until("\r\n\r\na").await;
        // The first one's turn again.
        client
            .send(format!(
                "{method} /again HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n"
            ))
            .await;
        assert!(dying.head().await.starts_with(method));
        drop(dying);
        if method == "GET" {
            let mut fresh = two.accept().await;
            assert!(fresh.head().await.starts_with("GET /again"));
            fresh.send(ONE_BYTE).await;
            let answer = client.until("\r\n\r\na").await;
            assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        } else {
            let answer = client.head().await;
            assert!(answer.starts_with("HTTP/1.1 502 "), "{answer}");
            assert!(two.has_no_other());
        }
        assert!(one.has_no_other());
    }
}

#[tokio::test]
async fn a_request_that_kills_whoever_gets_it_is_sent_twice_at_most() {
    let mut upstreams = [
        Upstream::bind().await,
        Upstream::bind().await,
        Upstream::bind().await,
    ];
    let front = Front::forwarding(among(upstreams.each_ref().map(at)));
    let mut client = front.client().await;
    client.send("GET /poison HTTP/1.1\r\nHost: h\r\n\r\n").await;
    for upstream in &upstreams[..2] {
        let mut peer = upstream.accept().await;
        peer.head().await;
    }
    assert!(client.head().await.starts_with("HTTP/1.1 502 "));
    assert!(upstreams.iter_mut().all(Upstream::has_no_other));
}

#[tokio::test]
async fn an_answer_that_is_late_is_waited_for_nowhere_else() {
    let (one, mut two) = (Upstream::bind().await, Upstream::bind().await);
    let front = Front::forwarding(ProxySettings {
        response_timeout: Duration::from_millis(50),
        ..among([at(&one), at(&two)])
    });
    let mut client = front.client().await;
    client.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n").await;
    let mut peer = one.accept().await;
    peer.head().await;
    assert!(client.head().await.starts_with("HTTP/1.1 504 "));
    assert!(two.has_no_other());
}

#[tokio::test]
async fn a_tunnel_goes_elsewhere_once_where_nobody_answers() {
    let upstreams = [
        Upstream::bind().await,
        Upstream::bind().await,
        Upstream::bind().await,
    ];
    let asking = |method: &str| {
        format!(
            "{method} /chat HTTP/1.1\r\nHost: h\r\nUpgrade: other\r\nConnection: Upgrade\r\n\r\n"
        )
    };
    // What may be sent twice, and what may not.
    for (method, tries) in [("GET", 2), ("POST", 1)] {
        let front = Front::forwarding(among(upstreams.each_ref().map(at)));
        let mut client = front.client().await;
        client.send(asking(method)).await;
        for upstream in &upstreams[..tries] {
            let mut peer = upstream.accept().await;
            peer.head().await;
        }
        assert!(client.head().await.starts_with("HTTP/1.1 502 "), "{method}");
    }
    let front = Front::forwarding(among(upstreams.each_ref().map(at)));
    let mut client = front.client().await;
    client.send(asking("GET")).await;
    upstreams[0].accept().await.head().await;
    let mut tunnel = upstreams[1].accept().await;
    tunnel.head().await;
    tunnel
        .send("HTTP/1.1 101 Switching Protocols\r\nUpgrade: other\r\nConnection: Upgrade\r\n\r\nhello")
        .await;
    client.until("hello").await;
}

#[tokio::test]
async fn a_tunnel_goes_where_it_is_taken_and_counts_there() {
    let (one, mut two) = (Upstream::bind().await, Upstream::bind().await);
    let front = Front::forwarding(among([nobody().await, at(&one), at(&two)]));
    let mut client = front.client().await;
    client
        .send("GET /chat HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")
        .await;
    let mut tunnel = one.accept().await;
    tunnel.head().await;
    tunnel
        .send("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\nhello")
        .await;
    client.until("hello").await;
    client.send("there").await;
    assert_eq!(tunnel.exactly(5).await, "there");
    // While it is open, whoever has none is preferred.
    let mut asking = front.client().await;
    let mut peer: Option<Peer> = None;
    for _ in 0..6 {
        asking.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n").await;
        let mut kept = match peer.take() {
            Some(kept) => kept,
            None => two.accept().await,
        };
        kept.head().await;
        kept.send(ONE_BYTE).await;
        asking.until("\r\n\r\na").await;
        peer = Some(kept);
    }
    assert!(two.has_no_other());
    tunnel.send("bye").await;
    tunnel.finish().await;
    client.finish().await;
    assert_eq!(client.rest().await, "bye");
}

#[tokio::test]
async fn who_names_no_host_means_the_upstream_that_is_asked() {
    let (one, two) = (Upstream::bind().await, Upstream::bind().await);
    let front = Front::forwarding(among([nobody().await, at(&one), at(&two)]));
    for upstream in [&one, &two] {
        let mut client = front.client().await;
        client.send("GET / HTTP/1.0\r\n\r\n").await;
        let mut peer = upstream.accept().await;
        let head = peer.head().await;
        let host = format!("\r\nHost: {}\r\n", upstream.authority());
        assert!(head.contains(&host), "{head}");
        peer.send(ONE_BYTE).await;
        client.rest().await;
    }
}

/// An address that takes no more connections, and what fills it.
async fn full() -> (UpstreamAddress, impl Sized) {
    use socket2::{Domain, Socket, Type};
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    let any: std::net::SocketAddr = "127.0.0.1:0".parse().expect("an address");
    socket.bind(&any.into()).expect("bind");
    socket.listen(0).expect("listen");
    let address = socket.local_addr().expect("it is bound");
    let address = address.as_socket().expect("it is IP");
    let mut filling = Vec::new();
    // What the kernel does not answer at once it does not answer.
    while let Ok(connected) = timeout(FULL_AFTER, TcpStream::connect(address)).await {
        filling.push(connected.expect("it listens"));
    }
    let upstream = format!("http://{address}").parse().expect("an address");
    (upstream, (socket, filling))
}

const CLIENTS: usize = 8;
const FULL_AFTER: Duration = Duration::from_millis(200);
