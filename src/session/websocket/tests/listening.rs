//! Sessions with a listener that echoes: what is heard, what is refused, and in which order it is answered.

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

use super::{CLOSE, FIN, MASK, PING, PONG, Scene, masked, settings};
use crate::{
    delivery::channel,
    session::{
        ClosedBy,
        websocket::{Deflate, Listener, Message, Violation, converse},
    },
};

const TEXT: u8 = 1;
const BINARY: u8 = 2;

pub(super) const MESSAGE_BYTES_MAX: usize = 1 << 17;

/// Longer messages are not sent byte by byte: that takes minutes.
const PIECES_MAX: usize = 4096;

struct Echo;

impl Listener for Echo {
    fn bytes_max(&self) -> usize {
        MESSAGE_BYTES_MAX
    }

    fn hear(&mut self, message: Message) -> Option<Message> {
        Some(message)
    }
}

fn echoing(pipe_bytes: usize) -> Scene {
    echoing_with(None, pipe_bytes)
}

/// As [`echoing`], with what was agreed on.
pub(super) fn echoing_with(deflate: Option<Deflate>, pipe_bytes: usize) -> Scene {
    let (outbox, outlet) = channel(1 << 20);
    let (server, client) = duplex(pipe_bytes);
    let session = tokio::spawn(async move {
        let settings = settings();
        converse(server, Bytes::new(), deflate, outlet, &settings, None, Echo).await
    });
    Scene {
        outbox,
        client,
        session,
    }
}

/// A masked frame of any length.
pub(super) fn long(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first, 0xff];
    bytes.extend((payload.len() as u64).to_be_bytes());
    bytes.extend(MASK);
    let clear = payload.iter().zip(MASK.iter().cycle());
    bytes.extend(clear.map(|(byte, mask)| byte ^ mask));
    bytes
}

/// Sends `bytes` in pieces of every size, and checks what comes back: frames, and then the breach that ends it.
#[track_caller]
fn check(bytes: &[u8], wanted: &[(u8, &[u8])], breach: Option<Violation>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap();
    let steps = [usize::MAX, 1, 2, 3, 5, 13, 4096];
    for step in steps
        .into_iter()
        .filter(|step| bytes.len() / step < PIECES_MAX)
    {
        let told = format!("in steps of {step}");
        runtime.block_on(async {
            let mut scene = echoing(1 << 20);
            for piece in bytes.chunks(step.min(bytes.len().max(1))) {
                // What comes behind a breach may not be read any more.
                if scene.client.write_all(piece).await.is_err() {
                    break;
                }
                tokio::task::yield_now().await;
            }
            for (opcode, payload) in wanted {
                assert_eq!(scene.frame().await, (*opcode, payload.to_vec()), "{told}");
            }
            match breach {
                Some(breach) => {
                    scene.expect_close(breach.code(), &breach.to_string()).await;
                    scene.expect_end().await;
                    let by = scene.closed().await.by;
                    assert_eq!(by, ClosedBy::Violation(breach), "{told}");
                }
                None => {
                    scene.send(FIN | CLOSE, b"\x03\xe8").await;
                    scene.expect(CLOSE, b"\x03\xe8").await;
                    scene.expect_end().await;
                    let by = scene.closed().await.by;
                    assert_eq!(by, ClosedBy::Client(Some(1000)), "{told}");
                }
            }
        });
    }
}

#[test]
fn messages_come_back_as_they_were() {
    check(&masked(FIN | TEXT, b""), &[(TEXT, b"")], None);
    check(&masked(FIN | BINARY, b""), &[(BINARY, b"")], None);
    check(
        &masked(FIN | TEXT, "gr\u{fc}\u{df}e \u{1f600}".as_bytes()),
        &[(TEXT, "gr\u{fc}\u{df}e \u{1f600}".as_bytes())],
        None,
    );
    check(
        &masked(FIN | BINARY, &[0xff, 0, 0xfe]),
        &[(BINARY, &[0xff, 0, 0xfe])],
        None,
    );
    for length in [125, 126, 127, 128, 65_535, 65_536] {
        let payload: Vec<_> = (0..length).map(|byte| byte as u8).collect();
        check(&long(FIN | BINARY, &payload), &[(BINARY, &payload)], None);
    }
}

#[test]
fn fragments_are_one_message_and_control_frames_go_between() {
    let bytes = [
        masked(TEXT, b"one "),
        masked(FIN | PING, b"1"),
        masked(0, b""),
        masked(FIN | PING, b"2"),
        masked(FIN | PONG, b"nobody asked"),
        masked(FIN, b"two"),
        masked(FIN | BINARY, b"three"),
        masked(FIN | PING, b"3"),
    ];
    let wanted: [(u8, &[u8]); 5] = [
        (PONG, b"1"),
        (PONG, b"2"),
        (TEXT, b"one two"),
        (BINARY, b"three"),
        (PONG, b"3"),
    ];
    check(&bytes.concat(), &wanted, None);
}

