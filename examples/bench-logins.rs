//! Measures how long right passwords wait while somebody guesses wrong ones, a thousand a second.
//!
//! `cargo run --release --example bench-logins -- [guesses a second] [seconds] [cost]`. No server is needed.

use std::{
    error::Error,
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use bson::{Document, doc};
use futures_util::future::BoxFuture;
use http::{HeaderMap, HeaderValue, Method, header};
use sidestream::access::{
    Access, AccessSettings, Denied, RequestHead, Unavailable, UserSettings, Users,
};
use tokio::{task::JoinSet, time::interval};

const GUESSER: [u8; 4] = [10, 0, 0, 1];
const ELSEWHERE: [u8; 4] = [10, 0, 0, 2];

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let mut number = |default: u32| arguments.next().map_or(Ok(default), |text| text.parse());
    let (per_second, seconds, cost) = (number(1_000)?.max(1), number(20)?.max(1), number(12)?);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_time()
        .build()?;
    println!(
        "{per_second} wrong passwords a second for {seconds} s, bcrypt cost {cost}; sidestream {}, {} CPUs",
        env!("CARGO_PKG_VERSION"),
        std::thread::available_parallelism()?
    );
    runtime.block_on(measure(per_second, seconds, cost))
}

async fn measure(per_second: u32, seconds: u32, cost: u32) -> Result<(), Box<dyn Error>> {
    let hash = bcrypt::hash("right", cost)?;
    let access = Arc::new(Access::new(
        AccessSettings {
            users: Some(UserSettings::default()),
            ..AccessSettings::default()
        },
        Arc::new(Everybody { hash }),
    ));
    access.replace_permissions([
        doc! { "_id": "all", "roles": ["r"], "priority": 0, "predicate": "path-prefix('/')" },
    ]);
    let mut asked = 0;
    // Users who have not been here before, so each costs a hash.
    let alone = logins(&access, &mut asked, ELSEWHERE, seconds.min(5)).await?;
    println!("right, alone: {alone}");
    for (what, names) in [("of one user", 1), ("of a thousand users", 1_000)] {
        let guessing = tokio::spawn(guess(Arc::clone(&access), per_second, names));
        // The queue fills up first.
        tokio::time::sleep(Duration::from_secs(2)).await;
        let from_elsewhere = logins(&access, &mut asked, ELSEWHERE, seconds).await?;
        println!("right, from another address, beside guesses {what}: {from_elsewhere}");
        let from_there = logins(&access, &mut asked, GUESSER, seconds).await;
        match from_there {
            Ok(from_there) => {
                println!("right, from the same address, beside guesses {what}: {from_there}")
            }
            Err(error) => println!("right, from the same address, beside guesses {what}: {error}"),
        }
        let remembered = Instant::now();
        access.decide(head("r0", "right", ELSEWHERE.into())).await?;
        println!(
            "right and remembered, beside guesses {what}: {:.3} ms",
            remembered.elapsed().as_secs_f64() * 1e3
        );
        guessing.abort();
        // Ended or not: none of it is left.
        let _ = guessing.await;
    }
    Ok(())
}

/// Logs in one after the other for so long, each time as somebody new.
async fn logins(
    access: &Access,
    asked: &mut usize,
    from: [u8; 4],
    seconds: u32,
) -> Result<String, Denied> {
    let until = Instant::now() + Duration::from_secs(seconds.into());
    let mut took = Vec::new();
    while Instant::now() < until {
        let begun = Instant::now();
        access
            .decide(head(&format!("r{asked}"), "right", from.into()))
            .await?;
        took.push(begun.elapsed());
        *asked += 1;
    }
    took.sort();
    let at = |part: f64| took[((took.len() - 1) as f64 * part) as usize].as_secs_f64() * 1e3;
    Ok(format!(
        "p50 {:.0} ms, longest {:.0} ms, of {}",
        at(0.5),
        at(1.0),
        took.len()
    ))
}

/// Sends wrong passwords, whatever becomes of them, until it is ended.
async fn guess(access: Arc<Access>, per_second: u32, names: usize) {
    const TICKS: u32 = 100;
    let mut guesses = JoinSet::new();
    let mut tick = interval(Duration::from_secs(1) / TICKS);
    let mut number = 0;
    loop {
        tick.tick().await;
        for _ in 0..per_second.div_ceil(TICKS) {
            number += 1;
            let head = head(
                &format!("g{}", number % names),
                &format!("wrong{number}"),
                GUESSER.into(),
            );
            let access = Arc::clone(&access);
            guesses.spawn(async move { access.decide(head).await.is_ok() });
        }
        while guesses.try_join_next().is_some() {}
    }
}

/// Anybody is a user, with the same password.
struct Everybody {
    hash: String,
}

impl Users for Everybody {
    fn find<'a>(
        &'a self,
        name: &'a str,
    ) -> BoxFuture<'a, Result<Option<Arc<Document>>, Unavailable>> {
        let record = doc! { "_id": name, "password": &self.hash, "roles": ["r"] };
        Box::pin(async move { Ok(Some(Arc::new(record))) })
    }
}

fn head(name: &str, password: &str, from: IpAddr) -> RequestHead {
    let credentials = BASE64_STANDARD.encode(format!("{name}:{password}"));
    let value = HeaderValue::try_from(format!("Basic {credentials}"));
    let path = "/messages/_streams/all";
    RequestHead {
        method: Method::GET,
        path: path.to_owned(),
        raw_path: path.to_owned(),
        query: Vec::new(),
        query_string: String::new(),
        headers: HeaderMap::from_iter([(header::AUTHORIZATION, value.expect("printable"))]),
        peer: (from, 1).into(),
        local: ([127, 0, 0, 1], 2).into(),
        scheme: "http",
    }
}
