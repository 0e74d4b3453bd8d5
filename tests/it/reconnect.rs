//! `examples/reconnect.js` under Node: what users copy must hold what it says.

use std::net::SocketAddr;

use bson::{Document, doc};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::support::node;
use crate::support::process::Process;
use crate::support::stack::{self, Stack};

/// A way to Sidestream that can be cut.
struct Cable {
    address: SocketAddr,
    cuts: watch::Sender<()>,
}

impl Cable {
    async fn lay(to: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await;
        let listener = listener.expect("loopback has a free port");
        let address = listener.local_addr().expect("it is bound");
        let (cuts, cut) = watch::channel(());
        tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let mut cut = cut.clone();
                cut.mark_unchanged();
                tokio::spawn(async move {
                    let mut server = TcpStream::connect(to).await.expect("it listens");
                    tokio::select! {
                        // Either end may go away as it likes.
                        _ = copy_bidirectional(&mut client, &mut server) => (),
                        _ = cut.changed() => (),
                    }
                });
            }
        });
        Self { address, cuts }
    }

    fn cut(&self) {
        self.cuts.send_replace(());
    }
}

/// Says in lines what it hears.
fn follow(url: &str, last_id: &str) -> Process {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/reconnect.js");
    let module = format!(
        "import {{ follow }} from 'file://{script}';
         const [url, lastId] = process.argv.slice(-2);
         follow(url, {{ lastId: lastId === '-' ? '' : lastId,
           onStart: () => console.log('start'),
           onEvent: (event) => console.log('event', event.fullDocument.n, event._id._data),
           onEnd: (code) => console.log('end', code) }});"
    );
    node::run(&module, &[url, last_id])
}

/// Waits for a line that begins so, from the line number `from` on.
async fn line(process: &Process, from: usize, begin: &str) -> String {
    let begin = begin.to_owned();
    let wanted = move |line: &str| line.starts_with(&begin).then(|| line.to_owned());
    let log = process.log.clone();
    log.wait("the script", from, wanted).await
}

fn properties(filter: Document, public: bool) -> Document {
    let stream = doc! { "uri": "s", "stages": [{ "$match": filter }] };
    let other = doc! { "uri": "other", "stages": [] };
    doc! { "streams": if public { vec![stream, other] } else { vec![other] } }
}

#[tokio::test]
async fn it_comes_back_and_goes_on_and_honours_the_codes() {
    let stack = Stack::start("").await;
    let database = stack.database().await;
    let inserts = doc! { "operationType": "insert" };
    stack::define(&database, "reconnect", properties(inserts, true)).await;
    let acl = database.collection::<Document>("acl");
    let permission = doc! {
        "_id": "reconnect", "predicate": "path-prefix('/reconnect')", "roles": ["$unauthenticated"], "priority": 0,
    };
    let stored = acl.replace_one(doc! { "_id": "reconnect" }, permission);
    stored.upsert(true).await.expect("stored");
    let collection = database.collection::<Document>("reconnect");
    let write = async |n: i32| {
        let written = collection.insert_one(doc! { "n": n }).await;
        written.expect("the primary takes writes");
    };
    let cable = Cable::lay(stack.address()).await;
    let url = format!("ws://{}/reconnect/_streams/s", cable.address);
    let script = follow(&url, "-");
    line(&script, 0, "start").await;
    write(0).await;
    let first = line(&script, 0, "event 0 ").await;

    // The network.
    cable.cut();
    write(1).await;
    line(&script, 0, "event 1 ").await;
    // 1012.
    let changed = properties(doc! { "operationType": { "$in": ["insert", "x"] } }, true);
    let all = database.collection::<Document>("_properties");
    let own = doc! { "_id": "_properties.reconnect" };
    let set = doc! { "$set": changed };
    all.update_one(own.clone(), set).await.expect("updated");
    write(2).await;
    write(3).await;
    line(&script, 0, "event 3 ").await;

    // An id from before the oplog is 410 before the upgrade: it begins anew, and says so.
    let (_, token) = first.rsplit_once(' ').expect("an id");
    let old = format!("823B9ACA00{}", &token[10..]);
    let late = follow(&url, &old);
    line(&late, 0, "start").await;
    write(4).await;
    line(&late, 0, "event 4 ").await;

    // 4404, and 404 for who comes back.
    let removed = doc! { "$set": properties(doc! {}, false) };
    all.update_one(own, removed).await.expect("updated");
    line(&script, 0, "end 4404").await;
    line(&late, 0, "end 4404").await;
    line(&follow(&url, "-"), 0, "end 4404").await;
    acl.delete_one(doc! { "_id": "reconnect" })
        .await
        .expect("deleted");
    // Without a permission one must log in.
    line(&follow(&url, "-"), 0, "end 4401").await;

    let heard = script.log.lines();
    let events = heard.iter().filter_map(|line| line.strip_prefix("event "));
    let numbers: Vec<&str> = events.map(|event| &event[..1]).collect();
    assert_eq!(numbers, ["0", "1", "2", "3", "4"], "{heard:?}");
    assert_eq!(heard.iter().filter(|line| *line == "start").count(), 1);
}
