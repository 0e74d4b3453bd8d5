//! What access asks of others over HTTP: sets of keys, and the API itself about who somebody is.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{HeaderMap, StatusCode};
use tokio::time::{Instant, sleep_until};

use crate::access::{Identity, KeySet, Unavailable};
use crate::front::metadata::Metadata;
use crate::proxy::Fetcher;

/// The API, asked at one URL.
#[derive(Debug)]
pub struct Api(pub Fetcher);

impl Identity for Api {
    fn ask(
        &self,
        headers: HeaderMap,
    ) -> BoxFuture<'_, Result<(StatusCode, HeaderMap, Bytes), Unavailable>> {
        Box::pin(async move {
            self.0.get(headers).await.map_err(|error| {
                tracing::warn!(%error, "the API cannot be asked who somebody is: {error}");
                Unavailable("the API cannot be asked who this is".to_owned())
            })
        })
    }
}

/// Fetches a set of keys every `every`, and sooner when a token names a key that is not in it, for ever: to be run in a
/// task of its own. Sessions whose key was withdrawn hear of it from `metadata`.
pub async fn keep_keys(keys: Arc<KeySet>, from: Fetcher, every: Duration, metadata: Arc<Metadata>) {
    loop {
        let begun = Instant::now();
        match fetch(&keys, &from).await {
            Ok(count) => {
                tracing::debug!(count, "fetched the set of keys");
                metadata.keys_changed();
            }
            Err(error) => {
                metrics::counter!("sidestream_jwks_failures_total").increment(1);
                tracing::warn!(error, "the set of keys cannot be fetched: {error}");
            }
        }
        // Whoever signs with keys that nobody knows may not make us fetch all the time.
        sleep_until(begun + PAUSE_MIN.min(every)).await;
        tokio::select! {
            () = sleep_until(begun + every) => (),
            () = keys.wanted() => (),
        }
    }
}

async fn fetch(keys: &KeySet, from: &Fetcher) -> Result<usize, String> {
    let answer = from.get(HeaderMap::new()).await;
    let (status, _, body) = answer.map_err(|error| error.to_string())?;
    if status != StatusCode::OK {
        return Err(format!("the answer is {status}"));
    }
    let replaced = keys.replace(&body, SystemTime::now());
    replaced.map_err(|error| error.to_string())
}

/// Between two fetches, at least.
const PAUSE_MIN: Duration = Duration::from_secs(5);
