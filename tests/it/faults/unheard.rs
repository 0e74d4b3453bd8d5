//! Nothing that Sidestream says can be written: the disk of its log is full.

use bson::doc;

use super::{closed, expect};
use crate::support::client::{Client, Request};
use crate::support::mongo_uri;
use crate::support::sidestream::Sidestream;
use crate::support::stack::{self, ADMIN, Stack, config};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_a_full_disk_behind_its_log_requests_and_streams_go_on() {
    let plain = Stack::start("").await;
    let database = plain.database().await;
    let streams = || doc! { "streams": [{ "uri": "all", "stages": [] }] };
    stack::define(&database, "unheard", streams()).await;
    let upstream = format!("http://{}", plain.legacy.address);
    for format in ["json", "text"] {
        let settings = format!("[log]\nformat = \"{format}\"\nlevel = \"debug\"\n");
        let toml = config(&upstream, mongo_uri().await, &settings);
        let mute = Sidestream::start_unheard(&toml).await;
        let target = "/unheard/_streams/all?lastEventID=";
        let mut clients = [
            Client::open(mute.public, &Request::websocket(target).auth(ADMIN)).await,
            Client::open(mute.public, &Request::sse(target).auth(ADMIN)).await,
        ];
        // Each of these is a line of the access log; some are told more of.
        for _ in 0..20 {
            let get = Request::http("GET", "/unheard").auth(ADMIN);
            let answer = Client::open(mute.public, &get).await;
            assert_eq!(answer.status(), Some(200), "{}", answer.state());
            let refused = Request::websocket("/unheard/_streams/none").auth(ADMIN);
            let answer = Client::open(mute.public, &refused).await;
            assert_eq!(answer.status(), Some(404), "{}", answer.state());
        }
        // A definition that is broken is warned of, a session that ends is told of.
        let ended = Client::open(mute.public, &Request::websocket(target).auth(ADMIN)).await;
        assert_eq!(ended.status(), Some(101), "{}", ended.state());
        drop(ended);
        mute.signal("HUP");
        let data = database.collection("unheard");
        for number in 0..5 {
            let inserted = data.insert_one(doc! { "n": number }).await;
            inserted.expect("inserted");
        }
        expect(&mut clients, 0..5).await;
        mute.terminate();
        closed(&clients, 1001).await;
        assert_eq!(mute.exit_code().await, 0);
    }
}
