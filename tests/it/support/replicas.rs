//! A replica set of several real members behind relays: each can be killed, stopped, cut off and brought back.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use bson::{Document, doc};
use mongodb::Client;
use mongodb::options::ClientOptions;

use super::process::{Process, scratch};
use super::relay::Relay;

/// The set. Its members end with it, and their files go.
pub(crate) struct Replicas {
    members: Vec<Member>,
    binary: PathBuf,
    directory: PathBuf,
}

struct Member {
    port: u16,
    relay: Relay,
    process: Option<Process>,
    /// The name by which the others know it.
    host: String,
    /// The way to it by an earlier name.
    former: Option<Relay>,
}

impl Replicas {
    /// Starts `count` members with fail points allowed, and returns when one is primary and the others follow.
    pub(crate) async fn start(binary: &Path, count: usize) -> Self {
        let mut set = Self {
            members: Vec::new(),
            binary: binary.to_owned(),
            directory: scratch("replicas"),
        };
        for index in 0..count {
            let probe = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
            let port = probe.local_addr().expect("it is bound").port();
            let relay = Relay::start(SocketAddr::from(([127, 0, 0, 1], port)));
            set.members.push(Member {
                port,
                host: relay.address.to_string(),
                relay,
                process: None,
                former: None,
            });
            drop(probe);
            std::fs::create_dir(set.path(index)).expect("the build directory can be written");
        }
        for index in 0..count {
            set.launch(index);
        }
        for index in 0..count {
            set.answering(index).await;
        }
        let members: Vec<Document> = set
            .members
            .iter()
            .enumerate()
            .map(|(index, member)| doc! { "_id": index as i32, "host": &member.host })
            .collect();
        // Elections within seconds; a test waits for several.
        let settings =
            doc! { "electionTimeoutMillis": ELECTION_MS, "heartbeatIntervalMillis": 300 };
        let config = doc! { "_id": NAME, "members": members, "settings": settings };
        let direct = set.direct(0).await.database("admin");
        let initiated = direct.run_command(doc! { "replSetInitiate": config }).await;
        initiated.expect("fresh servers take a replica set's configuration");
        set.whole().await;
        set
    }

    /// The address of the set, through the relays.
    pub(crate) fn uri(&self) -> String {
        let hosts: Vec<&str> = self.members.iter().map(|member| &*member.host).collect();
        format!("mongodb://{}/?replicaSet={NAME}", hosts.join(","))
    }

    /// How many members it has.
    pub(crate) fn len(&self) -> usize {
        self.members.len()
    }

    /// A client of the whole set.
    pub(crate) async fn client(&self) -> Client {
        patient(&self.uri()).await
    }

    /// A client of one member, past its relay.
    pub(crate) async fn direct(&self, index: usize) -> Client {
        let port = self.members[index].port;
        let uri = format!("mongodb://127.0.0.1:{port}/?directConnection=true");
        patient(&uri).await
    }

    /// The relay before a member.
    pub(crate) fn relay(&self, index: usize) -> &Relay {
        &self.members[index].relay
    }

