//! Makes a fresh mongod a replica set of one member, and returns when it takes writes.
//!
//! Change streams need a replica set. `mongosh --eval 'rs.initiate()'` does the same where there is a mongosh; the
//! scripts here do not ask for one.

use std::error::Error;
use std::time::{Duration, Instant};

use bson::{Document, doc};
use mongodb::error::ErrorKind;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let address = std::env::args()
        .nth(1)
        .ok_or("usage: replica-set HOST:PORT")?;
    let uri = format!("mongodb://{address}/?directConnection=true");
    let admin = mongodb::Client::with_uri_str(uri).await?.database("admin");

    let members = vec![doc! { "_id": 0, "host": &address }];
    let initiate = doc! { "replSetInitiate": { "_id": "rs0", "members": members } };
    match admin
        .run_command(initiate)
        .await
        .map_err(|error| *error.kind)
    {
        Ok(_) => (),
        Err(ErrorKind::Command(command)) if command.code == ALREADY_INITIALIZED => (),
        Err(kind) => return Err(kind.into()),
    }
    let deadline = Instant::now() + ELECTION_TIME_MAX;
    loop {
        let hello = admin.run_command(doc! { "hello": 1 }).await?;
        if is_primary(&hello) {
            return Ok(());
        }
        if Instant::now() > deadline {
            return Err(format!("{address} has not become primary: {hello}").into());
        }
        tokio::time::sleep(PAUSE).await;
    }
}

fn is_primary(hello: &Document) -> bool {
    hello.get_bool("isWritablePrimary").unwrap_or(false)
}

const ALREADY_INITIALIZED: i32 = 23;
const ELECTION_TIME_MAX: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(20);
