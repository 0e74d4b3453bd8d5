//! What the API is shown, how its answer is read, and how long it is believed.

use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::json;

use super::*;
use crate::access::tests::support::head;

/// Says the same to everybody, and keeps what it was shown.
struct Api {
    status: u16,
    headers: HeaderMap,
    body: String,
    asked: AtomicUsize,
    shown: Mutex<HeaderMap>,
    is_mute: bool,
}

impl Identity for Api {
    fn ask(
        &self,
        headers: HeaderMap,
    ) -> BoxFuture<'_, Result<(StatusCode, HeaderMap, Bytes), Unavailable>> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        *self.shown.lock().unwrap() = headers;
        Box::pin(async {
            if self.is_mute {
                std::future::pending::<()>().await;
            }
            let status = StatusCode::from_u16(self.status).unwrap();
            Ok((status, self.headers.clone(), self.body.clone().into()))
        })
    }
}

fn api(status: u16, body: &str) -> Arc<Api> {
    Arc::new(Api {
        status,
        headers: HeaderMap::new(),
        body: body.to_owned(),
        asked: AtomicUsize::new(0),
        shown: Mutex::default(),
        is_mute: false,
    })
}

fn forward(api: &Arc<Api>) -> ForwardAuth {
    let settings = ForwardSettings {
        shown: vec![header::AUTHORIZATION, header::COOKIE],
        name_property: "user.name".to_owned(),
        roles_property: "user.roles".to_owned(),
        name_header: Some(HeaderName::from_static("x-user")),
        roles_header: Some(HeaderName::from_static("x-roles")),
        remembered_for: Duration::from_secs(30),
        session: Duration::from_secs(3600),
        timeout: Duration::from_secs(2),
        concurrent: 4,
    };
    ForwardAuth::new(settings, Arc::clone(api) as Arc<dyn Identity>)
}

fn request(headers: serde_json::Value) -> RequestHead {
    head(&json!({ "method": "GET", "target": "/c/_streams/s?avars={}", "headers": headers }))
}

fn with_cookie() -> RequestHead {
    request(json!({ "Cookie": "sid=1", "X-Other": "no" }))
}

const ANN: &str = r#"{"user": {"name": "ann", "roles": ["a", 7, null]}, "team": "red"}"#;

#[tokio::test(start_paused = true)]
async fn only_credentials_are_shown_and_the_answer_is_believed_for_a_while() {
    let api = api(200, ANN);
    let forward = forward(&api);
    for (wait, asked) in [(0, 1), (29, 1), (2, 2)] {
        tokio::time::advance(Duration::from_secs(wait)).await;
        let found = forward.authenticate(&with_cookie(), true).await.unwrap();
        let principal = found.expect("a principal");
        assert_eq!(principal.name, "ann");
        assert_eq!(principal.roles, ["a", "7"]);
        assert_eq!(principal.properties.unwrap()["team"], Bson::from("red"));
        assert!(principal.expires_at.is_some());
        assert_eq!(api.asked.load(Ordering::Relaxed), asked);
    }
    let shown = api.shown.lock().unwrap().clone();
    assert_eq!(shown[header::COOKIE], "sid=1");
    assert_eq!(shown["x-forwarded-uri"], "/c/_streams/s");
    assert_eq!(shown["x-forwarded-host"], "127.0.0.1:8080");
    assert!(!shown.contains_key("x-other") && !shown.contains_key(header::HOST));
    // Other credentials are another question.
    let other = request(json!({ "Cookie": "sid=2" }));
    forward.authenticate(&other, true).await.unwrap();
    assert_eq!(api.asked.load(Ordering::Relaxed), 3);
}

#[tokio::test]
async fn nobody_is_asked_about_nothing_and_cookies_may_count_for_nothing() {
    let api = api(200, ANN);
    let forward = forward(&api);
    let without = request(json!({ "X-Other": "no" }));
    assert_eq!(forward.authenticate(&without, true).await, Ok(None));
    assert_eq!(forward.authenticate(&with_cookie(), false).await, Ok(None));
    assert_eq!(api.asked.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn headers_may_say_it_instead() {
    let mut api = api(204, "");
    let headers = &mut Arc::get_mut(&mut api).unwrap().headers;
    headers.insert("x-user", HeaderValue::from_static("bob"));
    headers.insert("x-roles", HeaderValue::from_static("a, b,,"));
    let found = forward(&api).authenticate(&with_cookie(), true).await;
    let principal = found.unwrap().expect("a principal");
    assert_eq!((principal.name.as_str(), principal.roles.len()), ("bob", 2));
}

#[tokio::test]
async fn what_is_neither_yes_nor_no_lets_nobody_in() {
    for status in [401, 403, 404] {
        let forward = forward(&api(status, ANN));
        assert_eq!(forward.authenticate(&with_cookie(), true).await, Ok(None));
    }
    for (status, body) in [
        (500, ANN),
        (302, ANN),
        (200, ""),
        (200, "{}"),
        (200, r#"{"user":{"name":""}}"#),
    ] {
        let forward = forward(&api(status, body));
        assert!(
            forward.authenticate(&with_cookie(), true).await.is_err(),
            "{status} {body}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn an_api_that_does_not_answer_is_not_waited_for() {
    let mut api = api(200, ANN);
    Arc::get_mut(&mut api).unwrap().is_mute = true;
    let forward = forward(&api);
    assert!(forward.authenticate(&with_cookie(), true).await.is_err());
}
