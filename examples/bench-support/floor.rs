//! The least a server can do: one cursor, one rendering, one `write` for each client, one thread, nothing between. It
//! writes each frame by itself, or up to so many that are ready at once.

use std::{
    io::{BufRead, BufReader, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    process::{Command, Stdio},
    sync::{Arc, Mutex},
};

use bson::{Document, RawDocumentBuf};
use futures_util::{FutureExt, StreamExt};
use mongodb::{Client, options::FullDocumentType};
use sidestream::wire::{JsonMode, Veil, frame};

use super::{Outcome, stack::Ended};

/// A process that does it.
pub(crate) struct Floor {
    pub(crate) address: SocketAddr,
    pub(crate) pid: u32,
    _process: Ended,
}

impl Floor {
    /// Starts this program again, whose `main` must call [`serve`] for these arguments.
    pub(crate) fn start(
        uri: &str,
        database: &str,
        collection: &str,
        at_once: usize,
    ) -> Outcome<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .args([ROLE, uri, database, collection, &at_once.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()?;
        let (pid, stdout) = (child.id(), child.stdout.take());
        let process = Ended(child);
        let mut line = String::new();
        BufReader::new(stdout.ok_or("no stdout")?).read_line(&mut line)?;
        Ok(Self {
            address: line.trim().parse()?,
            pid,
            _process: process,
        })
    }
}

/// Serves the events of one collection to whoever connects, from a process of its own as Sidestream has one.
pub(crate) async fn serve(
    uri: &str,
    database: &str,
    collection: &str,
    at_once: usize,
) -> Outcome<()> {
    let collection = Client::with_uri_str(uri)
        .await?
        .database(database)
        .collection::<Document>(collection);
    let watch = collection
        .watch()
        .full_document(FullDocumentType::UpdateLookup);
    let mut events = watch.await?.with_type::<RawDocumentBuf>();
    let listener = TcpListener::bind("127.0.0.1:0")?;
    println!("{}", listener.local_addr()?);
    let clients = Arc::new(Mutex::new(Vec::new()));
    let joining = Arc::clone(&clients);
    std::thread::spawn(move || {
        while let Ok((mut socket, _)) = listener.accept() {
            if hear(&mut socket).is_ok() {
                // In the list before an event can pass between the 101 and its place there.
                let mut clients = joining.lock().expect("nobody panics");
                if socket.write_all(ANSWER).is_ok() {
                    clients.push(socket);
                }
            }
        }
    });
    let (mut text, mut frames) = (String::new(), Vec::new());
    while let Some(first) = events.next().await {
        frames.clear();
        let (mut next, mut count) = (Some(first), 0);
        while let Some(event) = next.take() {
            text.clear();
            frame::event_text(
                &event?,
                JsonMode::Default,
                &Veil::default(),
                false,
                &mut text,
            )?;
            frames.extend_from_slice(&frame::websocket_text(&text));
            count += 1;
            if count < at_once {
                next = events.next().now_or_never().flatten();
            }
        }
        // Sockets that block: one call each, and clients that read.
        clients
            .lock()
            .expect("nobody panics")
            .retain_mut(|socket: &mut TcpStream| socket.write_all(&frames).is_ok());
    }
    Ok(())
}

/// Reads the request. The clients are the same as Sidestream's.
fn hear(socket: &mut TcpStream) -> std::io::Result<()> {
    socket.set_nodelay(true)?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut room = [0; 1024];
        let read = std::io::Read::read(socket, &mut room)?;
        if read == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        head.extend_from_slice(&room[..read]);
    }
    Ok(())
}

const ANSWER: &[u8] =
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n";
/// The first argument of the process.
pub(crate) const ROLE: &str = "floor";
