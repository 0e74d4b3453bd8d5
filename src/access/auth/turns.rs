//! Whose hash is computed next.
//!
//! A hash takes a quarter of a second on purpose, so whoever sends more logins than can be computed makes a queue. It is fair:
//! addresses take turns, and the names behind one address do; whoever comes anew is next, every other time. A guesser of
//! passwords, however many he sends, holds up another address by the hash that is being computed, and another name
//! behind the same address (a proxy's) likewise. A full queue gives up the last place of whoever has most.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::oneshot;

use super::guard::household;

/// So many at once, and so many who wait for that.
#[derive(Debug)]
pub(super) struct Turns {
    waiting_max: usize,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// How many may begin now.
    free: usize,
    waiting: usize,
    /// Tells one who waits from all others.
    next: u64,
    /// Those with somebody who waits.
    addresses: Rotation<IpAddr>,
    lines: HashMap<IpAddr, Line>,
}

/// Who waits behind one address.
#[derive(Debug, Default)]
struct Line {
    waiting: usize,
    /// Those with somebody who waits.
    names: Rotation<String>,
    logins: HashMap<String, VecDeque<(u64, oneshot::Sender<Turn>)>>,
}

/// In which order those who wait have their turns.
#[derive(Debug)]
struct Rotation<K> {
    /// Who has had none yet.
    new: VecDeque<K>,
    /// Who has had one, the longest ago first.
    served: VecDeque<K>,
    /// One who came anew was just given the turn of one who was served before.
    is_owed: bool,
}

impl<K> Default for Rotation<K> {
    fn default() -> Self {
        Self {
            new: VecDeque::new(),
            served: VecDeque::new(),
            is_owed: false,
        }
    }
}

impl<K: PartialEq> Rotation<K> {
    fn enter(&mut self, who: K) {
        self.new.push_back(who);
    }

    /// Takes out who is next: one who came anew, but of two turns one is of those who were served before.
    fn next(&mut self) -> Option<K> {
        if self.is_owed
            && let Some(who) = self.served.pop_front()
        {
            self.is_owed = false;
            return Some(who);
        }
        let new = self.new.pop_front();
        self.is_owed = new.is_some() && !self.served.is_empty();
        new.or_else(|| self.served.pop_front())
    }

    /// Puts one back who has more.
    fn again(&mut self, who: K) {
        self.served.push_back(who);
    }

    fn leave(&mut self, who: &K) {
        self.new.retain(|other| other != who);
        self.served.retain(|other| other != who);
    }
}

/// Leave to compute one hash. It goes with the work: a client that leaves does not make room for more than there is.
#[derive(Debug)]
pub(super) struct Turn {
    /// Whom it goes back to; nobody once it was passed on.
    turns: Option<Arc<Turns>>,
}

/// There are too many before it, or it has waited for too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TooMany;

/// One who waits; dropped, it leaves the queue.
struct Waiter<'a> {
    turns: &'a Arc<Turns>,
    address: IpAddr,
    name: &'a str,
    number: u64,
    turn: oneshot::Receiver<Turn>,
}

impl Turns {
    /// `concurrent` at once, and `waiting_max` who wait, of one address half of them.
    pub(super) fn new(concurrent: usize, waiting_max: usize) -> Arc<Self> {
        Arc::new(Self {
            waiting_max,
            state: Mutex::new(State {
                free: concurrent.max(1),
                waiting: 0,
                next: 0,
                addresses: Rotation::default(),
                lines: HashMap::new(),
            }),
        })
    }

    /// Waits for a turn, at most `wait`.
    ///
    /// # Errors
    /// [`TooMany`].
    /// # Cancel safety
    /// Safe: the place in the queue is given up.
    pub(super) async fn take(
        self: &Arc<Self>,
        peer: IpAddr,
        name: &str,
        wait: Duration,
    ) -> Result<Turn, TooMany> {
        let mut waiter = {
            let mut state = self.lock();
            if state.free > 0 {
                state.free -= 1;
                return Ok(self.turn());
            }
            let address = household(peer);
            state.make_room(self.waiting_max, address, name)?;
            let (number, turn) = state.enter(address, name);
            Waiter {
                turns: self,
                address,
                name,
                number,
                turn,
            }
        };
        match tokio::time::timeout(wait, &mut waiter.turn).await {
            Ok(Ok(turn)) => Ok(turn),
            // Its place was given to somebody else, or it took too long.
            Ok(Err(_)) | Err(_) => Err(TooMany),
        }
    }

