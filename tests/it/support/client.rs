//! A client on the bare socket: it sends exactly the bytes it is told, and hides nothing of what comes back.

mod frames;
mod reader;
mod request;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedWriteHalf;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

pub(crate) use frames::Frame;
pub(crate) use request::Request;

use reader::{Head, Reader};

/// What kind of answer came.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Kind {
    WebSocket,
    Sse,
    Http,
    /// TCP was closed without an answer.
    None,
}

/// An event of an SSE stream: its fields by name.
pub(crate) type Event = BTreeMap<String, String>;

/// How a session ended, as the client saw it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Close {
    /// A CLOSE frame (1005: without a code), or the end of TCP without one (1006).
    WebSocket { code: u16, reason: String },
    /// A CLOSE frame came, but TCP is still open.
    HalfDone { code: u16, reason: String },
    /// The body's end.
    Sse,
}

/// All that has arrived until now.
#[derive(Default)]
pub(crate) struct Received {
    /// The texts of WebSocket messages; of a binary one, `<binary>` and its hex digits.
    pub(crate) frames: Vec<String>,
    /// Of each message how many bytes came, and whether they were deflated.
    pub(crate) payloads: Vec<(usize, bool)>,
    pub(crate) events: Vec<Event>,
    pub(crate) pongs: Vec<Vec<u8>>,
    pub(crate) pings: usize,
    pub(crate) close: Option<(u16, String)>,
    pub(crate) ended: bool,
    /// The body of an SSE answer as it was, decoded.
    pub(crate) body: Vec<u8>,
    last: Option<Instant>,
}

/// One connection. Dropping it ends TCP.
pub(crate) struct Client {
    pub(crate) kind: Kind,
    head: Head,
    body: String,
    received: Arc<Mutex<Received>>,
    changed: watch::Receiver<()>,
    writer: Arc<tokio::sync::Mutex<OwnedWriteHalf>>,
    pump: Option<JoinHandle<()>>,
    /// How many messages [`Self::next`] has given.
    taken: usize,
}

impl Client {
    /// Connects, sends the request, and reads the answer's head, and its body if that ends.
    ///
    /// # Panics
    /// If the address refuses, or no answer comes within `HEAD_WAIT`.
    #[track_caller]
    pub(crate) fn open(
        address: SocketAddr,
        request: &Request,
    ) -> impl Future<Output = Self> + use<> {
        let caller = std::panic::Location::caller();
        let request = request.clone();
        async move {
            let opened = timeout(HEAD_WAIT, Self::try_open(address, &request)).await;
            match opened {
                Ok(Ok(client)) => client,
                Ok(Err(error)) => panic!("{caller}: cannot connect to {address}: {error}"),
                Err(_) => panic!("{caller}: no answer to {}", request.title()),
            }
        }
    }

