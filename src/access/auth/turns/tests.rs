//! Who waits for whom.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;

use super::*;

const WAIT: Duration = Duration::from_secs(5);

fn at(last: u8) -> IpAddr {
    Ipv4Addr::new(10, 0, 0, last).into()
}

/// Logins that wait, by what they are called here.
struct Waiting {
    turns: Arc<Turns>,
    logins: BTreeMap<String, BoxFuture<'static, Result<Turn, TooMany>>>,
}

impl Waiting {
    /// With the only turn taken.
    async fn behind(waiting_max: usize) -> (Self, Turn) {
        let turns = Turns::new(1, waiting_max);
        let taken = turns.take(at(0), "first", WAIT).await;
        let waiting = Self {
            turns,
            logins: BTreeMap::new(),
        };
        (waiting, taken.expect("nobody waits"))
    }

    /// `false` if it is told to come back at once.
    fn enter(&mut self, called: &str, address: u8, name: &'static str) -> bool {
        let turns = Arc::clone(&self.turns);
        let mut login = async move { turns.take(at(address), name, WAIT).await }.boxed();
        match (&mut login).now_or_never() {
            None => self.logins.insert(called.to_owned(), login).is_none(),
            Some(Err(TooMany)) => false,
            Some(Ok(_)) => panic!("the only turn is taken"),
        }
    }

    /// Which of them have had their turn, or lost their place, since.
    fn done(&mut self) -> Vec<(String, Result<Turn, TooMany>)> {
        let mut done = Vec::new();
        self.logins.retain(|called, login| {
            let Some(result) = login.now_or_never() else {
                return true;
            };
            done.push((called.clone(), result));
            false
        });
        done
    }

    /// In which order they have their turns.
    fn order(mut self, mut turn: Turn) -> Vec<String> {
        let mut order = Vec::new();
        loop {
            drop(turn);
            let mut done = self.done();
            assert!(done.len() <= 1, "one turn, one login");
            let Some((called, result)) = done.pop() else {
                break;
            };
            order.push(called);
            turn = result.expect("its turn");
        }
        assert!(self.logins.is_empty());
        let state = self.turns.lock();
        assert_eq!((state.free, state.waiting), (1, 0));
        assert!(state.lines.is_empty());
        assert!(state.addresses.new.is_empty() && state.addresses.served.is_empty());
        order
    }
}

#[tokio::test]
async fn addresses_take_turns_and_so_do_the_names_behind_one() {
    let (mut waiting, turn) = Waiting::behind(100).await;
    for (called, address, name) in [
        ("guess 1", 1, "ann"),
        ("guess 2", 1, "ann"),
        ("guess 3", 1, "ann"),
        ("elsewhere", 2, "ann"),
        ("beside", 1, "bob"),
    ] {
        assert!(waiting.enter(called, address, name));
    }
    let order = waiting.order(turn);
    assert_eq!(
        order,
        ["guess 1", "elsewhere", "beside", "guess 2", "guess 3"]
    );
}

#[tokio::test]
async fn who_comes_anew_waits_for_the_hash_that_is_being_computed_and_no_other() {
    let (mut waiting, turn) = Waiting::behind(100).await;
    for guess in ["guess 1", "guess 2", "guess 3"] {
        assert!(waiting.enter(guess, 1, "ann"));
    }
    drop(turn);
    let (first, turn) = waiting.done().pop().expect("its turn");
    assert_eq!(first, "guess 1");
    // While it is computed.
    assert!(waiting.enter("elsewhere", 2, "ann"));
    assert!(waiting.enter("beside", 1, "bob"));
    let order = waiting.order(turn.expect("its turn"));
    assert_eq!(order, ["elsewhere", "beside", "guess 2", "guess 3"]);
}

#[tokio::test]
async fn who_waits_behind_many_that_come_anew_has_every_other_turn() {
    let mut rotation = Rotation::default();
    rotation.enter(0);
    assert_eq!(rotation.next(), Some(0));
    rotation.again(0);
    let mut turns = 0;
    for new in 1..=10 {
        rotation.enter(new);
        let next = rotation.next();
        if next == Some(0) {
            rotation.again(0);
            turns += 1;
        }
    }
    assert_eq!(turns, 5);
}

#[tokio::test]
async fn who_leaves_gives_up_its_place_and_a_turn_that_was_on_its_way() {
    let (mut waiting, turn) = Waiting::behind(100).await;
    for (called, name) in [("1", "a"), ("2", "b"), ("3", "b")] {
        assert!(waiting.enter(called, 1, name));
    }
    waiting.logins.remove("2");
    drop(turn);
    // The first has been given the turn, and never looks.
    waiting.logins.remove("1");
    let mut done = waiting.done();
    let (called, turn) = done.pop().expect("the turn went on");
    assert_eq!(called, "3");
    assert!(waiting.order(turn.expect("its turn")).is_empty());
}

#[tokio::test(start_paused = true)]
async fn who_has_waited_for_too_long_is_told() {
    let (mut waiting, turn) = Waiting::behind(100).await;
    assert!(waiting.enter("1", 1, "a"));
    tokio::time::advance(WAIT).await;
    assert_eq!(waiting.done().pop().expect("told").1.err(), Some(TooMany));
    assert!(waiting.order(turn).is_empty());
}

#[tokio::test]
async fn a_full_queue_gives_up_the_last_place_of_who_has_most() {
    let (mut waiting, turn) = Waiting::behind(4).await;
    assert!(waiting.enter("guess 1", 1, "ann"));
    assert!(waiting.enter("guess 2", 1, "ann"));
    assert!(!waiting.enter("guess 3", 1, "ann"), "half of the queue");
    // Another name behind the same address takes the last place of the one with most.
    assert!(waiting.enter("beside", 1, "bob"));
    assert_eq!(waiting.done().len(), 1, "guess 2 lost its place");
    assert!(!waiting.enter("third", 1, "cid"), "each has one");
    assert!(waiting.enter("elsewhere 1", 2, "ann"));
    assert!(waiting.enter("elsewhere 2", 2, "ann"));
    // The whole queue is full: another address takes a place of one that has two.
    assert!(waiting.enter("far", 3, "ann"));
    let lost = waiting.done();
    assert_eq!(lost.len(), 1);
    assert!(matches!(lost[0].1, Err(TooMany)));
    assert!(waiting.enter("farther", 4, "ann"));
    assert_eq!(waiting.done().len(), 1);
    assert!(!waiting.enter("farthest", 5, "ann"), "each has one");
    assert_eq!(waiting.order(turn).len(), 4);
}
