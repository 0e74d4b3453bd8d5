//! What comes back: the head, the body, WebSocket frames, SSE events.

use std::io::{Error, ErrorKind, Result, Write};
use std::sync::{Arc, Mutex};

use flate2::write::{DeflateDecoder, GzDecoder, ZlibDecoder};
use flate2::{Decompress, FlushDecompress, Status};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::watch;
use tokio::time::Instant;

use super::frames::{CLOSE, Frame, PING, PONG, TEXT};
use super::{Event, Kind, Received, Request};

#[derive(Clone)]
pub(super) struct Head {
    pub(super) status: Option<u16>,
    pub(super) fields: Vec<(String, String)>,
    pub(super) kind: Kind,
}

impl Default for Head {
    fn default() -> Self {
        Self {
            status: None,
            fields: Vec::new(),
            kind: Kind::None,
        }
    }
}

impl Head {
    fn field(&self, name: &str) -> Option<&str> {
        let found = self.fields.iter().rev().find(|(key, _)| key == name);
        found.map(|(_, value)| value.as_str())
    }

    fn is_chunked(&self) -> bool {
        self.field("transfer-encoding")
            .is_some_and(|value| value.contains("chunked"))
    }
}

pub(super) struct Reader {
    stream: OwnedReadHalf,
    buffer: Vec<u8>,
}

impl Reader {
    pub(super) fn new(stream: OwnedReadHalf) -> Self {
        Self {
            stream,
            buffer: Vec::new(),
        }
    }

    /// Reads the final head, and the body if it is no stream.
    pub(super) async fn answer(&mut self, request: &Request) -> Result<(Head, Vec<u8>)> {
        let mut head = self.head().await?;
        while head.status == Some(100) {
            head = self.head().await?;
        }
        let status = head.status.expect("a head was read");
        let is_events = head
            .field("content-type")
            .is_some_and(|value| value.starts_with("text/event-stream"));
        head.kind = match status {
            101 => Kind::WebSocket,
            200 if is_events => Kind::Sse,
            _ => Kind::Http,
        };
        if head.kind != Kind::Http || request.is_head() || matches!(status, 204 | 304) {
            return Ok((head, Vec::new()));
        }
        let mut body = Vec::new();
        if head.is_chunked() {
            while let Some(chunk) = self.chunk().await? {
                body.extend(chunk);
            }
        } else if let Some(length) = head.field("content-length") {
            let length = length.parse().map_err(|_| malformed("length", length))?;
            body = self.exactly(length).await?;
        } else {
            while self.more().await.is_ok() {}
            body.append(&mut self.buffer);
        }
        let mut decoder = Decoder::of(&head);
        Ok((head, decoder.decode(&body)?))
    }

    /// Collects what comes until the end of the connection.
    pub(super) async fn pump(
        mut self,
        head: Head,
        received: Arc<Mutex<Received>>,
        tell: watch::Sender<()>,
        echo: Option<Arc<tokio::sync::Mutex<OwnedWriteHalf>>>,
    ) {
        let note = |how: &mut dyn FnMut(&mut Received)| {
            let mut received = received.lock().expect("no reader panics");
            how(&mut received);
            received.last = Some(Instant::now());
            tell.send_replace(());
        };
        // The end of the stream is what it ends with, whichever way it comes.
        let end = match head.kind {
            Kind::WebSocket => self.frames(&head, note, echo).await,
            _ => self.events(&head, note).await,
        };
        let broken = end.err().filter(|error| error.kind() == ErrorKind::Other);
        note(&mut |received| {
            received.ended = true;
            // No test expects such a message, so whichever looks at it fails.
            if let Some(error) = &broken {
                received.frames.push(format!("<broken: {error}>"));
            }
        });
    }

