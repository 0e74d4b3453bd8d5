//! The task that owns one dedicated cursor.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use bson::{Timestamp, doc};
use mongodb::Client;
use rand::Rng as _;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

use super::merging::{Groups, Merging};
use super::pool::Place;
use crate::delivery::{Ending, Outbox};
use crate::engine::fanout::{Group, Manner, Member, Renderer};
use crate::engine::plan::Wanted;
use crate::engine::{From, Plan};
use crate::mongo::feed::{
    Opened, Reading, Scope, Start, Step, Tail, longer, next_id, open_collection,
};
use crate::mongo::{Event, MongoError, Operation, ResumeToken};

/// How often members are looked through for those who have gone.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);
/// The first pause after an error, and the longest.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(5));

/// What a cursor is asked, in one queue.
pub(super) enum Work {
    Join(Box<Joining>),
    /// To take the sessions of another cursor of this pipeline.
    Merge(Merging),
}

/// A session that joins a cursor.
pub(super) struct Joining {
    pub(super) plan: Plan,
    pub(super) from: From,
    pub(super) outbox: Outbox,
    /// Told if it is taken: one that comes back is not where the cursor has passed its id. `None` of one that begins.
    pub(super) taken: Option<oneshot::Sender<()>>,
}

/// How the cursor is opened.
pub(super) struct Source {
    client: Client,
    wanted: Arc<Wanted>,
    /// As the feed has them: the pipeline may judge by them.
    pre_images: bool,
}

/// One dedicated cursor with its members.
pub(super) struct Cursor {
    pub(super) source: Source,
    /// Behind which place the stream would be opened anew.
    pub(super) place: Start,
    /// The last event that was handed out, or where the first stream began: whoever has everything up to here misses nothing.
    handed: Start,
    pub(super) joins: mpsc::Receiver<Work>,
    pub(super) position: watch::Receiver<Option<ResumeToken>>,
    pub(super) in_pool: Place,
    pub(super) groups: Groups,
    /// When it looks again for a cursor to go into.
    pub(super) merge_at: Instant,
    text: String,
    /// Events behind the place on which the pipeline fails.
    excluded: Vec<ResumeToken>,
    /// Whether events are read one by one, because the pipeline fails on one that comes soon.
    singly: bool,
    /// When MongoDB answered last.
    heard_at: Instant,
    /// How long members are kept waiting while it does not.
    patience: Duration,
    /// How long an answer may take.
    answer_max: Duration,
}

/// Why a stream of events was left.
enum Left {
    Failed(MongoError),
    /// An `invalidate`: the collection is gone.
    Ended,
    Unneeded,
}

impl Source {
    pub(super) fn new(client: Client, wanted: &Arc<Wanted>, pre_images: bool) -> Self {
        Self {
            client,
            wanted: Arc::clone(wanted),
            pre_images,
        }
    }

    /// Has MongoDB check the pipeline, and opens the stream without evaluating anything yet.
    pub(super) async fn check(&self, start: &Start) -> Result<Opened, MongoError> {
        let reading = Reading {
            batch_size: 0,
            ..Reading::default()
        };
        self.open(start, &[], reading).await
    }

    /// Opens the stream. The events in `excluded` never reach the pipeline: a stream that starts behind an event evaluates
    /// that one too, so an event on which the pipeline fails cannot be passed by starting behind it.
    async fn open(
        &self,
        start: &Start,
        excluded: &[ResumeToken],
        reading: Reading,
    ) -> Result<Opened, MongoError> {
        let Wanted {
            namespace, stages, ..
        } = &*self.wanted;
        let ids: Vec<_> = excluded.iter().map(ResumeToken::as_str).collect();
        let exclusion =
            (!ids.is_empty()).then(|| doc! { "$match": { "_id._data": { "$nin": ids } } });
        let stages = exclusion.into_iter().chain(stages.iter().cloned());
        let reading = Reading {
            pre_images: self.pre_images,
            ..reading
        };
        open_collection(&self.client, namespace, start, stages.collect(), reading).await
    }
}

impl Cursor {
    pub(super) fn new(
        source: Source,
        place: Start,
        joins: mpsc::Receiver<Work>,
        position: watch::Receiver<Option<ResumeToken>>,
        in_pool: Place,
        patience: Duration,
    ) -> Self {
        let (groups, text) = (HashMap::new(), String::new());
        Self {
            source,
            handed: place.clone(),
            place,
            joins,
            position,
            in_pool,
            groups,
            merge_at: Instant::now(),
            text,
            excluded: Vec::new(),
            singly: false,
            heard_at: Instant::now(),
            patience,
            answer_max: Reading::default().answer_max,
        }
    }

