//! The sessions that are open, with what each rests on.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use bson::Timestamp;

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

    /// Ends every session.
    pub fn end_all(&self, ending: Ending) {
        self.end_where(|_| Some(ending));
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
