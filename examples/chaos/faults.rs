//! What goes wrong, one after another, in a random order.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use bson::{Document, doc};
use rand::{Rng, rngs::StdRng, seq::SliceRandom};

use crate::{
    clients::Clients,
    fleeting::Fleeting,
    replicas::Replicas,
    sidestream::{DATABASE, LARGE, Sidestream},
    support::Outcome,
};

/// What can go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Fault {
    PrimaryKilled,
    PrimaryStepsDown,
    /// It stands still, and says nothing.
    PrimaryStopped,
    /// Nobody reaches it any more, and no connection breaks.
    PrimaryPartitioned,
    AllKilled,
    NetworkCut,
    CutInAnAnswer,
    AnswerLost,
    SessionsKilled,
    CursorKilled,
    ConnectionClosed,
    HistoryLost,
    EventTooLarge,
    CollectionGone,
    ClientsLeave,
    SidestreamKilled,
    SidestreamRestarted,
}

const ALL: [Fault; 17] = [
    Fault::PrimaryKilled,
    Fault::PrimaryStepsDown,
    Fault::PrimaryStopped,
    Fault::PrimaryPartitioned,
    Fault::AllKilled,
    Fault::NetworkCut,
    Fault::CutInAnAnswer,
    Fault::AnswerLost,
    Fault::SessionsKilled,
    Fault::CursorKilled,
    Fault::ConnectionClosed,
    Fault::HistoryLost,
    Fault::EventTooLarge,
    Fault::CollectionGone,
    Fault::ClientsLeave,
    Fault::SidestreamKilled,
    Fault::SidestreamRestarted,
];

/// What is still to come of this round, and what has been.
pub(crate) struct Faults {
    round: Vec<Fault>,
    happened: BTreeMap<String, u32>,
    is_verbose: bool,
    /// The longest between two.
    pause_max: Duration,
    begun: Instant,
    /// Losses that it told and that there were not.
    pub(crate) wrong: Vec<String>,
}

impl Faults {
    pub(crate) fn new(random: &mut StdRng, pause_max: Duration, is_verbose: bool) -> Self {
        let mut this = Self {
            round: Vec::new(),
            happened: BTreeMap::new(),
            is_verbose,
            pause_max,
            begun: Instant::now(),
            wrong: Vec::new(),
        };
        this.deal(random);
        this
    }

    /// Each once, in another order.
    fn deal(&mut self, random: &mut StdRng) {
        self.round = ALL.to_vec();
        self.round.shuffle(random);
    }

