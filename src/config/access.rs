//! `[auth]` and `[acl]`: who is let in.

use std::fmt;
use std::time::Duration;

use bson::Document;
use http::{HeaderName, header};

use super::definition;
use super::mongodb::{collection_name, database_name};
use super::reader::{Section, not_empty};
use super::secret::Secret;
use super::url::{self, AskedUrl};
use super::yaml;

/// `[auth]`: the ways to prove who one is; with none, everybody is unauthenticated.
#[derive(Clone, Debug, PartialEq)]
pub struct Auth {
    /// Users kept in MongoDB; `None` where `auth.mongo.enabled = false`.
    pub mongo: Option<MongoUsers>,
    /// `[auth.file]`: users as RESTHeart's `users.yml` has them.
    pub users: UserEntries,
    /// Tokens; `None` unless a key is given.
    pub jwt: Option<Jwt>,
    /// The API, asked who somebody is; `None` unless a URL is given.
    pub forward: Option<(AskedUrl, ForwardAuth)>,
    /// The query parameter that may carry a token; `None`: none does.
    pub token_parameter: Option<String>,
    /// The WebSocket subprotocol whose name announces a token; `None`: there is none.
    pub token_protocol: Option<String>,
    /// The cookie that may carry what else stands in `Authorization`; `None`: no cookie does.
    pub cookie: Option<String>,
    /// Whose `Origin` is looked at.
    pub origin_check: OriginCheck,
    /// The pages that may connect besides our own.
    pub origins: Vec<String>,
    /// How many failed logins are borne.
    pub guard: LoginGuard,
}

/// Users with their passwords, as they stand in a file. `Debug` masks them.
#[derive(Clone, Default, PartialEq)]
pub struct UserEntries(pub Vec<Document>);

impl fmt::Debug for UserEntries {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} users", self.0.len())
    }
}

/// Whose `Origin` is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OriginCheck {
    /// Nobody's.
    Off,
    /// Of those who log in by a cookie.
    Cookies,
    /// Everybody's: RESTHeart's `originVetoer`.
    All,
}

/// `[auth.guard]`: RESTHeart's `bruteForceAttackGuard`, and the same by user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoginGuard {
    /// Failed logins from one address in a window; 0: any number.
    pub failures_per_address: usize,
    /// Failed logins of one user in a window; 0: any number.
    pub failures_per_user: usize,
    /// How long a failure counts.
    pub window: Duration,
}

/// `[auth.mongo]`, RESTHeart's `mongoRealmAuthenticator`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MongoUsers {
    /// Where the users are.
    pub database: String,
    /// Where the users are.
    pub collection: String,
    /// The property that holds the user's name; dots lead into documents.
    pub id_property: String,
    /// The property that holds the password; always at the top.
    pub password_property: String,
    /// The dotted path of the roles, without RESTHeart's `$.`.
    pub roles_path: String,
    /// Whether passwords are stored as bcrypt hashes; false: as they are.
    pub bcrypt: bool,
    /// How long a password that was right need not be hashed again; zero: never.
    pub remember_passwords: Duration,
}

/// `[auth.jwt]`, RESTHeart's `jwtAuthenticationMechanism`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Jwt {
    /// What tokens are signed with.
    pub key: JwtKey,
    /// The only algorithm accepted.
    pub algorithm: JwtAlgorithm,
    /// What `iss` must be; `None`: it is not looked at.
    pub issuer: Option<String>,
    /// What `aud` must contain, all of it; empty: `aud` is not looked at.
    pub audience: Vec<String>,
    /// The claim with the user's name.
    pub username_claim: String,
    /// The claim with the roles.
    pub roles_claim: String,
    /// Roles that every token has besides.
    pub fixed_roles: Vec<String>,
    /// Whether tokens are base64url-encoded once more.
    pub base64_encoded: bool,
    /// How far the clock of whoever issues tokens may be from ours.
    pub leeway: Duration,
}

/// What tokens are signed with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JwtKey {
    /// The shared secret; for the other algorithms the public key or the certificate.
    Text(Secret),
    /// Public keys that are fetched.
    Set {
        /// Where they are.
        url: AskedUrl,
        /// How often they are fetched.
        refresh: Duration,
        /// How long they count when they cannot be fetched any more.
        trusted: Duration,
    },
}

/// `[auth.forward]`: the API, asked who somebody is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForwardAuth {
    /// Headers of the handshake that are shown to it.
    pub show: Vec<HeaderName>,
    /// Where the name is in a JSON answer.
    pub name: String,
    /// Where the roles are in a JSON answer.
    pub roles: String,
    /// The header of the answer that is the name.
    pub name_header: Option<HeaderName>,
    /// The header of the answer that is the roles.
    pub roles_header: Option<HeaderName>,
    /// How long an answer is believed.
    pub remember: Duration,
    /// How long a session may last that was let in so.
    pub session: Duration,
    /// How long an answer is waited for.
    pub timeout: Duration,
    /// How many questions are under way at once.
    pub concurrency: usize,
}

