use std::{
    io::{self, Read},
    time::Duration,
};

use bytes::Bytes;
use flate2::read::{DeflateDecoder, GzDecoder};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex},
    task::JoinHandle,
    time::Instant,
};

use super::serve;
use crate::{
    delivery::{Ending, Outbox, channel},
    session::{Closed, ClosedBy, ContentCoding, SessionSettings, close},
};

const ALL: [ContentCoding; 3] = [
    ContentCoding::Identity,
    ContentCoding::Gzip,
    ContentCoding::Deflate,
];

static EVENT: Bytes = Bytes::from_static(b"id:{\"_data\": \"82\"}\nevent:change\ndata:{}\n\n");

fn settings() -> SessionSettings {
    SessionSettings {
        ping_interval: Duration::from_secs(25),
        pong_timeout: Duration::from_secs(10),
        close_timeout: Duration::from_secs(3),
        write_timeout: Duration::from_secs(60),
    }
}

fn begin(
    pipe_bytes: usize,
    coding: ContentCoding,
    expires_in: Option<Duration>,
) -> (Outbox, DuplexStream, JoinHandle<Closed>) {
    let (outbox, outlet) = channel(1 << 20);
    let (server, client) = duplex(pipe_bytes);
    let expires = expires_in.map(|after| Instant::now() + after);
    let session =
        tokio::spawn(async move { serve(server, outlet, &settings(), coding, expires).await });
    (outbox, client, session)
}

fn close_event(ending: Ending) -> String {
    let (code, reason) = close::code(ending);
    let data = serde_json::json!({ "code": code, "reason": reason });
    format!("event: close\ndata: {data}\n\n")
}

fn decoded(coding: ContentCoding, body: &[u8]) -> String {
    let mut plain = String::new();
    let read = match coding {
        ContentCoding::Identity => io::Cursor::new(body).read_to_string(&mut plain),
        ContentCoding::Gzip => GzDecoder::new(body).read_to_string(&mut plain),
        ContentCoding::Deflate => DeflateDecoder::new(body).read_to_string(&mut plain),
    };
    assert_eq!(read.unwrap(), plain.len());
    plain
}

/// Reads the whole body and ends the client's side when the server has.
async fn body(client: &mut DuplexStream) -> Vec<u8> {
    let mut body = Vec::new();
    client.read_to_end(&mut body).await.unwrap();
    client.shutdown().await.unwrap();
    body
}

