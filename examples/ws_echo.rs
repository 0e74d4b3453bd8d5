//! Echoes WebSocket messages through the session room that streams have, so that an outside judge can look at it.
//!
//! ```text
//! ws_echo 127.0.0.1:9001        answers on any path; port 0 takes a free one; the log line `listening` says which
//! ```
//!
//! tests/autobahn.sh runs the Autobahn testsuite against it.

use std::{error::Error, net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::{FutureExt as _, future::BoxFuture};
use http::{HeaderMap, Request, Response, StatusCode, header};
use sidestream::{
    delivery::channel,
    front::listener::{
        Answer, ConnectionInfo, Listener, ListenerSettings, Service, Session, TakenSocket,
    },
    lifecycle::{Shutdown, Signals, Tasks, Wishes},
    proxy::{ClientBody, ProxyBody},
    session::{
        SessionSettings,
        websocket::{self, Deflate, Message},
    },
};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .init();
    let address = std::env::args().nth(1);
    let address: SocketAddr = address.ok_or("ws_echo IP:PORT")?.parse()?;
    let (tasks, shutdown) = (Tasks::new(), Shutdown::new());
    let signals = Signals::listen()?;
    let listener = Listener::bind("public", address)?;
    tasks.spawn(
        "signals",
        signals.pass_on(shutdown.clone(), Wishes::default()),
    );
    let settings = ListenerSettings {
        drain: Duration::from_secs(5),
        ..ListenerSettings::default()
    };
    let serving = tasks.child();
    listener
        .run(Arc::new(Echoing), settings, serving, shutdown)
        .await;
    Ok(())
}

struct Echoing;

impl Service for Echoing {
    fn call<'a>(
        &'a self,
        request: Request<ClientBody>,
        _: &'a ConnectionInfo,
    ) -> BoxFuture<'a, Answer> {
        async move {
            let offers = request.headers().get_all(header::SEC_WEBSOCKET_EXTENSIONS);
            let offers = offers.into_iter().filter_map(|value| value.to_str().ok());
            let deflate = Deflate::agree(offers);
            match upgrade(request.headers(), deflate) {
                Some(head) => Answer::TakeOver {
                    head,
                    session: echoing(deflate),
                },
                None => Answer::Http(refused()),
            }
        }
        .boxed()
    }
}

/// The head of the 101, where a WebSocket is asked for.
fn upgrade(request: &HeaderMap, deflate: Option<Deflate>) -> Option<Bytes> {
    let protocol = request.get(header::UPGRADE)?.as_bytes();
    let key = request.get(header::SEC_WEBSOCKET_KEY)?.as_bytes();
    let accept = tungstenite::handshake::derive_accept_key(key);
    let agreed = deflate.map(|agreed| format!("Sec-WebSocket-Extensions: {}\r\n", agreed.answer()));
    let agreed = agreed.unwrap_or_default();
    let head = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n{agreed}\r\n"
    );
    let is_ours = protocol.eq_ignore_ascii_case(b"websocket");
    is_ours.then_some(Bytes::from(head))
}

fn refused() -> Response<ProxyBody> {
    let mut answer = Response::new(ProxyBody::full("only WebSockets are served here\n"));
    *answer.status_mut() = StatusCode::UPGRADE_REQUIRED;
    answer
}

fn echoing(deflate: Option<Deflate>) -> Session {
    Box::new(move |socket: TakenSocket| {
        async move {
            let stream = socket.stream.for_session();
            // Nothing is delivered here, but whose outbox is gone is ended.
            let (_outbox, outlet) = channel(1);
            let settings = SessionSettings::default();
            let closed =
                websocket::converse(stream, socket.early, deflate, outlet, &settings, None, Echo)
                    .await;
            tracing::debug!(by = closed.by.label(), "closed");
        }
        .boxed()
    })
}

struct Echo;

impl websocket::Listener for Echo {
    fn bytes_max(&self) -> usize {
        MESSAGE_BYTES_MAX
    }

    fn hear(&mut self, message: Message) -> Option<Message> {
        Some(message)
    }
}

/// The largest message that the testsuite sends is of 16 MiB.
const MESSAGE_BYTES_MAX: usize = 64 << 20;
