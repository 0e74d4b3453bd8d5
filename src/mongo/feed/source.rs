//! What a feed asks of MongoDB. A test can answer in its place.

use std::collections::BTreeSet;

use bson::Timestamp;
use futures_util::future::{BoxFuture, FutureExt as _};
use rand::Rng as _;

use super::{Opened, Reading, Scope, Start, has_happened, next_id, open};
use crate::mongo::client::{Connection, operation_time};
use crate::mongo::{MongoError, Namespace, ResumeToken};

/// Where a feed has its events from.
pub(crate) trait Source: Send + Sync {
    /// As [`open`].
    fn open<'a>(
        &'a self,
        scope: &'a Scope,
        watched: &'a BTreeSet<Namespace>,
        start: &'a Start,
        reading: Reading,
    ) -> BoxFuture<'a, Result<Opened, MongoError>>;

    /// As [`operation_time`].
    fn operation_time(&self) -> BoxFuture<'_, Result<Timestamp, MongoError>>;

    /// As [`has_happened`].
    fn has_happened<'a>(
        &'a self,
        scope: &'a Scope,
        token: &'a ResumeToken,
    ) -> BoxFuture<'a, Result<bool, MongoError>>;

    /// As [`next_id`].
    fn next_id<'a>(
        &'a self,
        scope: &'a Scope,
        watched: &'a BTreeSet<Namespace>,
        position: &'a Start,
    ) -> BoxFuture<'a, Result<(ResumeToken, Namespace), MongoError>>;

    /// How often a server was lost.
    fn disturbances(&self) -> u64;

    /// By what a pause is multiplied, so that not all who wait come back at once.
    fn jitter(&self) -> f64 {
        rand::rng().random_range(0.5..1.5)
    }
}

impl Source for Connection {
    fn open<'a>(
        &'a self,
        scope: &'a Scope,
        watched: &'a BTreeSet<Namespace>,
        start: &'a Start,
        reading: Reading,
    ) -> BoxFuture<'a, Result<Opened, MongoError>> {
        open(&self.client, scope, watched, start, &[], reading).boxed()
    }

    fn operation_time(&self) -> BoxFuture<'_, Result<Timestamp, MongoError>> {
        operation_time(&self.client).boxed()
    }

    fn has_happened<'a>(
        &'a self,
        scope: &'a Scope,
        token: &'a ResumeToken,
    ) -> BoxFuture<'a, Result<bool, MongoError>> {
        has_happened(&self.client, scope, token).boxed()
    }

    fn next_id<'a>(
        &'a self,
        scope: &'a Scope,
        watched: &'a BTreeSet<Namespace>,
        position: &'a Start,
    ) -> BoxFuture<'a, Result<(ResumeToken, Namespace), MongoError>> {
        next_id(&self.client, scope, watched, position).boxed()
    }

    fn disturbances(&self) -> u64 {
        self.disturbances.count()
    }
}
