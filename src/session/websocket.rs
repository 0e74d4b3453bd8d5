//! A session over WebSocket, RFC 6455, with permessage-deflate (RFC 7692) where that was agreed on ([`Deflate`]).
//!
//! Frames come deflated from whoever renders them; what the client sends is skipped, deflated or not.
//!
//! What the client sends is read and thrown away, whatever its size, but for PING (answered), CLOSE (echoed) and what breaks
//! the protocol (closed with 1002 and the reason that RESTHeart gives). Every byte of it is a sign of life. Who wants to
//! know what the client says brings a [`Listener`] ([`converse`]); streams have none, and do not pay for it.

mod deflate;
mod inflate;
mod listener;
mod reader;
mod violation;

use std::{
    future::poll_fn,
    mem,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use tokio::time::{Instant, timeout, timeout_at};
use tungstenite::protocol::{
    CloseFrame,
    frame::{
        Frame,
        coding::{CloseCode, Data, OpCode},
    },
};

pub use crate::session::websocket::{
    deflate::Deflate,
    listener::{Listener, Message},
    violation::Violation,
};

use crate::{
    delivery::{Ending, Outlet},
    session::{
        Closed, ClosedBy, ContentCoding, SessionSettings, Stream, Transport,
        client::{Client, READS_MAX, Written},
        close,
        coding::Coding,
        websocket::{
            listener::{Attentive, Deaf, Ear},
            reader::{FrameReader, Incoming},
        },
        writer::Writer,
    },
    wire::deflate::with_payload,
};

/// Serves one client until its session ends. The 101 is already written; `early` is what was read behind the request.
///
/// `deflate` is what was agreed on, if anything was; `expires` is when the client's credentials do.
pub fn serve<S>(
    stream: S,
    early: Bytes,
    deflate: Option<Deflate>,
    outlet: Outlet,
    settings: &SessionSettings,
    expires: Option<Instant>,
) -> impl Future<Output = Closed>
where
    S: Stream,
{
    hold(stream, early, deflate, outlet, settings, expires, Deaf)
}

/// As [`serve`], and `listener` hears the client's messages and answers them.
pub fn converse<S, L>(
    stream: S,
    early: Bytes,
    deflate: Option<Deflate>,
    outlet: Outlet,
    settings: &SessionSettings,
    expires: Option<Instant>,
    listener: L,
) -> impl Future<Output = Closed>
where
    S: Stream,
    L: Listener,
{
    let ear = Attentive::new(listener);
    hold(stream, early, deflate, outlet, settings, expires, ear)
}

/// Both of them: an `async fn` around this would keep its arguments beside it.
async fn hold<S, E>(
    stream: S,
    early: Bytes,
    deflate: Option<Deflate>,
    outlet: Outlet,
    settings: &SessionSettings,
    expires: Option<Instant>,
    ear: E,
) -> Closed
where
    S: Stream,
    E: Ear,
{
    let coding = Coding::new(ContentCoding::Identity);
    let client = Client::new(
        stream,
        outlet,
        settings,
        coding,
        expires,
        Transport::WebSocket,
    );
    let heartbeat = Heartbeat::quiet(settings);
    let mut conversation = Conversation {
        client,
        early,
        deflate,
        reader: FrameReader::new(deflate.is_some()),
        ear,
        heartbeat,
    };

    let mut by = poll_fn(|context| conversation.poll_live(context)).await;
    if let ClosedBy::Ending(_) = by {
        by = conversation.flush(by).await;
    }
    conversation.part(by).await;
    conversation.client.closed(by)
}

struct Conversation<'a, S, E> {
    client: Client<'a, S>,
    /// What was read behind the request and not heard yet.
    early: Bytes,
    /// How answers to messages are compressed.
    deflate: Option<Deflate>,
    reader: FrameReader,
    ear: E,
    heartbeat: Heartbeat,
}

/// Where we stand with asking the client whether it lives.
#[derive(Clone, Copy, Debug)]
enum Heartbeat {
    /// A PING is due then.
    Quiet { ping_at: Instant },
    /// A PING waits to be written. How long that may take is for the write timeout to say.
    Asking,
    /// The socket has the PING; without a sign of life the client is dead then.
    Asked { dead_at: Instant },
}

