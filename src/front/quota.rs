//! How many of something each of many may have at a time.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard};

/// What each holder has, and may have.
#[derive(Debug)]
pub struct Quota<Holder: Eq + Hash> {
    each_max: usize,
    /// Only who has any is in it.
    taken: Mutex<HashMap<Holder, usize>>,
}

/// One that a holder has, given back when it is dropped.
#[derive(Debug)]
pub struct Share<Holder: Eq + Hash> {
    quota: Arc<Quota<Holder>>,
    holder: Holder,
}

impl<Holder: Eq + Hash + Clone> Quota<Holder> {
    /// Lets each holder have so many.
    pub fn new(each_max: usize) -> Arc<Self> {
        Arc::new(Self {
            each_max,
            taken: Mutex::default(),
        })
    }

    /// Takes one for this holder; `None` if he has as many as he may.
    pub fn take(self: &Arc<Self>, holder: &Holder) -> Option<Share<Holder>> {
        let mut taken = self.lock();
        let count = taken.get(holder).copied().unwrap_or(0);
        if count >= self.each_max {
            return None;
        }
        taken.insert(holder.clone(), count + 1);
        Some(Share {
            quota: Arc::clone(self),
            holder: holder.clone(),
        })
    }
}

impl<Holder: Eq + Hash> Quota<Holder> {
    /// How many each may have.
    pub fn each_max(&self) -> usize {
        self.each_max
    }

    /// How many he has who has most.
    pub fn most_taken(&self) -> usize {
        self.lock().values().copied().max().unwrap_or(0)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Holder, usize>> {
        self.taken
            .lock()
            .expect("invariant: no code panics while it holds this lock")
    }
}

impl<Holder: Eq + Hash> Drop for Share<Holder> {
    fn drop(&mut self) {
        let mut taken = self.quota.lock();
        match taken.get_mut(&self.holder) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(taken.remove(&self.holder)),
        }
    }
}

#[cfg(test)]
mod tests;
