//! Where bodies end, what of them is data, and how they are written.

use std::{future::poll_fn, task::Poll};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue};
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

use super::{Decoder, Encoder, Framing, Outbox, encoder::WrongLength};

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
    }
    for (framing, broken) in [
        (Framing::Length(4), "abc"),
        (Framing::Chunked, "3\nabc\r\n0\r\n\r\n"),
        (Framing::Chunked, "\r\n"),
        (Framing::Chunked, "x\r\n"),
        (Framing::Chunked, "-1\r\n"),
        (Framing::Chunked, "3\r\nabc\n0\r\n\r\n"),
        (Framing::Chunked, "0\r\n\n"),
        (Framing::Chunked, "0\r\nT: 1\n\r\n"),
        (Framing::Chunked, "11111111111111111\r\n"),
        (Framing::Chunked, "3;a\nb\r\n"),
        (Framing::Chunked, "3;a\0b\r\nabc\r\n0\r\n\r\n"),
        (Framing::Chunked, "3 a\r\nabc\r\n0\r\n\r\n"),
        (Framing::Chunked, "0x3\r\nabc\r\n0\r\n\r\n"),
        (Framing::Chunked, "3\r\r\nabc"),
        (Framing::Chunked, "3\r\nabc\r\n"),
        (Framing::Chunked, "3\r\nabc\r\n0\r\n"),
        (Framing::Chunked, "3\r\nabcd\r\n0\r\n\r\n"),
        (Framing::Chunked, "0\r\nno field\r\n\r\n"),
        (Framing::Chunked, "0\r\nT : 1\r\n\r\n"),
        (Framing::Chunked, "0\r\n folded: 1\r\n\r\n"),
    ] {
        for piece in 1..=broken.len() {
            assert_eq!(decoded(framing, broken, piece), None, "{broken:?}");
        }
    }
}

#[test]
fn what_nobody_reads_is_bounded() {
    let chunk = |extension: usize| format!("1;{}\r\nx\r\n", "e".repeat(extension));
    // All together, be it at the last one, and however it comes.
    let blank = |blanks: usize| format!("1{}\r\nx\r\n", " ".repeat(blanks));
    for unread in [chunk(8000).repeat(2), blank(8000).repeat(2)] {
        for (last, is_taken) in [(300, true), (500, false)] {
            let body = format!("{unread}0;{}\r\n\r\n", "e".repeat(last));
            for piece in [1, 500, body.len()] {
                let decoded = decoded(Framing::Chunked, &body, piece);
                assert_eq!(decoded.is_some(), is_taken, "{last} {piece}");
            }
        }
    }
    let long = |len| format!("{}0\r\n\r\n", chunk(len));
    assert!(decoded(Framing::Chunked, &long(8000), 500).is_some());
    assert_eq!(decoded(Framing::Chunked, &long(9000), 500), None);
    let trailers = |count, len| {
        let line = format!("t: {}\r\n", "a".repeat(len));
        format!("0\r\n{}\r\n", line.repeat(count))
    };
    assert!(decoded(Framing::Chunked, &trailers(100, 100), 500).is_some());
    assert_eq!(decoded(Framing::Chunked, &trailers(101, 1), 500), None);
    assert_eq!(decoded(Framing::Chunked, &trailers(90, 500), 500), None);
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
    assert_eq!(short.end(&mut outbox), Err(WrongLength));
    let mut long = encoder(Framing::Length(2), "");
    assert_eq!(long.data(part, true, &mut outbox), Err(WrongLength));
}

#[tokio::test]
async fn a_part_of_no_bytes_ends_a_body_only_if_it_is_the_last_one() {
    let mut outbox = Outbox::default();
    let mut encoder = encoder(Framing::Chunked, "");
    assert_eq!(encoder.data(Bytes::new(), false, &mut outbox), Ok(()));
    assert!(outbox.is_empty());
    assert_eq!(encoder.data(Bytes::new(), true, &mut outbox), Ok(()));
    assert_eq!(written(outbox, 4).await, "0\r\n\r\n");
}

#[tokio::test]
async fn a_part_goes_behind_what_is_nearly_too_much() {
    for before in 8180..8192 {
        let mut outbox = Outbox::default();
        outbox.put_slice(&vec![b'x'; before]);
        let mut encoder = encoder(Framing::Chunked, "");
        let part = Bytes::from(vec![b'y'; 9000]);
        encoder.data(part, true, &mut outbox).expect("a chunk");
        let got = written(outbox, 100_000).await;
        assert_eq!(got.len(), before + "2328\r\n".len() + 9000 + 7);
    }
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
