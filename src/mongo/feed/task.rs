//! The task that owns a feed's cursor.

use std::collections::BTreeSet;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use bson::{RawDocumentBuf, Timestamp};
use futures_util::FutureExt as _;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::{
    CODE_TOO_LARGE, Change, Command, FeedSettings, Gate, Lost, Opened, Reading, Ring, Scope, Sink,
    Source, Start, State, Step, Tail, cursor::ANSWER_MAX, longer,
};
use crate::mongo::client::Clock;
use crate::mongo::{Event, MongoError, Namespace, Operation, ResumeToken};

/// The first pause after an error; each further one doubles it, up to the setting.
const BACKOFF_MIN: Duration = Duration::from_millis(50);
/// Events taken from the cursor before they are handed on.
const BATCH_EVENTS_MAX: usize = 1000;

pub(super) struct Task {
    pub(super) source: Arc<dyn Source>,
    pub(super) clock: Clock,
    pub(super) scope: Scope,
    pub(super) settings: FeedSettings,
    pub(super) sink: Arc<dyn Sink>,
    pub(super) gate: Arc<dyn Gate>,
    pub(super) asked: mpsc::Receiver<Command>,
    pub(super) ring: Arc<Ring>,
    pub(super) state: watch::Sender<State>,
    pub(super) position: watch::Sender<Option<ResumeToken>>,
    pub(super) watched: BTreeSet<Namespace>,
    /// Since when nothing has been lost: where the first cursor began. `None` before that, and behind a gap.
    pub(super) began: watch::Sender<Option<Timestamp>>,
    /// The last event that came, unlike `position` never a place between events.
    pub(super) last: Option<ResumeToken>,
    /// When MongoDB answered last; `None` before the first cursor.
    pub(super) heard_at: Option<Instant>,
    /// The present when the cursor was opened, as long as not all until then has been told and somebody waits for it.
    pub(super) owes: Option<Timestamp>,
    /// How long an answer may take.
    pub(super) answer_max: Duration,
    /// How often servers had been lost when history was last known to be the one that was read.
    pub(super) disturbances: u64,
}

/// Why a cursor was left.
enum Left {
    /// The watched set grew, or an `invalidate` ended the cursor: open another one behind the last token.
    Reopen,
    /// MongoDB failed.
    Failed(MongoError),
    /// A server was lost: what was read behind that is not to be relied on before it is known to be the same history.
    Disturbed,
    /// Nobody holds the feed any more.
    Unheld,
}

impl Task {
    /// Runs until nobody holds the feed. Should it panic, whoever rests on it is told, and it begins anew, from now.
    pub(super) async fn run(mut self) {
        // What is half done by a panic is thrown away with the place in history.
        while AssertUnwindSafe(self.tend()).catch_unwind().await.is_err() {
            tracing::error!(feed = %self.scope, "feed panicked, its sessions are told; starting from now");
            self.forget();
            let reason = MongoError::Unreachable("a fault of ours".to_owned());
            self.state.send_replace(State::Down(reason.clone()));
            self.sink.broken(&self.scope);
            if !self.wait(self.settings.backoff_max, &reason).await {
                return;
            }
        }
    }

    async fn tend(&mut self) {
        let mut pause = BACKOFF_MIN;
        let mut singly = false;
        loop {
            let left = match self.open_or_tell(singly).await {
                Ok(cursor) => {
                    // A cursor that opens and fails at its first step must not begin the backoff anew.
                    self.consume(cursor, &mut singly, &mut pause).await
                }
                Err(error) => Left::Failed(error),
            };
            match left {
                Left::Reopen | Left::Disturbed => (),
                Left::Unheld => return,
                Left::Failed(error) => {
                    if matches!(error, MongoError::NoAnswer) {
                        self.answer_max = longer(self.answer_max);
                    }
                    if !self.recover(&error, &mut singly).await {
                        self.warn(&error);
                        self.gate.live(&self.scope, false);
                        self.state.send_replace(State::Down(error.clone()));
                        self.tell_if_away().await;
                        if !self.wait(pause, &error).await {
                            return;
                        }
                        pause = (pause * 2).min(self.settings.backoff_max);
                    }
                }
            }
        }
    }

    /// Says once what is wrong; that it still is, only to who asks for details.
    fn warn(&self, error: &MongoError) {
        match &*self.state.borrow() {
            State::Opening | State::Live => {
                tracing::warn!(feed = %self.scope, %error, "feed has no cursor, trying again until it has one");
            }
            State::Down(_) => tracing::debug!(feed = %self.scope, %error, "feed has no cursor yet"),
        }
    }

