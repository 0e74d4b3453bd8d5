//! Sessions over real sockets: an outside judge (tungstenite as client), resets, slow clients, and the signals.

use std::{
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use sidestream::{
    delivery::{Ending, Outbox, channel},
    lifecycle::{Shutdown, Signals, Tasks, Wishes},
    session::{Closed, ClosedBy, ContentCoding, SessionSettings, Socket, close, sse, websocket},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::oneshot,
    time::{Instant, timeout},
};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::protocol::{CloseFrame, Message, Role, frame::coding::CloseCode},
};

use crate::support::{process::Process, sidestream::example};

/// Far longer than anything here takes; a test that waits for it has failed.
const PATIENCE: Duration = Duration::from_secs(30);

fn settings() -> SessionSettings {
    SessionSettings {
        close_timeout: Duration::from_millis(300),
        ..SessionSettings::default()
    }
}

async fn connected() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let (client, server) = tokio::join!(TcpStream::connect(address), listener.accept());
    (client.unwrap(), server.unwrap().0)
}

/// A WebSocket session with an outbox of `bytes_max`: its client, and what it comes to.
async fn websocket_session(
    tasks: &Tasks,
    bytes_max: usize,
) -> (Outbox, TcpStream, oneshot::Receiver<Closed>) {
    let (client, server) = connected().await;
    let (outbox, outlet) = channel(bytes_max);
    let (tell, told) = oneshot::channel();
    tasks.spawn("session", async move {
        let closed = websocket::serve(
            Socket::new(server),
            Bytes::new(),
            None,
            outlet,
            &settings(),
            None,
        )
        .await;
        tell.send(closed).expect("the test waits for it");
    });
    (outbox, client, told)
}

async fn as_websocket(client: TcpStream) -> WebSocketStream<TcpStream> {
    WebSocketStream::from_raw_socket(client, Role::Client, None).await
}

fn text(payload: &str) -> Bytes {
    let mut frame = vec![0x81];
    match payload.len() {
        length @ ..126 => frame.push(length as u8),
        length => {
            frame.push(127);
            frame.extend((length as u64).to_be_bytes());
        }
    }
    frame.extend(payload.as_bytes());
    Bytes::from(frame)
}

async fn in_time<T>(future: impl Future<Output = T>) -> T {
    timeout(PATIENCE, future)
        .await
        .expect("it takes far too long")
}

#[tokio::test]
async fn a_flood_and_a_large_frame_arrive_in_order_at_a_real_client() {
    let tasks = Tasks::new();
    let (outbox, client, told) = websocket_session(&tasks, 64 << 20).await;
    let mut client = as_websocket(client).await;
    for number in 0..10_000 {
        outbox.try_send(text(&number.to_string())).unwrap();
    }
    outbox.try_send(text(&"x".repeat(15_000_000))).unwrap();
    outbox.end(Ending::DefinitionChanged);
    in_time(async {
        for number in 0..10_000 {
            let message = client.next().await.unwrap().unwrap();
            assert_eq!(message, Message::text(number.to_string()));
        }
        let message = client.next().await.unwrap().unwrap();
        assert_eq!(message.len(), 15_000_000);
        let (code, reason) = close::code(Ending::DefinitionChanged);
        let expected = CloseFrame {
            code: CloseCode::from(code),
            reason: reason.into(),
        };
        assert_eq!(
            client.next().await.unwrap().unwrap(),
            Message::Close(Some(expected))
        );
        // The client's own CLOSE goes out, and the connection ends without an error.
        assert!(client.next().await.is_none());
        let closed = told.await.unwrap();
        assert_eq!(closed.by, ClosedBy::Ending(Ending::DefinitionChanged));
        assert_eq!(closed.frames, 10_001);
    })
    .await;
    assert!(tasks.drained(PATIENCE).await);
}

#[tokio::test]
async fn a_real_client_is_answered_and_may_close() {
    let tasks = Tasks::new();
    let (_outbox, client, told) = websocket_session(&tasks, 1 << 20).await;
    let mut client = as_websocket(client).await;
    in_time(async {
        client.send(Message::text("ignored")).await.unwrap();
        client
            .send(Message::Ping(Bytes::from_static(b"hi")))
            .await
            .unwrap();
        let pong = client.next().await.unwrap().unwrap();
        assert_eq!(pong, Message::Pong(Bytes::from_static(b"hi")));
        client
            .close(Some(CloseFrame {
                code: CloseCode::Away,
                reason: "bye".into(),
            }))
            .await
            .unwrap();
        let echo = CloseFrame {
            code: CloseCode::Away,
            reason: "".into(),
        };
        assert_eq!(
            client.next().await.unwrap().unwrap(),
            Message::Close(Some(echo))
        );
        assert!(client.next().await.is_none());
        assert_eq!(told.await.unwrap().by, ClosedBy::Client(Some(1001)));
    })
    .await;
}

/// Bytes that were never read would turn our end into a reset, and a reset throws away what the client has not read.
#[tokio::test]
async fn the_close_reaches_a_client_that_has_sent_much_and_reads_late() {
    let tasks = Tasks::new();
    for _ in 0..3 {
        let (outbox, mut client, told) = websocket_session(&tasks, 1 << 20).await;
        in_time(async {
            // An unmasked frame is a breach, and what follows it is never looked at.
            let mut flood = vec![0x81, 1, b'x'];
            flood.resize(200_000, 0);
            let flooded = client.write_all(&flood).await;
            let closed = told.await.unwrap();
            assert_eq!(closed.by.label(), "protocol_error", "{flooded:?}");
            let mut received = Vec::new();
            client.read_to_end(&mut received).await.unwrap();
            let reason = b"UT002034: Web socket frame was not masked";
            assert_eq!(received[..4], [0x88, reason.len() as u8 + 2, 0x03, 0xea]);
            assert_eq!(&received[4..], reason);
        })
        .await;
        assert!(outbox.is_abandoned());
    }
}

