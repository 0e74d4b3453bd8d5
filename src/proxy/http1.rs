//! A client's connection of HTTP/1: requests are read from it and answers written to it, one at a time.
//!
//! Each head is read here, byte by byte as it came ([`RawHead`]), since targets that people type are none for `http::Uri`
//! (`?filter={"from":"Bob"}`), and what can be read in two ways must not be read at all.
//!
//! What comes behind a request stays here until its answer is complete. So a connection that is taken over (a WebSocket, a
//! stream) gets every byte behind the head, in [`Http1::into_parts`]; and a refusal is never written into the middle of the
//! answer before it.
//!
//! A client that sends FIN while it waits may have gone or only have closed its half. TCP does not say which, so such a
//! request goes on for [`HeadSettings::half_close_grace`] and longer only while its answer is being written: a client
//! that has gone resets the connection then.

mod answer;
mod body;
mod reading;

use std::{
    future::poll_fn,
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{Method, Request, Response, Version};
use tokio::io::{AsyncRead, AsyncWrite};

use self::{answer::Answering, reading::Reader};
use super::{
    ClientBody, HeadSettings, ProxyBody,
    fields::Head,
    head::{Link, Refusal},
};

pub use self::body::Http1Body;

/// A client's connection of HTTP/1.
#[derive(Debug)]
pub struct Http1<S> {
    /// Shared with the body of the request that is being answered; nobody else has it, and nobody waits for it.
    reader: Arc<Mutex<Reader<S>>>,
    link: Arc<Link>,
}

/// Why there is no request.
#[derive(Debug)]
pub enum Over {
    /// The client has nothing more to say.
    End,
    /// What came is no request, or one that is not served.
    Refused(Refusal),
    /// The socket broke.
    Broken(io::Error),
}

/// What an answer must know of its request.
#[derive(Clone, Copy, Debug)]
pub struct Asked {
    version: Version,
    is_head: bool,
    /// The connection may be used again.
    stays: bool,
    takes_trailers: bool,
}

/// An answer was not written whole.
#[derive(Debug, thiserror::Error)]
#[error("the answer broke off: {source}")]
pub struct BrokenOff {
    #[source]
    source: io::Error,
    /// The client takes it for whole if the connection just ends.
    pub looks_whole: bool,
}

/// What an answer leaves behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Left {
    /// A connection for the next request.
    Open,
    /// One that is to be closed.
    Closing,
}

impl<S> Http1<S>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    /// Takes a fresh connection.
    pub fn new(io: S, settings: Arc<HeadSettings>) -> Self {
        Self {
            reader: Arc::new(Mutex::new(Reader::new(io, settings))),
            link: Arc::default(),
        }
    }

    /// Waits for the next request, as long as [`HeadSettings`] lets it.
    ///
    /// # Errors
    /// [`Over`].
    pub fn poll_request(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(Request<ClientBody>, Asked), Over>> {
        let mut reader = lock(&self.reader);
        let head = ready!(reader.poll_head(cx))?;
        let has_body = reader.is_in_body();
        drop(reader);
        let asked = Asked::new(&head);
        let (mut parts, raw) = (head.parts, head.raw);
        parts.extensions.insert(raw.on(Arc::clone(&self.link)));
        let body = match has_body {
            true => ClientBody::Http1(Http1Body::new(
                Arc::clone(&self.reader) as Arc<dyn body::Source>
            )),
            false => ClientBody::Empty,
        };
        let request = Request::from_parts(parts, body);
        Poll::Ready(Ok((request, asked)))
    }

    /// Watches a client that waits for its answer, and tells it what comes before that: is ready once the client has gone.
    pub fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut reader = lock(&self.reader);
        match reader.write_interim(&self.link, cx) {
            Ok(()) => reader.poll_gone(cx),
            Err(_) => Poll::Ready(()),
        }
    }

    /// Writes an answer. `may_stay`: the connection may be used again.
    ///
    /// # Errors
    /// [`BrokenOff`]: the socket or the body broke, or the client has gone.
    ///
    /// # Cancel safety
    /// Dropping it breaks the answer off; the connection must be dropped, too.
    pub async fn answer(
        &mut self,
        response: Response<ProxyBody>,
        asked: Asked,
        may_stay: bool,
    ) -> Result<Left, BrokenOff> {
        let mut answering = Answering::new(response, asked, may_stay);
        let written = poll_fn(|cx| answering.poll(&self.reader, &self.link, cx)).await;
        let looks_whole = answering.ends_at_close();
        written.map_err(|source| BrokenOff {
            source,
            looks_whole,
        })?;
        let left = answering.left();
        // With its body goes what of the request is still shared.
        drop(answering);
        lock(&self.reader).finish();
        Ok(left)
    }

    /// Looks, without waiting, whether the client has said more.
    pub async fn look(&mut self) {
        poll_fn(|cx| {
            lock(&self.reader).look(cx);
            Poll::Ready(())
        })
        .await;
    }

    /// Returns whether closing now could destroy the answer: the client may still be sending what nobody will read.
    pub fn has_unread(&self) -> bool {
        lock(&self.reader).has_unread()
    }

    /// Returns whether the connection has brought no request yet.
    pub fn is_fresh(&self) -> bool {
        lock(&self.reader).is_fresh()
    }

    /// Returns the socket, and what was read behind the last request. `None`, if somebody still reads that one's body.
    pub fn into_parts(self) -> Option<(S, Bytes)> {
        let reader = Arc::into_inner(self.reader)?;
        let reader = reader.into_inner().unwrap_or_else(PoisonError::into_inner);
        Some(reader.into_parts())
    }
}

impl Asked {
    fn new(head: &reading::Asking) -> Self {
        let fields: &Head = head.raw.head();
        Self {
            version: head.parts.version,
            is_head: head.parts.method == Method::HEAD,
            stays: match head.parts.version {
                Version::HTTP_10 => {
                    fields.has_option(b"keep-alive") && !fields.has_option(b"close")
                }
                _ => !fields.has_option(b"close"),
            },
            takes_trailers: fields.takes_trailers(),
        }
    }
}

fn lock<S>(reader: &Mutex<Reader<S>>) -> MutexGuard<'_, Reader<S>> {
    reader.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
