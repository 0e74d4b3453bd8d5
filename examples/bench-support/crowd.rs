//! The clients: many on few threads. What each one gets is noted, with its arrival, and judged afterwards.

use std::{
    cell::RefCell,
    future::poll_fn,
    io,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    task::ready,
    time::{Duration, Instant},
};

use memchr::memmem::Finder;
use tokio::{
    io::{AsyncRead, AsyncWriteExt, ReadBuf},
    runtime::Handle,
    sync::Semaphore,
    task::JoinHandle,
};

use super::{
    Epoch, Outcome,
    connect::{NotOpened, Opened, Stream, Target},
    decode::{Decoder, Item, number},
};

/// An event at a client: its number, and when it came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Arrival {
    pub(crate) number: u32,
    pub(crate) micros: u32,
}

/// How a session ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Closed(u16),
    /// Without a word.
    Broken,
}

/// One client.
pub(crate) struct Member {
    /// How many numbered events it has got.
    events: AtomicU32,
    noted: Mutex<Noted>,
    reading: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Default)]
struct Noted {
    arrivals: Vec<Arrival>,
    end: Option<End>,
    live_at: u32,
}

/// What all members have in common.
#[derive(Clone)]
pub(crate) struct Setting {
    pub(crate) epoch: Epoch,
    /// What stands before an event's number in its text.
    pub(crate) marker: Arc<Finder<'static>>,
    /// The threads that read.
    pub(crate) readers: Vec<Handle>,
    /// How many connect at a time.
    pub(crate) at_once: usize,
}

/// Clients of one server.
pub(crate) struct Crowd {
    pub(crate) members: Vec<Arc<Member>>,
    /// Numbered events in all.
    events: Arc<AtomicU64>,
    /// Messages without a number: other people's.
    strange: Arc<AtomicU64>,
    setting: Setting,
}

impl Crowd {
    pub(crate) fn new(setting: Setting) -> Self {
        Self {
            members: Vec::new(),
            events: Arc::default(),
            strange: Arc::default(),
            setting,
        }
    }

    /// Opens `count` more, the i-th of all with the query that `query` gives. All must get in.
    pub(crate) async fn open(
        &mut self,
        target: &Target,
        count: usize,
        query: impl Fn(usize) -> Option<String>,
    ) -> Outcome<()> {
        let places = Arc::new(Semaphore::new(self.setting.at_once));
        let mut opening = Vec::with_capacity(count);
        for _ in 0..count {
            let index = self.members.len();
            let member = self.add();
            let place = Arc::clone(&places).acquire_owned().await?;
            let (target, query) = (target.clone(), query(index));
            let joining = self.joining(index, member);
            let reader = &self.setting.readers[index % self.setting.readers.len()];
            opening.push(reader.spawn(async move {
                let opened = target.open(query.as_deref()).await?;
                joining.begin(opened);
                drop(place);
                Ok::<_, NotOpened>(())
            }));
        }
        for opened in opening {
            opened.await??;
        }
        Ok(())
    }

    /// Opens `count` more, all at once, each of which tries until it gets in. Returns how often they were sent away.
    pub(crate) async fn storm(
        &mut self,
        target: &Target,
        count: usize,
        within: Duration,
    ) -> Outcome<u64> {
        let until = Instant::now() + within;
        let refused = Arc::new(AtomicU64::new(0));
        let mut opening = Vec::with_capacity(count);
        for _ in 0..count {
            let index = self.members.len();
            let member = self.add();
            let (target, refused) = (target.clone(), Arc::clone(&refused));
            let joining = self.joining(index, member);
            let reader = &self.setting.readers[index % self.setting.readers.len()];
            opening.push(reader.spawn(async move {
                loop {
                    match target.open(None).await {
                        Ok(opened) => {
                            joining.begin(opened);
                            return Ok(());
                        }
                        Err(error) if Instant::now() > until => return Err(error),
                        Err(NotOpened::Refused(_)) => refused.fetch_add(1, Ordering::Relaxed),
                        Err(NotOpened::Io(_)) => 0,
                    };
                    tokio::time::sleep(RETRY_PAUSE.mul_f64(rand::random_range(0.5..1.5))).await;
                }
            }));
        }
        for opened in opening {
            opened.await??;
        }
        Ok(refused.load(Ordering::Relaxed))
    }

    fn add(&mut self) -> Arc<Member> {
        let member = Arc::new(Member {
            events: AtomicU32::new(0),
            noted: Mutex::default(),
            reading: Mutex::default(),
        });
        self.members.push(Arc::clone(&member));
        member
    }

    fn joining(&self, index: usize, member: Arc<Member>) -> Joining {
        Joining {
            reader: self.setting.readers[index % self.setting.readers.len()].clone(),
            member,
            events: Arc::clone(&self.events),
            strange: Arc::clone(&self.strange),
            epoch: self.setting.epoch,
            marker: Arc::clone(&self.setting.marker),
        }
    }

    /// Leaves without a word, all but the first `kept`.
    pub(crate) fn leave(&mut self, kept: usize) {
        for member in self.members.drain(kept.min(self.members.len())..) {
            if let Some(reading) = lock(&member.reading).take() {
                reading.abort();
            }
        }
    }

