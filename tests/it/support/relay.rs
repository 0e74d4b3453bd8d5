//! A way through which bytes go to a server, and which can be cut in the middle of an answer, or fall silent.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{oneshot, watch};

/// A relay before one server, on a thread of its own. It ends with its handle.
pub(crate) struct Relay {
    pub(crate) address: SocketAddr,
    way: Arc<Way>,
    _over: oneshot::Sender<()>,
}

struct Way {
    target: Mutex<SocketAddr>,
    silent: watch::Sender<bool>,
    /// How often everything was cut.
    cuts: watch::Sender<u64>,
    /// How many bytes of answers still go through before everything is cut.
    left: Mutex<Option<usize>>,
}

impl Relay {
    /// Listens on a free port of loopback.
    pub(crate) fn start(target: SocketAddr) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port is free");
        listener.set_nonblocking(true).expect("it is a socket");
        let address = listener.local_addr().expect("it is bound");
        let way = Arc::new(Way {
            target: Mutex::new(target),
            silent: watch::Sender::new(false),
            cuts: watch::Sender::new(0),
            left: Mutex::new(None),
        });
        let (over, ended) = oneshot::channel::<()>();
        let way_there = Arc::clone(&way);
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime can be made");
            runtime.block_on(async move {
                let listener = TcpListener::from_std(listener).expect("it is a listener");
                tokio::select! {
                    () = accept(listener, way_there) => (),
                    _ = ended => (),
                }
            });
        });
        Self {
            address,
            way,
            _over: over,
        }
    }

    /// Leads to another server from now on; who is connected stays.
    pub(crate) fn lead_to(&self, target: SocketAddr) {
        *lock(&self.way.target) = target;
    }

    /// Cuts every connection now.
    pub(crate) fn cut(&self) {
        self.way.cut();
    }

    /// Cuts every connection after so many more bytes of answers: in the middle of one, as a rule. With 0 the next answer is
    /// lost.
    pub(crate) fn cut_in(&self, bytes: usize) {
        *lock(&self.way.left) = Some(bytes);
    }

    /// Whether [`Relay::cut_in`] is still to come.
    pub(crate) fn is_to_cut(&self) -> bool {
        lock(&self.way.left).is_some()
    }

    /// Lets nothing through any more, and closes nothing: what a network does that has lost the way. Or lets it through again.
    pub(crate) fn silence(&self, is_silent: bool) {
        self.way.silent.send_replace(is_silent);
    }
}

impl Way {
    fn cut(&self) {
        self.cuts.send_modify(|cuts| *cuts += 1);
    }

    async fn open(&self) {
        let mut silent = self.silent.subscribe();
        // The sender is in `self`.
        drop(silent.wait_for(|silent| !silent).await);
    }

    /// How many of these bytes of an answer may go through.
    fn allowed(&self, bytes: usize) -> usize {
        let mut left = lock(&self.left);
        match *left {
            None => bytes,
            Some(some) if some > bytes => {
                *left = Some(some - bytes);
                bytes
            }
            Some(some) => {
                *left = None;
                some
            }
        }
    }
}

async fn accept(listener: TcpListener, way: Arc<Way>) {
    while let Ok((client, _)) = listener.accept().await {
        tokio::spawn(serve(client, Arc::clone(&way)));
    }
}

async fn serve(client: TcpStream, way: Arc<Way>) {
    let mut cuts = way.cuts.subscribe();
    way.open().await;
    let target = *lock(&way.target);
    let Ok(server) = TcpStream::connect(target).await else {
        return;
    };
    let (asking, hearing) = client.into_split();
    let (answering, asked) = server.into_split();
    tokio::select! {
        () = pump(asking, asked, &way, false) => (),
        () = pump(answering, hearing, &way, true) => (),
        _ = cuts.changed() => (),
    }
}

async fn pump(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, way: &Way, are_answers: bool) {
    let mut room = vec![0; CHUNK];
    loop {
        way.open().await;
        let read = from.read(&mut room).await.unwrap_or(0);
        way.open().await;
        let allowed = match are_answers {
            true => way.allowed(read),
            false => read,
        };
        if read == 0 || to.write_all(&room[..allowed]).await.is_err() {
            return;
        }
        if allowed < read {
            way.cut();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

const CHUNK: usize = 16 << 10;
