//! The owner of one collection's groups.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use indexmap::IndexMap;
use tokio::sync::{mpsc, oneshot};

use crate::delivery::{Ending, Outbox};
use crate::engine::catch_up::fits;
use crate::engine::fanout::{Group, Manner, Member, Renderer, Shown, shown};
use crate::engine::hub::{Handle, Workers, lock};
use crate::engine::index::Index;
use crate::engine::plan::PlanKey;
use crate::engine::replays::Replays;
use crate::engine::{Departures, From, Plan};
use crate::mongo::feed::Ring;
use crate::mongo::{Event, Namespace, ResumeToken};

/// How long after a member left the worker looks for all who have.
const SWEEP_DELAY: Duration = Duration::from_millis(100);

/// How many members it looks at before it does something else. All of a hundred thousand at once would hold up
/// the events of the collection.
const SWEPT_AT_ONCE: usize = 2_000;

/// How long it does something else.
const SWEEP_PAUSE: Duration = Duration::from_millis(5);

/// How many sockets are written to before other tasks of this thread may run: some 0.3 ms.
const WRITES_AT_ONCE: usize = 64;

/// The same for frames that are left to their sessions.
const PUSHES_AT_ONCE: usize = 1024;

/// What a worker is given, in one queue.
pub(super) enum Work {
    Batch(Vec<Arc<Event>>),
    Join(Box<Join>),
    /// Whether there is a group with this plan.
    Knows(PlanKey, oneshot::Sender<bool>),
    /// Every member's session ends.
    End(Ending),
}

/// A session that joins.
pub(super) struct Join {
    pub(super) plan: Plan,
    pub(super) from: From,
    pub(super) outbox: Outbox,
    /// The ring that is to be replayed first.
    pub(super) replay: Option<Replay>,
}

/// What a session that comes back has missed.
pub(super) struct Replay {
    pub(super) ring: Arc<Ring>,
    /// The client has everything up to here.
    pub(super) after: ResumeToken,
    /// Says whether it was replayed. Else the ring had moved on meanwhile, or holds too much for one push: then the
    /// session is no member, and nothing was pushed.
    pub(super) done: oneshot::Sender<bool>,
}

/// Owns the groups of one collection.
pub(super) struct Worker {
    namespace: Namespace,
    queue: mpsc::Receiver<Work>,
    departures: Arc<Departures>,
    workers: Arc<Workers>,
    /// The groups, each under the number by which the index knows it.
    groups: IndexMap<GroupId, Group>,
    /// How many groups, from the first, are still to be swept.
    unswept: usize,
    numbers: HashMap<PlanKey, GroupId>,
    next: GroupId,
    index: Index<GroupId>,
    candidates: Vec<GroupId>,
    /// Groups in which frames wait.
    unflushed: Vec<GroupId>,
    replays: Replays,
    text: String,
}

type GroupId = u64;

impl Worker {
    pub(super) fn new(
        namespace: Namespace,
        queue: mpsc::Receiver<Work>,
        departures: Arc<Departures>,
        workers: Arc<Workers>,
    ) -> Self {
        Self {
            namespace,
            queue,
            departures,
            workers,
            groups: IndexMap::new(),
            unswept: 0,
            numbers: HashMap::new(),
            next: 0,
            index: Index::new(),
            candidates: Vec::new(),
            unflushed: Vec::new(),
            replays: Replays::default(),
            text: String::new(),
        }
    }

    pub(super) async fn run(mut self) {
        let mut sweep_at = None;
        loop {
            // Biased: a queue that is never empty must not keep those who have gone for ever; they are looked for at most
            // once in `SWEEP_DELAY`.
            tokio::select! {
                biased;
                () = self.departures.noticed.notified(), if sweep_at.is_none() => {
                    self.unswept = usize::MAX;
                    sweep_at = Some(tokio::time::Instant::now() + SWEEP_DELAY);
                }
                () = sleep_until(sweep_at), if sweep_at.is_some() => {
                    self.sweep();
                    sweep_at = (self.unswept > 0).then(|| tokio::time::Instant::now() + SWEEP_PAUSE);
                    if self.groups.is_empty() && self.retire() {
                        return;
                    }
                }
                () = sleep_until(self.replays.idle_at()), if self.replays.idle_at().is_some() => {
                    self.replays.forget();
                }
                work = self.queue.recv() => match work {
                    Some(work) => self.obey(work).await,
                    None => return,
                },
            }
        }
    }

    async fn obey(&mut self, work: Work) {
        match work {
            Work::Batch(events) => {
                for event in &events {
                    self.offer(event);
                }
                self.flush().await;
            }
            Work::Join(join) => self.join(*join),
            Work::Knows(key, reply) => {
                // Whoever asked may have gone away.
                let _: Result<(), bool> = reply.send(self.numbers.contains_key(&key));
            }
            Work::End(ending) => self.groups.values().for_each(|group| group.end_all(ending)),
        }
    }

    /// Offers an event to the groups that may want it.
    fn offer(&mut self, event: &Event) {
        self.candidates.clear();
        self.index.candidates(&event.raw, &mut self.candidates);
        metrics::counter!("sidestream_candidates_total").increment(self.candidates.len() as u64);
        let mut render = Renderer::new(event, &mut self.text);
        for id in &self.candidates {
            if let Some(group) = self.groups.get_mut(id)
                && group.offer(event, &mut render)
            {
                self.unflushed.push(*id);
            }
        }
        if event.operation.ends_collection() {
            for id in self.unflushed.drain(..) {
                if let Some(group) = self.groups.get_mut(&id) {
                    group.flush().push_all(Manner::Queued);
                }
            }
            self.groups
                .values_mut()
                .for_each(|group| group.end(event, Ending::CollectionGone));
        }
    }

