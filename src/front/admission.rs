//! From a request head to a session that is subscribed, or a refusal.
//!
//! Everything that can fail comes before the 101: who it is, whether they may, what the stream is, what its variables
//! are, and the subscription itself. The steps are RESTHeart's, in its order (compat section 6.2).

use std::sync::Arc;
use std::time::SystemTime;

use bson::Timestamp;
use http::{Method, StatusCode};

use crate::access::{Denied, Grant, RequestHead};
use crate::delivery::{self, Budget, Ending, Outlet};
use crate::engine::plan::{Framing, Plan, Wanted};
use crate::engine::{self, Engine, Subscription};
use crate::front::feeds::{Feeds, NoFeed};
use crate::front::live::{LiveSession, Registered};
use crate::front::metadata::{Metadata, PROPERTIES, RESERVED_DATABASES};
use crate::front::parameters::{check_paging, check_rest, check_session, value, variable_refusal};
use crate::front::places::{Places, Seat};
use crate::front::refusal::{Refusal, noted, reached};
use crate::front::route::{Address, Asks};
use crate::mongo::client::Clock;
use crate::mongo::{MongoError, Namespace, ResumeToken};
use crate::notation::shell;
use crate::session::websocket::Deflate;
use crate::streams::variables::read_avars;
use crate::streams::{
    BindError, BindRequest, BoundPipeline, Definition, DefinitionError, PipelineLimits, pipeline,
};
use crate::wire::JsonMode;

/// Refused because neither transport was asked for.
const NEITHER: &str = "Change Stream requires WebSocket or SSE — send either 'Upgrade: websocket' or 'Accept: text/event-stream'";
/// The WebSocket versions whose frames are those of RFC 6455.
const VERSIONS: [&str; 3] = ["13", "8", "7"];
/// The name of a database may not be longer.
const DATABASE_NAME_BYTES_MAX: usize = 64;
/// How often admission begins anew because the definition changed while it was under way.
const ATTEMPTS_MAX: usize = 3;

/// What admission is told by the configuration.
#[derive(Clone, Debug)]
pub struct AdmissionSettings {
    /// Whether read filters are applied to what streams deliver.
    pub enforce_read_filter: bool,
    /// Whether the events bear the state before a change, where a collection keeps it.
    pub pre_images: bool,
    /// Whether messages to WebSocket clients that offer it are compressed.
    pub websocket_compression: bool,
    /// Whether `notify_when` with a missing parameter refuses instead of passing everything.
    pub notify_when_unbound_refuses: bool,
    /// Unsent bytes per session.
    pub outbox_bytes: usize,
    /// Unsent bytes of all sessions, and how long a frame may be.
    pub budget: Arc<Budget>,
    /// How large variables and pipelines may be.
    pub pipeline: PipelineLimits,
    /// Bytes of `avars` in a request.
    pub avars_bytes: usize,
    /// The databases in which permissions and users are kept.
    pub rests_on: Vec<String>,
    /// Where users are kept, and the property that is never shown.
    pub users: Option<(Namespace, String)>,
}

/// Admits sessions.
#[derive(Debug)]
pub struct Admission {
    /// Definitions, permissions, users.
    pub metadata: Arc<Metadata>,
    /// The feeds.
    pub feeds: Arc<Feeds>,
    /// Where sessions subscribe.
    pub engine: Arc<Engine>,
    /// The operation time.
    pub clock: Clock,
    /// As configured.
    pub settings: AdmissionSettings,
    /// How many sessions there may be.
    pub places: Places,
}

/// A session that may begin. Dropping it ends everything it holds.
#[derive(Debug)]
pub struct Admitted {
    /// The stream's address, for the log.
    pub stream: String,
    /// Where its frames come from.
    pub outlet: Outlet,
    /// When its credentials end.
    pub expires: Option<SystemTime>,
    /// How its frames look.
    pub framing: Framing,
    /// What was agreed on for a WebSocket.
    pub deflate: Option<Deflate>,
    /// What it holds as long as it lives.
    pub holds: Holds,
}

