//! Clients that come back to a pipeline that MongoDB evaluates.
//!
//! Each waits for his turn, one after the other for each pipeline. Whose turn comes takes along all who wait: whom a cursor that
//! is there can serve joins that one, and the others get one together. So a thousand that come back at once cost a few cursors.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::cursor::{Joining, Work};
use super::pool::Pool;
use crate::delivery::Outbox;
use crate::engine::plan::PipelineKey;
use crate::engine::{From, Plan, Refused};
use crate::mongo::ResumeToken;
use crate::mongo::feed::{Feed, Start};

/// How long cursors that are there may take to say whom they can serve.
const ANSWER_MAX: Duration = Duration::from_millis(500);
/// How long the one that was opened for them may take.
const TAKING_MAX: Duration = Duration::from_secs(10);
/// Clients that get one cursor together. As many as are asked about at once.
const TAKEN_MAX: usize = 500;

/// Where they wait, by pipeline.
#[derive(Debug, Default)]
pub(super) struct Rooms(Mutex<HashMap<PipelineKey, Arc<Room>>>);

/// Where those of one pipeline wait: not more than there are sessions.
#[derive(Debug, Default)]
struct Room {
    waiting: Mutex<Vec<Returning>>,
    /// Held by whose turn it is.
    turn: tokio::sync::Mutex<()>,
}

/// A client that waits.
#[derive(Debug)]
struct Returning {
    plan: Plan,
    from: From,
    /// It has everything up to here.
    at: ResumeToken,
    outbox: Outbox,
    /// Dropped without a word if whoever took it along went away.
    done: oneshot::Sender<Result<(), Refused>>,
}

/// Somebody in a room. The last to leave removes it.
struct Guest<'a> {
    rooms: &'a Rooms,
    pipeline: &'a PipelineKey,
    room: Arc<Room>,
}

impl Rooms {
    fn enter<'a>(&'a self, pipeline: &'a PipelineKey) -> Guest<'a> {
        let room = Arc::clone(self.all().entry(pipeline.clone()).or_default());
        Guest {
            rooms: self,
            pipeline,
            room,
        }
    }

    fn all(&self) -> MutexGuard<'_, HashMap<PipelineKey, Arc<Room>>> {
        self.0.lock().expect(NEVER_POISONED)
    }
}

impl Drop for Guest<'_> {
    fn drop(&mut self) {
        let mut all = self.rooms.all();
        // The map's handle and this one.
        if Arc::strong_count(&self.room) <= 2 {
            all.remove(self.pipeline);
        }
    }
}

impl Room {
    fn waiting(&self) -> MutexGuard<'_, Vec<Returning>> {
        self.waiting.lock().expect(NEVER_POISONED)
    }

    /// Takes those who wait, the longest first.
    fn take(&self) -> Vec<Returning> {
        let mut waiting = self.waiting();
        waiting.retain(|returning| !returning.done.is_closed());
        let count = waiting.len().min(TAKEN_MAX);
        waiting.drain(..count).collect()
    }
}

impl Returning {
    fn joining(&self, taken: oneshot::Sender<()>) -> Work {
        Work::Join(Box::new(Joining {
            plan: self.plan.clone(),
            from: self.from.clone(),
            outbox: self.outbox.clone(),
            taken: Some(taken),
        }))
    }

    fn tell(self, what: Result<(), Refused>) {
        // It may have gone away.
        drop(self.done.send(what));
    }
}

impl Pool {
    /// Has a client join a cursor that serves it from its id on.
    ///
    /// # Cancel safety
    /// Safe: whom it took along take their turn again.
    pub(super) async fn come_back(
        &self,
        feed: &Arc<Feed>,
        plan: &Plan,
        from: &From,
        outbox: &Outbox,
    ) -> Result<(), Refused> {
        let Some(at) = from.resume.clone() else {
            return Err(Refused::HistoryLost);
        };
        let guest = self.rooms.enter(&plan.key.pipeline);
        loop {
            let (done, mut answer) = oneshot::channel();
            guest.room.waiting().push(Returning {
                plan: plan.clone(),
                from: from.clone(),
                at: at.clone(),
                outbox: outbox.clone(),
                done,
            });
            let answer = tokio::select! {
                biased;
                answer = &mut answer => answer,
                _turn = guest.room.turn.lock() => {
                    self.bring(feed, guest.room.take()).await;
                    answer.await
                }
            };
            if let Ok(answer) = answer {
                return answer;
            }
        }
    }

    /// Finds a cursor for each of them, or opens one for them all.
    async fn bring(&self, feed: &Arc<Feed>, mut all: Vec<Returning>) {
        let Some(first) = all.first() else { return };
        let until = Instant::now() + ANSWER_MAX;
        for cursor in self.cursors.of(&first.plan.key.pipeline) {
            all = ask(&cursor, all, until).await;
        }
        all.sort_by(|one, other| other.at.cmp(&one.at));
        while let Some(oldest) = all.last() {
            // The time, since the id may be that of an event in another collection; what is not behind it is left out. A stream of
            // the collection itself is ended by a drop, whatever the pipeline lets pass.
            let start = Start::At(oldest.at.time());
            match self.open_own(feed, &oldest.plan, start).await {
                // The oldest is asked about first, and before anybody is taken the cursor does not read: so he at least is.
                Ok(cursor) => all = ask(&cursor, all, Instant::now() + TAKING_MAX).await,
                Err(Refused::HistoryLost) => {
                    if let Some(oldest) = all.pop() {
                        oldest.tell(Err(Refused::HistoryLost));
                    }
                }
                Err(refused) => {
                    for returning in all.drain(..) {
                        returning.tell(Err(refused.clone()));
                    }
                }
            }
        }
    }
}

/// Asks a cursor to take them, from the last to the first. Returns whom it does not, in the order that they had.
async fn ask(cursor: &mpsc::Sender<Work>, all: Vec<Returning>, until: Instant) -> Vec<Returning> {
    let mut asked = Vec::new();
    for returning in all.into_iter().rev() {
        let (taken, answer) = oneshot::channel();
        let sent = cursor.try_send(returning.joining(taken));
        asked.push(Asked {
            returning: Some(returning),
            answer: sent.is_ok().then_some(answer),
            is_taken: false,
        });
    }
    let mut left = Vec::new();
    for mut asked in asked {
        if let Some(answer) = &mut asked.answer {
            let in_time = tokio::time::timeout_at(until, answer).await;
            asked.is_taken = matches!(in_time, Ok(Ok(())));
        }
        left.extend(asked.settle());
    }
    left.reverse();
    left
}

/// Somebody a cursor was asked to take.
///
/// Dropped, because whoever asked went away, it still tells one who was taken: he would come once more, and have
/// everything twice.
struct Asked {
    returning: Option<Returning>,
    /// `None`: the cursor cannot even be asked.
    answer: Option<oneshot::Receiver<()>>,
    is_taken: bool,
}

impl Asked {
    /// Tells him if he was taken; from here on he cannot be. Returned if he was not.
    fn settle(&mut self) -> Option<Returning> {
        let returning = self.returning.take()?;
        let mut answer = self.answer.take();
        // Closed first: what is not there now cannot come any more.
        let just_now = answer.as_mut().is_some_and(|answer| {
            answer.close();
            answer.try_recv().is_ok()
        });
        if self.is_taken || just_now {
            returning.tell(Ok(()));
            return None;
        }
        Some(returning)
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        // One who was not taken hears nothing, and takes his turn again.
        drop(self.settle());
    }
}

const NEVER_POISONED: &str = "invariant: no code panics while it holds this lock";

#[cfg(test)]
mod tests;
