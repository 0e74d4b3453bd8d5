//! Order, bounds, endings and wake-ups of the queue, and two tests under real concurrency.

use std::{
    io,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};

use bytes::Bytes;
use rand::{Rng, SeedableRng, rngs::StdRng};
use tokio::time::Instant;

use super::{Direct, IDLE_FRAMES, Outcome, SendError, Sent, channel};
use crate::delivery::{Ending, Outlet, Run};

const FLUSHING: [Ending; 7] = [
    Ending::Draining,
    Ending::DefinitionChanged,
    Ending::PermissionChanged,
    Ending::CredentialsExpired,
    Ending::StreamGone,
    Ending::CollectionGone,
    Ending::HistoryLost,
];
const DROPPING: [Ending; 4] = [
    Ending::OurFault,
    Ending::CredentialsChanged,
    Ending::PermissionGone,
    Ending::Slow,
];

#[derive(Default)]
struct Bell(AtomicUsize);

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

fn frame(text: &'static str) -> Bytes {
    Bytes::from_static(text.as_bytes())
}

#[track_caller]
fn taken(outlet: &mut Outlet, max: usize) -> Vec<Bytes> {
    let mut into = Vec::<Run>::new();
    let mut context = Context::from_waker(Waker::noop());
    match outlet.poll_ready(&mut context, &mut into, max) {
        Poll::Ready(Outcome::Frames) => into.into_iter().map(|run| run.bytes).collect(),
        Poll::Ready(Outcome::Rest | Outcome::Ended(_)) | Poll::Pending => {
            panic!("no frames are ready")
        }
    }
}

#[track_caller]
fn ended(outlet: &mut Outlet) -> Ending {
    let mut into = Vec::new();
    let mut context = Context::from_waker(Waker::noop());
    match outlet.poll_ready(&mut context, &mut into, 64) {
        Poll::Ready(Outcome::Ended(ending)) => ending,
        Poll::Ready(Outcome::Frames | Outcome::Rest) => panic!("frames are handed out: {into:?}"),
        Poll::Pending => panic!("the session has not ended"),
    }
}

#[test]
fn frames_come_in_order_and_at_most_as_many_as_asked_for() {
    let (outbox, mut outlet) = channel(100);
    for text in ["a", "b", "c"] {
        outbox.try_send(frame(text)).unwrap();
    }
    assert_eq!(outbox.queued_bytes(), 3);
    assert_eq!(taken(&mut outlet, 2), [frame("a"), frame("b")]);
    assert_eq!(outbox.queued_bytes(), 1);
    assert_eq!(taken(&mut outlet, 2), [frame("c")]);
    assert_eq!(outbox.queued_bytes(), 0);
}

#[test]
fn the_bound_is_exact_and_full_ends_as_slow() {
    let (outbox, mut outlet) = channel(4);
    outbox.try_send(frame("ab")).unwrap();
    outbox.try_send(frame("cd")).unwrap();
    assert_eq!(outbox.try_send(frame("e")), Err(SendError::Full));
    assert_eq!(outbox.try_send(frame("f")), Err(SendError::Ended));
    assert_eq!(outbox.ended(), Some(Ending::Slow));
    assert_eq!(outbox.queued_bytes(), 0, "a slow queue is dropped at once");
    assert_eq!(ended(&mut outlet), Ending::Slow);
}

#[test]
fn an_empty_outbox_takes_one_frame_of_any_size() {
    let (outbox, mut outlet) = channel(4);
    outbox.try_send(frame("larger than the bound")).unwrap();
    assert_eq!(taken(&mut outlet, 1).len(), 1);
    outbox.try_send(frame("larger than the bound")).unwrap();
    assert_eq!(outbox.try_send(frame("x")), Err(SendError::Full));
}

#[test]
fn an_ending_that_flushes_hands_out_what_waits() {
    for ending in FLUSHING {
        let (outbox, mut outlet) = channel(100);
        outbox.try_send(frame("before")).unwrap();
        outbox.end(ending);
        assert_eq!(outbox.try_send(frame("after")), Err(SendError::Ended));
        let mut context = Context::from_waker(Waker::noop());
        assert_eq!(outlet.poll_ended(&mut context), Poll::Ready(ending));
        assert_eq!(taken(&mut outlet, 64), [frame("before")]);
        assert_eq!(ended(&mut outlet), ending);
        assert_eq!(ended(&mut outlet), ending, "an ending stays");
    }
}