/// What a session holds as long as it lives.
#[derive(Debug)]
pub struct Holds {
    _subscription: Subscription,
    _registered: Registered,
    _seat: Seat,
}

/// From which place on the client wants events.
enum Place {
    Now,
    After(ResumeToken),
}

impl Admission {
    /// Admits a request for a stream.
    ///
    /// # Errors
    /// The refusal.
    /// # Cancel safety
    /// Safe: whatever was begun is dropped.
    pub async fn admit(
        &self,
        head: RequestHead,
        address: &Address,
        asks: Asks,
    ) -> Result<Admitted, Refusal> {
        let avars = value(&head.query, "avars");
        if avars.is_some_and(|avars| avars.len() > self.settings.avars_bytes) {
            let limit = self.settings.avars_bytes;
            noted("avars");
            let message =
                format!("illegal avars parameter: longer than {limit} bytes (limits.avars)");
            return Err(Refusal::said(StatusCode::BAD_REQUEST, message));
        }
        // RESTHeart fails on this before it asks who it is.
        let variables = read_avars(&head.query).map_err(|error| variable_refusal(&error));
        if let Err(failed @ Refusal::Failed { .. }) = variables {
            return Err(failed);
        }
        let method = head.method.clone();
        let query = head.query.clone();
        let headers = head.headers.clone();
        let deflate = match asks {
            Asks::WebSocket if self.settings.websocket_compression => agreed(&headers),
            Asks::WebSocket | Asks::Sse | Asks::Neither => None,
        };
        let challenge = !headers.contains_key("No-Auth-Challenge")
            && value(&query, "noauthchallenge").is_none();
        // Permissions and users are known only while their feeds live: fail closed.
        for database in &self.settings.rests_on {
            self.feeds.of(database).await.map_err(no_feed)?;
        }
        let grant = self
            .decide(head)
            .await
            .map_err(|denied| refusal(denied, challenge))?;

        check_names(address)?;
        check_paging(&query)?;
        variables?;
        check_rest(&query)?;
        let namespace = Namespace::new(address.database(), address.collection());
        let uri = address.stream();
        if namespace.collection.ends_with(".files") {
            let message = format!("File Bucket '{}' does not exist", namespace.collection);
            return Err(Refusal::said(StatusCode::NOT_FOUND, message));
        }
        for _ in 0..ATTEMPTS_MAX {
            let found = self.definition(&namespace, &query, uri, &method).await?;
            match asks {
                Asks::Neither => return Err(Refusal::said(StatusCode::BAD_REQUEST, NEITHER)),
                Asks::WebSocket | Asks::Sse => (),
            }
            let bound = self.bind(&found.0, &query, &grant, &namespace)?;
            if asks == Asks::WebSocket && !is_handshake(&headers) {
                return Err(Refusal::Handshake);
            }
            let place = place(asks, &query, &headers)?;
            let framing = match asks {
                Asks::Sse => Framing::Sse,
                Asks::WebSocket | Asks::Neither => Framing::WebSocket {
                    ids: value(&query, "lastEventID").is_some(),
                    deflate: deflate.map(Deflate::window),
                },
            };
            let mode = JsonMode::from_parameter(value(&query, "jsonMode"));
            let wanted = Wanted {
                namespace: namespace.clone(),
                stages: bound.stages,
                notify: bound.notify,
                veil: bound.veil,
                mode,
                framing,
            };
            let plan = self.engine.plan(wanted).await;
            let plan = plan.map_err(|error| {
                Refusal::said(StatusCode::INTERNAL_SERVER_ERROR, error.to_string())
            })?;
            if let Some(admitted) = self
                .subscribe(&namespace, found, grant.clone(), plan, place)
                .await?
            {
                return Ok(Admitted {
                    deflate,
                    ..admitted
                });
            }
        }
        Err(Refusal::Unavailable {
            reason: "the definition of the stream keeps changing".to_owned(),
        })
    }

