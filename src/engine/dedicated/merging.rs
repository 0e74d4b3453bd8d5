//! How a cursor that was opened for those who came back gives them to the cursor that all of its pipeline share.
//!
//! Both read the same events in the same order, so what counts is where they stand: the other one may take them if it has handed
//! out nothing behind the place up to which they have been given everything. As a rule it has not, once both are in the present; if
//! it was ahead just then, another time comes. Where nobody else reads this pipeline, the cursor becomes the shared one itself.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::cursor::{Cursor, Work};
use super::pool::Beside;
use crate::engine::fanout::Group;
use crate::engine::plan::PlanKey;
use crate::mongo::ResumeToken;
use crate::mongo::feed::Start;

/// A cursor's members.
pub(super) type Groups = HashMap<PlanKey, Group>;

/// Sessions on their way into another cursor.
pub(super) struct Merging {
    /// Whoever takes them out first has them: the other cursor, or the one that tired of waiting for it.
    groups: Arc<Mutex<Option<Groups>>>,
    /// They have been given everything up to here.
    pub(super) through: ResumeToken,
    /// Dropped when the other cursor has decided.
    _deciding: oneshot::Sender<()>,
}

impl Merging {
    /// Puts them where they go on.
    pub(super) fn go_to(self, groups: &mut Groups) {
        let Some(taken) = take(&self.groups) else {
            return;
        };
        for (key, group) in taken {
            let plan = group.plan.clone();
            let into = groups.entry(key).or_insert_with(|| Group::new(plan));
            into.absorb(group, &self.through);
        }
    }
}

impl Cursor {
    /// If it is in the present, gives its members to the cursor that all share, or becomes that one. Returns whether it has given
    /// them away.
    pub(super) async fn merge(&mut self) -> bool {
        if !self.in_pool.is_own() || Instant::now() < self.merge_at || !self.is_in_the_present() {
            return false;
        }
        self.merge_at = Instant::now() + PAUSE;
        let (Start::After(through), Beside::Shared(other)) = (&self.place, self.in_pool.beside())
        else {
            return false;
        };
        let groups = Arc::new(Mutex::new(Some(std::mem::take(&mut self.groups))));
        let (deciding, decided) = oneshot::channel();
        let merging = Merging {
            groups: Arc::clone(&groups),
            through: through.clone(),
            _deciding: deciding,
        };
        if other.try_send(Work::Merge(merging)).is_ok() {
            // In either way it is decided, or it has to be at once: nothing may be handed out meanwhile.
            drop(tokio::time::timeout(DECISION_MAX, decided).await);
        }
        match take(&groups) {
            Some(back) => {
                self.groups = back;
                false
            }
            None => true,
        }
    }

    /// Whether it has come to where the feed is, about.
    fn is_in_the_present(&self) -> bool {
        let here = match &self.place {
            Start::At(time) => time.time,
            Start::After(token) => token.time().time,
        };
        let position = self.position.borrow();
        let there = position.as_ref().map(|position| position.time().time);
        there.is_some_and(|there| here.saturating_add(NEAR_SECONDS) >= there)
    }
}

fn take(groups: &Mutex<Option<Groups>>) -> Option<Groups> {
    let mut groups = groups.lock().unwrap_or_else(PoisonError::into_inner);
    groups.take()
}

/// Between two attempts.
const PAUSE: Duration = Duration::from_millis(100);
/// How long members get nothing because the other cursor does not answer.
const DECISION_MAX: Duration = Duration::from_millis(100);
const NEAR_SECONDS: u32 = 1;