    /// Waits until `events` have arrived in all since the beginning, or nothing has come for `patience`.
    pub(crate) async fn received(&self, events: u64, patience: Duration) {
        let (mut last, mut since) = (self.events(), Instant::now());
        while last < events && since.elapsed() < patience {
            tokio::time::sleep(Duration::from_millis(2)).await;
            let now = self.events();
            if now != last {
                (last, since) = (now, Instant::now());
            }
        }
    }

    /// Numbered events that have arrived in all.
    pub(crate) fn events(&self) -> u64 {
        self.events.load(Ordering::Relaxed)
    }

    pub(crate) fn strange(&self) -> u64 {
        self.strange.load(Ordering::Relaxed)
    }

    /// How the sessions that have ended did.
    pub(crate) fn ends(&self) -> Vec<End> {
        let ends = self.members.iter().map(|member| member.end());
        ends.flatten().collect()
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        self.leave(0);
    }
}

impl Member {
    pub(crate) fn events(&self) -> u32 {
        self.events.load(Ordering::Relaxed)
    }

    /// Takes what has arrived since it was last asked.
    pub(crate) fn take(&self) -> Vec<Arrival> {
        std::mem::take(&mut lock(&self.noted).arrivals)
    }

    pub(crate) fn end(&self) -> Option<End> {
        lock(&self.noted).end.clone()
    }

    /// When it saw the server's yes.
    pub(crate) fn live_at(&self) -> u32 {
        lock(&self.noted).live_at
    }
}

/// What a member needs to begin.
struct Joining {
    reader: Handle,
    member: Arc<Member>,
    events: Arc<AtomicU64>,
    strange: Arc<AtomicU64>,
    epoch: Epoch,
    marker: Arc<Finder<'static>>,
}

impl Joining {
    fn begin(self, opened: Opened) {
        let member = Arc::clone(&self.member);
        lock(&member.noted).live_at = self.epoch.micros();
        let reader = self.reader.clone();
        let reading = reader.spawn(self.read(opened));
        *lock(&member.reading) = Some(reading);
    }

    async fn read(self, opened: Opened) {
        let Opened {
            mut stream,
            early,
            mut decoder,
        } = opened;
        let mut pongs = Vec::new();
        let mut going = self.hear(&mut decoder, &early, &mut pongs);
        while going {
            if !pongs.is_empty() {
                let pongs = std::mem::take(&mut pongs);
                // A broken connection is seen by the read.
                let _: io::Result<()> = stream.write_all(&pongs).await;
            }
            going = self.turn(&mut stream, &mut decoder, &mut pongs).await;
        }
        let mut noted = lock(&self.member.noted);
        noted.end.get_or_insert(End::Broken);
    }

    /// One read, into room that all clients of a thread share. Returns whether there may be more.
    async fn turn(
        &self,
        stream: &mut Box<dyn Stream>,
        decoder: &mut Decoder,
        pongs: &mut Vec<u8>,
    ) -> bool {
        let read = poll_fn(|context| {
            ROOM.with_borrow_mut(|room| {
                let mut buffer = ReadBuf::new(room);
                ready!(Pin::new(&mut *stream).poll_read(context, &mut buffer))?;
                let bytes = buffer.filled();
                io::Result::Ok(!bytes.is_empty() && self.hear(decoder, bytes, pongs)).into()
            })
        });
        read.await.unwrap_or(false)
    }

    fn hear(&self, decoder: &mut Decoder, bytes: &[u8], pongs: &mut Vec<u8>) -> bool {
        if bytes.is_empty() {
            return true;
        }
        let micros = self.epoch.micros();
        let mut noted = lock(&self.member.noted);
        let (mut events, mut strange) = (0, 0);
        decoder.feed(bytes, |item| match item {
            Item::Message(text) => match self.number(text) {
                Some(number) => {
                    noted.arrivals.push(Arrival { number, micros });
                    events += 1;
                }
                None => strange += 1,
            },
            Item::Ping(payload) => {
                // Under the mask 0. A PING's payload has at most 125 bytes.
                pongs.extend_from_slice(&[0x8a, 0x80 | payload.len() as u8, 0, 0, 0, 0]);
                pongs.extend_from_slice(payload);
            }
            Item::Close(code) => {
                noted.end.get_or_insert(End::Closed(code));
            }
        });
        self.member.events.fetch_add(events, Ordering::Relaxed);
        self.events.fetch_add(u64::from(events), Ordering::Relaxed);
        if strange > 0 {
            self.strange.fetch_add(strange, Ordering::Relaxed);
        }
        noted.end.is_none()
    }

    fn number(&self, text: &[u8]) -> Option<u32> {
        let at = self.marker.find(text)?;
        number(&text[at + self.marker.needle().len()..])
    }
}

/// Nothing here panics while it holds a lock.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

thread_local! {
    static ROOM: RefCell<Vec<u8>> = RefCell::new(vec![0; ROOM_BYTES]);
}

/// Large enough for a run of frames, so that reading costs less than serving.
const ROOM_BYTES: usize = 256 * 1024;
const RETRY_PAUSE: Duration = Duration::from_millis(20);
