//! How much one connection may have, and how it ends.

use std::time::Duration;

use h2::Reason;
use http::{HeaderValue, StatusCode};

use super::{
    clear,
    frames::{self, Frame},
    get, settings,
};
use crate::{
    proxy::stage::{Forwarding, Front, Upstream, within},
    support::http2::{Answer, Http2},
};

#[tokio::test]
async fn a_client_that_begins_too_many_is_refused_one_and_may_send_it_again() {
    let upstream = Upstream::bind().await;
    let front = Front::start(
        Forwarding::new(upstream.settings()),
        settings(|settings| settings.http2.streams_max = 2),
    );
    let mut client = frames::connect(&front).await;
    for stream in [1, 3, 5] {
        client.send(frames::get(stream).bytes()).await;
    }
    let refused = loop {
        let frame = within(Frame::read(&mut client)).await.expect("a frame");
        if frame.kind == frames::RST_STREAM {
            break frame;
        }
    };
    let code = u32::from(Reason::REFUSED_STREAM);
    assert_eq!((refused.stream, refused.code()), (5, code));
    // The others are answered, and make room.
    for _ in 0..2 {
        let mut peer = upstream.accept().await;
        peer.head().await;
        peer.send("HTTP/1.1 204 No Content\r\n\r\n").await;
    }
    for _ in 0..2 {
        while within(Frame::read(&mut client))
            .await
            .expect("a frame")
            .kind
            != frames::HEADERS
        {}
    }
    client.send(frames::get(7).bytes()).await;
    let mut peer = upstream.accept().await;
    peer.head().await;
}

