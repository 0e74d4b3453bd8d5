//! What each client got, held against the truth while it goes on.

use std::{
    collections::{HashSet, VecDeque},
    fmt,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::task::JoinHandle;

use crate::{
    support::Outcome,
    truth::{Known, Mark, Share, Truth, lock},
};

/// What one client says, in its order.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Said<M> {
    /// It got this event.
    Got(M),
    /// It was told of a gap, and began anew.
    Gap,
}

/// One client, as far as the court is concerned.
#[derive(Debug)]
pub(crate) struct Witness {
    /// What it is called, for people.
    pub(crate) name: String,
    /// The stream that it follows, without variables.
    pub(crate) stream: String,
    pub(crate) share: Share,
    /// What it says, until the court hears it.
    pub(crate) said: Mutex<Vec<Said<Mark>>>,
    /// What happened to it lately.
    lately: Mutex<VecDeque<(Instant, String)>>,
}

impl Witness {
    pub(crate) fn new(name: String, path: &str, share: Share) -> Self {
        let stream = path.split('?').next().unwrap_or_default().to_owned();
        Self {
            name,
            stream,
            share,
            said: Mutex::default(),
            lately: Mutex::default(),
        }
    }

    pub(crate) fn say(&self, said: Said<Mark>) {
        lock(&self.said).push(said);
    }

    /// Notes what happened to it, for whoever reads of a violation.
    pub(crate) fn note(&self, what: String) {
        let mut lately = lock(&self.lately);
        if lately.len() == NOTES_MAX {
            lately.pop_front();
        }
        lately.push_back((Instant::now(), what));
    }

    fn lately(&self) -> String {
        let lately = lock(&self.lately);
        let notes = lately
            .iter()
            .map(|(at, what)| format!("{what} {:.1} s ago", at.elapsed().as_secs_f64()));
        notes.collect::<Vec<_>>().join(", ")
    }
}

/// What was wrong, of all clients together.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Verdict {
    pub(crate) delivered: u64,
    pub(crate) lost: u64,
    pub(crate) doubled: u64,
    pub(crate) out_of_order: u64,
    /// Events that nobody wrote, with all that came behind the first of them; and events that are not the client's.
    pub(crate) astray: u64,
    /// Gaps that were announced, and the events in them.
    pub(crate) gaps: u64,
    pub(crate) in_gaps: u64,
    /// Deliveries behind a gap of what an earlier session had: not to be called doubled, since nothing was resumed.
    pub(crate) again: u64,
}

impl Verdict {
    pub(crate) fn is_clean(&self) -> bool {
        self.wrongs() == 0
    }

    fn wrongs(&self) -> u64 {
        self.lost + self.doubled + self.out_of_order + self.astray
    }

    pub(crate) fn with(self, other: Self) -> Self {
        Self {
            delivered: self.delivered + other.delivered,
            lost: self.lost + other.lost,
            doubled: self.doubled + other.doubled,
            out_of_order: self.out_of_order + other.out_of_order,
            astray: self.astray + other.astray,
            gaps: self.gaps + other.gaps,
            in_gaps: self.in_gaps + other.in_gaps,
            again: self.again + other.again,
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} delivered, {} lost, {} doubled, {} out of order, {} astray; {} gaps announced, {} events in them, {} again behind them",
            self.delivered,
            self.lost,
            self.doubled,
            self.out_of_order,
            self.astray,
            self.gaps,
            self.in_gaps,
            self.again
        )
    }
}

/// The judge of one client: it hears places in the order in which they came.
#[derive(Debug, Default)]
pub(crate) struct Judge {
    /// The next place that is due.
    due: u32,
    /// Whether a gap was announced since the last event.
    in_gap: bool,
    /// What was due when the last gap was announced, if a later session began before that.
    behind_gap: Option<u32>,
    missing: HashSet<u32>,
    verdict: Verdict,
}

impl Judge {
    pub(crate) fn got(&mut self, place: u32) {
        self.verdict.delivered += 1;
        if place < self.due && self.in_gap {
            // A session that begins anew begins with what is written after it, or a little before: not after what another had.
            self.verdict.again += 1;
            self.in_gap = false;
            self.behind_gap = Some(self.due);
            self.due = place + 1;
            return;
        }
        if self.behind_gap.is_some_and(|due| place < due) && place == self.due {
            self.verdict.again += 1;
            self.due = place + 1;
            return;
        }
        if place < self.due {
            match self.missing.remove(&place) {
                true => self.verdict.out_of_order += 1,
                false => self.verdict.doubled += 1,
            }
            return;
        }
        let skipped = self.due..place;
        match self.in_gap {
            true => self.verdict.in_gaps += u64::from(place - self.due),
            false => self.missing.extend(skipped),
        }
        self.in_gap = false;
        self.due = place + 1;
    }

    /// It got an event that is not of its share.
    pub(crate) fn strange(&mut self) {
        self.verdict.delivered += 1;
        self.verdict.astray += 1;
    }

    /// What was wrong until now.
    fn wrongs(&self) -> u64 {
        self.missing.len() as u64 + self.verdict.wrongs()
    }

    pub(crate) fn gap(&mut self) {
        self.in_gap = true;
        self.verdict.gaps += 1;
    }

