//! Binding and the accept loop.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
};

use super::{
    Listener, ListenerSettings, Manner, Service, connection,
    greeting::{self, Greeted},
    http2, tls,
};
use crate::{
    lifecycle::{Shutdown, Tasks},
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
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
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
    let settings = Arc::new(settings);
    let head = Arc::new(settings.head.clone());
    let mut backoff = BACKOFF_MIN;
    while let Some((accepted, place)) = next(&listener, &places, &shutdown).await {
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) if is_of_the_connection(&error) => continue,
            Err(error) => {
                tracing::warn!(listener = listener.name, %error, "cannot accept: {error}");
                tokio::time::sleep(backoff).await;
                backoff = (backoff * 2).min(BACKOFF_MAX);
                continue;
            }
        };
        backoff = BACKOFF_MIN;
        let local = stream.local_addr().unwrap_or(listener.address);
        // Without it an answer waits for the client's delayed ACK; with an error the socket is dead, as reading will tell.
        let _ = stream.set_nodelay(true);
        let way = Way {
            service: Arc::clone(&service),
            head: Arc::clone(&head),
            settings: Arc::clone(&settings),
            shutdown: shutdown.clone(),
            peer,
            local,
            _place: place,
        };
        let Some(cores) = &settings.cores else {
            connections.spawn("connection", way.serve(stream));
            continue;
        };
        // The socket leaves this reactor for that of its thread.
        let Ok(socket) = stream.into_std() else {
            continue;
        };
        cores.spawn(&connections, "connection", async move {
            match TcpStream::from_std(socket) {
                Ok(stream) => way.serve(stream).await,
                Err(error) => tracing::warn!(%error, "a connection cannot be watched: {error}"),
            }
        });
    }
    drop(listener);
    // Each connection keeps to the drain time by itself; the margin is for their last steps.
    if !connections.drained(settings.drain + DRAIN_MARGIN).await {
        tracing::warn!(
            connections = connections.count(),
            "connections still open after the drain time"
        );
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
    _place: OwnedSemaphorePermit,
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

/// Waits for a place and a connection; `None` when draining begins.
async fn next(
    listener: &Listener,
    places: &Arc<Semaphore>,
    shutdown: &Shutdown,
) -> Option<(io::Result<(TcpStream, SocketAddr)>, OwnedSemaphorePermit)> {
    let accepting = async {
        // The semaphore is never closed, so this fails never.
        let place = Arc::clone(places).acquire_owned().await.ok()?;
        Some((listener.socket.accept().await, place))
    };
    tokio::select! {
        // Draining first: a busy listener must not put it off.
        biased;
        () = shutdown.draining() => None,
        accepted = accepting => accepted,
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

/// How many connections the kernel keeps for us; it takes less if `somaxconn` says so.
const BACKLOG: i32 = 4096;

/// Waits between attempts when descriptors or memory are short.
const BACKOFF_MIN: Duration = Duration::from_millis(5);
const BACKOFF_MAX: Duration = Duration::from_secs(1);

const DRAIN_MARGIN: Duration = Duration::from_secs(1);

const _: () = assert!(BACKOFF_MIN.as_millis() < BACKOFF_MAX.as_millis());
