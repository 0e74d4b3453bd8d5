//! The real binary, killed and started again on one address; and what it finds in MongoDB.

use std::{fs, net::SocketAddr, path::PathBuf, process::Command, time::Duration};

use bson::{Document, doc};
use mongodb::Client;

use crate::{
    process::{Process, scratch},
    support::{
        Outcome,
        stack::{build_directory, listening},
    },
};

/// A running Sidestream.
pub(crate) struct Sidestream {
    address: SocketAddr,
    process: Option<Process>,
    uri: String,
    directory: PathBuf,
    /// How many of its lines have been taken, and what was not when it was ended.
    taken: usize,
    left: Vec<String>,
}

impl Sidestream {
    pub(crate) async fn start(uri: &str) -> Outcome<Self> {
        let mut this = Self {
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
            process: None,
            uri: uri.to_owned(),
            directory: scratch("chaos"),
            taken: 0,
            left: Vec::new(),
        };
        this.begin().await?;
        Ok(this)
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends it with a signal, and waits for its end.
    pub(crate) async fn end(&mut self, signal: &str) {
        if let Some(process) = self.process.take() {
            process.order(signal);
            let log = process.log.clone();
            process.exit_code(END_WAIT).await;
            self.left.extend_from_slice(&log.lines()[self.taken..]);
            self.taken = 0;
        }
    }

    /// Starts it, on the port that it had.
    pub(crate) async fn begin(&mut self) -> Outcome<()> {
        let binary = build_directory()?.join("sidestream");
        if !binary.is_file() {
            return Err("build it first: cargo build --bins --examples".into());
        }
        let file = self.directory.join("sidestream.toml");
        // A small ring, so that many come back by a cursor; little patience, so that some are told that MongoDB is away.
        let config = format!(
            "[server]\nlisten = [\"{}\"]\ndrain = \"2s\"\n[admin]\nenabled = false\n[upstream]\nurl = \"http://127.0.0.1:1\"\n\
             [mongodb]\nuri = \"{}\"\nmounts = [{{ where = \"/\", what = \"/{DATABASE}\" }}, {{ where = \"/other\", what = \"/{OTHER}\" }}]\n\
             [log]\naccess = false\nlevel = \"warn,sidestream::front::listener=info\"\n\
             [auth.mongo]\ndatabase = \"{DATABASE}\"\n[acl.mongo]\ndatabase = \"{DATABASE}\"\n\
             [streams]\nfeed_patience = \"4s\"\n[limits]\nring = \"128KiB\"\noutbox = \"256KiB\"\n",
            self.address, self.uri
        );
        fs::write(&file, config)?;
        let mut command = Command::new(binary);
        command.arg("--config").arg(&file);
        let process = Process::start(&command, None);
        self.address = process.log.wait("sidestream to listen", 0, listening).await;
        self.process = Some(process);
        Ok(())
    }

    /// What it has said since this was asked last: warnings, errors and panics.
    pub(crate) fn said(&mut self) -> Vec<String> {
        let mut said = std::mem::take(&mut self.left);
        if let Some(process) = &self.process {
            let lines = process.log.lines();
            said.extend_from_slice(&lines[self.taken..]);
            self.taken = lines.len();
        }
        said
    }
}

impl Drop for Sidestream {
    fn drop(&mut self) {
        drop(self.process.take());
        drop(fs::remove_dir_all(&self.directory));
    }
}

/// Stores the user, the streams and the collections.
pub(crate) async fn store(mongo: &Client) -> Outcome<()> {
    let database = mongo.database(DATABASE);
    let password = bcrypt::hash("secret", 4)?;
    let admin = doc! { "_id": "admin", "password": password, "roles": ["admin"] };
    database
        .collection::<Document>("users")
        .insert_one(admin)
        .await?;
    for collection in [EVENTS, LARGE] {
        define(mongo, DATABASE, collection).await?;
    }
    define(mongo, OTHER, FLEETING).await
}

/// Makes a collection with its streams: of everything, of a slice, and of a slice by a cursor of its own. It may be there already.
pub(crate) async fn define(mongo: &Client, database: &str, collection: &str) -> Outcome<()> {
    let database = mongo.database(database);
    match database.create_collection(collection).await {
        Ok(()) => (),
        Err(error) => match *error.kind {
            mongodb::error::ErrorKind::Command(ref refused) if refused.code == EXISTS => (),
            _ => return Err(error.into()),
        },
    }
    let id = format!("_properties.{collection}");
    let slice = doc! { "_$match": { "fullDocument::slice": { "_$var": "n" } } };
    // Nobody but MongoDB evaluates this one, and it lets everything pass.
    let anything = doc! { "_$match": { "_$expr": { "_$gte": [{ "_$rand": {} }, 0] } } };
    let streams = [
        doc! { "uri": "all", "stages": [] },
        doc! { "uri": "mine", "stages": [&slice] },
        doc! { "uri": "own", "stages": [&slice, anything] },
    ];
    let properties = doc! { "_id": &id, "streams": streams.to_vec() };
    database
        .collection::<Document>("_properties")
        .replace_one(doc! { "_id": id }, properties)
        .upsert(true)
        .await?;
    Ok(())
}

pub(crate) const DATABASE: &str = "chaos";
pub(crate) const OTHER: &str = "chaos_other";
pub(crate) const EVENTS: &str = "events";
pub(crate) const LARGE: &str = "large";
pub(crate) const FLEETING: &str = "fleeting";
const EXISTS: i32 = 48;
const END_WAIT: Duration = Duration::from_secs(20);
