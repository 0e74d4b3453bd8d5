//! Who gets which event: one owner task per collection.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use futures_util::future::BoxFuture;
use tokio::sync::{mpsc, oneshot};

use crate::delivery::{Ending, Outbox};
use crate::engine::groups::Places;
use crate::engine::worker::{Join, Replay, Work, Worker};
use crate::engine::{Departures, From, GroupLimits, Plan, Refused, Subscription};
use crate::lifecycle::Tasks;
use crate::mongo::feed::{Feed, Lost, Ring, Scope, Sink};
use crate::mongo::{Event, Namespace, Operation, ResumeToken};

/// Batches and commands that may wait for one worker; then the feed, and whoever subscribes, waits.
const WORK_MAX: usize = 256;

/// The workers, by collection.
#[derive(Debug)]
pub struct Hub {
    workers: Arc<Workers>,
    tasks: Tasks,
    /// Where the workers of a feed's collections run.
    threads: Mutex<HashMap<Scope, Tasks>>,
    places: Places,
}

pub(super) type Workers = Mutex<HashMap<Namespace, Handle>>;

#[derive(Clone, Debug)]
pub(super) struct Handle {
    work: mpsc::Sender<Work>,
    pub(super) departures: Arc<Departures>,
}

impl Hub {
    /// Makes a hub without workers: they come with the first subscription of a collection and go with the last.
    pub fn new(tasks: Tasks) -> Self {
        Self {
            workers: Arc::default(),
            tasks,
            threads: Mutex::default(),
            places: Places::new(GroupLimits::default()),
        }
    }

    /// Workers of this scope run here from now on: best where their feed does.
    pub fn run_on(&self, scope: Scope, tasks: Tasks) {
        let mut threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        threads.insert(scope, tasks);
    }

    /// Forgets where the workers of a scope run: nobody will need any.
    pub fn forget(&self, scope: &Scope) {
        let mut threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        threads.remove(scope);
    }

    fn tasks_of(&self, database: &str) -> Tasks {
        let threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        let thread = threads.iter().find(|(scope, _)| scope.spans(database));
        thread.map_or(&self.tasks, |(_, tasks)| tasks).clone()
    }

    /// Bounds its groups. To be called before anybody subscribes.
    pub fn within(self, limits: GroupLimits) -> Self {
        Self {
            places: Places::new(limits),
            ..self
        }
    }

    /// Gives the plan a place for the group that it may found. Where none is left, it needs none if its group is there:
    /// should that vanish meanwhile, the limit is exceeded by one group.
    ///
    /// # Errors
    /// [`Refused::Limit`] if there is neither.
    /// # Cancel safety
    /// Safe.
    pub(super) async fn seat(&self, mut plan: Plan) -> Result<Plan, Refused> {
        match self.places.take(&plan) {
            Ok(place) => plan.place = Some(Arc::new(place)),
            Err(_) if self.knows(&plan).await => (),
            Err(refused) => return Err(refused),
        }
        Ok(plan)
    }

    /// How many groups there are, and how many bytes their pipelines have.
    pub(super) fn groups(&self) -> (usize, usize) {
        (self.places.taken(), self.places.bytes_taken())
    }

    /// Whether there is a group with this plan.
    async fn knows(&self, plan: &Plan) -> bool {
        let worker = lock(&self.workers).get(&plan.wanted.namespace).cloned();
        let Some(worker) = worker else {
            return false;
        };
        let (reply, answer) = oneshot::channel();
        let asked = worker.work.send(Work::Knows(plan.key.clone(), reply)).await;
        asked.is_ok() && answer.await.unwrap_or(false)
    }

    /// As [`Hub::join`], for a session that begins. If the feed has lost history since, it is told.
    ///
    /// # Cancel safety
    /// As [`Hub::join`].
    pub(crate) async fn begin(
        &self,
        feed: &Feed,
        plan: Plan,
        from: From,
        outbox: Outbox,
    ) -> Subscription {
        let (floor, ended) = (from.floor, outbox.clone());
        let subscription = self.join(plan, from, outbox).await;
        // A gap that was told before the session was a member is its concern too, if it lies behind its floor.
        if !feed.is_whole_since(floor) {
            ended.end(Ending::HistoryLost);
        }
        subscription
    }

    /// As [`Hub::join`], for a client that has everything up to `token`, if the feed's ring has what it missed.
    ///
    /// # Cancel safety
    /// As [`Hub::join`].
    pub(crate) async fn go_on(
        &self,
        feed: &Feed,
        plan: Plan,
        from: From,
        token: ResumeToken,
        outbox: Outbox,
    ) -> Option<Subscription> {
        // An id that the ring does not hold may be none at all, though its place lies where the ring reaches.
        if !feed.ring().holds(&token, &plan.wanted.namespace.database) {
            return None;
        }
        let again = (Arc::clone(feed.ring()), token);
        self.rejoin(plan, from, outbox, again).await
    }

    /// Makes an outbox a member of the group with this plan.
    ///
    /// # Cancel safety
    /// Safe: either it is no member, or it is one until its outlet is gone.
    pub(super) async fn join(&self, plan: Plan, from: From, outbox: Outbox) -> Subscription {
        let join = Join {
            plan,
            from,
            outbox,
            replay: None,
        };
        self.send(Box::new(join)).await
    }

