//! How each ending reaches the client, and what it does to frames that still wait.

use std::{
    io, mem,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf},
    time::Instant,
};

use super::{CLOSE, FIN, Scene, Setup, settings, text};
use crate::{
    delivery::{Direct, Ending, channel},
    session::{ClosedBy, SessionSettings, Stream, close, websocket::serve},
};

#[tokio::test(start_paused = true)]
async fn each_ending_is_told_after_what_it_flushes() {
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
        let mut scene = Setup::default().begin();
        scene.outbox.try_send(text(b"before")).unwrap();
        scene.outbox.end(ending);
        if ending.flushes() {
            scene.expect(1, b"before").await;
        }
        let (code, reason) = close::code(ending);
        scene.expect_close(code, reason).await;
        let asked = Instant::now();
        scene.send(FIN | CLOSE, &code.to_be_bytes()).await;
        scene.expect_end().await;
        assert_eq!(
            asked.elapsed(),
            Duration::ZERO,
            "ended as soon as the client agreed"
        );
        let closed = scene.closed().await;
        assert_eq!(closed.by, ClosedBy::Ending(ending));
        assert_eq!(closed.frames, u64::from(ending.flushes()));
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_answer_our_close_is_waited_for_in_bounds() {
    let mut scene = Setup::default().begin();
    scene.outbox.end(Ending::StreamGone);
    let (code, reason) = close::code(Ending::StreamGone);
    scene.expect_close(code, reason).await;
    let told = Instant::now();
    scene.expect_end().await;
    assert_eq!(told.elapsed(), settings().close_timeout);
    // It does not end its side either.
    let Scene {
        client, session, ..
    } = scene;
    assert_eq!(
        session.await.unwrap().by,
        ClosedBy::Ending(Ending::StreamGone)
    );
    assert_eq!(told.elapsed(), settings().close_timeout, "it had its time");
    drop(client);
}

#[tokio::test(start_paused = true)]
async fn a_revocation_stops_even_what_is_in_the_writers_hands() {
    let mut scene = Setup {
        pipe_bytes: 64,
        ..Setup::default()
    }
    .begin();
    for letter in [b"a", b"b", b"c"] {
        scene.outbox.try_send(text(&letter.repeat(100))).unwrap();
    }
    assert_eq!(scene.client.read_u8().await.unwrap(), 0x81);
    assert_eq!(scene.client.read_u8().await.unwrap(), 100);
    scene.outbox.end(Ending::PermissionGone);
    let mut begun = [0; 100];
    scene.client.read_exact(&mut begun).await.unwrap();
    assert_eq!(begun, [b'a'; 100], "the frame that was begun is finished");
    let (code, reason) = close::code(Ending::PermissionGone);
    scene.expect_close(code, reason).await;
    assert_eq!(scene.closed().await.frames, 1);
}

#[tokio::test(start_paused = true)]
async fn a_revocation_cuts_short_what_an_earlier_ending_flushes() {
    let mut scene = Setup {
        pipe_bytes: 64,
        ..Setup::default()
    }
    .begin();
    for letter in [b"a", b"b", b"c"] {
        scene.outbox.try_send(text(&letter.repeat(100))).unwrap();
    }
    assert_eq!(scene.client.read_u8().await.unwrap(), 0x81);
    scene.outbox.end(Ending::Draining);
    assert_eq!(scene.client.read_u8().await.unwrap(), 100);
    scene.outbox.end(Ending::CredentialsChanged);
    let mut begun = [0; 100];
    scene.client.read_exact(&mut begun).await.unwrap();
    let (code, reason) = close::code(Ending::CredentialsChanged);
    scene.expect_close(code, reason).await;
}

#[tokio::test(start_paused = true)]
async fn a_slow_client_is_told_if_it_reads_after_all() {
    let mut scene = Setup {
        pipe_bytes: 64,
        outbox_bytes: 1000,
        ..Setup::default()
    }
    .begin();
    let frame = text(&[b'x'; 100]);
    while scene.outbox.try_send(frame.clone()).is_ok() {
        tokio::task::yield_now().await;
    }
    assert_eq!(scene.outbox.ended(), Some(Ending::Slow));
    scene.expect(1, &[b'x'; 100]).await;
    let (code, reason) = close::code(Ending::Slow);
    scene.expect_close(code, reason).await;
}

#[tokio::test(start_paused = true)]
async fn a_client_that_never_reads_is_dropped_in_bounds() {
    let scene = Setup {
        pipe_bytes: 64,
        outbox_bytes: 1000,
        ..Setup::default()
    }
    .begin();
    let Scene {
        outbox,
        client,
        session,
    } = scene;
    let frame = text(&[b'x'; 100]);
    while outbox.try_send(frame.clone()).is_ok() {
        tokio::task::yield_now().await;
    }
    let slow_since = Instant::now();
    let closed = session.await.unwrap();
    assert_eq!(closed.by, ClosedBy::Ending(Ending::Slow));
    assert_eq!(closed.frames, 0);
    assert_eq!(slow_since.elapsed(), settings().close_timeout * 2);
    drop(client);
}

#[tokio::test(start_paused = true)]
async fn credentials_that_expire_end_the_session() {
    let after = Duration::from_secs(7);
    let mut scene = Setup {
        expires_in: Some(after),
        ..Setup::default()
    }
    .begin();
    let started = Instant::now();
    scene.expect_close(4401, "credentials expired").await;
    assert_eq!(started.elapsed(), after);
    assert_eq!(scene.outbox.ended(), Some(Ending::CredentialsExpired));
    assert_eq!(
        scene.closed().await.by,
        ClosedBy::Ending(Ending::CredentialsExpired)
    );
}

#[tokio::test(start_paused = true)]
async fn credentials_expired_before_the_first_poll_end_it_too() {
    let mut scene = Setup {
        expires_in: Some(Duration::ZERO),
        ..Setup::default()
    }
    .begin();
    scene.expect_close(4401, "credentials expired").await;
}

#[tokio::test(start_paused = true)]
async fn a_client_may_close_while_an_ending_is_flushed() {
    let mut scene = Setup {
        pipe_bytes: 64,
        ..Setup::default()
    }
    .begin();
    scene.outbox.try_send(text(&[b'x'; 100])).unwrap();
    scene.outbox.try_send(text(&[b'y'; 100])).unwrap();
    assert_eq!(scene.client.read_u8().await.unwrap(), 0x81);
    scene.outbox.end(Ending::Draining);
    scene.send(FIN | CLOSE, &1000_u16.to_be_bytes()).await;
    let mut begun = [0; 101];
    scene.client.read_exact(&mut begun).await.unwrap();
    scene.expect_close(1000, "").await;
    scene.expect_end().await;
    assert_eq!(scene.closed().await.by, ClosedBy::Client(Some(1000)));
}

/// A client that has always sent more already, in one endless frame, and takes all that it is sent.
struct Flood {
    head: &'static [u8],
    received: Vec<u8>,
}

impl Stream for &mut Flood {
    fn direct(&self) -> Option<Arc<dyn Direct>> {
        None
    }
}

impl AsyncRead for Flood {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let head = mem::take(&mut self.head);
        buffer.put_slice(head);
        let rest = buffer.initialize_unfilled().len();
        buffer.advance(rest);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Flood {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.received.extend(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Time is real here: a paused clock stands still while somebody has something to do.
#[tokio::test]
async fn a_client_that_floods_us_cannot_put_off_its_ending() {
    let head = &[
        0x82, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 2, 3, 4,
    ];
    let mut flood = Flood {
        head,
        received: Vec::new(),
    };
    let (outbox, outlet) = channel(1 << 20);
    outbox.try_send(text(b"an event")).unwrap();
    let settings = SessionSettings {
        close_timeout: Duration::from_millis(20),
        ..settings()
    };
    let expires = Instant::now() + Duration::from_millis(20);
    let closed = serve(
        &mut flood,
        Bytes::new(),
        None,
        outlet,
        &settings,
        Some(expires),
    )
    .await;
    assert_eq!(closed.by, ClosedBy::Ending(Ending::CredentialsExpired));
    assert_eq!(closed.frames, 1);
    let close = [
        &[0x88, 21][..],
        &4401_u16.to_be_bytes(),
        b"credentials expired",
    ]
    .concat();
    assert_eq!(flood.received, [&text(b"an event")[..], &close].concat());
}
