//! `sidestream check`: what is wrong in the database, and how each stream is served.

mod diagnosis;

use std::time::Duration;

use crate::app::check::diagnosis::{NO_REPLICA_SET, diagnose};
use crate::app::{log, rooms};
use crate::config::{Config, Streams, UpstreamUrl, Watch};
use crate::front::streaming::Streaming;
use crate::lifecycle::{Shutdown, Tasks};
use crate::mongo::client::{Connector, operation_time};
use crate::mongo::feed::{Gate as _, Scope};
use crate::mongo::privileges::{self, Need};
use crate::mongo::{MongoError, Namespace};
use crate::proxy::{Forwarder, Unwell, UpstreamAddress};

/// How long the database may take to answer before it counts as unreachable.
const PATIENCE: Duration = Duration::from_secs(6);
/// What of the log is seen beside the report.
const LOG_LEVEL: &str = "error";

/// What `sidestream check` found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CheckReport {
    /// For people, in the order in which they should be read.
    pub lines: Vec<String>,
    /// Whether nothing is wrong.
    pub ok: bool,
}

impl CheckReport {
    fn fine(&mut self, line: impl Into<String>) {
        self.lines.push(format!("ok       {}", line.into()));
    }

    fn note(&mut self, line: impl Into<String>) {
        self.lines.push(format!("note     {}", line.into()));
    }

    fn wrong(&mut self, line: impl Into<String>) {
        self.lines.push(format!("wrong    {}", line.into()));
        self.ok = false;
    }
}

/// Checks what a valid configuration leads to: the upstream, MongoDB, its privileges, and every definition and permission
/// stored there.
pub async fn check(config: &Config) -> CheckReport {
    let mut report = CheckReport {
        ok: true,
        ..CheckReport::default()
    };
    // What the rooms would warn of is said in the report, once; only what is a fault of ours may come between.
    if let Err(error) = log::set_level(LOG_LEVEL) {
        tracing::debug!(%error, "the log goes on as configured");
    }
    report.fine("the configuration is valid");
    match rooms::tls(config) {
        Ok(None) => (),
        Ok(Some(_)) => report.fine("the certificate for HTTPS can be used with its key"),
        Err(error) => report.wrong(format!("server.tls: {error}")),
    }
    match Forwarder::new(rooms::proxy(&config.upstream, &config.server)) {
        Ok(forwarder) => report_upstreams(config, forwarder.probe().await, &mut report),
        Err(error) => report.wrong(format!("upstream.url: {error}")),
    }
    match &config.streams {
        None => report.note("streams.enabled = false: a plain proxy, nothing else to check"),
        Some(streams) => check_streams(config, streams, &mut report).await,
    }
    report
}

fn report_upstreams(
    config: &Config,
    probed: Vec<(UpstreamAddress, Result<(), Unwell>)>,
    report: &mut CheckReport,
) {
    let only = address(&config.upstream.url);
    let are_several = probed.len() > 1;
    let path = config.upstream.health.path.as_deref();
    for (upstream, probed) in probed {
        match (probed, are_several, path) {
            (Ok(()), false, _) => {
                report.fine(format!("the upstream takes connections at {only}"));
            }
            (Ok(()), true, None) => report.fine(format!("upstream {upstream}: takes connections")),
            (Ok(()), true, Some(path)) => {
                report.fine(format!("upstream {upstream}: is well by {path}"));
            }
            (Err(error), false, _) => report.wrong(format!("upstream.url: {only}: {error}")),
            (Err(error), true, _) => report.wrong(format!("upstream {upstream}: {error}")),
        }
    }
}

async fn check_streams(config: &Config, streams: &Streams, report: &mut CheckReport) {
    let parsed = Connector::parse(streams.mongodb.uri.reveal(), 1).await;
    let client = match parsed.and_then(|connector| connector.client()) {
        Ok(client) => client,
        Err(error) => return report.wrong(format!("mongodb.uri: {error}")),
    };
    match tokio::time::timeout(PATIENCE, operation_time(&client)).await {
        Ok(Ok(_)) => report.fine("MongoDB answers, as a replica set"),
        Ok(Err(MongoError::NoReplicaSet)) => return report.wrong(NO_REPLICA_SET),
        Ok(Err(error)) => return unusable(streams, &error.to_string(), report).await,
        Err(_) => return unusable(streams, "MongoDB does not answer", report).await,
    }
    let tasks = Tasks::new();
    let half = match rooms::streams(config, streams, &tasks, Shutdown::new()).await {
        Ok(half) => half,
        Err(error) => return report.wrong(format!("{error}")),
    };
    if !check_privileges(&client, streams, &half, report).await {
        return;
    }
    check_order(streams, &half, report);
    let databases = half
        .mounts
        .databases()
        .map(str::to_owned)
        .chain(half.admission.settings.rests_on.clone());
    let mut databases: Vec<String> = databases.collect();
    databases.sort_unstable();
    databases.dedup();
    for database in databases {
        let scope = Scope::Database(database.as_str().into());
        if let Err(error) = half.metadata().reload(&scope).await {
            report.wrong(format!("{database}: {error}"));
        }
    }
    check_definitions(&half, report);
    for problem in half.metadata().access().problems() {
        report.wrong(format!(
            "permission {}: {}; it lets nobody in",
            problem.id, problem.reason
        ));
    }
}

