//! Feed, hub and sessions between a change source that does what a seed says and clients that read, leave and come back, under the
//! paused clock.
//!
//! Events come, reads and openings fail, nothing is answered for a while, history is lost, events cannot be sent, servers are lost and
//! come back, also from a backup, and their clocks jump. What each session gave its client is then held against the history: exactly the matching events
//! behind its floor or its id, each once and in order, up to the present; or up to where it ended, with a code that there was a reason
//! for. Catch-up cursors are no part of this: who does not come back through the ring begins anew.

mod world;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bson::{Timestamp, doc};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use rand::Rng;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::sync::Notify;

use self::world::{Happened, Scripted, World, namespace};
use crate::delivery;
use crate::engine::{Framing, From, Hub, Plan, Wanted};
use crate::lifecycle::Tasks;
use crate::mongo::client::Clock;
use crate::mongo::feed::{Change, Feed, FeedSettings, Gate, Lost, Scope, Sink};
use crate::mongo::{Event, MongoError, Namespace, ResumeToken};
use crate::session::{SessionSettings, websocket};
use crate::wire::{JsonMode, Veil};

/// What has found a fault before: events of another history were handed on while the first one of a batch was.
const FOUND: [u64; 3] = [17526011073769, 29274495153704, 12703903550541];

const SCHEDULES: u64 = 1_000;
const STEPS: usize = 40;
const CLIENTS: usize = 3;

/// One schedule's rooms.
struct House {
    world: Arc<World>,
    clock: Clock,
    hub: Arc<Hub>,
    feed: Feed,
}

/// There is no metadata, and one collection. Now and then something has to be done before events go on, which may fail.
struct Plain(Arc<World>);

impl Gate for Plain {
    fn changed(&self, _change: Change) {}

    fn reload<'a>(&'a self, _scope: &'a Scope) -> BoxFuture<'a, Result<(), MongoError>> {
        Box::pin(async { Ok(()) })
    }

    fn watched(&self, _scope: &Scope) -> BTreeSet<Namespace> {
        BTreeSet::from([namespace()])
    }

    fn is_metadata(&self, _namespace: &Namespace) -> bool {
        false
    }

    fn clear<'a>(&'a self, _scope: &'a Scope) -> Option<BoxFuture<'a, Result<(), MongoError>>> {
        let random = &mut self.0.state().random;
        if !random.random_bool(0.1) {
            return None;
        }
        let fails = random.random_bool(0.7);
        Some(Box::pin(async move {
            tokio::time::sleep(Duration::from_millis(20)).await;
            match fails {
                true => Err(MongoError::NoAnswer),
                false => Ok(()),
            }
        }))
    }

    fn live(&self, _scope: &Scope, _live: bool) {}
}

/// The hub; and it is noted when the feed tells of a loss.
struct Noting(Arc<Hub>, Arc<World>);

impl Sink for Noting {
    fn deliver(&self, events: Vec<Arc<Event>>) -> BoxFuture<'_, ()> {
        self.0.deliver(events)
    }

    fn gap(&self, lost: Lost) -> BoxFuture<'_, ()> {
        self.1.state().tell(&lost);
        self.0.gap(lost)
    }

    fn away<'a>(&'a self, scope: &'a Scope) -> BoxFuture<'a, ()> {
        self.0.away(scope)
    }

    fn broken(&self, scope: &Scope) {
        self.0.broken(scope);
    }
}

impl House {
    fn open(seed: u64) -> Arc<Self> {
        let (world, tasks) = (World::new(seed), Tasks::new());
        let told = Arc::clone(&world);
        let clock = Clock::reading(&tasks, move || Arc::clone(&told).time());
        let hub = Arc::new(Hub::new(tasks.clone()));
        let ring_bytes = world.state().random.random_range(0..4_000);
        let settings = FeedSettings {
            ring_bytes,
            backoff_max: Duration::from_secs(1),
            patience: Duration::from_secs(5),
            pre_images: false,
        };
        let feed = Feed::over(
            Arc::new(Scripted(Arc::clone(&world))),
            clock.clone(),
            Scope::Database("d".into()),
            settings,
            Arc::new(Noting(Arc::clone(&hub), Arc::clone(&world))),
            Arc::new(Plain(Arc::clone(&world))),
            &tasks,
        );
        Arc::new(Self {
            world,
            clock,
            hub,
            feed,
        })
    }
}

