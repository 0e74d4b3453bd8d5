//! Measures what one changed permission costs while many sessions are open: for so long the feed is held up, and nothing
//! behind the change is delivered.
//!
//! `cargo run --release --example bench-access -- [sessions] [permissions] [rounds]`. No server is needed.

use std::{
    error::Error,
    sync::Arc,
    time::{Duration, Instant},
};

use bson::{Document, doc};
use futures_util::future::BoxFuture;
use http::{HeaderMap, HeaderValue, Method, header};
use sidestream::access::{
    Access, AccessSettings, Grant, PasswordKind, RequestHead, Unavailable, UserSettings, Users,
};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let mut number = |default: usize| arguments.next().map_or(Ok(default), |text| text.parse());
    let (sessions, permissions, rounds) = (number(10_000)?, number(1_000)?, number(20)?.max(1));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()?;
    let (access, mut documents) = access(permissions);
    access.replace_permissions(documents.clone());
    let grants: Vec<Grant> = runtime.block_on(async {
        let mut grants = Vec::new();
        for session in 0..sessions {
            grants.push(access.decide(head(session)).await?);
        }
        Ok::<_, Box<dyn Error>>(grants)
    })?;
    println!(
        "{sessions} sessions of as many users, {permissions} permissions of their role, {rounds} rounds; sidestream {}, {} CPUs",
        env!("CARGO_PKG_VERSION"),
        std::thread::available_parallelism()?
    );
    for (what, place) in [
        ("one that none of them rests on", 0),
        ("the one that all of them rest on", permissions - 1),
    ] {
        let mut parts = [Vec::new(), Vec::new(), Vec::new()];
        for round in 0..rounds {
            let mut changed = (*documents[place]).clone();
            changed.insert("round", i64::try_from(round)?);
            documents[place] = Arc::new(changed);
            let begun = Instant::now();
            access.replace_permissions(documents.clone());
            parts[0].push(begun.elapsed());
            let begun = Instant::now();
            let rechecking = access.rechecking();
            let heard = |grant| rechecking.recheck(grant).is_some();
            assert_eq!(grants.iter().filter(|&grant| heard(grant)).count(), 0);
            parts[1].push(begun.elapsed());
            let begun = Instant::now();
            let heard = |grant| access.recheck(grant).is_some();
            assert_eq!(grants.iter().filter(|&grant| heard(grant)).count(), 0);
            parts[2].push(begun.elapsed());
        }
        let [taken, judged, naive] = parts.map(median);
        println!(
            "{what}: {:.2} ms to take it in and {:.2} ms to judge the sessions; {:.2} ms to decide all of them anew",
            taken, judged, naive
        );
    }
    Ok(())
}

/// In milliseconds.
fn median(mut of: Vec<Duration>) -> f64 {
    of.sort();
    of[of.len() / 2].as_secs_f64() * 1e3
}

fn id(place: usize) -> String {
    format!("p{place}")
}

/// Permissions for a path each, of which the last one tried is the sessions'.
fn access(permissions: usize) -> (Access, Vec<Arc<Document>>) {
    let settings = AccessSettings {
        users: Some(UserSettings {
            password_kind: PasswordKind::Plain,
            ..UserSettings::default()
        }),
        ..AccessSettings::default()
    };
    let documents = (0..permissions).map(|place| {
        let priority = i64::try_from(permissions - place).unwrap_or(i64::MAX);
        let path = match place + 1 == permissions {
            true => "/messages".to_owned(),
            false => format!("/other{place}"),
        };
        let predicate = format!("path-prefix('{path}') and method(GET)");
        Arc::new(
            doc! { "_id": id(place), "roles": ["r"], "priority": priority, "predicate": predicate },
        )
    });
    let documents = documents.collect();
    (Access::new(settings, Arc::new(Everybody)), documents)
}

/// Anybody is a user, with his name as password.
struct Everybody;

impl Users for Everybody {
    fn find<'a>(
        &'a self,
        name: &'a str,
    ) -> BoxFuture<'a, Result<Option<Arc<Document>>, Unavailable>> {
        let record = doc! { "_id": name, "password": name, "roles": ["r"], "team": "red" };
        Box::pin(async move { Ok(Some(Arc::new(record))) })
    }
}

/// What a browser sends.
fn head(session: usize) -> RequestHead {
    use base64::Engine as _;
    let mut headers = HeaderMap::new();
    let credentials = format!("u{session}:u{session}");
    let credentials = base64::prelude::BASE64_STANDARD.encode(credentials);
    let value = |text: &str| HeaderValue::from_str(text).expect("printable");
    headers.insert(
        header::AUTHORIZATION,
        value(&format!("Basic {credentials}")),
    );
    for (name, text) in [
        (header::HOST, "api.example.org"),
        (
            header::USER_AGENT,
            "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
        ),
        (header::ACCEPT, "text/event-stream"),
        (header::ACCEPT_LANGUAGE, "en-US,en;q=0.5"),
        (header::ACCEPT_ENCODING, "gzip, deflate, br"),
        (header::ORIGIN, "https://app.example.org"),
    ] {
        headers.insert(name, value(text));
    }
    let (path, query) = ("/messages/_streams/mine", "n=uji");
    RequestHead {
        method: Method::GET,
        path: path.to_owned(),
        raw_path: path.to_owned(),
        query: RequestHead::decode_query(query),
        query_string: query.to_owned(),
        headers,
        peer: ([127, 0, 0, 1], 1).into(),
        local: ([127, 0, 0, 1], 2).into(),
        scheme: "http",
    }
}
