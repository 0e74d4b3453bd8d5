//! Why MongoDB cannot be used: asked of each server that `mongodb.uri` names, one by one.
//!
//! The driver says only that it found no server that fits. What fits depends on the connection string as much as on the
//! servers, so each is asked directly who it is, without credentials, and then with them.

use std::time::Duration;

use bson::{Document, doc};
use mongodb::Client;
use mongodb::error::{Error, ErrorKind};
use mongodb::options::{ClientOptions, Credential, ServerAddress};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// What to do where there is no replica set.
pub(super) const NO_REPLICA_SET: &str = "MongoDB runs without a replica set, so it has no change streams. Start mongod \
     with --replSet rs0 and run rs.initiate() once in mongosh: one member is enough. Until then streams answer 503; REST \
     goes on";

/// How long each server may take to be connected to, and to answer.
const SERVER_PATIENCE: Duration = Duration::from_secs(2);
/// Servers that are asked; the others are left out.
const SERVERS_MAX: usize = 5;

/// Says for people what is wrong with each server of `uri`. Empty where nothing is found.
pub(super) async fn diagnose(uri: &str) -> Vec<String> {
    // Whoever calls has connected with this very string before, so it can be read.
    let Ok(options) = ClientOptions::parse(uri).await else {
        return Vec::new();
    };
    let mut found = Vec::new();
    for server in options.hosts.iter().take(SERVERS_MAX) {
        found.extend(diagnose_server(&options, server).await);
    }
    found.dedup();
    found
}

async fn diagnose_server(options: &ClientOptions, server: &ServerAddress) -> Option<String> {
    if let ServerAddress::Tcp { host, port } = server {
        let socket = TcpStream::connect((host.as_str(), port.unwrap_or(DEFAULT_PORT)));
        match timeout(SERVER_PATIENCE, socket).await {
            Ok(Ok(_)) => (),
            Ok(Err(error)) => return Some(format!("{server} cannot be connected to: {error}")),
            Err(_) => return Some(format!("{server} cannot be connected to: no answer")),
        }
    }
    let Ok(hello) = ask(options, server, None, "hello").await else {
        let tls = match options.tls.is_some() {
            true => "; is tls=true in mongodb.uri right?",
            false => "; does it need tls=true in mongodb.uri?",
        };
        return Some(format!(
            "{server} takes connections, but does not answer as MongoDB{tls}"
        ));
    };
    if let Some(wrong) = wrong_set(options.repl_set_name.as_deref(), &hello) {
        return Some(match wrong {
            WrongSet::None => NO_REPLICA_SET.to_owned(),
            WrongSet::NotInitiated => format!(
                "{server} was started with --replSet, but rs.initiate() has not been run: run it once in mongosh"
            ),
            WrongSet::Other { actual, given } => format!(
                "{server} belongs to the replica set {actual}, but mongodb.uri says replicaSet={given}"
            ),
        });
    }
    let credential = options.credential.clone()?;
    let user = credential.username.clone().unwrap_or_default();
    let source = credential.source.clone();
    let error = ask(options, server, Some(credential), "ping").await.err()?;
    let ErrorKind::Authentication { message, .. } = error.kind.as_ref() else {
        return None;
    };
    let source = source.as_deref().unwrap_or("that authSource names");
    Some(format!(
        "{server} refuses the credentials of {user} in mongodb.uri: {message} Is the password right, with its special \
         characters percent-encoded, and the user kept in the database {source} (authSource)?"
    ))
}

/// Asks one server, whatever set it belongs to.
async fn ask(
    options: &ClientOptions,
    server: &ServerAddress,
    credential: Option<Credential>,
    command: &str,
) -> Result<Document, Error> {
    let mut options = options.clone();
    options.hosts = vec![server.clone()];
    options.direct_connection = Some(true);
    options.repl_set_name = None;
    options.load_balanced = None;
    options.srv_max_hosts = None;
    options.credential = credential;
    options.server_selection_timeout = Some(SERVER_PATIENCE);
    let client = Client::with_options(options)?;
    client
        .database("admin")
        .run_command(doc! { command: 1 })
        .await
}

/// What is wrong with the set that a server belongs to.
#[derive(Debug, PartialEq, Eq)]
enum WrongSet {
    /// It belongs to none.
    None,
    /// It waits to be told its set.
    NotInitiated,
    /// It belongs to another than the one that was asked for.
    Other { actual: String, given: String },
}

fn wrong_set(given: Option<&str>, hello: &Document) -> Option<WrongSet> {
    let is_router = matches!(hello.get_str("msg"), Ok("isdbgrid"));
    let is_waiting = matches!(hello.get_bool("isreplicaset"), Ok(true));
    match (hello.get_str("setName"), given) {
        (Ok(actual), Some(given)) if actual != given => Some(WrongSet::Other {
            actual: actual.to_owned(),
            given: given.to_owned(),
        }),
        (Ok(_), _) => None,
        (Err(_), _) if is_router => None,
        (Err(_), _) if is_waiting => Some(WrongSet::NotInitiated),
        (Err(_), _) => Some(WrongSet::None),
    }
}

/// MongoDB's.
const DEFAULT_PORT: u16 = 27017;

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(given: Option<&str>, hello: Document, expected: Option<WrongSet>) {
        assert_eq!(wrong_set(given, &hello), expected, "{given:?} {hello}");
    }

    #[test]
    fn a_server_is_judged_by_the_set_that_it_names() {
        let other = WrongSet::Other {
            actual: "rs1".to_owned(),
            given: "rs0".to_owned(),
        };
        check(Some("rs0"), doc! { "setName": "rs0" }, None);
        check(None, doc! { "setName": "rs1" }, None);
        check(Some("rs0"), doc! { "setName": "rs1" }, Some(other));
        check(Some("rs0"), doc! { "ok": 1 }, Some(WrongSet::None));
        check(None, doc! { "ok": 1 }, Some(WrongSet::None));
        check(None, doc! { "msg": "isdbgrid" }, None);
        let waiting = doc! { "isreplicaset": true };
        check(Some("rs0"), waiting, Some(WrongSet::NotInitiated));
    }
}
