//! A body as it goes to a socket.

use std::{
    collections::HashSet,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, header};
use hyper::body::Body;

use super::{Framing, Outbox};
use crate::proxy::{BodyError, fields::CRLF};

/// A body ended before its length, or has more than that.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the body has not the length that its head says")]
pub(crate) struct WrongLength;

/// Puts a body on its way.
#[derive(Debug)]
pub(crate) struct Encoder {
    framing: Framing,
    /// The trailers that its head names.
    trailers: HashSet<HeaderName>,
    /// All of the body is in the outbox, or has left it.
    has_ended: bool,
}

impl Encoder {
    /// `trailers`: what the head says of them, by the values of `Trailer`. Others are not sent: who reads a body may have to know
    /// of them before (RFC 9110 §6.6.2).
    pub(crate) fn new<'a>(framing: Framing, trailers: impl Iterator<Item = &'a [u8]>) -> Self {
        let names = trailers.filter_map(|name| HeaderName::from_bytes(name).ok());
        Self {
            framing,
            trailers: names.filter(is_sound_trailer).collect(),
            has_ended: false,
        }
    }

    /// For a message without a body, whatever there is of one.
    pub(crate) fn nothing() -> Self {
        Self {
            framing: Framing::Length(0),
            trailers: HashSet::new(),
            has_ended: true,
        }
    }

    /// Returns whether all of the body has been put on its way.
    pub(crate) fn has_ended(&self) -> bool {
        self.has_ended
    }

    /// Takes from `body` what there is room for. Pending, if there is more room than body.
    ///
    /// # Errors
    /// The body's own, and [`WrongLength`].
    pub(crate) fn poll_fill<B>(
        &mut self,
        body: &mut B,
        outbox: &mut Outbox,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), BodyError>>
    where
        B: Body<Data = Bytes, Error = BodyError> + Unpin,
    {
        while outbox.has_room() && !self.has_ended {
            let frame = match body.is_end_stream() {
                true => None,
                false => ready!(Pin::new(&mut *body).poll_frame(cx)),
            };
            let Some(frame) = frame else {
                self.has_ended = true;
                self.end(outbox)?;
                break;
            };
            match frame?.into_data() {
                Ok(data) => {
                    self.has_ended = body.is_end_stream();
                    self.data(data, self.has_ended, outbox)?;
                }
                Err(frame) => {
                    if let Ok(trailers) = frame.into_trailers() {
                        self.trailers(&trailers, outbox);
                    }
                }
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Sends data. `is_last`: nothing comes behind it.
    ///
    /// # Errors
    /// [`WrongLength`].
    pub(super) fn data(
        &mut self,
        data: Bytes,
        is_last: bool,
        outbox: &mut Outbox,
    ) -> Result<(), WrongLength> {
        match &mut self.framing {
            Framing::Length(left) => {
                *left = left.checked_sub(data.len() as u64).ok_or(WrongLength)?;
                if is_last && *left > 0 {
                    return Err(WrongLength);
                }
                outbox.put(data, b"");
            }
            Framing::Close => outbox.put(data, b""),
            Framing::Chunked if data.is_empty() => {
                // An empty chunk would be the last one.
                if is_last {
                    self.end(outbox)?;
                }
            }
            Framing::Chunked => {
                outbox.put_chunk_size(data.len());
                outbox.put(data, if is_last { CHUNK_END_AND_LAST } else { CRLF });
                if is_last {
                    self.framing = Framing::Length(0);
                }
            }
        }
        Ok(())
    }

    /// Sends trailers, where they were named, and ends the body.
    pub(super) fn trailers(&mut self, trailers: &HeaderMap, outbox: &mut Outbox) {
        if self.framing != Framing::Chunked {
            return;
        }
        outbox.put_slice(b"0\r\n");
        let named = |name: &HeaderName| self.trailers.contains(name);
        for (name, value) in trailers.iter().filter(|(name, _)| named(name)) {
            for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), CRLF] {
                outbox.put_slice(part);
            }
        }
        outbox.put_slice(CRLF);
        self.framing = Framing::Length(0);
    }

    /// Ends the body.
    ///
    /// # Errors
    /// [`WrongLength`].
    pub(super) fn end(&mut self, outbox: &mut Outbox) -> Result<(), WrongLength> {
        match self.framing {
            Framing::Length(0) | Framing::Close => Ok(()),
            Framing::Length(_) => Err(WrongLength),
            Framing::Chunked => {
                outbox.put_slice(LAST_CHUNK);
                self.framing = Framing::Length(0);
                Ok(())
            }
        }
    }
}

/// What must not come behind a body: whoever has read its head has acted on that already. Source: RFC 9110 §6.5.1.
fn is_sound_trailer(name: &HeaderName) -> bool {
    ![
        header::AUTHORIZATION,
        header::CACHE_CONTROL,
        header::CONTENT_ENCODING,
        header::CONTENT_LENGTH,
        header::CONTENT_RANGE,
        header::CONTENT_TYPE,
        header::HOST,
        header::MAX_FORWARDS,
        header::SET_COOKIE,
        header::TRAILER,
        header::TRANSFER_ENCODING,
        header::TE,
    ]
    .contains(name)
}

const LAST_CHUNK: &[u8] = b"0\r\n\r\n";
const CHUNK_END_AND_LAST: &[u8] = b"\r\n0\r\n\r\n";
