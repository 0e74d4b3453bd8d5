//! Listening sockets that outlive a process: taken over from who listened before, handed on to who comes next.
//!
//! [`Inherited`] are those that this process was given, by systemd (socket activation) or by the process that it replaces.
//! [`Handover`] starts the process that replaces this one, and has as its standard input one end of a pair of sockets: over
//! it come all listening sockets in one message, and on it the new process says that it serves. Until then both listen on
//! the same sockets, each with the same queue of clients behind it, so nobody is refused; and should the word never come,
//! nothing has changed.
//!
//! Why the sockets are sent and not inherited by number: what is not inherited by the new process alone is inherited by
//! every other that happens to be started meanwhile, and to place it by number needs code between fork and exec.

use std::ffi::OsString;
use std::io::{self, IoSlice, IoSliceMut, Write};
use std::mem::MaybeUninit;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::ExitStatus;
use std::time::Duration;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags,
};
use tokio::io::AsyncReadExt;
use tokio::process::{Child, Command};
use tokio::time::timeout;

/// Listening sockets that were there before this process, until the rooms that listen have claimed theirs.
#[derive(Debug, Default)]
pub struct Inherited {
    sockets: Vec<Given>,
    /// To the process that this one replaces.
    predecessor: Option<UnixStream>,
}

#[derive(Debug)]
struct Given {
    /// What it was for in the process that this one replaces; systemd does not know.
    purpose: Option<String>,
    socket: TcpListener,
}

impl Inherited {
    /// Takes what this process was given, once. To be called before there is a second thread: it changes the environment.
    ///
    /// # Errors
    /// The environment speaks of sockets that are not there, or of some on which no TCP is listened for.
    pub fn take() -> io::Result<Self> {
        if std::env::var_os(CHANNEL).is_some() {
            let channel = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
            channel.set_read_timeout(Some(RECEIVE_TIME_MAX))?;
            return Ok(Self {
                sockets: receive(&channel)?,
                predecessor: Some(channel),
            });
        }
        let mut given = listenfd::ListenFd::from_env();
        let mut sockets = Vec::new();
        for index in 0..given.len() {
            if let Some(socket) = given.take_tcp_listener(index)? {
                sockets.push(Given::new(None, socket)?);
            }
        }
        Ok(Self {
            sockets,
            predecessor: None,
        })
    }

    /// Takes the socket that was bound for this listener and this address, or else one that is bound to the address.
    pub fn claim(&mut self, listener: &str, asked: SocketAddr) -> Option<TcpListener> {
        let purpose = purpose(listener, asked);
        // Port 0 is another one each time; only what was bound for the same purpose can be meant.
        let by_purpose = |given: &Given| given.purpose.as_ref() == Some(&purpose);
        let by_address = |given: &Given| given.socket.local_addr().is_ok_and(|at| at == asked);
        let found = self.sockets.iter().position(by_purpose);
        let found = found.or_else(|| self.sockets.iter().position(by_address))?;
        Some(self.sockets.swap_remove(found).socket)
    }

    /// Whether this process replaces another one, which goes on until [`Self::tell_serving`].
    pub fn is_replacing(&self) -> bool {
        self.predecessor.is_some()
    }

    /// The addresses of sockets that nobody has claimed.
    pub fn unclaimed(&self) -> Vec<SocketAddr> {
        let address = |given: &Given| given.socket.local_addr().ok();
        self.sockets.iter().filter_map(address).collect()
    }

    /// Tells the process that this one replaces, if there is one, that it may end; closes what nobody has claimed.
    pub fn tell_serving(self) {
        let Some(mut predecessor) = self.predecessor else {
            return;
        };
        if let Err(error) = predecessor.write_all(SERVING) {
            tracing::warn!(%error, "the process that this one replaces has gone: {error}");
        }
    }
}

impl Given {
    fn new(purpose: Option<String>, socket: TcpListener) -> io::Result<Self> {
        if !rustix::net::sockopt::socket_acceptconn(&socket)? {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "a socket that was handed over is not listening",
            ));
        }
        // The one who gave it may have waited on it.
        socket.set_nonblocking(true)?;
        Ok(Self { purpose, socket })
    }
}

