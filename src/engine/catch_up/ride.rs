//! One cursor for all who came back to a collection and waited for it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use mongodb::Client;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::has_room;
use crate::delivery::{Ending, Outbox};
use crate::engine::worker::replay;
use crate::engine::{Plan, Refused};
use crate::mongo::feed::{
    CODE_TOO_LARGE, Feed, Pin, Reading, Scope, Start, Step, Tail, open_showing,
};
use crate::mongo::{Event, MongoError, Namespace, ResumeToken};

/// How long a catch-up cursor waits for events that are not there: its token moves when that ends.
const AWAIT_MAX: Duration = Duration::from_millis(100);
/// For how long in all a ride waits for one passenger to read. Then he gets off, and takes another one later.
const PATIENCE: Duration = Duration::from_secs(1);
/// Events after which those who have gone are looked for.
const SWEEP_EVENTS: u32 = 64;
/// Ends of the stream (`dropDatabase`) in a row without an event between them.
const ENDS_MAX: u32 = 3;

/// A client that waits to be brought forward.
#[derive(Debug)]
pub(super) struct Passenger {
    pub(super) feed: Arc<Feed>,
    pub(super) plan: Plan,
    pub(super) outbox: Outbox,
    /// The client has everything up to here.
    pub(super) at: ResumeToken,
    /// Told whether history has an event with this id; before that nothing is given to the client. `None` if it is known.
    pub(super) found: Option<oneshot::Sender<Result<(), Refused>>>,
    /// Closed if the client only wants to know that.
    pub(super) arrived: oneshot::Sender<Arrival>,
}

/// How a ride ended for a passenger.
#[derive(Debug)]
pub(super) enum Arrival {
    /// He has everything up to this place, and the ring reaches it for as long as the pin is held, if there is one.
    At(ResumeToken, Option<Arc<Pin>>),
    /// He cannot be brought on.
    Ended(Ending),
}

/// Passengers with an equal plan.
struct Group {
    plan: Plan,
    seats: Vec<Seat>,
    /// Kinds of errors that were logged.
    logged: Vec<i32>,
}

struct Seat {
    outbox: Outbox,
    /// He has everything up to here, and up to where the ride has come.
    at: ResumeToken,
    patience: Duration,
    arrived: oneshot::Sender<Arrival>,
}

/// A cursor with its passengers.
pub(super) struct Ride {
    client: Client,
    namespace: Namespace,
    feed: Arc<Feed>,
    /// Passengers whose id was not found yet, the oldest last.
    unknown: Vec<Passenger>,
    groups: Vec<Group>,
    /// Every event up to here was handed out.
    place: ResumeToken,
    /// Whether the ride is where the ring serves: from there on nothing is handed out, ids are only looked for.
    is_beyond: bool,
    text: String,
}

/// Why reading stopped.
enum Stopped {
    /// The place that was to be reached is.
    Reached,
    /// The stream is over; another one begins behind its last event.
    Over,
}

impl Ride {
    /// `None` without passengers.
    pub(super) fn new(
        client: Client,
        namespace: Namespace,
        mut passengers: Vec<Passenger>,
    ) -> Option<Self> {
        passengers.sort_by(|one, other| other.at.cmp(&one.at));
        let oldest = passengers.last()?;
        let (feed, place) = (Arc::clone(&oldest.feed), oldest.at.clone());
        let mut ride = Self {
            client,
            namespace,
            feed,
            unknown: Vec::new(),
            groups: Vec::new(),
            place,
            is_beyond: false,
            text: String::new(),
        };
        for passenger in passengers {
            match passenger.found {
                Some(_) => ride.unknown.push(passenger),
                None => ride.seat(passenger),
            }
        }
        Some(ride)
    }