/// Signature algorithms of tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are RFC 7518's")]
pub enum JwtAlgorithm {
    Hs256,
    Hs384,
    Hs512,
    Rs256,
    Rs384,
    Rs512,
    Ps256,
    Ps384,
    Ps512,
    Es256,
    Es384,
    EdDsa,
}

/// `[acl]`: permissions; with none, every stream is refused.
#[derive(Clone, Debug, PartialEq)]
pub struct Acl {
    /// Permissions kept in MongoDB; `None` where `acl.mongo.enabled = false`.
    pub mongo: Option<MongoAcl>,
    /// Permissions of the configuration: those of `acl.file`, then each `[[acl.permission]]`.
    pub permissions: Vec<Document>,
    /// How long events go on though permissions or users of another database are not watched.
    pub grace: Duration,
}

/// `[acl.mongo]`, RESTHeart's `mongoAclAuthorizer`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MongoAcl {
    /// Where the permissions are.
    pub database: String,
    /// Where the permissions are.
    pub collection: String,
    /// The role that may do everything; `None`: there is none.
    pub root_role: Option<String>,
}

pub(super) fn read_auth(section: Section<'_>) -> Auth {
    let mongo = read_users(section.section("mongo"));
    let file = section.section("file");
    let users = file.value("users");
    let users = users.and_then(|users| users.parsed_secret(|text| yaml::entries(text, "users")));
    file.finish();
    let jwt = read_jwt(section.section("jwt"));
    let forward = read_forward(section.section("forward"));
    let token_parameter = section.parsed("token_parameter", None, |text| match text {
        "" => Ok(None),
        "avars" | "jsonMode" | "lastEventID" | "page" | "pagesize" | "filter" => {
            Err("is a parameter with a meaning of its own".to_owned())
        }
        text => Ok(Some(text.to_owned())),
    });
    let token_protocol = section.parsed("token_protocol", None, |text| match text {
        "" => Ok(None),
        text if HeaderName::from_bytes(text.as_bytes()).is_ok() => Ok(Some(text.to_owned())),
        _ => Err("must be the name of a subprotocol, without blanks and commas".to_owned()),
    });
    let cookie = section.parsed("cookie", Some(COOKIE.to_owned()), cookie_name);
    let checks = [
        ("off", OriginCheck::Off),
        ("cookies", OriginCheck::Cookies),
        ("all", OriginCheck::All),
    ];
    let origin_check = section.choice("origin_check", OriginCheck::Cookies, &checks);
    let origins = section.list("origins").unwrap_or_default();
    let origins = origins.iter().filter_map(|value| value.parsed(origin));
    let origins = origins.collect();
    let guard = read_guard(section.section("guard"));
    section.finish();
    Auth {
        mongo,
        users: UserEntries(users.unwrap_or_default()),
        jwt,
        forward,
        token_parameter,
        token_protocol,
        cookie,
        origin_check,
        origins,
        guard,
    }
}

fn read_guard(section: Section<'_>) -> LoginGuard {
    let guard = LoginGuard {
        failures_per_address: section.count("failures_per_address", 0, 0..=FAILURES_MAX),
        failures_per_user: section.count("failures_per_user", 0, 0..=FAILURES_MAX),
        window: section.duration("window", GUARD_WINDOW, Duration::from_secs(1)..=DAY),
    };
    section.finish();
    guard
}

fn read_users(section: Section<'_>) -> Option<MongoUsers> {
    let is_enabled = section.flag("enabled", true);
    let users = MongoUsers {
        database: section.parsed("database", DATABASE.to_owned(), database_name),
        collection: section.parsed("collection", USERS.to_owned(), collection_name),
        id_property: section.parsed("id_property", ID_PROPERTY.to_owned(), property_path),
        password_property: section.parsed(
            "password_property",
            PASSWORD_PROPERTY.to_owned(),
            |text| match text.contains('.') {
                true => Err("must be a property at the top: no dots".to_owned()),
                false => property_path(text),
            },
        ),
        roles_path: section.parsed("roles_path", ROLES_PATH.to_owned(), |text| {
            property_path(text.strip_prefix("$.").unwrap_or(text))
        }),
        bcrypt: section.flag("bcrypt", true),
        remember_passwords: section.duration(
            "remember_passwords",
            REMEMBER_PASSWORDS,
            Duration::ZERO..=DAY,
        ),
    };
    section.finish();
    is_enabled.then_some(users)
}

