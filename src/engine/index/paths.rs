//! The paths that an index reads in each event, and what it reads there.

use std::collections::HashMap;

use bson::RawDocument;

use crate::query::{Path, Reading, Wanted};

/// The number of a path, as long as somebody uses it.
pub(super) type PathId = u32;

/// The paths in use.
#[derive(Debug, Default)]
pub(super) struct Paths {
    numbers: HashMap<Path, PathId>,
    all: Vec<Use>,
    free: Vec<PathId>,
    /// Counts events: a reading of another event is read anew.
    event: u64,
}

#[derive(Debug)]
struct Use {
    path: Path,
    users: usize,
    /// How many ask for a key that begins with each byte, and for ranges in each bracket.
    keys: [u32; TAGS],
    extremes: [u32; TAGS],
    wanted: Wanted,
    reading: Reading,
    read_at: u64,
}

impl Paths {
    /// Returns the path's number, for one more user.
    pub(super) fn enter(&mut self, path: &Path) -> PathId {
        let id = match self.numbers.get(path) {
            Some(id) => *id,
            None => self.add(path),
        };
        self.all[id as usize].users += 1;
        id
    }

    fn add(&mut self, path: &Path) -> PathId {
        let fresh = Use {
            path: path.clone(),
            users: 0,
            keys: [0; TAGS],
            extremes: [0; TAGS],
            wanted: Wanted::default(),
            reading: Reading::default(),
            read_at: 0,
        };
        let id = match self.free.pop() {
            Some(id) => {
                self.all[id as usize] = fresh;
                id
            }
            None => {
                self.all.push(fresh);
                PathId::try_from(self.all.len() - 1)
                    .expect("invariant: there is no room for 2^32 paths")
            }
        };
        self.numbers.insert(path.clone(), id);
        id
    }

    /// Takes one user away.
    pub(super) fn leave(&mut self, id: PathId) {
        let path = &mut self.all[id as usize];
        path.users -= 1;
        if path.users == 0 {
            path.reading = Reading::default();
            self.numbers.remove(&path.path);
            self.free.push(id);
        }
    }

    pub(super) fn want_key(&mut self, id: PathId, key: &[u8]) {
        self.all[id as usize].change(|path| path.keys[tag(key)] += 1);
    }

    pub(super) fn forgo_key(&mut self, id: PathId, key: &[u8]) {
        self.all[id as usize].change(|path| path.keys[tag(key)] -= 1);
    }

    pub(super) fn want_extremes(&mut self, id: PathId, bracket: u8) {
        self.all[id as usize].change(|path| path.extremes[usize::from(bracket)] += 1);
    }

    pub(super) fn forgo_extremes(&mut self, id: PathId, bracket: u8) {
        self.all[id as usize].change(|path| path.extremes[usize::from(bracket)] -= 1);
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.numbers.is_empty()
    }

    /// Goes to the next event.
    pub(super) fn next_event(&mut self) {
        self.event += 1;
    }

    /// Returns what is at the path in the event.
    pub(super) fn read(&mut self, id: PathId, event: &RawDocument) -> &Reading {
        let path = &mut self.all[id as usize];
        if path.read_at != self.event {
            path.reading.read(&path.path, event, path.wanted);
            path.read_at = self.event;
        }
        &path.reading
    }
}

impl Use {
    fn change(&mut self, change: impl Fn(&mut Self)) {
        change(self);
        self.wanted = Wanted::default();
        for tag in 0..TAGS as u8 {
            if self.keys[usize::from(tag)] > 0 {
                self.wanted.want_keys(tag);
            }
            if self.extremes[usize::from(tag)] > 0 {
                self.wanted.want_extremes(tag);
            }
        }
    }
}

fn tag(key: &[u8]) -> usize {
    key.first().map_or(0, |tag| usize::from(*tag))
}

/// There are fewer brackets of types.
const TAGS: usize = 32;