impl Heartbeat {
    fn quiet(settings: &SessionSettings) -> Self {
        Self::Quiet {
            ping_at: Instant::now() + settings.ping_interval,
        }
    }
}

impl<S, E> Conversation<'_, S, E>
where
    S: Stream,
    E: Ear,
{
    /// Listens and delivers, until there is a reason to end.
    fn poll_live(&mut self, context: &mut Context<'_>) -> Poll<ClosedBy> {
        loop {
            // First what the client says: it may have left, and a sign of life counts before a deadline.
            if let Poll::Ready(by) = self.poll_hear(context) {
                return Poll::Ready(by);
            }
            // Then an ending, before anything more is written.
            if let Poll::Ready(ending) = self.client.poll_ended(context) {
                return Poll::Ready(ClosedBy::Ending(ending));
            }
            let was_congested = self.client.writer.is_congested();
            match self.client.poll_write(context) {
                Poll::Ready(Written::Fault(fault)) => return Poll::Ready(fault.into()),
                Poll::Ready(Written::Progress) => {
                    self.heartbeat = Heartbeat::quiet(self.client.settings);
                    continue;
                }
                Poll::Pending => (),
            }
            if was_congested && !self.client.writer.is_congested() {
                continue;
            }
            if let Some(by) = ready!(self.poll_heartbeat(context)) {
                return Poll::Ready(by);
            }
        }
    }

    /// Hears all that the client has sent so far. One that does not read its PONGs is not heard until it does.
    fn poll_hear(&mut self, context: &mut Context<'_>) -> Poll<ClosedBy> {
        let early = mem::take(&mut self.early);
        let (reader, ear, deflate) = (&mut self.reader, &mut self.ear, self.deflate);
        if let Some(by) = hear(reader, ear, deflate, &early, &mut self.client.writer) {
            return Poll::Ready(by);
        }
        for _ in 0..READS_MAX {
            if self.client.writer.is_congested() {
                return Poll::Pending;
            }
            let (reader, ear) = (&mut self.reader, &mut self.ear);
            let heard = self.client.poll_read(context, |bytes, writer| {
                if bytes.is_empty() {
                    return Some(ClosedBy::ClientLeft);
                }
                hear(reader, ear, deflate, bytes, writer)
            });
            match ready!(heard) {
                Err(error) => return Poll::Ready(ClosedBy::Broken(error.kind())),
                Ok(Some(by)) => return Poll::Ready(by),
                Ok(None) => self.heartbeat = Heartbeat::quiet(self.client.settings),
            }
        }
        // There may be more, in the next turn.
        context.waker().wake_by_ref();
        Poll::Pending
    }

    /// Asks the client whether it lives when that is due. `None`: something is to be written, or an ending is there now.
    fn poll_heartbeat(&mut self, context: &mut Context<'_>) -> Poll<Option<ClosedBy>> {
        if let Heartbeat::Asking = self.heartbeat
            && !self.client.writer.has_urgent()
        {
            let dead_at = Instant::now() + self.client.settings.pong_timeout;
            self.heartbeat = Heartbeat::Asked { dead_at };
        }
        let due = match self.heartbeat {
            Heartbeat::Quiet { ping_at: at } | Heartbeat::Asked { dead_at: at } => Some(at),
            Heartbeat::Asking => None,
        };
        if let Err(fault) = ready!(self.client.poll_alarm(context, due)) {
            return Poll::Ready(Some(fault.into()));
        }
        if due.is_none_or(|due| Instant::now() < due) {
            return Poll::Ready(None);
        }
        match self.heartbeat {
            Heartbeat::Quiet { .. } => {
                self.client.writer.push_urgent(Bytes::from_static(&PING));
                self.heartbeat = Heartbeat::Asking;
                Poll::Ready(None)
            }
            Heartbeat::Asking => Poll::Ready(None),
            Heartbeat::Asked { .. } => Poll::Ready(Some(ClosedBy::Silent)),
        }
    }

    /// Writes what the ending leaves to be written, and still listens. What is not written in time is dropped.
    async fn flush(&mut self, by: ClosedBy) -> ClosedBy {
        let within = self.client.settings.close_timeout;
        let flushed = poll_fn(|context| {
            if let Poll::Ready(by) = self.poll_hear(context) {
                return Poll::Ready(by);
            }
            match ready!(self.client.poll_flush(context)) {
                Ok(ending) => Poll::Ready(ClosedBy::Ending(ending)),
                Err(fault) => Poll::Ready(fault.into()),
            }
        });
        let flushed = timeout(within, flushed).await;
        flushed.unwrap_or_else(|_| self.client.ended().map_or(by, ClosedBy::Ending))
    }

    /// Says why, if there is somebody to hear it, and ends the connection. Source: RFC 6455 sections 7.1.1 and 7.1.7.
    async fn part(&mut self, by: ClosedBy) {
        let farewell = match by {
            ClosedBy::Ending(ending) => ending_frame(ending),
            ClosedBy::Client(code) => close_frame(code, ""),
            ClosedBy::ClientLeft => close_frame(None, ""),
            ClosedBy::Violation(violation) => {
                close_frame(Some(violation.code()), &violation.to_string())
            }
            ClosedBy::Silent | ClosedBy::Stuck | ClosedBy::Broken(_) => return,
        };
        let until = Instant::now() + self.client.settings.close_timeout;
        self.client.finish(&farewell);
        if !self.client.write_rest(until).await {
            return;
        }
        if let ClosedBy::Ending(_) = by {
            // Whatever the client says, be it its CLOSE, a breach or nothing, the end is the same.
            drop(timeout_at(until, poll_fn(|context| self.poll_hear(context))).await);
        }
        self.client.hang_up(until).await;
    }
}

