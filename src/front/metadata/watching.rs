//! Whether what sessions rest on is watched: permissions and users may lie in another database than the data, and be
//! brought by another feed than that.
//!
//! Each feed that brings them says when it has told all that had happened ([`Watching::heard`]). Where that was too long
//! ago, who wants to hand data on reads them from MongoDB itself: a read depends on no feed, so no two feeds can wait for
//! each other.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::Instant;

use super::Metadata;
use crate::access::Mechanism;
use crate::delivery::Ending;
use crate::front::live::LiveSession;
use crate::mongo::feed::Scope;
use crate::mongo::{MongoError, Namespace};

/// How long what a feed told counts as the present: an idle one tells once a second.
const HEARD_FOR: Duration = Duration::from_secs(2);
/// How long what was read counts as the present.
const READ_FOR: Duration = Duration::from_secs(1);
/// How long a reading may take. The next one begins anew.
const READING_MAX: Duration = Duration::from_secs(5);

/// The databases that grants rest on, and until when what is known of each counts as the present.
#[derive(Debug)]
pub(super) struct Watching {
    /// How much longer events go on.
    grace: Duration,
    watches: Mutex<Vec<Watch>>,
    /// One reading for all who wait for it.
    reading: tokio::sync::Mutex<()>,
}

#[derive(Debug)]
struct Watch {
    database: Arc<str>,
    present_until: Instant,
}

impl Watching {
    /// Nothing is known yet of the databases of these.
    pub(super) fn new(namespaces: impl Iterator<Item = Namespace>, grace: Duration) -> Self {
        let databases: BTreeSet<_> = namespaces.map(|namespace| namespace.database).collect();
        let now = Instant::now();
        let watches = databases.into_iter().map(|database| Watch {
            database,
            present_until: now,
        });
        Self {
            grace,
            watches: Mutex::new(watches.collect()),
            reading: tokio::sync::Mutex::default(),
        }
    }

    /// Whether this feed brings what sessions of others rest on.
    pub(super) fn is_awaited(&self, scope: &Scope) -> bool {
        self.lock().iter().any(|watch| scope.spans(&watch.database))
    }

    /// A feed has told all that had happened.
    pub(super) fn heard(&self, scope: &Scope) {
        self.know(scope, Instant::now() + HEARD_FOR);
    }

    /// Which databases of others, that events of `scope` rest on, it is too long ago that was heard of.
    fn unheard(&self, scope: &Scope) -> Vec<Arc<str>> {
        let watches = self.lock();
        // Its own are in order with the events.
        let others = watches.iter().filter(|watch| !scope.spans(&watch.database));
        let unheard = others.filter(|watch| watch.present_until.elapsed() > self.grace);
        unheard.map(|watch| Arc::clone(&watch.database)).collect()
    }

    fn know(&self, scope: &Scope, until: Instant) {
        let mut watches = self.lock();
        for watch in watches.iter_mut() {
            if scope.spans(&watch.database) {
                watch.present_until = watch.present_until.max(until);
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Watch>> {
        self.watches
            .lock()
            .expect("invariant: no code panics while it holds this lock")
    }
}

impl Metadata {
    /// Whether events of `scope` may go on without a look into MongoDB.
    pub(super) fn is_present(&self, scope: &Scope) -> bool {
        self.watching.unheard(scope).is_empty()
    }

    /// Reads what sessions of `scope` rest on, as far as it was not heard of lately, and judges them anew by that.
    ///
    /// # Errors
    /// As [`MongoError`].
    pub(super) async fn make_present(&self, scope: &Scope) -> Result<(), MongoError> {
        let _one_at_a_time = self.watching.reading.lock().await;
        for database in self.watching.unheard(scope) {
            let database = Scope::Database(database);
            let begun_at = Instant::now();
            metrics::counter!("sidestream_unwatched_readings_total").increment(1);
            let reading = self.judge_by_stored(&database);
            let read = tokio::time::timeout(READING_MAX, reading).await;
            read.map_err(|_| MongoError::NoAnswer)??;
            self.watching.know(&database, begun_at + READ_FOR);
        }
        Ok(())
    }

    /// Reads the permissions and users that lie in `scope`, and ends what rests on others than those.
    ///
    /// # Errors
    /// As [`MongoError`].
    pub(super) async fn judge_by_stored(&self, scope: &Scope) -> Result<(), MongoError> {
        let permissions = self.permissions.as_ref();
        if let Some(mirror) = permissions.filter(|mirror| scope.spans(&mirror.namespace().database))
        {
            mirror.load().await?;
            self.permit_if_changed(mirror);
            self.recheck_unless_judged();
        }
        let users = self.users.as_ref();
        if let Some(users) = users.filter(|users| scope.spans(&users.namespace().database)) {
            // Before the sessions are listed: who is admitted from here on reads the user after that.
            users.forget_all();
            let sessions = self.live.all();
            let named = |session: &Arc<LiveSession>| {
                let principal = session.grant.principal.as_ref()?;
                (principal.mechanism == Mechanism::Basic).then(|| principal.name.clone())
            };
            let names: BTreeSet<String> = sessions.iter().filter_map(named).collect();
            let records = users.read_all(&names).await?;
            for session in sessions {
                if let Some(ending) = self.judge_user(&session, |name| records.get(name)) {
                    session.outbox.end(ending);
                }
            }
        }
        Ok(())
    }

    /// What a session has to hear, if these are the users.
    fn judge_user<'a>(
        &self,
        session: &LiveSession,
        record: impl FnOnce(&str) -> Option<&'a bson::Document>,
    ) -> Option<Ending> {
        let principal = session.grant.principal.as_ref()?;
        let record = record(&principal.name);
        let ending = self
            .access
            .recheck_user(&session.grant, &principal.name, record)?;
        Some(match principal.mechanism {
            Mechanism::Basic => ending,
            // No record was read when the token was taken, so it is not known whether it changed.
            _ => Ending::PermissionChanged,
        })
    }
}

#[cfg(test)]
mod tests;
