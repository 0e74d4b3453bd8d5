//! Any bytes on a connection of HTTP/1 are requests that can be read in one way, or are refused.
//!
//! The first byte says in pieces of what size the rest comes. The requests are the same however it comes, and whether or
//! not anybody reads their bodies; the same behind another request as on a connection of their own; and the same as others
//! read them. What lies behind a request is kept.
#![no_main]

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, Uri, Version};
use http_body::Body as _;
use libfuzzer_sys::fuzz_target;
use percent_encoding::percent_decode;
use sidestream::proxy::{ClientBody, HeadSettings, Http1, Left, Over, ProxyBody, Refusal};
use sidestream_fuzz::Pieces;

fuzz_target!(|bytes: &[u8]| {
    let Some((size, bytes)) = bytes.split_first() else {
        return;
    };
    let piece = usize::from(*size).max(1);
    let whole = read(bytes, How::default());
    check_answers(&whole);
    let pieces = How {
        piece,
        ..How::default()
    };
    check_same(&whole, &read(bytes, pieces));
    let unread = read(
        bytes,
        How {
            reads_bodies: false,
            ..pieces
        },
    );
    check_same_heads(&whole, &unread);
    check_answers(&unread);

    let alone = How {
        answers: false,
        ..How::default()
    };
    let mut rest = bytes.to_vec();
    for (heard, left) in whole.requests.iter().zip(&whole.lefts) {
        let first = read(&rest, alone);
        assert_eq!(first.requests.as_slice(), [heard.clone()]);
        check(&rest, heard, *left, &first.behind);
        let taken_over = How {
            piece,
            reads_bodies: false,
            ..alone
        };
        // Whoever takes the connection gets all that is behind the head.
        assert_eq!(read(&rest, taken_over).behind, split(&rest).1);
        rest = first.behind;
    }
    if whole.lefts.last() != Some(&Left::Closing) {
        if whole.requests.len() == REQUESTS_MAX {
            assert_eq!(rest, whole.behind);
            return;
        }
        let last = read(&rest, alone);
        assert_eq!((last.requests.len(), last.refusal), (0, whole.refusal));
        assert_eq!(last.behind, whole.behind);
    }
});

/// A request as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Heard {
    method: Method,
    uri: Uri,
    version: Version,
    fields: HeaderMap,
    data: Vec<u8>,
    trailers: HeaderMap,
    /// The body is none.
    is_broken: bool,
}

/// What came of a connection.
struct Read {
    requests: Vec<Heard>,
    /// What their answers left behind.
    lefts: Vec<Left>,
    refusal: Option<Refusal>,
    /// What lies behind the last request.
    behind: Vec<u8>,
    /// What the client got.
    written: Vec<u8>,
}

/// How a connection is read.
#[derive(Clone, Copy)]
struct How {
    piece: usize,
    reads_bodies: bool,
    /// Requests are answered, so that others may follow them; the connection is taken over behind the first otherwise.
    answers: bool,
}

impl Default for How {
    fn default() -> Self {
        Self {
            piece: usize::MAX,
            reads_bodies: true,
            answers: true,
        }
    }
}

fn read(bytes: &[u8], how: How) -> Read {
    thread_local! {
        static RUNTIME: tokio::runtime::Runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    }
    RUNTIME.with(|runtime| {
        // For the clock.
        let _guard = runtime.enter();
        read_here(bytes, how)
    })
}

fn read_here(bytes: &[u8], how: How) -> Read {
    let settings = HeadSettings {
        bytes_max: HEAD_BYTES,
        ..HeadSettings::default()
    };
    let mut connection = Http1::new(Pieces::new(bytes, how.piece), Arc::new(settings));
    let mut cx = Context::from_waker(Waker::noop());
    let (mut requests, mut lefts, mut refusal) = (Vec::new(), Vec::new(), None);
    while requests.len() < REQUESTS_MAX {
        let (request, asked) = match ready(connection.poll_request(&mut cx)) {
            Ok(heard) => heard,
            Err(Over::End) => break,
            Err(Over::Refused(why)) => {
                refusal = Some(why);
                break;
            }
            Err(Over::Broken(error)) => panic!("memory does not break: {error}"),
        };
        let (head, body) = request.into_parts();
        let mut heard = Heard {
            method: head.method,
            uri: head.uri,
            version: head.version,
            fields: head.headers,
            data: Vec::new(),
            trailers: HeaderMap::new(),
            is_broken: false,
        };
        match how.reads_bodies {
            true => heard.read(body),
            false => drop(body),
        }
        requests.push(heard);
        if !how.answers {
            break;
        }
        let answering = connection.answer(Response::new(ProxyBody::empty()), asked, true);
        let left = ready(pin!(answering).poll(&mut cx)).expect("memory takes what is written");
        lefts.push(left);
        if left == Left::Closing {
            break;
        }
    }
    let (socket, read) = connection.into_parts().expect("nobody reads a body");
    let behind = [&*read, socket.rest()].concat();
    assert!(bytes.ends_with(&behind));
    Read {
        requests,
        lefts,
        refusal,
        behind,
        written: socket.written().to_vec(),
    }
}

