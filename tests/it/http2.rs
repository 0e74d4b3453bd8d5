//! The real binary by HTTP/2: streams from a real MongoDB, as browsers open them over TLS, and REST beside them.

use std::time::Duration;

use bson::{Document, doc};
use bytes::Bytes;
use h2::RecvStream;
use h2::ext::Protocol;
use http::{HeaderValue, Method, Request, StatusCode, Uri, header};
use tokio::time::timeout;

use crate::support::client::{Kind, Request as Http1};
use crate::support::http2::{Answer, Http2, joined, next};
use crate::support::secure::{Files, Identity};
use crate::support::stack::{self, Stack};

/// All of it, with HTTP/2 over TLS and in clear.
struct Stage {
    stack: Stack,
    identity: Identity,
    _files: Files,
}

impl Stage {
    async fn start(name: &str, more: &str) -> Self {
        let identity = Identity::new();
        let files = Files::of(&identity);
        let stack = Stack::start(&format!(
            "[server.tls]\nlisten = [\"127.0.0.1:0\"]\ncertificate = \"{}\"\nkey = \"{}\"\n\
             [server.http2]\nprior_knowledge = true\n{more}",
            files.certificate.display(),
            files.key.display()
        ))
        .await;
        let database = stack.database().await;
        stack::clear(&database, name).await;
        let streams = doc! { "streams": [
            { "uri": "all", "stages": [] },
            { "uri": "of", "stages": [{ "_$match": { "fullDocument::n": { "_$var": "n" } } }] },
        ] };
        stack::define(&database, name, streams).await;
        Self {
            stack,
            identity,
            _files: files,
        }
    }

    async fn secure(&self) -> Http2 {
        Http2::secure(self.stack.sidestream.secure().await, &self.identity).await
    }

    async fn insert(&self, name: &str, document: Document) {
        let database = self.stack.database().await;
        let inserted = database.collection(name).insert_one(document).await;
        inserted.expect("inserted");
    }
}

fn request(method: Method, target: &str) -> Request<()> {
    let mut request = Request::new(());
    *request.method_mut() = method;
    *request.uri_mut() = format!("https://localhost{target}")
        .parse::<Uri>()
        .expect("a target");
    let credentials = HeaderValue::from_static("Basic YWRtaW46c2VjcmV0");
    request
        .headers_mut()
        .insert(header::AUTHORIZATION, credentials);
    request
}

fn sse(target: &str) -> Request<()> {
    let mut request = request(Method::GET, target);
    let accept = HeaderValue::from_static("text/event-stream");
    request.headers_mut().insert(header::ACCEPT, accept);
    request
}

fn websocket(target: &str) -> Request<()> {
    let mut request = request(Method::CONNECT, target);
    request
        .extensions_mut()
        .insert(Protocol::from_static("websocket"));
    let version = HeaderValue::from_static("13");
    request
        .headers_mut()
        .insert(header::SEC_WEBSOCKET_VERSION, version);
    request
}

/// The body of an answer that goes on.
struct Body {
    received: RecvStream,
    read: Vec<u8>,
}

impl Body {
    fn new(received: RecvStream) -> Self {
        Self {
            received,
            read: Vec::new(),
        }
    }

    /// Reads up to and including `end`.
    #[track_caller]
    fn until(&mut self, end: &[u8]) -> impl Future<Output = Vec<u8>> {
        let caller = std::panic::Location::caller();
        let end = end.to_vec();
        async move {
            let reading = async {
                loop {
                    if let Some(at) = memchr::memmem::find(&self.read, &end) {
                        let rest = self.read.split_off(at + end.len());
                        return std::mem::replace(&mut self.read, rest);
                    }
                    let part = next(&mut self.received).await;
                    let part =
                        part.unwrap_or_else(|| panic!("{caller}: it has ended: {}", self.text()));
                    self.read.extend_from_slice(&part.expect("a part"));
                }
            };
            let read = timeout(PATIENCE, reading).await;
            read.unwrap_or_else(|_| panic!("{caller}: nothing came"))
        }
    }

    /// Reads one event and returns its text.
    #[track_caller]
    fn event(&mut self) -> impl Future<Output = String> {
        let read = self.until(b"\n\n");
        async { String::from_utf8(read.await).expect("text") }
    }

