//! The clients: each comes back with its last id, as section 7 of the design tells a client to.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use memchr::memmem;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::watch,
    task::JoinHandle,
};

use crate::{
    judge::{Said, Witness},
    sidestream::EVENTS,
    support::{
        Outcome,
        connect::{NotOpened, Opened, Target, Transport},
        decode::Item,
    },
    truth::{Mark, SLICES, Share, Truth, lock},
};

/// What makes a mark of an event: its text and its id. `None` if the event does not count.
pub(crate) type Marking = fn(&[u8], &str) -> Option<Mark>;

/// What one client asks for, and what it is to see.
#[derive(Clone, Debug)]
pub(crate) struct Wish {
    pub(crate) path: String,
    pub(crate) share: Share,
}

/// What the clients of a collection have in common.
#[derive(Clone)]
pub(crate) struct Setting {
    pub(crate) address: SocketAddr,
    pub(crate) marking: Marking,
    /// The collection goes and comes: 404 and 4404 are to be expected, and the stream is begun anew then.
    pub(crate) is_mortal: bool,
}

/// All clients of one collection.
pub(crate) struct Clients {
    members: Vec<Arc<Member>>,
    tasks: Vec<JoinHandle<()>>,
    shared: Arc<Shared>,
    /// Counts up: whoever it concerns leaves without a word.
    leave: watch::Sender<u32>,
}

struct Shared {
    setting: Setting,
    counts: Mutex<BTreeMap<String, u64>>,
    strays: Mutex<Vec<String>>,
    /// Events in all.
    got: AtomicU64,
}

/// One client.
struct Member {
    index: usize,
    path: String,
    transport: Transport,
    witness: Arc<Witness>,
    last: Mutex<Option<Mark>>,
    has_id: AtomicBool,
    in_gap: AtomicBool,
    is_open: AtomicBool,
}

impl Clients {
    /// Of the collection that stays: of twenty one follows all, eighteen a slice each, and one a slice that only MongoDB can tell.
    pub(crate) fn open(address: SocketAddr, count: usize) -> Self {
        let setting = Setting {
            address,
            marking: |_, id| Some(Mark::of(id.as_bytes())),
            is_mortal: false,
        };
        let wishes = (0..count).map(|index| {
            let number = (index / KINDS + index % KINDS) as u32;
            let (slice, dedicated) = (number % SLICES, number % DEDICATED_SLICES);
            let (stream, share) = match index % KINDS {
                0 => ("all".to_owned(), Share::All),
                1 => (format!("own?n={dedicated}"), Share::Slice(dedicated)),
                _ => (format!("mine?n={slice}"), Share::Slice(slice)),
            };
            Wish {
                path: format!("{EVENTS}/_streams/{stream}"),
                share,
            }
        });
        Self::with(setting, wishes.collect())
    }

    pub(crate) fn with(setting: Setting, wishes: Vec<Wish>) -> Self {
        let shared = Arc::new(Shared {
            setting,
            counts: Mutex::default(),
            strays: Mutex::default(),
            got: AtomicU64::new(0),
        });
        let leave = watch::Sender::new(0);
        let (mut members, mut tasks) = (Vec::new(), Vec::new());
        for (index, wish) in wishes.into_iter().enumerate() {
            let transport = match (index + index / KINDS) % 2 {
                0 => Transport::WebSocket,
                _ => Transport::Sse,
            };
            let Wish { path, share } = wish;
            let name = format!("client {index} of {path} by {transport:?}");
            let member = Arc::new(Member {
                index,
                transport,
                witness: Arc::new(Witness::new(name, &path, share)),
                path,
                last: Mutex::default(),
                has_id: AtomicBool::new(false),
                in_gap: AtomicBool::new(false),
                is_open: AtomicBool::new(false),
            });
            let client = Client {
                member: Arc::clone(&member),
                shared: Arc::clone(&shared),
                leave: leave.subscribe(),
                id: String::new(),
                barren: 0,
            };
            tasks.push(tokio::spawn(client.live()));
            members.push(member);
        }
        Self {
            members,
            tasks,
            shared,
            leave,
        }
    }

    pub(crate) fn witnesses(&self) -> Vec<Arc<Witness>> {
        let witnesses = self.members.iter();
        witnesses
            .map(|member| Arc::clone(&member.witness))
            .collect()
    }