#[test]
fn an_ending_that_does_not_flush_drops_what_waits() {
    for ending in DROPPING {
        let (outbox, mut outlet) = channel(100);
        outbox.try_send(frame("before")).unwrap();
        outbox.end(ending);
        assert_eq!(outbox.queued_bytes(), 0);
        assert_eq!(ended(&mut outlet), ending);
    }
}

#[test]
fn the_first_ending_wins_except_over_a_revocation() {
    let (outbox, _outlet) = channel(100);
    outbox.end(Ending::DefinitionChanged);
    outbox.end(Ending::Draining);
    assert_eq!(outbox.ended(), Some(Ending::DefinitionChanged));
    outbox.end(Ending::PermissionGone);
    assert_eq!(outbox.ended(), Some(Ending::PermissionGone));
    outbox.end(Ending::OurFault);
    outbox.end(Ending::Draining);
    assert_eq!(outbox.ended(), Some(Ending::PermissionGone));
}

#[test]
fn a_revocation_drops_what_an_earlier_ending_would_have_flushed() {
    let (outbox, mut outlet) = channel(100);
    outbox.try_send(frame("secret by now")).unwrap();
    outbox.end(Ending::Draining);
    outbox.end(Ending::PermissionGone);
    assert_eq!(ended(&mut outlet), Ending::PermissionGone);
}

#[test]
fn the_writer_is_woken_once_a_burst() {
    let (outbox, mut outlet) = channel(100);
    let bell = Arc::new(Bell::default());
    let waker = Waker::from(Arc::clone(&bell));
    let mut context = Context::from_waker(&waker);
    let mut into = Vec::new();
    assert!(outlet.poll_ready(&mut context, &mut into, 64).is_pending());
    for text in ["a", "b", "c"] {
        outbox.try_send(frame(text)).unwrap();
    }
    outbox.end(Ending::Draining);
    assert_eq!(bell.0.load(Ordering::SeqCst), 1);
}

#[test]
fn an_ending_wakes_the_writer() {
    let (outbox, mut outlet) = channel(100);
    let bell = Arc::new(Bell::default());
    let waker = Waker::from(Arc::clone(&bell));
    assert!(
        outlet
            .poll_ended(&mut Context::from_waker(&waker))
            .is_pending()
    );
    outbox.end(Ending::Draining);
    assert_eq!(bell.0.load(Ordering::SeqCst), 1);
}

#[test]
fn room_for_a_burst_is_given_back() {
    let (outbox, mut outlet) = channel(10_000);
    for _ in 0..1_000 {
        outbox.try_send(frame("x")).unwrap();
    }
    assert!(outbox.shared.lock().runs.capacity() >= 1_000);
    assert_eq!(taken(&mut outlet, 1_000).len(), 1_000);
    assert!(outbox.shared.lock().runs.capacity() <= IDLE_FRAMES);
}

#[test]
fn an_abandoned_queue_refuses_and_holds_nothing() {
    let (outbox, outlet) = channel(100);
    let kept = Bytes::from(vec![1; 10]);
    outbox.try_send(kept.clone()).unwrap();
    assert!(!outbox.is_abandoned());
    drop(outlet);
    assert!(outbox.is_abandoned());
    assert!(kept.is_unique(), "the queue still holds the frame");
    assert_eq!(outbox.try_send(kept), Err(SendError::Ended));
    assert_eq!(outbox.ended(), None);
}

