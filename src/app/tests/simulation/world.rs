//! A MongoDB that does what a seed says: its history, and all that goes wrong on the way to it.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bson::{RawDocumentBuf, Timestamp, doc};
use futures_util::future::{BoxFuture, FutureExt as _};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::sync::Notify;

use crate::mongo::feed::{
    CODE_TOO_LARGE, Lost, Opened, Read, Reader, Reading, Scope, Source, Start,
};
use crate::mongo::{MongoError, Namespace, ResumeToken};

/// How long a reader waits for an event that is not there.
const AWAIT_MAX: Duration = Duration::from_secs(1);

/// An event of the history.
#[derive(Clone, Debug)]
pub(super) struct Happened {
    pub(super) token: ResumeToken,
    pub(super) third: i32,
    /// It cannot be sent.
    pub(super) is_too_large: bool,
    raw: RawDocumentBuf,
}

/// What all parts of one schedule share.
pub(super) struct World {
    state: Mutex<State>,
    happened: Notify,
}

pub(super) struct State {
    pub(super) random: StdRng,
    /// Each history that there has been; a backup begins another. The last is the one that counts.
    pub(super) histories: Vec<Vec<Happened>>,
    /// MongoDB's operation time, in seconds: that of its last event.
    now: u32,
    /// The time that its clock shows, which a backup does not bring back.
    clock: u32,
    /// For how many events more its clock shows an earlier time than its last one.
    behind: u32,
    /// Which event of the same second is the last one.
    within: u32,
    disturbances: u64,
    /// How many of a thousand reads and openings fail.
    pub(super) trouble: u32,
    /// Nothing is answered.
    pub(super) is_silent: bool,
    /// How often history was lost, and has not been told.
    losses: u32,
    /// How often the feed told that something is missing.
    pub(super) gaps: u32,
    /// It told so without need.
    pub(super) told_needlessly: bool,
}

impl World {
    pub(super) fn new(seed: u64) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::new(State {
                random: StdRng::seed_from_u64(seed),
                histories: vec![Vec::new()],
                now: 1,
                clock: 1,
                behind: 0,
                within: 0,
                disturbances: 0,
                trouble: 0,
                is_silent: false,
                losses: 0,
                gaps: 0,
                told_needlessly: false,
            }),
            happened: Notify::new(),
        })
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nothing panics under this lock")
    }

    /// Writes so many events.
    pub(super) fn happen(&self, count: u32, is_too_large: bool) {
        let mut state = self.state();
        for _ in 0..count {
            state.happen(is_too_large);
        }
        drop(state);
        self.happened.notify_waiters();
    }

    /// MongoDB comes back from a backup: the last events have never been.
    pub(super) fn restore(&self) {
        let mut state = self.state();
        let history = state.histories.last().expect("there is one").clone();
        let kept = history
            .len()
            .saturating_sub(state.random.random_range(0..6));
        // It may have noted since that time goes on, or not.
        let is_earlier = state.random.random_bool(0.5);
        if is_earlier {
            state.now = history[..kept]
                .last()
                .map_or(1, |last| last.token.time().time);
        }
        state.losses += u32::from(is_earlier || kept < history.len());
        state.histories.push(history[..kept].to_vec());
        state.disturbances += 1;
        drop(state);
        self.happened.notify_waiters();
    }

    /// A server is lost, and comes back as it was.
    pub(super) fn disturb(&self) {
        self.state().disturbances += 1;
    }

    /// Everything is well from now on, also for who waits for an answer.
    pub(super) fn heal(&self) {
        let mut state = self.state();
        (state.trouble, state.is_silent) = (0, false);
        drop(state);
        self.happened.notify_waiters();
    }

    /// MongoDB's time.
    pub(super) async fn time(self: Arc<Self>) -> Result<Timestamp, MongoError> {
        self.answer().await?;
        Ok(self.state().end().time())
    }

    /// Waits for as long as nothing is answered; or fails.
    async fn answer(&self) -> Result<(), MongoError> {
        loop {
            let happened = self.happened.notified();
            {
                let mut state = self.state();
                if !state.is_silent {
                    let fails = state.random.random_range(0..1000) < state.trouble;
                    return if fails { Err(unreachable()) } else { Ok(()) };
                }
            }
            happened.await;
        }
    }
}

impl State {
    fn happen(&mut self, is_too_large: bool) {
        match self.random.random_range(0..50) {
            // Its clock is put forward; or back, and then its time stands until the clock has caught up.
            0 => self.clock += 100_000,
            1 => self.behind = self.random.random_range(1..20),
            _ => (),
        }
        self.behind = self.behind.saturating_sub(1);
        if self.behind == 0 {
            self.clock += self.random.random_range(1..3);
        }
        match self.clock > self.now {
            true => (self.now, self.within) = (self.clock, 0),
            false => self.within += 1,
        }
        let third = self.random.random_range(0..3);
        let token = self.end();
        let document = doc! {
            "_id": { "_data": token.as_str() }, "operationType": "insert",
            "ns": { "db": "d", "coll": "c" }, "fullDocument": { "third": third },
        };
        let happened = Happened {
            token,
            third,
            is_too_large,
            raw: RawDocumentBuf::try_from(&document).expect("BSON"),
        };
        let history = self.histories.last_mut();
        history.expect("there is one").push(happened);
    }

    /// The feed tells that something is missing.
    pub(super) fn tell(&mut self, lost: &Lost) {
        self.gaps += 1;
        let is_needed = match lost {
            Lost::Everything(_) => std::mem::take(&mut self.losses) > 0,
            Lost::Collection(_) => self
                .histories
                .iter()
                .flatten()
                .any(|event| event.is_too_large),
        };
        self.told_needlessly |= !is_needed;
    }

