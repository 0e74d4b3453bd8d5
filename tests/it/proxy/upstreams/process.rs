//! The same in the real binary: what it says of its upstreams, and when.

use super::api::Api;
use crate::support::client::{Client, Request};
use crate::support::process::scratch;
use crate::support::sidestream::Sidestream;

fn config(urls: &[String], health: &str) -> String {
    format!(
        "server.listen = [\"127.0.0.1:0\"]\nadmin.listen = \"127.0.0.1:0\"\nstreams.enabled = false\n\
         [upstream]\nurl = {urls:?}\n[upstream.health]\ninterval = \"50ms\"\n{health}"
    )
}

/// Waits for a line of the log about this upstream.
async fn told(sidestream: &Sidestream, from: usize, url: &str, what: &str) {
    let line = format!("upstream {url} {what}");
    let found = sidestream
        .log
        .wait(&line, from, |found| found.contains(&line).then_some(()));
    found.await;
}

fn times(sidestream: &Sidestream, text: &str) -> usize {
    let lines = sidestream.log.lines();
    lines.iter().filter(|line| line.contains(text)).count()
}

async fn get(sidestream: &Sidestream, target: &str) -> Client {
    Client::open(sidestream.public, &Request::http("GET", target)).await
}

async fn admin(sidestream: &Sidestream, target: &str) -> Client {
    Client::open(sidestream.admin, &Request::http("GET", target)).await
}

#[tokio::test]
async fn one_that_says_it_is_not_well_is_set_aside_until_it_says_it_is() {
    let apis = [Api::start().await, Api::start().await];
    let urls = apis.each_ref().map(Api::url);
    let sidestream = Sidestream::start(&config(&urls, "path = \"/health\"\n")).await;
    let ready = admin(&sidestream, "/ready").await;
    assert_eq!((ready.status(), ready.body()), (Some(200), "ready\n"));

    apis[0].answer_health_with(503);
    told(&sidestream, 0, &urls[0], "is set aside").await;
    let before = apis.each_ref().map(Api::count);
    for number in 0..10 {
        let answer = get(&sidestream, &format!("/{number}")).await;
        assert_eq!(answer.status(), Some(200));
    }
    assert_eq!(apis[0].count(), before[0]);
    assert_eq!(apis[1].count(), before[1] + 10);
    let ready = admin(&sidestream, "/ready").await;
    let without = format!(
        "ready\nwithout upstream {}: the check was answered 503 Service Unavailable\n",
        urls[0]
    );
    assert_eq!((ready.status(), ready.body()), (Some(200), &*without));
    let list = admin(&sidestream, "/upstreams").await;
    let list: serde_json::Value = serde_json::from_str(list.body()).expect("JSON");
    let described = |index: usize| [&list[index]["url"], &list[index]["state"]];
    assert_eq!(described(0), [urls[0].as_str(), "aside"]);
    assert_eq!(described(1), [urls[1].as_str(), "well"]);
    assert_eq!(list[1]["requests"], 0);

    apis[0].answer_health_with(302);
    told(&sidestream, 0, &urls[0], "is well again").await;
    for number in 10..20 {
        get(&sidestream, &format!("/{number}")).await;
    }
    assert_eq!(apis[0].count(), before[0] + 5);
    assert_eq!(times(&sidestream, "is set aside"), 1, "told once");
    let metrics = admin(&sidestream, "/metrics").await;
    for (url, count) in [(&urls[0], 5), (&urls[1], 15)] {
        for line in [
            format!("sidestream_upstream_up{{upstream=\"{url}\"}} 1"),
            format!(
                "sidestream_upstream_exchanges_total{{upstream=\"{url}\",outcome=\"2xx\"}} {count}"
            ),
        ] {
            let has_it = metrics.body().lines().any(|found| found == line);
            assert!(has_it, "{line}: {}", metrics.body());
        }
    }
    assert!(
        metrics
            .body()
            .contains("# TYPE sidestream_upstream_up gauge")
    );
}

