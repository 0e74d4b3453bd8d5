//! Where bodies end, what of them is data, and how they are written.

use std::{future::poll_fn, task::Poll};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue};
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

use super::{Decoder, Encoder, Follow, Framing, Outbox, TooShort};

/// Follows `body` in pieces of every size and expects its end at `len`.
#[track_caller]
fn check_follow(framing: Framing, body: &str, len: Option<usize>) {
    for piece in 1..=body.len() {
        let mut follow = Follow::new(framing);
        let mut past = 0;
        let mut broken = false;
        for bytes in body.as_bytes().chunks(piece) {
            match follow.advance(bytes) {
                Ok(taken) => past += taken,
                Err(_) => broken = true,
            }
            if broken || follow == Follow::End {
                break;
            }
        }
        let end = (follow == Follow::End && !broken).then_some(past);
        assert_eq!(end, len, "{body:?} in pieces of {piece}");
    }
}

#[test]
fn bodies_end_where_their_framing_says() {
    check_follow(Framing::Length(3), "abcGET", Some(3));
    check_follow(Framing::Length(9), "abc", None);
    check_follow(Framing::Chunked, "3\r\nabc\r\n0\r\n\r\nGET", Some(13));
    check_follow(
        Framing::Chunked,
        "A;x=\"y\";z\r\n0123456789\r\n00 \r\nT: 1\r\nU: 2\r\n\r\nGET",
        Some(42),
    );
    check_follow(Framing::Chunked, "0\r\n\r\n", Some(5));
    for broken in [
        "3\nabc\r\n0\r\n\r\n",
        "\r\n",
        "x\r\n",
        "-1\r\n",
        "3\r\nabcd\r\n",
        "3\r\nabc\n0\r\n\r\n",
        "0\r\n\n",
        "0\r\nT: 1\n\r\n",
        "11111111111111111\r\n",
        "3;a\nb\r\n",
        "0x3\r\nabc\r\n0\r\n\r\n",
        "3\r\r\nabc",
    ] {
        check_follow(Framing::Chunked, broken, None);
    }
}

/// What is in `body`, read in pieces of `piece` bytes: its data, its trailers, what is left behind it. `None`: it is broken.
fn decoded(framing: Framing, body: &str, piece: usize) -> Option<(String, String, String)> {
    let mut decoder = Decoder::new(framing);
    let (mut data, mut trailers) = (Vec::new(), String::new());
    let mut read = BytesMut::new();
    for bytes in body.as_bytes().chunks(piece) {
        read.extend_from_slice(bytes);
        while let Some(frame) = decoder.decode(&mut read).ok()? {
            match frame.into_data() {
                Ok(part) => data.extend_from_slice(&part),
                Err(frame) => {
                    for (name, value) in &frame.into_trailers().expect("the other kind") {
                        trailers += &format!("{name}={};", value.to_str().expect("text"));
                    }
                }
            }
        }
    }
    assert_eq!(decoder.is_end(), decoder.size_hint().exact() == Some(0));
    decoder.may_end().then(|| {
        let data = String::from_utf8(data).expect("text");
        let rest = String::from_utf8(read.to_vec()).expect("text");
        (data, trailers, rest)
    })
}

#[test]
fn data_and_trailers_come_out_however_they_come_in() {
    let whole = "A;x=\"y\"\r\n0123456789\r\n3 \r\nabc\r\n0\r\nT: 1\r\nu:2 \r\n\r\nHTTP";
    for piece in 1..=whole.len() {
        for (framing, body, expected) in [
            (
                Framing::Chunked,
                whole,
                ("0123456789abc", "t=1;u=2;", "HTTP"),
            ),
            (Framing::Chunked, "0\r\n\r\n", ("", "", "")),
            (Framing::Length(3), "abcHTTP", ("abc", "", "HTTP")),
            (Framing::Length(0), "abc", ("", "", "abc")),
            (Framing::Close, "abc\r\n", ("abc\r\n", "", "")),
        ] {
            let (data, trailers, rest) = decoded(framing, body, piece).expect("whole");
            assert_eq!((&data[..], &trailers[..], &rest[..]), expected, "{piece}");
        }
        for (framing, broken) in [
            (Framing::Length(4), "abc"),
            (Framing::Chunked, "3\r\nabc\r\n"),
            (Framing::Chunked, "3\r\nabc\r\n0\r\n"),
            (Framing::Chunked, "3\r\nabcd\r\n0\r\n\r\n"),
            (Framing::Chunked, "0\r\nno field\r\n\r\n"),
            (Framing::Chunked, "0\r\nT : 1\r\n\r\n"),
            (Framing::Chunked, "0\r\n folded: 1\r\n\r\n"),
        ] {
            assert_eq!(decoded(framing, broken, piece), None, "{broken:?}");
        }
    }
}

