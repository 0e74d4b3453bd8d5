//! When all outboxes together hold more than they may, the sessions that hold most are ended, the largest first.
//!
//! One task looks, at most once in [`PAUSE`], so whoever pushes never waits; meanwhile the bound may be exceeded by what
//! arrives. A session that shares its frames with others frees little, so what is freed is seen by looking again, not by
//! adding up; each round in a row ends twice as much as the one before, so that it comes to an end soon whatever is shared.

use std::sync::Arc;
use std::time::Duration;

use crate::delivery::{Budget, Ending, Outbox};

/// Between two rounds: long enough for the writers of ended sessions to drop what they have in hand.
const PAUSE: Duration = Duration::from_millis(10);
/// How often the metric is brought up to date.
const NOTE_INTERVAL: Duration = Duration::from_secs(1);

/// Relieves the budget whenever it is exceeded, and says how much is held. `outboxes` are those of all live sessions. Runs until its
/// task is dropped.
pub async fn relieve(budget: Arc<Budget>, outboxes: impl Fn() -> Vec<Outbox>) {
    let mut note = tokio::time::interval(NOTE_INTERVAL);
    note.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        // Biased: what must be relieved comes before what is only told.
        tokio::select! {
            biased;
            () = budget.exceeded() => end_largest(&budget, &outboxes).await,
            _ = note.tick() => {
                metrics::gauge!("sidestream_outboxes_bytes").set(budget.used() as f64);
            }
        }
    }
}

async fn end_largest(budget: &Budget, outboxes: &impl Fn() -> Vec<Outbox>) {
    let mut factor = 1_usize;
    while budget.excess() > 0 {
        let ended = round(budget, outboxes().iter(), factor);
        if ended > 0 {
            metrics::counter!("sidestream_limits_reached_total", "limit" => "outboxes")
                .increment(ended as u64);
            tracing::warn!(
                sessions = ended,
                "clients hold more than limits.outboxes, those that hold most are ended"
            );
            factor = factor.saturating_mul(2);
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Ends sessions, the largest first, until those that end hold `factor` times what is held too much, or until nothing is.
/// Returns how many it has ended.
fn round<'a>(budget: &Budget, outboxes: impl Iterator<Item = &'a Outbox>, factor: usize) -> usize {
    let (mut holding, mut freed) = (Vec::new(), 0_usize);
    for outbox in outboxes {
        let held = outbox.held_bytes();
        match outbox.ended() {
            // Its frames are gone but for one that its writer has begun: that one goes with it.
            Some(_) => freed = freed.saturating_add(held),
            None if held > 0 => holding.push((held, outbox)),
            None => (),
        }
    }
    holding.sort_unstable_by_key(|(held, _)| std::cmp::Reverse(*held));
    let mut ended = 0;
    for (held, outbox) in holding {
        if freed >= budget.excess().saturating_mul(factor) {
            break;
        }
        outbox.end(Ending::Slow);
        freed = freed.saturating_add(held);
        ended += 1;
    }
    ended
}

#[cfg(test)]
mod tests;