impl Heard {
    /// Reads the body, as far as there is one.
    fn read(&mut self, mut body: ClientBody) {
        let mut cx = Context::from_waker(Waker::noop());
        let said = body.size_hint().exact();
        while let Some(frame) = ready(Pin::new(&mut body).poll_frame(&mut cx)) {
            let Ok(frame) = frame else {
                self.is_broken = true;
                break;
            };
            assert!(self.trailers.is_empty(), "trailers are the last");
            match frame.into_data() {
                Ok(data) => self.data.extend_from_slice(&data),
                Err(frame) => self.trailers = frame.into_trailers().expect("the other kind"),
            }
            if let (Some(said), Some(left)) = (said, body.size_hint().exact()) {
                assert_eq!(said, left + self.data.len() as u64);
            }
        }
        assert!(body.is_end_stream());
        assert!(ready(Pin::new(&mut body).poll_frame(&mut cx)).is_none());
    }

    fn values(&self, name: &str) -> Vec<&[u8]> {
        let values = self.fields.get_all(name).into_iter();
        values.map(HeaderValue::as_bytes).collect()
    }

    fn has_token(&self, name: &str, token: &str) -> bool {
        let values = self.values(name).into_iter();
        let mut tokens = values.flat_map(|value| value.split(|byte| *byte == b','));
        tokens.any(|other| other.trim_ascii().eq_ignore_ascii_case(token.as_bytes()))
    }
}

fn ready<T>(polled: Poll<T>) -> T {
    match polled {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("memory is always ready"),
    }
}

fn check_same(whole: &Read, pieces: &Read) {
    assert_eq!(whole.requests, pieces.requests);
    assert_eq!(whole.written, pieces.written);
    check_same_heads(whole, pieces);
}

/// The same but for bodies, which somebody has read or nobody.
fn check_same_heads(whole: &Read, other: &Read) {
    assert_eq!(whole.lefts, other.lefts);
    // Of two reasons, the one that was seen first is told.
    assert_eq!(whole.refusal.is_some(), other.refusal.is_some());
    assert_eq!(whole.requests.len(), other.requests.len());
    for (one, other) in whole.requests.iter().zip(&other.requests) {
        let head = |heard: &Heard| Heard {
            data: Vec::new(),
            trailers: HeaderMap::new(),
            is_broken: false,
            ..heard.clone()
        };
        assert_eq!(head(one), head(other));
    }
    let is_broken = whole.requests.last().is_some_and(|last| last.is_broken);
    if whole.refusal.is_none() && !is_broken {
        assert_eq!(whole.behind, other.behind);
    }
}

/// Each request has one answer, which says whether another may follow.
fn check_answers(read: &Read) {
    let mut rest = read.written.as_slice();
    for (heard, left) in read.requests.iter().zip(&read.lefts) {
        let is_old = heard.version == Version::HTTP_10;
        let mut may_go_on = !is_old && heard.has_token("expect", "100-continue");
        loop {
            let mut fields = [httparse::EMPTY_HEADER; 8];
            let mut answer = httparse::Response::new(&mut fields);
            let Ok(httparse::Status::Complete(len)) = answer.parse(rest) else {
                panic!("{} is no answer", rest.escape_ascii());
            };
            rest = &rest[len..];
            if answer.code == Some(100) {
                assert!(std::mem::take(&mut may_go_on), "nobody waits for it");
                continue;
            }
            assert_eq!(answer.code, Some(200));
            let said = map(answer.headers).expect("fields");
            let said = said.get("connection").map(HeaderValue::as_bytes);
            let expected: Option<&[u8]> = match (is_old, left) {
                (false, Left::Closing) => Some(b"close"),
                (true, Left::Open) => Some(b"keep-alive"),
                _ => None,
            };
            assert_eq!(said, expected);
            break;
        }
    }
    assert!(rest.is_empty());
}