    /// Brings everybody as far as it can. `pace` is waited for before each cursor but the first.
    pub(super) async fn run<P: Future<Output = ()>>(mut self, pace: impl Fn() -> P) {
        // The time, not the token: so the events that the ids belong to are read, and every id proves to be one.
        let mut start = Start::At(self.place.time());
        let mut ends = 0;
        loop {
            let mut tail = match self.open(&start).await {
                Ok(tail) => tail,
                Err(MongoError::HistoryLost(_)) => match self.leave_lost(&pace).await {
                    Some(reachable) => {
                        start = reachable;
                        continue;
                    }
                    None => return,
                },
                Err(error) if is_unsendable(&error) => match self.leave_unsent() {
                    Some(behind) => {
                        start = behind;
                        continue;
                    }
                    None => return,
                },
                Err(error) => return self.fail(&error),
            };
            let begun_at = self.place.clone();
            match self.lap(&mut tail).await {
                Ok(Stopped::Reached) => return,
                Ok(Stopped::Over) => {
                    ends = match self.place == begun_at {
                        true => ends + 1,
                        false => 0,
                    };
                    let Some(token) = tail.token().filter(|_| ends < ENDS_MAX) else {
                        return self.end_all(Ending::HistoryLost);
                    };
                    start = Start::After(token.clone());
                }
                Err(error) if is_unsendable(&error) => match self.leave_unsent() {
                    Some(behind) => start = behind,
                    None => return,
                },
                Err(error) => return self.fail(&error),
            }
            pace().await;
        }
    }

    async fn open(&self, start: &Start) -> Result<Tail, MongoError> {
        // Not wider, even if the feed is: an id is good for its own database.
        let scope = Scope::Database(self.namespace.database.clone());
        let watched = BTreeSet::from([self.namespace.clone()]);
        let ids: Vec<&ResumeToken> = self.unknown.iter().map(|unknown| &unknown.at).collect();
        let reading = Reading {
            await_max: AWAIT_MAX,
            pre_images: self.feed.pre_images(),
            ..Reading::default()
        };
        let opened = open_showing(&self.client, &scope, &watched, start, &ids, reading).await?;
        Ok(Tail::new(opened, "catch_up"))
    }

    /// Reads until all have arrived.
    async fn lap(&mut self, tail: &mut Tail) -> Result<Stopped, MongoError> {
        let mut held = None;
        self.is_beyond = false;
        loop {
            let Some((reach, pin)) = self.feed.ring().pin(&self.namespace) else {
                // The feed lost its place. Everybody waits by himself until it has one.
                self.arrive(None);
                let reason = "the change stream is being opened".to_owned();
                self.refuse_unknown(&Refused::Unavailable(MongoError::Unreachable(reason)));
                return Ok(Stopped::Reached);
            };
            if let Stopped::Over = self.read_to(&reach, tail, &mut held).await? {
                return Ok(Stopped::Over);
            }
            // What came meanwhile may have been too much for the pin: then on to where the ring begins now.
            let begins = self.feed.ring().reaches_back_to(&self.namespace);
            if begins.is_none_or(|begins| begins <= self.place) {
                self.arrive(Some(Arc::new(pin)));
                break;
            }
        }
        self.is_beyond = true;
        // Ids where the ring reaches, which does not hold them: are they of this history at all?
        while let Some(youngest) = self.unknown.first().map(|unknown| unknown.at.clone()) {
            if let Stopped::Over = self.read_to(&youngest, tail, &mut held).await? {
                return Ok(Stopped::Over);
            }
        }
        Ok(Stopped::Reached)
    }

    /// Reads every event up to and with `end`. The first one behind it is held for the next call.
    async fn read_to(
        &mut self,
        end: &ResumeToken,
        tail: &mut Tail,
        held: &mut Option<Event>,
    ) -> Result<Stopped, MongoError> {
        let mut unswept = 0;
        while self.place < *end || self.waits_for_one_at_most(end) {
            let step = match held.take() {
                Some(event) => Some(event),
                None => match tail.step().await? {
                    Step::Event(raw) => Event::read(raw),
                    Step::Nothing => None,
                    Step::End => return Ok(Stopped::Over),
                },
            };
            match step {
                Some(event) if event.token > *end => {
                    self.refuse_passed(&event.token);
                    *held = Some(event);
                    break;
                }
                Some(event) => {
                    self.pass(&event).await;
                    unswept += 1;
                }
                None => {
                    if let Some(token) = tail.token().cloned() {
                        self.refuse_passed(&token);
                        self.place = self.place.clone().max(token.min(end.clone()));
                    }
                    unswept = SWEEP_EVENTS;
                }
            }
            if unswept >= SWEEP_EVENTS {
                unswept = 0;
                self.sweep();
                if self.groups.is_empty() && self.unknown.is_empty() {
                    break;
                }
            }
        }
        self.place = self.place.clone().max(end.clone());
        Ok(Stopped::Reached)
    }

