//! The upstream, and our own listener and forwarder.

use std::{net::SocketAddr, num::NonZeroUsize, path::PathBuf, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use rcgen::{CertifiedKey, generate_simple_self_signed};
use sidestream::{
    front::listener::{
        Answer, ConnectionInfo, Listener, ListenerSettings, Service, Tls, TlsSettings,
    },
    lifecycle::{Cores, Shutdown, Tasks},
    proxy::{ClientBody, Forwarder, ProxySettings},
};
use tokio::{
    net::TcpListener,
    runtime::{Builder, Runtime},
};
use tokio_rustls::{
    TlsConnector,
    rustls::{self, ClientConfig, RootCertStore},
};

use crate::{Outcome, row::Protocol};

pub(crate) const PROXY_THREADS: usize = 2;
/// The name of our own threads.
pub(crate) const PROXY_THREAD: &str = "proxy";
/// For which name there is a certificate.
pub(crate) const NAME: &str = "localhost";

pub(crate) fn runtime(name: &str, threads: usize) -> Outcome<Runtime> {
    Ok(Builder::new_multi_thread()
        .worker_threads(threads)
        .thread_name(name)
        .enable_all()
        .build()?)
}

/// A certificate for [`NAME`] and its key, in files.
pub(crate) struct Certificate {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
    /// Who trusts it.
    pub(crate) client: TlsConnector,
    /// And speaks HTTP/2 only.
    pub(crate) http2_client: TlsConnector,
    _directory: tempfile::TempDir,
}

impl Certificate {
    pub(crate) fn make() -> Outcome<Self> {
        let CertifiedKey { cert, signing_key } = generate_simple_self_signed([NAME.to_owned()])?;
        let directory = tempfile::tempdir()?;
        let file = |name: &str| directory.path().join(name);
        let (certificate, key) = (file("certificate.pem"), file("key.pem"));
        std::fs::write(&certificate, cert.pem())?;
        std::fs::write(&key, signing_key.serialize_pem())?;
        let mut roots = RootCertStore::empty();
        roots.add(cert.der().clone())?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let client = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let mut http2 = client.clone();
        http2.alpn_protocols = vec![b"h2".to_vec()];
        Ok(Self {
            certificate,
            key,
            client: TlsConnector::from(Arc::new(client)),
            http2_client: TlsConnector::from(Arc::new(http2)),
            _directory: directory,
        })
    }
}

/// Answers `/messages/N` with N bytes.
pub(crate) async fn start_upstream(threads: &Runtime) -> Outcome<SocketAddr> {
    let socket = TcpListener::bind("127.0.0.1:0").await?;
    let address = socket.local_addr()?;
    let all = Bytes::from(vec![b'x'; 1 << 20]);
    threads.spawn(async move {
        while let Ok((stream, _)) = socket.accept().await {
            let _ = stream.set_nodelay(true);
            let all = all.clone();
            let answer = service_fn(move |request: Request<Incoming>| {
                let wanted = request.uri().path().rsplit('/').next();
                let wanted = wanted.and_then(|wanted| wanted.parse().ok());
                let body = all.slice(..wanted.unwrap_or(0).min(all.len()));
                async move {
                    // All that was sent is read.
                    request.into_body().collect().await?;
                    let response = Response::builder()
                        .header("Content-Type", "application/json")
                        .header("X-Powered-By", "bench")
                        .header("Access-Control-Allow-Origin", "*")
                        .body(Full::new(body));
                    Ok::<_, hyper::Error>(response.expect("constant headers"))
                }
            });
            tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), answer));
        }
    });
    Ok(address)
}

struct Forwarding(Forwarder);

impl Service for Forwarding {
    fn call<'a>(
        &'a self,
        request: Request<ClientBody>,
        connection: &'a ConnectionInfo,
    ) -> BoxFuture<'a, Answer> {
        Box::pin(async move { self.0.forward(request, connection).await.into() })
    }
}

async fn start_ours(
    workers: usize,
    threads: &Runtime,
    upstream: SocketAddr,
    tls: Option<&Certificate>,
) -> Outcome<SocketAddr> {
    let listener = Listener::bind("public", "127.0.0.1:0".parse()?)?;
    let address = listener.local_addr();
    let settings = ProxySettings::new(format!("http://{upstream}").parse()?);
    let service = Arc::new(Forwarding(Forwarder::new(settings)?));
    // As the product: connections on a thread for each processor.
    let cores = Cores::start(NonZeroUsize::new(workers).unwrap_or(NonZeroUsize::MIN))?;
    let tls = tls.map(|certificate| {
        Tls::load(TlsSettings {
            certificate: certificate.certificate.clone(),
            key: certificate.key.clone(),
            only_13: false,
            handshake_max: Duration::from_secs(10),
            http2: true,
        })
    });
    let settings = ListenerSettings {
        cores: Some(cores),
        tls: tls.transpose()?,
        ..ListenerSettings::default()
    };
    threads.spawn(listener.run(service, settings, Tasks::new(), Shutdown::new()));
    Ok(address)
}

/// Our own listeners, with a thread for connections for each of `workers`.
pub(crate) struct Ours {
    clear: SocketAddr,
    tls: SocketAddr,
}

impl Ours {
    pub(crate) fn start(
        workers: usize,
        threads: &Runtime,
        upstream: SocketAddr,
        certificate: &Certificate,
    ) -> Outcome<Self> {
        let start =
            |certificate| threads.block_on(start_ours(workers, threads, upstream, certificate));
        Ok(Self {
            clear: start(None)?,
            tls: start(Some(certificate))?,
        })
    }

    pub(crate) fn address(&self, protocol: Protocol) -> SocketAddr {
        match protocol {
            Protocol::Http1 => self.clear,
            Protocol::Tls | Protocol::Http2 { .. } => self.tls,
        }
    }
}

/// The threads of this process that bear `name`.
pub(crate) fn own_threads(name: &str) -> Outcome<Vec<PathBuf>> {
    let mut threads = Vec::new();
    for entry in std::fs::read_dir("/proc/self/task")? {
        let thread = entry?.path();
        let bears = std::fs::read_to_string(thread.join("comm"))?;
        // The threads for connections are named by the product.
        if bears.trim() == name || bears.starts_with("core-") {
            threads.push(thread);
        }
    }
    Ok(threads)
}
