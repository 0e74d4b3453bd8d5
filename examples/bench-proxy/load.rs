//! The clients: one request after the other on each connection.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use hdrhistogram::Histogram;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
    runtime::Runtime,
};
use tokio_rustls::{TlsConnector, rustls::pki_types::ServerName};

use crate::{Outcome, row::Row, servers::NAME};

/// Loads `address` for `length`, and returns the latencies in microseconds.
pub(crate) async fn load(
    threads: &Runtime,
    address: SocketAddr,
    row: Row,
    tls: &TlsConnector,
    length: Duration,
) -> Outcome<Histogram<u64>> {
    let until = Instant::now() + length;
    let tls = row.is_tls.then_some(tls);
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