    /// Whether an id that is looked for is one up to this place.
    fn waits_for_one_at_most(&self, end: &ResumeToken) -> bool {
        self.unknown.last().is_some_and(|oldest| oldest.at <= *end)
    }

    /// Shows an event to all whom it concerns.
    async fn pass(&mut self, event: &Event) {
        self.refuse_passed(&event.token);
        if event.concerns(&self.namespace) {
            self.make_room(event).await;
            for group in &mut self.groups {
                let behind = group.seats.iter().filter(|seat| seat.at < event.token);
                let outboxes = behind.map(|seat| &seat.outbox);
                let logged = &mut group.logged;
                replay(&group.plan, event, outboxes, &mut self.text, logged);
            }
        }
        self.place = self.place.clone().max(event.token.clone());
        while event.database == self.namespace.database
            && let Some(found) = self.unknown.pop_if(|oldest| oldest.at == event.token)
        {
            self.seat(found);
        }
    }

    /// Waits for those who have no room. Who needs too long gets off.
    async fn make_room(&mut self, event: &Event) {
        for group in &mut self.groups {
            let mut number = 0;
            while let Some(seat) = group.seats.get_mut(number) {
                if seat.at < event.token && !has_room(event, &seat.outbox) {
                    let begun = Instant::now();
                    let emptied = tokio::time::timeout(seat.patience, seat.outbox.emptied()).await;
                    seat.patience = seat.patience.saturating_sub(begun.elapsed());
                    if emptied.is_err() {
                        alight(group.seats.swap_remove(number), &self.place, None);
                        continue;
                    }
                }
                number += 1;
            }
        }
    }

    fn seat(&mut self, passenger: Passenger) {
        let Passenger {
            plan,
            outbox,
            at,
            found,
            arrived,
            ..
        } = passenger;
        if let Some(found) = found {
            // Whoever asked may have gone away.
            drop(found.send(Ok(())));
        }
        if arrived.is_closed() {
            return;
        }
        let seat = Seat {
            outbox,
            at,
            patience: PATIENCE,
            arrived,
        };
        if self.is_beyond {
            let at = seat.at.clone();
            return alight(seat, &at, None);
        }
        let groups = &mut self.groups;
        match groups.iter_mut().find(|group| group.plan.key == plan.key) {
            Some(group) => group.seats.push(seat),
            None => groups.push(Group {
                plan,
                seats: vec![seat],
                logged: Vec::new(),
            }),
        }
    }

    /// Refuses those whose id should have come before this place: there is no such event.
    fn refuse_passed(&mut self, place: &ResumeToken) {
        while let Some(passenger) = self.unknown.pop_if(|oldest| oldest.at < *place) {
            refuse(passenger, Refused::HistoryLost);
        }
    }

    /// The next event cannot be had: ends all who stand before it, and says where to begin for the others.
    fn leave_unsent(&mut self) -> Option<Start> {
        self.end_seated(Ending::HistoryLost);
        let behind = self.place.time();
        let next = self.unknown.last().map(|oldest| oldest.at.clone());
        // Who is looked for at this very place never gets past it.
        let Some(next) = next.filter(|at| at.time() > behind) else {
            self.end_all(Ending::HistoryLost);
            return None;
        };
        let start = Start::At(next.time());
        self.place = next;
        Some(start)
    }

