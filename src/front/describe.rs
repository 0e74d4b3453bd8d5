//! What is served and how: for `/streams`, and for `check`.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bson::Timestamp;
use serde_json::{Value, json};

use crate::engine::plan::{Served, serve};
use crate::front::feeds::Feeds;
use crate::front::streaming::Streaming;
use crate::mongo::ResumeToken;
use crate::mongo::feed::{Feed, State};
use crate::streams::definition::DefinitionEntry;
use crate::streams::pipeline;

/// How one definition is served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Described {
    /// The database.
    pub database: String,
    /// The collection.
    pub collection: String,
    /// The stream's name; none where the entry lacks it.
    pub uri: Option<String>,
    /// `shared`, `dedicated` or `broken`.
    pub kind: &'static str,
    /// Why it is not shared.
    pub reason: Option<String>,
}

impl Streaming {
    /// Every definition that is known, broken ones too.
    pub fn described(&self) -> Vec<Described> {
        let catalog = self.metadata().catalog();
        let mut described = Vec::new();
        for database in catalog.databases() {
            for collection in catalog.collections(&database) {
                let Some(entry) = catalog.find(&database, &collection) else {
                    continue;
                };
                let one = |uri: Option<String>, (kind, reason)| Described {
                    database: database.clone(),
                    collection: collection.clone(),
                    uri,
                    kind,
                    reason,
                };
                if let Some(reason) = entry.definitions.broken() {
                    described.push(one(None, ("broken", Some(reason.to_owned()))));
                }
                let entries = entry.definitions.entries();
                described.extend(entries.map(|entry| one(entry.uri.clone(), served(entry))));
            }
        }
        described
    }

    /// The body of `/streams`.
    pub fn describe(&self) -> Value {
        let sessions = self.metadata().live().all();
        let stream = |described: Described| {
            let open = sessions.iter().filter(|session| {
                *session.namespace.database == described.database
                    && *session.namespace.collection == described.collection
                    && Some(&session.definition.uri) == described.uri.as_ref()
            });
            let path = self
                .mounts
                .path_of(&described.database, &described.collection);
            let path = path
                .zip(described.uri.as_ref())
                .map(|(path, uri)| format!("{path}/_streams/{uri}"));
            json!({
                "database": described.database, "collection": described.collection, "uri": described.uri,
                "path": path, "kind": described.kind, "reason": described.reason, "sessions": open.count(),
            })
        };
        let streams: Vec<Value> = self.described().into_iter().map(stream).collect();
        let feeds: Vec<Value> = self
            .feeds()
            .all()
            .iter()
            .map(|feed| describe_feed(feed))
            .collect();
        let admission = &self.admission;
        let budget = &admission.settings.budget;
        let (groups, groups_bytes) = admission.engine.groups();
        let mut limits: serde_json::Map<String, Value> = admission
            .places
            .usage()
            .into_iter()
            .map(|usage| {
                (
                    usage.limit.to_owned(),
                    json!({ "used": usage.used, "max": usage.max }),
                )
            })
            .collect();
        limits.insert("groups".to_owned(), json!({ "used": groups }));
        limits.insert("groups_size".to_owned(), json!({ "used": groups_bytes }));
        let outboxes = json!({ "used": budget.used(), "max": budget.bytes_max() });
        limits.insert("outboxes".to_owned(), outboxes);
        json!({
            "streams": streams,
            "limits": limits,
            "sessions": sessions.len(),
            "cursors": { "feed": feeds.len(), "dedicated": self.admission.engine.dedicated_cursors() },
            "feeds": feeds,
        })
    }
}

fn describe_feed(feed: &Feed) -> Value {
    let position = feed.position().borrow().clone();
    let idle = position.as_ref().map(|token| age(token.time()).as_secs());
    let ring = feed.ring();
    let (state, reason) = match feed.state() {
        State::Opening => ("opening", None),
        State::Live => ("live", None),
        State::Down(error) => ("down", Some(error.to_string())),
    };
    json!({
        "scope": feed.scope().to_string(), "state": state, "reason": reason,
        "position": position.as_ref().map(ResumeToken::as_str),
        "position_age_seconds": idle, "ring_bytes": ring.bytes(),
        "ring": {
            "bytes": ring.bytes(), "bytes_max": ring.bytes_max(), "events": ring.events(),
            "reach_seconds": ring.reaches_back_to_time().map(|time| age(time).as_secs()),
        },
    })
}

/// How long ago this was, by MongoDB's clock and ours.
fn age(time: Timestamp) -> Duration {
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    now.saturating_sub(Duration::from_secs(time.time.into()))
}

/// Says in metrics, again and again, how large all rings are, and how far the one reaches that reaches least. Runs until
/// its task is dropped.
pub async fn note_rings(feeds: Arc<Feeds>) {
    let mut interval = tokio::time::interval(NOTE_INTERVAL);
    loop {
        interval.tick().await;
        let feeds = feeds.all();
        let bytes: usize = feeds.iter().map(|feed| feed.ring().bytes()).sum();
        metrics::gauge!("sidestream_ring_bytes").set(bytes as f64);
        let reaches = feeds
            .iter()
            .filter_map(|feed| feed.ring().reaches_back_to_time());
        if let Some(reach) = reaches.map(age).min() {
            metrics::gauge!("sidestream_ring_reach_seconds").set(reach.as_secs_f64());
        }
    }
}

/// How often the metrics are brought up to date.
const NOTE_INTERVAL: Duration = Duration::from_secs(1);

fn served(entry: &DefinitionEntry) -> (&'static str, Option<String>) {
    match &entry.definition {
        Err(message) => ("broken", Some(message.clone())),
        Ok(definition) => match pipeline::example(definition) {
            Err(error) => ("broken", Some(error.to_string())),
            Ok(bound) => match serve(&bound.stages) {
                Served::Shared(_) => ("shared", None),
                Served::Dedicated { reason } => ("dedicated", Some(reason)),
            },
        },
    }
}