fn read_jwt(section: Section<'_>) -> Option<Jwt> {
    let key = section
        .value("key")
        .and_then(|value| value.parsed_secret(|text| not_empty(text).map(Secret::new)));
    let url = section.parsed("jwks", None, |text| match text {
        "" => Ok(None),
        text => url::asked(text).map(Some),
    });
    let refresh = section.duration("jwks_refresh", JWKS_REFRESH, JWKS_REFRESH_MIN..=DAY);
    let trusted = section.duration("jwks_trusted", JWKS_TRUSTED, JWKS_REFRESH_MIN..=7 * DAY);
    if trusted < refresh {
        section.fault("jwks_trusted", "must not be shorter than jwks_refresh");
    }
    let algorithms = [
        ("HS256", JwtAlgorithm::Hs256),
        ("HS384", JwtAlgorithm::Hs384),
        ("HS512", JwtAlgorithm::Hs512),
        ("RS256", JwtAlgorithm::Rs256),
        ("RS384", JwtAlgorithm::Rs384),
        ("RS512", JwtAlgorithm::Rs512),
        ("PS256", JwtAlgorithm::Ps256),
        ("PS384", JwtAlgorithm::Ps384),
        ("PS512", JwtAlgorithm::Ps512),
        ("ES256", JwtAlgorithm::Es256),
        ("ES384", JwtAlgorithm::Es384),
        ("EdDSA", JwtAlgorithm::EdDsa),
    ];
    let algorithm = section.choice("algorithm", JwtAlgorithm::Hs256, &algorithms);
    let is_secret = matches!(
        algorithm,
        JwtAlgorithm::Hs256 | JwtAlgorithm::Hs384 | JwtAlgorithm::Hs512
    );
    let key = match (key, url) {
        (Some(_), Some(_)) => {
            section.fault("jwks", "key is given as well; only one of them can count");
            None
        }
        (None, Some(_)) if is_secret => {
            let text =
                "a set of public keys needs an algorithm with public keys, such as \"RS256\"";
            section.fault("algorithm", text);
            None
        }
        (Some(key), None) => Some(JwtKey::Text(key)),
        (None, Some(url)) => Some(JwtKey::Set {
            url,
            refresh,
            trusted,
        }),
        (None, None) => None,
    };
    let issuer = section.parsed("issuer", Some(ISSUER.to_owned()), |text| match text {
        "" => Ok(None),
        text => Ok(Some(text.to_owned())),
    });
    let audience = texts(&section, "audience");
    let username_claim = section.text("username_claim", USERNAME_CLAIM);
    let roles_claim = section.text("roles_claim", ROLES_CLAIM);
    let fixed_roles = texts(&section, "fixed_roles");
    let base64_encoded = section.flag("base64_encoded", false);
    let leeway = section.duration("leeway", Duration::ZERO, Duration::ZERO..=LEEWAY_MAX);
    section.finish();
    Some(Jwt {
        key: key?,
        algorithm,
        issuer,
        audience,
        username_claim,
        roles_claim,
        fixed_roles,
        base64_encoded,
        leeway,
    })
}

fn read_forward(section: Section<'_>) -> Option<(AskedUrl, ForwardAuth)> {
    let url = section
        .value("url")
        .and_then(|value| value.parsed(url::asked));
    let show = section.list("show").map(|names| {
        let names = names.iter().filter_map(|value| value.parsed(header_name));
        names.collect()
    });
    let optional = |key| {
        section.parsed(key, None, |text| match text {
            "" => Ok(None),
            text => header_name(text).map(Some),
        })
    };
    let forward = ForwardAuth {
        show: show.unwrap_or_else(|| vec![header::AUTHORIZATION, header::COOKIE]),
        name: section.parsed("name", "name".to_owned(), property_path),
        roles: section.parsed("roles", ROLES_PATH.to_owned(), property_path),
        name_header: optional("name_header"),
        roles_header: optional("roles_header"),
        remember: section.duration("remember", FORWARD_REMEMBER, Duration::ZERO..=DAY),
        session: section.duration("session", FORWARD_SESSION, Duration::from_secs(1)..=DAY),
        timeout: section.duration(
            "timeout",
            FORWARD_TIMEOUT,
            Duration::from_millis(1)..=Duration::from_secs(60),
        ),
        concurrency: section.count("concurrency", FORWARD_CONCURRENCY, 1..=10_000),
    };
    section.finish();
    Some((url?, forward))
}

fn header_name(text: &str) -> Result<HeaderName, String> {
    text.parse()
        .map_err(|_| "must be the name of a header".to_owned())
}

