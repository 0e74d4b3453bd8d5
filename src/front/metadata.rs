//! What the metadata says now: definitions, permissions, users; how it is read, and how a change of it is applied.
//!
//! [`gate`] is what the feeds call.

mod gate;
mod watching;

use std::collections::{BTreeSet, HashMap};
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bson::{Bson, Document, Timestamp, doc};
use futures_util::future::BoxFuture;
use mongodb::Client;
use tokio::time::Instant;

use crate::access::{Access, Problem, Unavailable, Users};
use crate::delivery::Ending;
use crate::front::live::{LiveSession, LiveSessions};
use crate::front::refusal::noted;
use crate::mongo::client::Clock;
use crate::mongo::feed::Feed;
use crate::mongo::lookup::{Finds, Lookup};
use crate::mongo::mirror::{Known, Mirror};
use crate::mongo::{MongoError, Namespace};
use crate::streams::catalog::collection_of;
use crate::streams::{Catalog, CollectionDefinitions, DefinitionError};

use watching::Watching;

/// The collection in which RESTHeart keeps the properties of a database and its collections.
pub const PROPERTIES: &str = "_properties";
/// What stands before a collection's name in the `_id` of its properties.
const PROPERTIES_ID_PREFIX: &str = "_properties.";
/// Collections without metadata of which it is remembered for a moment that there is none.
const ABSENT_REMEMBERED: NonZeroUsize = NonZeroUsize::new(4096).unwrap();

/// How often in a second the permissions are read anew before somebody is refused; beyond that the feed has to bring them.
const ASKS_PER_SECOND: u32 = 20;

/// Where metadata lies, and how much of it is remembered.
#[derive(Clone, Debug)]
pub struct MetadataSettings {
    /// The permissions' collection; `None`: none are kept in MongoDB.
    pub permissions: Option<Namespace>,
    /// Finds a second for names that are not known.
    pub finds_per_second: u32,
    /// How long events go on though it is not known any more whether permissions or users of another database have changed.
    pub grace: Duration,
}

/// All metadata.
#[derive(Debug)]
pub struct Metadata {
    client: Client,
    clock: Clock,
    settings: MetadataSettings,
    catalog: Catalog,
    access: Access,
    users: Option<Arc<Lookup>>,
    permissions: Option<Mirror>,
    properties: Mutex<HashMap<Arc<str>, Arc<Properties>>>,
    live: Arc<LiveSessions>,
    watching: Watching,
    /// Of which revision of the mirror the snapshot of permissions is.
    permitted: AtomicU64,
    /// By which revision all live sessions have been judged.
    judged: AtomicU64,
    /// When the last reading of the permissions before a refusal began.
    asked: tokio::sync::Mutex<Option<Instant>>,
    asks: Mutex<Finds>,
    /// What of the permissions has been logged as unusable.
    told: Mutex<Vec<Problem>>,
}

/// The properties of one database.
#[derive(Debug)]
struct Properties {
    mirror: Mirror,
    /// For collections that the mirror knows nothing of.
    unknown: Lookup,
    /// Whether the mirror has been read, under a feed that watches it.
    is_loaded: AtomicBool,
}

/// Users kept in MongoDB.
#[derive(Debug)]
pub struct MongoUsers(pub Arc<Lookup>);

impl Users for MongoUsers {
    fn find<'a>(
        &'a self,
        name: &'a str,
    ) -> BoxFuture<'a, Result<Option<Arc<Document>>, Unavailable>> {
        Box::pin(async move {
            let known = self.0.find(name).await.map_err(|error| {
                if matches!(error, MongoError::TooManyFinds) {
                    noted("finds_per_second");
                }
                Unavailable(error.to_string())
            })?;
            Ok(known.document)
        })
    }
}