    /// Gives out what the events of a batch came to.
    async fn flush(&mut self) {
        for id in self.unflushed.drain(..) {
            let Some(group) = self.groups.get_mut(&id) else {
                continue;
            };
            let mut frames = group.flush();
            loop {
                // While more events wait, sessions shall find several and write them at once.
                let (manner, most) = match self.queue.is_empty() {
                    true => (Manner::Now, WRITES_AT_ONCE),
                    false => (Manner::Queued, PUSHES_AT_ONCE),
                };
                if !frames.push(most, manner) {
                    break;
                }
                tokio::task::yield_now().await;
            }
        }
    }

    fn join(&mut self, join: Join) {
        let Join {
            plan,
            from,
            outbox,
            replay,
        } = join;
        let member = match replay {
            Some(Replay { ring, after, done }) => {
                let events = ring.since(&after, &self.namespace);
                let events = events.filter(|events| fits(events, &outbox));
                // Nobody waits for the answer if the session went away meanwhile: then nobody reads the outbox either.
                let _: Result<(), bool> = done.send(events.is_some());
                let Some(events) = events else { return };
                let through = events.last().map_or(after, |event| event.token.clone());
                let replays = self.replays.of(&plan);
                for event in &events {
                    let shown = replays.show(&plan, event, outbox.budget(), &mut self.text);
                    give(shown.as_ref(), event, &outbox);
                }
                Member::resumed(outbox, through)
            }
            None => Member::fresh(outbox, &from),
        };
        let id = match self.numbers.get(&plan.key) {
            Some(id) => *id,
            None => self.found(plan),
        };
        let group = self.groups.get_mut(&id);
        group
            .expect("invariant: every number has its group")
            .join(member);
    }

    /// Founds a group. A dedicated one is here for what ends it; its frames come from its own cursor, so the index does
    /// not know it.
    fn found(&mut self, plan: Plan) -> GroupId {
        let id = self.next;
        self.next += 1;
        self.numbers.insert(plan.key.clone(), id);
        if plan.is_shared() {
            self.index.insert(id, &plan.necessary());
        }
        self.groups.insert(id, Group::new(plan));
        id
    }

    /// Removes who has gone, of some of the groups that are still to be swept. From the last one on, since the place of one
    /// that is removed is taken by the last.
    fn sweep(&mut self) {
        let mut members = 0;
        self.unswept = self.unswept.min(self.groups.len());
        while self.unswept > 0 && members < SWEPT_AT_ONCE {
            self.unswept -= 1;
            let Some((id, group)) = self.groups.get_index_mut(self.unswept) else {
                continue;
            };
            members += group.len();
            if !group.sweep() {
                self.index.remove(*id);
                self.numbers.remove(&group.plan.key);
                self.groups.swap_remove_index(self.unswept);
            }
        }
        if self.unswept == 0 {
            self.groups.shrink_to(self.groups.len() * 2);
            self.numbers.shrink_to(self.numbers.len() * 2);
        }
    }

    /// Leaves the hub, unless somebody has just joined. Who is about to join holds a place in the queue, and looks under
    /// the same lock whether the worker is still there before he uses it.
    fn retire(&mut self) -> bool {
        let mut workers = lock(&self.workers);
        let unused = self.queue.is_empty();
        if unused {
            workers.remove(&self.namespace);
        }
        unused
    }
}

/// A worker ends when it has no members; if it ends otherwise (it panicked, or its feed did), they have to hear it: other
/// hands hold their outboxes too, so nobody else would tell them.
impl Drop for Worker {
    fn drop(&mut self) {
        {
            let mut workers = lock(&self.workers);
            let is_this = |handle: &mut Handle| Arc::ptr_eq(&handle.departures, &self.departures);
            if workers.get_mut(&self.namespace).is_some_and(is_this) {
                workers.remove(&self.namespace);
            }
        }
        // Whoever joins looks under that lock whether this worker is still the one, so nobody comes any more.
        self.queue.close();
        while let Ok(work) = self.queue.try_recv() {
            if let Work::Join(join) = work {
                join.outbox.end(Ending::OurFault);
            }
        }
        self.groups.values().for_each(Group::abandon);
    }
}

/// Pushes one event of the past to sessions with this plan, with what ends them in it. `logged` are the kinds of errors that
/// were.
pub(super) fn replay<'o>(
    plan: &Plan,
    event: &Event,
    outboxes: impl Iterator<Item = &'o Outbox>,
    text: &mut String,
    logged: &mut Vec<i32>,
) {
    let mut outboxes = outboxes.peekable();
    let Some(budget) = outboxes.peek().map(|first| Arc::clone(first.budget())) else {
        return;
    };
    let shown = shown(plan, event, &budget, text, logged);
    for outbox in outboxes {
        give(shown.as_ref(), event, outbox);
    }
}

/// Gives a session what an event of the past came to, and ends it where the collection is gone.
fn give(shown: Option<&Shown>, event: &Event, outbox: &Outbox) {
    if let Some(shown) = shown {
        shown.give(outbox);
    }
    if event.operation.ends_collection() {
        outbox.end(Ending::CollectionGone);
    }
}

async fn sleep_until(at: Option<tokio::time::Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
