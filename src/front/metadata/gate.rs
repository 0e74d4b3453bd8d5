//! What a change of metadata does, in order with the data.
//!
//! [`Metadata`] is the feeds' [`Gate`]: a change is applied to the mirror it belongs to, the snapshot made from the mirror
//! is replaced, and every live session is judged anew before the feed goes on. Ending a session closes its outbox at once,
//! so nothing behind the change gets through, whatever task runs when.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bson::{Bson, Document, Timestamp};
use futures_util::future::BoxFuture;

use super::{Metadata, PROPERTIES, RESERVED_DATABASES};
use crate::mongo::feed::{Change, Gate, Scope};
use crate::mongo::mirror::Mirror;
use crate::mongo::{MongoError, Namespace};
use crate::streams::catalog::collection_of_id;

impl Gate for Metadata {
    fn changed(&self, change: Change) {
        match change {
            Change::Document {
                namespace,
                id,
                document,
                time,
            } => {
                self.document_changed(&namespace, &id, document, time);
            }
            Change::Collection { namespace, time } => self.collection_changed(&namespace, time),
        }
    }

    fn reload<'a>(&'a self, scope: &'a Scope) -> BoxFuture<'a, Result<(), MongoError>> {
        Box::pin(async move {
            // Sessions of other databases too: what was revoked meanwhile is not told again.
            self.judge_by_stored(scope).await?;
            let databases: Vec<Arc<str>> = match scope {
                Scope::Database(database) => vec![database.clone()],
                Scope::Deployment => {
                    let all = self.client.list_database_names().await?;
                    all.into_iter()
                        .filter(|name| !RESERVED_DATABASES.contains(&name.as_str()))
                        .map(Into::into)
                        .collect()
                }
            };
            for database in databases {
                let properties = self.properties(&database);
                let as_of = properties.mirror.load().await?;
                self.catalog_all(&database, &properties, as_of);
                properties.is_loaded.store(true, Ordering::Release);
            }
            self.live
                .end_where(|session| match scope.spans(&session.namespace.database) {
                    true => self.judge(session),
                    false => None,
                });
            Ok(())
        })
    }

    fn watched(&self, scope: &Scope) -> BTreeSet<Namespace> {
        let mut watched = BTreeSet::new();
        let databases = self
            .properties
            .lock()
            .expect("invariant: no code panics while it holds this lock");
        for database in databases.keys().filter(|database| scope.spans(database)) {
            watched.insert(Namespace::new(database.clone(), PROPERTIES));
            let collections = self.catalog.collections(database).into_iter();
            watched
                .extend(collections.map(|collection| Namespace::new(database.clone(), collection)));
        }
        drop(databases);
        let users = self.users.as_ref().map(|users| users.namespace());
        let permissions = self.permissions.as_ref().map(Mirror::namespace);
        let others = users
            .into_iter()
            .chain(permissions)
            .filter(|namespace| scope.spans(&namespace.database));
        watched.extend(others.cloned());
        if let Scope::Database(database) = scope {
            watched.insert(Namespace::new(database.clone(), PROPERTIES));
        }
        watched
    }

    fn is_metadata(&self, namespace: &Namespace) -> bool {
        &*namespace.collection == PROPERTIES
            || self.is_permissions(namespace)
            || self.is_users(namespace)
    }

    fn is_awaited(&self, scope: &Scope) -> bool {
        self.watching.is_awaited(scope)
    }

    fn heard(&self, scope: &Scope) {
        self.watching.heard(scope);
    }

    fn clear<'a>(&'a self, scope: &'a Scope) -> Option<BoxFuture<'a, Result<(), MongoError>>> {
        match self.is_present(scope) {
            true => None,
            false => Some(Box::pin(self.make_present(scope))),
        }
    }

    fn live(&self, scope: &Scope, live: bool) {
        if let Some(users) = self
            .users
            .as_ref()
            .filter(|users| scope.spans(&users.namespace().database))
        {
            users.set_watched(live);
        }
        let databases = self
            .properties
            .lock()
            .expect("invariant: no code panics while it holds this lock");
        for (_, properties) in databases
            .iter()
            .filter(|(database, _)| scope.spans(database))
        {
            properties.unknown.set_watched(live);
        }
    }
}

impl Metadata {
    /// Ends the sessions of a collection whose definition is no longer what they were admitted with.
    fn retire(&self, namespace: &Namespace, time: Timestamp) {
        self.live.end_where(|session| {
            let concerned = session.namespace == *namespace && session.definition_as_of < time;
            concerned.then(|| self.judge_definition(session)).flatten()
        });
    }

    fn document_changed(
        &self,
        namespace: &Namespace,
        id: &Bson,
        document: Option<Document>,
        time: Timestamp,
    ) {
        if &*namespace.collection == PROPERTIES {
            let properties = self.properties(&namespace.database);
            let Some(collection) = collection_of_id(id) else {
                return;
            };
            let concerned = Namespace::new(namespace.database.clone(), collection);
            properties
                .unknown
                .apply(id.as_str().unwrap_or_default(), document.clone(), time);
            if properties.mirror.apply(id, document.clone(), time) {
                self.define(
                    &concerned.database,
                    &concerned.collection,
                    document.as_ref(),
                    time,
                );
            }
            self.retire(&concerned, time);
        }
        if let Some(mirror) = &self.permissions
            && mirror.namespace() == namespace
        {
            if mirror.apply(id, document.clone(), time) {
                self.permit();
            }
            self.recheck_all();
        }
        if let Some(users) = &self.users
            && users.namespace() == namespace
            && let Some(name) = users.name_of(id, document.as_ref())
        {
            users.apply(&name, document.clone(), time);
            self.live.end_where(|session| {
                self.access
                    .recheck_user(&session.grant, &name, document.as_ref())
            });
        }
    }

    fn collection_changed(&self, namespace: &Namespace, time: Timestamp) {
        if &*namespace.collection == PROPERTIES {
            let properties = self.properties(&namespace.database);
            for id in properties.mirror.clear(time) {
                let Some(collection) = collection_of_id(&id) else {
                    continue;
                };
                let concerned = Namespace::new(namespace.database.clone(), collection);
                self.define(&concerned.database, &concerned.collection, None, time);
                self.retire(&concerned, time);
            }
        }
        if let Some(mirror) = &self.permissions
            && mirror.namespace() == namespace
        {
            mirror.clear(time);
            self.permit();
            self.recheck_all();
        }
        if let Some(users) = &self.users
            && users.namespace() == namespace
        {
            users.forget_all();
            self.live.end_where(|session| {
                let name = session
                    .grant
                    .principal
                    .as_ref()
                    .map(|principal| principal.name.clone());
                name.and_then(|name| self.access.recheck_user(&session.grant, &name, None))
            });
        }
    }
}