#[test]
fn when_the_last_producer_is_gone_the_session_ends() {
    let (outbox, mut outlet) = channel(100);
    let other = outbox.clone();
    assert!(other.is_same(&outbox));
    drop(outbox);
    assert_eq!(outlet.ended(), None);
    drop(other);
    assert_eq!(ended(&mut outlet), Ending::OurFault);

    let (outbox, mut outlet) = channel(100);
    outbox.end(Ending::StreamGone);
    drop(outbox);
    assert_eq!(ended(&mut outlet), Ending::StreamGone);
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_wait_loses_no_frame() {
    let (outbox, mut outlet) = channel(100);
    let started = Instant::now();
    let mut into = Vec::new();
    let waited = tokio::time::timeout(Duration::from_secs(3), outlet.ready(&mut into, 64)).await;
    assert!(waited.is_err());
    assert_eq!(started.elapsed(), Duration::from_secs(3));
    outbox.try_send(frame("a")).unwrap();
    assert_eq!(outlet.ready(&mut into, 64).await, Outcome::Frames);
    assert_eq!(into, [Run::from(frame("a"))]);
}

/// Several producers and one reader at full speed: every frame that was taken arrives, in each producer's order, and
/// after the ending nothing does.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_producers_keep_their_order_under_stress() {
    const PRODUCERS: u8 = 4;
    const FRAMES: u32 = 5_000;
    let seed = rand::rng().random();
    println!("seed {seed}");
    let (outbox, mut outlet) = channel(usize::MAX);
    let mut producers = Vec::new();
    for producer in 0..PRODUCERS {
        let outbox = outbox.clone();
        let mut random = StdRng::seed_from_u64(seed + u64::from(producer));
        producers.push(std::thread::spawn(move || {
            for number in 0..FRAMES {
                let mut frame = vec![producer];
                frame.extend(number.to_be_bytes());
                frame.resize(5 + random.random_range(0..20), 0);
                outbox.try_send(Bytes::from(frame)).unwrap();
                if random.random_ratio(1, 64) {
                    std::thread::yield_now();
                }
            }
        }));
    }
    let mut random = StdRng::seed_from_u64(seed);
    let reader = async {
        let mut next = [0; PRODUCERS as usize];
        loop {
            let mut into = Vec::new();
            let max = random.random_range(1..=64);
            match outlet.ready(&mut into, max).await {
                Outcome::Frames => assert!((1..=max).contains(&into.len())),
                Outcome::Rest => panic!("no socket was lent"),
                Outcome::Ended(ending) => return (next, ending),
            }
            for Run { bytes: frame, .. } in into {
                let number = u32::from_be_bytes(frame[1..5].try_into().unwrap());
                assert_eq!(number, next[usize::from(frame[0])], "producer {}", frame[0]);
                next[usize::from(frame[0])] += 1;
            }
        }
    };
    let ending = async {
        tokio::task::spawn_blocking(move || producers.into_iter().for_each(|p| p.join().unwrap()))
            .await
            .unwrap();
        outbox.end(Ending::Draining);
    };
    let ((next, why), ()) = tokio::join!(reader, ending);
    assert_eq!(next, [FRAMES; PRODUCERS as usize]);
    assert_eq!(why, Ending::Draining);
    assert_eq!(outbox.queued_bytes(), 0);
}

/// An ending from one thread while another pushes: what was accepted before is all that comes out.
#[test]
fn an_ending_in_the_midst_cuts_cleanly() {
    let seed = rand::rng().random();
    println!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    for _ in 0..500 {
        let (outbox, mut outlet) = channel(usize::MAX);
        let pushing = outbox.clone();
        let pusher = std::thread::spawn(move || {
            (0..1_000_usize)
                .take_while(|_| pushing.try_send(frame("x")).is_ok())
                .count()
        });
        for _ in 0..random.random_range(0..2_000) {
            std::hint::spin_loop();
        }
        outbox.end(Ending::Draining);
        let accepted = pusher.join().unwrap();
        assert_eq!(outbox.queued_bytes(), accepted);
        let mut into = Vec::new();
        outlet.take_ready(&mut into, usize::MAX);
        assert_eq!(into.len(), accepted);
        assert_eq!(ended(&mut outlet), Ending::Draining);
    }
}

/// A socket that takes as many bytes as it was told to.
#[derive(Default)]
struct Tap {
    room: AtomicUsize,
    written: Mutex<Vec<u8>>,
}

impl Tap {
    fn let_in(&self, bytes: usize) {
        self.room.store(bytes, Ordering::SeqCst);
    }

    fn written(&self) -> String {
        String::from_utf8(self.written.lock().unwrap().clone()).unwrap()
    }
}

impl Direct for Tap {
    fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        let count = bytes.len().min(self.room.load(Ordering::SeqCst));
        if count == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.written.lock().unwrap().extend(&bytes[..count]);
        self.room.fetch_sub(count, Ordering::SeqCst);
        Ok(count)
    }
}

