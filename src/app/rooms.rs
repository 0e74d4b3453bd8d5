//! From the configuration to the settings of each room.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use crate::access::{
    Access, AccessSettings, JwtAlgorithm, JwtSettings, JwtVerifier, PasswordKind, PasswordSettings,
    Unavailable, UserSettings, Users,
};
use crate::app::StartError;
use crate::config::{self, Config, NotifyWhenUnbound, Streams, UpstreamUrl, Watch};
use crate::delivery::Budget;
use crate::engine::{Engine, EngineSettings, GroupLimits, Hub};
use crate::front::admission::{Admission, AdmissionSettings};
use crate::front::feeds::{Feeds, FeedsSettings};
use crate::front::freshness::Freshness;
use crate::front::listener::ListenerSettings;
use crate::front::live::LiveSessions;
use crate::front::metadata::{Metadata, MetadataSettings, MongoUsers};
use crate::front::places::{Places, PlacesSettings};
use crate::front::route::{Mount, Mounts};
use crate::front::streaming::Streaming;
use crate::lifecycle::{Cores, Shutdown, Tasks};
use crate::mongo::Namespace;
use crate::mongo::client::{Clock, Connector};
use crate::mongo::feed::FeedSettings;
use crate::mongo::lookup::Lookup;
use crate::proxy::{HeadSettings, ProxySettings, UpstreamAddress};
use crate::session::SessionSettings;
use crate::streams::{Catalog, PipelineLimits, StaticStream};

/// The longest pause between two attempts of a feed to reach MongoDB.
const FEED_BACKOFF_MAX: Duration = Duration::from_secs(5);

/// The proxy's settings.
pub(super) fn proxy(upstream: &config::Upstream) -> ProxySettings {
    let address = match upstream.url.clone() {
        UpstreamUrl::Http { host, port } => UpstreamAddress::Http { host, port },
        UpstreamUrl::Https { host, port } => UpstreamAddress::Https { host, port },
        UpstreamUrl::Unix { path } => UpstreamAddress::Unix(path),
    };
    ProxySettings {
        idle: upstream.idle,
        idle_connections_max: upstream.idle_connections,
        connect_timeout: upstream.connect_timeout,
        response_timeout: upstream.response_timeout,
        forward_expect: upstream.forward_expect,
        ..ProxySettings::new(address)
    }
}

/// The public listener's settings.
pub(super) fn listener(config: &Config, cores: Cores) -> ListenerSettings {
    ListenerSettings {
        connections_max: config.server.max_connections,
        head: HeadSettings {
            bytes_max: config.server.head_size,
            time_max: config.server.head_timeout,
            idle_max: config.server.keep_alive,
            ..HeadSettings::default()
        },
        cores: Some(cores),
        drain: config.server.drain,
    }
}

