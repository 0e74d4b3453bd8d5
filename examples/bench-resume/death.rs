//! A replica set of three whose primary is killed: when does the first event after that arrive?

use std::{
    net::TcpListener,
    time::{Duration, Instant},
};

use bson::{Document, doc};
use mongodb::{Client, Collection};
use tempfile::TempDir;
use tokio::{io::AsyncReadExt, net::TcpStream, sync::watch};

use super::support::{
    Outcome,
    figures::median,
    stack::{COLLECTION, Ended, Sidestream, mongod, open_websocket},
};

const DATABASE: &str = "bench_resume_death";
/// Elections take some ten seconds.
const PATIENCE: Duration = Duration::from_secs(90);
const LOOK_PAUSE: Duration = Duration::from_millis(20);
/// Between two attempts to write without a primary.
const WRITE_PAUSE: Duration = Duration::from_millis(5);

struct Member {
    port: u16,
    directory: TempDir,
    process: Option<Ended>,
}

impl Member {
    fn new() -> Outcome<Self> {
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let mut member = Self {
            port,
            directory: tempfile::tempdir()?,
            process: None,
        };
        member.start()?;
        Ok(member)
    }

    fn start(&mut self) -> Outcome<()> {
        let child = mongod(self.port, self.directory.path())?.spawn()?;
        self.process = Some(Ended(child));
        Ok(())
    }

    fn name(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }
}

/// The numbers that one receiver has got, the newest of them.
type Newest = watch::Receiver<i32>;

pub(super) async fn measure(deaths: usize) -> Outcome<()> {
    let mut members = [Member::new()?, Member::new()?, Member::new()?];
    let names: Vec<String> = members.iter().map(Member::name).collect();
    let direct = format!("mongodb://{}/?directConnection=true", names[0]);
    let admin = Client::with_uri_str(direct).await?.database("admin");
    let listed = names
        .iter()
        .zip(0..)
        .map(|(host, id)| doc! { "_id": id, "host": host });
    let listed: Vec<Document> = listed.collect();
    admin
        .run_command(doc! { "replSetInitiate": { "_id": "rs0", "members": listed } })
        .await?;
    let uri = format!("mongodb://{}/?replicaSet=rs0", names.join(","));
    let mongo = Client::with_uri_str(&uri).await?;
    healthy(&mongo).await?;
    let sidestream = Sidestream::start(&mongo, &uri, DATABASE).await?;
    let documents = mongo.database(DATABASE).collection::<Document>(COLLECTION);
    let (socket, _) = open_websocket(sidestream.address).await?;
    let ours = frames(socket);
    let raw = raw(&uri).await?;
    let mut next = 0;
    println!(
        "\nfrom the primary's death to the first frame after it, s\n{:>10} {:>10} {:>8}",
        "sidestream", "raw cursor", "ratio"
    );
    let mut ratios = Vec::new();
    for _ in 0..deaths {
        write(&documents, next).await?;
        arrived(&ours, next).await?;
        arrived(&raw, next).await?;
        next += 1;
        let primary = mongo
            .database("admin")
            .run_command(doc! { "hello": 1 })
            .await?;
        let primary = primary.get_str("primary")?.to_owned();
        let primary = members.iter_mut().find(|member| member.name() == primary);
        let primary = primary.ok_or("the primary is none of ours")?;
        primary.process = None;
        let killed = Instant::now();
        let since = async |newest: &Newest| {
            arrived(newest, next).await?;
            Outcome::Ok(killed.elapsed().as_secs_f64())
        };
        let (written, ours, raw) = tokio::join!(write(&documents, next), since(&ours), since(&raw));
        written?;
        let (ours, raw) = (ours?, raw?);
        ratios.push(ours / raw);
        println!("{ours:10.2} {raw:10.2} {:8.2}", ours / raw);
        next += 1;
        primary.start()?;
        healthy(&mongo).await?;
    }
    println!(
        "median of the ratios {:.2} (goal: at most 1.2)",
        median(ratios)
    );
    Ok(())
}

/// Waits until all three are there again.
async fn healthy(mongo: &Client) -> Outcome<()> {
    let until = Instant::now() + PATIENCE;
    let mut told = String::new();
    while Instant::now() < until {
        let status = mongo
            .database("admin")
            .run_command(doc! { "replSetGetStatus": 1 })
            .await;
        let states: Vec<i32> = match &status {
            Ok(status) => status
                .get_array("members")?
                .iter()
                .filter_map(|member| member.as_document()?.get_i32("state").ok())
                .collect(),
            Err(error) => {
                told = error.to_string();
                Vec::new()
            }
        };
        let count = |state| states.iter().filter(|one| **one == state).count();
        if count(1) == 1 && count(2) == 2 {
            return Ok(());
        }
        tokio::time::sleep(LOOK_PAUSE).await;
    }
    Err(format!("the replica set does not become whole: {told}").into())
}

/// Writes until it is acknowledged by a majority.
async fn write(documents: &Collection<Document>, number: i32) -> Outcome<()> {
    let until = Instant::now() + PATIENCE;
    let document = doc! { "_id": number, "n": number };
    loop {
        match documents
            .replace_one(doc! { "_id": number }, &document)
            .upsert(true)
            .await
        {
            Ok(_) => return Ok(()),
            Err(error) if Instant::now() > until => return Err(error.into()),
            Err(_) => tokio::time::sleep(WRITE_PAUSE).await,
        }
    }
}

async fn arrived(newest: &Newest, number: i32) -> Outcome<()> {
    let mut newest = newest.clone();
    let wait = newest.wait_for(|newest| *newest >= number);
    tokio::time::timeout(PATIENCE, wait).await??;
    Ok(())
}

fn frames(mut socket: TcpStream) -> Newest {
    let (tell, newest) = watch::channel(-1);
    tokio::spawn(async move {
        let mut buffer = Vec::new();
        while socket
            .read_buf(&mut buffer)
            .await
            .is_ok_and(|read| read > 0)
        {
            let text = String::from_utf8_lossy(&buffer);
            let number = text.rsplit_once("\"n\": ").and_then(|(_, rest)| {
                let (number, _) = rest.split_once('}')?;
                number.parse::<i32>().ok()
            });
            if let Some(number) = number {
                tell.send_replace(number);
            }
        }
    });
    newest
}

async fn raw(uri: &str) -> Outcome<Newest> {
    let documents = Client::with_uri_str(uri).await?.database(DATABASE);
    let mut events = documents.collection::<Document>(COLLECTION).watch().await?;
    let (tell, newest) = watch::channel(-1);
    tokio::spawn(async move {
        // The driver resumes by itself once; then it is opened anew behind its token.
        loop {
            let failed = match events.next_if_any().await {
                Ok(event) => {
                    let number = event.and_then(|event| event.full_document?.get_i32("n").ok());
                    if let Some(number) = number {
                        tell.send_replace(number);
                    }
                    continue;
                }
                Err(_) => events.resume_token(),
            };
            let Some(token) = failed else { return };
            let watch = documents.collection::<Document>(COLLECTION);
            while let Err(_) | Ok(None) =
                watch
                    .watch()
                    .start_after(token.clone())
                    .await
                    .map(|opened| {
                        events = opened;
                        Some(())
                    })
            {
                tokio::time::sleep(WRITE_PAUSE).await;
            }
        }
    });
    Ok(newest)
}
