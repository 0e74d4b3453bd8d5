//! Which of hyper's bytes are the head, and what reaches the socket in its place.

use std::{future::poll_fn, io::IoSlice};

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

use super::{Swap, mark};

/// Writes `parts` as hyper would, the first `replaced` bytes being its head, to a socket that takes `room` bytes.
async fn written(ours: &'static str, replaced: usize, parts: &[&str], room: usize) -> String {
    let (mut near, mut far) = duplex(room);
    let reading = tokio::spawn(async move {
        let mut got = String::new();
        far.read_to_string(&mut got).await.expect("a whole stream");
        got
    });
    let mut swap = Swap::default();
    swap.begin(Bytes::from_static(ours.as_bytes()), replaced);
    let mut slices: Vec<IoSlice> = parts
        .iter()
        .map(|part| IoSlice::new(part.as_bytes()))
        .collect();
    let mut left = &mut slices[..];
    while !left.is_empty() {
        let taken = poll_fn(|cx| swap.poll_write(&mut near, cx, left)).await;
        let taken = taken.expect("written");
        assert!(taken > 0, "a write of nothing");
        IoSlice::advance_slices(&mut left, taken);
    }
    assert!(!swap.is_under_way());
    near.shutdown().await.expect("shut down");
    drop(near);
    reading.await.expect("read")
}

#[tokio::test]
async fn the_head_is_replaced_and_nothing_else_however_small_the_socket() {
    let parts = ["HEAD\r\n\r\nin the same buffer, ", "behind, ", "last"];
    for ours in ["X\r\n\r\n", "much longer than what it stands for\r\n\r\n"] {
        for room in [1, 2, 7, 64, 4096] {
            assert_eq!(
                written(ours, 8, &parts, room).await,
                format!("{ours}in the same buffer, behind, last"),
                "{room} bytes at once"
            );
        }
    }
}

#[tokio::test]
async fn more_buffers_than_one_write_takes_all_arrive() {
    let mut parts = vec!["HEAD\r\n\r\n"];
    parts.resize(100, "ab");
    let got = written("X\r\n\r\n", 8, &parts, 4096).await;
    assert_eq!(got, format!("X\r\n\r\n{}", "ab".repeat(99)));
}

#[test]
fn a_head_is_found_by_its_mark_behind_whatever_was_not_written_yet() {
    let mark = mark();
    let (name, value) = &mark.field;
    let value = value.to_str().expect("text");
    for (status, fields) in [
        ("200 OK", ""),
        ("505 HTTP Version Not Supported", "a: HTTP/1.1\r\n"),
    ] {
        let answers = [
            format!("HTTP/1.1 {status}\r\n{name}: {value}\r\n{fields}\r\n"),
            format!("HTTP/1.0 {status}\r\nconnection: close\r\n{name}: {value}\r\n\r\n"),
        ];
        for before in [
            "",
            "rest of a body",
            "\r\n\r\n",
            "HTTP/1.1 100 Continue\r\n\r\n",
            "GET / HTTP/1.1\r\n\r\n",
        ] {
            for answer in &answers {
                let written = format!("{before}{answer}body\r\n\r\n");
                let found = mark.find_answer(written.as_bytes()).expect("found");
                assert_eq!(&written[found], answer, "behind {before:?}");
            }
        }
    }
    for other in [
        "",
        "x",
        "HTTP/1.1 200 OK\r\na: 1\r\n\r\n",
        "GET / HTTP/1.1\r\n\r\n",
    ] {
        assert_eq!(mark.find_answer(other.as_bytes()), None, "{other:?}");
    }
}