/// Holds the first request of `bytes` against another reading.
fn check(bytes: &[u8], heard: &Heard, left: Left, behind: &[u8]) {
    let (head, rest) = split(bytes);
    let line_end = head
        .windows(2)
        .position(|window| window == b"\r\n")
        .expect("a line");
    let (line, fields) = (&head[..line_end], &head[line_end + 2..]);
    check_target(
        line.split(|byte| *byte == b' ').nth(1).expect("a target"),
        &heard.uri,
    );

    let (lengths, codings) = (
        heard.values("content-length"),
        heard.values("transfer-encoding"),
    );
    assert!(lengths.len() + codings.len() <= 1, "two ways to end a body");
    let hosts = heard.values("host").len();
    assert!(hosts == 1 || hosts == 0 && heard.version == Version::HTTP_10);
    let stays = !heard.has_token("connection", "close")
        && (heard.version == Version::HTTP_11 || heard.has_token("connection", "keep-alive"));
    assert_eq!(left == Left::Open, stays && !heard.is_broken);

    // Apart from the line, of which others take less.
    let mut places = [httparse::EMPTY_HEADER; FIELDS_MAX];
    if let Ok(parsed) = httparse::parse_headers(fields, &mut places) {
        let httparse::Status::Complete((len, read)) = parsed else {
            panic!("it ends");
        };
        assert_eq!(len, fields.len());
        assert_eq!(map(read).as_ref(), Some(&heard.fields));
    }
    let mut places = [httparse::EMPTY_HEADER; FIELDS_MAX];
    let mut request = httparse::Request::new(&mut places);
    if let Ok(parsed) = request.parse(head) {
        assert_eq!(parsed, httparse::Status::Complete(head.len()));
        let version = match heard.version == Version::HTTP_10 {
            true => 0,
            false => 1,
        };
        let target = std::str::from_utf8(line).ok();
        let target = target.and_then(|line| line.split(' ').nth(1));
        assert_eq!(
            (request.method, request.path, request.version),
            (Some(heard.method.as_str()), target, Some(version))
        );
    }
    check_body(heard, rest, behind);
}

/// `rest`: what is behind the head. `behind`: what is behind the body.
fn check_body(heard: &Heard, rest: &[u8], behind: &[u8]) {
    assert!(rest.ends_with(behind));
    let taken = rest.len() - behind.len();
    if let Some(length) = heard.values("content-length").first() {
        let length = std::str::from_utf8(length).expect("digits");
        let length = length.parse::<u64>().expect("a number");
        assert_eq!(heard.is_broken, length > rest.len() as u64);
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        assert_eq!(heard.data, rest[..length.min(rest.len())]);
        assert_eq!(taken, heard.data.len());
        assert!(heard.trailers.is_empty());
    } else if heard.values("transfer-encoding").is_empty() {
        assert!(!heard.is_broken);
        assert_eq!((taken, heard.data.len(), heard.trailers.len()), (0, 0, 0));
    } else if let Some((data, trailers, len)) = unchunk(rest) {
        // Others may take what we do not.
        if heard.is_broken {
            assert!(data.starts_with(&heard.data));
        } else {
            assert_eq!(
                (&heard.data, &heard.trailers, taken),
                (&data, &trailers, len)
            );
        }
    }
}

fn check_target(came: &[u8], uri: &Uri) {
    let read = uri.to_string();
    assert_eq!(read.parse::<Uri>().as_ref().ok(), Some(uri));
    assert!(read.len() <= 3 * came.len() + 1, "it grows");
    let decoded = |target: &[u8]| percent_decode(target).collect::<Vec<u8>>();
    if came.starts_with(b"/") || came == b"*" {
        assert_eq!(decoded(read.as_bytes()), decoded(came));
    } else {
        // Scheme and authority are taken off; what is left may begin with the query, or be nothing.
        let path = read.strip_prefix('/').expect("a path");
        assert!(decoded(came).ends_with(&decoded(path.as_bytes())));
    }
}

/// Data, trailers and length of a body of chunks by another reading; none where it is none, or not whole.
fn unchunk(bytes: &[u8]) -> Option<(Vec<u8>, HeaderMap, usize)> {
    let (mut data, mut at) = (Vec::new(), 0_usize);
    loop {
        match httparse::parse_chunk_size(bytes.get(at..)?) {
            Ok(httparse::Status::Complete((line, 0))) => {
                at += line;
                break;
            }
            Ok(httparse::Status::Complete((line, size))) => {
                at += line;
                let end = at.checked_add(usize::try_from(size).ok()?)?;
                data.extend_from_slice(bytes.get(at..end)?);
                at = bytes[end..].starts_with(b"\r\n").then_some(end + 2)?;
            }
            _ => return None,
        }
    }
    let mut places = [httparse::EMPTY_HEADER; FIELDS_MAX];
    match httparse::parse_headers(bytes.get(at..)?, &mut places) {
        Ok(httparse::Status::Complete((len, read))) => Some((data, map(read)?, at + len)),
        _ => None,
    }
}

fn map(fields: &[httparse::Header<'_>]) -> Option<HeaderMap> {
    let mut map = HeaderMap::new();
    for field in fields {
        let name = HeaderName::from_bytes(field.name.as_bytes()).ok()?;
        map.append(name, HeaderValue::from_bytes(field.value).ok()?);
    }
    Some(map)
}

/// The first head, without the empty lines before it, and what is behind it.
fn split(bytes: &[u8]) -> (&[u8], &[u8]) {
    let mut came = bytes;
    while let Some(rest) = came.strip_prefix(b"\r\n") {
        came = rest;
    }
    let end = came.windows(4).position(|window| window == b"\r\n\r\n");
    came.split_at(end.expect("what was read came") + 4)
}

/// Short, so that it is reached.
const HEAD_BYTES: usize = 2048;

/// More than we take in a head.
const FIELDS_MAX: usize = 128;

/// How many requests are read of a connection.
const REQUESTS_MAX: usize = 8;
