//! What events of the past come to, remembered for those who come back together.
//!
//! After a restart a thousand clients of one stream come back with ids that lie close to each other, one after the other. Each
//! event is evaluated and rendered once for all of them, and its frame is the same bytes in all their outboxes.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::delivery::Budget;
use crate::engine::fanout::{Shown, shown};
use crate::engine::plan::{Plan, PlanKey};
use crate::mongo::{Event, ResumeToken};

/// What the events of the past came to for the last plan that was asked about.
#[derive(Default)]
pub(super) struct Replays {
    plan: Option<PlanKey>,
    shown: HashMap<ResumeToken, Option<Shown>>,
    bytes: usize,
    used: Option<Instant>,
    /// Kinds of errors that have been logged.
    logged: Vec<i32>,
}

impl Replays {
    /// Turns to a plan; what is remembered of another one is forgotten.
    pub(super) fn of(&mut self, plan: &Plan) -> &mut Self {
        if self.plan.as_ref() != Some(&plan.key) {
            self.forget();
            self.plan = Some(plan.key.clone());
        }
        self
    }

    /// What goes out of an event by the plan turned to, if anything does.
    pub(super) fn show(
        &mut self,
        plan: &Plan,
        event: &Event,
        budget: &Arc<Budget>,
        text: &mut String,
    ) -> Option<Shown> {
        if let Some(shown) = self.shown.get(&event.token) {
            return shown.clone();
        }
        let shown = shown(plan, event, budget, text, &mut self.logged);
        let frame = match &shown {
            Some(Shown::Frame(frame)) => frame.len(),
            Some(Shown::Not | Shown::TooLong) | None => 0,
        };
        let bytes = frame + ENTRY_BYTES;
        if self.bytes + bytes <= BYTES_MAX {
            self.bytes += bytes;
            self.shown.insert(event.token.clone(), shown.clone());
        }
        self.used = Some(Instant::now());
        shown
    }

    /// When all is to be forgotten, since nobody has come back for a while.
    pub(super) fn idle_at(&self) -> Option<Instant> {
        self.used.map(|used| used + KEPT_FOR)
    }

    /// Forgets all.
    pub(super) fn forget(&mut self) {
        *self = Self::default();
    }
}

/// A few thousand ordinary frames; beyond it each event is rendered for each client.
const BYTES_MAX: usize = 4 << 20;

/// What an entry costs beside its frame, about.
const ENTRY_BYTES: usize = 256;

/// Clients that come back together do so within some seconds.
const KEPT_FOR: Duration = Duration::from_secs(2);
