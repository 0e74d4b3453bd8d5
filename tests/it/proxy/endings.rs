//! Bodies that end early, late, or not at all: nobody takes a part for the whole, and nobody waits for ever.

use std::{future::poll_fn, io, time::Duration};

use bytes::Bytes;
use http::Method;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpSocket,
};

use super::{
    http2::{clear, request},
    stage::{Front, Peer, Upstream, within},
};
use crate::support::http2::{Answer, Http2};

/// More than all buffers between a client and an upstream hold.
const MUCH: usize = 16 << 20;

/// To a client of HTTP/1.0 the end of the connection is that of the answer.
#[tokio::test]
async fn a_client_of_http_1_0_is_told_by_a_reset_that_an_answer_is_not_whole() {
    for (answer, is_whole) in [
        ("Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n", false),
        (
            "Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n",
            true,
        ),
        ("\r\nab", true),
    ] {
        let upstream = Upstream::bind().await;
        let front = Front::before(&upstream);
        let mut client = front.client().await;
        client.send("GET / HTTP/1.0\r\n\r\n").await;
        let mut peer = upstream.accept().await;
        peer.head().await;
        peer.send(format!("HTTP/1.1 200 OK\r\n{answer}")).await;
        client.until("ab").await;
        drop(peer);
        let end = within(client.stream.read(&mut [0; 1])).await;
        match is_whole {
            true => assert_eq!(end.expect("an end"), 0, "{answer:?}"),
            false => assert_eq!(
                end.expect_err("no end").kind(),
                io::ErrorKind::ConnectionReset,
                "{answer:?}"
            ),
        }
    }
}

/// An upstream that dies says so once; that it was heard while something was sent must not make its answer whole.
#[tokio::test]
async fn an_upstream_that_is_reset_while_it_answers_has_not_answered_whole() {
    let upstream = Upstream::bind().await;
    let front = Front::before(&upstream);
    for _ in 0..20 {
        let mut client = front.client().await;
        client
            .send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1000000\r\n\r\n")
            .await;
        let mut peer = upstream.accept().await;
        peer.head().await;
        peer.send("HTTP/1.1 200 OK\r\n\r\nab").await;
        client.until("2\r\nab\r\n").await;
        // Both at once: which of the two is heard first is open.
        client.send(vec![b'x'; 1000]).await;
        peer.reset();
        client.send(vec![b'x'; 1000]).await;
        // It may be reset itself, as who still sends may.
        let mut rest = Vec::new();
        let _ = within(client.stream.read_to_end(&mut rest)).await;
        assert!(!rest.ends_with(b"0\r\n\r\n"), "it looks whole");
    }
}

/// Most HTTP libraries are such clients: they read the answer when the request is out.
#[tokio::test]
async fn who_reads_nothing_before_it_has_sent_all_is_answered_by_an_upstream_that_does_both() {
    let upstream = Upstream::bind().await;
    let front = Front::before(&upstream);
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_send_buffer_size(64 << 10).expect("set");
    socket.set_recv_buffer_size(64 << 10).expect("set");
    let stream = socket.connect(front.address).await.expect("connected");
    let mut client = Peer::new(stream);
    let sending = async {
        client
            .send(format!(
                "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: {MUCH}\r\n\r\n"
            ))
            .await;
        client.send(vec![b'x'; MUCH]).await;
        let head = client.head().await;
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
        client.exactly(MUCH).await
    };
    let (got, ()) = within(async { tokio::join!(sending, both_at_once(&upstream)) }).await;
    assert!(got.bytes().all(|byte| byte == b'y'));
}

#[tokio::test]
async fn who_reads_nothing_before_it_has_sent_all_is_answered_over_http2_too() {
    let upstream = Upstream::bind().await;
    let front = clear(&upstream);
    let client = Http2::clear(front.address).await;
    let mut asked = request(Method::POST, "/");
    asked
        .headers_mut()
        .insert(http::header::CONTENT_LENGTH, MUCH.into());
    let (answer, mut sending) = client.begin(asked, false).await;
    let sending = async {
        let mut left = MUCH;
        while left > 0 {
            sending.reserve_capacity(left);
            let room = poll_fn(|cx| sending.poll_capacity(cx)).await;
            let room = room.expect("a stream").expect("room").min(left);
            left -= room;
            let part = Bytes::from(vec![b'x'; room]);
            sending.send_data(part, left == 0).expect("sent");
        }
        let answer = answer.await.expect("an answer");
        Answer::read(answer).await.expect("a whole one")
    };
    let (answer, ()) = within(async { tokio::join!(sending, both_at_once(&upstream)) }).await;
    assert_eq!(answer.text().len(), MUCH);
}

/// Answers much while it reads much.
async fn both_at_once(upstream: &Upstream) {
    let mut peer = upstream.accept().await;
    peer.head().await;
    peer.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {MUCH}\r\n\r\n"))
        .await;
    let before = peer.read.len();
    let (mut reading, mut writing) = peer.stream.split();
    let read = async {
        let mut left = MUCH - before;
        let mut room = vec![0; 64 << 10];
        while left > 0 {
            match reading.read(&mut room).await.expect("read") {
                0 => panic!("{left} bytes are missing"),
                len => left -= len,
            }
        }
    };
    let written = async {
        let answer = vec![b'y'; MUCH];
        writing.write_all(&answer).await.expect("written");
    };
    tokio::join!(read, written);
}

/// `printf … | nc -N host port | less`
#[tokio::test]
async fn a_client_that_has_closed_its_half_may_take_its_time() {
    let upstream = Upstream::bind().await;
    let mut settings = sidestream::front::listener::ListenerSettings::default();
    settings.head.half_close_grace = Duration::from_millis(50);
    let forwarding = super::stage::Forwarding::new(upstream.settings());
    let front = Front::start(forwarding, settings);
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(64 << 10).expect("set");
    let stream = socket.connect(front.address).await.expect("connected");
    let mut client = Peer::new(stream);
    client.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n").await;
    client.finish().await;
    let mut peer = upstream.accept().await;
    peer.head().await;
    peer.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {MUCH}\r\n\r\n"))
        .await;
    let answering = tokio::spawn(async move {
        peer.send(vec![b'y'; MUCH]).await;
    });
    let head = client.head().await;
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    // The passing of time is what is tested here.
    tokio::time::sleep(Duration::from_millis(500)).await;
    client.exactly(MUCH).await;
    within(answering).await.expect("sent whole");
}
