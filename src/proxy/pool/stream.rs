//! A socket to the upstream, whatever it is made of.

use std::{
    io,
    mem::MaybeUninit,
    path::Path,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use socket2::SockRef;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpStream, UnixStream},
};
use tokio_rustls::{
    TlsConnector,
    client::TlsStream,
    rustls::{
        ClientConfig, RootCertStore,
        crypto::ring,
        pki_types::{CertificateDer, ServerName, pem::PemObject as _},
    },
};

use super::{Names, ProxyError, UpstreamAddress};

/// A socket to the upstream.
#[derive(Debug)]
pub(crate) enum UpstreamStream {
    Tcp(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
    Unix(UnixStream),
}

impl UpstreamStream {
    /// Connects. The caller sets the time limit.
    pub(in crate::proxy) async fn connect(
        address: &UpstreamAddress,
        tls: Option<&TlsConnector>,
        names: &Names,
    ) -> io::Result<Self> {
        match (address, tls) {
            (UpstreamAddress::Unix(path), _) => Ok(Self::Unix(UnixStream::connect(path).await?)),
            (UpstreamAddress::Http { host, port }, _) => {
                Ok(Self::Tcp(tcp(host, *port, names).await?))
            }
            (UpstreamAddress::Https { host, port }, Some(tls)) => {
                let name = ServerName::try_from(host.clone()).map_err(io::Error::other)?;
                let stream = tls.connect(name, tcp(host, *port, names).await?).await?;
                Ok(Self::Tls(Box::new(stream)))
            }
            (UpstreamAddress::Https { .. }, None) => Err(io::Error::other("TLS is not set up")),
        }
    }

    /// Asks the socket itself whether it has anything to say, be it only that it has ended: the reactor knows of an end only
    /// from its last turn on, which under load was a while ago. Nothing is read.
    pub(super) fn is_readable_now(&self) -> bool {
        let socket = match self {
            Self::Tcp(stream) => SockRef::from(stream),
            Self::Tls(stream) => SockRef::from(stream.get_ref().0),
            Self::Unix(stream) => SockRef::from(stream),
        };
        let looked = socket.peek(&mut [MaybeUninit::uninit()]);
        !looked.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
    }
}

async fn tcp(host: &str, port: u16, names: &Names) -> io::Result<TcpStream> {
    let stream = names.connect(host, port).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Returns what is needed to speak TLS with the upstream: the roots in the file `authorities`, or the machine's own; HTTP/1.1
/// only.
///
/// # Errors
/// [`ProxyError::Roots`] if there is no usable root certificate, [`ProxyError::Tls`] if the file cannot be read.
pub(in crate::proxy) fn tls_connector(
    address: &UpstreamAddress,
    authorities: Option<&Path>,
) -> Result<Option<TlsConnector>, ProxyError> {
    if !matches!(address, UpstreamAddress::Https { .. }) {
        return Ok(None);
    }
    let found = match authorities {
        Some(file) => in_file(file)?,
        None => rustls_native_certs::load_native_certs().certs,
    };
    let mut roots = RootCertStore::empty();
    let (usable, _broken) = roots.add_parsable_certificates(found);
    if usable == 0 {
        return Err(ProxyError::Roots);
    }
    let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| ProxyError::Tls(error.to_string()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Some(TlsConnector::from(Arc::new(config))))
}

fn in_file(file: &Path) -> Result<Vec<CertificateDer<'static>>, ProxyError> {
    let read = CertificateDer::pem_file_iter(file).and_then(Iterator::collect);
    read.map_err(|error| ProxyError::Tls(format!("{}: {error}", file.display())))
}

impl AsyncRead for UpstreamStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Unix(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for UpstreamStream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Unix(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Self::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Self::Unix(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Tcp(stream) => stream.is_write_vectored(),
            Self::Tls(stream) => stream.is_write_vectored(),
            Self::Unix(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
            Self::Unix(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