/// Reads `[acl]`.
pub(super) fn read_acl(section: Section<'_>) -> Acl {
    let mongo = section.section("mongo");
    let is_enabled = mongo.flag("enabled", true);
    let root_role = mongo.parsed("root_role", Some(ROOT_ROLE.to_owned()), |text| match text {
        "$unauthenticated" => Err("would let everybody do everything".to_owned()),
        "" => Ok(None),
        text => Ok(Some(text.to_owned())),
    });
    let acl = MongoAcl {
        database: mongo.parsed("database", DATABASE.to_owned(), database_name),
        collection: mongo.parsed("collection", ACL.to_owned(), collection_name),
        root_role,
    };
    mongo.finish();
    let grace = section.duration("grace", Duration::ZERO, Duration::ZERO..=DAY);
    let file = section.section("file");
    let stored = file.value("permissions");
    let stored = stored.and_then(|text| text.parsed(|text| yaml::entries(text, "permissions")));
    file.finish();
    let mut permissions = stored.unwrap_or_default();
    let written = section.list("permission").unwrap_or_default();
    permissions.extend(written.iter().filter_map(definition::document));
    section.finish();
    Acl {
        mongo: is_enabled.then_some(acl),
        permissions,
        grace,
    }
}

/// Source: RFC 6454 section 6.2.
fn origin(text: &str) -> Result<String, String> {
    let host = text
        .strip_prefix("https://")
        .or_else(|| text.strip_prefix("http://"));
    match host {
        _ if text == "null" => Ok(text.to_owned()),
        Some(host) if !host.is_empty() && !host.contains(['/', '?', '#', ' ']) => {
            Ok(text.to_owned())
        }
        _ => Err(
            "must be an origin: a scheme and a host, such as \"https://app.example\"".to_owned(),
        ),
    }
}

fn texts(section: &Section<'_>, key: &'static str) -> Vec<String> {
    let written = section.list(key).unwrap_or_default();
    let texts = written.iter().filter_map(|value| value.parsed(not_empty));
    texts.collect()
}

/// Source: RFC 6265 section 4.1.1: a name is a token of HTTP.
fn cookie_name(text: &str) -> Result<Option<String>, String> {
    let is_token =
        |letter: u8| letter.is_ascii_graphic() && !b"()<>@,;:\\\"/[]?={}".contains(&letter);
    match text {
        "" => Ok(None),
        text if text.bytes().all(is_token) => Ok(Some(text.to_owned())),
        _ => Err("must be the name of a cookie".to_owned()),
    }
}

fn property_path(text: &str) -> Result<String, String> {
    let is_segment = |segment: &str| !segment.is_empty() && !segment.starts_with('$');
    match text.split('.').all(is_segment) && !text.contains(['[', '*', '\0']) {
        true => Ok(text.to_owned()),
        false => Err("must be names with dots between, such as \"account.roles\"".to_owned()),
    }
}

// All of these are RESTHeart's defaults, so that its users, permissions and tokens work unseen.
const DATABASE: &str = "restheart";
const USERS: &str = "users";
const ACL: &str = "acl";
const ID_PROPERTY: &str = "_id";
const PASSWORD_PROPERTY: &str = "password";
const ROLES_PATH: &str = "roles";
const ROOT_ROLE: &str = "admin";
const ISSUER: &str = "restheart.org";
const USERNAME_CLAIM: &str = "sub";
const ROLES_CLAIM: &str = "roles";
const COOKIE: &str = "rh_auth";
/// As often as identity providers let it be cached.
const JWKS_REFRESH: Duration = Duration::from_secs(5 * 60);
const JWKS_REFRESH_MIN: Duration = Duration::from_secs(5);
/// An outage of the identity provider is borne for so long; a key that was withdrawn meanwhile counts so much longer.
const JWKS_TRUSTED: Duration = Duration::from_secs(60 * 60);
/// More is no clock.
const LEEWAY_MAX: Duration = Duration::from_secs(10 * 60);
/// Clients that come back all at once ask the API once each.
const FORWARD_REMEMBER: Duration = Duration::from_secs(30);
/// How long a withdrawn login may go on at most.
const FORWARD_SESSION: Duration = Duration::from_secs(60 * 60);
const FORWARD_TIMEOUT: Duration = Duration::from_secs(2);
/// A legacy API should not notice.
const FORWARD_CONCURRENCY: usize = 16;
const GUARD_WINDOW: Duration = Duration::from_secs(10);
const REMEMBER_PASSWORDS: Duration = Duration::from_secs(20 * 60);

/// A working day's sessions at most rest on one check.
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// More is no guard.
const FAILURES_MAX: usize = 1_000_000;