    /// Asks access; once more where it says no by permissions that are no longer the newest.
    async fn decide(&self, head: RequestHead) -> Result<Grant, Denied> {
        let access = self.metadata.access();
        let judged_by = self.metadata.permissions_version();
        match access.decide(head.clone()).await {
            Err(denied @ (Denied::Unauthenticated | Denied::Forbidden)) => {
                match self.metadata.ask_permissions().await {
                    Ok(()) | Err(MongoError::TooManyFinds) => (),
                    Err(error) => return Err(Denied::Unavailable(error.to_string())),
                }
                // Not for nothing: a wrong password would cost its hash a second time.
                match self.metadata.permissions_version() == judged_by {
                    true => Err(denied),
                    false => access.decide(head).await,
                }
            }
            decided => decided,
        }
    }

    /// Subscribes. `None` if the definition or the permission changed while that was under way.
    async fn subscribe(
        &self,
        namespace: &Namespace,
        (definition, definition_as_of): (Arc<Definition>, Timestamp),
        grant: Grant,
        plan: Plan,
        place: Place,
    ) -> Result<Option<Admitted>, Refusal> {
        let seat = self.places.take(&grant)?;
        let feed = self.feeds.of(&namespace.database).await.map_err(no_feed)?;
        let seat = self.places.on(feed.scope(), seat)?;
        // First watched, then timed: everything behind the floor is sure to come.
        feed.watch(namespace).await.map_err(unavailable)?;
        let floor = self.clock.now().await.map_err(unavailable)?;
        let (outbox, outlet) =
            delivery::channel_within(self.settings.outbox_bytes, &self.settings.budget);
        let framing = plan.wanted.framing;
        let stream = format!("{namespace}/{}", definition.uri);
        let plan = plan.of_stream(stream.as_str());
        let expires = grant
            .principal
            .as_ref()
            .and_then(|principal| principal.expires_at);
        let session = Arc::new(LiveSession {
            namespace: namespace.clone(),
            definition,
            definition_as_of,
            grant,
            outbox: outbox.clone(),
        });
        let registered = self.metadata.live().register(Arc::clone(&session));
        match self.metadata.judge(&session) {
            None => (),
            Some(Ending::PermissionGone) => return Err(Refusal::Forbidden),
            Some(_) => return Ok(None),
        }
        drop(session);
        let resume = match place {
            Place::Now => None,
            Place::After(token) => Some(token),
        };
        let from = engine::From { floor, resume };
        let subscription = self
            .engine
            .subscribe(&feed, plan, from, outbox)
            .await
            .map_err(refused)?;
        let holds = Holds {
            _subscription: subscription,
            _registered: registered,
            _seat: seat,
        };
        Ok(Some(Admitted {
            stream,
            outlet,
            expires,
            framing,
            deflate: None,
            holds,
        }))
    }

    /// Finds the definition, asking MongoDB once where nothing is known.
    async fn definition(
        &self,
        namespace: &Namespace,
        query: &[(String, String)],
        uri: Option<&str>,
        method: &Method,
    ) -> Result<(Arc<Definition>, Timestamp), Refusal> {
        let feed = self.feeds.of(&namespace.database).await.map_err(no_feed)?;
        let ensured = self.metadata.ensure(&feed, &namespace.database).await;
        ensured.map_err(unavailable)?;
        let catalog = self.metadata.catalog();
        let find = || {
            catalog
                .find(&namespace.database, &namespace.collection)
                .filter(|entry| entry.exists)
        };
        let is_unknown = match (find(), uri) {
            (None, _) => true,
            (Some(entry), Some(uri)) => {
                matches!(entry.definitions.find(uri), Err(DefinitionError::Unknown))
            }
            (Some(_), None) => false,
        };
        if is_unknown {
            self.metadata.ask(namespace).await.map_err(unavailable)?;
        }
        let entry = find();
        if entry.is_none()
            && !self
                .metadata
                .collection_exists(namespace)
                .await
                .map_err(unavailable)?
        {
            let message = format!("Collection '{}' does not exist", namespace.collection);
            return Err(Refusal::said(StatusCode::NOT_FOUND, message));
        }
        check_session(query)?;
        let Some(uri) = uri.filter(|_| *method == Method::GET) else {
            let message = format!("method {method} not allowed");
            return Err(Refusal::said(StatusCode::METHOD_NOT_ALLOWED, message));
        };
        let unknown = || Refusal::said(StatusCode::NOT_FOUND, "Change Stream does not exist");
        let entry = entry.ok_or_else(unknown)?;
        match entry.definitions.find(uri) {
            Ok(definition) => Ok((definition, entry.as_of)),
            Err(DefinitionError::Unknown) => Err(unknown()),
            Err(DefinitionError::Broken(message)) => {
                Err(Refusal::said(StatusCode::INTERNAL_SERVER_ERROR, message))
            }
        }
    }

