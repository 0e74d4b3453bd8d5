//! Sessions over WebSocket, before a scripted client and a paused clock.

mod deflated;
mod direct;
mod endings;
mod heartbeat;
mod listening;

use std::time::Duration;

use bytes::Bytes;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex},
    task::JoinHandle,
    time::Instant,
};

use super::{Deflate, Violation, serve};
use crate::{
    delivery::{Outbox, channel},
    session::{Closed, ClosedBy, SessionSettings},
};

const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;
const FIN: u8 = 0x80;
const MASK: [u8; 4] = [0x12, 0x34, 0x56, 0x78];

fn settings() -> SessionSettings {
    SessionSettings {
        ping_interval: Duration::from_secs(25),
        pong_timeout: Duration::from_secs(10),
        close_timeout: Duration::from_secs(3),
        write_timeout: Duration::from_secs(60),
    }
}

/// A session, and a client that does exactly what the test says.
struct Scene {
    outbox: Outbox,
    client: DuplexStream,
    session: JoinHandle<Closed>,
}

/// How a session is set up.
struct Setup {
    pipe_bytes: usize,
    outbox_bytes: usize,
    early: Bytes,
    deflate: Option<Deflate>,
    expires_in: Option<Duration>,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            pipe_bytes: 1 << 16,
            outbox_bytes: 1 << 20,
            early: Bytes::new(),
            deflate: None,
            expires_in: None,
        }
    }
}

impl Setup {
    fn begin(self) -> Scene {
        let (outbox, outlet) = channel(self.outbox_bytes);
        let (server, client) = duplex(self.pipe_bytes);
        let expires = self.expires_in.map(|after| Instant::now() + after);
        let session = tokio::spawn(async move {
            serve(
                server,
                self.early,
                self.deflate,
                outlet,
                &settings(),
                expires,
            )
            .await
        });
        Scene {
            outbox,
            client,
            session,
        }
    }
}

impl Scene {
    async fn send(&mut self, first: u8, payload: &[u8]) {
        self.client
            .write_all(&masked(first, payload))
            .await
            .unwrap();
    }

    /// The next frame: opcode and payload.
    async fn frame(&mut self) -> (u8, Vec<u8>) {
        let (first, payload) = self.any_frame().await;
        assert_eq!(first & 0xf0, FIN, "whole frames without reserved bits");
        (first & 0x0f, payload)
    }

    /// The next frame, whatever its first byte is.
    async fn any_frame(&mut self) -> (u8, Vec<u8>) {
        let first = self.client.read_u8().await.unwrap();
        let length = match self.client.read_u8().await.unwrap() {
            127 => self.client.read_u64().await.unwrap(),
            126 => u64::from(self.client.read_u16().await.unwrap()),
            short => u64::from(short),
        };
        let mut payload = vec![0; usize::try_from(length).unwrap()];
        self.client.read_exact(&mut payload).await.unwrap();
        (first, payload)
    }

    async fn expect(&mut self, opcode: u8, payload: &[u8]) {
        assert_eq!(self.frame().await, (opcode, payload.to_vec()));
    }

    async fn expect_close(&mut self, code: u16, reason: &str) {
        self.expect(
            CLOSE,
            &[&code.to_be_bytes()[..], reason.as_bytes()].concat(),
        )
        .await;
    }

    async fn expect_end(&mut self) {
        let mut rest = Vec::new();
        self.client.read_to_end(&mut rest).await.unwrap();
        assert_eq!(rest, b"", "bytes behind the last frame");
    }

    async fn closed(self) -> Closed {
        drop(self.client);
        self.session.await.unwrap()
    }
}

fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first, 0x80 | u8::try_from(payload.len()).unwrap()];
    bytes.extend(MASK);
    bytes.extend(
        payload
            .iter()
            .zip(MASK.iter().cycle())
            .map(|(byte, mask)| byte ^ mask),
    );
    bytes
}

