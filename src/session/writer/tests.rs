//! Frames and urgent matter, before a stream that takes what it likes.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use rand::{Rng, SeedableRng, rngs::StdRng};
use tokio::io::AsyncWrite;

use super::{BATCH_RUNS, IDLE_RUNS, Writer};
use crate::{
    delivery::{Outlet, channel},
    session::coding::{Coding, ContentCoding},
};

/// A stream that takes a random part of what it is given, and counts the calls.
struct Fussy {
    random: StdRng,
    takes_all: bool,
    taken: Vec<u8>,
    calls: usize,
    flushes: usize,
}

impl Fussy {
    fn new(seed: u64, takes_all: bool) -> Self {
        let random = StdRng::seed_from_u64(seed);
        Self {
            random,
            takes_all,
            taken: Vec::new(),
            calls: 0,
            flushes: 0,
        }
    }
}

impl AsyncWrite for Fussy {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, _: &[u8]) -> Poll<io::Result<usize>> {
        unreachable!("the writer writes vectors")
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.calls += 1;
        let offered: Vec<u8> = slices
            .iter()
            .flat_map(|slice| slice.iter().copied())
            .collect();
        assert!(!offered.is_empty(), "a write of nothing");
        if !self.takes_all && self.random.random_ratio(1, 4) {
            return Poll::Pending;
        }
        let most = offered.len();
        let count = if self.takes_all {
            most
        } else {
            self.random.random_range(1..=most)
        };
        self.taken.extend(&offered[..count]);
        Poll::Ready(Ok(count))
    }

    fn poll_flush(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.flushes += 1;
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

fn plain() -> Writer {
    Writer::new(Coding::new(ContentCoding::Identity))
}

fn fill(writer: &mut Writer, outlet: &mut Outlet) {
    let mut context = Context::from_waker(Waker::noop());
    assert!(writer.poll_fill(&mut context, outlet).is_ready());
}

fn write(writer: &mut Writer, stream: &mut Fussy) -> Poll<()> {
    let mut context = Context::from_waker(Waker::noop());
    writer.poll_write(&mut context, stream).map(Result::unwrap)
}

#[test]
fn a_burst_is_one_write_and_one_flush() {
    let (outbox, mut outlet) = channel(1 << 20);
    for _ in 0..BATCH_RUNS {
        outbox.try_send(Bytes::from_static(b"frame")).unwrap();
    }
    let mut writer = plain();
    let mut stream = Fussy::new(0, true);
    fill(&mut writer, &mut outlet);
    writer.push_urgent(Bytes::from_static(b"urgent"));
    assert!(write(&mut writer, &mut stream).is_ready());
    assert!(writer.is_idle());
    assert_eq!((stream.calls, stream.flushes), (1, 1));
    assert_eq!(writer.frames_written(), BATCH_RUNS as u64);
    assert_eq!(writer.bytes_written(), 6 + 5 * BATCH_RUNS as u64);
    assert!(
        writer.runs.capacity() <= IDLE_RUNS,
        "room for the burst is given back"
    );
}

#[test]
fn nothing_in_hand_writes_nothing() {
    let mut stream = Fussy::new(0, true);
    assert!(write(&mut plain(), &mut stream).is_ready());
    assert_eq!((stream.calls, stream.flushes), (0, 0));
}

/// Whatever the stream takes at once, and whenever something urgent comes: frames are whole and in order, and urgent
/// matter stands between them.
#[test]
fn urgent_matter_never_divides_a_frame() {
    let seed: u64 = rand::rng().random();
    println!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    for _ in 0..300 {
        let (outbox, mut outlet) = channel(1 << 20);
        let mut writer = plain();
        let mut stream = Fussy::new(random.random(), false);
        let frames = random.random_range(1..100_u8);
        for number in 0..frames {
            // A frame: its length, then its number again and again.
            let length = random.random_range(1..30_u8);
            let mut frame = vec![length];
            frame.resize(1 + usize::from(length), number);
            outbox.try_send(Bytes::from(frame)).unwrap();
        }
        let mut urgent_pushed = 0;
        while writer.frames_written() < u64::from(frames) {
            if writer.is_idle() {
                fill(&mut writer, &mut outlet);
            }
            if urgent_pushed < 50 && random.random_ratio(1, 3) {
                writer.push_urgent(Bytes::from_static(&[2, 200, 200]));
                urgent_pushed += 1;
            }
            let _pending_or_done = write(&mut writer, &mut stream);
        }
        while !writer.is_idle() {
            let _pending_or_done = write(&mut writer, &mut stream);
        }
        let (mut next, mut urgent, mut rest) = (0, 0, &*stream.taken);
        while let Some((&length, behind)) = rest.split_first() {
            let (frame, behind) = behind.split_at(usize::from(length));
            rest = behind;
            assert!(
                frame.iter().all(|byte| *byte == frame[0]),
                "a frame was divided"
            );
            if frame[0] == 200 {
                urgent += 1;
            } else {
                assert_eq!(frame[0], next);
                next += 1;
            }
        }
        assert_eq!((next, urgent), (frames, urgent_pushed));
    }
}

#[test]
fn what_is_dropped_is_all_but_the_frame_that_was_begun() {
    let seed: u64 = rand::rng().random();
    println!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    for _ in 0..300 {
        let (outbox, mut outlet) = channel(1 << 20);
        for number in 0..10 {
            outbox.try_send(Bytes::from(vec![number; 10])).unwrap();
        }
        let mut writer = plain();
        let mut stream = Fussy::new(random.random(), false);
        fill(&mut writer, &mut outlet);
        let _pending_or_done = write(&mut writer, &mut stream);
        let begun = stream.taken.len().div_ceil(10);
        writer.push_last(b"last");
        while !writer.is_idle() {
            let _pending_or_done = write(&mut writer, &mut stream);
        }
        let mut expected: Vec<_> = (0..begun as u8).flat_map(|number| [number; 10]).collect();
        expected.extend(b"last");
        assert_eq!(stream.taken, expected);
        assert_eq!(writer.frames_written(), begun as u64);
    }
}
