//! Sidestream itself is killed, runs out of files, has a client that does not read.

use std::time::Duration;

use bson::{Document, doc};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use super::{PATIENCE, closed, last_id, number_of};
use crate::support::client::{Client, Kind, Received, Request};
use crate::support::mongo_uri;
use crate::support::sidestream::Sidestream;
use crate::support::stack::{self, ADMIN, Stack, config};

async fn insert_many(stack: &Stack, collection: &str, numbers: std::ops::Range<i32>, pad: usize) {
    let collection = stack.database().await.collection::<Document>(collection);
    let text = "x".repeat(pad);
    let documents = numbers.map(|n| doc! { "_id": n, "n": n, "text": &text });
    let inserted = collection.insert_many(documents).await;
    inserted.expect("the primary takes writes");
}

fn request(kind: Kind, target: &str) -> Request {
    match kind {
        Kind::Sse => Request::sse(target).auth(ADMIN),
        _ => Request::websocket(target).auth(ADMIN),
    }
}

/// The numbers that a client has got whole.
fn numbers(client: &Client) -> Vec<i32> {
    client.look(|received| {
        let frames = received.frames.iter().map(|frame| number_of(frame));
        let events = received
            .events
            .iter()
            .map(|event| number_of(&event["data"]));
        frames.chain(events).flatten().collect()
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_of_a_killed_sidestream_come_back_to_another_and_have_each_event_once() {
    const EVENTS: i32 = 400;
    let first = Stack::start("[limits]\nring = \"64KiB\"\n").await;
    let streams = || doc! { "streams": [{ "uri": "all", "stages": [] }] };
    stack::define(&first.database().await, "killed", streams()).await;
    let target = "/killed/_streams/all?lastEventID=";
    let mut clients = Vec::new();
    for index in 0..20 {
        let kind = if index % 2 == 0 {
            Kind::WebSocket
        } else {
            Kind::Sse
        };
        clients.push(first.open(&request(kind, target)).await);
    }
    // Everybody has an id to come back with.
    insert_many(&first, "killed", 0..1, 0).await;
    for client in &mut clients {
        client.next().await;
    }
    let uri = mongo_uri().await.to_owned();
    let writing = tokio::spawn(async move {
        let data = crate::support::client_of(&uri)
            .await
            .database(stack::DATABASE)
            .collection::<Document>("killed");
        for number in 1..EVENTS {
            let inserted = data.insert_one(doc! { "_id": number, "n": number });
            inserted.await.expect("inserted");
        }
    });
    // In the middle of it.
    let some = |received: &Received| received.frames.len() + received.events.len() > 100;
    assert!(clients[0].wait(PATIENCE, some).await);
    first.sidestream.signal("KILL");
    for client in &clients {
        assert!(client.wait(PATIENCE, |received| received.ended).await);
    }
    let upstream = format!("http://{}", first.legacy.address);
    let second = Sidestream::start(&config(&upstream, mongo_uri().await, "")).await;
    let mut got = Vec::new();
    for client in &clients {
        let before = numbers(client);
        let target = format!("{target}{}", last_id(client));
        let back = Client::open(second.public, &request(client.kind, &target)).await;
        assert!(matches!(back.status(), Some(101 | 200)), "{}", back.state());
        got.push((before, back));
    }
    writing.await.expect("all written");
    for (mut before, back) in got {
        let missing = (EVENTS as usize) - before.len();
        let all = |received: &Received| received.frames.len() + received.events.len() >= missing;
        back.wait(PATIENCE, all).await;
        before.extend(numbers(&back));
        assert_eq!(before, (0..EVENTS).collect::<Vec<_>>());
    }
}

/// A socket that takes little, and is not read.
async fn deaf(stack: &Stack, target: &str) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("a socket can be made");
    socket.set_recv_buffer_size(4096).expect("it takes a size");
    let mut stream = socket.connect(stack.address()).await.expect("it listens");
    let request = Request::websocket(target).auth(ADMIN);
    let bytes = request.bytes(&stack.address().to_string());
    stream.write_all(&bytes).await.expect("it reads");
    stream
}

/// Its outbox is full, or all of them are: 4408, and it has the rest when it comes back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_closed_as_too_slow_has_the_rest_when_it_comes_back() {
    const EVENTS: i32 = 400;
    for limits in [
        "outbox = \"64KiB\"",
        "outbox = \"1MiB\"\noutboxes = \"1MiB\"",
    ] {
        let stack = Stack::start(&format!("[limits]\n{limits}\n")).await;
        let streams = doc! { "streams": [{ "uri": "all", "stages": [] }] };
        stack::define(&stack.database().await, "slow", streams).await;
        let mut slow = deaf(&stack, "/slow/_streams/all?lastEventID=").await;
        stack.eventually("sidestream_sessions{", "", 1.0).await;
        // Until all buffers on the way are full, and its outbox.
        let mut written = 0;
        while stack
            .metric("sidestream_limits_reached_total{", "\"outbox")
            .await
            == 0.0
        {
            insert_many(&stack, "slow", written..written + 4, 100 << 10).await;
            written += 4;
            assert!(written < EVENTS, "nobody is closed");
        }
        let mut bytes = Vec::new();
        slow.read_to_end(&mut bytes)
            .await
            .expect("it is closed in order");
        let tail = &bytes[bytes.len().saturating_sub(60)..];
        assert!(
            tail.windows(2).any(|code| code == [0x11, 0x38]),
            "4408 is told"
        );
        let text = String::from_utf8_lossy(&bytes);
        let got: Vec<i32> = text
            .split("\"_id\": {\"_data\"")
            .filter_map(number_of)
            .collect();
        assert!(!got.is_empty() && got.len() < written as usize, "{got:?}");
        let (_, id) = text.rsplit_once("\"_data\": \"").expect("an id");
        let id = &id[..id.find('"').expect("its end")];
        let mut back = stack
            .watch(&format!("/slow/_streams/all?lastEventID={id}"))
            .await;
        insert_many(&stack, "slow", written..written + 4, 0).await;
        for number in got.len() as i32..written + 4 {
            let found = number_of(&back.next().await);
            assert_eq!(found, Some(number), "behind {got:?}");
        }
    }
}

/// New connections wait in the kernel; who is there already is served, and everybody when files are free again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn at_the_limit_of_open_files_streams_and_requests_go_on() {
    const FILES: u32 = 96;
    let plain = Stack::start("").await;
    let streams = doc! { "streams": [{ "uri": "all", "stages": [] }] };
    stack::define(&plain.database().await, "files", streams).await;
    let upstream = format!("http://{}", plain.legacy.address);
    let settings = "[limits]\nsessions = 10000\n";
    let few =
        Sidestream::start_with_files(&config(&upstream, mongo_uri().await, settings), FILES).await;
    let mut websocket =
        Client::open(few.public, &request(Kind::WebSocket, "/files/_streams/all")).await;
    let mut sse = Client::open(few.public, &request(Kind::Sse, "/files/_streams/all")).await;
    let mut kept = TcpStream::connect(few.public).await.expect("it listens");
    get(&mut kept).await.expect("it is forwarded");
    let mut crowd = Vec::new();
    for _ in 0..FILES * 2 {
        crowd.push(
            TcpStream::connect(few.public)
                .await
                .expect("the kernel takes it"),
        );
    }
    let full = few.log.wait("word of it", 0, |line| {
        line.contains("Too many open files").then_some(())
    });
    full.await;
    insert_many(&plain, "files", 0..5, 0).await;
    for number in 0..5 {
        for client in [&mut websocket, &mut sse] {
            assert_eq!(number_of(&client.next().await), Some(number));
        }
    }
    // Over the connections that there are, to the client and to the upstream.
    get(&mut kept).await.expect("it is forwarded");
    drop(crowd);
    let mut fresh =
        Client::open(few.public, &request(Kind::WebSocket, "/files/_streams/all")).await;
    assert_eq!(fresh.status(), Some(101), "{}", fresh.state());
    let answer = Client::open(few.public, &Request::http("GET", "/files").auth(ADMIN)).await;
    assert_eq!(answer.status(), Some(200), "{}", answer.state());
    insert_many(&plain, "files", 5..6, 0).await;
    for client in [&mut websocket, &mut sse, &mut fresh] {
        assert_eq!(number_of(&client.next().await), Some(5));
    }
    few.terminate();
    closed(&[websocket, sse], 1001).await;
}

/// One request on a connection that stays.
async fn get(connection: &mut TcpStream) -> Option<()> {
    let request = Request::http("GET", "/files").auth(ADMIN);
    let bytes = request.bytes("127.0.0.1");
    connection.write_all(&bytes).await.ok()?;
    let mut answer = Vec::new();
    let read = async {
        while !answer.ends_with(b"]") && !answer.ends_with(b"0\r\n\r\n") {
            if connection.read_buf(&mut answer).await.ok()? == 0 {
                return None;
            }
        }
        Some(())
    };
    tokio::time::timeout(Duration::from_secs(20), read)
        .await
        .ok()??;
    answer.starts_with(b"HTTP/1.1 200").then_some(())
}
