//! Any bytes on a connection are a request that can be read in one way, or are refused.
//!
//! The first byte says in pieces of what size the rest comes. However it comes, the same goes out; what goes out says what
//! came in, goes through unchanged a second time, and ends where whoever reads it behind us thinks that it does.
#![no_main]

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use libfuzzer_sys::fuzz_target;
use percent_encoding::percent_decode;
use sidestream::proxy::{HeadIo, HeadSettings, Link, Refusal};
use sidestream_fuzz::Pieces;
use tokio::io::{AsyncRead, ReadBuf};

fuzz_target!(|bytes: &[u8]| {
    let Some((size, bytes)) = bytes.split_first() else {
        return;
    };
    let whole = read(bytes, usize::MAX, HEAD_BYTES);
    let pieces = read(bytes, usize::from(*size).max(1), HEAD_BYTES);
    // Of two reasons, the one that was seen first is told.
    assert_eq!(whole.refusal.is_some(), pieces.refusal.is_some());
    // Where a body breaks off, it has gone out up to the last read before.
    if whole.refusal.is_none() && !(whole.is_broken || pieces.is_broken) {
        assert_eq!(whole, pieces);
    }
    if let (None, Some(end)) = (whole.refusal, head_end(&whole.out)) {
        check(bytes, &whole, end);
    }
});

/// What came of a connection.
#[derive(Debug, PartialEq, Eq)]
struct Passed {
    /// What hyper would have read.
    out: Vec<u8>,
    /// What lies behind the request.
    behind: Vec<u8>,
    refusal: Option<Refusal>,
    /// The body is none.
    is_broken: bool,
}

fn read(bytes: &[u8], piece: usize, bytes_max: usize) -> Passed {
    thread_local! {
        static RUNTIME: tokio::runtime::Runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    }
    RUNTIME.with(|runtime| {
        // For the clock.
        let _guard = runtime.enter();
        let link = Arc::new(Link::default());
        let settings = HeadSettings {
            bytes_max,
            ..HeadSettings::default()
        };
        let mut head = HeadIo::new(
            Pieces::new(bytes, piece),
            Arc::new(settings),
            Arc::clone(&link),
        );
        let mut cx = Context::from_waker(Waker::noop());
        let (mut out, mut is_broken) = (Vec::new(), false);
        loop {
            let mut room = [0; 8192];
            let mut buf = ReadBuf::new(&mut room);
            match Pin::new(&mut head).poll_read(&mut cx, &mut buf) {
                Poll::Ready(Ok(())) if buf.filled().is_empty() => break,
                Poll::Ready(Ok(())) => out.extend_from_slice(buf.filled()),
                Poll::Ready(Err(_)) => {
                    is_broken = link.refusal().is_none();
                    break;
                }
                // It waits for the answer: what the client has sent behind its request is kept.
                Poll::Pending => break,
            }
        }
        let (socket, behind) = head.into_parts();
        let mut behind = behind.to_vec();
        behind.extend_from_slice(socket.rest());
        Passed {
            out,
            behind,
            refusal: link.refusal(),
            is_broken,
        }
    })
}

fn check(bytes: &[u8], passed: &Passed, end: usize) {
    let came = bytes
        .iter()
        .position(|byte| !matches!(byte, b'\r' | b'\n'))
        .map_or(bytes, |start| &bytes[start..]);
    let came_end = head_end(came).expect("what went out came in");
    let (head, came_head) = (&passed.out[..end], &came[..came_end]);
    assert!(head.len() <= 3 * came_head.len() + 64, "it grows");
    assert!(!head.contains(&0));

    // Not a byte of the body is touched, and none is lost.
    let body = &passed.out[end..];
    if !passed.is_broken {
        assert_eq!([body, &passed.behind].concat(), &came[came_end..]);
    }

    // The fields stay, and so does the target but for its writing.
    let line = |head: &[u8]| {
        head.split(|byte| *byte == b'\r')
            .next()
            .expect("one at least")
            .to_vec()
    };
    let (line, came_line) = (line(head), line(came_head));
    assert_eq!(head[line.len()..], came_head[came_line.len()..]);
    let target = |line: &[u8]| {
        line.split(|byte| *byte == b' ')
            .nth(1)
            .expect("a target")
            .to_vec()
    };
    let (target, came_target) = (target(&line), target(&came_line));
    if came_target.starts_with(b"/") {
        let decoded = |target: &[u8]| percent_decode(target).collect::<Vec<u8>>();
        assert_eq!(decoded(&target), decoded(&came_target));
    }
    if target != b"*" {
        assert!(
            http::Uri::try_from(target.as_slice()).is_ok(),
            "{}",
            target.escape_ascii()
        );
    }

    // Nothing is left to do. What is encoded may be longer than what came.
    let again = read(head, usize::MAX, 4 * HEAD_BYTES);
    assert_eq!((again.out.as_slice(), again.refusal), (head, None));

    // Who reads behind us finds the same end, or refuses.
    let mut fields = [httparse::EMPTY_HEADER; 128];
    let mut request = httparse::Request::new(&mut fields);
    let Ok(httparse::Status::Complete(parsed)) = request.parse(head) else {
        return;
    };
    assert_eq!(parsed, end);
    let values = |name: &str| {
        let named = request
            .headers
            .iter()
            .filter(|field| field.name.eq_ignore_ascii_case(name));
        named
            .map(|field| field.value.trim_ascii().to_vec())
            .collect::<Vec<_>>()
    };
    let (lengths, codings) = (values("content-length"), values("transfer-encoding"));
    assert!(lengths.len() + codings.len() <= 1, "two ways to end a body");
    assert!(values("host").len() <= 1);
    if passed.is_broken {
        return;
    }
    let rest = &came[came_end..];
    let wanted = match (lengths.first(), codings.first()) {
        (Some(length), _) => {
            let length: u64 = std::str::from_utf8(length)
                .expect("digits")
                .parse()
                .expect("a number");
            usize::try_from(length)
                .unwrap_or(usize::MAX)
                .min(rest.len())
        }
        (None, Some(_)) => match chunked_len(rest) {
            Some(len) => len,
            None => return,
        },
        (None, None) => 0,
    };
    assert_eq!(body.len(), wanted);
}

/// How long a body of chunks is, by another reading; none where it is none, or not whole.
fn chunked_len(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        match httparse::parse_chunk_size(bytes.get(at..)?) {
            Ok(httparse::Status::Complete((line, 0))) => {
                at += line;
                break;
            }
            Ok(httparse::Status::Complete((line, size))) => {
                at = at
                    .checked_add(line)?
                    .checked_add(usize::try_from(size).ok()?)?;
                at = bytes.get(at..)?.starts_with(b"\r\n").then_some(at + 2)?;
            }
            _ => return None,
        }
    }
    let mut fields = [httparse::EMPTY_HEADER; 128];
    match httparse::parse_headers(bytes.get(at..)?, &mut fields) {
        Ok(httparse::Status::Complete((len, _))) => Some(at + len),
        _ => None,
    }
}

fn head_end(bytes: &[u8]) -> Option<usize> {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
    Some(end + 4)
}

/// Short, so that it is reached.
const HEAD_BYTES: usize = 2048;
