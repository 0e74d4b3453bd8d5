//! `[auth.mongo]`, `[auth.jwt]` and `[acl.mongo]`: who is let in.

use std::time::Duration;

use super::mongodb::{collection_name, database_name};
use super::reader::{Section, not_empty};
use super::secret::Secret;

/// `[auth]`: the ways to prove who one is; with none, everybody is unauthenticated.
#[derive(Clone, Debug, PartialEq)]
pub struct Auth {
    /// Users kept in MongoDB; `None` where `auth.mongo.enabled = false`.
    pub mongo: Option<MongoUsers>,
    /// Tokens; `None` unless a key is given.
    pub jwt: Option<Jwt>,
    /// The cookie that may carry what else stands in `Authorization`; `None`: no cookie does.
    pub cookie: Option<String>,
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
    /// The shared secret; for RS algorithms the certificate or public key.
    pub key: Secret,
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
    let jwt = read_jwt(section.section("jwt"));
    let cookie = section.parsed("cookie", Some(COOKIE.to_owned()), cookie_name);
    section.finish();
    Auth { mongo, jwt, cookie }
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
    let algorithms = [
        ("HS256", JwtAlgorithm::Hs256),
        ("HS384", JwtAlgorithm::Hs384),
        ("HS512", JwtAlgorithm::Hs512),
        ("RS256", JwtAlgorithm::Rs256),
        ("RS384", JwtAlgorithm::Rs384),
        ("RS512", JwtAlgorithm::Rs512),
    ];
    let algorithm = section.choice("algorithm", JwtAlgorithm::Hs256, &algorithms);
    let issuer = section.parsed("issuer", Some(ISSUER.to_owned()), |text| match text {
        "" => Ok(None),
        text => Ok(Some(text.to_owned())),
    });
    let audience = texts(&section, "audience");
    let username_claim = section.text("username_claim", USERNAME_CLAIM);
    let roles_claim = section.text("roles_claim", ROLES_CLAIM);
    let fixed_roles = texts(&section, "fixed_roles");
    let base64_encoded = section.flag("base64_encoded", false);
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
    })
}

/// Reads `[acl]`.
pub(super) fn read_acl(section: Section<'_>) -> Option<MongoAcl> {
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
    section.finish();
    is_enabled.then_some(acl)
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
const REMEMBER_PASSWORDS: Duration = Duration::from_secs(20 * 60);

/// A working day's sessions at most rest on one check.
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