    /// How many events they got in all.
    pub(crate) fn got(&self) -> u64 {
        self.shared.got.load(Ordering::Relaxed)
    }

    /// Has a third of them leave without a word, and come back.
    pub(crate) fn leave(&self) {
        self.leave.send_modify(|times| *times += 1);
    }

    /// Waits until each has got something.
    pub(crate) async fn have_all_an_id(&self, within: Duration) -> Outcome<()> {
        let all = || {
            self.members
                .iter()
                .all(|member| member.has_id.load(Ordering::Acquire))
        };
        match until(within, all).await {
            true => Ok(()),
            false => Err(format!("not every client got its first event: {}", self.counts()).into()),
        }
    }

    /// Waits until each is connected.
    pub(crate) async fn are_all_open(&self, within: Duration) -> bool {
        let all = || {
            self.members
                .iter()
                .all(|member| member.is_open.load(Ordering::Acquire))
        };
        until(within, all).await
    }

    /// Waits until each has got the last event of its share, or was told of a gap before it; but not longer than `patience` for the next
    /// event of any of them.
    pub(crate) async fn have_all(&self, truth: &Truth, patience: Duration) -> bool {
        let known = truth.known();
        let has = |member: &Arc<Member>| {
            let (mark, share) = (*lock(&member.last), member.witness.share);
            let known = lock(&known);
            let place = mark.and_then(|mark| known.place(mark, share)).flatten();
            member.in_gap.load(Ordering::Acquire) || place == known.count(share).checked_sub(1)
        };
        let mut got = 0;
        while !until(patience / 4, || self.members.iter().all(has)).await {
            let now = self.got();
            if now == got {
                let late = self.members.iter().filter(|member| !has(member));
                late.for_each(|member| println!("not at the end: {}", member.witness.name));
                return false;
            }
            got = now;
        }
        true
    }

    /// Waits until each has got this one last.
    pub(crate) async fn have_all_mark(&self, mark: Mark, within: Duration) -> bool {
        let has = |member: &Arc<Member>| *lock(&member.last) == Some(mark);
        until(within, || self.members.iter().all(has)).await
    }

    /// How sessions ended and requests were refused, and how often.
    pub(crate) fn counts(&self) -> String {
        let counts = lock(&self.shared.counts);
        let told: Vec<String> = counts
            .iter()
            .map(|(what, count)| format!("{what} x {count}"))
            .collect();
        told.join(", ")
    }

    /// Answers and codes that nothing explains.
    pub(crate) fn strays(&self) -> Vec<String> {
        lock(&self.shared.strays).clone()
    }
}

impl Drop for Clients {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

struct Client {
    member: Arc<Member>,
    shared: Arc<Shared>,
    leave: watch::Receiver<u32>,
    /// The last event's; empty before the first, and behind a gap.
    id: String,
    /// How often in a row it was told of a gap and got nothing.
    barren: u32,
}

/// Why a session ended.
enum End {
    Code(u16),
    /// Without a word.
    Broken,
    /// By the client.
    Left,
}

impl Client {
    async fn live(mut self) {
        let (address, path) = (self.shared.setting.address, &self.member.path);
        let url = format!("http://admin:secret@{address}/{path}");
        let target = Target::parse(&url, self.member.transport).expect("the address is one");
        loop {
            let query = format!("lastEventID={}", self.id);
            match tokio::time::timeout(ANSWER_WAIT, target.open(Some(&query))).await {
                Err(_) => self.count("no answer"),
                Ok(Err(NotOpened::Io(_))) => self.count("no connection"),
                Ok(Err(NotOpened::Refused(answer))) => self.refused(&answer),
                Ok(Ok(opened)) => {
                    self.member.is_open.store(true, Ordering::Release);
                    let end = self.read(opened).await;
                    self.member.is_open.store(false, Ordering::Release);
                    self.ended(end);
                }
            }
            let pause = PAUSE.mul_f64(rand::random_range(0.2..1.5));
            tokio::time::sleep(pause).await;
        }
    }

