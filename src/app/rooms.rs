//! From the configuration to the settings of each room.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use crate::access::{
    Access, AccessSettings, ForwardSettings, GuardSettings, Identity, JwtAlgorithm, JwtKey,
    JwtSettings, JwtVerifier, KeySet, OriginCheck, OriginSettings, PasswordKind, PasswordSettings,
    Unavailable, UserSettings, Users,
};
use crate::app::StartError;
use crate::config::{
    self, Config, NotifyWhenUnbound, Streams, TlsVersion, TrustedHeader, UpstreamUrl, Watch,
};
use crate::delivery::Budget;
use crate::engine::{Engine, EngineSettings, GroupLimits, Hub};
use crate::front::admission::{Admission, AdmissionSettings};
use crate::front::feeds::{Feeds, FeedsSettings};
use crate::front::freshness::Freshness;
use crate::front::listener::{
    ClientHeader, Http2Settings, ListenerSettings, Networks, Tls, TlsError, TlsSettings, Trust,
};
use crate::front::live::LiveSessions;
use crate::front::metadata::{Metadata, MetadataSettings, MongoUsers};
use crate::front::outside::{self, Api};
use crate::front::places::{Places, PlacesSettings};
use crate::front::route::{Mount, Mounts};
use crate::front::streaming::Streaming;
use crate::lifecycle::{Cores, Shutdown, Tasks};
use crate::mongo::Namespace;
use crate::mongo::client::{Clock, Connector};
use crate::mongo::feed::FeedSettings;
use crate::mongo::lookup::Lookup;
use crate::proxy::{Fetcher, HeadSettings, HealthSettings, ProxySettings, UpstreamAddress};
use crate::session::SessionSettings;
use crate::streams::{Catalog, PipelineLimits, StaticStream};

/// The longest pause between two attempts of a feed to reach MongoDB.
const FEED_BACKOFF_MAX: Duration = Duration::from_secs(5);

/// The proxy's settings.
pub(super) fn proxy(upstream: &config::Upstream, server: &config::Server) -> ProxySettings {
    ProxySettings {
        authorities: upstream.authorities.clone(),
        idle: upstream.idle,
        idle_connections_max: upstream.idle_connections,
        connect_timeout: upstream.connect_timeout,
        response_timeout: upstream.response_timeout,
        body_rate: server.body_rate as u64,
        forward_expect: upstream.forward_expect,
        others: upstream.others.iter().map(address).collect(),
        health: health(&upstream.health),
        ..ProxySettings::new(address(&upstream.url))
    }
}

fn health(health: &config::Health) -> HealthSettings {
    let path = health.path.as_ref().map(|path| path.parse());
    HealthSettings {
        path: path.map(|path| path.expect("invariant: the configuration has parsed it")),
        interval: health.interval,
        timeout: health.timeout,
        rise: u32::try_from(health.rise).unwrap_or(u32::MAX),
        fall: u32::try_from(health.fall).unwrap_or(u32::MAX),
    }
}

fn address(url: &UpstreamUrl) -> UpstreamAddress {
    match url.clone() {
        UpstreamUrl::Http { host, port } => UpstreamAddress::Http { host, port },
        UpstreamUrl::Https { host, port } => UpstreamAddress::Https { host, port },
        UpstreamUrl::Unix { path } => UpstreamAddress::Unix(path),
    }
}

/// TLS towards clients, where it is configured.
pub(super) fn tls(config: &Config) -> Result<Option<Tls>, TlsError> {
    let settings = config.server.tls.as_ref().map(|tls| TlsSettings {
        certificate: tls.certificate.clone(),
        key: tls.key.clone(),
        only_13: tls.minimum == TlsVersion::Tls13,
        handshake_max: tls.handshake_timeout,
        http2: config.server.http2.over_tls,
    });
    settings.map(Tls::load).transpose()
}

/// Whose word about clients is believed.
pub(super) fn trust(server: &config::Server) -> Trust {
    Trust {
        networks: Networks::new(server.trusted_proxies.clone()),
        header: match server.trusted_header {
            TrustedHeader::XForwardedFor => ClientHeader::XForwardedFor,
            TrustedHeader::Forwarded => ClientHeader::Forwarded,
        },
    }
}