impl Metadata {
    /// Builds empty metadata; the feeds fill it through their gate.
    pub fn new(
        client: Client,
        clock: Clock,
        settings: MetadataSettings,
        catalog: Catalog,
        access: Access,
        users: Option<Arc<Lookup>>,
        live: Arc<LiveSessions>,
    ) -> Self {
        let mirror =
            |namespace: &Namespace| Mirror::new(namespace.clone(), client.clone(), clock.clone());
        let permissions = settings.permissions.as_ref().map(mirror);
        let rests_on = users.iter().map(|users| users.namespace().clone());
        let rests_on = rests_on.chain(settings.permissions.clone());
        Self {
            watching: Watching::new(rests_on, settings.grace),
            properties: Mutex::default(),
            permitted: AtomicU64::new(0),
            judged: AtomicU64::new(0),
            asked: tokio::sync::Mutex::default(),
            asks: Mutex::new(Finds::new(ASKS_PER_SECOND)),
            told: Mutex::default(),
            client,
            clock,
            settings,
            catalog,
            access,
            users,
            permissions,
            live,
        }
    }

    /// What definitions there are.
    pub fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    /// Who may what.
    pub fn access(&self) -> &Access {
        &self.access
    }

    /// The open sessions.
    pub fn live(&self) -> &Arc<LiveSessions> {
        &self.live
    }

    /// Makes sure that the definitions of a database are known and watched: under a feed of the whole deployment a database
    /// may have come later than the feed.
    ///
    /// # Errors
    /// As [`MongoError`].
    pub async fn ensure(&self, feed: &Feed, database: &str) -> Result<(), MongoError> {
        let properties = self.properties(database);
        if properties.is_loaded.load(Ordering::Acquire) {
            return Ok(());
        }
        feed.watch(&Namespace::new(database, PROPERTIES)).await?;
        let as_of = properties.mirror.load().await?;
        self.catalog_all(database, &properties, as_of);
        properties.unknown.set_watched(true);
        properties.is_loaded.store(true, Ordering::Release);
        Ok(())
    }

    /// Asks MongoDB once for the properties of a collection of which nothing is known, and takes them over.
    ///
    /// # Errors
    /// As [`MongoError`].
    pub async fn ask(&self, namespace: &Namespace) -> Result<(), MongoError> {
        let properties = self.properties(&namespace.database);
        let id = properties_id(&namespace.collection);
        let found = properties.unknown.find(&id).await?;
        if let Known {
            document: Some(document),
            as_of,
        } = found
            && properties
                .mirror
                .apply(&Bson::String(id), Some((*document).clone()), as_of)
        {
            self.define(
                &namespace.database,
                &namespace.collection,
                Some(&document),
                as_of,
            );
        }
        Ok(())
    }

    /// Whether the database has a collection of this name.
    ///
    /// # Errors
    /// As [`MongoError`].
    pub async fn collection_exists(&self, namespace: &Namespace) -> Result<bool, MongoError> {
        let database = self.client.database(&namespace.database);
        let filter = doc! { "name": &*namespace.collection };
        Ok(!database
            .list_collection_names()
            .filter(filter)
            .await?
            .is_empty())
    }

    /// Reads the properties of a collection anew: a write that succeeded may have changed them.
    ///
    /// # Errors
    /// As [`MongoError`].
    pub async fn refresh_properties(&self, namespace: &Namespace) -> Result<(), MongoError> {
        let Some(properties) = self.known_properties(&namespace.database) else {
            return Ok(());
        };
        let known = properties
            .mirror
            .refresh(&Bson::String(properties_id(&namespace.collection)))
            .await?;
        let document = known.document.as_deref();
        self.define(
            &namespace.database,
            &namespace.collection,
            document,
            known.as_of,
        );
        Ok(())
    }

    /// Reads all properties of a database anew.
    ///
    /// # Errors
    /// As [`MongoError`].
    pub async fn refresh_database(&self, database: &str) -> Result<(), MongoError> {
        let Some(properties) = self.known_properties(database) else {
            return Ok(());
        };
        let as_of = properties.mirror.load().await?;
        self.catalog_all(database, &properties, as_of);
        Ok(())
    }