    fn history(&self) -> &[Happened] {
        self.histories.last().expect("there is one")
    }

    /// The place behind everything that has happened. Another history's place at the same time is another one.
    fn end(&self) -> ResumeToken {
        let history = u32::try_from(self.histories.len()).expect("a few");
        let token = format!("82{:08X}{:08X}", self.now, history << 16 | self.within);
        ResumeToken::parse(&token).expect("a token")
    }

    /// What reading comes to here, in this state; `None` if there is nothing to be read yet.
    fn read(&mut self, at: &ResumeToken) -> Option<Result<Happened, Failing>> {
        if self.random.random_range(0..1000) < self.trouble {
            return Some(Err(match self.random.random_range(0..8) {
                0 => Failing::End,
                1 => {
                    self.losses += 1;
                    Failing::Error(MongoError::HistoryLost("as the seed wants".to_owned()))
                }
                2 => Failing::Error(refused(11601)),
                _ => Failing::Error(unreachable()),
            }));
        }
        let next = self.history().iter().find(|event| event.token > *at)?;
        Some(match next.is_too_large {
            true => Err(Failing::Error(refused(CODE_TOO_LARGE))),
            false => Ok(next.clone()),
        })
    }
}

/// Why a read brings nothing.
enum Failing {
    Error(MongoError),
    /// An `invalidate`.
    End,
}

/// A change stream over the world.
struct Script {
    world: Arc<World>,
    at: ResumeToken,
    is_alive: bool,
}

impl Reader for Script {
    fn read(mut self: Box<Self>) -> BoxFuture<'static, (Opened, Read)> {
        let reading = async move {
            let until = tokio::time::Instant::now() + AWAIT_MAX;
            loop {
                let world = Arc::clone(&self.world);
                let happened = world.happened.notified();
                let read = {
                    let mut state = world.state();
                    match state.is_silent {
                        true => None,
                        false => Some(state.read(&self.at)),
                    }
                };
                match read {
                    Some(Some(Ok(event))) => {
                        self.at = event.token;
                        return (self as Opened, Ok(Some(event.raw)));
                    }
                    Some(Some(Err(Failing::Error(error)))) => return (self as Opened, Err(error)),
                    Some(Some(Err(Failing::End))) => {
                        self.is_alive = false;
                        return (self as Opened, Ok(None));
                    }
                    Some(None) => {
                        if tokio::time::timeout_at(until, happened).await.is_err() {
                            let end = world.state().end();
                            self.at = self.at.clone().max(end);
                            return (self as Opened, Ok(None));
                        }
                    }
                    // Whoever waits gives it up.
                    None => happened.await,
                }
            }
        };
        reading.boxed()
    }

    fn token(&self) -> Option<ResumeToken> {
        Some(self.at.clone())
    }

    fn is_alive(&self) -> bool {
        self.is_alive
    }
}

/// The world, for a feed.
pub(super) struct Scripted(pub(super) Arc<World>);

impl Source for Scripted {
    fn open<'a>(
        &'a self,
        _scope: &'a Scope,
        _watched: &'a BTreeSet<Namespace>,
        start: &'a Start,
        reading: Reading,
    ) -> BoxFuture<'a, Result<Opened, MongoError>> {
        let opening = async move {
            let answer = tokio::time::timeout(reading.answer_max, self.0.answer());
            answer.await.unwrap_or(Err(MongoError::NoAnswer))?;
            let at = match start {
                // With the first event at that time.
                Start::At(time) => ResumeToken::parse(&format!("82{:08X}00000000", time.time)),
                Start::After(token) => Some(token.clone()),
            };
            Ok(Box::new(Script {
                world: Arc::clone(&self.0),
                at: at.expect("a token"),
                is_alive: true,
            }) as Opened)
        };
        opening.boxed()
    }

    fn operation_time(&self) -> BoxFuture<'_, Result<Timestamp, MongoError>> {
        Arc::clone(&self.0).time().boxed()
    }

    fn has_happened<'a>(
        &'a self,
        _scope: &'a Scope,
        token: &'a ResumeToken,
    ) -> BoxFuture<'a, Result<bool, MongoError>> {
        let looking = async move {
            self.0.answer().await?;
            let state = self.0.state();
            Ok(state.history().iter().any(|event| event.token == *token))
        };
        looking.boxed()
    }

    fn next_id<'a>(
        &'a self,
        _scope: &'a Scope,
        _watched: &'a BTreeSet<Namespace>,
        position: &'a Start,
    ) -> BoxFuture<'a, Result<(ResumeToken, Namespace), MongoError>> {
        let looking = async move {
            self.0.answer().await?;
            let Start::After(position) = position else {
                return Err(unreachable());
            };
            let state = self.0.state();
            let next = state.history().iter().find(|event| event.token > *position);
            let next = next.ok_or_else(unreachable)?;
            Ok((next.token.clone(), namespace()))
        };
        looking.boxed()
    }

    fn disturbances(&self) -> u64 {
        self.0.state().disturbances
    }

    fn jitter(&self) -> f64 {
        self.0.state().random.random_range(0.5..1.5)
    }
}

pub(super) fn namespace() -> Namespace {
    Namespace::new("d", "c")
}

fn unreachable() -> MongoError {
    MongoError::Unreachable("as the seed wants".to_owned())
}

fn refused(code: i32) -> MongoError {
    MongoError::Refused {
        code,
        message: "as the seed wants".to_owned(),
    }
}
