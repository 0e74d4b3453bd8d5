//! The sessions that are open, with what each rests on.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bson::Timestamp;
use tokio::time::Instant;

use crate::access::Grant;
use crate::delivery::{Ending, Outbox};
use crate::mongo::Namespace;
use crate::streams::Definition;

/// One open session.
#[derive(Debug)]
pub struct LiveSession {
    /// The collection it watches.
    pub namespace: Namespace,
    /// The definition it was admitted with.
    pub definition: Arc<Definition>,
    /// As of when that definition was known: a change at or before it is already in it.
    pub definition_as_of: Timestamp,
    /// What access decided.
    pub grant: Grant,
    /// How it is ended.
    pub outbox: Outbox,
}

/// All open sessions.
#[derive(Debug, Default)]
pub struct LiveSessions {
    sessions: Mutex<HashMap<u64, Arc<LiveSession>>>,
    next: AtomicU64,
}

/// Keeps a session in the table while it lives.
#[derive(Debug)]
pub struct Registered {
    table: Arc<LiveSessions>,
    id: u64,
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.table.lock().remove(&self.id);
    }
}

impl LiveSessions {
    /// Enters a session. Whatever changes from now on is told to it.
    pub fn register(self: &Arc<Self>, session: Arc<LiveSession>) -> Registered {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        self.lock().insert(id, session);
        Registered {
            table: Arc::clone(self),
            id,
        }
    }

    /// Ends every session for which `judge` gives a reason.
    pub fn end_where(&self, judge: impl Fn(&LiveSession) -> Option<Ending>) {
        // Judged outside the lock: a judge may take its time, and a session that comes now is judged at its admission.
        for session in self.all() {
            if let Some(ending) = judge(&session) {
                session.outbox.end(ending);
            }
        }
    }

    /// Ends every session that is open now, one after the other and evenly over this time, or less for few: they all come
    /// back, and whoever lets them in should not have them all at once.
    pub async fn end_all(&self, ending: Ending, spread: Duration) {
        // A table has no order, so who came together does not go together.
        let sessions = self.all();
        let begun = Instant::now();
        let moments = moments(sessions.len(), spread);
        for (session, moment) in sessions.into_iter().zip(moments) {
            tokio::time::sleep_until(begun + moment).await;
            session.outbox.end(ending);
        }
    }

    /// The open sessions.
    pub fn all(&self) -> Vec<Arc<LiveSession>> {
        self.lock().values().cloned().collect()
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.lock().len()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<u64, Arc<LiveSession>>> {
        self.sessions
            .lock()
            .expect("invariant: no code panics while it holds this lock")
    }
}

/// When each of so many is told, from now.
fn moments(count: usize, spread: Duration) -> impl Iterator<Item = Duration> {
    let count = u32::try_from(count).unwrap_or(u32::MAX);
    let spread = spread.min(TELL_INTERVAL_MAX.saturating_mul(count));
    (0..count).map(move |index| spread.mul_f64(f64::from(index) / f64::from(count)))
}

/// Two hundred in a second are no crowd.
const TELL_INTERVAL_MAX: Duration = Duration::from_millis(5);

#[cfg(test)]
mod tests;
