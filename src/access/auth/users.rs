//! Users kept in MongoDB.

use std::net::IpAddr;
use std::sync::Arc;

use bson::{Bson, Document};
use futures_util::future::BoxFuture;

use super::Authenticated;
use super::basic::BasicCredentials;
use super::password::{Login, PasswordSettings, Passwords};
use crate::access::principal::{Mechanism, Principal};

/// Where users are read. A record may come from memory, if it is forgotten as soon as it changes.
pub trait Users: Send + Sync {
    /// The raw stored document of the user of that name.
    fn find<'a>(
        &'a self,
        name: &'a str,
    ) -> BoxFuture<'a, Result<Option<Arc<Document>>, Unavailable>>;
}

/// Nobody can tell now.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unavailable(pub String);

/// How users are stored.
#[derive(Clone, Debug)]
pub struct UserSettings {
    /// The database, for `@user.authDb`.
    pub database: String,
    /// The property that is the user's name; dots lead inside.
    pub name_property: String,
    /// The property that is the password, at the top level.
    pub password_property: String,
    /// Where the roles are, as `$.roles`.
    pub roles_path: String,
    /// What a stored password is.
    pub password_kind: PasswordKind,
}

impl Default for UserSettings {
    fn default() -> Self {
        Self {
            database: "restheart".to_owned(),
            name_property: "_id".to_owned(),
            password_property: "password".to_owned(),
            roles_path: "$.roles".to_owned(),
            password_kind: PasswordKind::Bcrypt,
        }
    }
}

/// What a stored password is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PasswordKind {
    /// A bcrypt hash: `$2a$`, `$2b$`, `$2y$`.
    Bcrypt,
    /// The password itself.
    Plain,
}

pub(super) struct UserRealm {
    settings: UserSettings,
    users: Arc<dyn Users>,
    passwords: Passwords,
}

impl UserRealm {
    pub(super) fn new(
        settings: UserSettings,
        users: Arc<dyn Users>,
        passwords: &PasswordSettings,
    ) -> Self {
        Self {
            settings,
            users,
            passwords: Passwords::new(passwords),
        }
    }

    /// Compares the credentials with the stored record. Unknown user, wrong password and unusable record take the same way.
    pub(super) async fn authenticate(
        &self,
        credentials: &BasicCredentials,
        peer: IpAddr,
    ) -> Result<Option<Authenticated>, Unavailable> {
        let login = Login {
            name: &credentials.name,
            password: &credentials.password,
            peer,
        };
        let record = self.users.find(&credentials.name).await?;
        let usable =
            record.filter(|record| self.name_of(record) == Some(credentials.name.as_str()));
        let stored = usable
            .as_deref()
            .and_then(|record| record.get_str(&self.settings.password_property).ok());
        let kind = self.settings.password_kind;
        let right = self.passwords.verify(&login, stored, kind).await?;
        let Some(record) = usable.filter(|_| right) else {
            return Ok(None);
        };
        let Some(roles) = self.roles_of(&record) else {
            return Ok(None);
        };
        let principal = Principal {
            name: credentials.name.clone(),
            roles,
            properties: Some(self.properties_of(&record)),
            mechanism: Mechanism::Basic,
            expires_at: None,
            signed_by: None,
        };
        Ok(Some(Authenticated {
            principal,
            record: Some(record),
        }))
    }

    /// The name in the record: a string, else nobody can log in by it.
    fn name_of<'a>(&self, record: &'a Document) -> Option<&'a str> {
        lookup(record, self.settings.name_property.split('.'))?.as_str()
    }

    /// The roles: missing or null is none, what is no array fails the login, elements that are no strings are skipped.
    fn roles_of(&self, record: &Document) -> Option<Vec<String>> {
        match lookup(record, path_segments(&self.settings.roles_path)) {
            None | Some(Bson::Null) => Some(Vec::new()),
            Some(Bson::Array(roles)) => Some(
                roles
                    .iter()
                    .filter_map(|role| role.as_str().map(str::to_owned))
                    .collect(),
            ),
            Some(_) => None,
        }
    }

    /// What `@user` is: the record without its password, nulls gone, int64 that fits as int32, and `authDb` at the end.
    ///
    /// Source: golden `variables`, var-user-whole.
    fn properties_of(&self, record: &Document) -> Document {
        let mut properties = plain_document(record);
        properties.remove(&self.settings.password_property);
        properties.remove("authDb");
        properties.insert("authDb", self.settings.database.clone());
        properties
    }
}

/// The segments of a JSON path, of which `$`, `.name` and `['name']` are understood.
fn path_segments(path: &str) -> impl Iterator<Item = String> {
    let inner = path.strip_prefix('$').unwrap_or(path);
    let dotted = inner
        .replace("['", ".")
        .replace("']", "")
        .replace("[\"", ".")
        .replace("\"]", "");
    let segments: Vec<String> = dotted
        .split('.')
        .filter(|segment| !segment.is_empty())
        .map(str::to_owned)
        .collect();
    segments.into_iter()
}

/// The value that a path leads to, through documents only.
pub(super) fn lookup(
    record: &Document,
    segments: impl Iterator<Item = impl AsRef<str>>,
) -> Option<&Bson> {
    let mut found = None;
    let mut current = Some(record);
    for segment in segments {
        found = Some(current?.get(segment.as_ref())?);
        current = found.and_then(Bson::as_document);
    }
    found
}

fn plain_document(document: &Document) -> Document {
    let kept = document
        .iter()
        .filter(|(_, value)| !matches!(value, Bson::Null));
    kept.map(|(key, value)| (key.clone(), plain_value(value)))
        .collect()
}

fn plain_value(value: &Bson) -> Bson {
    match value {
        Bson::Int64(value) => i32::try_from(*value).map_or(Bson::Int64(*value), Bson::Int32),
        Bson::Document(inner) => Bson::Document(plain_document(inner)),
        Bson::Array(elements) => Bson::Array(elements.iter().map(plain_value).collect()),
        other => other.clone(),
    }
}