    /// Waits for a primary, and returns which it is.
    pub(crate) async fn primary(&self) -> usize {
        let admin = self.client().await.database("admin");
        let until = Instant::now() + PATIENCE;
        loop {
            // An election may come between the choice of a server and its answer.
            let hello = admin.run_command(doc! { "hello": 1 }).await;
            let me = hello
                .ok()
                .filter(|hello| hello.get_bool("isWritablePrimary").unwrap_or(false))
                .and_then(|hello| hello.get_str("me").ok().map(str::to_owned));
            if let Some(me) = me
                && let Some(found) = self.members.iter().position(|member| member.host == me)
            {
                return found;
            }
            assert!(Instant::now() < until, "the set has no primary");
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    /// Kills a member at once, as a crash does.
    pub(crate) async fn kill(&mut self, index: usize) {
        let process = self.members[index].process.take().expect("it is running");
        process.order("KILL");
        process.exit_code(PATIENCE).await;
    }

    /// Whether a member runs, be it stopped.
    pub(crate) fn is_running(&self, index: usize) -> bool {
        self.members[index].process.is_some()
    }

    /// Starts a member again on its old port and files, and returns when it answers.
    pub(crate) async fn restart(&mut self, index: usize) {
        self.launch(index);
        self.answering(index).await;
    }

    /// Has a member stand still, as a machine does that is out of memory; and go on again.
    pub(crate) fn pause(&self, index: usize, is_paused: bool) {
        let process = self.members[index].process.as_ref().expect("it is running");
        process.order(if is_paused { "STOP" } else { "CONT" });
    }

    /// Has the primary step down.
    pub(crate) async fn step_down(&self) {
        let admin = self.direct(self.primary().await).await.database("admin");
        let order = doc! { "replSetStepDown": 2, "secondaryCatchUpPeriodSecs": 1, "force": true };
        // It may have stepped down by itself.
        drop(admin.run_command(order).await);
    }

    /// Sets a fail point for commands of Sidestream on the primary.
    pub(crate) async fn fail(&self, times: i32, data: Document) {
        let admin = self.direct(self.primary().await).await.database("admin");
        let mut data = data;
        data.insert("appName", "sidestream");
        let order =
            doc! { "configureFailPoint": "failCommand", "mode": { "times": times }, "data": data };
        let done = admin.run_command(order).await;
        done.expect("fail points are allowed");
    }

    /// Takes the fail point back.
    pub(crate) async fn unfail(&self) {
        let admin = self.direct(self.primary().await).await.database("admin");
        let order = doc! { "configureFailPoint": "failCommand", "mode": "off" };
        let done = admin.run_command(order).await;
        done.expect("fail points are allowed");
    }

    /// Keeps a copy of a killed member's files, as a backup does.
    pub(crate) fn save(&self, index: usize) {
        copy(&self.path(index), &self.directory.join("saved"));
    }

    /// Puts the copy in the place of a killed member's files.
    pub(crate) fn restore(&self, index: usize) {
        let path = self.path(index);
        std::fs::remove_dir_all(&path).expect("nobody uses them");
        copy(&self.directory.join("saved"), &path);
    }

    /// Gives a member another name, by which everybody has to find it from now on.
    pub(crate) async fn rename(&mut self, index: usize) {
        let target = SocketAddr::from(([127, 0, 0, 1], self.members[index].port));
        let relay = Relay::start(target);
        let host = format!("localhost:{}", relay.address.port());
        let admin = self.direct(index).await.database("admin");
        let got = admin.run_command(doc! { "replSetGetConfig": 1 }).await;
        let mut config = got
            .expect("it is a member")
            .get_document("config")
            .expect("its configuration")
            .clone();
        let version = config.get_i32("version").expect("a version");
        config.insert("version", version + 1);
        let members = config.get_array_mut("members").expect("members");
        let member = members[index].as_document_mut().expect("a member");
        member.insert("host", host.as_str());
        let order = doc! { "replSetReconfig": config, "force": true };
        admin
            .run_command(order)
            .await
            .expect("it takes its new name");
        // The old way stays for as long as drivers need it to hear of the new one.
        self.members[index].host = host;
        self.members[index].former = Some(std::mem::replace(&mut self.members[index].relay, relay));
        self.whole().await;
    }

    /// Waits until a member is primary and all running ones follow it.
    pub(crate) async fn whole(&self) {
        let until = Instant::now() + PATIENCE;
        loop {
            let primary = self.primary().await;
            let admin = self.direct(primary).await.database("admin");
            let status = admin.run_command(doc! { "replSetGetStatus": 1 }).await;
            let states: Vec<i32> = status
                .iter()
                .filter_map(|status| status.get_array("members").ok())
                .flatten()
                .filter_map(|member| member.as_document()?.get_i32("state").ok())
                .collect();
            if states.len() == self.len() && states.iter().all(|state| [1, 2].contains(state)) {
                return;
            }
            assert!(Instant::now() < until, "members are missing: {states:?}");
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    fn path(&self, index: usize) -> PathBuf {
        self.directory.join(index.to_string())
    }

    fn launch(&mut self, index: usize) {
        let path = self.path(index);
        let port = self.members[index].port.to_string();
        let mut command = Command::new(&self.binary);
        command.args(["--replSet", NAME, "--bind_ip", "127.0.0.1"]);
        command.args(["--port", &port, "--nounixsocket", "--quiet"]);
        command.args(["--wiredTigerCacheSizeGB", "0.25", "--oplogSize", "512"]);
        command.args(["--setParameter", "enableTestCommands=1"]);
        command.args(["--setParameter", "diagnosticDataCollectionEnabled=false"]);
        command
            .arg("--logappend")
            .arg("--logpath")
            .arg(path.join("log"));
        command.arg("--dbpath").arg(&path);
        self.members[index].process = Some(Process::start(&command, None));
    }

    async fn answering(&self, index: usize) {
        let admin = self.direct(index).await.database("admin");
        let pong = admin.run_command(doc! { "ping": 1 }).await;
        if let Err(error) = pong {
            let log = std::fs::read_to_string(self.path(index).join("log")).unwrap_or_default();
            let end: Vec<&str> = log.lines().rev().take(20).collect();
            panic!(
                "member {index} does not answer: {error}\n{}",
                end.join("\n")
            );
        }
    }
}

impl Drop for Replicas {
    fn drop(&mut self) {
        self.members.clear();
        // What is left is in the build directory.
        drop(std::fs::remove_dir_all(&self.directory));
    }
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("the build directory can be written");
    for entry in std::fs::read_dir(from).expect("it can be read") {
        let entry = entry.expect("it can be read");
        let (path, target) = (entry.path(), to.join(entry.file_name()));
        match path.is_dir() {
            true => copy(&path, &target),
            false => drop(std::fs::copy(&path, &target).expect("it can be copied")),
        }
    }
}

async fn patient(uri: &str) -> Client {
    let mut options = ClientOptions::parse(uri).await.expect("an address");
    options.server_selection_timeout = Some(PATIENCE);
    Client::with_options(options).expect("the options agree")
}

const NAME: &str = "rs0";
const ELECTION_MS: i32 = 1500;
/// A machine that is busy with other things starts a server in a minute, or two.
const PATIENCE: Duration = Duration::from_secs(180);
/// A set tells nobody when its members have found each other.
const LOOK_AGAIN: Duration = Duration::from_millis(50);
