//! What a client gets: one answer, head and body.

use std::{
    io,
    sync::{Arc, Mutex},
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode, Version, header, response};
use hyper::body::Body as _;
use tokio::io::{AsyncRead, AsyncWrite};

use super::{Asked, Left, lock, reading::Reader};
use crate::proxy::{
    ProxyBody,
    answer::{ClientHead, Word},
    fields::CRLF,
    framing::{Encoder, Framing, Outbox},
    head::Link,
    hop::tokens,
};

/// An answer that is being written.
pub(super) struct Answering {
    response: Option<Response<()>>,
    body: ProxyBody,
    asked: Asked,
    stays: bool,
    ends_at_close: bool,
    encoder: Encoder,
    outbox: Outbox,
}

impl Answering {
    /// `may_stay`: the connection may be used again.
    pub(super) fn new(response: Response<ProxyBody>, asked: Asked, may_stay: bool) -> Self {
        let (parts, body) = response.into_parts();
        Self {
            response: Some(Response::from_parts(parts, ())),
            body,
            asked,
            stays: asked.stays && may_stay,
            ends_at_close: false,
            encoder: Encoder::nothing(),
            outbox: Outbox::default(),
        }
    }

    pub(super) fn left(&self) -> Left {
        match self.stays {
            true => Left::Open,
            false => Left::Closing,
        }
    }

    /// Returns whether nothing but the connection's end is the body's.
    pub(super) fn ends_at_close(&self) -> bool {
        self.ends_at_close
    }

    /// Writes all of it.
    ///
    /// # Errors
    /// The socket's or the body's; [`io::ErrorKind::BrokenPipe`] when the client has gone.
    pub(super) fn poll<S>(
        &mut self,
        reader: &Arc<Mutex<Reader<S>>>,
        link: &Link,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        if let Some(response) = self.response.take() {
            self.begin(response.into_parts().0, reader, link, cx);
        }
        loop {
            // Without a lock: this may read the request's body.
            let filled = self.encoder.poll_fill(&mut self.body, &mut self.outbox, cx);
            if filled.is_ready()
                && !self.encoder.has_ended()
                && let Poll::Ready(Err(error)) = self.body.poll_upload(cx)
            {
                return Poll::Ready(Err(io::Error::other(error)));
            }
            let mut reader = lock(reader);
            let written = reader.poll_write(&mut self.outbox, cx)?;
            match filled {
                Poll::Ready(Err(error)) => return Poll::Ready(Err(io::Error::other(error))),
                Poll::Ready(Ok(())) if self.encoder.has_ended() && written.is_ready() => {
                    return Poll::Ready(Ok(()));
                }
                Poll::Ready(Ok(())) if written.is_ready() => (),
                _ => {
                    ready!(reader.poll_gone(cx));
                    return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
                }
            }
        }
    }

    /// Decides how it goes out, and writes its head.
    fn begin<S>(
        &mut self,
        parts: response::Parts,
        reader: &Arc<Mutex<Reader<S>>>,
        link: &Link,
        cx: &mut Context<'_>,
    ) where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let is_unread = Arc::strong_count(reader) == 1;
        let mut reader = lock(reader);
        reader.begin_answer();
        if is_unread {
            reader.skip_body(cx);
        }
        self.outbox = std::mem::take(&mut reader.outbox);
        self.stays &= reader.is_behind();
        drop(reader);

        let upstreams = self.body.take_head();
        let length = self.body.size_hint().exact();
        let is_old = self.asked.version == Version::HTTP_10;
        let framing = match length {
            _ if !self.has_body(parts.status) => Framing::Length(0),
            Some(length) => Framing::Length(length),
            None if is_old => Framing::Close,
            None if upstreams.as_ref().is_some_and(ClientHead::ends_at_close) => Framing::Close,
            None => Framing::Chunked,
        };
        let closes = |value: &header::HeaderValue| {
            tokens(value.as_bytes()).any(|option| option.eq_ignore_ascii_case(b"close"))
        };
        self.ends_at_close = framing == Framing::Close;
        self.stays &= !self.ends_at_close;
        self.stays &= !parts.headers.get_all(header::CONNECTION).iter().any(closes);
        let word = Word {
            version: match is_old {
                true => b"HTTP/1.0",
                false => b"HTTP/1.1",
            },
            connection: match (is_old, self.stays) {
                (false, true) | (true, false) => None,
                (true, true) => Some(b"keep-alive"),
                (false, false) => Some(b"close"),
            },
            framing,
        };
        let takes_trailers = self.asked.takes_trailers && framing == Framing::Chunked;
        match upstreams {
            Some(head) => {
                let named = head.head.trailers().filter(|_| takes_trailers);
                self.encoder = Encoder::new(framing, named.flat_map(tokens));
                if let Some(interim) = link.take_interim() {
                    self.outbox.put_slice(&interim);
                }
                let head = head.write(&word);
                // What comes alone need not be copied.
                match self.outbox.is_empty() && framing == Framing::Length(0) {
                    true => self.outbox.put_head(head),
                    false => self.outbox.put_slice(&head),
                }
            }
            None => {
                // Heads before an answer that is not theirs would lead astray.
                drop(link.take_interim());
                self.encoder = Encoder::new(framing, std::iter::empty());
                let said = match framing {
                    Framing::Length(length) if self.has_body(parts.status) => Some(length),
                    // As a GET would be answered.
                    _ if self.asked.is_head => length.filter(|length| *length > 0),
                    _ => None,
                };
                let head = own_head(&parts, &word, said);
                self.outbox.put_slice(&head);
            }
        }
        if framing == Framing::Length(0) {
            self.encoder = Encoder::nothing();
        }
    }

    fn has_body(&self, status: StatusCode) -> bool {
        let is_without = status.is_informational()
            || status == StatusCode::NO_CONTENT
            || status == StatusCode::NOT_MODIFIED;
        !(is_without || self.asked.is_head)
    }
}

/// Writes the head of an answer of our own.
fn own_head(parts: &response::Parts, word: &Word, length: Option<u64>) -> Bytes {
    let mut head = Vec::with_capacity(OWN_HEAD_BYTES_LIKELY);
    let mut put = |parts: &[&[u8]]| parts.iter().for_each(|part| head.extend_from_slice(part));
    let reason = parts.status.canonical_reason().unwrap_or_default();
    let status = parts.status.as_str().as_bytes();
    put(&[word.version, b" ", status, b" ", reason.as_bytes(), CRLF]);
    let headers: &HeaderMap = &parts.headers;
    let is_length_ours = length.is_some() || word.framing != Framing::Length(0);
    for (name, value) in headers {
        let is_ours =
            *name == header::TRANSFER_ENCODING || *name == header::CONTENT_LENGTH && is_length_ours;
        if !is_ours {
            put(&[name.as_str().as_bytes(), b": ", value.as_bytes(), CRLF]);
        }
    }
    if let Some(length) = length {
        put(&[b"content-length: ", length.to_string().as_bytes(), CRLF]);
    } else if word.framing == Framing::Chunked {
        put(&[b"transfer-encoding: chunked", CRLF]);
    }
    if let Some(connection) = word.connection
        && !headers.contains_key(header::CONNECTION)
    {
        put(&[b"connection: ", connection, CRLF]);
    }
    put(&[CRLF]);
    head.into()
}

/// No more than a hint.
const OWN_HEAD_BYTES_LIKELY: usize = 512;