#[tokio::test(start_paused = true)]
async fn events_go_out_as_they_are_and_the_ending_is_told() {
    for ending in [
        Ending::Draining,
        Ending::DefinitionChanged,
        Ending::PermissionChanged,
        Ending::OurFault,
        Ending::CredentialsExpired,
        Ending::CredentialsChanged,
        Ending::PermissionGone,
        Ending::StreamGone,
        Ending::CollectionGone,
        Ending::Slow,
        Ending::HistoryLost,
    ] {
        for coding in ALL {
            let (outbox, mut client, session) = begin(1 << 16, coding, None);
            outbox.try_send(EVENT.clone()).unwrap();
            outbox.try_send(EVENT.clone()).unwrap();
            outbox.end(ending);
            let events = if ending.flushes() { 2 } else { 0 };
            let mut expected = str::from_utf8(&EVENT).unwrap().repeat(events);
            expected.push_str(&close_event(ending));
            assert_eq!(
                decoded(coding, &body(&mut client).await),
                expected,
                "{ending:?} {coding:?}"
            );
            let closed = session.await.unwrap();
            assert_eq!(closed.by, ClosedBy::Ending(ending));
            assert_eq!(closed.frames, events as u64);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_thousand_compressed_events_are_one_valid_body() {
    let (outbox, mut client, session) = begin(777, ContentCoding::Gzip, None);
    let mut expected = String::new();
    let sending = async {
        for number in 0..1_000 {
            let event = format!("data:{number}\n\n");
            expected.push_str(&event);
            outbox.try_send(Bytes::from(event)).unwrap();
            if number % 100 == 0 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
        outbox.end(Ending::Draining);
    };
    let (body, ()) = tokio::join!(body(&mut client), sending);
    expected.push_str(&close_event(Ending::Draining));
    assert_eq!(decoded(ContentCoding::Gzip, &body), expected);
    assert_eq!(session.await.unwrap().bytes, body.len() as u64);
}

#[tokio::test(start_paused = true)]
async fn a_compressed_event_can_be_read_at_once() {
    let (outbox, mut client, _session) = begin(1 << 16, ContentCoding::Gzip, None);
    let mut head = [0; 10];
    client.read_exact(&mut head).await.unwrap();
    let mut decoder = flate2::Decompress::new(false);
    for _ in 0..3 {
        outbox.try_send(EVENT.clone()).unwrap();
        let mut encoded = vec![0; 1024];
        let length = client.read(&mut encoded).await.unwrap();
        let mut plain = Vec::with_capacity(1024);
        let flush = flate2::FlushDecompress::Sync;
        decoder
            .decompress_vec(&encoded[..length], &mut plain, flush)
            .unwrap();
        assert_eq!(plain, *EVENT);
    }
}

#[tokio::test(start_paused = true)]
async fn a_quiet_body_gets_comments() {
    for coding in ALL {
        let (outbox, mut client, _session) = begin(1 << 16, coding, None);
        let sending = async {
            tokio::time::sleep(Duration::from_secs(20)).await;
            outbox.try_send(EVENT.clone()).unwrap();
            tokio::time::sleep(settings().ping_interval * 2 + Duration::from_secs(1)).await;
            outbox.end(Ending::Draining);
        };
        let (body, ()) = tokio::join!(body(&mut client), sending);
        let event = str::from_utf8(&EVENT).unwrap();
        let expected = format!("{event}:\n\n:\n\n{}", close_event(Ending::Draining));
        assert_eq!(decoded(coding, &body), expected, "{coding:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_leaves_is_noticed_at_once() {
    let (outbox, mut client, session) = begin(1 << 16, ContentCoding::Identity, None);
    client
        .write_all(b"what a client says here is thrown away")
        .await
        .unwrap();
    tokio::task::yield_now().await;
    assert!(!outbox.is_abandoned());
    let started = Instant::now();
    drop(client);
    assert_eq!(session.await.unwrap().by, ClosedBy::ClientLeft);
    assert_eq!(started.elapsed(), Duration::ZERO);
    assert!(outbox.is_abandoned());
}

#[tokio::test(start_paused = true)]
async fn a_revocation_leaves_a_valid_compressed_body() {
    for coding in ALL {
        let (outbox, mut client, session) = begin(32, coding, None);
        let long = Bytes::from(format!(
            "data:{}\n\n",
            (0..200).map(|n| n.to_string()).collect::<String>()
        ));
        for _ in 0..3 {
            outbox.try_send(long.clone()).unwrap();
        }
        let mut received = vec![0; 20];
        client.read_exact(&mut received).await.unwrap();
        outbox.end(Ending::PermissionGone);
        received.extend(body(&mut client).await);
        let long = str::from_utf8(&long).unwrap();
        let expected = format!("{long}{}", close_event(Ending::PermissionGone));
        assert_eq!(decoded(coding, &received), expected, "{coding:?}");
        assert_eq!(session.await.unwrap().frames, 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_stops_reading_is_dropped() {
    let (outbox, client, session) = begin(32, ContentCoding::Identity, None);
    outbox.try_send(EVENT.clone()).unwrap();
    let started = Instant::now();
    assert_eq!(session.await.unwrap().by, ClosedBy::Stuck);
    assert_eq!(started.elapsed(), settings().write_timeout);
    drop(client);
}

#[tokio::test(start_paused = true)]
async fn a_slow_client_is_told_if_it_reads_after_all() {
    let (outbox, mut client, session) = begin(32, ContentCoding::Identity, None);
    while outbox.try_send(EVENT.clone()).is_ok() {
        tokio::task::yield_now().await;
    }
    let body = decoded(ContentCoding::Identity, &body(&mut client).await);
    assert!(
        body.ends_with(&format!("\n\n{}", close_event(Ending::Slow))),
        "{body}"
    );
    assert_eq!(session.await.unwrap().by, ClosedBy::Ending(Ending::Slow));
}

#[tokio::test(start_paused = true)]
async fn credentials_that_expire_end_the_body() {
    let after = Duration::from_secs(60);
    let (_outbox, mut client, session) = begin(1 << 16, ContentCoding::Identity, Some(after));
    let started = Instant::now();
    let body = decoded(ContentCoding::Identity, &body(&mut client).await);
    assert_eq!(started.elapsed(), after);
    assert_eq!(
        body,
        format!(":\n\n:\n\n{}", close_event(Ending::CredentialsExpired))
    );
    assert_eq!(
        session.await.unwrap().by,
        ClosedBy::Ending(Ending::CredentialsExpired)
    );
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_end_its_side_is_waited_for_in_bounds() {
    let (outbox, mut client, session) = begin(1 << 16, ContentCoding::Identity, None);
    outbox.end(Ending::StreamGone);
    let started = Instant::now();
    let mut body = Vec::new();
    client.read_to_end(&mut body).await.unwrap();
    assert_eq!(started.elapsed(), Duration::ZERO, "the body ends at once");
    assert_eq!(
        session.await.unwrap().by,
        ClosedBy::Ending(Ending::StreamGone)
    );
    assert_eq!(started.elapsed(), settings().close_timeout);
}

#[tokio::test]
async fn an_idle_session_is_small() {
    for coding in ALL {
        let (_outbox, outlet) = channel(1);
        let (server, _client) = duplex(1);
        let settings = settings();
        let session = serve(server, outlet, &settings, coding, None);
        let bytes = size_of_val(&session);
        assert!(bytes <= 1536, "the future has {bytes} bytes");
    }
}