#[test]
fn a_character_may_be_cut_between_fragments() {
    let [a, b, c, d] = *"\u{1f600}".as_bytes() else {
        unreachable!("it has four bytes")
    };
    let bytes = [
        masked(TEXT, &[a]),
        masked(0, &[b, c]),
        masked(0, b""),
        masked(FIN, &[d]),
    ];
    check(&bytes.concat(), &[(TEXT, "\u{1f600}".as_bytes())], None);
}

#[test]
fn text_that_is_none_is_closed_with_1007() {
    for bad in [
        &b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xed\xa0\x80edited"[..],
        b"\xff",
        b"\x80",
        b"\xc0\xaf",
        b"\xe0\x80\x80",
        b"\xf4\x90\x80\x80",
        b"\xed\xbf\xbf",
        // Unfinished at the end.
        b"ok \xf0\x9f\x98",
    ] {
        check(&masked(FIN | TEXT, bad), &[], Some(Violation::NotText));
        let whole = masked(FIN | BINARY, bad);
        check(&whole, &[(BINARY, bad)], None);
    }
    let before = [masked(FIN | TEXT, b"good"), masked(FIN | TEXT, b"b\xff")];
    check(
        &before.concat(),
        &[(TEXT, b"good")],
        Some(Violation::NotText),
    );
}

#[tokio::test(start_paused = true)]
async fn bad_text_is_told_before_its_message_ends() {
    let mut scene = echoing(1 << 10);
    scene.send(TEXT, b"so far so good").await;
    // Two bytes of a surrogate: no third one makes it a character.
    let mut head = masked(0, &[b'x', 0xed, 0xa0, b'y', b'y', b'y']);
    head.truncate(head.len() - 3);
    scene.client.write_all(&head).await.unwrap();
    scene
        .expect_close(1007, &Violation::NotText.to_string())
        .await;
}

#[test]
fn what_was_heard_before_a_breach_is_answered() {
    let bytes = [masked(FIN | TEXT, b"hello"), masked(0xc1, b"reserved")];
    let answered: [(u8, &[u8]); 1] = [(TEXT, b"hello")];
    check(&bytes.concat(), &answered, Some(Violation::ReservedBits(4)));
    let bytes = [masked(FIN | TEXT, b"hello"), masked(FIN, b"of nothing")];
    check(
        &bytes.concat(),
        &answered,
        Some(Violation::StrayContinuation),
    );
    let bytes = [masked(TEXT, b"lost"), masked(FIN | TEXT, b"nested")];
    check(&bytes.concat(), &[], Some(Violation::NestedMessage));
}

#[test]
fn a_message_that_is_too_long_is_closed_with_1009() {
    let most = vec![b'x'; MESSAGE_BYTES_MAX];
    check(&long(FIN | TEXT, &most), &[(TEXT, &most)], None);
    let bytes = [long(BINARY, &most), masked(FIN, b"y")];
    check(&bytes.concat(), &[], Some(Violation::MessageTooLong));
}

#[tokio::test(start_paused = true)]
async fn who_does_not_read_its_answers_is_not_heard() {
    let scene = echoing(64);
    let Scene {
        mut client,
        session,
        outbox,
    } = scene;
    let mut sent = 0;
    let message = masked(FIN | BINARY, &[7; 100]);
    let flooding = async {
        while client.write_all(&message).await.is_ok() {
            sent += 1;
        }
    };
    let (closed, ()) = tokio::join!(session, flooding);
    assert_eq!(closed.unwrap().by, ClosedBy::Stuck);
    // What fits into the pipe, one read and the answers to it; not what a minute's flood comes to.
    assert!(sent < 100, "{sent} messages were taken");
    assert!(outbox.is_abandoned());
}

#[tokio::test(start_paused = true)]
async fn deliveries_and_answers_do_not_cut_each_other() {
    let mut scene = echoing(64);
    scene.outbox.try_send(super::text(&[b'e'; 500])).unwrap();
    // The delivery has begun when the message is heard: its answer goes behind.
    assert_eq!(scene.client.read_u8().await.unwrap(), 0x81);
    scene.send(FIN | TEXT, b"m").await;
    let mut rest = vec![0; 503];
    scene.client.read_exact(&mut rest).await.unwrap();
    assert_eq!(rest[3..], [b'e'; 500]);
    scene.expect(TEXT, b"m").await;
}
