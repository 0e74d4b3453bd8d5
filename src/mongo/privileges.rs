//! Which privilege MongoDB still has to grant, found out by trying.
//!
//! What a role is said to hold and what a server allows need not be the same (hosted MongoDB has rules of its own), so
//! each need is tried in earnest: a change stream is opened and closed again, one document is asked for. Only where
//! MongoDB refuses is the list of privileges read, to name what is missing in it.

use std::fmt;

use bson::{Document, doc};
use mongodb::Client;
use mongodb::error::{Error, ErrorKind};

use crate::mongo::Namespace;
use crate::mongo::feed::Scope;

/// Something that Sidestream has to do in MongoDB.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Need {
    /// Open a change stream.
    Watch(Scope),
    /// Find documents.
    Read(Namespace),
}

/// A need that MongoDB does not allow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    /// What is not allowed.
    pub need: Need,
    /// The actions that the user's roles do not grant there.
    pub actions: Vec<&'static str>,
    /// Whom MongoDB takes us for, `name@database`; `None` where `mongodb.uri` has no credentials.
    pub user: Option<String>,
}

/// Tries all needs and returns those that MongoDB does not allow; none where it asks for no credentials at all.
///
/// # Errors
/// What MongoDB or the way to it has against it beside privileges: not reachable, wrong password, no replica set.
pub async fn missing(client: &Client, needs: &[Need]) -> Result<Vec<Missing>, Error> {
    let mut refused = Vec::new();
    for need in needs {
        match attempt(client, need).await {
            Ok(()) => (),
            Err(error) if is_unauthorized(&error) => refused.push(need),
            Err(error) => return Err(error),
        }
    }
    if refused.is_empty() {
        return Ok(Vec::new());
    }
    let status = client
        .database("admin")
        .run_command(doc! { "connectionStatus": 1, "showPrivileges": true })
        .await?;
    let privileges = Privileges::read(&status);
    Ok(refused
        .into_iter()
        .map(|need| Missing {
            need: need.clone(),
            actions: privileges.lacking(need),
            user: privileges.user.clone(),
        })
        .collect())
}

impl Need {
    fn actions(&self) -> &'static [&'static str] {
        match self {
            Self::Watch(_) => &["changeStream", "find"],
            Self::Read(_) => &["find"],
        }
    }

    /// The resource to grant on: database and collection, empty for all.
    fn resource(&self) -> (&str, &str) {
        match self {
            Self::Watch(Scope::Database(database)) => (database, ""),
            Self::Watch(Scope::Deployment) => ("", ""),
            Self::Read(namespace) => (&namespace.database, &namespace.collection),
        }
    }
}

/// Writes what is missing and what to grant, in one line.
impl fmt::Display for Missing {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (database, collection) = self.need.resource();
        let purpose = match &self.need {
            Need::Watch(Scope::Database(database)) => format!("watch database {database}"),
            Need::Watch(Scope::Deployment) => "watch the whole deployment".to_owned(),
            Need::Read(_) => format!("read {database}.{collection}"),
        };
        let Some(user) = &self.user else {
            let text = "MongoDB asks for credentials, and mongodb.uri has none";
            return write!(formatter, "cannot {purpose}: {text}");
        };
        write!(
            formatter,
            "cannot {purpose}: {user} lacks the privilege \
             {{ resource: {{ db: {database:?}, collection: {collection:?} }}, actions: {:?} }}",
            self.actions
        )
    }
}

async fn attempt(client: &Client, need: &Need) -> Result<(), Error> {
    match need {
        Need::Watch(Scope::Database(database)) => client.database(database).watch().await.map(drop),
        Need::Watch(Scope::Deployment) => client.watch().await.map(drop),
        Need::Read(namespace) => {
            let database = client.database(&namespace.database);
            let collection = database.collection::<Document>(&namespace.collection);
            // Nothing has to be found: an empty answer is an answer.
            let found = collection.find_one(doc! { "_id": 0 }).await;
            found.map(drop)
        }
    }
}

fn is_unauthorized(error: &Error) -> bool {
    matches!(error.kind.as_ref(), ErrorKind::Command(refused) if refused.code == CODE_UNAUTHORIZED)
}

/// What `connectionStatus` says.
struct Privileges {
    user: Option<String>,
    granted: Vec<Document>,
}

impl Privileges {
    fn read(status: &Document) -> Self {
        let info = status.get_document("authInfo").ok();
        let documents = |key: &str| -> Vec<Document> {
            let array = info.and_then(|info| info.get_array(key).ok());
            let elements = array.into_iter().flatten();
            elements
                .filter_map(|element| element.as_document().cloned())
                .collect()
        };
        let user = documents("authenticatedUsers").first().and_then(|user| {
            let name = user.get_str("user").ok()?;
            let database = user.get_str("db").ok()?;
            Some(format!("{name}@{database}"))
        });
        Self {
            user,
            granted: documents("authenticatedUserPrivileges"),
        }
    }

    /// The actions of a refused need that nothing grants; all of them where the list does not explain the refusal.
    fn lacking(&self, need: &Need) -> Vec<&'static str> {
        let is_granted = |action: &str| {
            self.granted
                .iter()
                .any(|privilege| grants(privilege, need.resource(), action))
        };
        let all = need.actions();
        let lacking: Vec<&str> = all
            .iter()
            .copied()
            .filter(|action| !is_granted(action))
            .collect();
        match lacking.as_slice() {
            [] => all.to_vec(),
            _ => lacking,
        }
    }
}

/// Whether a privilege grants an action on a resource.
///
/// Source: MongoDB manual, "Resource Document": an empty name stands for all, except system collections.
fn grants(privilege: &Document, (database, collection): (&str, &str), action: &str) -> bool {
    let Ok(resource) = privilege.get_document("resource") else {
        return false;
    };
    let covers = |key: &str, name: &str| {
        let granted = resource.get_str(key);
        granted.is_ok_and(|granted| granted.is_empty() || granted == name)
    };
    let is_covered = resource.get_bool("anyResource").unwrap_or(false)
        || (covers("db", database) && covers("collection", collection));
    let has_action = privilege.get_array("actions").is_ok_and(|actions| {
        actions
            .iter()
            .any(|granted| granted.as_str() == Some(action))
    });
    is_covered && has_action
}

/// `Unauthorized`.
const CODE_UNAUTHORIZED: i32 = 13;
