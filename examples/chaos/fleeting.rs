//! A collection that goes and comes, and its clients: told with 4404 each time, whole and in order in between.

use std::time::Duration;

use bson::doc;
use mongodb::Client;
use rand::{Rng, rngs::StdRng};

use crate::{
    clients::{Clients, Setting, Wish},
    judge::{Judge, Said, Verdict},
    sidestream::{FLEETING, OTHER, Sidestream, define},
    support::{Outcome, decode::number},
    truth::{Mark, Share, lock},
    writers::{durable, insert},
};

/// The collection, with who listens to it.
pub(crate) struct Fleeting {
    mongo: Client,
    clients: Clients,
    next: u32,
}

impl Fleeting {
    pub(crate) fn begin(mongo: &Client, sidestream: &Sidestream, count: usize) -> Self {
        let setting = Setting {
            address: sidestream.address(),
            marking: |text, _| {
                let at = memchr::memmem::find(text, NUMBER)? + NUMBER.len();
                Some(Mark(u64::from(number(&text[at..])?)))
            },
            is_mortal: true,
        };
        let wish = Wish {
            path: format!("other/{FLEETING}/_streams/all"),
            share: Share::All,
        };
        Self {
            mongo: mongo.clone(),
            clients: Clients::with(setting, vec![wish; count]),
            next: 0,
        }
    }

    pub(crate) async fn have_all_an_id(&mut self, within: Duration) -> Outcome<()> {
        self.clients.are_all_open(within).await;
        self.write().await?;
        self.clients.have_all_an_id(within).await
    }

    /// Writes the next document.
    pub(crate) async fn write(&mut self) -> Outcome<()> {
        insert(&durable(&self.mongo, OTHER, FLEETING), vec![self.next]).await?;
        self.next += 1;
        Ok(())
    }

    /// Has it go, in one of the ways there are, and come again.
    pub(crate) async fn go_and_come(&mut self, random: &mut StdRng) -> Outcome<&'static str> {
        for _ in 0..random.random_range(1..5) {
            self.write().await?;
        }
        let database = self.mongo.database(OTHER);
        let way = match random.random_range(0..3) {
            0 => {
                database
                    .collection::<bson::Document>(FLEETING)
                    .drop()
                    .await?;
                "drop"
            }
            1 => {
                let to = format!("{OTHER}.gone");
                let order = doc! { "renameCollection": format!("{OTHER}.{FLEETING}"), "to": to, "dropTarget": true };
                self.mongo.database("admin").run_command(order).await?;
                "rename"
            }
            _ => {
                database.drop().await?;
                "dropDatabase"
            }
        };
        define(&self.mongo, OTHER, FLEETING).await?;
        Ok(way)
    }

    /// Waits until all clients are there again and have got one more document, and judges them.
    pub(crate) async fn end(mut self, within: Duration) -> Outcome<Verdict> {
        define(&self.mongo, OTHER, FLEETING).await?;
        // One that is told of the last going only now is not there for the first of these.
        let mut has_all = false;
        for _ in 0..LAST_MAX {
            if !self.clients.are_all_open(within).await {
                break;
            }
            self.write().await?;
            let last = Mark(u64::from(self.next - 1));
            has_all = self.clients.have_all_mark(last, within / LAST_MAX).await;
            if has_all {
                break;
            }
        }
        if !has_all {
            return Err(format!(
                "a stream that came again has no events: {}",
                self.clients.counts()
            )
            .into());
        }
        if let Some(stray) = self.clients.strays().first() {
            return Err(format!("unexpected: {stray}").into());
        }
        let verdicts = self.clients.witnesses().into_iter().map(|witness| {
            let mut judge = Judge::default();
            for said in lock(&witness.said).iter() {
                match said {
                    Said::Got(Mark(place)) => judge.got(*place as u32),
                    Said::Gap => judge.gap(),
                }
            }
            judge.verdict(self.next)
        });
        Ok(verdicts.fold(Verdict::default(), Verdict::with))
    }
}

const NUMBER: &[u8] = b"\"n\": ";
const LAST_MAX: u32 = 6;