    /// As [`Hub::join`], for a client that has everything up to `after`: it gets what the ring holds behind that first.
    /// `None` if the ring does not reach back to it any more, or holds too much for one push; then nothing was pushed.
    pub(super) async fn rejoin(
        &self,
        plan: Plan,
        from: From,
        outbox: Outbox,
        (ring, after): (Arc<Ring>, ResumeToken),
    ) -> Option<Subscription> {
        let (done, answer) = oneshot::channel();
        let replay = Some(Replay { ring, after, done });
        let join = Join {
            plan,
            from,
            outbox,
            replay,
        };
        // Held while the answer is awaited, so that a caller who goes away is noticed.
        let subscription = self.send(Box::new(join)).await;
        answer.await.unwrap_or(false).then_some(subscription)
    }

    async fn send(&self, join: Box<Join>) -> Subscription {
        let namespace = join.plan.wanted.namespace.clone();
        loop {
            let handle = self.worker(&namespace);
            // A worker that ends closes its queue; the next round makes another one.
            let Ok(place) = handle.work.clone().reserve_owned().await else {
                continue;
            };
            let workers = lock(&self.workers);
            if workers
                .get(&namespace)
                .is_some_and(|current| current.work.same_channel(&handle.work))
            {
                place.send(Work::Join(join));
                return Subscription {
                    departures: Arc::new(OnceLock::from(handle.departures)),
                };
            }
        }
    }

    fn worker(&self, namespace: &Namespace) -> Handle {
        let mut workers = lock(&self.workers);
        if let Some(handle) = workers.get(namespace)
            && !handle.work.is_closed()
        {
            return handle.clone();
        }
        let (work, queue) = mpsc::channel(WORK_MAX);
        let departures = Arc::<Departures>::default();
        let worker = Worker::new(
            namespace.clone(),
            queue,
            Arc::clone(&departures),
            Arc::clone(&self.workers),
        );
        self.tasks_of(&namespace.database)
            .spawn("engine.worker", worker.run());
        let handle = Handle { work, departures };
        workers.insert(namespace.clone(), handle.clone());
        handle
    }

    /// Ends the members of some workers: in the same queue as the batches, before any that comes later.
    fn end_where(
        &self,
        concerned: impl Fn(&Namespace) -> bool,
        ending: Ending,
    ) -> BoxFuture<'static, ()> {
        let handles: Vec<Handle> = lock(&self.workers)
            .iter()
            .filter(|(namespace, _)| concerned(namespace))
            .map(|(_, handle)| handle.clone())
            .collect();
        Box::pin(async move {
            for handle in handles {
                // A worker that has ended meanwhile has no members.
                drop(handle.work.send(Work::End(ending)).await);
            }
        })
    }

    /// Sorts a batch by the workers that it concerns, keeping the order.
    fn sort(&self, events: Vec<Arc<Event>>) -> Vec<(mpsc::Sender<Work>, Vec<Arc<Event>>)> {
        let workers = lock(&self.workers);
        let mut sorted: Vec<(Namespace, Vec<Arc<Event>>)> = Vec::new();
        let mut give = |namespace: Namespace, event: &Arc<Event>| match sorted
            .iter_mut()
            .find(|(other, _)| *other == namespace)
        {
            Some((_, batch)) => batch.push(Arc::clone(event)),
            None => sorted.push((namespace, vec![Arc::clone(event)])),
        };
        for event in &events {
            match event.operation {
                Operation::DropDatabase => {
                    let concerned = workers
                        .keys()
                        .filter(|namespace| namespace.database == event.database);
                    concerned.for_each(|namespace| give(namespace.clone(), event));
                }
                Operation::Data | Operation::Drop | Operation::Rename | Operation::Other => {
                    let at = Namespace {
                        database: event.database.clone(),
                        collection: event.collection.clone(),
                    };
                    for namespace in std::iter::once(at).chain(event.renamed_to.clone()) {
                        if workers.contains_key(&namespace) {
                            give(namespace, event);
                        }
                    }
                }
                Operation::Invalidate => (),
            }
        }
        let handle = |(namespace, batch)| Some((workers.get(&namespace)?.work.clone(), batch));
        sorted.into_iter().filter_map(handle).collect()
    }
}

impl Sink for Hub {
    fn deliver(&self, events: Vec<Arc<Event>>) -> BoxFuture<'_, ()> {
        let sorted = self.sort(events);
        Box::pin(async move {
            for (work, batch) in sorted {
                // A worker that has ended meanwhile has no members that could miss anything.
                drop(work.send(Work::Batch(batch)).await);
            }
        })
    }

    fn gap(&self, lost: Lost) -> BoxFuture<'_, ()> {
        let concerned = |namespace: &Namespace| match &lost {
            Lost::Everything(scope) => scope.spans(&namespace.database),
            Lost::Collection(collection) => namespace == collection,
        };
        self.end_where(concerned, Ending::HistoryLost)
    }

    fn away<'a>(&'a self, scope: &'a Scope) -> BoxFuture<'a, ()> {
        let concerned = |namespace: &Namespace| scope.spans(&namespace.database);
        self.end_where(concerned, Ending::FeedAway)
    }

    fn broken(&self, scope: &Scope) {
        // A worker whose queue nobody can reach any more does what is in it, and ends, and its members with it.
        lock(&self.workers).retain(|namespace, _| !scope.spans(&namespace.database));
    }
}

pub(super) fn lock(workers: &Workers) -> std::sync::MutexGuard<'_, HashMap<Namespace, Handle>> {
    // No code panics while it holds this lock. A worker that did elsewhere takes it while it is unwound, and must not panic.
    workers.lock().unwrap_or_else(PoisonError::into_inner)
}