    fn refused(&mut self, answer: &str) {
        let status = answer.split(' ').nth(1).unwrap_or_default();
        self.count(status);
        match status {
            // MongoDB or Sidestream is not ready.
            "503" => (),
            "410" => self.begin_anew(),
            "404" if self.shared.setting.is_mortal => self.begin_anew(),
            _ => lock(&self.shared.strays).push(answer.to_owned()),
        }
    }

    fn ended(&mut self, end: End) {
        let code = match end {
            End::Left => return self.count("left"),
            End::Broken => return self.count("broken"),
            End::Code(code) => code,
        };
        self.count(&code.to_string());
        match code {
            // Going away, a fault or an absence, a changed definition, too slow: with the last id.
            1001 | 1011 | 1012 | 4408 => (),
            // Whoever takes it for what it is reads the state anew. But history may still be there: every other client tries.
            4410 => {
                self.barren += 1;
                if self.member.index % 4 < 2 || self.barren > BARREN_MAX {
                    self.begin_anew();
                }
            }
            4404 if self.shared.setting.is_mortal => self.begin_anew(),
            _ => lock(&self.shared.strays).push(format!("close code {code}")),
        }
    }

    fn begin_anew(&mut self) {
        self.barren = 0;
        if !std::mem::take(&mut self.id).is_empty() {
            self.member.in_gap.store(true, Ordering::Release);
            self.member.witness.say(Said::Gap);
        }
    }

    async fn read(&mut self, opened: Opened) -> End {
        let Opened {
            mut stream,
            early,
            mut decoder,
        } = opened;
        let mut room = early;
        loop {
            let (mut end, mut pongs) = (None, Vec::new());
            decoder.feed(&room, |item| match item {
                Item::Message(text) => self.got(text),
                Item::Close(code) => end = Some(End::Code(code)),
                Item::Ping(payload) => {
                    // Under the mask 0. A PING's payload has at most 125 bytes.
                    pongs.extend_from_slice(&[0x8a, 0x80 | payload.len() as u8, 0, 0, 0, 0]);
                    pongs.extend_from_slice(payload);
                }
            });
            if let Some(end) = end {
                return end;
            }
            if !pongs.is_empty() && stream.write_all(&pongs).await.is_err() {
                return End::Broken;
            }
            room.clear();
            let is_third = self.member.index.is_multiple_of(3);
            tokio::select! {
                read = stream.read_buf(&mut room) => {
                    if read.unwrap_or(0) == 0 {
                        return End::Broken;
                    }
                }
                Ok(()) = self.leave.changed() => {
                    if is_third {
                        return End::Left;
                    }
                }
            }
        }
    }

    fn got(&mut self, text: &[u8]) {
        let Some(id) = id_of(text) else {
            return lock(&self.shared.strays).push("a message without an id".to_owned());
        };
        id.clone_into(&mut self.id);
        self.barren = 0;
        if let Some(mark) = (self.shared.setting.marking)(text, id) {
            self.member.witness.say(Said::Got(mark));
            self.shared.got.fetch_add(1, Ordering::Relaxed);
            *lock(&self.member.last) = Some(mark);
            self.member.in_gap.store(false, Ordering::Release);
        }
        self.member.has_id.store(true, Ordering::Release);
    }

    fn count(&self, what: &str) {
        self.member.witness.note(format!("{what} at {}", self.id));
        *lock(&self.shared.counts)
            .entry(what.to_owned())
            .or_default() += 1;
    }
}

/// The id in a WebSocket message, or in SSE's `id:` line: both come first.
fn id_of(text: &[u8]) -> Option<&str> {
    let begin = memmem::find(text, ID)? + ID.len();
    let length = memchr::memchr(b'"', &text[begin..])?;
    std::str::from_utf8(&text[begin..begin + length]).ok()
}

async fn until(within: Duration, holds: impl Fn() -> bool) -> bool {
    let until = Instant::now() + within;
    while !holds() {
        if Instant::now() > until {
            return false;
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
    true
}

const ID: &[u8] = b"\"_data\": \"";
/// Longer than Sidestream waits for anything before it answers.
const ANSWER_WAIT: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(300);
const LOOK_AGAIN: Duration = Duration::from_millis(20);
const KINDS: usize = 20;
/// Streams that differ need a cursor each: few do.
const DEDICATED_SLICES: u32 = 4;
/// With an event that cannot be sent, history is never there.
const BARREN_MAX: u32 = 3;
