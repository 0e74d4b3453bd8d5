//! `[auth.mongo]`, `[auth.jwt]` and `[acl.mongo]`: who is let in.

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
}

/// `[auth.jwt]`, RESTHeart's `jwtAuthenticationMechanism`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Jwt {
    /// The shared secret; for RS algorithms the certificate or public key.
    pub key: Secret,
    /// The only algorithm accepted.
    pub algorithm: JwtAlgorithm,
    /// What `iss` must be.
    pub issuer: String,
    /// What `aud` must contain, all of it; empty: `aud` is not looked at.
    pub audience: Vec<String>,
    /// The claim with the user's name.
    pub username_claim: String,
    /// The claim with the roles.
    pub roles_claim: String,
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
    section.finish();
    Auth { mongo, jwt }
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
    let issuer = section.text("issuer", ISSUER);
    let written = section.list("audience").unwrap_or_default();
    let audience = written
        .iter()
        .filter_map(|value| value.parsed(not_empty))
        .collect();
    let username_claim = section.text("username_claim", USERNAME_CLAIM);
    let roles_claim = section.text("roles_claim", ROLES_CLAIM);
    section.finish();
    Some(Jwt {
        key: key?,
        algorithm,
        issuer,
        audience,
        username_claim,
        roles_claim,
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