    /// Reads all permissions anew, if they lie in this collection.
    ///
    /// # Errors
    /// As [`MongoError`].
    pub async fn refresh_permissions(&self, namespace: &Namespace) -> Result<(), MongoError> {
        let Some(mirror) = self
            .permissions
            .as_ref()
            .filter(|mirror| mirror.namespace() == namespace)
        else {
            return Ok(());
        };
        mirror.load().await?;
        self.permit_if_changed(mirror);
        Ok(())
    }

    /// Of which revision the permissions are: whoever was judged by another may be judged anew.
    pub fn permissions_version(&self) -> u64 {
        self.permitted.load(Ordering::Acquire)
    }

    /// Asks MongoDB for the permissions before somebody is refused: one may have been written behind our back just now.
    /// All who ask while a reading is under way share the next one.
    ///
    /// # Errors
    /// As [`MongoError`]; [`MongoError::TooManyFinds`] if too many have asked in this second.
    pub async fn ask_permissions(&self) -> Result<(), MongoError> {
        let Some(mirror) = &self.permissions else {
            return Ok(());
        };
        let asked_at = Instant::now();
        let mut last = self.asked.lock().await;
        if last.is_some_and(|begun_at| begun_at >= asked_at) {
            return Ok(());
        }
        let has_room = self
            .asks
            .lock()
            .expect("invariant: nothing panics under this lock")
            .take();
        if !has_room {
            return Err(MongoError::TooManyFinds);
        }
        let begun_at = Instant::now();
        mirror.load().await?;
        self.permit_if_changed(mirror);
        *last = Some(begun_at);
        Ok(())
    }

    /// Reads a user anew, or forgets all that are remembered where no one is named.
    ///
    /// # Errors
    /// As [`MongoError`].
    pub async fn refresh_user(
        &self,
        namespace: &Namespace,
        name: Option<&str>,
    ) -> Result<(), MongoError> {
        let Some(users) = self
            .users
            .as_ref()
            .filter(|users| users.namespace() == namespace)
        else {
            return Ok(());
        };
        match name {
            Some(name) => users.refresh(name).await.map(drop),
            None => {
                users.forget_all();
                Ok(())
            }
        }
    }

    /// What must end a session that has just been registered: a change may have come between its decision and that.
    pub fn judge(&self, session: &LiveSession) -> Option<Ending> {
        self.access
            .recheck(&session.grant)
            .or_else(|| self.judge_definition(session))
    }

    /// Judges every live session anew, since keys that tokens are signed with may have been withdrawn.
    pub fn keys_changed(&self) {
        self.recheck_all();
    }

    /// Judges every live session by the present permissions, if that was not done yet: they are also read before somebody
    /// is refused, and then the sessions wait for the feed.
    fn recheck_unless_judged(&self) {
        if self.judged.load(Ordering::Acquire) != self.permissions_version() {
            self.recheck_all();
        }
    }

    /// Judges every live session by the present permissions.
    fn recheck_all(&self) {
        // Taken before: permissions that are replaced meanwhile are judged by once more.
        let version = self.permissions_version();
        let rechecking = self.access.rechecking();
        self.live
            .end_where(|session| rechecking.recheck(&session.grant));
        self.judged.fetch_max(version, Ordering::AcqRel);
    }

    fn judge_definition(&self, session: &LiveSession) -> Option<Ending> {
        let entry = self
            .catalog
            .find(&session.namespace.database, &session.namespace.collection);
        let Some(entry) = entry else {
            return Some(Ending::StreamGone);
        };
        match entry.definitions.find(&session.definition.uri) {
            Ok(definition) if *definition == *session.definition => None,
            Ok(_) | Err(DefinitionError::Broken(_)) => Some(Ending::DefinitionChanged),
            Err(DefinitionError::Unknown) => Some(Ending::StreamGone),
        }
    }

    /// Makes the snapshot of permissions, if it is not the mirror's any more: the feed may have brought a change to that just
    /// now, and not to this yet.
    fn permit_if_changed(&self, mirror: &Mirror) {
        if self.permissions_version() != mirror.revision() {
            self.permit();
        }
    }

