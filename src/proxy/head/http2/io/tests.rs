use std::time::Duration;

use bytes::Bytes;
use socket2::SockRef;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpSocket},
    time::Instant,
};

use super::Http2Io;
use crate::proxy::linger::{LINGER_BYTES_MAX, LINGER_TIME_MAX};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("it fits").to_be_bytes();
    [&length[1..], &[kind, flags, 0, 0, 0, 1], payload].concat()
}

/// A block with this target.
fn block(target: &[u8]) -> Vec<u8> {
    let length = u8::try_from(target.len()).expect("it fits");
    [&[0x82, 4, length], target, &[0x87]].concat()
}

/// What h2 reads of it, in whatever two parts it comes, the first from the socket too or read before.
#[track_caller]
fn check(sent: &[u8], expected: &[u8]) {
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    let runtime = runtime.expect("a runtime");
    for cut in 0..=sent.len() {
        let (first, second) = sent.split_at(cut);
        let (mut read, mut behind) = (Vec::new(), Vec::new());
        let reading = async {
            let whole = first.chain(second);
            let mut io = Http2Io::new(whole, Bytes::new());
            io.read_to_end(&mut read).await?;
            let mut io = Http2Io::new(second, Bytes::copy_from_slice(first));
            io.read_to_end(&mut behind).await
        };
        runtime.block_on(reading).expect("it is memory");
        assert!(read == expected, "cut at {cut}: {read:x?}");
        assert!(behind == expected, "{cut} read before: {behind:x?}");
    }
}

#[test]
fn targets_are_treated_and_all_else_passes() {
    let raw = block(b"/?\"");
    let treated = block(b"/?%22");
    let others = [
        frame(4, 0, &[]),
        frame(0, 0, &[b'"'; 300]),
        frame(9, 4, &raw),
        frame(0, 1, b"x"),
    ]
    .concat();
    let sent = [
        PREFACE,
        &frame(4, 0, &[0; 6]),
        &frame(1, 5, &raw),
        &others,
        &frame(1, 4, &raw),
        &others,
    ]
    .concat();
    let expected = [
        PREFACE,
        &frame(4, 0, &[0; 6]),
        &frame(1, 5, &treated),
        &others,
        &frame(1, 4, &treated),
        &others,
    ]
    .concat();
    check(&sent, &expected);
}

#[test]
fn padding_goes_and_priority_stays() {
    let raw = block(b"/?\"");
    let treated = block(b"/?%22");
    let padded = [&[3][..], &raw, &[0; 3]].concat();
    let urgent = [&[0, 0, 0, 0, 9][..], &raw].concat();
    let both = [&[3][..], &urgent, &[0; 3]].concat();
    let still_urgent = [&[0, 0, 0, 0, 9][..], &treated].concat();
    let sent = [
        PREFACE,
        &frame(1, 0xc, &padded),
        &frame(1, 0x24, &urgent),
        &frame(1, 0x2c, &both),
    ]
    .concat();
    let expected = [
        PREFACE,
        &frame(1, 4, &treated),
        &frame(1, 0x24, &still_urgent),
        &frame(1, 0x24, &still_urgent),
    ];
    check(&sent, &expected.concat());
}

#[test]
fn what_is_not_whole_or_too_long_is_left_to_h2() {
    let raw = block(b"/?\"");
    for sent in [
        // A head of several frames.
        frame(1, 1, &raw),
        // More padding than there is.
        frame(1, 0xc, &[&[200][..], &raw].concat()),
        // No room for the priority.
        frame(1, 0x24, &[0; 3]),
        // It ends.
        frame(1, 4, &raw)[..12].to_vec(),
        frame(1, 4, &raw)[..4].to_vec(),
    ] {
        let sent = [PREFACE, &sent].concat();
        check(&sent, &sent);
    }
    check(&PREFACE[..10], &PREFACE[..10]);
    // Longer than a frame may be.
    let long = [&block(b"/?\"")[..], &[0x87; 17 << 10]].concat();
    let sent = [PREFACE, &frame(1, 4, &long), &frame(1, 4, &raw)].concat();
    let expected = [PREFACE, &frame(1, 4, &long), &frame(1, 4, &block(b"/?%22"))].concat();
    let mut read = Vec::new();
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    let runtime = runtime.expect("a runtime");
    let reading = async {
        Http2Io::new(&sent[..], Bytes::new())
            .read_to_end(&mut read)
            .await
    };
    runtime.block_on(reading).expect("it is memory");
    assert!(read == expected);
}

#[tokio::test]
async fn what_is_written_passes() {
    let (ours, mut theirs) = tokio::io::duplex(64);
    let mut io = Http2Io::new(ours, Bytes::new());
    io.write_all(b"/?\"").await.expect("there is room");
    io.shutdown().await.expect("it lives");
    let mut read = Vec::new();
    theirs.read_to_end(&mut read).await.expect("it is memory");
    assert_eq!(read, b"/?\"");
}

/// What the client sends behind our end, and whether it ends its own side; returns how long it is waited for.
async fn lingered(sent: usize, ends: bool) -> Duration {
    let (mut client, server) = tokio::io::duplex(2 * LINGER_BYTES_MAX);
    client.write_all(&vec![0; sent]).await.expect("it fits");
    if ends {
        client.shutdown().await.expect("it ends");
    }
    let begun = Instant::now();
    let mut io = Http2Io::new(server, Bytes::new());
    io.shutdown().await.expect("it ends");
    let mut room = [0];
    assert_eq!(client.read(&mut room).await.expect("an end"), 0);
    begun.elapsed()
}

#[tokio::test(start_paused = true)]
async fn a_client_is_heard_out_but_not_for_ever() {
    assert_eq!(lingered(0, true).await, Duration::ZERO);
    assert_eq!(lingered(100_000, true).await, Duration::ZERO);
    assert_eq!(lingered(100_000, false).await, LINGER_TIME_MAX);
    assert_eq!(lingered(LINGER_BYTES_MAX + 1, false).await, Duration::ZERO);
}

/// On a socket, where bytes that nobody has read would reset the connection and take what is still to be sent with them.
#[tokio::test]
async fn what_was_answered_last_reaches_a_client_that_still_sends() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let client = TcpSocket::new_v4().expect("a socket");
    client.set_recv_buffer_size(4096).expect("it is small");
    let mut client = client.connect(address).await.expect("it listens");
    let (server, _) = listener.accept().await.expect("a client");
    // The kernel takes the answer at once, and most of it stays there until the client reads.
    let answer = vec![b'a'; 150_000];
    let room = SockRef::from(&server).set_send_buffer_size(answer.len() * 2);
    room.expect("it is large");
    client.write_all(&[0; 20_000]).await.expect("it is taken");
    let sent = answer.clone();
    let closing = tokio::spawn(async move {
        let mut io = Http2Io::new(server, Bytes::new());
        io.write_all(&sent).await?;
        io.shutdown().await
    });
    // It does what it can without us.
    tokio::task::yield_now().await;
    let mut read = Vec::new();
    client.read_to_end(&mut read).await.expect("no reset");
    assert_eq!(read.len(), answer.len());
    drop(client);
    closing.await.expect("no panic").expect("it ends");
}
