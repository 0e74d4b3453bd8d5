//! Who asks: Basic authentication against the users' collection, and the care of its passwords.

use std::collections::HashMap;
use std::sync::Mutex;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bson::{Bson, Document, doc};
use http::{HeaderMap, header};
use mongodb::{Collection, Database};

use crate::answer::Failure;

/// The users of the API.
pub(crate) struct Accounts {
    database: Database,
    /// Credentials that were right, and the hash for which they were: bcrypt is slow on purpose, and clients send
    /// their password with each request.
    known: Mutex<HashMap<Credentials, String>>,
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct Credentials {
    name: String,
    password: String,
}

impl Accounts {
    pub(crate) fn new(database: Database) -> Self {
        Self {
            database,
            known: Mutex::default(),
        }
    }

    /// Creates the collections of users and permissions where they are missing, and `admin` with the password
    /// `secret` where there are no users.
    pub(crate) async fn create_first_user(&self) -> Result<(), Failure> {
        for name in [USERS, "acl"] {
            crate::properties::create_collection(&self.database, name).await?;
        }
        if self.users().find_one(doc! {}).await?.is_some() {
            return Ok(());
        }
        let mut admin = doc! { "_id": "admin", "password": "secret", "roles": [ROOT_ROLE] };
        hash_field(&mut admin).await?;
        match self.users().insert_one(admin).await {
            Ok(_) => Ok(()),
            // Another instance was quicker.
            Err(_)
                if self
                    .users()
                    .find_one(doc! { "_id": "admin" })
                    .await?
                    .is_some() =>
            {
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Lets in whoever has the role `admin`.
    pub(crate) async fn admit(&self, headers: &HeaderMap) -> Result<(), Failure> {
        let credentials = credentials(headers).ok_or(Failure::Unauthenticated)?;
        let user = self
            .users()
            .find_one(doc! { "_id": &credentials.name })
            .await?;
        let user = user.ok_or(Failure::Unauthenticated)?;
        let hash = user
            .get_str(PASSWORD)
            .map_err(|_| Failure::Unauthenticated)?;
        if !self.is_right(credentials, hash).await {
            return Err(Failure::Unauthenticated);
        }
        let roles = user
            .get_array("roles")
            .map(Vec::as_slice)
            .unwrap_or_default();
        let is_root = roles.iter().any(|role| role.as_str() == Some(ROOT_ROLE));
        if is_root {
            Ok(())
        } else {
            Err(Failure::Forbidden)
        }
    }

    async fn is_right(&self, credentials: Credentials, hash: &str) -> bool {
        let is_known = |known: &HashMap<Credentials, String>| {
            known.get(&credentials).is_some_and(|old| old == hash)
        };
        if is_known(&self.known.lock().expect(UNPOISONED)) {
            return true;
        }
        let (password, stored) = (credentials.password.clone(), hash.to_owned());
        let verified = tokio::task::spawn_blocking(move || bcrypt::verify(password, &stored));
        let is_right = matches!(verified.await, Ok(Ok(true)));
        if is_right {
            let mut known = self.known.lock().expect(UNPOISONED);
            if known.len() >= KNOWN_MAX {
                known.clear();
            }
            known.insert(credentials, hash.to_owned());
        }
        is_right
    }

    fn users(&self) -> Collection<Document> {
        self.database.collection(USERS)
    }

    /// Whether this is the collection whose passwords are hashed on their way in and left out on their way out.
    pub(crate) fn are_in(&self, collection: &Collection<Document>) -> bool {
        collection.name() == USERS && collection.namespace().db == self.database.name()
    }
}

/// Hashes the password that a write brings, in the document itself or in its `$set`.
pub(crate) async fn hash_passwords(content: &mut Document) -> Result<(), Failure> {
    hash_field(content).await?;
    match content.get_document_mut("$set") {
        Ok(set) => hash_field(set).await,
        Err(_) => Ok(()),
    }
}

async fn hash_field(document: &mut Document) -> Result<(), Failure> {
    let Some(Bson::String(password)) = document.get_mut(PASSWORD) else {
        return Ok(());
    };
    let clear = std::mem::take(password);
    let hashed = tokio::task::spawn_blocking(move || bcrypt::hash_with_result(clear, BCRYPT_COST));
    *password = match hashed.await {
        // `2a` is the spelling that RESTHeart logs in with.
        Ok(Ok(hash)) => hash.format_for_version(bcrypt::Version::TwoA),
        _ => return Err(Failure::bad_request("this password cannot be hashed")),
    };
    Ok(())
}

fn credentials(headers: &HeaderMap) -> Option<Credentials> {
    let values = headers.get_all(header::AUTHORIZATION).iter();
    let basic = values
        .filter_map(|value| value.to_str().ok())
        .find_map(|value| {
            let (scheme, encoded) = value.split_once(' ')?;
            scheme.eq_ignore_ascii_case("basic").then(|| encoded.trim())
        })?;
    let decoded = String::from_utf8(STANDARD.decode(basic).ok()?).ok()?;
    let (name, password) = decoded.split_once(':')?;
    Some(Credentials {
        name: name.to_owned(),
        password: password.to_owned(),
    })
}

/// The property that never leaves.
pub(crate) const PASSWORD: &str = "password";
const USERS: &str = "users";
const ROOT_ROLE: &str = "admin";
const BCRYPT_COST: u32 = 10;
const KNOWN_MAX: usize = 1000;
const UNPOISONED: &str = "nothing panics while it holds this lock";
