//! Measures forwarding: our listener and forwarder against nginx, before the same upstream, in interleaved rounds.
//!
//! `cargo run --release --example bench-proxy -- [connections] [rounds] [seconds] [threads]`. Everything runs on loopback, load
//! and upstream in this process on threads of their own. Without nginx on the PATH only our own figures are printed.

use std::{
    convert::Infallible,
    error::Error,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures_util::future::{BoxFuture, join_all};
use hdrhistogram::Histogram;
use http::{Request, Response};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use sidestream::{
    front::listener::{Answer, ConnectionInfo, Listener, ListenerSettings, Service},
    lifecycle::{Cores, Shutdown, Tasks},
    proxy::{Forwarder, ProxySettings},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    runtime::{Builder, Runtime},
};

/// As the binary has it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

const BODY_BYTES: usize = 512;
const PROXY_THREADS: usize = 2;
/// The name of our own threads.
const PROXY_THREAD: &str = "proxy";

fn main() -> Outcome<()> {
    let mut arguments = std::env::args().skip(1);
    let mut number = |default: u64| arguments.next().map_or(Ok(default), |text| text.parse());
    let (connections, rounds, seconds) = (number(64)?, number(5)?.max(1), number(3)?);
    let threads = usize::try_from(number(PROXY_THREADS as u64)?)?;

    let (upstream_threads, proxy_threads, load_threads) = (
        runtime("upstream", 1)?,
        runtime(PROXY_THREAD, threads)?,
        runtime("load", 1)?,
    );
    let upstream = upstream_threads.block_on(start_upstream(&upstream_threads))?;
    let ours = proxy_threads.block_on(start_ours(&proxy_threads, upstream))?;
    let nginx = Nginx::start(upstream)?;
    println!(
        "{connections} connections, {rounds} rounds of {seconds} s, {BODY_BYTES} byte answers, {threads} threads, \
         {PROXY_THREADS} nginx workers, {} CPUs; sidestream {}, {}",
        std::thread::available_parallelism()?,
        env!("CARGO_PKG_VERSION"),
        nginx
            .as_ref()
            .map_or("no nginx found", |nginx| &nginx.version),
    );

    let mut subjects = vec![
        Subject::new("upstream", upstream, Vec::new()),
        Subject::new("sidestream", ours, own_threads(PROXY_THREAD)?),
    ];
    if let Some(nginx) = &nginx {
        subjects.push(Subject::new("nginx", nginx.address, nginx.workers()?));
    }
    let length = Duration::from_secs(seconds);
    for round in 0..=rounds {
        for subject in &mut subjects {
            let cpu_before = subject.cpu()?;
            let measured =
                load_threads.block_on(load(&load_threads, subject.address, connections, length))?;
            // The first round warms up.
            if round > 0 {
                let cpu = subject.cpu()? - cpu_before;
                subject.add(&measured, length, cpu);
            }
        }
    }
    for subject in &subjects {
        println!("{subject}");
    }
    if nginx.is_some() {
        // By rounds, since what else runs on the machine changes from round to round.
        let ratios = |rates: fn(&Subject) -> &Vec<f64>| {
            let pairs = rates(&subjects[1]).iter().zip(rates(&subjects[2]));
            let mut ratios: Vec<f64> = pairs.map(|(ours, theirs)| ours / theirs).collect();
            ratios.sort_by(f64::total_cmp);
            ratios
        };
        for (what, ratios) in [
            ("requests/s", ratios(|subject| &subject.per_second)),
            (
                "CPU per request",
                ratios(|subject| &subject.cpu_per_request),
            ),
        ] {
            println!(
                "sidestream / nginx, {what}: {:.3} (median of the rounds' ratios {ratios:.3?})",
                ratios[ratios.len() / 2]
            );
        }
    }
    Ok(())
}

fn runtime(name: &str, threads: usize) -> Outcome<Runtime> {
    Ok(Builder::new_multi_thread()
        .worker_threads(threads)
        .thread_name(name)
        .enable_all()
        .build()?)
}

/// Someone who answers.
struct Subject {
    name: &'static str,
    address: SocketAddr,
    /// The directories in `/proc` of the threads that do its work.
    threads: Vec<PathBuf>,
    per_second: Vec<f64>,
    /// In microseconds. Steadier than the rate where others use the processors, too.
    cpu_per_request: Vec<f64>,
    latencies: Histogram<u64>,
}

impl Subject {
    fn new(name: &'static str, address: SocketAddr, threads: Vec<PathBuf>) -> Self {
        Self {
            name,
            address,
            threads,
            per_second: Vec::new(),
            cpu_per_request: Vec::new(),
            latencies: histogram(),
        }
    }

    fn add(&mut self, measured: &Histogram<u64>, length: Duration, cpu: Duration) {
        let requests = measured.len() as f64;
        self.per_second.push(requests / length.as_secs_f64());
        self.cpu_per_request
            .push(cpu.as_secs_f64() * 1e6 / requests);
        self.latencies += measured;
    }

    /// How long its threads have been on a processor.
    fn cpu(&self) -> Outcome<Duration> {
        let mut all = Duration::ZERO;
        for thread in &self.threads {
            let text = std::fs::read_to_string(thread.join("schedstat"))?;
            let nanoseconds = text.split(' ').next().unwrap_or_default().parse()?;
            all += Duration::from_nanos(nanoseconds);
        }
        Ok(all)
    }
}

fn median(of: &[f64]) -> f64 {
    let mut sorted = of.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or_default()
}

/// The threads of this process that bear `name`.
fn own_threads(name: &str) -> Outcome<Vec<PathBuf>> {
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

impl std::fmt::Display for Subject {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let rounds: Vec<String> = self
            .per_second
            .iter()
            .map(|rate| format!("{rate:.0}"))
            .collect();
        write!(
            formatter,
            "{:<10} {:>8.0} requests/s (median of {}), {:.1} us of CPU each, p50 {} us, p99 {} us",
            self.name,
            median(&self.per_second),
            rounds.join(" "),
            median(&self.cpu_per_request),
            self.latencies.value_at_quantile(0.5),
            self.latencies.value_at_quantile(0.99),
        )
    }
}

fn histogram() -> Histogram<u64> {
    Histogram::new(3).expect("three digits are allowed")
}

/// Sends GETs on kept connections, one at a time on each, and returns the latencies in microseconds.
async fn load(
    threads: &Runtime,
    address: SocketAddr,
    connections: u64,
    length: Duration,
) -> Outcome<Histogram<u64>> {
    let until = Instant::now() + length;
    let clients = (0..connections).map(|_| threads.spawn(client(address, until)));
    let mut all = histogram();
    for latencies in join_all(clients).await {
        all += latencies??;
    }
    Ok(all)
}

async fn client(address: SocketAddr, until: Instant) -> Outcome<Histogram<u64>> {
    let request = format!(
        "GET /messages?filter=%7B%22from%22%3A%22Bob%22%7D HTTP/1.1\r\nHost: {address}\r\nUser-Agent: bench\r\n\
         Accept: application/json\r\nAccept-Encoding: gzip, deflate\r\nAuthorization: Basic YWRtaW46c2VjcmV0\r\n\r\n"
    );
    let mut stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let mut latencies = histogram();
    let mut answer = Vec::with_capacity(4096);
    while Instant::now() < until {
        let began = Instant::now();
        stream.write_all(request.as_bytes()).await?;
        answer.clear();
        while !is_whole(&answer) {
            if stream.read_buf(&mut answer).await? == 0 {
                return Err("the answer broke off".into());
            }
        }
        if !answer.starts_with(b"HTTP/1.1 200") {
            return Err(String::from_utf8_lossy(&answer).into_owned().into());
        }
        latencies.record(began.elapsed().as_micros() as u64)?;
    }
    Ok(latencies)
}

fn is_whole(answer: &[u8]) -> bool {
    memchr::memmem::find(answer, b"\r\n\r\n")
        .is_some_and(|end| answer.len() >= end + 4 + BODY_BYTES)
}

async fn start_upstream(threads: &Runtime) -> Outcome<SocketAddr> {
    let socket = TcpListener::bind("127.0.0.1:0").await?;
    let address = socket.local_addr()?;
    let body = Bytes::from(vec![b'x'; BODY_BYTES]);
    threads.spawn(async move {
        while let Ok((stream, _)) = socket.accept().await {
            let _ = stream.set_nodelay(true);
            let body = body.clone();
            let answer = service_fn(move |_: Request<Incoming>| {
                let response = Response::builder()
                    .header("Content-Type", "application/json")
                    .header("X-Powered-By", "bench")
                    .header("Access-Control-Allow-Origin", "*")
                    .body(Full::new(body.clone()));
                async move { Ok::<_, Infallible>(response.expect("constant headers")) }
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
        request: Request<Incoming>,
        connection: &'a ConnectionInfo,
    ) -> BoxFuture<'a, Answer> {
        Box::pin(async move { self.0.forward(request, connection).await.into() })
    }
}

async fn start_ours(threads: &Runtime, upstream: SocketAddr) -> Outcome<SocketAddr> {
    let listener = Listener::bind("public", "127.0.0.1:0".parse()?)?;
    let address = listener.local_addr();
    let settings = ProxySettings::new(format!("http://{upstream}").parse()?);
    let service = Arc::new(Forwarding(Forwarder::new(settings)?));
    // As the product: connections on a thread for each processor.
    let count = std::num::NonZeroUsize::new(threads.metrics().num_workers());
    let cores = Cores::start(count.unwrap_or(std::num::NonZeroUsize::MIN))?;
    let settings = ListenerSettings {
        cores: Some(cores),
        ..ListenerSettings::default()
    };
    threads.spawn(listener.run(service, settings, Tasks::new(), Shutdown::new()));
    Ok(address)
}

/// A running nginx with a directory of its own.
struct Nginx {
    child: Child,
    address: SocketAddr,
    version: String,
    _directory: tempfile::TempDir,
}

impl Nginx {
    fn start(upstream: SocketAddr) -> Outcome<Option<Self>> {
        let Ok(version) = Command::new("nginx").arg("-v").output() else {
            return Ok(None);
        };
        let directory = tempfile::tempdir()?;
        // nginx cannot tell us a port that it chose; this one was free a moment ago.
        let address = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let file = directory.path().join("nginx.conf");
        std::fs::write(&file, configuration(directory.path(), address, upstream))?;
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

    fn workers(&self) -> Outcome<Vec<PathBuf>> {
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

fn configuration(directory: &Path, address: SocketAddr, upstream: SocketAddr) -> String {
    let directory = directory.display();
    format!(
        "worker_processes {PROXY_THREADS}; daemon off; pid {directory}/pid; error_log /dev/null crit;
         events {{ worker_connections 4096; }}
         http {{
           access_log off; keepalive_requests 100000000;
           client_body_temp_path {directory}/body; proxy_temp_path {directory}/proxy;
           fastcgi_temp_path {directory}/fastcgi; uwsgi_temp_path {directory}/uwsgi; scgi_temp_path {directory}/scgi;
           upstream api {{ server {upstream}; keepalive 256; keepalive_requests 100000000; }}
           server {{
             listen {address} backlog=4096;
             location / {{
               proxy_pass http://api; proxy_http_version 1.1; proxy_set_header Connection '';
               proxy_set_header Host $http_host; proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
               proxy_set_header X-Forwarded-Proto $scheme; proxy_set_header X-Forwarded-Host $http_host;
             }}
           }}
         }}\n"
    )
}