#[tokio::test]
async fn a_client_that_is_cut_off_is_noticed_on_both_transports() {
    let tasks = Tasks::new();
    let (outbox, client, told) = websocket_session(&tasks, 1 << 20).await;
    socket2::SockRef::from(&client)
        .set_linger(Some(Duration::ZERO))
        .unwrap();
    drop(client);
    let closed = in_time(told).await.unwrap();
    assert!(matches!(closed.by, ClosedBy::Broken(_)), "{closed:?}");
    assert!(outbox.is_abandoned());

    let (client, server) = connected().await;
    let (outbox, outlet) = channel(1 << 20);
    let client_leaves = async {
        socket2::SockRef::from(&client)
            .set_linger(Some(Duration::ZERO))
            .unwrap();
        drop(client);
    };
    let settings = settings();
    let session = sse::serve(
        Socket::new(server),
        outlet,
        &settings,
        ContentCoding::Gzip,
        None,
    );
    let (closed, ()) = in_time(async { tokio::join!(session, client_leaves) }).await;
    assert!(matches!(closed.by, ClosedBy::Broken(_)), "{closed:?}");
    assert!(outbox.is_abandoned());
}

#[tokio::test]
async fn a_client_that_never_reads_harms_nobody_and_is_dropped() {
    let tasks = Tasks::new();
    let (slow, slow_client, slow_told) = websocket_session(&tasks, 1 << 20).await;
    let (quick, quick_client, quick_told) = websocket_session(&tasks, 1 << 20).await;
    let mut quick_client = as_websocket(quick_client).await;
    let frame = text(&"x".repeat(200_000));
    let mut delivered = 0;
    in_time(async {
        while slow.try_send(frame.clone()).is_ok() {
            quick.try_send(frame.clone()).unwrap();
            assert_eq!(quick_client.next().await.unwrap().unwrap().len(), 200_000);
            delivered += 1;
        }
        assert_eq!(slow.ended(), Some(Ending::Slow));
        let since = Instant::now();
        let closed = slow_told.await.unwrap();
        assert_eq!(closed.by, ClosedBy::Ending(Ending::Slow));
        assert!(since.elapsed() < PATIENCE / 2);
        drop(slow_client);
        quick_client.close(None).await.unwrap();
        let closed = quick_told.await.unwrap();
        assert_eq!(
            (closed.by, closed.frames),
            (ClosedBy::Client(None), delivered)
        );
    })
    .await;
}

/// Signals go to this very process, which is safe as soon as they are listened to.
#[tokio::test]
async fn signals_reload_and_upgrade_then_drain_then_hurry() {
    async fn signal(name: &str) {
        let id = std::process::id().to_string();
        let mut kill = tokio::process::Command::new("kill");
        assert!(kill.args([name, &id]).status().await.unwrap().success());
    }
    let tasks = Tasks::new();
    let (shutdown, wishes) = (Shutdown::new(), Wishes::default());
    let signals = Signals::listen().unwrap();
    let listening = tasks.spawn("signals", signals.pass_on(shutdown.clone(), wishes.clone()));
    in_time(async {
        signal("-HUP").await;
        wishes.reload.requested().await;
        signal("-USR2").await;
        wishes.upgrade.requested().await;
        assert!(!shutdown.is_draining());
        signal("-TERM").await;
        shutdown.draining().await;
        signal("-INT").await;
        shutdown.hurried().await;
    })
    .await;
    listening.abort();
    assert!(tasks.drained(PATIENCE).await);
}

#[tokio::test]
async fn ws_echo_echoes_on_any_path_and_refuses_what_is_no_websocket() {
    let mut command = std::process::Command::new(example("ws_echo"));
    command.arg("127.0.0.1:0");
    let process = Process::start(&command, None);
    let log = process.log.clone();
    let address = log.wait("ws_echo to listen", 0, |line| {
        let (_, address) = line.split_once("address=")?;
        address.trim().parse::<SocketAddr>().ok()
    });
    let address = address.await;
    in_time(async {
        let (mut client, _) =
            tokio_tungstenite::connect_async(format!("ws://{address}/any/path?q"))
                .await
                .unwrap();
        let messages = [
            Message::text("gr\u{fc}\u{df}e"),
            Message::binary(vec![0xff; 3_000_000]),
            Message::text(""),
        ];
        for message in messages {
            client.send(message.clone()).await.unwrap();
            assert_eq!(client.next().await.unwrap().unwrap(), message);
        }
        client.close(None).await.unwrap();
        assert!(matches!(
            client.next().await.unwrap().unwrap(),
            Message::Close(None)
        ));
        assert!(client.next().await.is_none());

        let mut plain = TcpStream::connect(address).await.unwrap();
        plain
            .write_all(b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
            .await
            .unwrap();
        let mut answer = String::new();
        plain.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 426 "), "{answer}");
    })
    .await;
    process.order("TERM");
    assert_eq!(process.exit_code(PATIENCE).await, 0);
}
