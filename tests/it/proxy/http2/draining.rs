//! Connections that begin, or have just begun, when the process drains or hands over: each is served or told to go.

use std::time::Duration;

use tokio::net::TcpStream;

use super::{
    clear,
    forwarding::{PREFACE, SETTINGS},
    frames::{self, Frame},
    settings,
};
use crate::proxy::stage::{Forwarding, Front, Peer, Upstream, within};

/// What a client hears until its connection ends.
#[derive(Debug, Default, PartialEq, Eq)]
struct Heard {
    statuses: Vec<u16>,
    /// The code of the last GOAWAY.
    goodbye: Option<u32>,
}

/// Listens to the end, and answers pings, as any client does.
async fn hear(peer: &mut Peer) -> Heard {
    let mut heard = Heard::default();
    while let Some(frame) = within(Frame::read(peer)).await {
        match frame.kind {
            frames::PING if frame.flags & frames::ACK == 0 => {
                let pong = Frame::new(frames::PING, frames::ACK, 0, frame.payload);
                peer.send(pong.bytes()).await;
            }
            frames::HEADERS => heard.statuses.push(frame.status()),
            frames::GOAWAY => heard.goodbye = Some(frame.code()),
            _ => (),
        }
    }
    heard
}

/// Waits until the listener has accepted whoever connected before.
async fn accepted(front: &Front) {
    let mut last = frames::connect(front).await;
    within(Frame::read(&mut last)).await.expect("its settings");
}

async fn answer(upstream: &Upstream) {
    let mut peer = upstream.accept().await;
    peer.head().await;
    peer.send("HTTP/1.1 204 No Content\r\n\r\n").await;
    peer.finish().await;
}

/// `PREFACE`, `SETTINGS` and a GET in one.
fn whole() -> Vec<u8> {
    [PREFACE, SETTINGS, &frames::get(1).bytes()].concat()
}

fn served() -> Heard {
    Heard {
        statuses: vec![204],
        goodbye: Some(0),
    }
}

#[tokio::test]
async fn with_a_successor_who_has_not_finished_the_preface_is_served_and_told_to_go() {
    let upstream = Upstream::bind().await;
    let settings = settings(|settings| settings.drain = Duration::from_secs(6));
    let front = Front::start(Forwarding::new(upstream.settings()), settings);
    let whole = whole();
    let mut clients = Vec::new();
    for begun in [0, 3, PREFACE.len() - 6, PREFACE.len(), whole.len() - 1] {
        let mut client = front.client().await;
        client.send(&whole[..begun]).await;
        clients.push((client, begun));
    }
    accepted(&front).await;
    front.shutdown.hand_over();
    while TcpStream::connect(front.address).await.is_ok() {}
    for (client, begun) in &mut clients {
        client.send(&whole[*begun..]).await;
        answer(&upstream).await;
        assert_eq!(hear(client).await, served(), "{begun}");
    }
    front.ended().await;
}

#[tokio::test]
async fn with_a_successor_who_never_finishes_the_preface_is_not_waited_for() {
    let upstream = Upstream::bind().await;
    let settings = settings(|settings| settings.drain = Duration::from_millis(400));
    let front = Front::start(Forwarding::new(upstream.settings()), settings);
    let hello = [PREFACE, SETTINGS].concat();
    let mut clients = Vec::new();
    for begun in [0, 3, PREFACE.len() - 6, hello.len()] {
        let mut client = front.client().await;
        client.send(&hello[..begun]).await;
        clients.push(client);
    }
    accepted(&front).await;
    front.shutdown.hand_over();
    for client in &mut clients {
        assert!(hear(client).await.statuses.is_empty());
    }
    front.ended().await;
}

#[tokio::test]
async fn what_has_come_when_draining_begins_is_served() {
    let upstream = Upstream::bind().await;
    let front = clear(&upstream);
    let mut client = front.client().await;
    let mut old = front.client().await;
    accepted(&front).await;
    // Nothing awaits between this and that, so the listener hears of both at once.
    let sent = client.stream.try_write(&whole()).expect("there is room");
    assert_eq!(sent, whole().len());
    let get = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n";
    let sent = old.stream.try_write(get).expect("there is room");
    assert_eq!(sent, get.len());
    front.shutdown.begin();
    answer(&upstream).await;
    answer(&upstream).await;
    assert_eq!(hear(&mut client).await, served());
    let last = old.rest().await;
    assert!(last.starts_with("HTTP/1.1 204 "), "{last}");
    front.ended().await;
}

#[tokio::test]
async fn who_has_not_finished_the_preface_when_draining_begins_is_not_waited_for() {
    let upstream = Upstream::bind().await;
    // Its drain time is longer than anything is waited for here.
    let front = clear(&upstream);
    let hello = [PREFACE, SETTINGS].concat();
    let mut clients = Vec::new();
    for begun in [0, 3, PREFACE.len() - 6, hello.len()] {
        let mut client = front.client().await;
        client.send(&hello[..begun]).await;
        clients.push((client, begun));
    }
    accepted(&front).await;
    front.shutdown.begin();
    for (client, begun) in &mut clients {
        let heard = hear(client).await;
        assert!(heard.statuses.is_empty());
        let is_told = *begun == hello.len();
        assert_eq!(heard.goodbye, is_told.then_some(0), "{begun}");
    }
    front.ended().await;
}
