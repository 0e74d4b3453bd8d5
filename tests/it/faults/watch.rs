//! The watch of permissions in another database is lost while the data's is not.

use bson::{Document, doc};

use super::{PATIENCE, Scene, number_of};
use crate::support::client::{Client, Request};

const RULES: &str = "[acl.mongo]\ndatabase = \"rules\"\n";

/// A stream of everything that everybody may read, by a permission in another database; its watch fails from now on.
async fn blinded(settings: &str) -> (Scene, Client) {
    let scene = Scene::open(1, &format!("{RULES}{settings}")).await;
    let acl = acl(&scene).await;
    let everybody = doc! { "_id": "all", "predicate": "path-prefix('/data')", "priority": 0, "roles": ["$unauthenticated"] };
    acl.insert_one(everybody).await.expect("stored");
    let client = scene.admitted_when_allowed().await;
    let watch = doc! { "failCommands": ["getMore", "aggregate"], "errorCode": 11601, "namespace": "rules.$cmd.aggregate" };
    scene.set.fail(i32::MAX, watch).await;
    let noticed = async { while !scene.not_ready().await.contains("rules") {} };
    let noticed = tokio::time::timeout(PATIENCE, noticed).await;
    noticed.expect("it is noticed that the watch fails");
    (scene, client)
}

async fn acl(scene: &Scene) -> mongodb::Collection<Document> {
    scene.set.client().await.database("rules").collection("acl")
}

impl Scene {
    /// A WebSocket without credentials, as soon as one is let in.
    async fn admitted_when_allowed(&self) -> Client {
        let request = Request::websocket("/data/_streams/all");
        let admitted = async {
            loop {
                let client = self.stack.open(&request).await;
                if client.status() == Some(101) {
                    return client;
                }
            }
        };
        let admitted = tokio::time::timeout(PATIENCE, admitted).await;
        admitted.expect("the permission lets in")
    }

    /// What keeps streams from being served.
    async fn not_ready(&self) -> String {
        let request = Request::http("GET", "/ready");
        let answer = Client::open(self.stack.sidestream.admin, &request).await;
        match answer.status() {
            Some(200) => String::new(),
            _ => answer.body().to_owned(),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_revoked_while_nobody_watched_gets_nothing_more() {
    let (scene, client) = blinded("").await;
    let gone = acl(&scene).await.delete_one(doc! { "_id": "all" }).await;
    assert_eq!(gone.expect("deleted").deleted_count, 1);
    // The data's own feed brings them; nobody knows of the revocation.
    scene.write(0..5).await;
    let refused = scene
        .stack
        .open(&Request::websocket("/data/_streams/all"))
        .await;
    assert_eq!(refused.status(), Some(503));
    scene.set.unfail().await;
    assert_eq!(client.close_code().await, 4403);
    let heard = client.look(|received| received.frames.len());
    assert_eq!(heard, 0, "{}", client.state());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_still_holds_goes_on_with_all_that_waited() {
    let (scene, mut client) = blinded("").await;
    scene.write(0..5).await;
    scene.set.unfail().await;
    for number in 0..5 {
        assert_eq!(number_of(&client.next().await), Some(number));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_a_grace_events_go_on() {
    let (scene, mut client) = blinded("[acl]\ngrace = \"1h\"\n").await;
    scene.write(0..5).await;
    for number in 0..5 {
        assert_eq!(number_of(&client.next().await), Some(number));
    }
}