/// A text frame as `wire::frame::websocket_text` makes it.
fn text(payload: &[u8]) -> Bytes {
    let mut bytes = vec![0x81];
    match payload.len() {
        length @ ..126 => bytes.push(length as u8),
        length @ ..0x1_0000 => {
            bytes.push(126);
            bytes.extend((length as u16).to_be_bytes());
        }
        length => {
            bytes.push(127);
            bytes.extend((length as u64).to_be_bytes());
        }
    }
    bytes.extend(payload);
    Bytes::from(bytes)
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_frames_come_in_order() {
    let mut scene = Setup::default().begin();
    let outbox = scene.outbox.clone();
    for number in 0..10_000_u32 {
        outbox
            .try_send(text(number.to_string().as_bytes()))
            .unwrap();
    }
    for number in 0..10_000_u32 {
        scene.expect(1, number.to_string().as_bytes()).await;
    }
    scene.send(FIN | CLOSE, &1000_u16.to_be_bytes()).await;
    scene.expect_close(1000, "").await;
    let closed = scene.closed().await;
    assert_eq!(
        (closed.by, closed.frames),
        (ClosedBy::Client(Some(1000)), 10_000)
    );
    let payloads: u64 = (0..10_000_u32)
        .map(|number| number.to_string().len() as u64 + 2)
        .sum();
    assert_eq!(closed.bytes, payloads + 4);
}

#[tokio::test(start_paused = true)]
async fn a_large_frame_reaches_a_client_that_reads() {
    let mut scene = Setup::default().begin();
    let payload = vec![b'x'; 15_000_000];
    scene.outbox.try_send(text(&payload)).unwrap();
    // As soon as it has begun to arrive it is out of the outbox, which has room again.
    assert_eq!(scene.client.read_u8().await.unwrap(), 0x81);
    scene.outbox.try_send(text(b"next")).unwrap();
    assert_eq!(scene.client.read_u8().await.unwrap(), 127);
    assert_eq!(scene.client.read_u64().await.unwrap(), 15_000_000);
    let mut received = vec![0; 15_000_000];
    scene.client.read_exact(&mut received).await.unwrap();
    assert!(received == payload);
    scene.expect(1, b"next").await;
}

#[tokio::test(start_paused = true)]
async fn a_ping_is_answered_with_its_payload() {
    let mut scene = Setup::default().begin();
    for payload in [&b""[..], b"hi", &[7; 125]] {
        scene.send(FIN | PING, payload).await;
        scene.expect(PONG, payload).await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_came_with_the_request_is_heard() {
    let early = Bytes::from([masked(FIN | 1, b"ignored"), masked(FIN | PING, b"early")].concat());
    let mut scene = Setup {
        early,
        ..Setup::default()
    }
    .begin();
    scene.expect(PONG, b"early").await;
}

#[tokio::test(start_paused = true)]
async fn data_from_the_client_is_ignored_whatever_its_size() {
    let mut scene = Setup::default().begin();
    scene.send(FIN | 1, b"hello").await;
    scene.send(FIN | 2, &[0, 255]).await;
    scene.send(1, b"a").await;
    scene.send(FIN | PING, b"inside a message").await;
    scene.send(FIN, b"b").await;
    scene.expect(PONG, b"inside a message").await;
    let mut head = vec![0x81, 0xff];
    head.extend(2_097_152_u64.to_be_bytes());
    head.extend(MASK);
    scene.client.write_all(&head).await.unwrap();
    scene
        .client
        .write_all(&vec![b'0'; 2_097_152])
        .await
        .unwrap();
    scene.outbox.try_send(text(b"still here")).unwrap();
    scene.expect(1, b"still here").await;
}

#[tokio::test(start_paused = true)]
async fn a_pong_goes_between_frames_never_into_one() {
    let mut scene = Setup {
        pipe_bytes: 64,
        ..Setup::default()
    }
    .begin();
    scene.outbox.try_send(text(&[b'a'; 1000])).unwrap();
    scene.outbox.try_send(text(&[b'b'; 1000])).unwrap();
    // The first byte is there: the frame is begun, and the pipe is full.
    let mut first = [0; 4];
    scene.client.read_exact(&mut first).await.unwrap();
    scene.send(FIN | PING, b"!").await;
    let mut rest = vec![0; 1000];
    scene.client.read_exact(&mut rest).await.unwrap();
    assert_eq!(rest, [b'a'; 1000]);
    scene.expect(PONG, b"!").await;
    scene.expect(1, &[b'b'; 1000]).await;
}

#[tokio::test(start_paused = true)]
async fn a_client_that_pings_and_never_reads_is_not_answered_without_bound() {
    let scene = Setup {
        pipe_bytes: 64,
        ..Setup::default()
    }
    .begin();
    let Scene {
        mut client,
        session,
        outbox,
    } = scene;
    let started = Instant::now();
    let flood = masked(FIN | PING, &[7; 100]).repeat(50);
    let flooding = async { while client.write_all(&flood).await.is_ok() {} };
    let (closed, ()) = tokio::join!(session, flooding);
    assert_eq!(closed.unwrap().by, ClosedBy::Stuck);
    assert_eq!(started.elapsed(), settings().write_timeout);
    assert!(outbox.is_abandoned());
}

#[tokio::test(start_paused = true)]
async fn the_clients_close_is_echoed_with_its_code_and_tcp_ends() {
    for (payload, code, echo) in [
        (&b"\x03\xe8bye"[..], Some(1000), &b"\x03\xe8"[..]),
        (b"\x03\xe8", Some(1000), b"\x03\xe8"),
        (b"\x0f\xa0", Some(4000), b"\x0f\xa0"),
        (b"", None, b""),
    ] {
        let mut scene = Setup::default().begin();
        scene.send(FIN | CLOSE, payload).await;
        scene.send(FIN | 1, b"late").await;
        scene.expect(CLOSE, echo).await;
        scene.expect_end().await;
        assert_eq!(scene.closed().await.by, ClosedBy::Client(code));
    }
}

#[tokio::test(start_paused = true)]
async fn each_breach_of_the_protocol_is_closed_with_its_reason() {
    let breaches: [(&[u8], Violation, u16, &str); 4] = [
        (
            b"\x81\x05hello",
            Violation::NotMasked,
            1002,
            "UT002034: Web socket frame was not masked",
        ),
        (
            b"GET / HTTP/1.1\r\n\r\n",
            Violation::ReservedBits(4),
            1002,
            "UT002015: Extensions not allowed but received rsv of 4",
        ),
        (
            b"\x09\x81\x12\x34\x56\x78x",
            Violation::FragmentedControl,
            1002,
            "UT002005: Fragmented control frame",
        ),
        (
            b"\x88\x83\x12\x34\x56\x78\x11\xdc\xa9",
            Violation::NotText,
            1007,
            "UT002003: Text frame contains non UTF-8 data",
        ),
    ];
    for (bytes, violation, code, reason) in breaches {
        let mut scene = Setup::default().begin();
        scene.client.write_all(bytes).await.unwrap();
        scene.expect_close(code, reason).await;
        scene.expect_end().await;
        assert_eq!(scene.closed().await.by, ClosedBy::Violation(violation));
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_ends_its_side_gets_an_empty_close() {
    let mut scene = Setup::default().begin();
    scene.client.shutdown().await.unwrap();
    scene.expect(CLOSE, b"").await;
    scene.expect_end().await;
    let outbox = scene.outbox.clone();
    assert_eq!(scene.closed().await.by, ClosedBy::ClientLeft);
    assert!(outbox.is_abandoned());
}

#[tokio::test(start_paused = true)]
async fn a_client_that_vanishes_is_noticed() {
    let scene = Setup::default().begin();
    drop(scene.client);
    let closed = scene.session.await.unwrap();
    assert_eq!(closed.by, ClosedBy::ClientLeft);
}

#[tokio::test]
async fn an_idle_session_is_small() {
    let (_outbox, outlet) = channel(1);
    let (server, _client) = duplex(1);
    let settings = settings();
    let session = serve(server, Bytes::new(), None, outlet, &settings, None);
    let bytes = size_of_val(&session);
    assert!(bytes <= 1536, "the future has {bytes} bytes");
}
