//! Any bytes on a connection that speaks HTTP/2 reach h2 as they came, but for a target that it would not take.
//!
//! The first byte says in pieces of what size the rest comes. However it comes, the same goes out; the same frames, with
//! the same fields by another reading of HPACK; and what went out goes through unchanged a second time.
#![no_main]

use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use libfuzzer_sys::fuzz_target;
use loona_hpack::Decoder;
use percent_encoding::percent_decode;
use sidestream::proxy::http2::Http2Io;
use sidestream_fuzz::Pieces;
use tokio::io::{AsyncRead, ReadBuf};

fuzz_target!(|bytes: &[u8]| {
    let Some((size, bytes)) = bytes.split_first() else {
        return;
    };
    // Nobody looks at the preface here: it has its length.
    let came = [PREFACE, bytes].concat();
    let out = read(&came, usize::MAX);
    assert_eq!(out, read(&came, usize::from(*size).max(1)));
    assert_eq!(out, read(&out, usize::MAX), "it changes a second time");
    assert!(out.starts_with(PREFACE));
    let (came, out) = (
        frames(&came[PREFACE.len()..]),
        frames(&out[PREFACE.len()..]),
    );
    assert_eq!(came.len(), out.len());
    // Tables of remembered fields, of one who reads what came and of one who reads what went out.
    let mut tables = (Decoder::new(), Decoder::new());
    for (came, out) in came.into_iter().zip(out) {
        if came == out && came.kind != HEADERS {
            continue;
        }
        assert_eq!((came.kind, came.stream), (out.kind, out.stream));
        assert_eq!(came.kind, HEADERS, "only fields are looked at");
        let (Some(before), Some(after)) = (came.block(), out.block()) else {
            assert_eq!(came, out);
            continue;
        };
        assert_eq!(came.flags & !PADDED, out.flags & !PADDED);
        assert!(
            after.len() <= 3 * before.len() * LONGEST_CODE + 64,
            "it grows"
        );
        if !check(&mut tables, before, after) {
            return;
        }
    }
});

/// The same fields, but for how the target is written. Returns whether the connection goes on: nobody reads on behind
/// fields that are none.
fn check(tables: &mut (Decoder<'_>, Decoder<'_>), before: &[u8], after: &[u8]) -> bool {
    let (before, after) = (decode(&mut tables.0, before), decode(&mut tables.1, after));
    let (Some(before), Some(after)) = (before, after) else {
        return false;
    };
    assert_eq!(before.len(), after.len());
    for ((name, value), (name_after, value_after)) in before.into_iter().zip(after) {
        assert_eq!(name, name_after);
        if value == value_after {
            continue;
        }
        assert_eq!(name, b":path");
        let decoded = |target: &[u8]| percent_decode(target).collect::<Vec<u8>>();
        assert_eq!(decoded(&value), decoded(&value_after));
        assert!(value.starts_with(b"/"));
        assert!(http::Uri::try_from(value_after.as_slice()).is_ok());
    }
    true
}

type Fields = Vec<(Vec<u8>, Vec<u8>)>;

fn decode(table: &mut Decoder<'_>, block: &[u8]) -> Option<Fields> {
    table.decode(block).ok()
}

#[derive(Debug, PartialEq, Eq)]
struct Frame {
    kind: u8,
    flags: u8,
    stream: [u8; 4],
    payload: Vec<u8>,
    is_whole: bool,
}

impl Frame {
    /// The fields, if it has them whole.
    fn block(&self) -> Option<&[u8]> {
        if !self.is_whole || self.flags & END_HEADERS == 0 {
            return None;
        }
        let mut block = self.payload.as_slice();
        if self.flags & PADDED != 0 {
            let (&padding, rest) = block.split_first()?;
            block = rest.get(..rest.len().checked_sub(usize::from(padding))?)?;
        }
        match self.flags & PRIORITY {
            0 => Some(block),
            _ => block.get(5..),
        }
    }
}

fn frames(mut bytes: &[u8]) -> Vec<Frame> {
    let mut frames = Vec::new();
    while let Some((head, rest)) = bytes.split_first_chunk::<9>() {
        let len = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let (payload, behind) = rest.split_at(len.min(rest.len()));
        frames.push(Frame {
            kind: head[3],
            flags: head[4],
            stream: [head[5], head[6], head[7], head[8]],
            payload: payload.to_vec(),
            is_whole: payload.len() == len,
        });
        bytes = behind;
    }
    if !bytes.is_empty() {
        frames.push(Frame {
            kind: u8::MAX,
            flags: 0,
            stream: [0; 4],
            payload: bytes.to_vec(),
            is_whole: false,
        });
    }
    frames
}

fn read(bytes: &[u8], piece: usize) -> Vec<u8> {
    let mut io = Http2Io::new(Pieces::new(bytes, piece), Default::default());
    let mut cx = Context::from_waker(Waker::noop());
    let mut out = Vec::new();
    loop {
        let mut room = [0; 8192];
        let mut buf = ReadBuf::new(&mut room);
        match Pin::new(&mut io).poll_read(&mut cx, &mut buf) {
            Poll::Ready(Ok(())) if buf.filled().is_empty() => return out,
            Poll::Ready(Ok(())) => out.extend_from_slice(buf.filled()),
            other => panic!("memory is always ready: {other:?}"),
        }
    }
}

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const HEADERS: u8 = 1;
const END_HEADERS: u8 = 0x4;
const PADDED: u8 = 0x8;
const PRIORITY: u8 = 0x20;

/// How many characters a byte of Huffman's code is at most: the shortest has five bits.
const LONGEST_CODE: usize = 2;