    /// Opens the stream behind what has been read.
    async fn open(&self) -> Result<Opened, MongoError> {
        let mut reading = Reading {
            answer_max: self.answer_max,
            ..Reading::default()
        };
        if self.singly {
            reading.batch_size = 1;
        }
        self.source.open(&self.place, &self.excluded, reading).await
    }

    pub(super) async fn run(mut self, stream: Opened) {
        let mut stream = Some(stream);
        let mut pause = BACKOFF.0;
        loop {
            let left = match stream.take() {
                Some(stream) => self.consume(stream, &mut pause).await,
                None => match self.open().await {
                    Ok(opened) => {
                        stream = Some(opened);
                        continue;
                    }
                    Err(error) => Left::Failed(error),
                },
            };
            match left {
                Left::Unneeded => break,
                Left::Ended => {
                    self.end_all(Ending::CollectionGone);
                    break;
                }
                Left::Failed(MongoError::HistoryLost(_)) => {
                    self.end_all(Ending::HistoryLost);
                    break;
                }
                Left::Failed(MongoError::Refused { message, .. }) if self.singly => {
                    if !self.skip(&message).await {
                        self.end_all(Ending::OurFault);
                        break;
                    }
                }
                Left::Failed(MongoError::Refused { .. }) => self.singly = true,
                Left::Failed(error) => {
                    if matches!(error, MongoError::NoAnswer) {
                        self.answer_max = longer(self.answer_max);
                    }
                    if self.heard_at.elapsed() >= self.patience {
                        self.end_all(Ending::FeedAway);
                        break;
                    }
                    if pause == BACKOFF.0 {
                        tracing::warn!(collection = %self.source.wanted.namespace, %error, "dedicated cursor failed, trying again");
                    }
                    let jitter = rand::rng().random_range(0.5..1.5);
                    tokio::time::sleep(pause.mul_f64(jitter)).await;
                    pause = (pause * 2).min(BACKOFF.1);
                    continue;
                }
            }
            pause = BACKOFF.0;
        }
        self.joins.close();
        self.in_pool.close();
        // Who joined at the last moment is told as the others were.
        while let Some(late) = self.joins.recv().await {
            late.refuse();
        }
    }

    async fn consume(&mut self, stream: Opened, pause: &mut Duration) -> Left {
        let mut tail = self.tail(stream);
        let mut sweep = tokio::time::interval(SWEEP_INTERVAL);
        sweep.reset();
        let mut singly_until = self.singly.then_some(SINGLY_EVENTS);
        loop {
            // Biased: who joins must be a member before the next event is looked at.
            let next = tokio::select! {
                biased;
                work = self.joins.recv() => {
                    match work {
                        Some(work) => self.obey(work),
                        None => return Left::Unneeded,
                    }
                    continue;
                }
                _ = sweep.tick() => {
                    self.groups.retain(|_, group| group.sweep());
                    if self.groups.is_empty() && self.joins.is_empty() {
                        return Left::Unneeded;
                    }
                    self.note(&tail);
                    continue;
                }
                // Before somebody has joined nothing is read that he would miss.
                step = tail.step(), if !self.groups.is_empty() => step,
            };
            if next.is_ok() {
                self.heard_at = Instant::now();
                self.answer_max = Reading::default().answer_max;
                *pause = BACKOFF.0;
            }
            match next {
                Ok(Step::Event(raw)) => {
                    if let Some(event) = Event::read(raw) {
                        if event.operation == Operation::Invalidate {
                            return Left::Ended;
                        }
                        self.pass_on(event).await;
                        if self.merge().await {
                            return Left::Unneeded;
                        }
                    }
                }
                Ok(Step::Nothing) => {
                    self.note(&tail);
                    if self.merge().await {
                        return Left::Unneeded;
                    }
                    continue;
                }
                Ok(Step::End) => return Left::Ended,
                Err(error) => {
                    self.note(&tail);
                    return Left::Failed(error);
                }
            }
            if let Some(left) = &mut singly_until {
                *left -= 1;
                if *left == 0 {
                    // The failing event is behind us: batches again.
                    self.singly = false;
                    singly_until = None;
                    self.note(&tail);
                    match self.open().await {
                        Ok(batched) => tail = self.tail(batched),
                        Err(error) => return Left::Failed(error),
                    }
                }
            }
        }
    }

    fn tail(&self, stream: Opened) -> Tail {
        Tail::new(stream, "dedicated").within(self.answer_max)
    }

