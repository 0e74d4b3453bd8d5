use bytes::Bytes;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::Http2Io;

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
