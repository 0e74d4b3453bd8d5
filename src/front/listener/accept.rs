//! Binding and the accept loop.

use std::{
    future::poll_fn,
    io,
    net::{SocketAddr, TcpListener},
    pin::pin,
    sync::Arc,
    task::Poll,
    time::Duration,
};

use bytes::Bytes;
use futures_util::future::try_join_all;
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::{
    net::TcpStream,
    sync::{OwnedSemaphorePermit, Semaphore},
    task::yield_now,
};

use super::{
    Listener, ListenerSettings, Manner, Service,
    alarm::Alarm,
    connection,
    greeting::{self, Greeted},
    http2, tls,
};
use crate::{
    lifecycle::{Cores, Place, Shutdown, Tasks},
    proxy::{ClientInfo, HeadSettings},
};

/// Binds without waiting and without sharing the port with a living process.
pub(super) fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    // Connections of a former process in TIME_WAIT do not keep us away; a listening one does.
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Makes ready what listens.
pub(super) fn prepare(socket: &TcpListener) -> io::Result<()> {
    socket.set_nonblocking(true)?;
    // What is accepted inherits it. Without it an answer waits for the client's delayed ACK.
    SockRef::from(socket).set_tcp_nodelay(true)
}

/// Accepts until draining begins, then waits for the connections.
pub(super) async fn run<S: Service>(
    listener: Listener,
    service: Arc<S>,
    settings: ListenerSettings,
    tasks: Tasks,
    shutdown: Shutdown,
) {
    let connections = tasks.child();
    let places = Arc::new(Semaphore::new(settings.connections_max));
    let drain = settings.drain;
    let cores = settings.cores.clone();
    let acceptor = Acceptor {
        service,
        head: Arc::new(settings.head.clone()),
        settings: Arc::new(settings),
        places,
        connections: connections.clone(),
        shutdown,
        name: listener.name,
        address: listener.address,
    };
    match cores {
        None => acceptor.accept(listener.socket).await,
        Some(cores) => on_cores(&acceptor, listener.socket, &cores, &tasks).await,
    }
    // Each connection keeps to the drain time by itself; the margin is for their last steps.
    if !connections.drained(drain + DRAIN_MARGIN).await {
        tracing::warn!(
            connections = connections.count(),
            "connections still open after the drain time"
        );
    }
}

/// Accepts on several threads at once, so that most connections stay on the thread that has accepted them. They share the
/// kernel's one queue: when this process gives the socket away, nobody is left in a queue of his own.
async fn on_cores<S: Service>(
    acceptor: &Acceptor<S>,
    socket: TcpListener,
    cores: &Cores,
    tasks: &Tasks,
) {
    let count = cores.count().min(ACCEPTORS_MAX);
    let mut sockets = vec![socket];
    while sockets.len() < count {
        match sockets[0].try_clone() {
            Ok(other) => sockets.push(other),
            Err(error) => {
                tracing::warn!(%error, "fewer threads accept connections than could: {error}");
                break;
            }
        }
    }
    let accepting: Vec<_> = sockets
        .into_iter()
        .enumerate()
        .map(|(index, socket)| {
            let acceptor = acceptor.clone();
            cores.spawn_at(index, tasks, "accept", async move {
                acceptor.accept(socket).await;
            })
        })
        .collect();
    if let Err(error) = try_join_all(accepting).await
        && let Ok(panic) = error.try_into_panic()
    {
        // It is this task without which the process is of no use.
        std::panic::resume_unwind(panic);
    }
}

/// What accepts connections, with all that they need.
struct Acceptor<S> {
    service: Arc<S>,
    head: Arc<HeadSettings>,
    settings: Arc<ListenerSettings>,
    places: Arc<Semaphore>,
    connections: Tasks,
    shutdown: Shutdown,
    name: &'static str,
    /// Where it listens.
    address: SocketAddr,
}

impl<S> Clone for Acceptor<S> {
    fn clone(&self) -> Self {
        Self {
            service: Arc::clone(&self.service),
            head: Arc::clone(&self.head),
            settings: Arc::clone(&self.settings),
            places: Arc::clone(&self.places),
            connections: self.connections.clone(),
            shutdown: self.shutdown.clone(),
            name: self.name,
            address: self.address,
        }
    }
}