/// Behind what a session begins.
#[derive(Clone, Debug)]
enum Behind {
    /// What the feed had handed on before the session was a member is not its concern either: that is at most what had happened then.
    Floor(Timestamp, Option<ResumeToken>),
    Id(ResumeToken),
}

/// One session, as its client saw it.
#[derive(Debug)]
struct Record {
    third: Option<i32>,
    behind: Behind,
    got: Vec<ResumeToken>,
    /// How often the feed had told of a loss when it began.
    gaps: u32,
    /// Whether the feed had begun anew by then, if it had to.
    is_whole: bool,
    is_slow: bool,
    ended: Option<End>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    Code(u16),
    Left,
}

type Records = Arc<Mutex<Vec<Record>>>;

/// One client: comes back whenever its session ends.
struct Client {
    house: Arc<House>,
    third: Option<i32>,
    is_slow: bool,
    leave: Arc<Notify>,
    records: Records,
}

impl Client {
    async fn live(self) {
        let mut id = None;
        loop {
            if let Some(mut stream) = self.admitted(&mut id).await {
                let end = self.read(&mut stream, &mut id).await;
                self.note(|record| record.ended = Some(end));
                if end == End::Code(4410) {
                    id = None;
                }
            }
            let pause = self.house.world.state().random.random_range(10..500);
            tokio::time::sleep(Duration::from_millis(pause)).await;
        }
    }

    /// As the front and the engine do it; `None` if it is refused.
    async fn admitted(&self, id: &mut Option<ResumeToken>) -> Option<DuplexStream> {
        let House {
            world,
            clock,
            hub,
            feed,
        } = &*self.house;
        let gaps = world.state().gaps;
        feed.live(Duration::from_secs(1)).await.ok()?;
        let floor = clock.now().await.ok()?;
        let wanted = Wanted {
            namespace: namespace(),
            stages: self
                .third
                .map(|third| doc! { "$match": { "fullDocument.third": third } })
                .into_iter()
                .collect(),
            notify: None,
            veil: Veil::default(),
            mode: JsonMode::Default,
            framing: Framing::WebSocket {
                ids: true,
                deflate: None,
            },
        };
        let plan = Plan::choose(wanted).expect("a plan");
        let (outbox, outlet) = delivery::channel(if self.is_slow { 600 } else { 1 << 20 });
        let from = From {
            floor,
            resume: id.clone(),
        };
        let (behind, subscription) = match id.clone() {
            None => {
                let subscription = hub.begin(feed, plan, from, outbox).await;
                let state = world.state();
                let last = state.histories.last().expect("there is one").last();
                let last = last.map(|last| last.token.clone());
                (Behind::Floor(floor, last), subscription)
            }
            Some(token) => {
                // A future that is gone, or more than the ring has: it begins anew.
                let is_past = token.time() <= floor;
                *id = None;
                let back = hub.go_on(feed, plan, from, token.clone(), outbox);
                let subscription = if is_past { back.await } else { None }?;
                *id = Some(token.clone());
                (Behind::Id(token), subscription)
            }
        };
        let (server, client) = duplex(if self.is_slow { 64 } else { 4096 });
        tokio::spawn(async move {
            let settings = SessionSettings::default();
            let closed = websocket::serve(server, Bytes::new(), None, outlet, &settings, None);
            let _closed = closed.await;
            drop(subscription);
        });
        let mut records = self.records.lock().unwrap_or_else(PoisonError::into_inner);
        records.push(Record {
            third: self.third,
            behind,
            got: Vec::new(),
            gaps,
            is_whole: feed.is_whole_since(floor),
            is_slow: self.is_slow,
            ended: None,
        });
        Some(client)
    }

