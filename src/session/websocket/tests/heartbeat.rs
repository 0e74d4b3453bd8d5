//! Pings, signs of life, and writes that get stuck.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::Instant,
};

use super::{FIN, PING, PONG, Scene, Setup, settings, text};
use crate::session::ClosedBy;

#[tokio::test(start_paused = true)]
async fn a_write_that_makes_no_progress_ends_the_session() {
    let mut scene = Setup {
        pipe_bytes: 64,
        ..Setup::default()
    }
    .begin();
    scene.outbox.try_send(text(&[b'x'; 1000])).unwrap();
    let started = Instant::now();
    // Some progress, after a while, is a new beginning.
    tokio::time::sleep(Duration::from_secs(50)).await;
    let mut some = [0; 64];
    scene.client.read_exact(&mut some).await.unwrap();
    let Scene {
        client,
        session,
        outbox: _outbox,
    } = scene;
    assert_eq!(session.await.unwrap().by, ClosedBy::Stuck);
    assert_eq!(
        started.elapsed(),
        Duration::from_secs(50) + settings().write_timeout
    );
    drop(client);
}

#[tokio::test(start_paused = true)]
async fn a_quiet_client_is_pinged_and_a_silent_one_dropped() {
    let mut scene = Setup::default().begin();
    let started = Instant::now();
    scene.expect(PING, b"").await;
    assert_eq!(started.elapsed(), settings().ping_interval);
    scene.send(FIN | PONG, b"").await;
    scene.expect(PING, b"").await;
    assert_eq!(started.elapsed(), settings().ping_interval * 2);
    scene.expect_end().await;
    assert_eq!(
        started.elapsed(),
        settings().ping_interval * 2 + settings().pong_timeout
    );
    assert_eq!(scene.closed().await.by, ClosedBy::Silent);
}

#[tokio::test(start_paused = true)]
async fn anything_a_client_sends_is_a_sign_of_life() {
    let mut scene = Setup::default().begin();
    let started = Instant::now();
    tokio::time::sleep(Duration::from_secs(20)).await;
    scene.client.write_all(&[0x81]).await.unwrap();
    scene.expect(PING, b"").await;
    assert_eq!(
        started.elapsed(),
        Duration::from_secs(20) + settings().ping_interval
    );
    tokio::time::sleep(settings().pong_timeout - Duration::from_secs(1)).await;
    scene.client.write_all(&[0x80]).await.unwrap();
    let alive = Instant::now();
    scene.expect(PING, b"").await;
    assert_eq!(alive.elapsed(), settings().ping_interval);
}

#[tokio::test(start_paused = true)]
async fn what_we_write_is_no_sign_of_life() {
    let mut scene = Setup::default().begin();
    let started = Instant::now();
    let outbox = scene.outbox.clone();
    let events = async {
        while outbox.try_send(text(b"event")).is_ok() {
            tokio::time::sleep(Duration::from_secs(2)).await;
        }
    };
    let reading = async {
        let mut received = Vec::new();
        scene.client.read_to_end(&mut received).await.unwrap();
        scene.session.await.unwrap()
    };
    let (closed, ()) = tokio::join!(reading, events);
    assert_eq!(closed.by, ClosedBy::Silent);
    let elapsed = started.elapsed();
    let expected = settings().ping_interval + settings().pong_timeout;
    assert!(elapsed <= expected + Duration::from_secs(2), "{elapsed:?}");
}

#[tokio::test(start_paused = true)]
async fn a_slow_reader_of_a_large_frame_is_not_taken_for_dead() {
    let mut scene = Setup {
        pipe_bytes: 64,
        ..Setup::default()
    }
    .begin();
    let started = Instant::now();
    scene.outbox.try_send(text(&[b'x'; 1000])).unwrap();
    let mut some = [0; 64];
    while started.elapsed() < Duration::from_secs(10 * 16) {
        scene.client.read_exact(&mut some[..50]).await.unwrap();
        tokio::time::sleep(Duration::from_secs(10)).await;
    }
    scene.outbox.try_send(text(b"next")).unwrap();
    let mut rest = vec![0; 1004 - 16 * 50];
    scene.client.read_exact(&mut rest).await.unwrap();
    scene.expect(1, b"next").await;
}
