//! Read your own writes: a PUT of a collection that went through the proxy can be connected to at once.
//!
//! When a request that may have written metadata has succeeded, what it may have written is read anew before the answer
//! is handed to the client. What was read keeps the operation time of its reading, so the feed puts nothing back. Live
//! sessions still wait for the feed. Source: design section 6, *Freshness*.

use std::sync::Arc;
use std::time::Duration;

use http::{Method, StatusCode};

use crate::front::feeds::Feeds;
use crate::front::metadata::{Metadata, PROPERTIES};
use crate::front::route::Address;
use crate::mongo::feed::State;
use crate::mongo::{MongoError, Namespace};

/// Sees the writes that pass through the proxy.
#[derive(Debug)]
pub struct Freshness {
    /// What is read anew.
    pub metadata: Arc<Metadata>,
    /// Which databases are watched at all.
    pub feeds: Arc<Feeds>,
    /// The longest that an answer is held back.
    pub wait: Duration,
}

impl Freshness {
    /// Whether a request may write metadata, so that its answer concerns us.
    pub fn concerns(&self, method: &Method, address: &Address) -> bool {
        let writes = matches!(
            *method,
            Method::PUT | Method::PATCH | Method::POST | Method::DELETE
        );
        writes && !address.database().is_empty()
    }

    /// Reads anew what a request has written, if it succeeded. Waits at most `wait`; not at all while MongoDB is down.
    pub async fn after(&self, method: &Method, address: &Address, status: StatusCode) {
        if !status.is_success() || !self.is_up(address.database()) {
            return;
        }
        let refreshed = tokio::time::timeout(self.wait, self.refresh(method, address)).await;
        match refreshed {
            Ok(Ok(())) => (),
            Ok(Err(error)) => {
                tracing::warn!(%error, "metadata could not be read anew after a write, the feed will bring it")
            }
            Err(_) => tracing::warn!(
                "metadata was not read anew in time after a write, the feed will bring it"
            ),
        }
    }

    async fn refresh(&self, method: &Method, address: &Address) -> Result<(), MongoError> {
        if address.is_database() || address.collection() == PROPERTIES {
            return self.metadata.refresh_database(address.database()).await;
        }
        let namespace = Namespace::new(address.database(), address.collection());
        let whole = address.document().is_none();
        // A POST adds documents; every other method on the collection itself writes its properties.
        if whole && *method != Method::POST {
            self.metadata.refresh_properties(&namespace).await?;
        }
        self.metadata.refresh_permissions(&namespace).await?;
        // A collection as a whole, and `/users/*`, name no one: whatever is remembered may have changed.
        let user = address
            .document()
            .filter(|document| !document.contains('*'));
        self.metadata.refresh_user(&namespace, user).await
    }

    fn is_up(&self, database: &str) -> bool {
        let spans = |feed: &Arc<crate::mongo::feed::Feed>| feed.scope().spans(database);
        let feed = self.feeds.all().into_iter().find(spans);
        feed.is_some_and(|feed| matches!(feed.state(), State::Live))
    }
}
