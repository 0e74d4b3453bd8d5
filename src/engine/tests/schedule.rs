//! Joins, batches and departures in a random order: each member's frames are the matching events after its floor.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::*;

const SCHEDULES: u64 = 300;
const STEPS: usize = 60;

/// A member, and what it must have got.
struct Expecting {
    session: Session,
    third: Option<i32>,
    floor: u32,
    got: Vec<u32>,
    expected: Vec<u32>,
}

impl Expecting {
    fn expect(&mut self, second: u32) {
        let matches = self.third.is_none_or(|third| second % 3 == third as u32);
        if second > self.floor && matches {
            self.expected.push(second);
        }
    }

    #[track_caller]
    fn check(&mut self, seed: u64) {
        self.got.append(&mut self.session.seconds());
        assert_eq!(self.got, self.expected, "SIDESTREAM_HUB_SEED={seed}");
        assert_eq!(
            self.session.outlet.ended(),
            None,
            "SIDESTREAM_HUB_SEED={seed}"
        );
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
        let session = join(&self.hub, plan, floor).await;
        self.members.push(Expecting {
            session,
            third,
            floor,
            got: Vec::new(),
            expected: Vec::new(),
        });
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
        let mut member = Expecting {
            session: session.expect("the ring reaches back"),
            third,
            floor: after,
            got: Vec::new(),
            expected: Vec::new(),
        };
        let mut through = after;
        for event in missed {
            through = event.time().time;
            member.expect(through);
        }
        member.floor = through;
        self.rejoined += 1;
        self.members.push(member);
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
    let (mut events, mut rejoined) = (0, 0);
    for seed in (0..SCHEDULES).map(|n| first.wrapping_add(n)) {
        let mut schedule = Schedule::new(seed);
        for _ in 0..STEPS {
            match schedule.random.random_range(0..10) {
                0..=2 => schedule.happen(),
                3..=4 => schedule.hand_on().await,
                5..=6 => schedule.join().await,
                7 => schedule.rejoin(seed).await,
                _ => schedule.leave(seed).await,
            }
        }
        schedule.hand_on().await;
        settled(&schedule.hub).await;
        rejoined += schedule.rejoined;
        for mut member in schedule.members {
            member.check(seed);
            events += member.got.len();
        }
    }
    assert!(events > 1_000, "the schedules deliver something: {events}");
    assert!(rejoined > 100, "some come back: {rejoined}");
}
