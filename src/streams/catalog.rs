//! All definitions, as a snapshot that readers take without waiting.
//!
//! Writers are few: the feed, and reads after a write through the proxy. Each brings the time at which what it brings was
//! true; what is older than what is here is ignored, so that nothing is put back.

#[cfg(test)]
mod tests;

use std::{collections::HashMap, sync::Arc};

use arc_swap::ArcSwap;
use bson::{Bson, Document, Timestamp, doc};

use super::definition::CollectionDefinitions;
use super::limits::PipelineLimits;

/// A stream that the configuration defines.
#[derive(Clone, Debug, PartialEq)]
pub struct StaticStream {
    /// The database.
    pub database: String,
    /// The collection.
    pub collection: String,
    /// The name after `_streams/`.
    pub uri: String,
    /// The stages, as metadata would hold them.
    pub stages: Vec<Document>,
    /// The condition on each outgoing event, as metadata would hold it.
    pub notify_when: Option<Document>,
}

/// What is known of one collection.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// Its streams.
    pub definitions: CollectionDefinitions,
    /// When this was true.
    pub as_of: Timestamp,
    /// Whether the collection has metadata, or streams by configuration.
    pub exists: bool,
}

/// What one collection was and is.
#[derive(Clone, Debug)]
pub struct Change {
    /// The collection.
    pub collection: String,
    /// What was known before.
    pub before: Option<Arc<Entry>>,
    /// What is known now.
    pub after: Arc<Entry>,
}

/// The definitions of all databases that are watched.
#[derive(Debug)]
pub struct Catalog {
    databases: ArcSwap<HashMap<String, Database>>,
    limits: PipelineLimits,
    /// Streams by configuration, which stand behind those of the metadata.
    configured: HashMap<(String, String), CollectionDefinitions>,
}

/// Shared between snapshots, so that a change copies one database only.
type Database = Arc<HashMap<String, Arc<Entry>>>;

impl Default for Catalog {
    fn default() -> Self {
        Self::new([])
    }
}

impl Catalog {
    /// Returns a catalog that knows the streams of the configuration only, and takes definitions of any size.
    pub fn new(configured: impl IntoIterator<Item = StaticStream>) -> Self {
        Self::within(PipelineLimits::default(), configured)
    }

    /// As [`Catalog::new`]; definitions beyond the limits are broken.
    pub fn within(
        limits: PipelineLimits,
        configured: impl IntoIterator<Item = StaticStream>,
    ) -> Self {
        let mut elements: HashMap<(String, String), Vec<Bson>> = HashMap::new();
        for stream in configured {
            let mut element = doc! { "uri": stream.uri, "stages": stream.stages };
            if let Some(condition) = stream.notify_when {
                element.insert("notify_when", condition);
            }
            elements
                .entry((stream.database, stream.collection))
                .or_default()
                .push(element.into());
        }
        let configured: HashMap<_, _> = elements
            .into_iter()
            .map(|(place, elements)| {
                (
                    place,
                    CollectionDefinitions::parse(Some(&Bson::Array(elements)), &limits),
                )
            })
            .collect();
        let catalog = Self {
            databases: ArcSwap::default(),
            limits,
            configured,
        };
        for (database, collection) in catalog.configured.keys() {
            catalog.replace(
                database,
                collection,
                None,
                Timestamp {
                    time: 0,
                    increment: 0,
                },
            );
        }
        catalog
    }

    /// Sets what the metadata of one collection says: `properties` is its document in `_properties`, none if it is gone.
    ///
    /// Returns what changed; nothing if what is here is newer.
    pub fn replace(
        &self,
        database: &str,
        collection: &str,
        properties: Option<&Document>,
        as_of: Timestamp,
    ) -> Option<Change> {
        let after = Arc::new(self.entry(database, collection, properties, as_of));
        let mut change = None;
        self.databases.rcu(|databases| {
            // The closure runs again where another writer came between.
            change = None;
            let before = databases
                .get(database)
                .and_then(|known| known.get(collection))
                .cloned();
            if before.as_ref().is_some_and(|before| before.as_of > as_of) {
                return Arc::clone(databases);
            }
            let mut databases = HashMap::clone(databases);
            let mut known = databases
                .get(database)
                .map_or_else(HashMap::new, |known| HashMap::clone(known));
            known.insert(collection.to_owned(), Arc::clone(&after));
            databases.insert(database.to_owned(), Arc::new(known));
            change = Some(Change {
                collection: collection.to_owned(),
                before,
                after: Arc::clone(&after),
            });
            Arc::new(databases)
        });
        change
    }

    /// Sets what the metadata of a whole database says: `documents` are all of its `_properties`, read at `as_of`.
    ///
    /// Returns what changed, collection by collection: those that have metadata no more as well.
    pub fn replace_database<'a>(
        &self,
        database: &str,
        documents: impl IntoIterator<Item = &'a Document>,
        as_of: Timestamp,
    ) -> Vec<Change> {
        let documents: HashMap<&str, &Document> = documents
            .into_iter()
            .filter_map(|document| Some((collection_of(document)?, document)))
            .collect();
        let snapshot = self.databases.load();
        let known: Vec<String> = snapshot
            .get(database)
            .into_iter()
            .flat_map(|known| known.keys().cloned())
            .collect();
        let gone = known
            .iter()
            .filter(|collection| !documents.contains_key(collection.as_str()));
        let gone = gone.filter_map(|collection| self.replace(database, collection, None, as_of));
        let gone: Vec<Change> = gone.collect();
        let present = documents.iter().filter_map(|(collection, document)| {
            self.replace(database, collection, Some(document), as_of)
        });
        present.chain(gone).collect()
    }

    /// Returns what is known of a collection.
    pub fn find(&self, database: &str, collection: &str) -> Option<Arc<Entry>> {
        self.databases
            .load()
            .get(database)?
            .get(collection)
            .cloned()
    }

    /// Returns the names of the collections that exist by metadata or configuration, sorted.
    pub fn collections(&self, database: &str) -> Vec<String> {
        let databases = self.databases.load();
        let known = databases
            .get(database)
            .into_iter()
            .flat_map(|known| known.iter());
        let mut names: Vec<String> = known
            .filter(|(_, entry)| entry.exists)
            .map(|(name, _)| name.clone())
            .collect();
        names.sort_unstable();
        names
    }

    /// Returns the names of the databases that are known, sorted.
    pub fn databases(&self) -> Vec<String> {
        let mut names: Vec<String> = self.databases.load().keys().cloned().collect();
        names.sort_unstable();
        names
    }

    fn entry(
        &self,
        database: &str,
        collection: &str,
        properties: Option<&Document>,
        as_of: Timestamp,
    ) -> Entry {
        let definitions = CollectionDefinitions::parse(
            properties.and_then(|properties| properties.get("streams")),
            &self.limits,
        );
        match self
            .configured
            .get(&(database.to_owned(), collection.to_owned()))
        {
            Some(more) => Entry {
                definitions: definitions.followed_by(more),
                as_of,
                exists: true,
            },
            None => Entry {
                definitions,
                as_of,
                exists: properties.is_some(),
            },
        }
    }
}

/// Returns the collection that a document of `_properties` describes; none for that of the database itself.
pub fn collection_of(document: &Document) -> Option<&str> {
    collection_of_id(document.get("_id")?)
}

/// Returns the collection whose metadata has the id `id` in `_properties`.
pub fn collection_of_id(id: &Bson) -> Option<&str> {
    id.as_str()?.strip_prefix("_properties.")
}
