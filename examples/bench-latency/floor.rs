//! The least a server can do: one cursor, one rendering, one `write` for each client, one thread, nothing between.

use std::{
    io::Write,
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex},
};

use bson::{Document, RawDocumentBuf};
use futures_util::StreamExt;
use mongodb::{Client, options::FullDocumentType};
use sidestream::wire::{JsonMode, Veil, frame};

use crate::stack::Outcome;

/// Serves the inserts of one collection to whoever connects, from a process of its own as Sidestream has one.
pub(crate) async fn serve(uri: &str, database: &str, collection: &str) -> Outcome<()> {
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
        while let Ok((socket, _)) = listener.accept() {
            if let Ok(socket) = greet(socket) {
                joining.lock().expect("nobody panics").push(socket);
            }
        }
    });
    let mut text = String::new();
    while let Some(event) = events.next().await {
        text.clear();
        frame::event_text(
            &event?,
            JsonMode::Default,
            &Veil::default(),
            false,
            &mut text,
        )?;
        let frame = frame::websocket_text(&text);
        // Sockets that block: one call each, and clients that read.
        clients
            .lock()
            .expect("nobody panics")
            .retain_mut(|socket: &mut TcpStream| socket.write_all(&frame).is_ok());
    }
    Ok(())
}

/// Reads the request and answers the 101. The clients are the same as Sidestream's.
fn greet(mut socket: TcpStream) -> std::io::Result<TcpStream> {
    socket.set_nodelay(true)?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut room = [0; 1024];
        let read = std::io::Read::read(&mut socket, &mut room)?;
        if read == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        head.extend_from_slice(&room[..read]);
    }
    // Known before it is told, as Sidestream subscribes before its 101: so it is in the list a moment after, and the
    // bench writes nothing before all are open.
    socket.write_all(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
    )?;
    Ok(socket)
}