    async fn try_open(address: SocketAddr, request: &Request) -> std::io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let (read, mut write) = stream.into_split();
        // A server may refuse by closing before it has read all: what it said then still counts.
        let sent = write.write_all(&request.bytes(&address.to_string())).await;
        if sent.is_ok() && request.half_close {
            write.shutdown().await?;
        }
        let mut reader = Reader::new(read);
        let (tell, changed) = watch::channel(());
        let received = Arc::new(Mutex::new(Received::default()));
        let mut client = Self {
            kind: Kind::None,
            head: Head::default(),
            body: String::new(),
            received: Arc::clone(&received),
            changed,
            writer: Arc::new(tokio::sync::Mutex::new(write)),
            pump: None,
            taken: 0,
        };
        let Ok((head, body)) = reader.answer(request).await else {
            client.update(|received| received.ended = true);
            return Ok(client);
        };
        client.kind = head.kind;
        client.head = head;
        client.body = String::from_utf8_lossy(&body).into_owned();
        if matches!(client.kind, Kind::WebSocket | Kind::Sse) {
            let writer = request.echo_close.then(|| Arc::clone(&client.writer));
            let pump = reader.pump(client.head.clone(), received, tell, writer);
            client.pump = Some(tokio::spawn(pump));
        }
        Ok(client)
    }

    /// Returns the status, `None` where TCP was closed without an answer.
    pub(crate) fn status(&self) -> Option<u16> {
        self.head.status
    }

    /// Returns the header fields in their order; names are lower case, values bytes read as Latin-1.
    pub(crate) fn headers(&self) -> &[(String, String)] {
        &self.head.fields
    }

    /// Returns a header field; repeated ones are joined by ` | `.
    pub(crate) fn header(&self, name: &str) -> Option<String> {
        let values = self.head.fields.iter().filter(|(key, _)| key == name);
        let values: Vec<_> = values.map(|(_, value)| value.as_str()).collect();
        (!values.is_empty()).then(|| values.join(" | "))
    }

    /// Returns the body of an answer that was no stream, decoded.
    pub(crate) fn body(&self) -> &str {
        &self.body
    }

    /// Looks at what has arrived until now.
    pub(crate) fn look<T>(&self, at: impl FnOnce(&Received) -> T) -> T {
        at(&self.received.lock().expect("no reader panics"))
    }

    fn update(&self, how: impl FnOnce(&mut Received)) {
        how(&mut self.received.lock().expect("no reader panics"));
    }

    /// Returns how many messages [`Self::next`] has given.
    pub(crate) fn taken(&self) -> usize {
        self.taken
    }

    /// Returns how many messages have arrived: WebSocket messages or SSE events.
    pub(crate) fn count(&self) -> usize {
        self.look(|received| received.frames.len() + received.events.len())
    }

    /// Waits until `condition` holds of what has arrived; `false` if it does not within the time.
    pub(crate) async fn wait(
        &self,
        within: Duration,
        condition: impl Fn(&Received) -> bool,
    ) -> bool {
        let mut changed = self.changed.clone();
        let holds = async {
            loop {
                changed.borrow_and_update();
                if self.look(&condition) {
                    return true;
                }
                if changed.changed().await.is_err() {
                    return self.look(&condition);
                }
            }
        };
        timeout(within, holds).await.unwrap_or(false)
    }

    /// Waits for the next message and returns its text (of an event: its `data`).
    ///
    /// # Panics
    /// If the session ends or `MESSAGE_WAIT` passes first.
    #[track_caller]
    pub(crate) fn next(&mut self) -> impl Future<Output = String> {
        let caller = std::panic::Location::caller();
        async move {
            let nth = self.taken;
            let there = |received: &Received| received.frames.len() + received.events.len() > nth;
            self.wait(MESSAGE_WAIT, |received| there(received) || received.ended)
                .await;
            let found = self.look(|received| match self.kind {
                Kind::Sse => received.events.get(nth).map(|event| event["data"].clone()),
                _ => received.frames.get(nth).cloned(),
            });
            self.taken += 1;
            found.unwrap_or_else(|| panic!("{caller}: no message {nth}: {}", self.state()))
        }
    }

    /// Waits for the end of the session: the CLOSE frame and the end of TCP, or the end of the SSE body.
    ///
    /// # Panics
    /// If it does not come within `MESSAGE_WAIT`.
    #[track_caller]
    pub(crate) fn closed(&self) -> impl Future<Output = Close> {
        let caller = std::panic::Location::caller();
        async move {
            self.wait(MESSAGE_WAIT, |received| received.ended).await;
            match self.close() {
                Some(close @ (Close::WebSocket { .. } | Close::Sse)) => close,
                _ => panic!("{caller}: still open: {}", self.state()),
            }
        }
    }

    /// Waits for the end of the session and returns its code: of the CLOSE frame, or of SSE's `close` event.
    ///
    /// # Panics
    /// As [`Self::closed`]; and if SSE ended without telling why.
    #[track_caller]
    pub(crate) fn close_code(&self) -> impl Future<Output = u16> {
        let closed = self.closed();
        async move {
            match closed.await {
                Close::WebSocket { code, .. } | Close::HalfDone { code, .. } => code,
                Close::Sse => {
                    let told = self.look(|received| received.events.last().cloned());
                    let told = told.filter(|event| event["event"] == "close");
                    let told = told.unwrap_or_else(|| panic!("no reason: {}", self.state()));
                    let data: serde_json::Value =
                        serde_json::from_str(&told["data"]).expect("it is JSON");
                    let code = data["code"].as_u64().expect("it has a code");
                    u16::try_from(code).expect("a code is small")
                }
            }
        }
    }

    /// Returns how the session ended, `None` while it is open.
    pub(crate) fn close(&self) -> Option<Close> {
        let kind = self.kind;
        self.look(|received| match (&received.close, received.ended) {
            (Some((code, reason)), true) => Some(Close::WebSocket {
                code: *code,
                reason: reason.clone(),
            }),
            (Some((code, reason)), false) => Some(Close::HalfDone {
                code: *code,
                reason: reason.clone(),
            }),
            (None, true) if kind == Kind::WebSocket => Some(Close::WebSocket {
                code: 1006,
                reason: String::new(),
            }),
            (None, true) => Some(Close::Sse),
            (None, false) => None,
        })
    }

    /// Listens until no message and no end has come for `silence`. Pings and comments are no messages.
    pub(crate) async fn quiet(&self, silence: Duration) {
        let heard = |received: &Received| {
            let messages = received.frames.len() + received.events.len() + received.pongs.len();
            (messages, received.close.is_some(), received.ended)
        };
        loop {
            let before = self.look(heard);
            if !self
                .wait(silence, |received| heard(received) != before)
                .await
            {
                return;
            }
        }
    }

    /// Asserts that the session is open and has no message that was not taken, and gets none for `SILENCE`.
    ///
    /// # Panics
    /// If there is one.
    #[track_caller]
    pub(crate) fn nothing_more(&self) -> impl Future<Output = ()> {
        let caller = std::panic::Location::caller();
        async move {
            let more = |received: &Received| {
                received.ended
                    || received.close.is_some()
                    || received.frames.len() + received.events.len() > self.taken
            };
            let more = self.wait(SILENCE, more).await;
            assert!(!more, "{caller}: expected silence: {}", self.state());
        }
    }

    /// Sends a WebSocket frame. The peer may be gone: then nothing happens.
    pub(crate) async fn send(&self, frame: &Frame) {
        self.send_raw(&frame.bytes()).await;
    }

    /// Sends bare bytes. The peer may be gone: then nothing happens.
    pub(crate) async fn send_raw(&self, bytes: &[u8]) {
        let mut writer = self.writer.lock().await;
        // What the peer does next is what a test looks at, not whether it took the bytes.
        drop(writer.write_all(bytes).await);
    }

    /// Ends the sending side of TCP.
    pub(crate) async fn shutdown(&self) {
        let mut writer = self.writer.lock().await;
        drop(writer.shutdown().await);
    }

    /// Tells all there is to know, for a failure's text.
    pub(crate) fn state(&self) -> String {
        self.look(|received| {
            format!(
                "status {:?}, body {:?}, frames {:?}, events {:?}, close {:?}, ended {}",
                self.status(),
                self.body,
                received.frames,
                received.events,
                received.close,
                received.ended
            )
        })
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        // The reading task holds the other half of the socket.
        if let Some(pump) = self.pump.take() {
            pump.abort();
        }
    }
}

const HEAD_WAIT: Duration = Duration::from_secs(20);
const MESSAGE_WAIT: Duration = Duration::from_secs(10);
/// How long a surplus message gets to show up.
pub(crate) const SILENCE: Duration = Duration::from_millis(300);
