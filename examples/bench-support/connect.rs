//! Where clients go to, and how one gets in: a WebSocket or an SSE stream, plain or over TLS.

use std::{net::SocketAddr, sync::Arc};

use base64::{Engine, engine::general_purpose::STANDARD};
use http::{Uri, uri::Authority};
use percent_encoding::percent_decode_str;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::{
    TlsConnector,
    rustls::{ClientConfig, RootCertStore, pki_types::ServerName},
};

use super::{Outcome, decode::Decoder};

/// A connection, plain or not.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    WebSocket,
    Sse,
}

/// One stream of one server, with credentials.
#[derive(Clone)]
pub(crate) struct Target {
    host: String,
    port: u16,
    /// Path and query.
    path: String,
    authorization: Option<String>,
    tls: Option<TlsConnector>,
    transport: Transport,
}

/// Why a client did not get in.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotOpened {
    #[error("{0}")]
    Io(#[from] std::io::Error),
    /// The server said no.
    #[error("answered {0}")]
    Refused(String),
}

/// An open stream, and what the server said behind its head.
pub(crate) struct Opened {
    pub(crate) stream: Box<dyn Stream>,
    pub(crate) early: Vec<u8>,
    pub(crate) decoder: Decoder,
}

impl Target {
    /// Reads `ws://user:password@host:port/path?query`, or the same with wss, http or https.
    pub(crate) fn parse(url: &str, transport: Transport) -> Outcome<Self> {
        let uri: Uri = url.parse()?;
        let is_tls = match uri.scheme_str() {
            Some("ws" | "http") => false,
            Some("wss" | "https") => true,
            _ => return Err("the URL must begin with ws://, wss://, http:// or https://".into()),
        };
        let host = uri.host().ok_or("the URL names no host")?;
        let port = uri.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
        let authorization = uri.authority().and_then(authorization);
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        Ok(Self {
            host: host.trim_matches(['[', ']']).to_owned(),
            port,
            path: path.to_owned(),
            authorization,
            tls: is_tls.then(tls).transpose()?,
            transport,
        })
    }

    /// A stream of a server that a benchmark started, with the user that it stored.
    pub(crate) fn of(address: SocketAddr, path: &str) -> Self {
        Self {
            host: address.ip().to_string(),
            port: address.port(),
            path: path.to_owned(),
            authorization: None,
            tls: None,
            transport: Transport::WebSocket,
        }
        .with_user("admin", "secret")
    }

    /// The same, as somebody else.
    pub(crate) fn with_user(self, name: &str, password: &str) -> Self {
        let credentials = STANDARD.encode(format!("{name}:{password}"));
        Self {
            authorization: Some(format!("Basic {credentials}")),
            ..self
        }
    }

    /// Opens it, with `query` (`name=value`) added.
    pub(crate) async fn open(&self, query: Option<&str>) -> Result<Opened, NotOpened> {
        let socket = TcpStream::connect((self.host.as_str(), self.port)).await?;
        socket.set_nodelay(true)?;
        let mut stream: Box<dyn Stream> = match &self.tls {
            Some(tls) => {
                let name =
                    ServerName::try_from(self.host.clone()).map_err(std::io::Error::other)?;
                Box::new(tls.connect(name, socket).await?)
            }
            None => Box::new(socket),
        };
        stream.write_all(self.request(query).as_bytes()).await?;
        stream.flush().await?;
        let mut head = Vec::new();
        let end = loop {
            if stream.read_buf(&mut head).await? == 0 {
                return Err(NotOpened::Io(std::io::ErrorKind::UnexpectedEof.into()));
            }
            if let Some(end) = memchr::memmem::find(&head, b"\r\n\r\n") {
                break end + 4;
            }
        };
        let early = head.split_off(end);
        let head = String::from_utf8_lossy(&head).to_ascii_lowercase();
        let status = head.split(' ').nth(1).unwrap_or_default();
        let decoder = match (self.transport, status) {
            (Transport::WebSocket, "101") => Decoder::websocket(),
            (Transport::Sse, "200") => {
                Decoder::sse(head.contains("\r\ntransfer-encoding: chunked"))
            }
            _ => {
                let body = String::from_utf8_lossy(&early);
                let first = head.lines().next().unwrap_or_default();
                return Err(NotOpened::Refused(
                    format!("{first} {body}").trim().to_owned(),
                ));
            }
        };
        Ok(Opened {
            stream,
            early,
            decoder,
        })
    }

    fn request(&self, query: Option<&str>) -> String {
        let Self {
            host, port, path, ..
        } = self;
        let query = query.map_or_else(String::new, |query| {
            let joint = if path.contains('?') { '&' } else { '?' };
            format!("{joint}{query}")
        });
        let authorization = self
            .authorization
            .as_ref()
            .map_or_else(String::new, |value| format!("Authorization: {value}\r\n"));
        let wish = match self.transport {
            Transport::WebSocket => {
                "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
                 Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
            }
            Transport::Sse => "Accept: text/event-stream\r\n",
        };
        format!("GET {path}{query} HTTP/1.1\r\nHost: {host}:{port}\r\n{authorization}{wish}\r\n")
    }
}

fn authorization(authority: &Authority) -> Option<String> {
    let (user, _) = authority.as_str().rsplit_once('@')?;
    let user: Vec<u8> = percent_decode_str(user).collect();
    Some(format!("Basic {}", STANDARD.encode(user)))
}

fn tls() -> Outcome<TlsConnector> {
    let mut roots = RootCertStore::empty();
    for certificate in rustls_native_certs::load_native_certs().certs {
        roots.add(certificate)?;
    }
    let config = ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}
