//! What reaches the socket in place of hyper's head.

use std::io::IoSlice;
use std::sync::Arc;

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

use super::{HeadSwap, NextHead};

/// Writes `parts` as hyper would, each call taking up where the one before ended, to a socket that takes `room` bytes.
async fn written(ours: &[&'static str], writes: &[&[&str]], room: usize) -> String {
    let (near, mut far) = duplex(room);
    let reading = tokio::spawn(async move {
        let mut got = String::new();
        far.read_to_string(&mut got).await.expect("a whole stream");
        got
    });
    let next = Arc::new(NextHead::default());
    let mut io = HeadSwap::new(near, Arc::clone(&next));
    for (at, parts) in writes.iter().enumerate() {
        if let Some(head) = ours.get(at).filter(|head| !head.is_empty()) {
            next.put(Bytes::from_static(head.as_bytes()));
        }
        let mut slices: Vec<IoSlice> = parts
            .iter()
            .map(|part| IoSlice::new(part.as_bytes()))
            .collect();
        let mut left = &mut slices[..];
        while !left.is_empty() {
            let taken = io.write_vectored(left).await.expect("written");
            assert!(taken > 0, "a write of nothing");
            IoSlice::advance_slices(&mut left, taken);
        }
    }
    io.shutdown().await.expect("shut down");
    drop(io);
    reading.await.expect("read")
}

#[tokio::test]
async fn each_head_is_replaced_and_nothing_else_however_small_the_socket() {
    let ours = [
        "GET /\"x\" HTTP/1.1\r\nHOST: h\r\n\r\n",
        "",
        "LAST / HTTP/1.1\r\n\r\n",
    ];
    let writes: [&[&str]; 4] = [
        &[
            "GET / HTTP/1.1\r\n\r\nin the same buffer, ",
            "behind, ",
            "last",
        ],
        &["; a body\r\n\r\nlike a head"],
        &["POST / HTTP/1.1\r\ncontent-length: 9\r\n\r\n"],
        &["the", " ", "end"],
    ];
    for room in [1, 2, 7, 64, 4096] {
        assert_eq!(
            written(&ours, &writes, room).await,
            "GET /\"x\" HTTP/1.1\r\nHOST: h\r\n\r\nin the same buffer, behind, last; a body\r\n\r\nlike a head\
             LAST / HTTP/1.1\r\n\r\nthe end",
            "{room} bytes at once"
        );
    }
}

#[tokio::test]
async fn more_buffers_than_one_write_takes_all_arrive() {
    let mut parts = vec!["GET / HTTP/1.1\r\n\r\n"];
    parts.resize(100, "ab");
    let got = written(&["X\r\n\r\n"], &[&parts], 4096).await;
    assert_eq!(got, format!("X\r\n\r\n{}", "ab".repeat(99)));
}