impl<S: Service> Acceptor<S> {
    async fn accept(&self, socket: TcpListener) {
        let socket = match tokio::net::TcpListener::from_std(socket) {
            Ok(socket) => socket,
            Err(error) => {
                tracing::error!(listener = self.name, %error, "cannot listen: {error}");
                return;
            }
        };
        let mut draining = Alarm::new(self.shutdown.draining());
        let mut backoff = BACKOFF_MIN;
        loop {
            let mut accepting = pin!(self.next(&socket));
            let accepted = poll_fn(|cx| {
                // First: a busy listener must not put it off.
                if draining.poll(cx).is_ready() {
                    return Poll::Ready(None);
                }
                accepting.as_mut().poll(cx)
            });
            match accepted.await {
                None => return,
                Some((Ok((stream, peer)), permit)) => {
                    backoff = BACKOFF_MIN;
                    self.serve(stream, peer, permit);
                    // What else there is to do on this thread comes first: so a thread takes what it has time for, and leaves the
                    // rest to the others.
                    yield_now().await;
                }
                Some((Err(error), _)) if is_of_the_connection(&error) => (),
                Some((Err(error), _)) => {
                    tracing::warn!(listener = self.name, %error, "cannot accept: {error}");
                    tokio::time::sleep(backoff).await;
                    backoff = (backoff * 2).min(BACKOFF_MAX);
                }
            }
        }
    }

    /// Waits for a place and a connection.
    async fn next(
        &self,
        socket: &tokio::net::TcpListener,
    ) -> Option<(io::Result<(TcpStream, SocketAddr)>, OwnedSemaphorePermit)> {
        // The semaphore is never closed, so this fails never.
        let permit = Arc::clone(&self.places).acquire_owned().await.ok()?;
        Some((socket.accept().await, permit))
    }

    fn serve(&self, stream: TcpStream, peer: SocketAddr, permit: OwnedSemaphorePermit) {
        let local = match self.address.ip().is_unspecified() {
            true => stream.local_addr().unwrap_or(self.address),
            false => self.address,
        };
        let core = self
            .settings
            .cores
            .as_ref()
            .map(|cores| (cores, cores.place()));
        let mut way = Way {
            service: Arc::clone(&self.service),
            head: Arc::clone(&self.head),
            settings: Arc::clone(&self.settings),
            shutdown: self.shutdown.clone(),
            peer,
            local,
            core: None,
            _permit: permit,
        };
        let Some((cores, core)) = core else {
            self.connections.spawn("connection", way.serve(stream));
            return;
        };
        let (index, is_here) = (core.index(), core.is_here());
        way.core = Some(core);
        if is_here {
            cores.spawn_at(index, &self.connections, "connection", way.serve(stream));
            return;
        }
        // The socket leaves this reactor for that of its thread.
        let Ok(socket) = stream.into_std() else {
            return;
        };
        cores.spawn_at(index, &self.connections, "connection", async move {
            match TcpStream::from_std(socket) {
                Ok(stream) => way.serve(stream).await,
                Err(error) => tracing::warn!(%error, "a connection cannot be watched: {error}"),
            }
        });
    }
}

/// What one connection needs on its way.
struct Way<S> {
    service: Arc<S>,
    head: Arc<HeadSettings>,
    settings: Arc<ListenerSettings>,
    shutdown: Shutdown,
    peer: SocketAddr,
    local: SocketAddr,
    /// Its place on a thread, which counts as long as it is there.
    core: Option<Place>,
    _permit: OwnedSemaphorePermit,
}

impl<S: Service> Way<S> {
    async fn serve(self, stream: TcpStream) {
        let (settings, service) = (&*self.settings, &*self.service);
        let manner = Manner {
            head: Arc::clone(&self.head),
            http2: &settings.http2,
            shutdown: &self.shutdown,
            drain: settings.drain,
        };
        if !greeting::is_due(settings, self.peer) {
            let client = ClientInfo::new(self.peer, self.local, "http");
            return connection::serve(stream, client, service, &manner).await;
        }
        // Boxed, so that a connection without a greeting has no room for it.
        let greeting = greeting::hear(stream, self.peer, self.local, settings, &self.shutdown);
        match Box::pin(greeting).await {
            Some(Greeted::Plain(stream, client)) => {
                Box::pin(connection::serve(stream, client, service, &manner)).await;
            }
            Some(Greeted::Secure(stream, client)) => {
                let is_http2 = stream.get_ref().1.alpn_protocol() == Some(tls::HTTP2);
                if is_http2 {
                    Box::pin(http2::serve(
                        *stream,
                        Bytes::new(),
                        &client,
                        service,
                        &manner,
                    ))
                    .await;
                } else {
                    Box::pin(connection::serve(stream, client, service, &manner)).await;
                }
            }
            None => (),
        }
    }
}

/// Whether an error of `accept` is about that one connection, so that the next can be accepted at once.
fn is_of_the_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::Interrupted
    )
}

/// On how many threads connections are accepted. Each is woken for each connection: more of them would be woken for nothing, and
/// what they hand over costs less than that.
const ACCEPTORS_MAX: usize = 4;

/// How many connections the kernel keeps for us; it takes less if `somaxconn` says so.
const BACKLOG: i32 = 4096;

/// Waits between attempts when descriptors or memory are short.
const BACKOFF_MIN: Duration = Duration::from_millis(5);
const BACKOFF_MAX: Duration = Duration::from_secs(1);

const DRAIN_MARGIN: Duration = Duration::from_secs(1);

const _: () = assert!(BACKOFF_MIN.as_millis() < BACKOFF_MAX.as_millis());