#[tokio::test]
async fn a_head_has_the_limits_of_http_1() {
    let upstream = Upstream::bind().await;
    let front = Front::start(
        Forwarding::new(upstream.settings()),
        settings(|settings| settings.head.bytes_max = 8 << 10),
    );
    let client = Http2::clear(front.address).await;
    let mut asked = get("/");
    let value = HeaderValue::from_bytes(&[b'a'; 9 << 10]).expect("a value");
    asked.headers_mut().insert("x", value);
    let answer = client.ask(asked).await;
    assert_eq!(answer.status, StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
    // As many fields as HTTP/1.1 may have, of which a cookie is one.
    for (fields, is_taken) in [(98, true), (101, false)] {
        let client = Http2::clear(front.address).await;
        let mut asked = get("/");
        for field in 0..fields {
            asked.headers_mut().append("x", HeaderValue::from(field));
        }
        for _ in 0..20 {
            asked
                .headers_mut()
                .append("cookie", HeaderValue::from_static("a=1"));
        }
        let serving = async {
            if is_taken {
                let mut peer = upstream.accept().await;
                peer.head().await;
                peer.send("HTTP/1.1 431 Not Ours\r\nX: upstream\r\nContent-Length: 0\r\n\r\n")
                    .await;
                peer.finish().await;
            }
        };
        let (answer, ()) = within(async { tokio::join!(client.ask(asked), serving) }).await;
        assert_eq!(answer.status, StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
        assert_eq!(answer.header("x") == "upstream", is_taken, "{fields}");
    }
}

#[tokio::test]
async fn a_preface_that_does_not_come_is_not_waited_for() {
    let upstream = Upstream::bind().await;
    let front = Front::start(
        Forwarding::new(upstream.settings()),
        settings(|settings| settings.head.time_max = Duration::from_millis(100)),
    );
    let mut client = front.client().await;
    client.send("PRI * HTTP/2.0\r\n\r\nSM").await;
    // Our own settings, which need no preface, and the end.
    let settings = client.rest().await;
    assert_eq!(settings.as_bytes().get(3), Some(&4), "{settings:?}");
}

#[tokio::test]
async fn a_connection_without_requests_is_told_to_go() {
    let upstream = Upstream::bind().await;
    let front = Front::start(
        Forwarding::new(upstream.settings()),
        settings(|settings| settings.head.idle_max = Duration::from_millis(200)),
    );
    let mut client = Http2::clear(front.address).await;
    let (answer, _) = client.begin(get("/"), true).await;
    let mut peer = upstream.accept().await;
    peer.head().await;
    // A request under way is no idleness; one that begins later and has none ends before.
    let mut idle = Http2::clear(front.address).await;
    within(idle.ended()).await.expect("without an error");
    peer.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        .await;
    let answer = within(answer).await.expect("an answer");
    assert_eq!(
        Answer::read(answer).await.expect("a whole one").text(),
        "ok"
    );
    within(client.ended()).await.expect("without an error");
}

/// A request that the client began before it heard that it shall go is answered, however long that takes.
#[tokio::test]
async fn a_request_that_crosses_the_goodbye_is_finished() {
    let upstream = Upstream::bind().await;
    let front = Front::start(
        Forwarding::new(upstream.settings()),
        settings(|settings| settings.head.idle_max = Duration::from_millis(200)),
    );
    // Neither says that it has heard.
    let (mut client, mut silent) = (frames::connect(&front).await, frames::connect(&front).await);
    for peer in [&mut client, &mut silent] {
        while within(Frame::read(peer)).await.expect("a frame").kind != frames::GOAWAY {}
    }
    client.send(frames::get(1).bytes()).await;
    let mut peer = upstream.accept().await;
    peer.head().await;
    // The other one is given up meanwhile.
    within(async { while Frame::read(&mut silent).await.is_some() {} }).await;
    peer.send("HTTP/1.1 204 No Content\r\n\r\n").await;
    let answer = loop {
        let frame = within(Frame::read(&mut client)).await.expect("a frame");
        if frame.kind == frames::HEADERS {
            break frame;
        }
    };
    assert_eq!(answer.status(), 204);
}

#[tokio::test]
async fn draining_finishes_what_is_under_way_and_lets_nothing_begin() {
    let upstream = Upstream::bind().await;
    let front = clear(&upstream);
    let mut client = Http2::clear(front.address).await;
    let mut idle = Http2::clear(front.address).await;
    let (answer, _) = client.begin(get("/"), true).await;
    let mut peer = upstream.accept().await;
    peer.head().await;
    peer.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab")
        .await;
    let answer = within(answer).await.expect("an answer");
    front.shutdown.begin();
    within(idle.ended()).await.expect("without an error");
    peer.send("cd").await;
    let answer = Answer::read(answer).await.expect("a whole one");
    assert_eq!(answer.text(), "abcd");
    within(client.ended()).await.expect("without an error");
    front.ended().await;
}

#[tokio::test]
async fn draining_ends_in_time_whatever_is_under_way() {
    let upstream = Upstream::bind().await;
    let front = Front::start(
        Forwarding::new(upstream.settings()),
        settings(|settings| settings.drain = Duration::from_millis(200)),
    );
    let client = Http2::clear(front.address).await;
    let (answer, _) = client.begin(get("/"), true).await;
    let mut peer = upstream.accept().await;
    peer.head().await;
    front.shutdown.begin();
    within(answer).await.expect_err("it was broken off");
    assert_eq!(peer.rest().await, "");
    front.ended().await;
}

#[tokio::test]
async fn a_client_that_answers_no_ping_has_gone() {
    let upstream = Upstream::bind().await;
    let front = Front::start(
        Forwarding::new(upstream.settings()),
        settings(|settings| {
            settings.http2.ping_interval = Duration::from_millis(100);
            settings.http2.ping_timeout = Duration::from_millis(100);
        }),
    );
    // One that answers stays.
    let living = Http2::clear(front.address).await;
    let (answer, _) = living.begin(get("/living"), true).await;
    let mut of_living = upstream.accept().await;
    of_living.head().await;

    let mut client = frames::connect(&front).await;
    client.send(frames::get(1).bytes()).await;
    let mut peer = upstream.accept().await;
    peer.head().await;
    let mut pings = 0;
    while let Some(frame) = within(Frame::read(&mut client)).await {
        pings += usize::from(frame.kind == frames::PING && frame.flags == 0);
    }
    assert_eq!(pings, 1);
    assert_eq!(peer.rest().await, "");

    of_living
        .send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        .await;
    let answer = within(answer).await.expect("an answer");
    assert_eq!(
        Answer::read(answer).await.expect("a whole one").text(),
        "ok"
    );
}

/// "Rapid reset": a request costs us one to the upstream, and a client that takes it back at once next to nothing.
#[tokio::test]
async fn a_client_that_takes_back_its_requests_again_and_again_is_sent_away() {
    let upstream = Upstream::bind().await;
    let front = clear(&upstream);
    let calm = u32::from(Reason::ENHANCE_YOUR_CALM);
    let asked = |stream| frames::get(stream).bytes();
    let taken_back = |stream| Frame::new(frames::RST_STREAM, 0, stream, frames::CANCEL).bytes();

    // In one go.
    let mut client = frames::connect(&front).await;
    let flood: Vec<u8> = (0..200)
        .flat_map(|index| [asked(2 * index + 1), taken_back(2 * index + 1)].concat())
        .collect();
    client.send(flood).await;
    let away = loop {
        let frame = within(Frame::read(&mut client)).await.expect("it says why");
        if frame.kind == frames::GOAWAY {
            break frame;
        }
    };
    assert_eq!(away.code(), calm);

    // One by one: a ping behind each says that it was dealt with.
    let mut client = frames::connect(&front).await;
    let mut count = 0;
    let away = 'flood: loop {
        let stream = 2 * count + 1;
        count += 1;
        let ping = |place: u8| Frame::new(frames::PING, 0, 0, [place; 8]).bytes();
        for sent in [
            [asked(stream), ping(1)].concat(),
            [taken_back(stream), ping(2)].concat(),
        ] {
            client.send(sent).await;
            loop {
                let frame = within(Frame::read(&mut client)).await.expect("it says why");
                match frame.kind {
                    frames::GOAWAY => break 'flood frame,
                    frames::PING if frame.flags == 1 => break,
                    _ => (),
                }
            }
        }
    };
    assert_eq!(away.code(), calm);
    assert!((400..1000).contains(&count), "{count}");
    // Others are served.
    let other = Http2::clear(front.address).await;
    let serving = async {
        loop {
            let mut peer = upstream.accept().await;
            if let Some(head) = peer.try_until("\r\n\r\n").await
                && head.starts_with("GET /other ")
            {
                peer.send("HTTP/1.1 204 No Content\r\n\r\n").await;
                break;
            }
        }
    };
    let (answer, ()) = within(async { tokio::join!(other.ask(get("/other")), serving) }).await;
    assert_eq!(answer.status, StatusCode::NO_CONTENT);
}