    /// Makes the snapshot of permissions from the mirror.
    fn permit(&self) {
        let Some(mirror) = &self.permissions else {
            return;
        };
        // Taken first: of two that come at once, the later snapshot is the one that stays.
        let mut told = self
            .told
            .lock()
            .expect("invariant: nothing panics under this lock");
        // Read before the documents are: what changes between makes one snapshot too many, none too few.
        let revision = mirror.revision();
        let documents = mirror.documents().into_iter();
        let documents = documents.map(|(document, _)| document);
        let problems = self.access.replace_permissions(documents);
        self.permitted.store(revision, Ordering::Release);
        for problem in problems.iter().filter(|problem| !told.contains(problem)) {
            tracing::warn!(permission = %problem.id, reason = problem.reason, "permission cannot be used, it lets nobody in");
        }
        *told = problems;
    }

    /// Takes over what the properties of a collection say, and logs what in them has just become unusable.
    fn define(
        &self,
        database: &str,
        collection: &str,
        properties: Option<&Document>,
        as_of: Timestamp,
    ) {
        let Some(change) = self
            .catalog
            .replace(database, collection, properties, as_of)
        else {
            return;
        };
        let before = change.before.as_ref().map(|entry| &entry.definitions);
        let now = &change.after.definitions;
        if let Some(reason) = now
            .broken()
            .filter(|_| before.and_then(CollectionDefinitions::broken).is_none())
        {
            tracing::warn!(
                database,
                collection,
                reason,
                "streams of this collection cannot be used"
            );
        }
        for entry in now.entries() {
            let is_new = before.is_none_or(|before| !before.entries().any(|other| other == entry));
            if let Err(reason) = entry.definition.as_ref()
                && is_new
            {
                let uri = entry.uri.as_deref().unwrap_or("(without uri)");
                tracing::warn!(
                    database,
                    collection,
                    uri,
                    reason,
                    "stream cannot be used, its neighbours can"
                );
            }
        }
    }

    fn catalog_all(&self, database: &str, properties: &Properties, as_of: Timestamp) {
        let documents = properties.mirror.documents();
        let names: BTreeSet<&str> = documents
            .iter()
            .filter_map(|(document, _)| collection_of(document))
            .collect();
        for collection in self.catalog.collections(database) {
            if !names.contains(collection.as_str()) {
                self.define(database, &collection, None, as_of);
            }
        }
        for (document, as_of) in &documents {
            if let Some(collection) = collection_of(document) {
                self.catalog
                    .replace(database, collection, Some(document), *as_of);
            }
        }
    }

    fn properties(&self, database: &str) -> Arc<Properties> {
        let mut all = self
            .properties
            .lock()
            .expect("invariant: no code panics while it holds this lock");
        let make = || {
            let namespace = Namespace::new(database, PROPERTIES);
            let (client, clock) = (self.client.clone(), self.clock.clone());
            let unknown = Lookup::new(
                namespace.clone(),
                client.clone(),
                clock.clone(),
                ABSENT_REMEMBERED,
                self.settings.finds_per_second,
            );
            Arc::new(Properties {
                mirror: Mirror::new(namespace, client, clock),
                unknown,
                is_loaded: AtomicBool::new(false),
            })
        };
        Arc::clone(all.entry(database.into()).or_insert_with(make))
    }

    fn known_properties(&self, database: &str) -> Option<Arc<Properties>> {
        self.properties
            .lock()
            .expect("invariant: no code panics while it holds this lock")
            .get(database)
            .cloned()
    }

    fn is_permissions(&self, namespace: &Namespace) -> bool {
        self.permissions
            .as_ref()
            .is_some_and(|mirror| mirror.namespace() == namespace)
    }

    fn is_users(&self, namespace: &Namespace) -> bool {
        self.users
            .as_ref()
            .is_some_and(|users| users.namespace() == namespace)
    }
}

/// MongoDB's own; no stream is ever served from them.
pub const RESERVED_DATABASES: [&str; 3] = ["admin", "config", "local"];

fn properties_id(collection: &str) -> String {
    format!("{PROPERTIES_ID_PREFIX}{collection}")
}