/// The streams half, with its feeds opening in the background.
pub(super) async fn streams(
    config: &Config,
    streams: &Streams,
    tasks: &Tasks,
    shutdown: Shutdown,
) -> Result<Arc<Streaming>, StartError> {
    let limits = &config.limits;
    let cursors = limits.feeds + limits.dedicated_cursors + limits.catch_up_cursors;
    let connector = Connector::parse(
        streams.mongodb.uri.reveal(),
        u32::try_from(cursors).unwrap_or(u32::MAX),
    )
    .await?;
    let client = connector.client()?;
    let clock = Clock::start(client.clone(), tasks);
    let mounts = Mounts::new(mounts(streams));

    let users = streams.auth.mongo.as_ref().map(|users| {
        let namespace = Namespace::new(users.database.as_str(), users.collection.as_str());
        let remembered = NonZeroUsize::new(limits.users_remembered).unwrap_or(NonZeroUsize::MIN);
        let finds = u32::try_from(limits.finds_per_second).unwrap_or(u32::MAX);
        Arc::new(
            Lookup::new(namespace, client.clone(), clock.clone(), remembered, finds)
                .by(users.id_property.clone()),
        )
    });
    let permissions = streams.acl.as_ref();
    let permissions =
        permissions.map(|acl| Namespace::new(acl.database.as_str(), acl.collection.as_str()));
    let live = Arc::new(LiveSessions::default());
    let metadata = Arc::new(Metadata::new(
        client.clone(),
        clock.clone(),
        MetadataSettings {
            permissions: permissions.clone(),
            finds_per_second: u32::try_from(limits.finds_per_second).unwrap_or(u32::MAX),
        },
        catalog(limits, streams),
        access(config, streams, users.clone())?,
        users.clone(),
        live,
    ));
    let hub = Arc::new(Hub::new(tasks.clone()).within(GroupLimits {
        groups_max: limits.groups,
        bytes_max: limits.groups_size,
    }));
    let engine = EngineSettings {
        dedicated_cursors_max: limits.dedicated_cursors,
        dedicated_cursors_per_stream_max: limits.dedicated_cursors_per_stream,
        catch_up_cursors_max: limits.catch_up_cursors,
        patience: streams.settings.feed_patience,
        taken_within: streams.settings.write_timeout,
    };
    let engine = Arc::new(Engine::new(
        client.clone(),
        Arc::clone(&hub),
        engine,
        tasks.clone(),
    ));
    let kept = users
        .as_ref()
        .map(|users| users.namespace())
        .into_iter()
        .chain(permissions.as_ref());
    let mut rests_on: Vec<String> = kept
        .map(|namespace| namespace.database.to_string())
        .collect();
    rests_on.sort_unstable();
    rests_on.dedup();
    let always = rests_on
        .iter()
        .cloned()
        .chain(mounts.databases().map(str::to_owned))
        .collect();
    let feeds = FeedsSettings {
        feed: FeedSettings {
            ring_bytes: limits.ring,
            backoff_max: FEED_BACKOFF_MAX,
            patience: streams.settings.feed_patience,
        },
        feeds_max: limits.feeds,
        idle: streams.settings.feed_idle,
        patience: streams.settings.connect_patience,
        deployment: streams.mongodb.watch == Watch::Deployment,
        always,
    };
    let feeds = Feeds::start(
        connector,
        clock.clone(),
        hub,
        Arc::clone(&metadata),
        feeds,
        tasks.clone(),
    )?;
    Ok(Arc::new(Streaming {
        mounts,
        admission: Admission {
            metadata: Arc::clone(&metadata),
            feeds: Arc::clone(&feeds),
            engine,
            clock,
            settings: admission(config, streams, rests_on, users.as_deref()),
            places: Places::new(PlacesSettings {
                sessions_max: limits.sessions,
                per_user_max: limits.sessions_per_user,
                per_address_max: limits.sessions_per_address,
                per_feed_max: limits.subscriptions_per_feed,
            }),
        },
        freshness: Freshness {
            metadata,
            feeds,
            wait: streams.settings.freshness_wait,
        },
        websocket: session(streams, streams.settings.ping_interval),
        sse: session(streams, streams.settings.comment_interval),
        shutdown,
        access_log: config.log.access,
    }))
}

fn admission(
    config: &Config,
    streams: &Streams,
    rests_on: Vec<String>,
    users: Option<&Lookup>,
) -> AdmissionSettings {
    let password = streams
        .auth
        .mongo
        .as_ref()
        .map(|users| users.password_property.clone());
    AdmissionSettings {
        enforce_read_filter: streams.settings.enforce_read_filter,
        notify_when_unbound_refuses: streams.settings.notify_when_unbound
            == NotifyWhenUnbound::Refuse,
        outbox_bytes: config.limits.outbox,
        budget: Budget::new(config.limits.outboxes, config.limits.frame),
        pipeline: pipeline(&config.limits),
        avars_bytes: config.limits.avars,
        rests_on,
        users: users.map(|users| users.namespace().clone()).zip(password),
    }
}

