//! nginx, as it would stand in our place.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use crate::{Outcome, row::Protocol, servers::Certificate};

/// A running nginx with a directory of its own.
pub(crate) struct Nginx {
    child: Child,
    address: SocketAddr,
    tls_address: SocketAddr,
    _directory: tempfile::TempDir,
}

/// What nginx on the PATH says of itself, if there is one.
pub(crate) fn version() -> Option<String> {
    let said = Command::new("nginx").arg("-v").output().ok()?;
    Some(String::from_utf8_lossy(&said.stderr).trim().to_owned())
}

impl Nginx {
    pub(crate) fn start(
        workers: usize,
        upstream: SocketAddr,
        certificate: &Certificate,
    ) -> Outcome<Option<Self>> {
        if version().is_none() {
            return Ok(None);
        }
        let directory = tempfile::tempdir()?;
        // nginx cannot tell us a port that it chose; these were free a moment ago.
        let sockets = [0; 2].map(|port| std::net::TcpListener::bind(("127.0.0.1", port)));
        let [address, tls_address] =
            sockets.map(|socket| socket.and_then(|socket| socket.local_addr()));
        let (address, tls_address) = (address?, tls_address?);
        let file = directory.path().join("nginx.conf");
        std::fs::write(
            &file,
            configuration(
                workers,
                directory.path(),
                [address, tls_address],
                upstream,
                certificate,
            ),
        )?;
        let child = Command::new("nginx")
            .args([
                "-p".as_ref(),
                directory.path().as_os_str(),
                "-c".as_ref(),
                file.as_os_str(),
            ])
            .stderr(Stdio::null())
            .spawn()?;
        let nginx = Self {
            child,
            address,
            tls_address,
            _directory: directory,
        };
        for _ in 0..200 {
            if std::net::TcpStream::connect(address).is_ok() {
                return Ok(Some(nginx));
            }
            #[expect(
                clippy::disallowed_methods,
                reason = "a program that has nothing else to do until nginx listens"
            )]
            std::thread::sleep(Duration::from_millis(20));
        }
        Err("nginx does not listen".into())
    }

    pub(crate) fn address(&self, protocol: Protocol) -> SocketAddr {
        match protocol {
            Protocol::Http1 => self.address,
            Protocol::Tls | Protocol::Http2 { .. } => self.tls_address,
        }
    }

    /// The directories of its workers in `/proc`.
    pub(crate) fn workers(&self) -> Outcome<Vec<PathBuf>> {
        let id = self.child.id();
        let children = std::fs::read_to_string(format!("/proc/{id}/task/{id}/children"))?;
        Ok(children
            .split_whitespace()
            .map(|id| PathBuf::from(format!("/proc/{id}")))
            .collect())
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // The master ends its workers on SIGTERM only, and SIGTERM is what `-s stop` sends; a kill would orphan them.
        let _ = Command::new("kill")
            .arg(self.child.id().to_string())
            .status();
        let _ = self.child.wait();
    }
}

fn configuration(
    workers: usize,
    directory: &Path,
    [address, tls_address]: [SocketAddr; 2],
    upstream: SocketAddr,
    certificate: &Certificate,
) -> String {
    let directory = directory.display();
    let (key, certificate) = (certificate.key.display(), certificate.certificate.display());
    format!(
        "worker_processes {workers}; daemon off; pid {directory}/pid; error_log /dev/null crit;
         events {{ worker_connections 4096; }}
         http {{
           access_log off; keepalive_requests 100000000;
           client_body_temp_path {directory}/body; proxy_temp_path {directory}/proxy;
           fastcgi_temp_path {directory}/fastcgi; uwsgi_temp_path {directory}/uwsgi; scgi_temp_path {directory}/scgi;
           upstream api {{ server {upstream}; keepalive 1024; keepalive_requests 100000000; }}
           server {{
             listen {address} backlog=4096; listen {tls_address} ssl http2 backlog=4096;
             ssl_certificate {certificate}; ssl_certificate_key {key};
             location / {{
               proxy_pass http://api; proxy_http_version 1.1; proxy_set_header Connection '';
               proxy_set_header Host $http_host; proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
               proxy_set_header X-Forwarded-Proto $scheme; proxy_set_header X-Forwarded-Host $http_host;
             }}
           }}
         }}\n"
    )
}