    /// What was wrong when so many events were there to be got.
    pub(crate) fn verdict(&self, events: u32) -> Verdict {
        let left = match self.in_gap {
            true => 0,
            false => events.saturating_sub(self.due),
        };
        Verdict {
            lost: self.missing.len() as u64 + u64::from(left),
            ..self.verdict
        }
    }
}

/// Judges all clients in the background, so that what they said need not be kept.
pub(crate) struct Court {
    sitting: JoinHandle<Vec<Verdict>>,
}

impl Court {
    pub(crate) fn sit(truth: &Truth, witnesses: Vec<Arc<Witness>>, over: &Arc<AtomicBool>) -> Self {
        let (known, over) = (truth.known(), Arc::clone(over));
        let sitting = tokio::spawn(async move {
            let mut judges: Vec<Judge> = witnesses.iter().map(|_| Judge::default()).collect();
            let mut told = 0;
            loop {
                // Looked at first: what was said before it is over is heard.
                let is_last = over.load(Ordering::Acquire);
                for (judge, witness) in judges.iter_mut().zip(&witnesses) {
                    let before = judge.wrongs();
                    hear(judge, witness, &lock(&known));
                    if judge.wrongs() > before && told < TOLD_MAX {
                        told += 1;
                        println!(
                            "WRONG, {}: {} until now, due is {}; {}",
                            witness.name,
                            judge.wrongs(),
                            judge.due,
                            witness.lately()
                        );
                    }
                }
                if is_last {
                    let known = lock(&known);
                    let verdicts = judges.iter().zip(&witnesses);
                    return verdicts
                        .map(|(judge, witness)| sum_up(judge, witness, &known))
                        .collect();
                }
                tokio::time::sleep(SITTING_PAUSE).await;
            }
        });
        Self { sitting }
    }

    /// The verdict on each, in their order.
    pub(crate) async fn verdicts(self) -> Outcome<Vec<Verdict>> {
        Ok(self.sitting.await?)
    }
}

/// Hears a client as far as the truth is known.
fn hear(judge: &mut Judge, witness: &Witness, known: &Known) {
    let mut said = lock(&witness.said);
    let mut heard = 0;
    for item in said.iter() {
        match item {
            Said::Gap => judge.gap(),
            Said::Got(mark) => match known.place(*mark, witness.share) {
                Some(Some(place)) => judge.got(place),
                Some(None) => judge.strange(),
                None => break,
            },
        }
        heard += 1;
    }
    said.drain(..heard);
}

fn sum_up(judge: &Judge, witness: &Witness, known: &Known) -> Verdict {
    let verdict = judge.verdict(known.count(witness.share));
    Verdict {
        astray: verdict.astray + lock(&witness.said).len() as u64,
        ..verdict
    }
}

const SITTING_PAUSE: Duration = Duration::from_secs(1);
const NOTES_MAX: usize = 8;
/// Lines about what is wrong, in all.
const TOLD_MAX: usize = 50;

#[cfg(test)]
mod tests {
    use super::{Judge, Said};

    #[track_caller]
    fn check(said: &[Said<u32>], events: u32, expected: (u64, u64, u64, u64, u64)) {
        let mut judge = Judge::default();
        for item in said {
            match item {
                Said::Got(place) => judge.got(*place),
                Said::Gap => judge.gap(),
            }
        }
        let found = judge.verdict(events);
        let found = (
            found.lost,
            found.doubled,
            found.out_of_order,
            found.gaps,
            found.in_gaps,
        );
        assert_eq!(found, expected, "{said:?}");
    }

    #[test]
    fn each_fault_is_counted_as_what_it_is() {
        let got = |places: &[u32]| {
            places
                .iter()
                .map(|place| Said::Got(*place))
                .collect::<Vec<_>>()
        };
        check(&got(&[0, 1, 2]), 3, (0, 0, 0, 0, 0));
        check(&got(&[0, 2]), 3, (1, 0, 0, 0, 0));
        check(&got(&[0, 1]), 3, (1, 0, 0, 0, 0));
        check(&got(&[0, 1, 1, 2]), 3, (0, 1, 0, 0, 0));
        check(&got(&[0, 2, 1]), 3, (0, 0, 1, 0, 0));
        let gap = [Said::Got(0), Said::Gap, Said::Got(3)];
        check(&gap, 4, (0, 0, 0, 1, 2));
        check(&gap, 5, (1, 0, 0, 1, 2));
        // Behind a gap a session begins where it begins; from there on it is as any other.
        check(&[Said::Got(0), Said::Gap, Said::Got(0)], 1, (0, 0, 0, 1, 0));
        let anew = [0, 1, 2].map(Said::Got);
        let again = [Said::Gap, Said::Got(1), Said::Got(2), Said::Got(3)];
        check(&[&anew[..], &again].concat(), 4, (0, 0, 0, 1, 0));
        let doubled = [Said::Gap, Said::Got(1), Said::Got(1), Said::Got(2)];
        check(&[&anew[..], &doubled].concat(), 3, (0, 1, 0, 1, 0));
        let lost = [Said::Gap, Said::Got(1), Said::Got(3)];
        check(&[&anew[..], &lost].concat(), 4, (1, 0, 0, 1, 0));
        check(&[Said::Got(0), Said::Gap], 5, (0, 0, 0, 1, 0));
    }
}
