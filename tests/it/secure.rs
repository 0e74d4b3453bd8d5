//! The real binary behind TLS, and behind proxies that are believed.

use std::time::Duration;

use bson::{Document, doc};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::client::{Client, Close, Request};
use crate::support::secure::{Bridge, Files, Identity, ONLY_13, client, connect, replace};
use crate::support::sidestream::{LegacyApi, Sidestream};
use crate::support::stack::{self, ADMIN, Stack};
use crate::support::upstream::Echo;
use crate::support::{client_of, mongo_uri};

fn section(files: &Files) -> String {
    format!(
        "[server.tls]\nlisten = [\"127.0.0.1:0\"]\ncertificate = \"{}\"\nkey = \"{}\"\nreload = \"100ms\"\n",
        files.certificate.display(),
        files.key.display()
    )
}

#[tokio::test]
async fn streams_live_behind_tls_and_outlive_their_certificate() {
    const NAME: &str = "secured";
    let (first, second) = (Identity::new(), Identity::new());
    let files = Files::of(&first);
    let stack = Stack::start(&section(&files)).await;
    let database = stack.database().await;
    stack::clear(&database, NAME).await;
    stack::define(
        &database,
        NAME,
        doc! { "streams": [{ "uri": "all", "stages": [] }] },
    )
    .await;
    let secure = stack.sidestream.secure().await;
    let bridge = Bridge::to(secure, &[&first, &second]).await;

    let open = async |request: Request, status: u16| {
        let client = Client::open(bridge.address, &request.auth(ADMIN)).await;
        assert_eq!(client.status(), Some(status), "{}", client.state());
        client
    };
    let stream = format!("/{NAME}/_streams/all");
    let mut websocket = open(Request::websocket(&stream), 101).await;
    let sse = open(Request::sse(&stream), 200).await;
    assert_eq!(bridge.shown(), first.der());
    let documents = database.collection::<Document>(NAME);
    let insert = async |id: &str| {
        let large = "x".repeat(100_000);
        let inserted = documents
            .insert_one(doc! { "_id": id, "large": large })
            .await;
        inserted.expect("inserted");
    };
    insert("one").await;
    assert!(websocket.next().await.contains("\"one\""));

    second.store(&files);
    let reloaded = |line: &str| line.contains("a new certificate is in use").then_some(());
    stack
        .sidestream
        .log
        .wait("the new certificate", 0, reloaded)
        .await;
    // A write of both through the new one, to which the streams of the old one listen.
    open(Request::http("GET", &format!("/{NAME}")), 200).await;
    assert_eq!(bridge.shown(), second.der());
    insert("two").await;
    assert!(websocket.next().await.contains("\"two\""));
    let both = sse.wait(PATIENCE, |received| received.events.len() >= 2);
    assert!(both.await, "{}", sse.state());

    // Who leaves without TLS's goodbye has left as others do.
    let tcp = TcpStream::connect(secure).await.expect("connected");
    let connector = client(&[&second], ONLY_13, &[]);
    let mut leaving = connect(&connector, tcp).await.expect("a handshake");
    let asked = Request::websocket(&stream).auth(ADMIN).bytes("h");
    leaving.write_all(&asked).await.expect("sent");
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let read = leaving.read_buf(&mut head).await.expect("read");
        assert_ne!(read, 0, "{}", String::from_utf8_lossy(&head));
    }
    assert!(head.starts_with(b"HTTP/1.1 101 "));
    drop(leaving.into_inner().0);
    stack
        .eventually("sidestream_closes_total", "\"client_left\"", 1.0)
        .await;

    stack.sidestream.terminate();
    assert_eq!(websocket.close_code().await, 1001);
    assert_eq!(sse.closed().await, Close::Sse);
    let Stack { sidestream, .. } = stack;
    assert_eq!(sidestream.exit_code().await, 0);
}

#[tokio::test]
async fn a_pair_that_does_not_fit_leaves_the_old_one_in_use() {
    let (first, second) = (Identity::new(), Identity::new());
    let files = Files::of(&first);
    let upstream = Echo::start().await;
    let sidestream = Sidestream::start(&plain(&upstream.url(), &section(&files))).await;
    let secure = sidestream.secure().await;
    let bridge = Bridge::to(secure, &[&first, &second]).await;
    let get = async || {
        let answer = Client::open(bridge.address, &Request::http("GET", "/a")).await;
        assert_eq!(answer.body(), "GET /a ");
        bridge.shown()
    };
    assert_eq!(get().await, first.der());

    let mark = sidestream.log.mark();
    replace(&files.certificate, &second.certificate);
    let kept = |line: &str| {
        line.contains("the certificate in use stays")
            .then(|| line.to_owned())
    };
    let told = sidestream.log.wait("the fault", mark, kept).await;
    assert!(
        told.contains("certificate and key cannot be used"),
        "{told}"
    );
    assert_eq!(get().await, first.der());

    let mark = sidestream.log.mark();
    replace(&files.key, &second.key);
    let used = |line: &str| line.contains("a new certificate is in use").then_some(());
    sidestream.log.wait("the new certificate", mark, used).await;
    assert_eq!(get().await, second.der());
    let faults = sidestream.log.lines();
    let faults = faults.iter().filter(|line| kept(line).is_some());
    assert_eq!(faults.count(), 1, "told once, not at each look");
}

