//! The listener: binding, sessions that take a connection over, draining.

use std::time::Duration;

use sidestream::front::listener::{Listener, ListenerSettings, TakenSocket};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::{mpsc, oneshot},
};

use super::stage::{Forwarding, Front, Taking, Upstream, within};

/// More sockets than any test has taken over.
const TAKEN_MAX: usize = 16;

type Taken = (TakenSocket, oneshot::Sender<()>);

async fn taking(
    head: &'static str,
    settings: ListenerSettings,
) -> (Upstream, Front, mpsc::Receiver<Taken>) {
    let upstream = Upstream::bind().await;
    let (taken, sessions) = mpsc::channel(TAKEN_MAX);
    let others = Forwarding::new(upstream.settings());
    let front = Front::start(
        Taking {
            head,
            taken,
            others,
        },
        settings,
    );
    (upstream, front, sessions)
}

const SWITCH: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: WebSocket\r\n\r\n";
const STREAM: &str = "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n";

#[tokio::test]
async fn a_busy_port_is_an_error_that_names_it() {
    let first = Listener::bind("public", "127.0.0.1:0".parse().expect("address")).expect("bind");
    let error = Listener::bind("public", first.local_addr()).expect_err("the port is taken");
    assert_eq!(
        error.to_string(),
        format!("cannot listen on {}", first.local_addr())
    );
    let cause = std::error::Error::source(&error).expect("the system's reason");
    assert!(cause.to_string().contains("in use"), "{cause}");
}

#[tokio::test]
async fn a_session_gets_the_socket_and_every_byte_behind_the_head() {
    let (_upstream, front, mut sessions) = taking(SWITCH, ListenerSettings::default()).await;
    let mut client = front.client().await;
    client
        .send("GET /take HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n\u{1}\0\nearly")
        .await;
    assert_eq!(client.head().await, SWITCH);
    let (mut socket, done) = within(sessions.recv()).await.expect("a session");
    let mut read = socket.early.to_vec();
    client.send("late").await;
    while !read.ends_with(b"late") {
        assert_ne!(
            within(socket.stream.read_buf(&mut read))
                .await
                .expect("read"),
            0
        );
    }
    assert_eq!(read, b"\x01\0\nearlylate");
    assert!(socket.stream.is_write_vectored());
    socket.stream.write_all(b"frame").await.expect("write");
    drop((socket, done));
    assert_eq!(client.rest().await, "frame");
}

#[tokio::test]
async fn a_session_may_follow_requests_on_its_connection() {
    let (upstream, front, mut sessions) = taking(STREAM, ListenerSettings::default()).await;
    let mut client = front.client().await;
    client
        .send("GET /other HTTP/1.1\r\nHost: h\r\n\r\nGET /take HTTP/1.1\r\nHost: h\r\n\r\n")
        .await;
    let mut peer = upstream.accept().await;
    peer.head().await;
    peer.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        .await;
    client.until("\r\n\r\nok").await;
    assert_eq!(client.head().await, STREAM);
    let (mut socket, _done) = within(sessions.recv()).await.expect("a session");
    socket
        .stream
        .write_all(b"data: 1\n\n")
        .await
        .expect("write");
    assert_eq!(client.until("\n\n").await, "data: 1\n\n");
}

#[tokio::test]
async fn draining_closes_idle_connections_and_finishes_running_requests() {
    let upstream = Upstream::bind().await;
    let front = Front::before(&upstream);
    let mut idle = front.client().await;
    let mut busy = front.client().await;
    busy.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n").await;
    let mut peer = upstream.accept().await;
    peer.head().await;
    let address = front.address;
    front.shutdown.begin();
    assert_eq!(idle.rest().await, "");
    peer.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        .await;
    let answer = busy.rest().await;
    assert!(
        answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("ok"),
        "{answer}"
    );
    front.ended().await;
    tokio::net::TcpStream::connect(address)
        .await
        .expect_err("nobody listens any more");
}

#[tokio::test]
async fn with_a_successor_a_kept_connection_has_one_more_answer() {
    let settings = ListenerSettings {
        drain: Duration::from_secs(3),
        ..ListenerSettings::default()
    };
    let upstream = Upstream::bind().await;
    let front = Front::start(Forwarding::new(upstream.settings()), settings);
    let mut kept = front.client().await;
    let mut silent = front.client().await;
    let get = "GET / HTTP/1.1\r\nHost: h\r\n\r\n";
    let answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    kept.send(get).await;
    let mut peer = upstream.accept().await;
    peer.head().await;
    peer.send(answer).await;
    assert!(!kept.until("\r\n\r\nok").await.contains("close"));

    let address = front.address;
    front.shutdown.hand_over();
    while tokio::net::TcpStream::connect(address).await.is_ok() {}
    kept.send(get).await;
    peer.head().await;
    peer.send(answer).await;
    let last = kept.rest().await;
    let says_so = last.contains("\r\nConnection: close\r\n");
    assert!(says_so && last.ends_with("\r\n\r\nok"), "{last}");
    // Nor is it waited for for ever.
    assert_eq!(silent.rest().await, "");
    front.ended().await;
}

#[tokio::test]
async fn what_does_not_end_within_the_drain_time_is_dropped() {
    let settings = ListenerSettings {
        drain: Duration::from_millis(20),
        ..ListenerSettings::default()
    };
    let (upstream, front, mut sessions) = taking(STREAM, settings).await;
    let mut session = front.client().await;
    session.send("GET /take HTTP/1.1\r\nHost: h\r\n\r\n").await;
    let (socket, _done) = within(sessions.recv()).await.expect("a session");
    let mut busy = front.client().await;
    busy.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n").await;
    let mut peer = upstream.accept().await;
    peer.head().await;
    front.shutdown.begin();
    assert_eq!(busy.rest().await, "");
    assert_eq!(peer.rest().await, "");
    front.ended().await;
    drop(socket);
    assert_eq!(session.rest().await, STREAM);
}

#[tokio::test]
async fn connections_beyond_the_limit_wait_for_a_place() {
    let upstream = Upstream::bind().await;
    let settings = ListenerSettings {
        connections_max: 1,
        ..ListenerSettings::default()
    };
    let front = Front::start(Forwarding::new(upstream.settings()), settings);
    let get = "GET / HTTP/1.1\r\nHost: h\r\n\r\n";
    let answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    let mut first = front.client().await;
    first.send(get).await;
    let mut peer = upstream.accept().await;
    peer.head().await;
    let mut second = front.client().await;
    second.send(get).await;
    peer.send(answer).await;
    first.until("\r\n\r\nok").await;
    assert!(second.stream.try_read(&mut [0; 1]).is_err());
    drop(first);
    // The kept upstream connection carries the second client's request only now.
    peer.head().await;
    peer.send(answer).await;
    second.until("\r\n\r\nok").await;
}

#[tokio::test]
async fn an_unfinished_session_is_told_by_its_socket_that_the_client_has_gone() {
    let (_upstream, front, mut sessions) = taking(STREAM, ListenerSettings::default()).await;
    let mut client = front.client().await;
    client.send("GET /take HTTP/1.1\r\nHost: h\r\n\r\n").await;
    client.head().await;
    let (mut socket, _done) = within(sessions.recv()).await.expect("a session");
    drop(client);
    assert_eq!(
        within(socket.stream.read(&mut [0; 10]))
            .await
            .expect("read"),
        0
    );
}