/// Says why MongoDB cannot be used, as far as it can be found out; else what the driver says.
async fn unusable(streams: &Streams, error: &str, report: &mut CheckReport) {
    let reasons = diagnose(streams.mongodb.uri.reveal()).await;
    for reason in &reasons {
        report.wrong(format!("mongodb.uri: {reason}"));
    }
    if reasons.is_empty() {
        report.wrong(format!("mongodb.uri: {error}"));
    }
}

fn address(upstream: &UpstreamUrl) -> String {
    match upstream {
        UpstreamUrl::Http { host, port } | UpstreamUrl::Https { host, port } => {
            match host.contains(':') {
                true => format!("[{host}]:{port}"),
                false => format!("{host}:{port}"),
            }
        }
        UpstreamUrl::Unix { path } => path.display().to_string(),
    }
}

async fn check_privileges(
    client: &mongodb::Client,
    streams: &Streams,
    half: &Streaming,
    report: &mut CheckReport,
) -> bool {
    let mut needs = Vec::new();
    let rests_on = half.admission.settings.rests_on.iter().map(String::as_str);
    for database in half.mounts.databases().chain(rests_on) {
        needs.push(match streams.mongodb.watch {
            Watch::Database => Need::Watch(Scope::Database(database.into())),
            Watch::Deployment => Need::Watch(Scope::Deployment),
        });
        needs.push(Need::Read(Namespace::new(
            database,
            crate::front::metadata::PROPERTIES,
        )));
    }
    if let Some(acl) = &streams.acl.mongo {
        needs.push(Need::Read(Namespace::new(
            acl.database.as_str(),
            acl.collection.as_str(),
        )));
    }
    if let Some(users) = &streams.auth.mongo {
        needs.push(Need::Read(Namespace::new(
            users.database.as_str(),
            users.collection.as_str(),
        )));
    }
    let mut unique = Vec::new();
    for need in needs {
        if !unique.contains(&need) {
            unique.push(need);
        }
    }
    match privileges::missing(client, &unique).await {
        Ok(missing) if missing.is_empty() => {
            report.fine("MongoDB grants what is needed");
            true
        }
        Ok(missing) => {
            for missing in missing {
                report.wrong(format!(
                    "{missing}; docs/privileges.md has the role as a command"
                ));
            }
            false
        }
        Err(error) => {
            report.wrong(format!("privileges: {error}"));
            false
        }
    }
}

/// Says whether revocations hold by order or within a second.
fn check_order(streams: &Streams, half: &Streaming, report: &mut CheckReport) {
    let rests_on = &half.admission.settings.rests_on;
    let elsewhere: Vec<&str> = half
        .mounts
        .databases()
        .filter(|database| !rests_on.iter().any(|kept| kept == database))
        .collect();
    let mounts_all = streams.mongodb.mounts.iter().any(|mount| mount.what == "*");
    match streams.mongodb.watch {
        Watch::Deployment => report.fine("revocations hold by order, for every database"),
        Watch::Database if elsewhere.is_empty() && !mounts_all => {
            report.fine("revocations hold by order: permissions and users lie in the database that is watched");
        }
        Watch::Database => report.note(format!(
            "permissions and users lie in {}: for streams of other databases a revocation holds within a second, not by \
             order; mongodb.watch = \"deployment\" makes it one order",
            rests_on.join(", ")
        )),
    }
}

fn check_definitions(half: &Streaming, report: &mut CheckReport) {
    let described = half.described();
    if described.is_empty() {
        report.note("no stream is defined yet");
    }
    for stream in described {
        let uri = stream.uri.as_deref().unwrap_or("(without uri)");
        let name = format!("stream {}.{}/{uri}", stream.database, stream.collection);
        match (stream.kind, stream.reason) {
            ("broken", reason) => report.wrong(format!("{name}: {}", reason.unwrap_or_default())),
            (kind, None) => report.fine(format!("{name}: {kind}")),
            (kind, Some(reason)) => report.fine(format!("{name}: {kind}, since {reason}")),
        }
    }
}