    /// Reads until the session ends, or the client leaves without a word.
    async fn read(&self, stream: &mut DuplexStream, id: &mut Option<ResumeToken>) -> End {
        loop {
            let frame = tokio::select! {
                biased;
                () = self.leave.notified() => return End::Left,
                frame = frame(stream) => frame,
            };
            let Some(frame) = frame else {
                // Who did not take its CLOSE in time is cut off, wherever that is.
                assert!(self.is_slow, "a session that ends tells so first");
                return End::Left;
            };
            match frame {
                (TEXT, payload) => {
                    let token = token_of(&payload);
                    *id = Some(token.clone());
                    self.note(|record| record.got.push(token));
                }
                (PING, payload) => {
                    let head = [0x80 | PONG, 0x80 | payload.len() as u8, 0, 0, 0, 0];
                    drop(stream.write_all(&[&head[..], &payload].concat()).await);
                }
                (CLOSE, payload) => {
                    let code = payload.first_chunk::<2>().expect("a code");
                    return End::Code(u16::from_be_bytes(*code));
                }
                (opcode, _) => panic!("a frame of opcode {opcode}"),
            }
            if self.is_slow {
                let pause = self.house.world.state().random.random_range(0..1000);
                tokio::time::sleep(Duration::from_millis(pause)).await;
            }
        }
    }

    fn note(&self, note: impl FnOnce(&mut Record)) {
        let mut records = self.records.lock().unwrap_or_else(PoisonError::into_inner);
        note(records.last_mut().expect("it is in a session"));
    }
}

/// The next frame from a server: opcode and payload. `None`: it has hung up.
async fn frame(stream: &mut DuplexStream) -> Option<(u8, Vec<u8>)> {
    let first = stream.read_u8().await.ok()?;
    let length = match stream.read_u8().await.ok()? {
        127 => stream.read_u64().await.ok()?,
        126 => u64::from(stream.read_u16().await.ok()?),
        short => u64::from(short),
    };
    let mut payload = vec![0; usize::try_from(length).expect("a short frame")];
    stream.read_exact(&mut payload).await.ok()?;
    Some((first & 0x0f, payload))
}

fn token_of(payload: &[u8]) -> ResumeToken {
    let text = std::str::from_utf8(payload).expect("text");
    let (_, token) = text.split_once("\"_data\": \"").expect("an id");
    let (token, _) = token.split_once('"').expect("its end");
    ResumeToken::parse(token).expect("a token")
}

impl Record {
    /// Whether what it got is what this history has for it.
    fn agrees(&self, history: &[Happened]) -> bool {
        let matches = |event: &&Happened| {
            let behind = match &self.behind {
                Behind::Floor(time, _) => event.token.time() > *time,
                Behind::Id(id) => event.token > *id,
            };
            behind && (event.is_too_large || self.third.is_none_or(|third| event.third == third))
        };
        let expected: Vec<&Happened> = history.iter().filter(matches).collect();
        let passed = match &self.behind {
            Behind::Floor(_, Some(last)) => expected
                .iter()
                .take_while(|event| event.token <= *last)
                .count(),
            Behind::Floor(_, None) | Behind::Id(_) => 0,
        };
        // It may have been a member before some of that was handed on.
        (0..=passed).any(|from| {
            let expected = &expected[from..];
            let sent: Vec<_> = expected
                .iter()
                .take_while(|event| !event.is_too_large)
                .map(|event| &event.token)
                .collect();
            let got: Vec<_> = self.got.iter().collect();
            match self.ended {
                // Nothing is missing, and nothing was passed over that could not be sent.
                None => got == sent && sent.len() == expected.len(),
                Some(_) => sent.starts_with(&got),
            }
        })
    }

    #[track_caller]
    fn check(&self, world: &World, seed: u64) {
        let state = world.state();
        // One that is open is judged by the history that counts. One that has ended may have seen what has never been; but not both.
        let is_right = match self.ended {
            None => self.agrees(state.histories.last().expect("there is one")),
            Some(_) => state.histories.iter().any(|history| self.agrees(history)),
        };
        let tokens = |history: &[Happened]| -> Vec<String> {
            let tell = |event: &Happened| {
                let large = if event.is_too_large { "!" } else { "" };
                format!("{}/{}{large}", event.token.as_str(), event.third)
            };
            history.iter().map(tell).collect()
        };
        assert!(
            is_right,
            "SIDESTREAM_SIMULATION_SEED={seed}: {self:#?} {:#?}",
            tokens(state.histories.last().expect("there is one"))
        );
        let is_explained = match self.ended {
            None | Some(End::Left) => true,
            // MongoDB was away for too long.
            Some(End::Code(1011)) => true,
            Some(End::Code(4408)) => self.is_slow,
            Some(End::Code(4410)) => state.gaps > self.gaps || !self.is_whole,
            Some(End::Code(_)) => false,
        };
        assert!(is_explained, "SIDESTREAM_SIMULATION_SEED={seed}: {self:#?}");
    }
}