fn session(streams: &Streams, ping_interval: Duration) -> SessionSettings {
    SessionSettings {
        ping_interval,
        pong_timeout: streams.settings.pong_timeout,
        close_timeout: streams.settings.close_timeout,
        write_timeout: streams.settings.write_timeout,
    }
}

fn pipeline(limits: &config::Limits) -> PipelineLimits {
    PipelineLimits {
        variables_max: limits.variables,
        depth_max: limits.depth,
        stages_max: limits.stages,
        values_max: limits.values,
    }
}

fn catalog(limits: &config::Limits, streams: &Streams) -> Catalog {
    let configured = streams.definitions.iter().map(|definition| StaticStream {
        database: definition.database.clone(),
        collection: definition.collection.clone(),
        uri: definition.uri.clone(),
        stages: definition.stages.clone(),
        notify_when: definition.notify_when.clone(),
    });
    Catalog::within(pipeline(limits), configured)
}

fn access(
    config: &Config,
    streams: &Streams,
    users: Option<Arc<Lookup>>,
) -> Result<Access, StartError> {
    let jwt = match &streams.auth.jwt {
        None => None,
        Some(jwt) => {
            let algorithm = match jwt.algorithm {
                config::JwtAlgorithm::Hs256 => JwtAlgorithm::Hs256,
                config::JwtAlgorithm::Hs384 => JwtAlgorithm::Hs384,
                config::JwtAlgorithm::Hs512 => JwtAlgorithm::Hs512,
                config::JwtAlgorithm::Rs256 => JwtAlgorithm::Rs256,
                config::JwtAlgorithm::Rs384 => JwtAlgorithm::Rs384,
                config::JwtAlgorithm::Rs512 => JwtAlgorithm::Rs512,
            };
            let settings = JwtSettings {
                issuer: jwt.issuer.clone(),
                audience: jwt.audience.clone(),
                name_claim: jwt.username_claim.clone(),
                roles_claim: jwt.roles_claim.clone(),
                fixed_roles: jwt.fixed_roles.clone(),
                base64_encoded: jwt.base64_encoded,
                ..JwtSettings::new(jwt.key.reveal(), algorithm)
            };
            Some(JwtVerifier::new(settings)?)
        }
    };
    let settings = AccessSettings {
        users: streams.auth.mongo.as_ref().map(|users| UserSettings {
            database: users.database.clone(),
            name_property: users.id_property.clone(),
            password_property: users.password_property.clone(),
            roles_path: users.roles_path.clone(),
            password_kind: if users.bcrypt {
                PasswordKind::Bcrypt
            } else {
                PasswordKind::Plain
            },
        }),
        passwords: PasswordSettings {
            concurrent: config.limits.bcrypt_concurrency,
            remembered_max: config.limits.passwords_remembered,
            remembered_for: streams
                .auth
                .mongo
                .as_ref()
                .map_or(Duration::ZERO, |users| users.remember_passwords),
            ..PasswordSettings::default()
        },
        jwt,
        cookie_name: streams.auth.cookie.clone(),
        root_role: streams.acl.as_ref().and_then(|acl| acl.root_role.clone()),
        mounts: mounts(streams),
    };
    let users: Arc<dyn Users> = match users {
        Some(users) => Arc::new(MongoUsers(users)),
        None => Arc::new(NoUsers),
    };
    Ok(Access::new(settings, users))
}

fn mounts(streams: &Streams) -> Vec<Mount> {
    let mount = |mount: &config::Mount| Mount {
        at: mount.at.clone(),
        what: mount.what.clone(),
    };
    streams.mongodb.mounts.iter().map(mount).collect()
}

/// Where no users are kept in MongoDB.
struct NoUsers;

impl Users for NoUsers {
    fn find<'a>(
        &'a self,
        _name: &'a str,
    ) -> futures_util::future::BoxFuture<'a, Result<Option<Arc<bson::Document>>, Unavailable>> {
        Box::pin(async { Ok(None) })
    }
}