#[tokio::test]
async fn files_that_cannot_be_used_keep_it_from_starting_and_check_says_so() {
    let files = Files::of(&Identity::new());
    let toml = plain("http://127.0.0.1:1", &section(&files));
    std::fs::remove_file(&files.key).expect("gone");
    let (code, log) = Sidestream::refuse(&toml).await;
    assert_eq!(code, 1);
    let log = log.join("\n");
    assert!(
        log.contains("server.tls") && log.contains("tls.key"),
        "{log}"
    );
    let output = Sidestream::check(&toml).await;
    let report = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(report.contains("wrong    server.tls: "), "{report}");
    assert!(!output.status.success());
}

/// A proxy alone, with no listener but that for TLS where `more` has one.
fn plain(upstream: &str, more: &str) -> String {
    format!(
        "[server]\nlisten = [\"127.0.0.1:0\"]\n{more}[admin]\nlisten = \"127.0.0.1:0\"\n[upstream]\nurl = \"{upstream}\"\n[streams]\nenabled = false\n"
    )
}

#[tokio::test]
async fn a_trusted_proxy_says_who_the_client_is() {
    let upstream = Echo::start().await;
    for (trusted, header, client) in [
        ("127.0.0.0/8", "1.1.1.1, 198.51.100.7", "198.51.100.7:0"),
        ("192.0.2.0/24", "1.1.1.1, 198.51.100.7", "127.0.0.1:"),
    ] {
        let trusted = format!("trusted_proxies = [\"{trusted}\"]\n");
        let sidestream = Sidestream::start(&plain(&upstream.url(), &trusted)).await;
        let request = Request::http("GET", "/who").header("X-Forwarded-For", header);
        Client::open(sidestream.public, &request).await;
        let line = sidestream
            .log
            .wait("the line of the access log", 0, |line| {
                let line: serde_json::Value = serde_json::from_str(line).ok()?;
                let fields = line.get("fields").unwrap_or(&line).clone();
                (fields["path"] == "/who").then(|| fields["client"].as_str().map(str::to_owned))
            });
        let logged = line.await.expect("it names the client");
        assert!(logged.starts_with(client), "{logged}");
    }
}

#[tokio::test]
async fn limits_by_address_go_by_the_client_that_a_trusted_proxy_names() {
    const NAME: &str = "behindproxy";
    const TRUST: &str =
        "[server]\ntrusted_proxies = [\"127.0.0.1\"]\ntrusted_header = \"Forwarded\"\n";
    let uri = mongo_uri().await;
    stack::add_admin(&client_of(uri).await.database(stack::DATABASE)).await;
    let legacy = LegacyApi::start(uri).await;
    let limits = "[limits]\nsessions_per_address = 1\n";
    let toml = stack::config(&format!("http://{}", legacy.address), uri, limits);
    let stack = Stack {
        mongo_uri: uri.to_owned(),
        legacy,
        sidestream: Sidestream::start(&toml.replacen("[server]\n", TRUST, 1)).await,
    };
    let database = stack.database().await;
    stack::clear(&database, NAME).await;
    stack::define(
        &database,
        NAME,
        doc! { "streams": [{ "uri": "all", "stages": [] }] },
    )
    .await;
    let open = async |client: &str| {
        let request = Request::websocket(&format!("/{NAME}/_streams/all")).auth(ADMIN);
        let forwarded = format!("for=9.9.9.9, for={client}");
        stack.open(&request.header("Forwarded", &forwarded)).await
    };
    let one = open("198.51.100.7").await;
    let two = open("\"[2001:db8::7]:80\"").await;
    let again = open("198.51.100.7").await;
    assert_eq!(one.status(), Some(101), "{}", one.state());
    assert_eq!(two.status(), Some(101), "{}", two.state());
    assert_eq!(again.status(), Some(429), "{}", again.state());
}

const PATIENCE: Duration = Duration::from_secs(20);
