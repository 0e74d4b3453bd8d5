//! What the rows have in common.

use std::{sync::Arc, time::Duration};

use bson::{Document, doc};
use memchr::memmem::Finder;
use mongodb::{Client, Collection, options::WriteConcern};
use tokio::runtime::Handle;

use crate::support::{
    Epoch, Outcome,
    crowd::{Crowd, Setting},
    judge::{Faults, Judge, Share},
    process::Machine,
    raw::{Order, Source},
    stack::{COLLECTION, Mongod},
    thread,
    writers::Writer,
};

/// What all rows run on.
pub(crate) struct Bench {
    pub(crate) mongod: Mongod,
    pub(crate) mongo: Client,
    pub(crate) epoch: Epoch,
    /// How often what is compared takes turns.
    pub(crate) pairs: usize,
    /// The thread of the clients, and that of the raw cursor.
    pub(crate) reader: Handle,
    pub(crate) raw: Handle,
    machine: Machine,
}

impl Bench {
    pub(crate) async fn start(pairs: usize) -> Outcome<Self> {
        let mongod = Mongod::start().await?;
        let mongo = Client::with_uri_str(&mongod.uri).await?;
        Ok(Self {
            mongod,
            mongo,
            epoch: Epoch::now(),
            pairs,
            reader: thread()?,
            raw: thread()?,
            machine: Machine::now(),
        })
    }

    /// The part of the machine that was in use since the beginning, 0 to 1.
    pub(crate) fn busy(&self) -> f64 {
        let (used, there) = Machine::now().since(self.machine);
        used / there.max(1e-9)
    }

    pub(crate) fn writer(&self, database: &str, collection: &str, concern: WriteConcern) -> Writer {
        Writer::new(self.collection(database, collection), concern, self.epoch)
    }

    fn collection(&self, database: &str, collection: &str) -> Collection<Document> {
        self.mongo.database(database).collection(collection)
    }

    pub(crate) fn source(&self, database: &str, collection: &str, writer: &Writer) -> Source {
        Source {
            uri: self.mongod.uri.clone(),
            database: database.to_owned(),
            collection: collection.to_owned(),
            run: writer.run.clone(),
        }
    }

    pub(crate) fn crowd(&self, writer: &Writer) -> Crowd {
        Crowd::new(Setting {
            epoch: self.epoch,
            marker: Arc::new(Finder::new(&writer.marker()).into_owned()),
            readers: vec![self.reader.clone()],
            at_once: AT_ONCE,
        })
    }

    /// How many change streams are open, as MongoDB counts them.
    pub(crate) async fn cursors(&self) -> Outcome<usize> {
        let stages = doc! { "$currentOp": { "allUsers": true, "idleCursors": true, "idleConnections": false } };
        let open = doc! { "$match": { "cursor.originatingCommand.pipeline.0.$changeStream": { "$exists": true } } };
        let admin = self.mongo.database("admin");
        let mut found = admin.aggregate([stages, open]).await?;
        let mut count = 0;
        while found.advance().await? {
            count += 1;
        }
        Ok(count)
    }
}

/// Clients with their judges.
pub(crate) struct Court {
    pub(crate) crowd: Crowd,
    judges: Vec<Judge>,
    values: usize,
}

impl Court {
    pub(crate) fn new(crowd: Crowd, values: usize, first: u32) -> Self {
        let judges =
            (0..crowd.members.len()).map(|index| Judge::new(Share::of(index, values), first));
        Self {
            judges: judges.collect(),
            crowd,
            values,
        }
    }

    /// How many deliveries the events `first` to before `last` are.
    pub(crate) fn due(&self, first: u32, last: u32) -> u64 {
        let of = |index| {
            let share = Share::of(index, self.values);
            u64::from(share.count(last) - share.count(first))
        };
        (0..self.judges.len()).map(of).sum()
    }

    /// Takes what has arrived, and judges it. Returns each delivery's number and time.
    pub(crate) fn hear(&mut self, order: &Order) -> Vec<(u32, u32)> {
        let mut all = Vec::new();
        for (member, judge) in self.crowd.members.iter().zip(&mut self.judges) {
            let arrivals = member.take();
            judge.hear(&arrivals, &order.places);
            all.extend(
                arrivals
                    .iter()
                    .map(|arrival| (arrival.number, arrival.micros)),
            );
        }
        all
    }

    /// The faults of all up to `written`.
    pub(crate) fn verdict(&self, written: u32) -> Faults {
        let mut faults = Faults::default();
        self.judges
            .iter()
            .for_each(|judge| faults.add(judge.verdict(written)));
        faults
    }
}

/// One row of the table.
pub(crate) struct Row<'a> {
    pub(crate) what: String,
    pub(crate) figure: String,
    pub(crate) goal: &'a str,
    pub(crate) reached: bool,
    pub(crate) restheart: &'a str,
    /// Absolute figures, and faults.
    pub(crate) beside: String,
}

impl Row<'_> {
    pub(crate) fn print(&self) {
        let Self {
            what,
            figure,
            goal,
            reached,
            restheart,
            beside,
        } = self;
        let verdict = if *reached { "reached" } else { "MISSED" };
        println!("| {what} | {figure} | {goal} | {verdict} | {restheart} | {beside} |");
    }
}

/// Faults for people.
pub(crate) fn told(faults: Faults) -> String {
    let Faults {
        lost,
        doubled,
        out_of_order,
        astray,
    } = faults;
    format!("lost {lost}, doubled {doubled}, out of order {out_of_order}, astray {astray}")
}

/// The stream of everything, and that of one's own.
pub(crate) const ALL: &str = "/messages/_streams/all";
pub(crate) const MINE: &str = "/messages/_streams/mine";
pub(crate) const OURS: &str = COLLECTION;

/// How long nothing may come before the rest counts as lost.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);
const AT_ONCE: usize = 64;
