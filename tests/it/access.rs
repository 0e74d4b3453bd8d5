//! Ways of proving who one is besides users in MongoDB, on the real binary.

use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use bson::doc;
use http_body_util::Full;
use hyper::body::Bytes;
use hyper::{Request as HttpRequest, Response};
use jsonwebtoken::{Algorithm, EncodingKey};

use crate::support::client::{Client, Request};
use crate::support::sidestream::Sidestream;
use crate::support::stack::{ADMIN, DATABASE, add_admin, config, define};
use crate::support::upstream::{Echo, Server};
use crate::support::{client_of, mongo_uri};

/// A Sidestream over the shared MongoDB, with a stream `all` of this collection.
async fn start(collection: &str, upstream: &str, settings: &str, jwt: bool) -> Sidestream {
    let uri = mongo_uri().await;
    let database = client_of(uri).await.database(DATABASE);
    add_admin(&database).await;
    let streams = doc! { "streams": [{ "uri": "all", "stages": [] }] };
    define(&database, collection, streams).await;
    let mut toml = config(upstream, uri, settings);
    if !jwt {
        toml = toml.replace(
            "[auth.jwt]\nkey = \"0123456789abcdef0123456789abcdef\"\n",
            "",
        );
    }
    Sidestream::start(&toml).await
}

async fn open(sidestream: &Sidestream, request: Request) -> Client {
    Client::open(sidestream.public, &request).await
}

fn stream(collection: &str) -> Request {
    Request::websocket(&format!("/{collection}/_streams/all"))
}

#[tokio::test]
async fn users_and_permissions_may_stand_in_the_configuration() {
    let settings = r#"
[auth.file]
users = """
users:
  - userid: ann
    password: "pa:ss"
    roles: [readers]
    team: red
"""
[acl.file]
permissions = """
permissions:
  - role: readers
    predicate: path-prefix('/a_file') and equals(@user.team, 'red')
    priority: 1
"""
[[acl.permission]]
roles = ["$unauthenticated"]
predicate = "path-prefix('/a_file') and qparams-contain('public')"
"#;
    let upstream = Echo::start().await;
    let sidestream = start("a_file", &upstream.url(), settings, true).await;
    let status = async |request: Request| open(&sidestream, request).await.status();
    assert_eq!(status(stream("a_file").auth("ann:pa:ss")).await, Some(101));
    assert_eq!(status(stream("a_file").auth("ann:pass")).await, Some(401));
    assert_eq!(
        status(stream("a_file").auth(ADMIN)).await,
        Some(101),
        "MongoDB's users too"
    );
    assert_eq!(status(stream("a_file")).await, Some(401));
    let public = Request::websocket("/a_file/_streams/all?public=1");
    assert_eq!(status(public).await, Some(101));
}

#[tokio::test]
async fn failed_logins_are_bounded_and_nobody_learns_which_password_is_right() {
    let settings = "[auth.guard]\nfailures_per_user = 3\nwindow = \"1h\"";
    let upstream = Echo::start().await;
    let sidestream = start("a_guard", &upstream.url(), settings, true).await;
    let status = async |credentials: &str| {
        let request = stream("a_guard").auth(credentials);
        open(&sidestream, request).await.status()
    };
    for _ in 0..3 {
        assert_eq!(status("admin:wrong").await, Some(401));
    }
    assert_eq!(status("admin:wrong").await, Some(429));
    let right = open(&sidestream, stream("a_guard").auth(ADMIN)).await;
    assert_eq!(right.status(), Some(429));
    assert!(
        right
            .body()
            .contains("Too many failed authentication attempts"),
        "{}",
        right.body()
    );
    assert_eq!(status("other:wrong").await, Some(401), "another name");
}