    fn bind(
        &self,
        definition: &Definition,
        query: &[(String, String)],
        grant: &Grant,
        namespace: &Namespace,
    ) -> Result<BoundPipeline, Refusal> {
        let password = self.settings.users.as_ref();
        let password = password.filter(|(users, _)| users == namespace);
        let request = BindRequest {
            query,
            principal: grant.principal.as_deref(),
            permission: grant.permission.as_deref(),
            is_root: grant.is_root(),
            database: &namespace.database,
            collection: &namespace.collection,
            notify_when_unbound_refuses: self.settings.notify_when_unbound_refuses,
            enforce_read_filter: self.settings.enforce_read_filter,
            pre_images: self.settings.pre_images,
            never_shown: password.map(|(_, password)| password.as_str()),
            limits: self.settings.pipeline,
        };
        pipeline::bind(definition, &request).map_err(|error| bind_refusal(&error))
    }
}

fn check_names(address: &Address) -> Result<(), Refusal> {
    let illegal = |what: &str| {
        let limits = "https://www.mongodb.com/docs/manual/reference/limits/#naming-restrictions";
        Refusal::said(
            StatusCode::BAD_REQUEST,
            format!("illegal {what} name, see {limits}"),
        )
    };
    let (database, collection) = (address.database(), address.collection());
    let forbidden = |c: char| matches!(c, '\0' | ' ' | '/' | '\\' | '.' | '"' | '$');
    if database.len() > DATABASE_NAME_BYTES_MAX || database.contains(forbidden) {
        return Err(illegal("database"));
    }
    if collection.contains(['\0', '$']) {
        return Err(illegal("collection"));
    }
    let lower = database.to_ascii_lowercase();
    let is_reserved = database.is_empty()
        || RESERVED_DATABASES.contains(&lower.as_str())
        || lower.starts_with("system.")
        || collection.is_empty()
        || collection == PROPERTIES
        || collection.starts_with("system.")
        || collection.ends_with(".chunks");
    match is_reserved {
        true => Err(Refusal::said(StatusCode::FORBIDDEN, "reserved resource")),
        false => Ok(()),
    }
}

/// Whether the rest of the handshake is one that WebSocket knows; the key may be anything, as in RESTHeart.
fn is_handshake(headers: &http::HeaderMap) -> bool {
    let version = headers
        .get("sec-websocket-version")
        .and_then(|version| version.to_str().ok());
    version.is_some_and(|version| VERSIONS.contains(&version.trim()))
        && headers.contains_key("sec-websocket-key")
}

/// What is agreed on of the extensions that the client offers. A value that is not text is none of ours.
fn agreed(headers: &http::HeaderMap) -> Option<Deflate> {
    let offers = headers.get_all("sec-websocket-extensions").into_iter();
    Deflate::agree(offers.filter_map(|value| value.to_str().ok()))
}

/// The place after which the client wants to go on: `Last-Event-ID` on SSE, `lastEventID` in the query on both.
///
/// The header is the stronger one: an `EventSource` that reconnects repeats the address it was made with, and what it has got
/// since stands in the header. What cannot be parsed is 400: to begin now (as RESTHeart does) would be a silent loss.
fn place(
    asks: Asks,
    query: &[(String, String)],
    headers: &http::HeaderMap,
) -> Result<Place, Refusal> {
    let header = headers.get("last-event-id").filter(|_| asks == Asks::Sse);
    let header = header.map(|id| ("Last-Event-ID header", id.to_str().unwrap_or("not text")));
    let parameter = value(query, "lastEventID").map(|id| ("lastEventID parameter", id));
    let given = header.into_iter().chain(parameter);
    let mut given = given.filter(|(_, text)| !text.trim().is_empty());
    let Some((name, text)) = given.next() else {
        return Ok(Place::Now);
    };
    let text = text.trim();
    let of_object = match shell::parse(text) {
        Ok(bson::Bson::Document(id)) => id.get_str("_data").ok().and_then(ResumeToken::parse),
        Ok(_) | Err(_) => None,
    };
    let token = of_object.or_else(|| ResumeToken::parse(text));
    let bad = format!("illegal {name}: not an event id");
    token
        .map(Place::After)
        .ok_or_else(|| Refusal::said(StatusCode::BAD_REQUEST, bad))
}

