//! Frames that are written to the socket by who pushes them, between those that the session writes.

use std::net::Ipv4Addr;

use rand::{Rng, SeedableRng, rngs::StdRng};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::{
    delivery::{Ending, Sent},
    session::Socket,
};

struct Pair {
    outbox: Outbox,
    client: TcpStream,
    session: JoinHandle<Closed>,
}

const SEGMENT_BYTES: u32 = 536;

/// A session on a real socket; the kernel keeps about as much as it is told to.
async fn begin(buffer_bytes: u32, outbox_bytes: usize) -> Pair {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let client = tokio::net::TcpSocket::new_v4().unwrap();
    client.set_recv_buffer_size(buffer_bytes).unwrap();
    // Segments as large as half of a small window would wait for the kernel's persist timer, 200 ms each.
    socket2::SockRef::from(&client)
        .set_tcp_mss(SEGMENT_BYTES)
        .unwrap();
    let connecting = client.connect(listener.local_addr().unwrap());
    let (client, accepted) = tokio::join!(connecting, listener.accept());
    let (client, (server, _)) = (client.unwrap(), accepted.unwrap());
    socket2::SockRef::from(&server)
        .set_send_buffer_size(buffer_bytes as usize)
        .unwrap();
    let (outbox, outlet) = channel(outbox_bytes);
    let session = tokio::spawn(async move {
        serve(
            Socket::new(server),
            Bytes::new(),
            None,
            outlet,
            &settings(),
            None,
        )
        .await
    });
    Pair {
        outbox,
        client,
        session,
    }
}

/// Pushes until the session's task has let go of the socket.
async fn first_written(outbox: &Outbox, frame: &Bytes) -> usize {
    for pushed in 1.. {
        if outbox.try_send_now(frame.clone()) == Ok(Sent::Written) {
            return pushed;
        }
        tokio::task::yield_now().await;
    }
    unreachable!("a session that has nothing to do lets go");
}

#[tokio::test]
async fn an_idle_session_is_written_to_without_its_task() {
    let Pair {
        outbox,
        mut client,
        session,
    } = begin(1 << 16, 1 << 20).await;
    let pushed = first_written(&outbox, &text(b"event")).await;
    for _ in 0..100 {
        // No await between them: the session's task cannot have run.
        assert_eq!(outbox.try_send_now(text(b"event")), Ok(Sent::Written));
    }
    outbox.end(Ending::Draining);
    let expected = [0x81, 5].iter().chain(b"event").copied();
    for _ in 0..pushed + 100 {
        let mut frame = [0; 7];
        client.read_exact(&mut frame).await.unwrap();
        assert!(frame.into_iter().eq(expected.clone()));
    }
    let mut close = [0; 4];
    client.read_exact(&mut close).await.unwrap();
    assert_eq!(close[2..], 1001_u16.to_be_bytes());
    client.write_all(&masked(FIN | CLOSE, &[])).await.unwrap();
    drop(client);
    let closed = session.await.unwrap();
    assert_eq!(closed.frames, (pushed + 100) as u64, "all are in the books");
}

/// Frames of any size, some queued and some written at once, to a client that reads by fits and starts and pings between.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_writes_frames_stay_whole_and_in_order() {
    let seed = rand::random();
    println!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    for round in 0..20 {
        let Pair {
            outbox,
            mut client,
            session,
        } = begin(4096, 64 << 20).await;
        let count = 400_u32;
        let mut pusher_random = StdRng::seed_from_u64(random.random());
        let last = match round % 3 {
            0 => Ending::Draining,
            1 => Ending::PermissionGone,
            _ => Ending::HistoryLost,
        };
        let pusher = tokio::spawn(async move {
            let mut written = 0;
            for number in 0..count {
                let length = pusher_random.random_range(4..3000_usize);
                let mut payload = vec![b'.'; length];
                payload[..4].copy_from_slice(&number.to_be_bytes());
                let frame = text(&payload);
                match pusher_random.random_range(0..3) {
                    0 => outbox.try_send(frame).unwrap(),
                    _ => {
                        written += u32::from(outbox.try_send_now(frame).unwrap() == Sent::Written);
                    }
                }
                if pusher_random.random_range(0..4) == 0 {
                    tokio::task::yield_now().await;
                }
            }
            outbox.end(last);
            written
        });
        let (mut next, mut pongs, mut pings) = (0, 0, 0);
        let code = loop {
            if random.random_range(0..8) == 0 && pings < 50 {
                pings += 1;
                client.write_all(&masked(FIN | PING, b"?")).await.unwrap();
            }
            let (opcode, payload) = read_frame(&mut client).await;
            match opcode {
                1 => {
                    assert_eq!(payload[..4], u32::to_be_bytes(next), "seed {seed}");
                    next += 1;
                }
                PONG => pongs += 1,
                CLOSE => break u16::from_be_bytes([payload[0], payload[1]]),
                other => panic!("opcode {other}, seed {seed}"),
            }
        };
        assert!(pongs <= pings, "seed {seed}");
        match last.flushes() {
            true => assert_eq!(next, count, "seed {seed}"),
            false => assert_eq!(code, 4403, "seed {seed}"),
        }
        drop(client);
        pusher.await.unwrap();
        assert_eq!(session.await.unwrap().frames, u64::from(next));
    }
}

async fn read_frame(client: &mut TcpStream) -> (u8, Vec<u8>) {
    let first = client.read_u8().await.unwrap();
    assert_eq!(first & 0xf0, FIN, "a frame begins here");
    let length = match client.read_u8().await.unwrap() {
        126 => usize::from(client.read_u16().await.unwrap()),
        short => usize::from(short),
    };
    let mut payload = vec![0; length];
    client.read_exact(&mut payload).await.unwrap();
    (first & 0x0f, payload)
}
