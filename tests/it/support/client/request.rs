//! Requests, to the byte.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// What a request asks for: which headers it has by itself.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Transport {
    WebSocket,
    Sse,
    Http,
}

/// A request. Fields are sent in their order, behind `Host` and those of the transport.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    transport: Transport,
    method: String,
    target: String,
    fields: Vec<(String, String)>,
    body: Vec<u8>,
    /// Whatever else is said here, these bytes are sent.
    raw: Option<Vec<u8>>,
    pub(crate) version: String,
    pub(crate) half_close: bool,
    /// Whether the client answers a CLOSE frame, as it should.
    pub(crate) echo_close: bool,
}

impl Request {
    /// Asks for a WebSocket.
    pub(crate) fn websocket(target: &str) -> Self {
        let mut request = Self::new(Transport::WebSocket, "GET", target);
        request.set("Upgrade", "websocket");
        request.set("Connection", "Upgrade");
        request.set("Sec-WebSocket-Key", KEY);
        request.set("Sec-WebSocket-Version", "13");
        request
    }

    /// Asks for Server-Sent Events.
    pub(crate) fn sse(target: &str) -> Self {
        let mut request = Self::new(Transport::Sse, "GET", target);
        request.set("Accept", "text/event-stream");
        request
    }

    /// Asks for anything else.
    pub(crate) fn http(method: &str, target: &str) -> Self {
        Self::new(Transport::Http, method, target)
    }

    /// Sends exactly these bytes.
    pub(crate) fn raw(bytes: Vec<u8>) -> Self {
        let mut request = Self::new(Transport::Http, "GET", "");
        request.raw = Some(bytes);
        request
    }

    fn new(transport: Transport, method: &str, target: &str) -> Self {
        Self {
            transport,
            method: method.to_owned(),
            target: target.to_owned(),
            fields: vec![("Host".to_owned(), "<host>".to_owned())],
            body: Vec::new(),
            raw: None,
            version: "1.1".to_owned(),
            half_close: false,
            echo_close: true,
        }
    }

    /// Adds Basic credentials, written `user:password`.
    pub(crate) fn auth(mut self, credentials: &str) -> Self {
        let value = format!("Basic {}", STANDARD.encode(credentials));
        self.set("Authorization", &value);
        self
    }

    /// Sets a header field, in place of one of that name.
    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.set(name, value);
        self
    }

    /// Changes the method.
    pub(crate) fn method(mut self, method: &str) -> Self {
        self.method = method.to_owned();
        self
    }

    /// Removes a header field.
    pub(crate) fn without(mut self, name: &str) -> Self {
        self.fields
            .retain(|(key, _)| !key.eq_ignore_ascii_case(name));
        self
    }

    /// Adds a header field beside one of that name.
    pub(crate) fn also(mut self, name: &str, value: &str) -> Self {
        self.fields.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Sets the body and its length.
    pub(crate) fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        let length = self.body.len().to_string();
        self.set("Content-Length", &length);
        self
    }

    /// Sets a JSON body.
    pub(crate) fn json(self, body: &str) -> Self {
        self.header("Content-Type", "application/json").body(body)
    }

    pub(crate) fn is_head(&self) -> bool {
        self.method == "HEAD"
    }

    /// Names the request in a failure's text.
    pub(crate) fn title(&self) -> String {
        match &self.raw {
            Some(raw) => String::from_utf8_lossy(raw).into_owned(),
            None => format!("{:?} {} {}", self.transport, self.method, self.target),
        }
    }

    /// Returns all bytes; `<host>` stands for the server's host and port.
    pub(crate) fn bytes(&self, host: &str) -> Vec<u8> {
        if let Some(raw) = &self.raw {
            return raw.clone();
        }
        let target = self.target.replace("<host>", host);
        let mut head = format!("{} {target} HTTP/{}\r\n", self.method, self.version);
        for (name, value) in &self.fields {
            head.push_str(&format!("{name}: {}\r\n", value.replace("<host>", host)));
        }
        head.push_str("\r\n");
        [head.as_bytes(), &self.body].concat()
    }

    fn set(&mut self, name: &str, value: &str) {
        self.fields
            .retain(|(key, _)| !key.eq_ignore_ascii_case(name));
        self.fields.push((name.to_owned(), value.to_owned()));
    }
}

/// The key of RFC 6455's own example; its answer is `s3pPLMBiTxaQ9kYGzzhZRbK+xOo=`.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