    async fn frames(
        &mut self,
        head: &Head,
        note: impl Fn(&mut dyn FnMut(&mut Received)),
        echo: Option<Arc<tokio::sync::Mutex<OwnedWriteHalf>>>,
    ) -> Result<()> {
        let (mut message, mut kind, mut is_deflated) = (Vec::new(), 0, false);
        let agreed = head.field("sec-websocket-extensions").unwrap_or_default();
        let may_deflate = agreed.starts_with("permessage-deflate");
        loop {
            let (frame, is_last) = self.frame().await?;
            let may_be_deflated = may_deflate && matches!(frame.opcode, 1 | 2);
            if frame.reserved != 0 && !(may_be_deflated && frame.reserved == 4) {
                return Err(malformed("frame", &format!("{frame:?}")));
            }
            let payload = frame.payload;
            match frame.opcode {
                CLOSE => {
                    let code = payload
                        .first_chunk()
                        .map_or(1005, |code| u16::from_be_bytes(*code));
                    let reason = payload.get(2..).unwrap_or_default();
                    let reason = String::from_utf8_lossy(reason).into_owned();
                    note(&mut |received| received.close = Some((code, reason.clone())));
                    if let Some(writer) = &echo {
                        let bytes = Frame::new(CLOSE, payload).bytes();
                        drop(writer.lock().await.write_all(&bytes).await);
                    }
                }
                PING => {
                    note(&mut |received| received.pings += 1);
                    if let Some(writer) = &echo {
                        let bytes = Frame::new(PONG, payload).bytes();
                        drop(writer.lock().await.write_all(&bytes).await);
                    }
                }
                PONG => note(&mut |received| received.pongs.push(payload.clone())),
                opcode => {
                    if opcode != 0 {
                        kind = opcode;
                        is_deflated = frame.reserved != 0;
                    }
                    message.extend(payload);
                    if is_last {
                        let came = (message.len(), is_deflated);
                        let mut message = std::mem::take(&mut message);
                        if is_deflated {
                            message = inflated(message)?;
                        }
                        let text = match String::from_utf8(message) {
                            Ok(text) if kind == TEXT => text,
                            Ok(text) => format!("<binary>{}", hex(text.as_bytes())),
                            Err(error) => format!("<binary>{}", hex(error.as_bytes())),
                        };
                        note(&mut |received| {
                            received.payloads.push(came);
                            received.frames.push(text.clone());
                        });
                    }
                }
            }
        }
    }

    async fn frame(&mut self) -> Result<(Frame, bool)> {
        let head = self.exactly(2).await?;
        let length = match head[1] & 127 {
            126 => {
                let bytes = self.exactly(2).await?;
                u64::from(u16::from_be_bytes([bytes[0], bytes[1]]))
            }
            127 => {
                let bytes = self.exactly(8).await?;
                u64::from_be_bytes(bytes.try_into().expect("eight were read"))
            }
            short => u64::from(short),
        };
        if head[1] & 128 != 0 {
            // A server must not mask (RFC 6455, 5.1).
            return Err(malformed("frame", &hex(&head)));
        }
        let length = usize::try_from(length).map_err(Error::other)?;
        let payload = self.exactly(length).await?;
        let mut frame = Frame::new(head[0] & 15, payload);
        frame.reserved = head[0] >> 4 & 7;
        Ok((frame, head[0] & 128 != 0))
    }

    async fn events(
        &mut self,
        head: &Head,
        note: impl Fn(&mut dyn FnMut(&mut Received)),
    ) -> Result<()> {
        let mut decoder = Decoder::of(head);
        loop {
            let data = if head.is_chunked() {
                let Some(chunk) = self.chunk().await? else {
                    return Ok(());
                };
                chunk
            } else {
                if self.buffer.is_empty() {
                    self.more().await?;
                }
                std::mem::take(&mut self.buffer)
            };
            let data = decoder.decode(&data)?;
            note(&mut |received| {
                // From the last byte on, since an event ends with two.
                let new = received.body.len().saturating_sub(1);
                received.body.extend(&data);
                if memchr::memmem::find(&received.body[new..], b"\n\n").is_none() {
                    return;
                }
                received.events = parse_events(&String::from_utf8_lossy(&received.body));
            });
        }
    }

    async fn head(&mut self) -> Result<Head> {
        let line = self.line().await?;
        let status = line
            .strip_prefix("HTTP/1.0 ")
            .or(line.strip_prefix("HTTP/1.1 "));
        let status = status
            .and_then(|rest| rest.get(..3))
            .and_then(|code| code.parse().ok());
        let status = status.ok_or_else(|| malformed("status line", &line))?;
        let mut fields = Vec::new();
        loop {
            let line = self.line().await?;
            if line.is_empty() {
                return Ok(Head {
                    status: Some(status),
                    fields,
                    kind: Kind::None,
                });
            }
            let (name, value) = line
                .split_once(':')
                .ok_or_else(|| malformed("field", &line))?;
            fields.push((name.to_lowercase(), value.trim().to_owned()));
        }
    }

