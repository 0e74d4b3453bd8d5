//! Joins, batches, departures, readers that are slow, gaps and faults in a random order: each member's frames are the matching
//! events after its floor, each once and in order; or it has ended, with what came before and a reason that there was.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::*;

const SCHEDULES: u64 = 2_000;
const STEPS: usize = 60;

/// A member, and what it must have got.
struct Expecting {
    session: Session,
    third: Option<i32>,
    floor: u32,
    got: Vec<u32>,
    expected: Vec<u32>,
    /// Why it must have ended, if it must.
    over: Option<Ending>,
    /// Its outbox is so small that it may have ended as too slow.
    is_small: bool,
}

impl Expecting {
    fn new(session: Session, third: Option<i32>, floor: u32, is_small: bool) -> Self {
        Self {
            session,
            third,
            floor,
            got: Vec::new(),
            expected: Vec::new(),
            over: None,
            is_small,
        }
    }

    fn expect(&mut self, second: u32) {
        let matches = self.third.is_none_or(|third| second % 3 == third as u32);
        if second > self.floor && matches && self.over.is_none() {
            self.expected.push(second);
        }
    }

    fn read(&mut self) {
        self.got.append(&mut self.session.seconds());
    }

    #[track_caller]
    fn check(&mut self, seed: u64) {
        self.read();
        let ended = self.session.outlet.ended();
        let may_be_slow = self.is_small && ended == Some(Ending::Slow);
        if may_be_slow || ended == Some(Ending::OurFault) {
            // What waited was dropped; but nothing was left out before that.
            let begins = self.expected.starts_with(&self.got);
            assert!(
                begins,
                "SIDESTREAM_HUB_SEED={seed}: {:?} {:?}",
                self.got, self.expected
            );
        } else {
            assert_eq!(self.got, self.expected, "SIDESTREAM_HUB_SEED={seed}");
        }
        if !may_be_slow {
            assert_eq!(ended, self.over, "SIDESTREAM_HUB_SEED={seed}");
        }
    }
}

/// The feed's side: `ready` is in the ring but not yet handed on.
struct Schedule {
    random: StdRng,
    hub: Hub,
    ring: Arc<Ring>,
    second: u32,
    ready: Vec<Arc<Event>>,
    members: Vec<Expecting>,
    rejoined: usize,
    ended: usize,
}

impl Schedule {
    fn new(seed: u64) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let ring = Arc::new(Ring::new(event(1).bytes() * random.random_range(1..12)));
        ring.restart(place(0));
        Self {
            random,
            hub: Hub::new(Tasks::new()),
            ring,
            second: 0,
            ready: Vec::new(),
            members: Vec::new(),
            rejoined: 0,
            ended: 0,
        }
    }

    fn happen(&mut self) {
        for _ in 0..self.random.random_range(1..4) {
            self.second += self.random.random_range(1..3);
            self.ring.push(event(self.second));
            self.ready.push(event(self.second));
        }
    }

    async fn hand_on(&mut self) {
        for event in &self.ready {
            let second = event.time().time;
            self.members
                .iter_mut()
                .for_each(|member| member.expect(second));
        }
        self.hub.deliver(std::mem::take(&mut self.ready)).await;
    }

    fn choose(&mut self) -> (Option<i32>, Plan) {
        let third = self
            .random
            .random_bool(0.7)
            .then(|| self.random.random_range(0..3));
        let filter = third.map(|third| doc! { "fullDocument.third": third });
        (third, plan(filter))
    }

    async fn join(&mut self) {
        let (third, plan) = self.choose();
        let floor = (self.second + 2).saturating_sub(self.random.random_range(0..6));
        let is_small = self.random.random_bool(0.3);
        let bytes = match is_small {
            true => self.random.random_range(1..3_000),
            false => OUTBOX_BYTES,
        };
        let session = join_within(&self.hub, plan, floor, bytes).await;
        self.members
            .push(Expecting::new(session, third, floor, is_small));
    }

    async fn rejoin(&mut self, seed: u64) {
        let (third, plan) = self.choose();
        let after = self.second.saturating_sub(self.random.random_range(0..20));
        let missed = self.ring.since(&place(after), &namespace());
        let session = rejoin(&self.hub, plan, &self.ring, place(after)).await;
        let Some(missed) = missed else {
            assert!(session.is_none(), "SIDESTREAM_HUB_SEED={seed}");
            return;
        };
        let session = session.expect("the ring reaches back");
        let mut member = Expecting::new(session, third, after, false);
        let mut through = after;
        for event in missed {
            through = event.time().time;
            member.expect(through);
        }
        member.floor = through;
        self.rejoined += 1;
        self.members.push(member);
    }

    /// Some read what is there, so that even small outboxes are not always full.
    async fn read(&mut self) {
        settled(&self.hub).await;
        for member in &mut self.members {
            if self.random.random_bool(0.7) {
                member.read();
            }
        }
    }

    /// All of them end, behind what was handed on.
    async fn end_all(&mut self) {
        self.hand_on().await;
        let scope = Scope::Database("d".into());
        let ending = match self.random.random_range(0..3) {
            0 => {
                // As the feed does it: nobody who comes now may find the old ring.
                self.second += 1;
                self.ring.restart(place(self.second));
                self.hub.gap(Lost::Everything(scope)).await;
                Ending::HistoryLost
            }
            1 => {
                self.hub.away(&scope).await;
                Ending::FeedAway
            }
            _ => {
                self.hub.broken(&scope);
                idle().await;
                Ending::OurFault
            }
        };
        for member in &mut self.members {
            member.over.get_or_insert(ending);
        }
        self.ended += self.members.len();
    }

    async fn leave(&mut self, seed: u64) {
        if self.members.is_empty() {
            return;
        }
        settled(&self.hub).await;
        let leaving = self.random.random_range(0..self.members.len());
        self.members.swap_remove(leaving).check(seed);
        if self.random.random_bool(0.3) {
            // Long enough for a sweep, and for the worker to retire if that was the last.
            idle().await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn every_schedule_gives_each_member_its_events_once_in_order() {
    let given = std::env::var("SIDESTREAM_HUB_SEED").ok();
    let first: u64 = given.map_or_else(rand::random, |seed| seed.parse().expect("a number"));
    let (mut events, mut rejoined, mut ended) = (0, 0, 0);
    for seed in (0..SCHEDULES).map(|n| first.wrapping_add(n)) {
        let mut schedule = Schedule::new(seed);
        for _ in 0..STEPS {
            match schedule.random.random_range(0..100) {
                0..=29 => schedule.happen(),
                30..=47 => schedule.hand_on().await,
                48..=62 => schedule.join().await,
                63..=74 => schedule.rejoin(seed).await,
                75..=84 => schedule.read().await,
                85..=86 => schedule.end_all().await,
                _ => schedule.leave(seed).await,
            }
        }
        schedule.hand_on().await;
        settled(&schedule.hub).await;
        rejoined += schedule.rejoined;
        ended += schedule.ended;
        for mut member in schedule.members {
            member.check(seed);
            events += member.got.len();
        }
    }
    assert!(events > 1_000, "the schedules deliver something: {events}");
    assert!(rejoined > 100, "some come back: {rejoined}");
    assert!(ended > 100, "some are ended: {ended}");
}
