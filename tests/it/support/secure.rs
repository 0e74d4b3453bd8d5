//! TLS from the other side: certificates, a client, and bridges for those who speak in clear.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::rustls::client::Resumption;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{
    ClientConfig, RootCertStore, ServerConfig, SupportedProtocolVersion, version,
};
use tokio_rustls::{TlsAcceptor, TlsConnector, client};

/// A certificate for loopback, signed by its own key.
pub(crate) struct Identity {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

impl Identity {
    pub(crate) fn new() -> Self {
        let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
        let made = rcgen::generate_simple_self_signed(names).expect("a certificate");
        Self {
            certificate: made.cert.pem(),
            key: made.signing_key.serialize_pem(),
        }
    }

    pub(crate) fn der(&self) -> CertificateDer<'static> {
        CertificateDer::from_pem_slice(self.certificate.as_bytes()).expect("it is PEM")
    }

    /// Writes both files, each at once, as those do who renew certificates.
    pub(crate) fn store(&self, files: &Files) {
        replace(&files.certificate, &self.certificate);
        replace(&files.key, &self.key);
    }
}

/// Puts a file in the place of another in one step.
pub(crate) fn replace(file: &Path, text: &str) {
    let new = file.with_extension("new");
    std::fs::write(&new, text).expect("written");
    std::fs::rename(&new, file).expect("renamed");
}

/// Where certificate and key lie.
pub(crate) struct Files {
    _directory: tempfile::TempDir,
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
}

impl Files {
    pub(crate) fn of(identity: &Identity) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let files = Self {
            certificate: directory.path().join("tls.crt"),
            key: directory.path().join("tls.key"),
            _directory: directory,
        };
        identity.store(&files);
        files
    }
}

pub(crate) const ONLY_12: &[&SupportedProtocolVersion] = &[&version::TLS12];
pub(crate) const ONLY_13: &[&SupportedProtocolVersion] = &[&version::TLS13];

/// A client that trusts these, speaks these versions and offers these protocols.
pub(crate) fn client(
    trusted: &[&Identity],
    versions: &[&'static SupportedProtocolVersion],
    protocols: &[&str],
) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    for identity in trusted {
        roots.add(identity.der()).expect("it is a certificate");
    }
    let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(versions)
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    // A session that is resumed shows no certificate.
    config.resumption = Resumption::disabled();
    config.alpn_protocols = protocols
        .iter()
        .map(|name| name.as_bytes().to_vec())
        .collect();
    TlsConnector::from(Arc::new(config))
}

/// Shakes hands.
pub(crate) async fn connect(
    connector: &TlsConnector,
    stream: TcpStream,
) -> std::io::Result<client::TlsStream<TcpStream>> {
    stream.set_nodelay(true)?;
    let name = ServerName::try_from("localhost").expect("a name");
    connector.connect(name, stream).await
}

/// A port of loopback whose connections are carried to a server in TLS, so that a client in clear can talk to it.
pub(crate) struct Bridge {
    pub(crate) address: SocketAddr,
    /// The certificate of each connection, in their order.
    shown: Arc<Mutex<Vec<CertificateDer<'static>>>>,
    carrying: JoinHandle<()>,
}

impl Bridge {
    /// Its clients speak HTTP/1.1.
    pub(crate) async fn to(target: SocketAddr, trusted: &[&Identity]) -> Self {
        let connector = client(trusted, &[&version::TLS13], &["http/1.1"]);
        let shown = Arc::<Mutex<Vec<_>>>::default();
        let there = Arc::clone(&shown);
        let (address, carrying) = accepting(move |mut inside| {
            let (connector, shown) = (connector.clone(), Arc::clone(&there));
            async move {
                let outside = TcpStream::connect(target).await.expect("connected");
                let mut outside = connect(&connector, outside).await.expect("a handshake");
                let (_, state) = outside.get_ref();
                let chain = state.peer_certificates().expect("it has shown one");
                shown
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push(chain[0].clone().into_owned());
                // However it ends, both sides see it.
                drop(copy_bidirectional(&mut inside, &mut outside).await);
            }
        })
        .await;
        Self {
            address,
            shown,
            carrying,
        }
    }

    /// The certificate that the last connection was shown.
    pub(crate) fn shown(&self) -> CertificateDer<'static> {
        let shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        shown.last().expect("there was a connection").clone()
    }
}

impl Drop for Bridge {
    fn drop(&mut self) {
        self.carrying.abort();
    }
}

/// A port of loopback where TLS is spoken for a server in clear.
pub(crate) async fn terminating(identity: &Identity, target: SocketAddr) -> SocketAddr {
    let key = PrivateKeyDer::from_pem_slice(identity.key.as_bytes()).expect("a key");
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![identity.der()], key)
        .expect("they fit");
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let (address, _) = accepting(move |outside| {
        let acceptor = acceptor.clone();
        async move {
            // A client that does not trust us ends it.
            if let Ok(mut outside) = acceptor.accept(outside).await {
                let mut inside = TcpStream::connect(target).await.expect("connected");
                drop(copy_bidirectional(&mut inside, &mut outside).await);
            }
        }
    })
    .await;
    address
}

/// Accepts until it is aborted, or the runtime ends.
async fn accepting<F>(
    serve: impl Fn(TcpStream) -> F + Send + 'static,
) -> (SocketAddr, JoinHandle<()>)
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("it is bound");
    let task = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream));
        }
    });
    (address, task)
}