    fn turn(self: &Arc<Self>) -> Turn {
        Turn {
            turns: Some(Arc::clone(self)),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state
            .lock()
            .expect("invariant: no code panics while it holds this lock")
    }
}

impl State {
    /// Makes sure that one more may wait.
    fn make_room(&mut self, max: usize, address: IpAddr, name: &str) -> Result<(), TooMany> {
        let own = self.lines.get(&address);
        let of_address = own.map_or(0, |line| line.waiting);
        let of_name = own.map_or(0, |line| line.of(name));
        if of_address >= max.div_ceil(2) {
            return self.displace(address, of_name + 2);
        }
        if self.waiting < max {
            return Ok(());
        }
        let longest = self.lines.iter().max_by_key(|(_, line)| line.waiting);
        match longest.map(|(address, line)| (*address, line.waiting)) {
            Some((other, waiting)) if waiting > of_address + 1 => self.displace(other, 1),
            _ => Err(TooMany),
        }
    }

    /// Takes the last place of the name with most of them behind an address, if it has as many as `least`.
    fn displace(&mut self, address: IpAddr, least: usize) -> Result<(), TooMany> {
        let line = self.lines.get(&address).ok_or(TooMany)?;
        let most = line.logins.iter().max_by_key(|(_, logins)| logins.len());
        let (name, number) = most
            .filter(|(_, logins)| logins.len() >= least)
            .and_then(|(name, logins)| Some((name.clone(), logins.back()?.0)))
            .ok_or(TooMany)?;
        self.leave(address, &name, number);
        Ok(())
    }

    fn enter(&mut self, address: IpAddr, name: &str) -> (u64, oneshot::Receiver<Turn>) {
        let (sender, turn) = oneshot::channel();
        let number = self.next;
        self.next += 1;
        self.waiting += 1;
        let line = self.lines.entry(address).or_default();
        if line.waiting == 0 {
            self.addresses.enter(address);
        }
        line.waiting += 1;
        let logins = line.logins.entry(name.to_owned()).or_default();
        if logins.is_empty() {
            line.names.enter(name.to_owned());
        }
        logins.push_back((number, sender));
        (number, turn)
    }

    /// Takes out who is next.
    fn next(&mut self) -> Option<oneshot::Sender<Turn>> {
        let address = self.addresses.next()?;
        let line = self.lines.get_mut(&address)?;
        let name = line.names.next()?;
        let logins = line.logins.get_mut(&name)?;
        let (_, sender) = logins.pop_front()?;
        self.waiting -= 1;
        line.waiting -= 1;
        if logins.is_empty() {
            line.logins.remove(&name);
        } else {
            line.names.again(name);
        }
        if line.waiting == 0 {
            self.lines.remove(&address);
        } else {
            self.addresses.again(address);
        }
        Some(sender)
    }

    /// Takes one out who waits no more, if it is still there.
    fn leave(&mut self, address: IpAddr, name: &str, number: u64) {
        let Some(line) = self.lines.get_mut(&address) else {
            return;
        };
        let Some(logins) = line.logins.get_mut(name) else {
            return;
        };
        let before = logins.len();
        logins.retain(|(other, _)| *other != number);
        let left = before - logins.len();
        self.waiting -= left;
        line.waiting -= left;
        if logins.is_empty() {
            line.logins.remove(name);
            line.names.leave(&name.to_owned());
        }
        if line.waiting == 0 {
            self.lines.remove(&address);
            self.addresses.leave(&address);
        }
    }
}

impl Line {
    fn of(&self, name: &str) -> usize {
        self.logins.get(name).map_or(0, VecDeque::len)
    }
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        let mut state = self.turns.lock();
        state.leave(self.address, self.name, self.number);
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let Some(turns) = self.turns.take() else {
            return;
        };
        loop {
            let sender = {
                let mut state = turns.lock();
                let Some(sender) = state.next() else {
                    state.free += 1;
                    return;
                };
                sender
            };
            match sender.send(turns.turn()) {
                Ok(()) => return,
                // It left just now: the turn is the next one's.
                Err(mut turn) => turn.turns = None,
            }
        }
    }
}

#[cfg(test)]
mod tests;