/// An API that knows who sends `Cookie: sid=ann`, and fails on `sid=broken`.
async fn api() -> Server {
    Server::start(|request: HttpRequest<Bytes>| {
        let cookie = request.headers().get("cookie");
        let (status, body) = match (request.uri().path(), cookie.map(|cookie| cookie.as_bytes())) {
            ("/me", Some(b"sid=ann")) => (200, r#"{"user": {"name": "ann", "roles": ["admin"]}}"#),
            ("/me", Some(b"sid=broken")) => (500, ""),
            ("/me", _) => (401, ""),
            _ => (200, "the API"),
        };
        let mut response = Response::new(Full::from(body));
        *response.status_mut() = status.try_into().expect("a status");
        response
    })
    .await
}

#[tokio::test]
async fn the_api_may_say_who_somebody_is() {
    let api = api().await;
    let settings = format!(
        "[auth.forward]\nurl = \"{}/me\"\nname = \"user.name\"\nroles = \"user.roles\"\nsession = \"2s\"",
        api.url()
    );
    let sidestream = start("a_forward", &api.url(), &settings, true).await;
    let with = |cookie: &str| stream("a_forward").header("Cookie", cookie);
    let ann = open(&sidestream, with("sid=ann")).await;
    assert_eq!(ann.status(), Some(101));
    let status = async |request: Request| open(&sidestream, request).await.status();
    assert_eq!(status(with("sid=bob")).await, Some(401));
    assert_eq!(status(stream("a_forward")).await, Some(401));
    assert_eq!(
        status(with("sid=broken")).await,
        Some(503),
        "neither yes nor no"
    );
    // A browser sends the cookie for any page that its user visits.
    let foreign = with("sid=ann").header("Origin", "https://evil.example");
    assert_eq!(status(foreign).await, Some(401));
    let own = format!("http://{}", sidestream.public);
    assert_eq!(
        status(with("sid=ann").header("Origin", &own)).await,
        Some(101)
    );
    // Nobody tells us when it ceases to be true, so it ends.
    assert_eq!(ann.close_code().await, 4401);
}

/// A token that never ends, signed with the test's own key, naming it `kid`.
fn token(kid: &str) -> String {
    let encode = |text: &str| BASE64_URL_SAFE_NO_PAD.encode(text);
    let header = format!(r#"{{"alg":"EdDSA","kid":"{kid}"}}"#);
    let claims = r#"{"iss":"restheart.org","sub":"ann","roles":["admin"]}"#;
    let message = format!("{}.{}", encode(&header), encode(claims));
    let key = EncodingKey::from_ed_pem(PRIVATE.as_bytes()).expect("a key");
    let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &key, Algorithm::EdDSA);
    format!("{message}.{}", signature.expect("it signs"))
}

/// A key made for this test, and its public half.
const PRIVATE: &str = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIJxSj4l+70ynWP1KvDHxo5wF3HIvJhV/qxsGkkHeWV6N\n-----END PRIVATE KEY-----\n";
const PUBLIC_X: &str = "qsSVdqi_-jI8dbHKgHzC3rL93MuSMC19GJe32OThC54";

#[tokio::test]
async fn keys_are_fetched_and_what_a_withdrawn_one_had_signed_ends() {
    let kid = Arc::new(Mutex::new("first"));
    let published = Arc::clone(&kid);
    let provider = Server::start(move |_| {
        let kid = *published.lock().expect("no test panics here");
        let key = format!(
            r#"{{"keys":[{{"kty":"OKP","crv":"Ed25519","kid":"{kid}","x":"{PUBLIC_X}"}}]}}"#
        );
        Response::new(Full::from(key))
    })
    .await;
    let settings = format!(
        "[auth.jwt]\njwks = \"{}/keys\"\nalgorithm = \"EdDSA\"\njwks_refresh = \"5s\"",
        provider.url()
    );
    let upstream = Echo::start().await;
    let sidestream = start("a_jwks", &upstream.url(), &settings, false).await;
    let with =
        |kid: &str| stream("a_jwks").header("Authorization", &format!("Bearer {}", token(kid)));
    let first = open(&sidestream, with("first")).await;
    assert_eq!(first.status(), Some(101));
    *kid.lock().expect("no test panics here") = "second";
    assert_eq!(first.close_code().await, 4401);
    assert_eq!(open(&sidestream, with("second")).await.status(), Some(101));
    assert_eq!(open(&sidestream, with("first")).await.status(), Some(401));
    drop(provider);
}

#[tokio::test]
async fn whatever_the_keys_server_answers_the_keys_fetched_before_count() {
    let asked = Arc::new(Mutex::new(0));
    let counted = Arc::clone(&asked);
    let provider = Server::start(move |_| {
        let mut asked = counted.lock().expect("no test panics here");
        *asked += 1;
        let key = format!(r#"{{"kty":"OKP","crv":"Ed25519","kid":"first","x":"{PUBLIC_X}"}}"#);
        match *asked {
            1 => Response::new(Full::from(format!(r#"{{"keys":[{key}]}}"#))),
            2 => Response::new(Full::from("<html>".to_owned())),
            3 => Response::new(Full::from(" ".repeat(2 << 20))),
            _ => {
                let mut failed = Response::new(Full::from(format!(r#"{{"keys":[{key}]}}"#)));
                *failed.status_mut() = http::StatusCode::INTERNAL_SERVER_ERROR;
                failed
            }
        }
    })
    .await;
    let settings = format!(
        "[auth.jwt]\njwks = \"{}/keys\"\nalgorithm = \"EdDSA\"\njwks_refresh = \"5s\"",
        provider.url()
    );
    let upstream = Echo::start().await;
    let sidestream = start("a_keys", &upstream.url(), &settings, false).await;
    let with = stream("a_keys").header("Authorization", &format!("Bearer {}", token("first")));
    let first = open(&sidestream, with.clone()).await;
    assert_eq!(first.status(), Some(101));
    let mut seen = 0;
    for reason in ["no set of keys", "length limit", "500"] {
        let told = sidestream
            .log
            .wait("why the keys cannot be fetched", seen, |line| {
                let is_it = line.contains("the set of keys cannot be fetched");
                is_it.then(|| line.to_owned())
            });
        let line = told.await;
        seen = sidestream.log.lines().len();
        assert!(line.contains(reason), "{reason}: {line}");
        assert_eq!(open(&sidestream, with.clone()).await.status(), Some(101));
    }
    drop(provider);
    let told = sidestream.log.wait("that nobody is there", seen, |line| {
        line.contains("the set of keys cannot be fetched")
            .then_some(())
    });
    told.await;
    assert_eq!(open(&sidestream, with).await.status(), Some(101));
    assert_eq!(first.look(|received| received.close.clone()), None);
}

#[tokio::test]
async fn a_token_in_query_or_subprotocol_counts_where_that_is_configured_and_is_not_logged() {
    let upstream = Echo::start().await;
    let hs256 = {
        let encode = |text: &str| BASE64_URL_SAFE_NO_PAD.encode(text);
        let claims = r#"{"iss":"restheart.org","sub":"ann","roles":["admin"]}"#;
        let message = format!("{}.{}", encode(r#"{"alg":"HS256"}"#), encode(claims));
        let key = EncodingKey::from_secret(b"0123456789abcdef0123456789abcdef");
        let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &key, Algorithm::HS256);
        format!("{message}.{}", signature.expect("it signs"))
    };
    let by_query = Request::websocket(&format!("/a_query/_streams/all?token={hs256}"));
    let offer = format!("chat, bearer, {hs256}");
    let by_protocol = Request::websocket("/a_query/_streams/all");
    let by_protocol = by_protocol.header("Sec-WebSocket-Protocol", &offer);
    for (request, settings, status) in [
        (&by_query, "", 401),
        (&by_query, "[auth]\ntoken_parameter = \"token\"", 101),
        (&by_protocol, "", 401),
        (&by_protocol, "[auth]\ntoken_protocol = \"bearer\"", 101),
    ] {
        let sidestream = start("a_query", &upstream.url(), settings, true).await;
        let client = open(&sidestream, request.clone()).await;
        assert_eq!(client.status(), Some(status));
        let logged = sidestream
            .log
            .wait("the request in the access log", 0, |line| {
                line.contains("/a_query/_streams/all").then_some(())
            });
        logged.await;
        assert!(
            !sidestream
                .log
                .lines()
                .iter()
                .any(|line| line.contains(&hs256))
        );
    }
}