    /// Lets the next one happen, and waits until it is over.
    pub(crate) async fn next(
        &mut self,
        random: &mut StdRng,
        set: &mut Replicas,
        sidestream: &mut Sidestream,
        clients: &Clients,
        fleeting: &mut Fleeting,
    ) -> Outcome<()> {
        if self.round.is_empty() {
            self.deal(random);
        }
        let Some(fault) = self.round.pop() else {
            return Ok(());
        };
        let begun = Instant::now();
        let mut name = format!("{fault:?}");
        let for_a_while = Duration::from_millis(random.random_range(200..4000));
        match fault {
            Fault::PrimaryKilled => {
                let primary = set.primary().await;
                set.kill(primary).await;
                tokio::time::sleep(for_a_while).await;
                set.restart(primary).await;
            }
            Fault::PrimaryStepsDown => set.step_down().await,
            Fault::PrimaryStopped => {
                let primary = set.primary().await;
                set.pause(primary, true);
                tokio::time::sleep(for_a_while * 2).await;
                set.pause(primary, false);
            }
            Fault::PrimaryPartitioned => {
                let primary = set.primary().await;
                set.relay(primary).silence(true);
                tokio::time::sleep(for_a_while * 2).await;
                set.relay(primary).silence(false);
            }
            Fault::AllKilled => {
                for index in 0..set.len() {
                    set.kill(index).await;
                }
                tokio::time::sleep(for_a_while).await;
                for index in 0..set.len() {
                    set.restart(index).await;
                }
            }
            Fault::NetworkCut => (0..set.len()).for_each(|index| set.relay(index).cut()),
            Fault::CutInAnAnswer => {
                let primary = set.primary().await;
                set.relay(primary).cut_in(random.random_range(1..20_000));
            }
            Fault::AnswerLost => {
                let primary = set.primary().await;
                set.relay(primary).cut_in(0);
            }
            Fault::SessionsKilled => {
                let admin = set.direct(set.primary().await).await.database("admin");
                // Ours among them.
                drop(admin.run_command(doc! { "killAllSessions": [] }).await);
            }
            Fault::CursorKilled => {
                let code = [43, 237, 11601, 136, 175, 11602][random.random_range(0..6)];
                let data = doc! { "failCommands": ["getMore"], "errorCode": code };
                set.fail(random.random_range(1..4), data).await;
                name = format!("{name}({code})");
            }
            Fault::ConnectionClosed => {
                let data =
                    doc! { "failCommands": ["getMore", "aggregate"], "closeConnection": true };
                set.fail(random.random_range(1..4), data).await;
            }
            Fault::HistoryLost => {
                let data = doc! { "failCommands": ["getMore"], "errorCode": 286 };
                set.fail(1, data).await;
            }
            Fault::EventTooLarge => large(set).await?,
            Fault::CollectionGone => name = fleeting.go_and_come(random).await?.to_owned(),
            Fault::ClientsLeave => clients.leave(),
            Fault::SidestreamKilled => {
                sidestream.end("KILL").await;
                tokio::time::sleep(for_a_while / 4).await;
                sidestream.begin().await?;
            }
            Fault::SidestreamRestarted => {
                sidestream.end("TERM").await;
                sidestream.begin().await?;
            }
        }
        self.hear(sidestream)?;
        if self.is_verbose {
            println!(
                "{:.1} s, {} delivered: {name} ({:.1} s)",
                self.begun.elapsed().as_secs_f64(),
                clients.got(),
                begun.elapsed().as_secs_f64()
            );
        }
        *self.happened.entry(name).or_default() += 1;
        // Often the next one comes before all is well again.
        if random.random_bool(0.5) {
            set.whole().await;
            fleeting.write().await?;
        }
        let pause = self.pause_max.mul_f64(random.random_range(0.05..1.0));
        tokio::time::sleep(pause).await;
        Ok(())
    }

    /// Makes all well again.
    pub(crate) async fn heal(
        &mut self,
        set: &mut Replicas,
        sidestream: &mut Sidestream,
    ) -> Outcome<()> {
        set.whole().await;
        for index in 0..set.len() {
            let admin = set.direct(index).await.database("admin");
            let off = doc! { "configureFailPoint": "failCommand", "mode": "off" };
            admin.run_command(off).await?;
        }
        self.hear(sidestream)
    }

    /// Hears what Sidestream has said: a panic ends the run, and a loss that nothing explains is a violation.
    fn hear(&mut self, sidestream: &mut Sidestream) -> Outcome<()> {
        for line in sidestream.said() {
            if line.contains("panicked") {
                return Err(format!("Sidestream panicked: {line}").into());
            }
            // A fail point's word for it has its name in it; what else is said of lost history is said for no reason.
            if line.contains("history lost") && !line.contains("failpoint") {
                self.wrong.push(line.clone());
            }
            if self.is_verbose && !line.contains("\"INFO\"") {
                println!("  {line}");
            }
        }
        Ok(())
    }

    /// What happened, and how often.
    pub(crate) fn counts(&self) -> String {
        let told: Vec<String> = self
            .happened
            .iter()
            .map(|(what, count)| format!("{what} x {count}"))
            .collect();
        told.join(", ")
    }
}

/// An update whose event, with the document and what of it changed, is more than MongoDB sends.
async fn large(set: &Replicas) -> Outcome<()> {
    let collection = set
        .client()
        .await
        .database(DATABASE)
        .collection::<Document>(LARGE);
    let half = || "x".repeat(7 << 20);
    let id = bson::oid::ObjectId::new();
    // Not repeated where it fails: then it was another fault's turn.
    let first = collection.insert_one(doc! { "_id": id, "a": half() }).await;
    if first.is_ok() {
        let set = doc! { "$set": { "b": half() } };
        drop(collection.update_one(doc! { "_id": id }, set).await);
    }
    drop(collection.delete_one(doc! { "_id": id }).await);
    Ok(())
}