    async fn pass_on(&mut self, event: Event) {
        let passed = |position: &Option<ResumeToken>| {
            position.as_ref().is_some_and(|place| *place >= event.token)
        };
        let mut position = self.position.clone();
        loop {
            // Biased: who joined before the feed came here must be a member before the event is looked at.
            tokio::select! {
                biased;
                Some(work) = self.joins.recv() => self.obey(work),
                reached = position.wait_for(passed) => match reached {
                    Ok(_) => break,
                    Err(_) => return,
                },
            }
        }
        self.moved_to(event.token.clone());
        self.handed = self.place.clone();
        let mut render = Renderer::new(&event, &mut self.text);
        for group in self.groups.values_mut() {
            if group.offer(&event, &mut render) {
                group.flush().push_all(Manner::Now);
            }
        }
    }

    fn obey(&mut self, work: Work) {
        match work {
            Work::Join(joining) => self.join(*joining),
            Work::Merge(merging) => {
                if self.has_handed_out_nothing_behind(&merging.through) {
                    merging.go_to(&mut self.groups);
                }
            }
        }
    }

    fn join(&mut self, joining: Joining) {
        let Joining {
            plan,
            from,
            outbox,
            taken,
        } = joining;
        let member = match &from.resume {
            Some(token) if !self.has_handed_out_nothing_behind(token) => return,
            Some(token) => Member::resumed(outbox, token.clone()),
            None => Member::fresh(outbox, &from),
        };
        // Whoever asked may have turned elsewhere.
        if taken.is_some_and(|taken| taken.send(()).is_err()) {
            return;
        }
        self.groups
            .entry(plan.key.clone())
            .or_insert_with(|| Group::new(plan))
            .join(member);
    }

    /// Whether who has everything up to this place gets everything behind it here.
    fn has_handed_out_nothing_behind(&self, place: &ResumeToken) -> bool {
        match &self.handed {
            Start::At(time) => *time <= place.time(),
            Start::After(handed) => handed <= place,
        }
    }

    /// Notes how far the stream has come, also where nothing passed the pipeline.
    fn note(&mut self, tail: &Tail) {
        let Some(token) = tail.token().cloned() else {
            return;
        };
        let forward = match &self.place {
            Start::At(time) => token.time() > *time,
            Start::After(place) => token > *place,
        };
        if forward {
            self.moved_to(token);
        }
    }

    fn moved_to(&mut self, token: ResumeToken) {
        self.excluded.retain(|excluded| *excluded > token);
        self.place = Start::After(token);
    }

    /// Excludes the next event, on which the pipeline fails, or which it had hidden.
    async fn skip(&mut self, reason: &str) -> bool {
        let namespace = self.source.wanted.namespace.clone();
        let scope = Scope::Database(namespace.database.clone());
        let watched = BTreeSet::from([namespace.clone()]);
        let behind = match self.excluded.last() {
            Some(token) => Start::After(token.clone()),
            None => self.place.clone(),
        };
        let Ok((token, _)) = next_id(&self.source.client, &scope, &watched, &behind).await else {
            return false;
        };
        metrics::counter!("sidestream_events_skipped_total").increment(1);
        tracing::warn!(collection = %namespace, event = token.as_str(), reason, "event skipped, the pipeline fails on it");
        if self.excluded.len() < EXCLUDED_MAX {
            self.excluded.push(token);
        } else {
            // So many in a row: from the next instant on. Further events of the same transaction are skipped with it.
            let Timestamp { time, increment } = token.time();
            self.place = Start::At(Timestamp {
                time,
                increment: increment.saturating_add(1),
            });
            self.excluded.clear();
        }
        true
    }

    fn end_all(&self, ending: Ending) {
        self.groups.values().for_each(|group| group.end_all(ending));
    }
}

impl Work {
    /// It comes to a cursor that has ended. Who can be refused turns elsewhere.
    fn refuse(self) {
        match self {
            Self::Join(joining) if joining.taken.is_none() => {
                joining.outbox.end(Ending::OurFault);
            }
            Self::Join(_) | Self::Merge(_) => (),
        }
    }
}

/// Others hold the outboxes of its members too, so if it panics nobody else would tell them.
impl Drop for Cursor {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        self.joins.close();
        self.in_pool.close();
        while let Ok(late) = self.joins.try_recv() {
            late.refuse();
        }
        self.groups.values().for_each(Group::abandon);
    }
}

/// Events in a row on which a pipeline may fail before the cursor begins anew behind them.
const EXCLUDED_MAX: usize = 100;
/// Good events in a row after which the cursor reads in batches again.
const SINGLY_EVENTS: u32 = 16;
