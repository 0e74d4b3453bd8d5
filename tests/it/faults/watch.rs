//! The watch of permissions, or of users, in another database is lost while the data's is not.

use bson::{Document, doc};

use super::{PATIENCE, Scene, number_of};
use crate::support::client::{Client, Request};
use crate::support::stack::add_user;

const RULES: &str = "[acl.mongo]\ndatabase = \"rules\"\n";
const PEOPLE: &str = "[auth.mongo]\ndatabase = \"people\"\n";

/// A stream of everything that everybody may read, by a permission in another database.
async fn ruled(settings: &str) -> (Scene, Client) {
    let scene = Scene::open(1, &format!("{RULES}{settings}")).await;
    let everybody = doc! { "_id": "all", "predicate": "path-prefix('/data')", "priority": 0, "roles": ["$unauthenticated"] };
    acl(&scene)
        .await
        .insert_one(everybody)
        .await
        .expect("stored");
    let client = scene
        .admitted_when_allowed(&Request::websocket("/data/_streams/all"))
        .await;
    (scene, client)
}

async fn acl(scene: &Scene) -> mongodb::Collection<Document> {
    scene.set.client().await.database("rules").collection("acl")
}

impl Scene {
    /// A WebSocket, as soon as one is let in.
    async fn admitted_when_allowed(&self, request: &Request) -> Client {
        let admitted = async {
            loop {
                let client = self.stack.open(request).await;
                if client.status() == Some(101) {
                    return client;
                }
            }
        };
        let admitted = tokio::time::timeout(PATIENCE, admitted).await;
        admitted.expect("the permission lets in")
    }

    /// Lets the watch of this database fail from now on, and waits until that is noticed.
    async fn blind(&self, database: &str) {
        let watch = doc! {
            "failCommands": ["getMore", "aggregate"], "errorCode": 11601, "namespace": format!("{database}.$cmd.aggregate"),
        };
        self.set.fail(i32::MAX, watch).await;
        let noticed = async { while !self.not_ready().await.contains(database) {} };
        let noticed = tokio::time::timeout(PATIENCE, noticed).await;
        noticed.expect("it is noticed that the watch fails");
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

/// Writes until the session ends: what was read counts for a second, so some events may still go on.
async fn ends_while_unwatched(scene: &Scene, client: &Client, code: u16) {
    let mut number = 0;
    let closed = async {
        while client.look(|received| received.close.is_none()) {
            scene.write(number..number + 1).await;
            number += 1;
        }
    };
    let closed = tokio::time::timeout(PATIENCE, closed).await;
    closed.expect("the session ends while the watch is away");
    assert_eq!(client.close_code().await, code);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_permission_that_goes_unwatched_ends_its_sessions() {
    let (scene, client) = ruled("").await;
    scene.blind("rules").await;
    let gone = acl(&scene).await.delete_one(doc! { "_id": "all" }).await;
    assert_eq!(gone.expect("deleted").deleted_count, 1);
    ends_while_unwatched(&scene, &client, 4403).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_still_holds_goes_on_unwatched() {
    let (scene, mut client) = ruled("").await;
    let readings = async || {
        let name = "sidestream_unwatched_readings_total";
        scene.stack.metric(name, "").await
    };
    // Watched: the feed of the permissions tells at once a second at least that there is nothing new.
    scene.write(0..1).await;
    assert_eq!(number_of(&client.next().await), Some(0));
    let before = readings().await;
    scene.write(1..50).await;
    for number in 1..50 {
        assert_eq!(number_of(&client.next().await), Some(number));
    }
    assert_eq!(readings().await, before);
    scene.blind("rules").await;
    let mut number = 50;
    let read = async {
        // What was told last counts for a while.
        while readings().await == before {
            scene.write(number..number + 1).await;
            assert_eq!(number_of(&client.next().await), Some(number));
            number += 1;
        }
    };
    let read = tokio::time::timeout(PATIENCE, read).await;
    read.expect("what is not watched is read");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn within_the_grace_nobody_asks() {
    let (scene, mut client) = ruled("[acl]\ngrace = \"1h\"\n").await;
    scene.blind("rules").await;
    let gone = acl(&scene).await.delete_one(doc! { "_id": "all" }).await;
    assert_eq!(gone.expect("deleted").deleted_count, 1);
    scene.write(0..50).await;
    for number in 0..50 {
        assert_eq!(number_of(&client.next().await), Some(number));
    }
}

/// Permissions in one database and users in another: each one's feed brings what the other's rests on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_who_goes_unwatched_loses_his_session_and_no_other_does() {
    let scene = Scene::open(1, &format!("{RULES}{PEOPLE}")).await;
    let people = scene.set.client().await.database("people");
    for name in ["ann", "bob"] {
        add_user(&people, name).await;
    }
    let of = |user| Request::websocket("/data/_streams/all").auth(user);
    let ann = scene.admitted_when_allowed(&of("ann:secret")).await;
    let mut bob = scene.admitted_when_allowed(&of("bob:secret")).await;
    scene.blind("people").await;
    let users = people.collection::<Document>("users");
    let gone = users.delete_one(doc! { "_id": "ann" }).await;
    assert_eq!(gone.expect("deleted").deleted_count, 1);
    ends_while_unwatched(&scene, &ann, 4401).await;
    assert_eq!(number_of(&bob.next().await), Some(0));
}