    /// Opens the next cursor. Who waits too long is told meanwhile: an attempt may take as long as MongoDB is waited for.
    async fn open_or_tell(&mut self, singly: bool) -> Result<Opened, MongoError> {
        let Some(away_at) = self.away_at().filter(|at| *at > Instant::now()) else {
            return self.open(singly).await;
        };
        let (sink, scope) = (Arc::clone(&self.sink), self.scope.clone());
        let opening = self.open(singly);
        tokio::pin!(opening);
        tokio::select! {
            biased;
            opened = &mut opening => return opened,
            () = tokio::time::sleep_until(away_at) => sink.away(&scope).await,
        }
        opening.await
    }

    /// When sessions will have waited for long enough.
    fn away_at(&self) -> Option<Instant> {
        self.heard_at
            .and_then(|heard| heard.checked_add(self.settings.patience))
    }

    async fn tell_if_away(&self) {
        if self.away_at().is_some_and(|at| at <= Instant::now()) {
            self.sink.away(&self.scope).await;
        }
    }

    /// Opens the next cursor: behind the last token if there is one, else from now, with the metadata read anew.
    async fn open(&mut self, singly: bool) -> Result<Opened, MongoError> {
        let disturbances = self.source.disturbances();
        let start = self.start().await?;
        let fresh = matches!(start, Start::At(_));
        if disturbances != self.disturbances {
            self.verify().await?;
            self.disturbances = disturbances;
        }
        self.watch(self.gate.watched(&self.scope));
        let mut reading = Reading {
            answer_max: self.answer_max,
            pre_images: self.settings.pre_images,
            ..Reading::default()
        };
        if singly {
            reading.batch_size = 1;
        }
        let opening = self
            .source
            .open(&self.scope, &self.watched, &start, reading);
        let cursor = opening.await?;
        if self.gate.is_awaited(&self.scope) {
            // Asked for behind the opening: what happened until now may still have to come.
            self.owes = Some(self.clock.now().await?);
        }
        if fresh && let Some(position) = cursor.token() {
            self.ring.restart(position.clone());
            self.position.send_replace(Some(position));
        }
        self.heard_at = Some(Instant::now());
        self.gate.live(&self.scope, true);
        self.state.send_replace(State::Live);
        metrics::counter!("sidestream_feed_opens_total").increment(1);
        tracing::info!(feed = %self.scope, collections = self.watched.len(), "feed is live");
        Ok(cursor)
    }

    /// Where the next cursor begins: behind the last event; where the first one did if it brought none; else from now.
    async fn start(&self) -> Result<Start, MongoError> {
        if let Some(token) = self.position.borrow().clone() {
            return Ok(Start::After(token));
        }
        let began = *self.began.borrow();
        if let Some(time) = began {
            return Ok(Start::At(time));
        }
        let now = self.clock.now().await?;
        self.gate.reload(&self.scope).await?;
        self.began.send_replace(Some(now));
        Ok(Start::At(now))
    }

    /// Adds to the watched set. The next cursor begins at the present position, so from there on the ring has it all.
    fn watch(&mut self, namespaces: BTreeSet<Namespace>) -> bool {
        let position = self.position.borrow().clone();
        let mut is_widened = false;
        for namespace in namespaces {
            if !self.watched.insert(namespace.clone()) {
                continue;
            }
            is_widened = true;
            if let Some(position) = &position {
                self.ring.join(namespace, position.clone());
            }
        }
        is_widened
    }

    async fn consume(&mut self, cursor: Opened, singly: &mut bool, pause: &mut Duration) -> Left {
        let mut tail = Tail::new(cursor, "feed").within(self.answer_max);
        let mut batch = Vec::new();
        loop {
            // Biased: who waits to subscribe is served before the next event is awaited.
            let first = tokio::select! {
                biased;
                command = self.asked.recv() => match command {
                    Some(command) => {
                        if self.obey(command, None) { continue }
                        return Left::Reopen;
                    }
                    None => return Left::Unheld,
                },
                step = tail.step() => step,
            };
            if first.is_ok() {
                *pause = BACKOFF_MIN;
                self.answer_max = ANSWER_MAX;
                self.heard_at = Some(Instant::now());
            }
            // The driver may have resumed by itself, on whatever answers at the same address now.
            if self.source.disturbances() != self.disturbances {
                return Left::Disturbed;
            }
            let mut widened = false;
            let next = match first {
                Ok(Step::Event(raw)) => {
                    // Handed on before the next read is begun, which costs more than all that is done with an event; and
                    // the worker that was woken waits for this thread.
                    widened = self.take(std::iter::once(raw)).await;
                    tokio::task::yield_now().await;
                    tail.step_now()
                }
                other => Some(other),
            };
            let left = next.and_then(|next| drain(&mut tail, next, &mut batch));
            // Also while what came first was handed on. What is left out here is read once more, if it has happened.
            if self.source.disturbances() != self.disturbances {
                return Left::Disturbed;
            }
            // A full batch may not be all, and behind a failure there may be more.
            let is_all = batch.len() < BATCH_EVENTS_MAX && !matches!(left, Some(Left::Failed(_)));
            widened |= self.take(batch.drain(..)).await;
            self.note(&tail);
            if is_all {
                self.tell_if_present();
            }
            // One event was asked for, to get past what could not be sent together with it: batches again from here.
            let passed = !matches!(left, Some(Left::Failed(_))) && std::mem::take(singly);
            match left {
                Some(left) => return left,
                None if widened || passed => return Left::Reopen,
                None => (),
            }
        }
    }