/// Hears `bytes`, and answers what wants an answer.
fn hear(
    reader: &mut FrameReader,
    ear: &mut impl Ear,
    deflate: Option<Deflate>,
    mut bytes: &[u8],
    writer: &mut Writer,
) -> Option<ClosedBy> {
    loop {
        match reader.read(&mut bytes, ear) {
            Ok(None) => return None,
            Ok(Some(Incoming::Message(answer))) => {
                writer.push_urgent(message_frame(answer, deflate));
            }
            Ok(Some(Incoming::Ping(payload))) => writer.push_urgent(framed(Frame::pong(payload))),
            Ok(Some(Incoming::Close(code))) => return Some(ClosedBy::Client(code)),
            Err(violation) => return Some(ClosedBy::Violation(violation)),
        }
    }
}

fn ending_frame(ending: Ending) -> Bytes {
    let (code, reason) = close::code(ending);
    close_frame(Some(code), reason)
}

fn close_frame(code: Option<u16>, reason: &str) -> Bytes {
    let close = code.map(|code| CloseFrame {
        code: CloseCode::from(code),
        reason: reason.into(),
    });
    framed(Frame::close(close))
}

fn message_frame(message: Message, deflate: Option<Deflate>) -> Bytes {
    let (payload, kind) = match message {
        Message::Text(text) => (text.into_bytes(), Data::Text),
        Message::Binary(bytes) => (bytes, Data::Binary),
    };
    let deflated = deflate.and_then(|deflate| {
        with_payload(&payload, deflate.window(), |deflated| {
            deflated.map(<[u8]>::to_vec)
        })
    });
    let is_deflated = deflated.is_some();
    let payload = deflated.unwrap_or(payload);
    let mut frame = Frame::message(payload, OpCode::Data(kind), true);
    frame.header_mut().rsv1 = is_deflated;
    framed(frame)
}

fn framed(frame: Frame) -> Bytes {
    let mut bytes = Vec::with_capacity(frame.len());
    frame
        .format(&mut bytes)
        .expect("invariant: a vector takes whatever is written to it");
    Bytes::from(bytes)
}

/// A whole PING without payload.
const PING: [u8; 2] = [0x89, 0];

#[cfg(test)]
mod tests;
