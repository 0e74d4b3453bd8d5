//! nginx, as it would stand in our place.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use crate::{
    Outcome,
    servers::{Certificate, PROXY_THREADS},
};

/// A running nginx with a directory of its own.
pub(crate) struct Nginx {
    child: Child,
    pub(crate) address: SocketAddr,
    pub(crate) tls_address: SocketAddr,
    pub(crate) version: String,
    _directory: tempfile::TempDir,
}

impl Nginx {
    pub(crate) fn start(upstream: SocketAddr, certificate: &Certificate) -> Outcome<Option<Self>> {
        let Ok(version) = Command::new("nginx").arg("-v").output() else {
            return Ok(None);
        };
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
            version: String::from_utf8_lossy(&version.stderr).trim().to_owned(),
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
    directory: &Path,
    [address, tls_address]: [SocketAddr; 2],
    upstream: SocketAddr,
    certificate: &Certificate,
) -> String {
    let directory = directory.display();
    let (key, certificate) = (certificate.key.display(), certificate.certificate.display());
    format!(
        "worker_processes {PROXY_THREADS}; daemon off; pid {directory}/pid; error_log /dev/null crit;
         events {{ worker_connections 4096; }}
         http {{
           access_log off; keepalive_requests 100000000;
           client_body_temp_path {directory}/body; proxy_temp_path {directory}/proxy;
           fastcgi_temp_path {directory}/fastcgi; uwsgi_temp_path {directory}/uwsgi; scgi_temp_path {directory}/scgi;
           upstream api {{ server {upstream}; keepalive 256; keepalive_requests 100000000; }}
           server {{
             listen {address} backlog=4096; listen {tls_address} ssl backlog=4096;
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