    /// Tells the gate that all that happened has been told, once that holds for what happened while there was no cursor.
    fn tell_if_present(&mut self) {
        if let Some(present) = self.owes {
            let has_come = |position: &ResumeToken| position.time() >= present;
            if !self.position.borrow().as_ref().is_some_and(has_come) {
                return;
            }
            self.owes = None;
        }
        self.gate.heard(&self.scope);
    }

    /// Notes how far the stream has come beyond the last event: an idle one moves too.
    fn note(&self, tail: &Tail) {
        let Some(token) = tail.token() else { return };
        self.position.send_if_modified(|position| {
            let forward = position.as_ref().is_none_or(|position| position < token);
            if forward {
                *position = Some(token.clone());
            }
            forward
        });
    }

    /// Hands a batch on, in order: a change of metadata is told to the gate before anything behind it goes on.
    /// Returns whether the watched set must grow.
    async fn take(&mut self, batch: impl Iterator<Item = RawDocumentBuf>) -> bool {
        let mut ready = Vec::new();
        let mut metadata_changed = false;
        let mut last = None;
        for raw in batch {
            let Some(event) = Event::read(raw).map(Arc::new) else {
                continue;
            };
            last = Some(event.token.clone());
            self.ring.push(Arc::clone(&event));
            if let Some(changes) = self.metadata(&event) {
                self.hand_on(&mut ready).await;
                changes
                    .into_iter()
                    .for_each(|change| self.gate.changed(change));
                metadata_changed = true;
            }
            ready.push(event);
        }
        self.hand_on(&mut ready).await;
        if let Some(last) = last {
            self.last = Some(last.clone());
            self.position.send_replace(Some(last));
        }
        metadata_changed && !self.gate.watched(&self.scope).is_subset(&self.watched)
    }

    async fn hand_on(&self, ready: &mut Vec<Arc<Event>>) {
        if !ready.is_empty() && self.is_cleared().await {
            metrics::counter!("sidestream_events_total").increment(ready.len() as u64);
            self.sink.deliver(std::mem::take(ready)).await;
        }
    }

    /// Waits until events may go on. Who has waited for too long is told. `false` if nobody holds the feed any more.
    async fn is_cleared(&self) -> bool {
        let began = Instant::now();
        let mut pause = BACKOFF_MIN;
        while let Some(clearing) = self.gate.clear(&self.scope) {
            let Err(error) = clearing.await else { continue };
            tracing::warn!(feed = %self.scope, %error, "events wait, since it is not known who may still see them");
            if began.elapsed() >= self.settings.patience {
                self.sink.away(&self.scope).await;
            }
            tokio::time::sleep(pause.mul_f64(self.source.jitter())).await;
            pause = (pause * 2).min(self.settings.backoff_max);
            if self.asked.is_closed() {
                return false;
            }
        }
        true
    }

    /// What of metadata an event changes. `None` if nothing.
    fn metadata(&self, event: &Event) -> Option<Vec<Change>> {
        let time = event.time();
        let namespace = Namespace {
            database: event.database.clone(),
            collection: event.collection.clone(),
        };
        match event.operation {
            Operation::DropDatabase => {
                let gone = |namespace: &&Namespace| {
                    namespace.database == event.database && self.gate.is_metadata(namespace)
                };
                let change = |namespace: &Namespace| Change::Collection {
                    namespace: namespace.clone(),
                    time,
                };
                Some(self.watched.iter().filter(gone).map(change).collect())
            }
            Operation::Drop | Operation::Rename => {
                let both = std::iter::once(namespace).chain(event.renamed_to.clone());
                let changes: Vec<_> = both
                    .filter(|namespace| self.gate.is_metadata(namespace))
                    .map(|namespace| Change::Collection { namespace, time })
                    .collect();
                (!changes.is_empty()).then_some(changes)
            }
            Operation::Data if self.gate.is_metadata(&namespace) => {
                let (id, document) = event.document();
                Some(vec![Change::Document {
                    namespace,
                    id: id?,
                    document,
                    time,
                }])
            }
            Operation::Data | Operation::Invalidate | Operation::Other => None,
        }
    }