/// A public listener's settings.
pub(super) fn listener(config: &Config, cores: Cores, tls: Option<Tls>) -> ListenerSettings {
    let http2 = &config.server.http2;
    ListenerSettings {
        connections_max: config.server.max_connections,
        head: HeadSettings {
            bytes_max: config.server.head_size,
            time_max: config.server.head_timeout,
            idle_max: config.server.keep_alive,
            ..HeadSettings::default()
        },
        tls,
        http2: Http2Settings {
            prior_knowledge: http2.prior_knowledge,
            streams_max: http2.max_streams,
            ping_interval: http2.ping_interval,
            ping_timeout: http2.ping_timeout,
        },
        proxy_protocol_from: Networks::new(config.server.proxy_protocol_from.clone()),
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
    let permissions = streams.acl.mongo.as_ref();
    let permissions =
        permissions.map(|acl| Namespace::new(acl.database.as_str(), acl.collection.as_str()));
    let live = Arc::new(LiveSessions::default());
    let metadata = Arc::new(Metadata::new(
        client.clone(),
        clock.clone(),
        MetadataSettings {
            permissions: permissions.clone(),
            finds_per_second: u32::try_from(limits.finds_per_second).unwrap_or(u32::MAX),
            grace: streams.acl.grace,
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
        catch_up_cursors_per_second: limits.catch_up_cursors_per_second,
        patience: streams.settings.feed_patience,
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
            pre_images: streams.settings.pre_images,
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
        token_protocol: streams.auth.token_protocol.clone(),
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
        pre_images: streams.settings.pre_images,
        websocket_compression: streams.settings.websocket_compression,
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
    let jwt = streams.auth.jwt.as_ref().map(|jwt| {
        let settings = JwtSettings {
            key: match &jwt.key {
                config::JwtKey::Text(key) => JwtKey::Text(key.reveal().to_owned()),
                config::JwtKey::Set { trusted, .. } => JwtKey::Set(Arc::new(KeySet::new(*trusted))),
            },
            issuer: jwt.issuer.clone(),
            audience: jwt.audience.clone(),
            name_claim: jwt.username_claim.clone(),
            roles_claim: jwt.roles_claim.clone(),
            fixed_roles: jwt.fixed_roles.clone(),
            base64_encoded: jwt.base64_encoded,
            leeway: jwt.leeway,
            ..JwtSettings::new("", algorithm(jwt.algorithm))
        };
        JwtVerifier::new(settings)
    });
    let jwt = jwt.transpose()?;
    let forward = streams.auth.forward.as_ref();
    let forward = forward.map(|(url, settings)| forward_auth(url, settings));
    let forward = forward.transpose()?;
    let acl = &streams.acl;
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
        forward,
        token_parameter: streams.auth.token_parameter.clone(),
        token_protocol: streams.auth.token_protocol.clone(),
        configured_users: streams.auth.users.0.clone(),
        configured_permissions: acl.permissions.clone(),
        cookie_name: streams.auth.cookie.clone(),
        origins: OriginSettings {
            check: match streams.auth.origin_check {
                config::OriginCheck::Off => OriginCheck::Off,
                config::OriginCheck::Cookies => OriginCheck::Cookies,
                config::OriginCheck::All => OriginCheck::All,
            },
            listed: streams.auth.origins.clone(),
        },
        guard: GuardSettings {
            per_address: streams.auth.guard.failures_per_address,
            per_user: streams.auth.guard.failures_per_user,
            window: streams.auth.guard.window,
        },
        root_role: acl.mongo.as_ref().and_then(|acl| acl.root_role.clone()),
        mounts: mounts(streams),
    };
    let users: Arc<dyn Users> = match users {
        Some(users) => Arc::new(MongoUsers(users)),
        None => Arc::new(NoUsers),
    };
    Ok(Access::new(settings, users))
}

fn algorithm(algorithm: config::JwtAlgorithm) -> JwtAlgorithm {
    match algorithm {
        config::JwtAlgorithm::Hs256 => JwtAlgorithm::Hs256,
        config::JwtAlgorithm::Hs384 => JwtAlgorithm::Hs384,
        config::JwtAlgorithm::Hs512 => JwtAlgorithm::Hs512,
        config::JwtAlgorithm::Rs256 => JwtAlgorithm::Rs256,
        config::JwtAlgorithm::Rs384 => JwtAlgorithm::Rs384,
        config::JwtAlgorithm::Rs512 => JwtAlgorithm::Rs512,
        config::JwtAlgorithm::Ps256 => JwtAlgorithm::Ps256,
        config::JwtAlgorithm::Ps384 => JwtAlgorithm::Ps384,
        config::JwtAlgorithm::Ps512 => JwtAlgorithm::Ps512,
        config::JwtAlgorithm::Es256 => JwtAlgorithm::Es256,
        config::JwtAlgorithm::Es384 => JwtAlgorithm::Es384,
        config::JwtAlgorithm::EdDsa => JwtAlgorithm::EdDsa,
    }
}

fn forward_auth(
    url: &config::AskedUrl,
    forward: &config::ForwardAuth,
) -> Result<(ForwardSettings, Arc<dyn Identity>), StartError> {
    let settings = ForwardSettings {
        shown: forward.show.clone(),
        name_property: forward.name.clone(),
        roles_property: forward.roles.clone(),
        name_header: forward.name_header.clone(),
        roles_header: forward.roles_header.clone(),
        remembered_for: forward.remember,
        session: forward.session,
        timeout: forward.timeout,
        concurrent: forward.concurrency,
    };
    let fetcher = fetcher(url, forward.timeout, PRINCIPAL_BYTES_MAX)?;
    Ok((settings, Arc::new(Api(fetcher))))
}

/// What keeps the set of keys for tokens, if there is one: to be run in a task of its own.
pub(super) fn keys(
    streams: &Streams,
    metadata: &Arc<Metadata>,
) -> Result<Option<impl Future<Output = ()> + use<>>, StartError> {
    let jwt = streams.auth.jwt.as_ref().map(|jwt| &jwt.key);
    let (Some(config::JwtKey::Set { url, refresh, .. }), Some(keys)) =
        (jwt, metadata.access().key_set())
    else {
        return Ok(None);
    };
    let from = fetcher(url, JWKS_TIMEOUT, JWKS_BYTES_MAX)?;
    let (keys, metadata) = (Arc::clone(keys), Arc::clone(metadata));
    Ok(Some(outside::keep_keys(keys, from, *refresh, metadata)))
}

fn fetcher(
    url: &config::AskedUrl,
    within: Duration,
    body_max: usize,
) -> Result<Fetcher, StartError> {
    let target = url.target.parse();
    let target = target.expect("invariant: the configuration has parsed it");
    Ok(Fetcher::new(
        address(&url.server),
        target,
        within,
        body_max,
    )?)
}

/// A user's record is a few hundred bytes.
const PRINCIPAL_BYTES_MAX: usize = 64 << 10;

/// Large providers have a dozen keys of half a kilobyte, some with certificates.
const JWKS_BYTES_MAX: usize = 1 << 20;

const JWKS_TIMEOUT: Duration = Duration::from_secs(10);

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
