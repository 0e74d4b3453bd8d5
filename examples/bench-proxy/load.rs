//! The clients: one request after the other on each connection.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures_util::future::{join_all, try_join_all};
use h2::client::SendRequest;
use hdrhistogram::Histogram;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
    runtime::Runtime,
};
use tokio_rustls::{TlsConnector, client::TlsStream, rustls::pki_types::ServerName};

use crate::{
    Outcome,
    row::{Protocol, Row},
    servers::{Certificate, NAME},
};

/// Loads `address` for `length`, and returns the latencies in microseconds.
pub(crate) async fn load(
    threads: &Runtime,
    address: SocketAddr,
    row: Row,
    certificate: &Certificate,
    length: Duration,
) -> Outcome<Histogram<u64>> {
    let until = Instant::now() + length;
    let tls = match row.protocol {
        Protocol::Http1 => None,
        Protocol::Tls => Some(&certificate.client),
        Protocol::Http2 { .. } => Some(&certificate.http2_client),
    };
    let clients =
        (0..row.connections).map(|_| threads.spawn(client(address, row, tls.cloned(), until)));
    let mut all = histogram();
    for latencies in join_all(clients).await {
        all += latencies??;
    }
    Ok(all)
}

pub(crate) fn histogram() -> Histogram<u64> {
    Histogram::new(3).expect("three digits are allowed")
}

async fn client(
    address: SocketAddr,
    row: Row,
    tls: Option<TlsConnector>,
    until: Instant,
) -> Outcome<Histogram<u64>> {
    let request = request(address, row);
    let mut latencies = histogram();
    let mut answer = Vec::with_capacity(row.answer_bytes + 4096);
    if row.is_fresh {
        while Instant::now() < until {
            let began = Instant::now();
            let mut stream = connect(address).await?;
            exchange(&mut stream, &request, row, &mut answer).await?;
            latencies.record(began.elapsed().as_micros() as u64)?;
        }
        return Ok(latencies);
    }
    let stream = connect(address).await?;
    match tls {
        None => repeat(stream, &request, row, &mut answer, &mut latencies, until).await?,
        Some(tls) => {
            let stream = tls.connect(ServerName::try_from(NAME)?, stream).await?;
            if let Protocol::Http2 { streams } = row.protocol {
                return http2(stream, address, row, streams, until).await;
            }
            repeat(stream, &request, row, &mut answer, &mut latencies, until).await?;
        }
    }
    Ok(latencies)
}

async fn connect(address: SocketAddr) -> Outcome<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

fn request(address: SocketAddr, row: Row) -> Vec<u8> {
    let (method, length) = match row.sent_bytes {
        0 => ("GET", String::new()),
        bytes => (
            "POST",
            format!("Content-Type: application/json\r\nContent-Length: {bytes}\r\n"),
        ),
    };
    let connection = if row.is_fresh {
        "Connection: close\r\n"
    } else {
        ""
    };
    let head = format!(
        "{method} {}?filter=%7B%22from%22%3A%22Bob%22%7D HTTP/1.1\r\nHost: {address}\r\nUser-Agent: bench\r\n\
         Accept: application/json\r\nAccept-Encoding: gzip, deflate\r\nAuthorization: Basic YWRtaW46c2VjcmV0\r\n\
         {connection}{length}\r\n",
        row.path()
    );
    let mut request = head.into_bytes();
    request.resize(request.len() + row.sent_bytes, b'x');
    request
}

async fn repeat<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
    request: &[u8],
    row: Row,
    answer: &mut Vec<u8>,
    latencies: &mut Histogram<u64>,
    until: Instant,
) -> Outcome<()> {
    while Instant::now() < until {
        let began = Instant::now();
        exchange(&mut stream, request, row, answer).await?;
        latencies.record(began.elapsed().as_micros() as u64)?;
    }
    Ok(())
}

async fn exchange<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    request: &[u8],
    row: Row,
    answer: &mut Vec<u8>,
) -> Outcome<()> {
    stream.write_all(request).await?;
    stream.flush().await?;
    answer.clear();
    let mut whole = None;
    while whole.is_none_or(|whole| answer.len() < whole) {
        if stream.read_buf(answer).await? == 0 {
            return Err("the answer broke off".into());
        }
        if whole.is_none() {
            let end = memchr::memmem::find(answer, b"\r\n\r\n");
            whole = end.map(|end| end + 4 + row.answer_bytes);
        }
    }
    match answer.starts_with(b"HTTP/1.1 200") {
        true => Ok(()),
        false => Err(String::from_utf8_lossy(answer).into_owned().into()),
    }
}

/// On each of `streams` one request after the other, all on one connection.
async fn http2(
    stream: TlsStream<TcpStream>,
    address: SocketAddr,
    row: Row,
    streams: usize,
    until: Instant,
) -> Outcome<Histogram<u64>> {
    let (sender, connection) = h2::client::Builder::new()
        .initial_window_size(1 << 20)
        .initial_connection_window_size(8 << 20)
        .handshake::<_, Bytes>(stream)
        .await?;
    let connection = tokio::spawn(connection);
    let streams = (0..streams).map(|_| http2_stream(sender.clone(), address, row, until));
    let mut all = histogram();
    for latencies in try_join_all(streams).await? {
        all += latencies;
    }
    connection.abort();
    Ok(all)
}

async fn http2_stream(
    mut sender: SendRequest<Bytes>,
    address: SocketAddr,
    row: Row,
    until: Instant,
) -> Outcome<Histogram<u64>> {
    let mut latencies = histogram();
    let target = format!(
        "https://{address}{}?filter=%7B%22from%22%3A%22Bob%22%7D",
        row.path()
    );
    while Instant::now() < until {
        let began = Instant::now();
        let request = http::Request::get(&target)
            .header("user-agent", "bench")
            .header("accept", "application/json")
            .header("accept-encoding", "gzip, deflate")
            .header("authorization", "Basic YWRtaW46c2VjcmV0")
            .body(())?;
        sender = sender.ready().await?;
        let (answer, _) = sender.send_request(request, true)?;
        let answer = answer.await?;
        if answer.status() != http::StatusCode::OK {
            return Err(format!("{answer:?}").into());
        }
        let mut body = answer.into_body();
        let mut len = 0;
        while let Some(part) = body.data().await {
            let part = part?;
            len += part.len();
            body.flow_control().release_capacity(part.len())?;
        }
        if len != row.answer_bytes {
            return Err(format!("{len} bytes instead of {}", row.answer_bytes).into());
        }
        latencies.record(began.elapsed().as_micros() as u64)?;
    }
    Ok(latencies)
}