    /// History does not reach back to the oldest: ends all whom it does not reach, and says where to begin for the others.
    async fn leave_lost<P: Future<Output = ()>>(&mut self, pace: &impl Fn() -> P) -> Option<Start> {
        let seats = self.groups.iter().flat_map(|group| &group.seats);
        let unknown = self.unknown.iter().map(|unknown| unknown.at.time());
        let mut times: Vec<_> = seats.map(|seat| seat.at.time()).chain(unknown).collect();
        times.sort_unstable();
        times.dedup();
        // `times[..lost]` are not reached, `times[reached..]` are.
        let (mut lost, mut reached) = (1, times.len());
        while lost < reached {
            pace().await;
            let middle = usize::midpoint(lost, reached);
            match self.open(&Start::At(times[middle])).await {
                Ok(_) => reached = middle,
                Err(MongoError::HistoryLost(_)) => lost = middle + 1,
                Err(error) => {
                    self.fail(&error);
                    return None;
                }
            }
        }
        let first = times.get(reached).copied();
        let is_lost = |at: &ResumeToken| first.is_none_or(|first| at.time() < first);
        while let Some(passenger) = self.unknown.pop_if(|oldest| is_lost(&oldest.at)) {
            refuse(passenger, Refused::HistoryLost);
        }
        for group in &mut self.groups {
            for seat in group.seats.extract_if(.., |seat| is_lost(&seat.at)) {
                end(seat, Ending::HistoryLost);
            }
        }
        let seats = self.groups.iter().flat_map(|group| &group.seats);
        let unknown = self.unknown.iter().map(|unknown| &unknown.at);
        let oldest = seats.map(|seat| &seat.at).chain(unknown).min()?.clone();
        let start = Start::At(oldest.time());
        self.place = oldest;
        Some(start)
    }

    /// Lets everybody who is seated off, here.
    fn arrive(&mut self, pin: Option<Arc<Pin>>) {
        for seat in self.groups.drain(..).flat_map(|group| group.seats) {
            alight(seat, &self.place, pin.clone());
        }
    }

    fn sweep(&mut self) {
        let is_there = |outbox: &Outbox| !outbox.is_abandoned() && outbox.ended().is_none();
        for group in &mut self.groups {
            group.seats.retain(|seat| is_there(&seat.outbox));
        }
        self.groups.retain(|group| !group.seats.is_empty());
        self.unknown.retain(|unknown| is_there(&unknown.outbox));
    }

    fn fail(&mut self, error: &MongoError) {
        tracing::warn!(%error, collection = %self.namespace, "catch-up failed, the clients come again");
        self.refuse_unknown(&Refused::Unavailable(error.clone()));
        self.end_seated(Ending::OurFault);
    }

    fn refuse_unknown(&mut self, why: &Refused) {
        for passenger in self.unknown.drain(..) {
            refuse(passenger, why.clone());
        }
    }

    fn end_seated(&mut self, ending: Ending) {
        for seat in self.groups.drain(..).flat_map(|group| group.seats) {
            end(seat, ending);
        }
    }

    fn end_all(&mut self, ending: Ending) {
        self.refuse_unknown(&Refused::HistoryLost);
        self.end_seated(ending);
    }
}

/// An event that is too large to be sent is as lost as one that history has forgotten.
fn is_unsendable(error: &MongoError) -> bool {
    match error {
        MongoError::HistoryLost(_) => true,
        MongoError::Refused { code, .. } => *code == CODE_TOO_LARGE,
        _ => false,
    }
}

fn alight(seat: Seat, place: &ResumeToken, pin: Option<Arc<Pin>>) {
    let at = seat.at.max(place.clone());
    // The session may have ended meanwhile.
    drop(seat.arrived.send(Arrival::At(at, pin)));
}

fn end(seat: Seat, ending: Ending) {
    drop(seat.arrived.send(Arrival::Ended(ending)));
}

fn refuse(passenger: Passenger, why: Refused) {
    if let Some(found) = passenger.found {
        drop(found.send(Err(why)));
    }
}
