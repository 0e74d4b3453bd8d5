//! TLS towards clients: one configuration for all connections, whose certificate can change under it.
//!
//! The files are read again and again rather than watched: whoever renews a certificate writes two files, or turns a link
//! round, and either way there is a moment when they do not fit together. Then the old certificate stays in use until they
//! do. Only handshakes ask for the certificate, so connections that are open keep theirs.

use std::{
    fmt, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use arc_swap::ArcSwap;
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        self, ServerConfig,
        crypto::{CryptoProvider, ring},
        pki_types::{CertificateDer, PrivateKeyDer, pem, pem::PemObject as _},
        server::{ClientHello, ResolvesServerCert},
        sign::CertifiedKey,
        version::{TLS12, TLS13},
    },
};

/// How a listener speaks TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsSettings {
    /// The certificate, and behind it those that lead to its authority: PEM.
    pub certificate: PathBuf,
    /// The certificate's private key: PEM.
    pub key: PathBuf,
    /// Whether TLS 1.2 is refused.
    pub only_13: bool,
    /// How long a handshake may take.
    pub handshake_max: Duration,
    /// Whether clients are offered HTTP/2 (ALPN).
    pub http2: bool,
}

/// Why TLS cannot be spoken with the files as they are.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("{}: {why}", file.display())]
    File {
        /// Which.
        file: PathBuf,
        /// Why.
        why: io::Error,
    },
    /// A file is not PEM, or holds nothing of what it should.
    #[error("{}: no usable {wanted} in PEM form: {why}", file.display())]
    Content {
        /// Which.
        file: PathBuf,
        /// What should be in it.
        wanted: &'static str,
        /// What is wrong.
        why: pem::Error,
    },
    /// Certificate and key cannot be used together, or not at all.
    #[error("certificate and key cannot be used: {0}")]
    Unusable(rustls::Error),
}

/// In one piece: what is wrong is told whole wherever it is told.
impl From<rustls::Error> for TlsError {
    fn from(error: rustls::Error) -> Self {
        Self::Unusable(error)
    }
}

/// The server's side of TLS. Clones are the same.
#[derive(Clone)]
pub struct Tls {
    pub(super) acceptor: TlsAcceptor,
    pub(super) handshake_max: Duration,
    current: Arc<Current>,
    settings: Arc<TlsSettings>,
}

impl fmt::Debug for Tls {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Tls").field(&self.settings).finish()
    }
}

impl Tls {
    /// Reads the files, whatever that takes: before anything is served.
    ///
    /// # Errors
    /// [`TlsError`] if they cannot be used.
    pub fn load(settings: TlsSettings) -> Result<Self, TlsError> {
        let read = |file: &Path| std::fs::read(file).map_err(|why| unread(file, why));
        let files = Files {
            certificate: read(&settings.certificate)?,
            key: read(&settings.key)?,
        };
        let provider = Arc::new(ring::default_provider());
        let certified = files.certified(&settings, &provider)?;
        let current = Arc::new(Current(ArcSwap::from_pointee(certified)));
        let versions = match settings.only_13 {
            true => &[&TLS13][..],
            false => &[&TLS13, &TLS12][..],
        };
        let resolver = Arc::clone(&current) as Arc<dyn ResolvesServerCert>;
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)?
            .with_no_client_auth()
            .with_cert_resolver(resolver);
        // The order is ours to choose: the first that the client has, too.
        let protocols = [Some(HTTP2).filter(|_| settings.http2), Some(HTTP1)];
        config.alpn_protocols = protocols
            .into_iter()
            .flatten()
            .map(<[u8]>::to_vec)
            .collect();
        // Sessions to be resumed are kept by their clients: no memory here.
        config.ticketer = ring::Ticketer::new()?;
        Ok(Self {
            acceptor: TlsAcceptor::from(Arc::new(config)),
            handshake_max: settings.handshake_max,
            current,
            settings: Arc::new(settings),
        })
    }

    /// Reads the files again at this interval, and takes what is new and usable into use. Never returns.
    pub async fn keep(self, interval: Duration) {
        let provider = ring::default_provider();
        // Not what was loaded: the files may have changed since.
        let mut seen = None;
        let mut interval = tokio::time::interval(interval);
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            interval.tick().await;
            let read = self.read().await;
            // A fault is told once, not at each look.
            let look = read.as_ref().map_err(ToString::to_string).cloned();
            if seen.as_ref() == Some(&look) {
                continue;
            }
            seen = Some(look);
            let certified = read.and_then(|files| files.certified(&self.settings, &provider));
            match certified {
                Ok(certified) => self.put(certified),
                Err(error) => tracing::error!(
                    %error,
                    certificate = %self.settings.certificate.display(),
                    "the certificate in use stays, the new one cannot be used: {error}"
                ),
            }
        }
    }

    fn put(&self, certified: CertifiedKey) {
        let is_same = self.current.0.load().cert == certified.cert;
        self.current.0.store(Arc::new(certified));
        if !is_same {
            tracing::info!(
                certificate = %self.settings.certificate.display(),
                "a new certificate is in use"
            );
        }
    }

    async fn read(&self) -> Result<Files, TlsError> {
        Ok(Files {
            certificate: read(&self.settings.certificate).await?,
            key: read(&self.settings.key).await?,
        })
    }
}

async fn read(file: &Path) -> Result<Vec<u8>, TlsError> {
    let read = tokio::fs::read(file).await;
    read.map_err(|why| unread(file, why))
}

fn unread(file: &Path, why: io::Error) -> TlsError {
    TlsError::File {
        file: file.to_owned(),
        why,
    }
}

/// What was read.
#[derive(Clone, PartialEq, Eq)]
struct Files {
    certificate: Vec<u8>,
    key: Vec<u8>,
}

impl Files {
    fn certified(
        &self,
        settings: &TlsSettings,
        provider: &CryptoProvider,
    ) -> Result<CertifiedKey, TlsError> {
        let content = |file: &Path, wanted, why| TlsError::Content {
            file: file.to_owned(),
            wanted,
            why,
        };
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&self.certificate).collect();
        let chain = chain.and_then(|chain| match chain.is_empty() {
            true => Err(pem::Error::NoItemsFound),
            false => Ok(chain),
        });
        let chain = chain.map_err(|why| content(&settings.certificate, "certificate", why))?;
        let key = PrivateKeyDer::from_pem_slice(&self.key);
        let key = key.map_err(|why| content(&settings.key, "private key", why))?;
        Ok(CertifiedKey::from_der(chain, key, provider)?)
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        zeroize::Zeroize::zeroize(&mut self.key);
    }
}

/// What is agreed on with clients. Source: RFC 7301 §6, RFC 9113 §3.1.
pub(super) const HTTP2: &[u8] = b"h2";
const HTTP1: &[u8] = b"http/1.1";

/// The certificate that the next handshake shows.
#[derive(Debug)]
struct Current(ArcSwap<CertifiedKey>);

impl ResolvesServerCert for Current {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.load_full())
    }
}