    /// Obeys a command. `false` if the cursor must be reopened for it. `down` is why there is no cursor, if there is none.
    fn obey(&mut self, command: Command, down: Option<&MongoError>) -> bool {
        match command {
            Command::Watch { namespace, reply } => {
                let is_widened = self.watch(BTreeSet::from([namespace]));
                // The old cursor is left before anything else is read from it, so the new one begins where this one
                // stopped: nothing that is written from now on can be missed. Only a feed without a place in history
                // cannot say that: it will begin whenever MongoDB answers.
                let has_place = self.began.borrow().is_some();
                let answer = match down {
                    Some(reason) if !has_place => Err(reason.clone()),
                    _ => Ok(()),
                };
                // Whoever asked may have gone away.
                drop(reply.send(answer));
                !is_widened
            }
        }
    }

    /// Deals with errors that another attempt from the same place would not mend. `false`: back off and try again.
    async fn recover(&mut self, error: &MongoError, singly: &mut bool) -> bool {
        match error {
            // Without a place there was no history to lose: another attempt at once would fail as this one did.
            MongoError::HistoryLost(reason) if self.began.borrow().is_some() => {
                tracing::error!(feed = %self.scope, %reason, "history lost, sessions are told; starting from now");
                // Before the sessions are told: who comes meanwhile must find neither the old ring nor the old beginning.
                self.forget();
                self.sink.gap(Lost::Everything(self.scope.clone())).await;
                true
            }
            MongoError::Refused {
                code: CODE_TOO_LARGE,
                ..
            } if !*singly => {
                *singly = true;
                true
            }
            MongoError::Refused {
                code: CODE_TOO_LARGE,
                ..
            } => {
                *singly = false;
                self.skip_next().await
            }
            _ => false,
        }
    }

    /// Forgets its place in history.
    fn forget(&mut self) {
        self.began.send_replace(None);
        self.ring.clear();
        self.position.send_replace(None);
        self.last = None;
    }

    /// Makes sure that MongoDB's history is the one that was read, after a server was lost: what answers now may have been
    /// restored from a backup. Resuming does not tell, since a place between two events is taken for good unseen.
    async fn verify(&self) -> Result<(), MongoError> {
        let Some(position) = self.position.borrow().clone() else {
            return Ok(());
        };
        let other = |what: &str| Err(MongoError::HistoryLost(what.to_owned()));
        if self.source.operation_time().await? < position.time() {
            return other("MongoDB's history ends before what was read of it");
        }
        match &self.last {
            Some(last) if !self.source.has_happened(&self.scope, last).await? => {
                other("MongoDB's history does not have the last event that was read of it")
            }
            _ => Ok(()),
        }
    }

    /// Goes past the next event, which MongoDB cannot send. `false` if it could not be found.
    async fn skip_next(&mut self) -> bool {
        let Some(position) = self.position.borrow().clone() else {
            return false;
        };
        let behind = Start::After(position);
        let next = self.source.next_id(&self.scope, &self.watched, &behind);
        let Ok((token, namespace)) = next.await else {
            return false;
        };
        // What changed is not known, so all metadata is read anew before anything behind it goes on.
        if self.gate.is_metadata(&namespace) && self.gate.reload(&self.scope).await.is_err() {
            return false;
        }
        tracing::error!(feed = %self.scope, collection = %namespace, "an event is too large to be sent, sessions are told");
        // Who comes back with an older id must not be served over the hole.
        self.ring.join(namespace.clone(), token.clone());
        self.sink.gap(Lost::Collection(namespace)).await;
        self.position.send_replace(Some(token));
        true
    }

    /// Waits out a pause; commands that come meanwhile are obeyed. `false` if nobody holds the feed any more.
    async fn wait(&mut self, pause: Duration, down: &MongoError) -> bool {
        let end = Instant::now() + pause.mul_f64(self.source.jitter());
        loop {
            tokio::select! {
                biased;
                command = self.asked.recv() => match command {
                    Some(command) => { self.obey(command, Some(down)); }
                    None => return false,
                },
                () = tokio::time::sleep_until(end) => return true,
            }
        }
    }
}

/// Takes every further event that is ready, beginning with what a step brought. Returns why the cursor must be left, if it must.
fn drain(
    tail: &mut Tail,
    first: Result<Step, MongoError>,
    batch: &mut Vec<RawDocumentBuf>,
) -> Option<Left> {
    let mut next = first;
    loop {
        match next {
            Ok(Step::Event(raw)) => batch.push(raw),
            Ok(Step::Nothing) => return None,
            Ok(Step::End) => return Some(Left::Reopen),
            Err(error) => return Some(Left::Failed(error)),
        }
        if batch.len() >= BATCH_EVENTS_MAX {
            return None;
        }
        next = tail.step_now()?;
    }
}