/// What is handed to the process that replaces this one, and how that is started.
#[derive(Debug)]
pub struct Handover {
    program: OsString,
    arguments: Vec<OsString>,
    sockets: Vec<(String, OwnedFd)>,
    within: Duration,
}

/// Why no process has taken over.
#[derive(Debug, thiserror::Error)]
pub enum HandoverError {
    /// There is no such program, or it may not be run.
    #[error("{} cannot be started", program.display())]
    Start {
        /// As it was called.
        program: OsString,
        /// Why.
        source: io::Error,
    },
    /// The sockets cannot be handed over.
    #[error("the listening sockets cannot be handed over")]
    Give(#[source] io::Error),
    /// It ended, or let go of its standard input.
    #[error("the new process ended before it served: {}", .0.map_or_else(|| "it does not speak to this one".to_owned(), |status| status.to_string()))]
    Ended(Option<ExitStatus>),
    /// It did not say in time that it serves.
    #[error("the new process did not serve within {0:?}")]
    Late(Duration),
}

impl Handover {
    /// To this process's own program, found as it was when this one was started, with the same arguments.
    pub fn to_own_program() -> Self {
        let mut words = std::env::args_os();
        let program = words.next().unwrap_or_default();
        Self::new(program, words.collect(), SERVING_TIME_MAX)
    }

    /// To a program, which must serve `within` this time.
    pub fn new(program: OsString, arguments: Vec<OsString>, within: Duration) -> Self {
        Self {
            program,
            arguments,
            sockets: Vec::new(),
            within,
        }
    }

    /// Adds a listening socket. While it is in here its port is listened on, whoever else has closed it.
    ///
    /// # Errors
    /// There are no more file descriptors to be had, or there are too many sockets already.
    pub fn add(
        &mut self,
        listener: &str,
        asked: SocketAddr,
        socket: BorrowedFd<'_>,
    ) -> io::Result<()> {
        if self.sockets.len() == SOCKETS_MAX {
            return Err(io::Error::other("too many sockets"));
        }
        let socket = socket.try_clone_to_owned()?;
        self.sockets.push((purpose(listener, asked), socket));
        Ok(())
    }

    /// Starts the process, waits until it serves, and returns its id. Where that fails the process is ended.
    ///
    /// # Errors
    /// [`HandoverError`].
    /// # Cancel safety
    /// Dropping it ends the process that was started.
    pub async fn start(&self) -> Result<u32, HandoverError> {
        let (ours, theirs) = UnixStream::pair().map_err(HandoverError::Give)?;
        send(&ours, &self.sockets).map_err(HandoverError::Give)?;
        let ours = ours.set_nonblocking(true).map(|()| ours);
        let ours = ours.and_then(tokio::net::UnixStream::from_std);
        let mut ours = ours.map_err(HandoverError::Give)?;
        let mut started = Started(Some(self.spawn(theirs)?));
        let mut word = [0; SERVING.len()];
        let told = timeout(self.within, ours.read_exact(&mut word)).await;
        match told {
            Ok(Ok(_)) if word == *SERVING => Ok(started.let_go()),
            Ok(_) => Err(HandoverError::Ended(started.status().await)),
            Err(_elapsed) => Err(HandoverError::Late(self.within)),
        }
    }

    fn spawn(&self, channel: UnixStream) -> Result<Child, HandoverError> {
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).env(CHANNEL, "stdin");
        // Those of systemd were for this process.
        for name in ["LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES"] {
            command.env_remove(name);
        }
        command.stdin(OwnedFd::from(channel));
        command.spawn().map_err(|source| HandoverError::Start {
            program: self.program.clone(),
            source,
        })
    }
}

/// A process that is being started; it does not outlive this, unless it is let go.
struct Started(Option<Child>);