fn refusal(denied: Denied, challenge: bool) -> Refusal {
    match denied {
        Denied::Unauthenticated => Refusal::Unauthenticated { challenge },
        Denied::Forbidden => Refusal::Forbidden,
        Denied::Broken(message) => Refusal::said(StatusCode::INTERNAL_SERVER_ERROR, message),
        Denied::Unavailable(reason) => Refusal::Unavailable { reason },
        Denied::TooMany => Refusal::TooMany {
            reason: TOO_MANY_FAILURES.to_owned(),
        },
    }
}

/// Source: compat 8.8.
const TOO_MANY_FAILURES: &str = "Too many failed authentication attempts. Please try again later.";

fn unavailable(error: MongoError) -> Refusal {
    Refusal::Unavailable {
        reason: public(&error),
    }
}

fn no_feed(error: NoFeed) -> Refusal {
    match error {
        NoFeed::Down(error) => unavailable(error),
        NoFeed::TooMany => Refusal::limit("feeds", "no more databases can be watched"),
    }
}

fn refused(refused: engine::Refused) -> Refusal {
    match refused {
        engine::Refused::Pipeline(message) => {
            let message = format!("MongoDB refuses the pipeline of this stream: {message}");
            Refusal::said(StatusCode::INTERNAL_SERVER_ERROR, message)
        }
        engine::Refused::HistoryLost => Refusal::said(
            StatusCode::GONE,
            "history no longer reaches back to this event id",
        ),
        engine::Refused::Limit { limit } => {
            Refusal::limit(limit, "this stream has no room for another client")
        }
        engine::Refused::Unavailable(error) => unavailable(error),
    }
}

/// What a client is told of an error: no addresses of MongoDB, they are in the log.
fn public(error: &MongoError) -> String {
    match error {
        MongoError::Unreachable(_) | MongoError::NoAnswer => {
            // The feed has warned already; this is once a request.
            tracing::debug!(%error, "request refused, MongoDB is not reachable");
            "streams are not available: MongoDB is not reachable, or is not the replica set that mongodb.uri names"
                .to_owned()
        }
        MongoError::Credentials(_) => {
            "streams are not available: MongoDB does not accept the credentials of mongodb.uri"
                .to_owned()
        }
        MongoError::NoReplicaSet => {
            "streams are not available: MongoDB runs without a replica set".to_owned()
        }
        MongoError::TooManyFinds => {
            let what = "too many requests for unknown names, try again";
            reached("finds_per_second", what)
        }
        MongoError::HistoryLost(_) => "streams are not available: history was lost".to_owned(),
        MongoError::Refused { code, message } => {
            tracing::warn!(code, message, "request refused, MongoDB refuses");
            format!("streams are not available: MongoDB refuses (code {code})")
        }
    }
}

fn bind_refusal(error: &BindError) -> Refusal {
    let status = match error {
        BindError::Variables(error) => return variable_refusal(error),
        BindError::TooLarge { .. } => {
            noted("values");
            StatusCode::BAD_REQUEST
        }
        BindError::Unbound(_) | BindError::Operator(_) => StatusCode::BAD_REQUEST,
        BindError::Screen(_) => StatusCode::FORBIDDEN,
        BindError::Malformed(_)
        | BindError::Stage { .. }
        | BindError::ReadFilter(_)
        | BindError::Projection(_) => StatusCode::INTERNAL_SERVER_ERROR,
    };
    Refusal::said(status, error.to_string())
}

#[cfg(test)]
mod tests;