/// Polls as an idle session does; the socket is free then.
#[track_caller]
fn idle(outlet: &mut Outlet) {
    let mut context = Context::from_waker(Waker::noop());
    let polled = outlet.poll_ready(&mut context, &mut Vec::new(), 64);
    assert_eq!(polled, Poll::Pending, "something is ready");
}

#[test]
fn an_idle_session_is_written_to_at_once() {
    let (outbox, mut outlet) = channel(100);
    let tap = Arc::new(Tap::default());
    tap.let_in(100);
    assert_eq!(outbox.try_send_now(frame("not lent")), Ok(Sent::Queued));
    assert_eq!(taken(&mut outlet, 64), ["not lent"]);
    outlet.lend(Arc::clone(&tap) as Arc<dyn Direct>);
    assert_eq!(outbox.try_send_now(frame("not idle yet")), Ok(Sent::Queued));
    assert_eq!(taken(&mut outlet, 64), ["not idle yet"]);
    assert_eq!(outbox.try_send_now(frame("in hand")), Ok(Sent::Queued));
    assert_eq!(taken(&mut outlet, 64), ["in hand"]);
    idle(&mut outlet);
    let bell = Arc::new(Bell::default());
    let waker = Waker::from(Arc::clone(&bell));
    let mut context = Context::from_waker(&waker);
    assert!(outlet.poll_ended(&mut context).is_pending());
    assert_eq!(outbox.try_send_now(frame("one")), Ok(Sent::Written));
    assert_eq!(outbox.try_send_now(frame("two")), Ok(Sent::Written));
    assert_eq!(tap.written(), "onetwo");
    assert_eq!(bell.0.load(Ordering::SeqCst), 0, "nobody was woken");
    assert_eq!(outbox.queued_bytes(), 0);
    let totals = outlet.direct_totals();
    assert_eq!((totals.frames, totals.bytes), (2, 6));
    assert_eq!(outlet.hold(), None);
    assert_eq!(outbox.try_send_now(frame("held")), Ok(Sent::Queued));
    assert_eq!(taken(&mut outlet, 64), ["held"]);
    outbox.end(Ending::Draining);
    assert_eq!(outbox.try_send_now(frame("late")), Err(SendError::Ended));
}

#[test]
fn what_a_socket_does_not_take_is_the_sessions_to_finish() {
    let (outbox, mut outlet) = channel(8);
    let tap = Arc::new(Tap::default());
    outlet.lend(Arc::clone(&tap) as Arc<dyn Direct>);
    idle(&mut outlet);
    tap.let_in(3);
    assert_eq!(
        outbox.try_send_now(frame("longer than 8")),
        Ok(Sent::Queued)
    );
    assert_eq!(outbox.queued_bytes(), 0, "it is in the session's hands");
    tap.let_in(100);
    assert_eq!(outbox.try_send_now(frame("behind")), Ok(Sent::Queued));
    // A revocation drops what waits, but a frame that was begun is finished.
    outbox.end(Ending::PermissionGone);
    let (mut into, mut context) = (Vec::new(), Context::from_waker(Waker::noop()));
    let polled = outlet.poll_ready(&mut context, &mut into, 64);
    assert_eq!(polled, Poll::Ready(Outcome::Rest));
    assert_eq!(into, [Run::from(frame("ger than 8"))]);
    assert_eq!(ended(&mut outlet), Ending::PermissionGone);
    assert_eq!(tap.written(), "lon");
    let totals = outlet.direct_totals();
    assert_eq!((totals.frames, totals.bytes), (0, 3));
}

#[test]
fn a_session_that_takes_its_socket_back_gets_the_rest_with_it() {
    let (outbox, mut outlet) = channel(8);
    let tap = Arc::new(Tap::default());
    outlet.lend(Arc::clone(&tap) as Arc<dyn Direct>);
    idle(&mut outlet);
    tap.let_in(2);
    assert_eq!(outbox.try_send_now(frame("halved")), Ok(Sent::Queued));
    assert_eq!(outlet.hold(), Some(frame("lved").into()));
    idle(&mut outlet);
    assert_eq!(outbox.try_send_now(frame("no room")), Ok(Sent::Queued));
    assert_eq!(taken(&mut outlet, 64), ["no room"]);
}
