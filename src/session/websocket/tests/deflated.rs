//! Sessions whose messages may be deflated.

use tokio::io::AsyncWriteExt;

use super::listening::{MESSAGE_BYTES_MAX, echoing_with, long};
use super::{CLOSE, FIN, PING, PONG, Scene, Setup, masked, text};
use crate::{
    session::{
        ClosedBy,
        websocket::{Deflate, Violation, inflate::inflate},
    },
    wire::{
        deflate::{Window, with_payload},
        frame::websocket_text_deflated,
    },
};

const TEXT: u8 = 1;
const BINARY: u8 = 2;
const RSV1: u8 = 0x40;

fn agreed() -> Option<Deflate> {
    Deflate::agree(["permessage-deflate"])
}

fn deflated(message: &[u8]) -> Vec<u8> {
    let payload = with_payload(message, Window::Full, |payload| payload.map(<[u8]>::to_vec));
    payload.expect("it becomes smaller")
}

fn echoing() -> Scene {
    echoing_with(agreed(), 1 << 20)
}

async fn expect_violation(mut scene: Scene, violation: Violation) {
    scene
        .expect_close(violation.code(), &violation.to_string())
        .await;
    scene.expect_end().await;
    assert_eq!(scene.closed().await.by, ClosedBy::Violation(violation));
}

/// Sends `bytes` to one that listens and to one that does not.
async fn check_violation(bytes: &[u8], violation: Violation) {
    let setup = Setup {
        deflate: agreed(),
        ..Setup::default()
    };
    for mut scene in [echoing(), setup.begin()] {
        scene.client.write_all(bytes).await.unwrap();
        expect_violation(scene, violation).await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_heard_deflated_is_answered_deflated() {
    let message = "\u{fc}ber ".repeat(5_000).into_bytes();
    for opcode in [TEXT, BINARY] {
        let mut scene = echoing();
        // In one frame, in many, and then as it is.
        let payload = deflated(&message);
        let mut sent = long(FIN | RSV1 | opcode, &payload);
        let mut parts = payload.chunks(7);
        sent.extend(masked(RSV1 | opcode, parts.next().unwrap()));
        sent.extend(masked(FIN | PING, b"between"));
        parts.for_each(|part| sent.extend(masked(0, part)));
        sent.extend(masked(FIN, b""));
        sent.extend(long(FIN | opcode, &message));
        scene.client.write_all(&sent).await.unwrap();
        for is_second in [false, true, false] {
            if is_second {
                scene.expect(PONG, b"between").await;
            }
            let (first, payload) = scene.any_frame().await;
            assert_eq!(first, FIN | RSV1 | opcode);
            assert!(payload.len() < message.len() / 10, "{}", payload.len());
            assert_eq!(inflate(payload, message.len()).unwrap(), message);
        }
        // What would not become smaller is sent as it is, and control frames always are.
        scene
            .send(
                FIN | RSV1 | opcode,
                &[0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0],
            )
            .await;
        scene.expect(opcode, b"Hello").await;
        scene.send(FIN | CLOSE, &1000_u16.to_be_bytes()).await;
        scene.expect_close(1000, "").await;
    }
}

#[tokio::test(start_paused = true)]
async fn where_nobody_listens_nothing_is_inflated() {
    let mut scene = Setup {
        deflate: agreed(),
        ..Setup::default()
    }
    .begin();
    // Not deflate at all: nobody looks.
    scene.send(FIN | RSV1 | TEXT, b"\xff\xff\xff").await;
    scene.send(RSV1 | BINARY, b"\xff").await;
    scene.send(FIN, b"\xff").await;
    let event = "{\"n\": 1} ".repeat(100);
    let frames = [
        websocket_text_deflated(&event, Window::Full),
        text(b"plain"),
        websocket_text_deflated(&event, Window::Small),
    ];
    for frame in frames {
        scene.outbox.try_send(frame).unwrap();
    }
    for deflated in [true, false, true] {
        let (first, payload) = scene.any_frame().await;
        match deflated {
            true => {
                assert_eq!(first, FIN | RSV1 | TEXT);
                assert_eq!(inflate(payload, event.len()).unwrap(), event.as_bytes());
            }
            false => assert_eq!((first, &*payload), (FIN | TEXT, &b"plain"[..])),
        }
    }
    scene.send(FIN | PING, b"still there").await;
    scene.expect(PONG, b"still there").await;
}

#[tokio::test(start_paused = true)]
async fn the_bit_is_for_the_first_frame_of_a_message() {
    for bytes in [
        [masked(RSV1 | TEXT, b"\xf2"), masked(FIN | RSV1, b"\x48")].concat(),
        masked(FIN | RSV1 | PING, b""),
        masked(FIN | RSV1 | PONG, b""),
        masked(FIN | RSV1 | CLOSE, b""),
        // Opcodes that there are none of.
        masked(FIN | RSV1 | 3, b""),
        masked(FIN | RSV1, b""),
    ] {
        check_violation(&bytes, Violation::ReservedBits(4)).await;
    }
    for (reserved, told) in [(0x20, 2), (0x10, 1), (0x60, 6), (0x70, 7)] {
        let bytes = masked(FIN | reserved | TEXT, b"");
        check_violation(&bytes, Violation::ReservedBits(told)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn bad_messages_are_told() {
    let bad_text = [b"\xff".as_slice(), &[b'a'; 500]].concat();
    let long_text = vec![b'a'; MESSAGE_BYTES_MAX + 1];
    // Stored, not compressed: more than a message may have in any case.
    let endless = [1, 0, 0, 0xff, 0xff].repeat(MESSAGE_BYTES_MAX / 4);
    for (opcode, payload, violation) in [
        (TEXT, b"Hello".to_vec(), Violation::NotDeflated),
        (BINARY, Vec::new(), Violation::NotDeflated),
        (TEXT, deflated(&bad_text), Violation::NotText),
        (BINARY, deflated(&long_text), Violation::MessageTooLong),
        (BINARY, endless, Violation::MessageTooLong),
    ] {
        let mut scene = echoing();
        let sent = long(FIN | RSV1 | opcode, &payload);
        scene.client.write_all(&sent).await.unwrap();
        expect_violation(scene, violation).await;
    }
    let most = vec![b'a'; MESSAGE_BYTES_MAX];
    let mut scene = echoing();
    let sent = long(FIN | RSV1 | BINARY, &deflated(&most));
    scene.client.write_all(&sent).await.unwrap();
    let (_, payload) = scene.any_frame().await;
    assert_eq!(inflate(payload, most.len()).unwrap(), most);
}