    /// Reads to the end, which must be one.
    async fn rest(mut self) -> String {
        let reading = async {
            while let Some(part) = next(&mut self.received).await {
                self.read.extend_from_slice(&part.expect("no reset"));
            }
        };
        timeout(PATIENCE, reading).await.expect("it ends");
        self.text()
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.read).into_owned()
    }
}

async fn open(client: &Http2, request: Request<()>) -> Body {
    let (answer, _) = client.begin(request, true).await;
    let answer = timeout(PATIENCE, answer)
        .await
        .expect("in time")
        .expect("an answer");
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(
        joined(answer.headers(), "content-type"),
        "text/event-stream; charset=UTF-8"
    );
    assert!(!answer.headers().contains_key(header::CONNECTION));
    assert!(!answer.headers().contains_key(header::CONTENT_LENGTH));
    Body::new(answer.into_body())
}

#[tokio::test]
async fn many_event_streams_share_a_connection_with_requests() {
    const NAME: &str = "h2events";
    let stage = Stage::start(NAME, "").await;
    for client in [
        stage.secure().await,
        Http2::clear(stage.stack.address()).await,
    ] {
        let mut all = open(&client, sse(&format!("/{NAME}/_streams/all"))).await;
        let mut some = Vec::new();
        // More than a browser's six.
        for n in 0..20 {
            let target = format!("/{NAME}/_streams/of?avars=%7B%22n%22:{}%7D", n % 2);
            some.push(open(&client, sse(&target)).await);
        }
        // Through the proxy, on the same connection.
        let mut writing = request(Method::POST, &format!("/{NAME}"));
        let json = HeaderValue::from_static("application/json");
        writing.headers_mut().insert(header::CONTENT_TYPE, json);
        let (answer, mut sending) = client.begin(writing, false).await;
        sending
            .send_data(Bytes::from_static(br#"{"n": 1}"#), true)
            .expect("sent");
        let answer = Answer::read(answer.await.expect("an answer")).await;
        assert_eq!(answer.expect("a whole one").status, StatusCode::CREATED);
        assert!(all.event().await.contains("\"n\""));
        for (n, body) in some.iter_mut().enumerate() {
            if n % 2 == 1 {
                assert!(body.event().await.contains("\"n\""), "{n}");
            }
        }
        stage
            .stack
            .eventually("sidestream_sessions", "\"sse\"", 21.0)
            .await;
        // A tab is closed, and then the browser.
        drop(all);
        stage
            .stack
            .eventually("sidestream_sessions", "\"sse\"", 20.0)
            .await;
        drop(client);
        stage
            .stack
            .eventually("sidestream_sessions", "\"sse\"", 0.0)
            .await;
    }
    // Each was heard leaving, and has closed its books.
    stage
        .stack
        .eventually("sidestream_closes_total", "reason", 42.0)
        .await;
}

#[tokio::test]
async fn compressed_event_streams_and_refusals_are_those_of_http_1() {
    const NAME: &str = "h2same";
    let stage = Stage::start(NAME, "").await;
    let client = stage.secure().await;
    let mut asked = sse(&format!("/{NAME}/_streams/all"));
    let gzip = HeaderValue::from_static("gzip");
    asked.headers_mut().insert(header::ACCEPT_ENCODING, gzip);
    let (answer, _) = client.begin(asked, true).await;
    let answer = answer.await.expect("an answer");
    assert_eq!(joined(answer.headers(), "content-encoding"), "gzip");
    let mut body = Body::new(answer.into_body());
    stage.insert(NAME, doc! { "_id": "one" }).await;
    // gzip's head, and then the block of the event.
    body.until(&[0x1f, 0x8b]).await;

    for (target, is_sse) in [
        (format!("/{NAME}/_streams/none"), true),
        (format!("/{NAME}/_streams/of"), true),
        (format!("/{NAME}/_streams/all?avars=x"), true),
        (format!("/{NAME}/_streams/all?a=%zz"), true),
        (format!("/{NAME}/_streams/all"), false),
        (format!("/{NAME}%2F_streams/all"), true),
        (format!("/{NAME}/_streams%2Fall"), true),
        (format!("/{NAME}/x/../_streams/all"), true),
        (format!("//{NAME}/_streams/all"), true),
        (format!("/{NAME}/_STREAMS/all"), true),
        (format!("/{NAME}/;a=b/_streams/all"), true),
    ] {
        let (two, one) = match is_sse {
            true => (sse(&target), Http1::sse(&target)),
            false => (request(Method::GET, &target), Http1::http("GET", &target)),
        };
        let one = stage.stack.open(&one.auth(stack::ADMIN)).await;
        let (answer, _) = client.begin(two, true).await;
        let answer = timeout(PATIENCE, answer)
            .await
            .expect("in time")
            .expect("an answer");
        assert_eq!(Some(answer.status().as_u16()), one.status(), "{target}");
        for name in ["content-type", "access-control-allow-origin"] {
            let other = one.header(name).unwrap_or_default();
            assert_eq!(joined(answer.headers(), name), other, "{target}");
        }
        // A stream goes on; all else ends.
        if one.kind != Kind::Sse {
            let whole = timeout(PATIENCE, Answer::read(answer))
                .await
                .expect("in time");
            assert_eq!(whole.expect("a whole one").text(), one.body(), "{target}");
        }
    }
    // Nobody's business without credentials, as there.
    let mut asked = sse(&format!("/{NAME}/_streams/all"));
    asked.headers_mut().remove(header::AUTHORIZATION);
    assert_eq!(client.ask(asked).await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn what_is_revoked_ends_its_stream_and_no_other() {
    const NAME: &str = "h2revoked";
    let stage = Stage::start(NAME, "").await;
    let client = stage.secure().await;
    let mut all = open(&client, sse(&format!("/{NAME}/_streams/all"))).await;
    let of = open(
        &client,
        sse(&format!("/{NAME}/_streams/of?avars=%7B%22n%22:1%7D")),
    )
    .await;
    let database = stage.stack.database().await;
    let properties = database.collection::<Document>("_properties");
    let removed = properties
        .update_one(
            doc! { "_id": format!("_properties.{NAME}") },
            doc! { "$set": { "streams": [{ "uri": "all", "stages": [] }] } },
        )
        .await;
    removed.expect("updated");
    let last = of.rest().await;
    assert!(
        last.starts_with("event: close\ndata: {\"code\":4404,"),
        "{last}"
    );
    stage.insert(NAME, doc! { "_id": "still", "n": 1 }).await;
    assert!(all.event().await.contains("\"still\""));
}

/// A WebSocket's side that sends.
async fn text_of(body: &mut Body) -> String {
    let head = body.until_len(2).await;
    let len = match head[1] {
        126 => {
            let len = body.until_len(2).await;
            usize::from(u16::from_be_bytes([len[0], len[1]]))
        }
        len => usize::from(len),
    };
    let payload = body.until_len(len).await;
    match head[0] {
        0x81 => String::from_utf8(payload).expect("text"),
        0x88 => format!("close {}", u16::from_be_bytes([payload[0], payload[1]])),
        other => format!("frame {other:#x}"),
    }
}

impl Body {
    async fn until_len(&mut self, len: usize) -> Vec<u8> {
        let reading = async {
            while self.read.len() < len {
                let part = next(&mut self.received).await.expect("more");
                self.read.extend_from_slice(&part.expect("a part"));
            }
        };
        timeout(PATIENCE, reading).await.expect("in time");
        let rest = self.read.split_off(len);
        std::mem::replace(&mut self.read, rest)
    }
}

#[tokio::test]
async fn websockets_share_the_connection_and_hear_a_drain() {
    const NAME: &str = "h2sockets";
    let stage = Stage::start(NAME, "").await;
    let mut client = stage.secure().await;
    // What the server takes comes with its settings, which are before any answer.
    let rest = client.ask(request(Method::GET, &format!("/{NAME}"))).await;
    assert_eq!(rest.status, StatusCode::OK);
    assert!(client.takes_connect());
    let (answer, mut sending) = client
        .begin(websocket(&format!("/{NAME}/_streams/all")), false)
        .await;
    let answer = timeout(PATIENCE, answer)
        .await
        .expect("in time")
        .expect("an answer");
    assert_eq!(answer.status(), StatusCode::OK);
    for name in [
        "connection",
        "upgrade",
        "sec-websocket-accept",
        "content-length",
    ] {
        assert!(!answer.headers().contains_key(name), "{name}");
    }
    let mut socket = Body::new(answer.into_body());
    let mut events = open(&client, sse(&format!("/{NAME}/_streams/all"))).await;
    stage.insert(NAME, doc! { "_id": "one" }).await;
    assert!(text_of(&mut socket).await.contains("\"one\""));
    assert!(events.event().await.contains("\"one\""));
    // A ping is answered on the way: masked, empty.
    sending
        .send_data(Bytes::from_static(b"\x89\x80\0\0\0\0"), false)
        .expect("sent");
    assert_eq!(text_of(&mut socket).await, "frame 0x8a");

    stage.stack.sidestream.terminate();
    assert_eq!(text_of(&mut socket).await, "close 1001");
    sending
        .send_data(Bytes::from_static(b"\x88\x82\0\0\0\0\x03\xe9"), true)
        .expect("sent");
    assert_eq!(socket.rest().await, "");
    let last = events.rest().await;
    assert!(
        last.starts_with("event: close\ndata: {\"code\":1001,"),
        "{last}"
    );
    timeout(PATIENCE, client.ended())
        .await
        .expect("in time")
        .expect("no error");
    let Stack { sidestream, .. } = stage.stack;
    assert_eq!(sidestream.exit_code().await, 0);
}

#[tokio::test]
async fn websockets_agree_on_compression_as_over_http_1() {
    const NAME: &str = "h2deflate";
    let stage = Stage::start(NAME, "[streams]\nwebsocket_compression = true\n").await;
    let client = stage.secure().await;
    let mut asked = websocket(&format!("/{NAME}/_streams/all"));
    let offer = HeaderValue::from_static("permessage-deflate; client_max_window_bits");
    let extensions = header::SEC_WEBSOCKET_EXTENSIONS;
    asked.headers_mut().insert(&extensions, offer);
    let (answer, _sending) = client.begin(asked, false).await;
    let answer = timeout(PATIENCE, answer).await.expect("in time");
    let answer = answer.expect("an answer");
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(
        joined(answer.headers(), extensions.as_str()),
        "permessage-deflate; server_no_context_takeover; client_no_context_takeover"
    );
    let mut socket = Body::new(answer.into_body());
    stage.insert(NAME, doc! { "_id": "x".repeat(1_000) }).await;
    let head = socket.until_len(2).await;
    // Deflated, and far less than the text, whose key is in it twice.
    assert_eq!(head[0], 0xc1);
    assert!(head[1] < 126, "{head:?}");
    let mut deflated = socket.until_len(usize::from(head[1])).await;
    deflated.extend([0, 0, 0xff, 0xff]);
    let mut text = Vec::with_capacity(4_096);
    flate2::Decompress::new(false)
        .decompress_vec(&deflated, &mut text, flate2::FlushDecompress::Sync)
        .expect("deflate");
    let expected = format!("{{\"_id\": \"{}\"}}", "x".repeat(1_000));
    let text = String::from_utf8(text).expect("text");
    assert_eq!(text.matches(&expected).count(), 2, "{text}");
}

/// What is not taken waits in the session's outbox, and that is bounded, as over HTTP/1.
#[tokio::test]
async fn a_slow_event_stream_is_ended_and_its_neighbour_is_not() {
    const NAME: &str = "h2slow";
    let stage = Stage::start(NAME, "[limits]\noutbox = \"64KiB\"\n").await;
    let client = stage.secure().await;
    let slow = open(&client, sse(&format!("/{NAME}/_streams/all"))).await;
    let mut quick = open(&client, sse(&format!("/{NAME}/_streams/all"))).await;
    for n in 0..40 {
        stage
            .insert(NAME, doc! { "_id": n, "large": "x".repeat(20_000) })
            .await;
        quick.event().await;
    }
    stage
        .stack
        .eventually("sidestream_closes_total", "\"slow\"", 1.0)
        .await;
    drop(slow);
    stage.insert(NAME, doc! { "_id": "last" }).await;
    assert!(quick.event().await.contains("\"last\""));
}

const PATIENCE: Duration = Duration::from_secs(20);