/// What came of the schedules.
#[derive(Debug, Default)]
struct Totals {
    got: usize,
    back: usize,
    ended: [usize; 4],
}

impl Totals {
    fn count(&mut self, record: &Record) {
        self.got += record.got.len();
        self.back += usize::from(matches!(record.behind, Behind::Id(_)));
        match record.ended {
            None => (),
            Some(End::Left) => self.ended[0] += 1,
            Some(End::Code(1011)) => self.ended[1] += 1,
            Some(End::Code(4408)) => self.ended[2] += 1,
            Some(End::Code(_)) => self.ended[3] += 1,
        }
    }
}

async fn run(seed: u64, totals: &mut Totals) {
    let house = House::open(seed);
    let world = Arc::clone(&house.world);
    let mut clients = Vec::new();
    for index in 0..CLIENTS {
        let third = match index {
            0 => None,
            _ => Some(world.state().random.random_range(0..3)),
        };
        let (records, leave) = (Records::default(), Arc::new(Notify::new()));
        let client = Client {
            house: Arc::clone(&house),
            third,
            is_slow: index == 2 && world.state().random.random_bool(0.5),
            leave: Arc::clone(&leave),
            records: Arc::clone(&records),
        };
        clients.push((records, leave, tokio::spawn(client.live())));
    }
    for _ in 0..STEPS {
        let (what, some, pause) = {
            let random = &mut world.state().random;
            let pause = match random.random_bool(0.9) {
                true => random.random_range(0..400),
                false => random.random_range(0..20_000),
            };
            (
                random.random_range(0..100),
                random.random_range(1..8),
                pause,
            )
        };
        match what {
            0..=49 => world.happen(some, false),
            50..=53 => world.happen(1, true),
            54..=63 => clients[some as usize % CLIENTS].1.notify_one(),
            64..=73 => world.state().trouble = some * 40,
            74..=79 => world.state().is_silent = true,
            80..=93 => world.heal(),
            94..=96 => world.disturb(),
            _ => world.restore(),
        }
        tokio::time::sleep(Duration::from_millis(pause)).await;
    }
    world.heal();
    // All is well: everybody gets in, and gets what happens from here on.
    tokio::time::sleep(Duration::from_secs(30)).await;
    world.happen(3, false);
    tokio::time::sleep(Duration::from_secs(5)).await;
    let needless = world.state().told_needlessly;
    assert!(
        !needless,
        "SIDESTREAM_SIMULATION_SEED={seed}: a gap that is none was told"
    );
    for (records, _, living) in clients {
        assert!(
            !living.is_finished(),
            "SIDESTREAM_SIMULATION_SEED={seed}: a client panicked"
        );
        living.abort();
        let records = records.lock().unwrap_or_else(PoisonError::into_inner);
        let is_in = records.last().is_some_and(|last| last.ended.is_none());
        assert!(is_in, "SIDESTREAM_SIMULATION_SEED={seed}: {records:#?}");
        for record in records.iter() {
            record.check(&world, seed);
            totals.count(record);
        }
    }
}

#[test]
fn every_schedule_gives_each_session_its_events_once_in_order_or_says_why_not() {
    let given = std::env::var("SIDESTREAM_SIMULATION_SEED").ok();
    let first: u64 = given.map_or_else(rand::random, |seed| seed.parse().expect("a number"));
    println!("SIDESTREAM_SIMULATION_SEED={first}");
    let mut totals = Totals::default();
    let random = (0..SCHEDULES).map(|n| first.wrapping_add(n));
    for seed in FOUND.into_iter().chain(random) {
        // One for each, so that nothing of the one before is left.
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build();
        runtime.expect("a runtime").block_on(run(seed, &mut totals));
    }
    println!("{totals:?}");
    assert!(totals.got > 5_000, "{totals:?}");
    assert!(totals.back > 500, "{totals:?}");
    assert!(totals.ended.iter().all(|count| *count > 5), "{totals:?}");
}

const TEXT: u8 = 1;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;