#[tokio::test]
async fn with_all_down_it_says_so_once_and_recovers() {
    let mut apis = [Api::start().await, Api::start().await];
    let urls = apis.each_ref().map(Api::url);
    let sidestream = Sidestream::start(&config(&urls, "")).await;
    assert_eq!(get(&sidestream, "/").await.status(), Some(200));
    apis.iter_mut().for_each(Api::kill);
    for url in &urls {
        told(&sidestream, 0, url, "is set aside").await;
    }
    for _ in 0..20 {
        let answer = get(&sidestream, "/").await;
        assert_eq!(answer.status(), Some(502));
        assert_eq!(
            answer.header("content-type").as_deref(),
            Some("application/json")
        );
        let body: serde_json::Value = serde_json::from_str(answer.body()).expect("JSON");
        assert_eq!(body["message"], "the upstream cannot be reached");
    }
    let ready = admin(&sidestream, "/ready").await;
    assert_eq!(ready.status(), Some(503));
    let reasons: Vec<String> = serde_json::from_str(ready.body()).expect("a list");
    assert_eq!(reasons.len(), 2, "{reasons:?}");
    for (url, reason) in urls.iter().zip(&reasons) {
        let named = format!("upstream {url}: the upstream cannot be reached: ");
        assert!(reason.starts_with(&named), "{reason}");
    }
    assert_eq!(times(&sidestream, "is set aside"), 2);
    assert_eq!(times(&sidestream, "no upstream is well"), 1);
    assert_eq!(times(&sidestream, "request not answered by"), 0);

    // Used at once although no check has found it yet, and then because one has.
    apis[1].revive().await;
    assert_eq!(get(&sidestream, "/").await.status(), Some(200));
    told(&sidestream, 0, &urls[1], "is well again").await;
    assert_eq!(admin(&sidestream, "/ready").await.status(), Some(200));
    apis[0].revive().await;
    told(&sidestream, 0, &urls[0], "is well again").await;
}

#[tokio::test]
async fn one_that_is_not_there_at_the_start_is_noticed_at_once() {
    let api = Api::start().await;
    let mut gone = Api::start().await;
    gone.kill();
    let urls = [gone.url(), api.url()];
    let health = "fall = 1000\n";
    let sidestream = Sidestream::start(&config(&urls, health)).await;
    told(&sidestream, 0, &urls[0], "is set aside").await;
    gone.revive().await;
    told(&sidestream, 0, &urls[0], "is well again").await;
}

#[tokio::test]
async fn another_list_waits_for_the_next_start() {
    let apis = [Api::start().await, Api::start().await, Api::start().await];
    let urls = apis.each_ref().map(Api::url);
    let directory = scratch("upstreams");
    let file = directory.join("list");
    std::fs::write(&file, &urls[1]).expect("it is ours");
    let toml = config(&[urls[0].clone(), "SECOND".to_owned()], "");
    let second = format!("{{ file = {file:?} }}");
    let toml = toml.replace("\"SECOND\"", &second);
    let sidestream = Sidestream::start(&toml).await;
    get(&sidestream, "/").await;
    get(&sidestream, "/").await;
    assert_eq!(apis.each_ref().map(Api::count), [1, 1, 0]);
    std::fs::write(&file, &urls[2]).expect("it is ours");
    let mark = sidestream.log.mark();
    sidestream.signal("HUP");
    let waits = "what changed in upstream takes effect at the next start";
    let line = sidestream
        .log
        .wait(waits, mark, |line| line.contains(waits).then_some(()));
    line.await;
    get(&sidestream, "/").await;
    get(&sidestream, "/").await;
    assert_eq!(apis.each_ref().map(Api::count), [2, 2, 0]);
    std::fs::remove_dir_all(&directory).expect("nobody else uses it");
}

#[tokio::test]
async fn check_tells_how_each_is() {
    let (api, ill) = (Api::start().await, Api::start().await);
    let mut gone = Api::start().await;
    gone.kill();
    ill.answer_health_with(500);
    let urls = [api.url(), gone.url(), ill.url()];
    let output = Sidestream::check(&config(&urls, "path = \"/health\"\n")).await;
    assert_eq!(output.status.code(), Some(1));
    let stdout = String::from_utf8(output.stdout).expect("UTF-8");
    for line in [
        format!("ok       upstream {}: is well by /health", urls[0]),
        format!(
            "wrong    upstream {}: the upstream cannot be reached: ",
            urls[1]
        ),
        format!(
            "wrong    upstream {}: the check was answered 500 Internal Server Error",
            urls[2]
        ),
    ] {
        assert!(
            stdout.lines().any(|found| found.starts_with(&line)),
            "{stdout}"
        );
    }
    let output = Sidestream::check(&config(&urls[..1], "")).await;
    assert_eq!(output.status.code(), Some(0));
    let stdout = String::from_utf8(output.stdout).expect("UTF-8");
    let line = format!("the upstream takes connections at {}", api.address);
    assert!(stdout.contains(&line), "{stdout}");
}