fn encoder(framing: Framing, trailers: &str) -> Encoder {
    Encoder::new(framing, trailers.split(' ').map(str::as_bytes))
}

/// What is written of `outbox` on a socket that takes `room` bytes at once.
async fn written(mut outbox: Outbox, room: usize) -> String {
    let (mut near, mut far) = duplex(room);
    let reading = tokio::spawn(async move {
        let mut got = String::new();
        far.read_to_string(&mut got).await.expect("a whole stream");
        got
    });
    poll_fn(|cx| outbox.poll_write(&mut near, cx))
        .await
        .expect("written");
    assert!(outbox.is_empty());
    near.shutdown().await.expect("shut down");
    drop(near);
    reading.await.expect("read")
}

#[tokio::test]
async fn a_head_and_its_body_are_written_whole_however_small_the_socket() {
    let large = "x".repeat(20_000);
    for room in [1, 7, 100_000] {
        for part in ["abc", &large] {
            let bytes = Bytes::copy_from_slice(part.as_bytes());
            for (is_last, end) in [(false, ""), (true, "0\r\n\r\n")] {
                let mut outbox = Outbox::default();
                outbox.put_slice(b"HEAD\r\n\r\n");
                let mut encoder = encoder(Framing::Chunked, "");
                encoder
                    .data(bytes.clone(), is_last, &mut outbox)
                    .expect("a chunk");
                assert_eq!(outbox.has_room(), part.len() < 8192);
                let expected = format!("HEAD\r\n\r\n{:x}\r\n{part}\r\n{end}", part.len());
                assert_eq!(written(outbox, room).await, expected);
            }
            let mut outbox = Outbox::default();
            let mut encoder = encoder(Framing::Length(part.len() as u64), "");
            encoder.data(bytes, true, &mut outbox).expect("all of it");
            assert_eq!(encoder.end(&mut outbox), Ok(()));
            assert_eq!(written(outbox, room).await, part);
        }
        let mut outbox = Outbox::default();
        outbox.put_head(Bytes::from_static(b"HEAD\r\n\r\n"));
        assert_eq!(written(outbox, room).await, "HEAD\r\n\r\n");
    }
}

#[tokio::test]
async fn trailers_that_were_named_are_written_and_no_others() {
    let mut trailers = HeaderMap::new();
    for (name, value) in [("a", "1"), ("b", "2"), ("a", "3"), ("host", "x")] {
        trailers.append(
            HeaderName::from_static(name),
            HeaderValue::from_static(value),
        );
    }
    for (named, expected) in [("A Host", "0\r\na: 1\r\na: 3\r\n\r\n"), ("", "0\r\n\r\n")] {
        let mut outbox = Outbox::default();
        let mut encoder = encoder(Framing::Chunked, named);
        encoder.trailers(&trailers, &mut outbox);
        assert_eq!(encoder.end(&mut outbox), Ok(()), "it has ended");
        assert_eq!(written(outbox, 4).await, expected);
    }
    // There is no place for them behind a length.
    let mut outbox = Outbox::default();
    encoder(Framing::Length(0), "a").trailers(&trailers, &mut outbox);
    assert!(outbox.is_empty());
}

#[test]
fn a_body_has_the_length_that_was_said() {
    let part = Bytes::from_static(b"abc");
    let mut outbox = Outbox::default();
    let mut short = encoder(Framing::Length(4), "");
    assert_eq!(short.data(part.clone(), false, &mut outbox), Ok(()));
    assert_eq!(short.end(&mut outbox), Err(TooShort));
    let mut long = encoder(Framing::Length(2), "");
    assert_eq!(long.data(part, true, &mut outbox), Err(TooShort));
}

#[test]
fn a_part_of_no_bytes_does_not_end_a_body() {
    let mut outbox = Outbox::default();
    let mut encoder = encoder(Framing::Chunked, "");
    assert_eq!(encoder.data(Bytes::new(), false, &mut outbox), Ok(()));
    assert!(outbox.is_empty());
}

#[tokio::test]
async fn a_socket_that_takes_nothing_is_waited_for() {
    let (mut near, _far) = duplex(1);
    let mut outbox = Outbox::default();
    outbox.put_slice(b"abc");
    let polled = poll_fn(|cx| Poll::Ready(outbox.poll_write(&mut near, cx))).await;
    assert!(polled.is_pending());
    assert!(!outbox.is_empty());
}
