//! What a connection says before its first request: who its client is (PROXY), and a TLS handshake.

use std::{io, net::SocketAddr, time::Duration};

use ppp::{v1, v2};
use tokio::{io::AsyncReadExt as _, net::TcpStream, time::timeout};
use tokio_rustls::server::TlsStream;

use super::{ListenerSettings, connection::close};
use crate::{lifecycle::Shutdown, proxy::ClientInfo};

/// A connection that may ask now.
pub(super) enum Greeted {
    Plain(TcpStream, ClientInfo),
    Secure(Box<TlsStream<TcpStream>>, ClientInfo),
}

/// Whether a connection from `peer` has anything to say before its first request.
pub(super) fn is_due(settings: &ListenerSettings, peer: SocketAddr) -> bool {
    settings.tls.is_some() || settings.proxy_protocol_from.contains(peer.ip())
}

/// Hears the greeting out. `None`: the connection is over, and why was logged.
pub(super) async fn hear(
    stream: TcpStream,
    peer: SocketAddr,
    local: SocketAddr,
    settings: &ListenerSettings,
    shutdown: &Shutdown,
) -> Option<Greeted> {
    let hearing = hear_out(stream, peer, local, settings);
    let heard = tokio::select! {
        // What was said in time is heard.
        biased;
        heard = hearing => heard,
        () = over(shutdown, settings.drain) => return None,
    };
    match heard {
        Ok(greeted) => greeted,
        Err(error) => {
            metrics::counter!("sidestream_greetings_failed_total").increment(1);
            tracing::debug!(client = %peer, %error, "connection given up before its first request: {error}");
            None
        }
    }
}

/// Waits until one who has not asked for anything yet may be left: nothing was promised to him. What he has said already
/// can be read before: it is beside the reading that this is waited for. Where another process has taken over, who came here
/// by chance is heard out for a while: he would have been by the other one.
pub(super) async fn over(shutdown: &Shutdown, drain: Duration) {
    shutdown.draining().await;
    if shutdown.has_successor() {
        tokio::time::sleep(drain / 2).await;
    } else {
        // The socket tells of what has come once the reactor has had its turn.
        tokio::task::yield_now().await;
    }
}

async fn hear_out(
    mut stream: TcpStream,
    peer: SocketAddr,
    local: SocketAddr,
    settings: &ListenerSettings,
) -> io::Result<Option<Greeted>> {
    let (mut client, mut server) = (peer, local);
    if settings.proxy_protocol_from.contains(peer.ip()) {
        let told = within(settings.head.time_max, proxied(&mut stream)).await?;
        (client, server) = told.unwrap_or((peer, local));
    }
    let Some(tls) = &settings.tls else {
        let client = ClientInfo::new(client, server, "http");
        return Ok(Some(Greeted::Plain(stream, client)));
    };
    let handshake = async {
        let mut first = [0];
        stream.peek(&mut first).await?;
        if first[0].is_ascii_uppercase() {
            // Whoever speaks HTTP in clear cannot read an alert of TLS.
            return Ok(Err(stream));
        }
        tls.acceptor.accept(stream).await.map(Ok)
    };
    match within(tls.handshake_max, handshake).await? {
        Ok(stream) => {
            let client = ClientInfo::new(client, server, "https");
            Ok(Some(Greeted::Secure(Box::new(stream), client)))
        }
        Err(stream) => {
            close(stream, IN_CLEAR, true).await;
            Ok(None)
        }
    }
}

async fn within<T>(time: Duration, doing: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    timeout(time, doing)
        .await
        .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

/// Reads a PROXY header, and not a byte more; returns source and destination, if it names them.
///
/// Source: the PROXY protocol, versions 1 and 2, sections 2.1 and 2.2.
async fn proxied(stream: &mut TcpStream) -> io::Result<Option<(SocketAddr, SocketAddr)>> {
    // The shortest header of either version is longer.
    let mut header = vec![0; v2::PROTOCOL_PREFIX.len()];
    stream.read_exact(&mut header).await?;
    if header == v2::PROTOCOL_PREFIX {
        let mut fixed = [0; 4];
        stream.read_exact(&mut fixed).await?;
        header.extend_from_slice(&fixed);
        let rest = usize::from(u16::from_be_bytes([fixed[2], fixed[3]]));
        if rest > PROXY_BYTES_MAX {
            return Err(malformed("it is too long"));
        }
        let start = header.len();
        header.resize(start + rest, 0);
        stream.read_exact(&mut header[start..]).await?;
        let header = v2::Header::try_from(&header[..]);
        return Ok(addresses_v2(&header.map_err(malformed)?));
    }
    // Byte by byte: what is behind it must stay in the socket, and it is short.
    while !header.ends_with(b"\r\n") {
        if header.len() >= PROXY_LINE_BYTES_MAX {
            return Err(malformed("its line is too long"));
        }
        header.push(stream.read_u8().await?);
    }
    let header = v1::Header::try_from(&header[..]);
    Ok(match header.map_err(malformed)?.addresses {
        v1::Addresses::Tcp4(told) => Some((
            (told.source_address, told.source_port).into(),
            (told.destination_address, told.destination_port).into(),
        )),
        v1::Addresses::Tcp6(told) => Some((
            (told.source_address, told.source_port).into(),
            (told.destination_address, told.destination_port).into(),
        )),
        v1::Addresses::Unknown => None,
    })
}

/// What a header of version 2 says; nothing where the proxy speaks for itself (a health check).
fn addresses_v2(header: &v2::Header<'_>) -> Option<(SocketAddr, SocketAddr)> {
    if header.command == v2::Command::Local {
        return None;
    }
    match header.addresses {
        v2::Addresses::IPv4(told) => Some((
            (told.source_address, told.source_port).into(),
            (told.destination_address, told.destination_port).into(),
        )),
        v2::Addresses::IPv6(told) => Some((
            (told.source_address, told.source_port).into(),
            (told.destination_address, told.destination_port).into(),
        )),
        v2::Addresses::Unix(_) | v2::Addresses::Unspecified => None,
    }
}

fn malformed(why: impl std::fmt::Display) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!("no usable PROXY header: {why}"),
    )
}

/// What a client is told that speaks HTTP in clear where TLS is spoken.
const IN_CLEAR: &[u8] = b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-type: text/plain\r\ncontent-length: 46\r\n\r\nThis port speaks HTTPS, and was spoken HTTP.\r\n";

/// The longest line of version 1, its end included.
const PROXY_LINE_BYTES_MAX: usize = 107;

/// The longest header of version 2 that is read, behind its first 16 bytes: addresses take 216, the rest is what clouds and
/// service meshes put there, a certificate's name as a rule.
const PROXY_BYTES_MAX: usize = 4096;

const _: () = assert!(PROXY_BYTES_MAX >= 216);
