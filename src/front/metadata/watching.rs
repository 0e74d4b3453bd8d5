//! Whether what sessions rest on is watched: permissions and users may lie in another database than the data.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use crate::mongo::Namespace;
use crate::mongo::feed::Scope;

/// The collections that grants rest on, and since when the feed that watches each has been away.
#[derive(Debug)]
pub(super) struct Watching {
    /// How long events go on while a watch is away.
    grace: Duration,
    watches: watch::Sender<Vec<Watch>>,
}

#[derive(Clone, Debug)]
struct Watch {
    database: std::sync::Arc<str>,
    away_since: Option<Instant>,
}

impl Watching {
    /// Watches these; each is away until it is said to be live.
    pub(super) fn new(namespaces: impl Iterator<Item = Namespace>, grace: Duration) -> Self {
        let now = Instant::now();
        let watches = namespaces.map(|namespace| Watch {
            database: namespace.database,
            away_since: Some(now),
        });
        Self {
            grace,
            watches: watch::Sender::new(watches.collect()),
        }
    }

    /// A feed has told all that happened up to the present, or lost MongoDB.
    pub(super) fn set(&self, scope: &Scope, live: bool) {
        self.watches.send_if_modified(|watches| {
            let mut changed = false;
            for watch in watches
                .iter_mut()
                .filter(|watch| scope.spans(&watch.database))
            {
                changed |= watch.away_since.is_none() != live;
                watch.away_since = match live {
                    true => None,
                    false => watch.away_since.or_else(|| Some(Instant::now())),
                };
            }
            changed
        });
    }

    /// Whether events of `scope` may go on. What its own feed carries is in order with them.
    pub(super) fn lets_pass(&self, scope: &Scope) -> bool {
        all_watched(&self.watches.borrow(), scope, self.grace)
    }

    /// Waits until events of `scope` may go on.
    pub(super) async fn wait(&self, scope: &Scope) {
        let mut watches = self.watches.subscribe();
        let passed = watches.wait_for(|watches| all_watched(watches, scope, Duration::ZERO));
        // The sender is ours: it is not dropped meanwhile.
        let _ = passed.await;
    }
}

fn all_watched(watches: &[Watch], scope: &Scope, grace: Duration) -> bool {
    watches.iter().all(|watch| {
        scope.spans(&watch.database) || watch.away_since.is_none_or(|since| since.elapsed() < grace)
    })
}

#[cfg(test)]
mod tests;
