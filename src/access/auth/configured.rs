//! Users of a configuration file: RESTHeart's `fileRealmAuthenticator`.
//!
//! Source: compat 8.4; golden `file-realm`.

use std::collections::HashMap;

use bson::{Bson, Document};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::Authenticated;
use super::basic::BasicCredentials;
use super::digest::Digester;
use crate::access::acl::Problem;
use crate::access::principal::{Mechanism, Principal};

/// The users of a file, by name. Of two with one name the later counts.
pub(super) struct ConfiguredUsers {
    by_name: HashMap<String, ConfiguredUser>,
    digester: Digester,
}

struct ConfiguredUser {
    /// In clear, as it stands in the file; none lets nobody in.
    password: Option<Zeroizing<String>>,
    roles: Vec<String>,
    /// The entry without its password.
    properties: Document,
}

impl ConfiguredUsers {
    /// Reads the entries; what is wrong with one is told, and lets nobody in.
    pub(super) fn read(entries: impl IntoIterator<Item = Document>) -> (Self, Vec<Problem>) {
        let mut users = HashMap::new();
        let mut problems = Vec::new();
        for (index, entry) in entries.into_iter().enumerate() {
            match read(entry) {
                Ok((name, user)) => drop(users.insert(name, user)),
                Err(reason) => problems.push(Problem {
                    id: Bson::String(format!("configured user {}", index + 1)),
                    reason,
                }),
            }
        }
        let users = Self {
            by_name: users,
            digester: Digester::new(),
        };
        (users, problems)
    }

    /// Compares the credentials. An unknown user costs what a wrong password costs.
    pub(super) fn authenticate(&self, credentials: &BasicCredentials) -> Option<Authenticated> {
        let user = self.by_name.get(&credentials.name);
        let password = user.and_then(|user| user.password.as_ref());
        // Digests hide the lengths.
        let digest = |password: &str| self.digester.of([password.as_bytes()]);
        let wanted = digest(password.map_or("", |password| password.as_str()));
        let given = digest(&credentials.password);
        let is_right = bool::from(wanted.ct_eq(&given)) & password.is_some();
        let user = user.filter(|_| is_right)?;
        Some(Authenticated {
            principal: Principal {
                name: credentials.name.clone(),
                roles: user.roles.clone(),
                properties: Some(user.properties.clone()),
                mechanism: Mechanism::Configured,
                expires_at: None,
                signed_by: None,
            },
            record: None,
        })
    }
}

fn read(mut entry: Document) -> Result<(String, ConfiguredUser), String> {
    let name = match entry.get("userid") {
        Some(Bson::String(name)) => name.clone(),
        Some(_) => return Err("userid is not a text".to_owned()),
        None => return Err("userid is missing".to_owned()),
    };
    let password = match entry.remove("password") {
        Some(Bson::String(password)) => Some(Zeroizing::new(password)),
        Some(Bson::Null) | None => None,
        Some(_) => return Err(format!("{name}: password is not a text; put it in quotes")),
    };
    let roles = match entry.get("roles") {
        Some(Bson::Array(roles)) => roles.iter().map(Bson::as_str).collect::<Option<Vec<_>>>(),
        Some(Bson::Null) | None => Some(Vec::new()),
        Some(_) => None,
    };
    let roles = roles.ok_or_else(|| format!("{name}: roles is not a list of texts"))?;
    let roles = roles.into_iter().map(str::to_owned).collect();
    let user = ConfiguredUser {
        password,
        roles,
        properties: entry,
    };
    Ok((name, user))
}