    async fn chunk(&mut self) -> Result<Option<Vec<u8>>> {
        let line = self.line().await?;
        let length = line.split(';').next().unwrap_or_default().trim();
        let length = usize::from_str_radix(length, 16).map_err(|_| malformed("chunk", &line))?;
        let chunk = self.exactly(length).await?;
        while !self.line().await?.is_empty() {
            // Only trailers may follow, and only the last chunk.
            if length > 0 {
                return Err(malformed("chunk", &line));
            }
        }
        Ok((length > 0).then_some(chunk))
    }

    /// Reads a line; its bytes are read as Latin-1, so that none is lost.
    async fn line(&mut self) -> Result<String> {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.buffer.drain(..=end).collect();
                let text: String = line.iter().map(|byte| char::from(*byte)).collect();
                return Ok(text.trim_end_matches(['\r', '\n']).to_owned());
            }
            self.more().await?;
        }
    }

    async fn exactly(&mut self, length: usize) -> Result<Vec<u8>> {
        while self.buffer.len() < length {
            self.more().await?;
        }
        Ok(self.buffer.drain(..length).collect())
    }

    async fn more(&mut self) -> Result<()> {
        match self.stream.read_buf(&mut self.buffer).await? {
            0 => Err(ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }
}

/// What undoes the content coding of a body that comes bit by bit.
enum Decoder {
    Identity,
    Gzip(GzDecoder<Vec<u8>>),
    /// `deflate` is a zlib stream by RFC 9110, and a bare one in many servers: the first byte tells.
    Unknown,
    Zlib(ZlibDecoder<Vec<u8>>),
    Deflate(DeflateDecoder<Vec<u8>>),
}

impl Decoder {
    fn of(head: &Head) -> Self {
        match head.field("content-encoding") {
            Some("gzip") => Self::Gzip(GzDecoder::new(Vec::new())),
            Some("deflate") => Self::Unknown,
            _ => Self::Identity,
        }
    }

    fn decode(&mut self, data: &[u8]) -> Result<Vec<u8>> {
        if let (Self::Unknown, Some(first)) = (&*self, data.first()) {
            *self = match first {
                0x78 => Self::Zlib(ZlibDecoder::new(Vec::new())),
                _ => Self::Deflate(DeflateDecoder::new(Vec::new())),
            };
        }
        let out = match self {
            Self::Identity | Self::Unknown => return Ok(data.to_vec()),
            Self::Gzip(decoder) => {
                decoder.write_all(data)?;
                decoder.flush()?;
                decoder.get_mut()
            }
            Self::Zlib(decoder) => {
                decoder.write_all(data)?;
                decoder.flush()?;
                decoder.get_mut()
            }
            Self::Deflate(decoder) => {
                decoder.write_all(data)?;
                decoder.flush()?;
                decoder.get_mut()
            }
        };
        Ok(std::mem::take(out))
    }
}

fn parse_events(body: &str) -> Vec<Event> {
    let body = body.replace("\r\n", "\n");
    // What stands behind the last empty line is not complete yet.
    let Some((complete, _)) = body.rsplit_once("\n\n") else {
        return Vec::new();
    };
    let events = complete.split("\n\n").map(|block| {
        let mut event = Event::new();
        for line in block
            .lines()
            .filter(|line| !line.is_empty() && !line.starts_with(':'))
        {
            let (name, value) = line.split_once(':').unwrap_or((line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            event
                .entry(name.to_owned())
                .and_modify(|old| *old = format!("{old}\n{value}"))
                .or_insert_with(|| value.to_owned());
        }
        event
    });
    events.filter(|event| !event.is_empty()).collect()
}

/// Inflates a message that looks at none before it. Source: RFC 7692 section 7.2.2.
fn inflated(mut payload: Vec<u8>) -> Result<Vec<u8>> {
    payload.extend([0, 0, 0xff, 0xff]);
    let (mut inflater, mut message) = (Decompress::new(false), Vec::new());
    loop {
        message.reserve(message.len().max(1024));
        let rest = &payload[inflater.total_in() as usize..];
        let made = inflater.total_out();
        let status = inflater.decompress_vec(rest, &mut message, FlushDecompress::None);
        let is_all = inflater.total_in() as usize == payload.len();
        match status.map_err(Error::other)? {
            Status::Ok | Status::BufError if is_all && made == inflater.total_out() => {
                return Ok(message);
            }
            Status::Ok | Status::BufError if !rest.is_empty() || made < inflater.total_out() => (),
            other => return Err(malformed("message", &format!("{other:?}"))),
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn malformed(what: &str, text: &str) -> Error {
    Error::other(format!("malformed {what}: {text}"))
}