impl Started {
    fn let_go(&mut self) -> u32 {
        let child = self.0.take();
        // One that has ended meanwhile has no id; it has told, so it has served.
        child.and_then(|child| child.id()).unwrap_or_default()
    }

    /// How it ended, if it did.
    async fn status(&mut self) -> Option<ExitStatus> {
        let ended = timeout(END_TIME_MAX, self.0.as_mut()?.wait());
        ended.await.ok()?.ok()
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            // It fails only for one that has ended. The runtime takes note of its end.
            let _ = child.start_kill();
        }
    }
}

/// What a socket is for, as one line of the message says it.
fn purpose(listener: &str, asked: SocketAddr) -> String {
    format!("{listener} {asked}")
}

/// Sends all sockets and a line for each.
fn send(channel: &UnixStream, sockets: &[(String, OwnedFd)]) -> io::Result<()> {
    let mut text: String = sockets
        .iter()
        .map(|(line, _)| format!("{line}\n"))
        .collect();
    // A message with no byte in it carries no sockets.
    text.push('\n');
    let fds: Vec<_> = sockets.iter().map(|(_, socket)| socket.as_fd()).collect();
    let mut space = [MaybeUninit::uninit(); SPACE_BYTES];
    let mut rights = SendAncillaryBuffer::new(&mut space);
    let fits = fds.is_empty() || rights.push(SendAncillaryMessage::ScmRights(&fds));
    let message = [IoSlice::new(text.as_bytes())];
    let sent = rustix::net::sendmsg(channel, &message, &mut rights, SendFlags::empty())?;
    match fits && sent == text.len() && sent <= TEXT_BYTES_MAX {
        true => Ok(()),
        false => Err(io::Error::other("too many sockets")),
    }
}

/// Receives what [`send`] sent.
fn receive(channel: &UnixStream) -> io::Result<Vec<Given>> {
    let mut space = [MaybeUninit::uninit(); SPACE_BYTES];
    let mut rights = RecvAncillaryBuffer::new(&mut space);
    let mut text = vec![0; TEXT_BYTES_MAX];
    let mut room = [IoSliceMut::new(&mut text)];
    let received = rustix::net::recvmsg(channel, &mut room, &mut rights, RecvFlags::CMSG_CLOEXEC)?;
    let mut sockets = Vec::new();
    for message in rights.drain() {
        if let RecvAncillaryMessage::ScmRights(fds) = message {
            sockets.extend(fds.map(TcpListener::from));
        }
    }
    let unreadable = || io::Error::new(io::ErrorKind::InvalidData, "no sockets come in");
    let text = std::str::from_utf8(&text[..received.bytes]).map_err(|_| unreadable())?;
    let lines = text.strip_suffix('\n').ok_or_else(unreadable)?.lines();
    let lines: Vec<_> = lines.map(str::to_owned).collect();
    if lines.len() != sockets.len() {
        return Err(unreadable());
    }
    let given = lines.into_iter().map(Some).zip(sockets);
    given
        .map(|(line, socket)| Given::new(line, socket))
        .collect()
}

/// Set for a process whose standard input is the way to the one that it replaces.
const CHANNEL: &str = "SIDESTREAM_SOCKETS";

/// What the new process says once it serves.
const SERVING: &[u8; 8] = b"serving\n";

/// The kernel takes 253 in one message.
const SOCKETS_MAX: usize = 250;
const SPACE_BYTES: usize = rustix::cmsg_space!(ScmRights(SOCKETS_MAX));

/// A line is the name of a listener and an address.
const LINE_BYTES_MAX: usize = 64;
const TEXT_BYTES_MAX: usize = SOCKETS_MAX * LINE_BYTES_MAX;

/// The message is there before the process is.
const RECEIVE_TIME_MAX: Duration = Duration::from_secs(5);

/// Loading a binary and binding ports takes milliseconds; on top comes what [`Inherited::is_replacing`] makes it wait for.
const SERVING_TIME_MAX: Duration = Duration::from_secs(30);

/// How long a process may take to end that has closed its standard input.
const END_TIME_MAX: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests;
