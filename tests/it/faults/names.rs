//! Names can no longer be looked up.

use super::{DATABASE, PATIENCE, Replicas, binary, expect, write};
use crate::support::client::{Client, Request};
use crate::support::names::Names;
use crate::support::sidestream::Sidestream;
use crate::support::stack::{ADMIN, add_admin, config, define};
use crate::support::upstream::Echo;
use bson::doc;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_names_requests_and_streams_go_on_and_nothing_is_lost() {
    let set = Replicas::start(&binary(), 1).await;
    let database = set.client().await.database(DATABASE);
    add_admin(&database).await;
    let streams = doc! { "streams": [{ "uri": "all", "stages": [] }] };
    define(&database, "data", streams).await;
    let data = database.collection("data");
    let upstream = Echo::start().await;
    let names = Names::new();
    // The driver goes by the name alone, and each request to the upstream needs a connection of its own.
    let mongodb = format!(
        "mongodb://db.test:{}/?directConnection=true&heartbeatFrequencyMS=1000",
        set.relay(0).address.port()
    );
    let settings = "[streams]\nfeed_patience = \"5m\"\nconnect_patience = \"300ms\"\n";
    let url = format!("http://api.test:{}", upstream.address.port());
    let toml = config(&url, &mongodb, settings).replace("[mongodb]", "idle = \"0s\"\n[mongodb]");
    let sidestream = Sidestream::start_in(&toml, &names.environment()).await;

    let requests = [Request::websocket, Request::sse]
        .map(|request| request("/data/_streams/all?lastEventID=").auth(ADMIN));
    let mut clients = [
        Client::open(sidestream.public, &requests[0]).await,
        Client::open(sidestream.public, &requests[1]).await,
    ];
    let forwarded = async || {
        for number in 0..5 {
            let target = format!("/x?n={number}");
            let answer = Client::open(sidestream.public, &Request::http("GET", &target)).await;
            assert_eq!(
                answer.body(),
                format!("GET {target} "),
                "{}",
                answer.state()
            );
        }
    };
    for number in 0..3 {
        write(&data, number).await;
    }
    expect(&mut clients, 0..3).await;
    forwarded().await;

    names.take();
    forwarded().await;
    let word = sidestream.log.wait("word of it", 0, |line| {
        line.contains("a name cannot be looked up").then_some(())
    });
    word.await;
    // Connections that are there need no name.
    for number in 3..6 {
        write(&data, number).await;
    }
    expect(&mut clients, 3..6).await;
    // Connections that break cannot be made again.
    set.relay(0).cut();
    let refused = async {
        while Client::open(sidestream.public, &requests[0]).await.status() != Some(503) {}
    };
    let refused = tokio::time::timeout(PATIENCE, refused).await;
    refused.expect("a new stream is refused");
    forwarded().await;
    for number in 6..9 {
        write(&data, number).await;
    }
    for client in &clients {
        client.nothing_more().await;
    }

    names.give();
    expect(&mut clients, 6..9).await;
    forwarded().await;
    let opened = async {
        while Client::open(sidestream.public, &requests[0]).await.status() != Some(101) {}
    };
    let opened = tokio::time::timeout(PATIENCE, opened).await;
    opened.expect("a new stream opens");
}
